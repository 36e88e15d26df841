"""A daemon among hostile nodes: bounded, undelayed, told the truth about (GUARANTEES §8, statements 12 and 13)."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.daemon import until
from support.hostile import BRUTES, LIARS, PESTS, VICTIM, open_hostile

SECONDS = 15
"""How long they may do their worst."""
GROWTH = 64 * 1024 * 1024
"""Bytes that the daemon may grow by, with thirty nodes that print as fast as they can."""
LATE = timedelta(seconds=5)
"""How late another run may start, and an answer of the API come: far more than a slow machine needs."""
SESSIONS = 30
"""How often one node may be connected to, or its shell opened, meanwhile."""
SILENT = {**dict.fromkeys(("mute", "says-nothing", "auth-banners"), "connect_timeout"), "closes": "unreachable"}
"""Those that are marked with another reason than "protocol"."""
TALKS_WELL = {
    *("silent-start", "other-nonce", "forger", "nonsense-state", "nonsense-verb", "huge-number", "negative-number"),
    *("huge-exit", "contradiction", "giant", "long-block", "no-block", "short-of-end", "endless-debug"),
}
"""They answer heartbeats, and lie only to runs: to be up is honest."""
OWN_WORD = {"other-nonce": 4, "contradiction": 4, "huge-number": 0, "negative-number": 0, "giant": 0}
"""What they say themselves of the runs that they were told to start."""


def memory(pid: int) -> int:
    """The greatest size that a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.fixture
def hostile(place, farm):
    """Where each kind of hostile server is."""
    directory = place.root / "hostile"
    directory.mkdir()
    with open_hostile(directory, farm.directory / "authorized_keys") as places:
        yield places


def test_thirty_of_them(place, farm, hostile):
    server = farm.host(0)
    place.ssh_node("good", farm.node(server).options)
    place.job("tick", shell_command="true", policy={"hosts": ["good"]}, schedule={"interval": "1s"})
    gate = place.ledger / "go"
    held = f"echo up; until [ -e {gate} ]; do sleep 0.1; done; exit 3"
    place.job("victim", shell_command=held, policy={"hosts": ["good"]})
    place.start()
    place.await_nodes(good="up")
    victim = place.trigger("victim")
    place.await_output(victim, "good", b"up\n")
    (place.root / "hostile" / VICTIM).write_text(f"{victim}.0.1")
    before = memory(place.process.pid)

    changes = {"ssh_known_hosts_file": str(place.root / "hostile" / "known_hosts"), "connect_timeout": "3s"}
    for kind, where in hostile.items():
        place.ssh_node(kind, farm.node(server, ssh_host=where, **changes).options)
        place.job(kind, shell_command="exit 9", policy={"hosts": [kind]}, timeout="4s", kill_grace="1s")
    place.hang_up()
    until(lambda: len(place.get("jobs")["items"]) == len(hostile) + 2, what=place.log)
    runs = {kind: place.trigger(kind) for kind in hostile}
    slowest = watch(place)

    assert slowest < LATE.total_seconds(), f"the API answered after {slowest:g} s"
    grown = memory(place.process.pid) - before
    assert grown < GROWTH, f"the daemon grew by {grown >> 20} MiB"
    sessions = Counter((place.root / "hostile" / "sessions").read_text().split())
    assert max(sessions.values()) <= SESSIONS, sessions
    marked_honestly(place)
    told_of_their_own_runs_only(place, runs)
    undisturbed(place, victim, gate)
    assert "Traceback" not in place.log()
    assert "never retrieved" not in place.log()


def watch(place) -> float:
    """Ask the API again and again; returns the seconds that the slowest answer took."""
    slowest, end = 0.0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        asked = time.perf_counter()
        assert place.ask("GET", "/-/healthy").status == 200, place.log()
        slowest = max(slowest, time.perf_counter() - asked)
        time.sleep(0.2)
    return slowest


def marked_honestly(place) -> None:
    """Every node that cannot be spoken to is down, for the true reason."""
    for kind in {*LIARS, *PESTS, *BRUTES} - TALKS_WELL - {"hangs-up"}:
        until(lambda kind=kind: place.node_states()[kind]["state"] == "down", what=place.log)
        node = place.node_states()[kind]
        assert node["reason"] == SILENT.get(kind, "protocol"), node
        assert node["detail"], node
    until(lambda: {place.node_states()[kind]["state"] for kind in TALKS_WELL} == {"up"}, what=place.log)


def told_of_their_own_runs_only(place, runs) -> None:
    """No success that the node did not tell, and none of those that it cannot have started."""
    for kind, name in runs.items():
        run = place.get(f"runs/{name}")
        if kind not in OWN_WORD:
            assert run["outcome"] != "success", run
        elif run["state"] == "finished":
            assert run["targets"][0]["exit_code"] == OWN_WORD[kind], run


def undisturbed(place, victim, gate) -> None:
    """The run whose end was forged goes on and ends as it does; those of every second were on time."""
    assert place.get(f"runs/{victim}")["state"] == "running"
    gate.touch()
    run = place.finished(victim)
    assert (run["outcome"], run["targets"][0]["exit_code"]) == ("failure", 3), run
    ticks = [each for each in place.all_runs("&job=tick&state=finished") if each["outcome"] != "skipped"]
    assert len(ticks) >= SECONDS / 3, ticks
    assert {each["outcome"] for each in ticks} == {"success"}
    delays = [datetime.fromisoformat(each["started_at"]) - datetime.fromisoformat(each["due_at"]) for each in ticks]
    assert max(delays) < LATE, max(delays)
