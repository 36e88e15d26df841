"""Commands outlive the daemon, the way to their node, and the clock; each is found again with every byte, once.

Every command prints until a file tells it to end, so that whatever breaks does so in its midst; what it printed and how
it ended is read on its node and compared with what the daemon has of it.
"""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from support import parts
from support.checker import Execution, digest, moment, noting, read_ledger, read_said
from support.daemon import Place, children, now, until
from support.roads import FAR, open_road
from support.sshd import Farm, Sshd
from support.valve import open_valve

TALKS = """
i=0
until [ -e "$LEDGER/go" ]; do i=$((i + 1)); echo "$DISTCRON_ATTEMPT_ID says $i"; sleep 0.2; done
seq 1 2000
printf 'the end'
"""
CODES = {"good": 0, "bad": 7}
GENEROUS = 20.0
"""Seconds for what takes less than one on a machine that has time."""
BLACK_HOLE = 8.0
LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@dataclass(slots=True)
class Talk:
    """Commands that talk on nodes, and the runs they are: id → node."""

    place: Place
    nodes: tuple[str, ...]
    runs: dict[str, str] = field(default_factory=dict)

    def begin(self, times: int = 1) -> None:
        """Start each job on each node and return when all of them have said something that the daemon has."""
        for name in CODES:
            for node in self.nodes:
                self.runs |= {self.place.trigger(f"{name}-{node}"): node for _ in range(times)}
        for run in self.runs:
            until(lambda run=run: self.heard(run), what=self.place.log)

    def heard(self, run: str) -> bytes:
        """What the daemon has of a run's output."""
        found = self.place.get(f"runs/{run}")["started_at"]
        return self.place.output(run, self.runs[run]) if found else b""

    def let_end(self) -> None:
        """Tell the commands to end, and return when they have, by the word of their nodes."""
        (self.place.ledger / "go").touch()
        until(lambda: all(each.ended for each in self.executions()), 60, what=self.place.log)

    def executions(self) -> list[Execution]:
        """What began on the nodes."""
        return [each for each in read_ledger(self.place.ledger) if each.run in self.runs]

    def assert_whole(self) -> None:
        """Each ran once, ended as it says, and the daemon has every byte of it once."""
        ended = {run: self.place.finished(run, 90) for run in self.runs}
        executions = {each.run: each for each in self.executions()}
        assert len(self.executions()) == len(executions) == len(self.runs)
        said = read_said(self.place.ledger)
        for run, document in ended.items():
            [target] = document["targets"]
            code = CODES[document["job"].split("-")[0]]
            assert (target["exit_code"], executions[run].code) == (code, code), document
            assert (target["node"], len(target["attempts"])) == (self.runs[run], 1)
            assert document["outcome"] == ("failure" if code else "success")
            assert digest(self.place.output(run, self.runs[run])) == said[executions[run].attempt]


@pytest.fixture
def server(farm: Farm) -> Sshd:
    return farm.add(1)[0]


@pytest.fixture
def talk(place: Place, farm: Farm, server: Sshd) -> Talk:
    """A running daemon with a node over SSH and this machine, and jobs that talk on both."""
    place.ssh_node("web", farm.node(server, keepalive=1).options, capacity=50)
    return begun(place, "web", "here")


def begun(place: Place, *nodes: str) -> Talk:
    place.node("here", capacity=50)
    for node in nodes:
        for name, code in CODES.items():
            body = noting(TALKS, code)
            place.job(f"{name}-{node}", shell_command=body, overlap="allow", policy={"hosts": [node]}, timeout="30m")
    place.start()
    place.await_nodes(**dict.fromkeys(nodes, "up"))
    return Talk(place, nodes)


def contact(talk: Talk, state: str) -> None:
    """Wait until this is what is said of all runs on the node over SSH."""
    there = [run for run, node in talk.runs.items() if node == "web"]
    asked = talk.place
    until(lambda: all(asked.get(f"runs/{run}")["targets"][0]["contact"] == state for run in there), 60, what=asked.log)
    assert all(asked.get(f"runs/{run}")["state"] == "running" for run in there)


# ---------------------------------------------------------------- the way to the node


def test_connections_that_are_cut(talk, server):
    talk.begin()
    for cuts in (1, 2):
        server.drop_connections()
        until(lambda cuts=cuts: server.log().count("Starting session") > cuts, 60, what=talk.place.log)
    talk.let_end()
    talk.assert_whole()


def test_launchers_that_are_killed(talk, server):
    talk.begin()
    assert talk.place.process is not None
    launchers = [*server.shells(), *children(talk.place.process.pid)]
    assert len(launchers) == 2, "one on each node"
    for pid in launchers:
        os.kill(pid, signal.SIGKILL)
    talk.let_end()
    talk.assert_whole()


def test_a_server_that_is_restarted(talk, server):
    talk.begin()
    server.close()
    contact(talk, "lost")
    talk.let_end()
    server.start()
    talk.assert_whole()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [BLACK_HOLE, 60.0])
def test_a_network_that_swallows_everything(place, farm, server, seconds):
    with open_valve(server.host, server.port) as valve:
        known = place.root / "known_hosts"
        known.write_text(f"[127.0.0.1]:{valve.port} {server.host_key.export_public_key().decode()}")
        options = {"ssh_host": f"127.0.0.1:{valve.port}", "ssh_known_hosts_file": str(known), "keepalive": 1}
        place.ssh_node("web", farm.node(server, **options).options)
        talk = begun(place, "web")
        talk.begin(times=3)
        valve.shut()
        shut = now()
        contact(talk, "lost")
        talk.let_end()
        until(lambda: (now() - shut).total_seconds() > seconds, seconds + 1)
        assert all(place.get(f"runs/{run}")["state"] == "running" for run in talk.runs)
        valve.open()
        talk.assert_whole()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_road_that_swallows_everything(place, farm, seconds):
    """Daemon and node are in networks of their own; no interface goes down, and nobody is told."""
    with open_road() as road:
        place.within = road.near
        [server] = farm.add(1, within=road.far, apart=True, ListenAddress=FAR, Port="2222")
        place.ssh_node("web", farm.node(server, keepalive=1).options, capacity=50)
        talk = begun(place, "web")
        talk.begin(times=2)
        road.swallow()
        shut = now()
        contact(talk, "lost")
        talk.let_end()
        until(lambda: (now() - shut).total_seconds() > seconds, seconds + 1)
        assert all(place.get(f"runs/{run}")["state"] == "running" for run in talk.runs)
        road.heal()
        talk.assert_whole()


# ---------------------------------------------------------------- the daemon


def test_a_restarted_daemon_adopts_soon_what_runs_and_what_ended(talk):
    figures = adoptions(talk, times=2)
    assert max(max(each) for each in figures.values()) < GENEROUS, figures


def test_a_plain_run_is_lost_with_its_daemon_and_the_command_goes_on(place, farm, server):
    place.ssh_node("web", farm.node(server).options, durable=False)
    place.job("plain", shell_command=noting(TALKS), policy={"hosts": ["web"]}, timeout="30m")
    place.start()
    talk = Talk(place, ("web",))
    run = place.trigger("plain")
    talk.runs[run] = "web"
    until(lambda: b"says 1" in talk.heard(run), what=place.log)
    place.kill()
    place.start()
    [target] = place.finished(run)["targets"]
    assert (target["outcome"], target["reason"], target["exit_code"]) == ("lost", "connection_lost", None)
    assert "may still run" in target["detail"]
    assert len(target["attempts"]) == 1
    assert b"says 1" in place.output(run, "web")
    talk.let_end()
    [execution] = talk.executions()
    assert execution.code == 0, "it ran to its own end, once"


@pytest.mark.long
def test_how_soon_a_restarted_daemon_adopts(talk):
    """`python -m pytest -m long -s tests/system/test_outlive.py -k soon` prints the figures."""
    for what, seconds in adoptions(talk, times=5).items():
        middle, most = statistics.median(seconds), max(seconds)
        print(f"contact to adopted, {what}, n = {len(seconds)}: p50 {middle:.3f} s, max {most:.3f} s")
        assert most < GENEROUS, seconds


def adoptions(talk: Talk, times: int) -> dict[str, list[float]]:
    """Kill the daemon twice; seconds from contact with the node to what was printed, and then to what ended meanwhile.

    What runs is adopted when something that was said without a daemon is here, what ended when its end is recorded.
    """
    place = talk.place
    talk.begin(times)
    before = {run: talk.heard(run) for run in talk.runs}
    place.kill()
    place.start()
    heard: dict[str, datetime] = {}
    until(lambda: len(heard) == len(before) or heard.update(news(talk, before, heard)), 60, what=place.log)
    running = [(heard[run] - since(place, node)).total_seconds() for run, node in talk.runs.items()]
    place.kill()
    talk.let_end()
    place.start()
    talk.assert_whole()
    ends = {run: moment(place.get(f"runs/{run}")["targets"][0]["attempts"][0]["finished_at"]) for run in talk.runs}
    ended = [(ends[run] - since(place, node)).total_seconds() for run, node in talk.runs.items()]
    return {"running": running, "ended meanwhile": ended}


def news(talk: Talk, before: Mapping[str, bytes], known: Mapping[str, datetime]) -> dict[str, datetime]:
    """Runs of which there is more now than before, and when that was seen; those known already are left out."""
    return {run: now() for run in before if run not in known and len(talk.heard(run)) > len(before[run])}


def since(place: Place, node: str) -> datetime:
    """Since when the daemon that runs now is in contact with a node."""
    return moment(place.await_nodes(**{node: "up"})[node]["since"])


# ---------------------------------------------------------------- the clock


@pytest.fixture
def wind(place: Place) -> Iterator[Callable[[int], None]]:
    """Sets the daemon's clock, and nobody else's, so many seconds off."""
    if not LIBRARIES:
        parts.not_found("libfaketime", "apt-get install libfaketime")
    offset = place.root / "offset"
    place.variables |= {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }

    def set_to(seconds: int) -> None:
        scratch = place.root / "offset.new"
        scratch.write_text(f"{seconds:+d}\n")
        scratch.replace(offset)

    set_to(0)
    yield set_to
    place.variables.clear()


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_stepped(wind, talk, seconds):
    talk.place.job("tick", schedule="@every 1s", shell_command=noting("true"), overlap="allow")
    talk.place.hang_up()
    until(lambda: ticks(talk.place), what=talk.place.log)
    talk.begin()
    wind(seconds)
    until(lambda: "the wall clock stepped by" in talk.place.log(), what=talk.place.log)
    count = len(ticks(talk.place))
    assert all(talk.place.get(f"runs/{run}")["state"] == "running" for run in talk.runs), "no timeout came early"
    wind(max(seconds, 0))  # what was decided never runs again: a clock that was set back must first come by once more
    until(lambda: len(ticks(talk.place)) > count + 2, 60, what=talk.place.log)
    talk.let_end()
    talk.assert_whole()
    assert len(set(ticks(talk.place))) == len(ticks(talk.place)), "an occurrence ran twice"


def ticks(place: Place) -> list[datetime]:
    """The occurrences that ran, by the word of the nodes."""
    return [each.scheduled for each in read_ledger(place.ledger) if each.job == "tick"]
