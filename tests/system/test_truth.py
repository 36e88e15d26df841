"""A node or the daemon's own memory comes back wrong: judged by what the commands wrote (GUARANTEES §2 and §3)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter

import pytest
from support.checker import noting, read_ledger
from support.daemon import marked, open_place, until
from support.launchers import other_boot

GATED = noting("echo begun; while ! [ -e $LEDGER/go ]; do sleep 0.05; done; echo ended", code=3)


@pytest.fixture
def pair(place, farm):
    """Two nodes of their own; `web` is preferred, and `spare` takes what did certainly not begin on it."""
    web, spare = farm.add(2)
    place.ssh_node("web", farm.node(web).options)
    place.ssh_node("spare", farm.node(spare).options)
    return web


def job(place, name: str = "job", **keys) -> None:
    policy = {"hosts": ["web", "spare"], "select": "any", "strategy": "order"}
    place.job(name, **({"shell_command": GATED, "policy": policy} | keys))


def begin(place) -> str:
    """A run that is under way on `web`."""
    place.start()
    place.await_nodes(web="up", spare="up")
    name = place.trigger("job")
    place.await_output(name, "web", b"begun\n")
    return name


def end_jobs(node: str, place) -> None:
    for pid in set(marked(f"DISTCRON_NODE={node}")) & set(marked(f"SYSTEM_TEST={place.root}")):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def records(server) -> list:
    return list((server.directory / "home" / "spool").glob("*/*.run"))


def began(place) -> list[str]:
    return [each.node for each in read_ledger(place.ledger)]


def ended(place, name: str, outcome: str, reason: str) -> None:
    """The run has that end, it began once, and the node takes the next one."""
    run = place.finished(name, 60)
    assert (run["outcome"], run["reason"]) == (outcome, reason), run
    assert began(place) == ["web"]
    (place.ledger / "go").touch()
    assert place.run_job("job", 60)["targets"][0]["exit_code"] == 3
    assert len(began(place)) == 2


# ---------------------------------------------------------------- the node


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("daemon", ["stays", "restarts"])
def test_a_rebooted_node_loses_its_run_and_never_begins_it_again(place, pair, daemon, synced):
    if os.geteuid() != 0:
        pytest.skip("a server with another boot id needs root")
    job(place)
    name = begin(place)
    if daemon == "restarts":
        place.kill()
    pair.power_off()
    end_jobs("web", place)
    if not synced:
        for path in records(pair):
            path.unlink()
    pair.within = other_boot(place.root)
    if daemon == "restarts":
        place.start()
    until(lambda: place.get(f"runs/{name}")["targets"][0]["contact"] == "lost", what=place.log)
    pair.start()
    ended(place, name, "lost", "rebooted")
    assert place.output(name, "web").startswith(b"begun\n")


@pytest.mark.parametrize("wiped", ["spool", "record"])
def test_a_wiped_spool_or_record_is_lost_and_never_begun_again(place, pair, wiped):
    job(place)
    name = begin(place)
    place.kill()
    if wiped == "spool":
        shutil.rmtree(pair.directory / "home" / "spool")
    else:
        for path in records(pair):
            path.unlink()
    place.start()
    ended(place, name, "lost", "spool_gone")


def test_a_silent_node_fails_its_run_when_the_job_says_so(place, pair):
    job(place, on_node_lost="fail", node_lost_after="2s")
    name = begin(place)
    pair.close()
    run = place.finished(name, 60)
    assert (run["outcome"], run["reason"]) == ("lost", "node_lost"), run
    said = place.ctl("runs", "--job", "job").stdout
    assert "lost" in said
    (place.ledger / "go").touch()
    pair.start()
    place.await_nodes(web="up")
    assert place.get(f"runs/{name}") == run  # what the node says later changes no record
    until(lambda: [each.code for each in read_ledger(place.ledger)] == [3], what=place.log)


def test_a_silent_node_gives_its_run_away_when_the_job_says_so(place, pair):
    job(place, on_node_lost="rerun", node_lost_after="2s", idempotent=True)
    name = begin(place)
    pair.close()
    until(lambda: began(place) == ["spare", "web"], 60, what=place.log)
    (place.ledger / "go").touch()
    run = place.finished(name, 60)
    target = run["targets"][0]
    assert (run["outcome"], target["node"], target["exit_code"]) == ("failure", "spare", 3), run
    assert [(one["node"], one["outcome"], one["reason"]) for one in target["attempts"]] == [
        ("web", "lost", "node_lost"),
        ("spare", "failure", "exit_code"),
    ]


def test_silence_is_shown_while_it_lasts(place, pair):
    job(place)
    name = begin(place)
    pair.close()
    until(lambda: place.get(f"runs/{name}")["targets"][0]["contact"] == "lost", what=place.log)
    assert "lost" in place.ctl("status").stdout.split("Failed in")[0]
    (place.ledger / "go").touch()
    pair.start()
    assert place.finished(name, 60)["outcome"] == "failure"
    assert began(place) == ["web"]


# ---------------------------------------------------------------- the daemon

EVERY_SECOND = {
    "schedule": "@every 1s",
    "shell_command": noting("true"),
    "overlap": "allow",
    "policy": {"hosts": "any", "strategy": "round_robin"},
    "catch_up": {"policy": "all", "window": "1h", "max": 1000},
}


def tick(place, count: int, by=None) -> None:
    """Let so many more commands end."""
    have = len(read_ledger(place.ledger))
    until(lambda: len(read_ledger(place.ledger)) >= have + count, 60, what=(by or place).log)


def twice(place) -> list[str]:
    """Occurrences that began more than once, on whatever node, under whatever attempt."""
    times = Counter(each.run for each in read_ledger(place.ledger))
    return [run for run, count in times.items() if count > 1]


def stands_back(place) -> None:
    def health():
        with contextlib.suppress(OSError):
            answer = place.ask("GET", "/-/healthy")
            return (answer.status, answer.document["reasons"])

    until(lambda: health() == (503, ["stale_generation"]), 60, what=place.log)
    assert "refuses this daemon" in place.log()
    refused = place.ask("POST", "/api/v1/jobs/tick/run", {})
    assert refused.status == 409
    assert b"--restored" in refused.body


def test_a_second_daemon_on_the_same_state_directory_ends_at_once(place):
    place.start()
    second = place.run()
    assert second.returncode == 1
    assert "in use by another distcrond: end that one, or name another --state-directory" in second.stderr
    assert place.is_ready()


def forget_the_file(state) -> None:
    """Make a copy of a journal look like the original, as the copy of a whole disk does."""
    with sqlite3.connect(state / "journal.db") as journal:
        journal.execute("DELETE FROM facts WHERE name = 'inode'")
    journal.close()


def test_a_restored_journal_starts_nothing_twice(place, pair):
    """Two lives were forgotten with what they ran: the nodes refuse, and after the word nothing old is started."""
    place.job("tick", **EVERY_SECOND)
    state, copy = place.root / "state", place.root / "copy"
    place.start()
    tick(place, 3)
    place.terminate()
    shutil.copytree(state, copy)
    for _ in range(2):
        place.start()
        tick(place, 3)
        place.kill()
    before = len(read_ledger(place.ledger))
    shutil.rmtree(state)
    copy.rename(state)
    refused = place.run()
    assert refused.returncode == 1
    assert "is a copy of a state directory" in refused.stderr
    assert "--restored" in refused.stderr
    forget_the_file(state)  # as a rolled back disk does
    place.spawn()
    stands_back(place)
    time.sleep(2)  # two occurrences are due meanwhile
    assert len(read_ledger(place.ledger)) == before
    place.terminate()
    place.start("--restored")
    tick(place, 5)
    assert place.ask("GET", "/-/healthy").status == 200
    place.terminate()
    assert twice(place) == []
    assert "is said to be an older copy" in place.log()
    place.start()  # and the next start needs no word
    tick(place, 3)
    assert twice(place) == []
    assert {run["reason"] for run in place.all_runs("&outcome=lost")} == {"restored"}


@pytest.mark.long
def test_a_copy_of_the_same_life_is_answered_by_the_nodes_record(place, farm):
    """The backup was made under way, and nobody said the word: the node refuses the second start."""
    place.ssh_node("web", farm.node(farm.add(1)[0]).options)
    place.job("tick", **EVERY_SECOND)
    journal, copy = place.root / "state" / "journal.db", place.root / "copy.db"
    place.start()
    tick(place, 2)
    with sqlite3.connect(journal) as live, sqlite3.connect(copy) as backup:
        live.backup(backup)
    tick(place, 4)
    place.kill()
    for path in journal.parent.glob("journal.db-*"):
        path.unlink()
    shutil.copyfile(copy, journal)  # into the same file, else it is found out: see below
    place.start()
    tick(place, 3)
    assert twice(place) == []
    ran = {each.run for each in read_ledger(place.ledger) if each.code is not None}
    until(lambda: ran <= {run["id"] for run in place.all_runs("&outcome=success")}, what=place.log)
    details = Counter(run["targets"][0]["detail"] for run in place.all_runs("&outcome=success"))
    assert details["the node has a record of an earlier start and refused to start it again"] >= 3


@pytest.mark.long
def test_of_two_daemons_with_one_memory_one_stands_back(place, pair):
    """Both were started from copies of one state directory; nothing runs twice, whatever they do."""
    place.job("tick", **EVERY_SECOND)
    place.start()
    tick(place, 3)
    place.terminate()
    with open_place() as twin:
        shutil.copytree(place.jobs, twin.jobs, dirs_exist_ok=True)
        shutil.copytree(place.nodes, twin.nodes, dirs_exist_ok=True)
        shutil.copytree(place.root / "state", twin.root / "state")
        place.start()
        tick(place, 2)
        assert "If the original is in use, name another" in twin.run().stderr
        forget_the_file(twin.root / "state")
        for _ in range(3):  # a restart does not make it the latest
            twin.spawn()
            stands_back(twin)
            assert place.ask("GET", "/-/healthy").status == 200
            tick(place, 2)
            twin.terminate()
            twin.clear_log()
        assert twice(place) == []
        # somebody decides for the copy while the other one hangs: that one stands back when it wakes, for good
        os.kill(place.process.pid, signal.SIGSTOP)
        twin.start("--restored")
        twin.await_nodes(web="up", spare="up")
        os.kill(place.process.pid, signal.SIGCONT)
        stands_back(place)
        tick(place, 3, by=twin)
        assert twin.ask("GET", "/-/healthy").status == 200
        place.terminate()
        place.clear_log()
        place.spawn()
        stands_back(place)
        tick(place, 3, by=twin)
        assert twin.ask("GET", "/-/healthy").status == 200
        twin.terminate()
    assert twice(place) == []
