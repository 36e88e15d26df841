"""distcronctl as a subprocess against a served API: every command, every exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from distcrond.cli.main import COMMANDS
from distcrond.clock import SystemClock
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Stream
from tests.support.fake_engine import (
    ENDINGS,
    FINGERPRINT,
    OPEN_JOB,
    Ending,
    Served,
    World,
    a_check,
    make_world,
    serve,
)

PROGRAM = Path(sys.executable).parent / "distcronctl"


@dataclass
class Result:
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


class Shell:
    """Runs the client; `socket` None = none is named."""

    def __init__(self, socket: Path | None) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "TZ": "Europe/Berlin",
            "LANG": "C.UTF-8",
        }
        if socket is not None:
            self.environment["DISTCRON_SOCKET"] = str(socket)

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(PROGRAM, *words, stdout=pipe, stderr=pipe, env=self.environment)

    async def __call__(self, *words: str) -> Result:
        return await self.end(await self.start(*words))

    async def end(self, process: asyncio.subprocess.Process) -> Result:
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        return Result(process.returncode, out.decode(errors="surrogateescape"), err.decode())


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def ctl(served) -> Shell:
    return Shell(served.socket)


async def until(condition) -> None:
    clock = SystemClock()
    for _ in range(500):
        if condition():
            return
        await clock.sleep(0.01)
    raise AssertionError("it did not happen")


# ---------------------------------------------------------------- showing


async def test_status_answers_four_questions(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\ntwo\nthree\nfour\n")
    shown = await ctl("status")
    assert (shown.code, shown.err) == (0, "")
    for words in ("10 jobs on 3 nodes", "▶ running", "of 1m 12s", "◆ failure", "exit 7", "db1", "port 22 is shut"):
        assert words in shown.out
    assert "four" in shown.out
    assert "error: ledger locked" in shown.out
    assert "Usually" in shown.out
    facts = (await ctl("status", "-o", "json")).json()
    assert [each["job"] for each in facts["running"]] == [OPEN_JOB]
    assert [each["name"] for each in facts["nodes_not_up"]] == ["db1"]


async def test_status_begins_with_what_keeps_the_daemon_from_its_work(ctl, served) -> None:
    served.world.health = {
        "healthy": False,
        "ready": False,
        "reasons": ["disk_full"],
        "warnings": ["the disk has 1MiB left"],
    }
    _, unhealthy, note, *_ = (await ctl("status")).out.splitlines()
    assert (unhealthy, note) == ("NOT HEALTHY: disk full", "the disk has 1MiB left")


async def test_status_of_an_empty_daemon(tmp_path) -> None:
    async with serve(tmp_path, World(now=SystemClock().now())) as served:
        shown = await Shell(served.socket)("status")
    assert shown.code == 0
    assert shown.out.count("nothing") == 4


async def test_jobs(ctl, served) -> None:
    shown = await ctl("jobs")
    lines = shown.out.splitlines()
    assert lines[0].split() == ["NAME", "SCHEDULE", "NEXT", "LAST", "WHEN", "RUNNING"]
    assert len(lines) == 1 + len(served.world.jobs)
    assert "every 10m from 03:10" in lines[1]
    headless = (await ctl("jobs", "--no-headers")).out.splitlines()
    # A minute may have ended between the two: "in 10m" is "in 9m" then.
    assert [line.split(",")[0] for line in headless] == [line.split(",")[0] for line in lines[1:]]
    wide = await ctl("-o", "wide", "jobs")
    assert "/etc/distcron/jobs.d/invoices.json" in wide.out
    assert (await ctl("jobs", "-o", "name")).out.split() == sorted(served.world.jobs)


@pytest.mark.parametrize("command", [["jobs"], ["nodes"], ["runs"], ["next"], ["job", "invoices"], ["node", "web1"]])
async def test_formats_say_the_same(ctl, command) -> None:
    document = (await ctl(*command, "-o", "json")).json()
    listed = document if isinstance(document, list) else [document]
    lines = (await ctl(*command, "-o", "jsonl")).out.splitlines()
    assert [json.loads(line).keys() for line in lines] == [each.keys() for each in listed]
    from_yaml = yaml.safe_load((await ctl(*command, "-o", "yaml")).out)
    from_yaml = from_yaml if isinstance(from_yaml, list) else [from_yaml]
    assert [each.keys() for each in from_yaml] == [each.keys() for each in listed]


async def test_job(ctl) -> None:
    shown = await ctl("job", "exit7")
    for words in ("Billing team", "every 10m", "1m 12s, 95 % within 1m 35s", "exit code", "/usr/local/bin/exit7 --all"):
        assert words in shown.out


async def test_nodes_and_node(ctl, served) -> None:
    assert "connection refused" in (await ctl("nodes")).out
    shown = await ctl("node", "db1", "--probe")
    assert "connection refused: port 22 is shut" in shown.out
    assert served.world.probed == ["db1"]


async def test_runs_by_filter(ctl, served) -> None:
    assert (await ctl("runs", "-o", "name")).out.split()[0].startswith("exit7@")
    assert [run["job"] for run in (await ctl("runs", "--since", "15m", "-o", "json")).json()] == ["exit7"]
    assert [run["job"] for run in (await ctl("runs", "--outcome", "success", "-o", "json")).json()] == ["invoices"]
    assert (await ctl("runs", "--job", "exit7", "--node", "web1", "--search", "ledger", "-o", "name")).out.count(
        "@"
    ) == 1
    for index in range(60):
        served.world.add_run("invoices", key=str(index), minutes_ago=index)
    assert (await ctl("runs", "-o", "name")).out.count("@") == 50
    assert (await ctl("runs", "--limit", "1001", "-o", "name")).out.count("@") == 62


async def test_pages_are_walked_through(ctl, served) -> None:
    for index in range(1500):
        served.world.add_run("invoices", key=str(index))
    assert (await ctl("runs", "--limit", "1200", "-o", "name")).out.count("@") == 1200


async def test_empty_lists_say_what_to_do(ctl, tmp_path) -> None:
    shown = await ctl("runs", "--outcome", "partial")
    assert (shown.code, shown.out) == (0, "")
    assert "distcronctl run JOB" in shown.err
    assert (await ctl("runs", "--outcome", "partial", "-o", "json")).json() == []
    (tmp_path / "empty").mkdir()
    async with serve(tmp_path / "empty", World(now=SystemClock().now())) as bare:
        for command, words in (("jobs", "jobs.d"), ("nodes", "nodes.d"), ("next", "schedule")):
            assert words in (await Shell(bare.socket)(command)).err


async def test_next(ctl) -> None:
    assert len((await ctl("next", "invoices", "--count", "3", "-o", "json")).json()) == 3
    assert {each["job"] for each in (await ctl("next", "--hours", "1", "-o", "json")).json()} >= {"invoices", "exit7"}
    assert re.search("in (9|10)m", (await ctl("next", "invoices")).out)


async def test_times_are_local_unless_utc(ctl, served) -> None:
    document = (await ctl("runs", "--job", "exit7", "-o", "json")).json()[0]
    clock = document["scheduled_at"][11:19]
    assert f"{clock}Z, 10m ago" in (await ctl("runs", "--job", "exit7", "--utc")).out
    assert f"{clock}," not in (await ctl("runs", "--job", "exit7")).out


async def test_colours_only_when_wanted(ctl) -> None:
    assert "\x1b" not in (await ctl("jobs")).out
    assert "\x1b[31m" in (await ctl("jobs", "--color", "always")).out
    ctl.environment["NO_COLOR"] = "1"
    assert "\x1b" not in (await ctl("jobs")).out


async def test_names_from_outside_cannot_command_the_terminal(ctl, served) -> None:
    served.world.nodes["web1"]["detail"] = "evil\x1b]0;title\x07\x1b[2J\nline"
    served.world.nodes["web1"]["state"] = "down"
    for command in (["nodes", "-o", "wide"], ["node", "web1"], ["status"]):
        shown = await ctl(*command, "--color", "never")
        assert "evil line" in shown.out
        assert "\x1b" not in shown.out


async def test_server_by_url(served) -> None:
    shell = Shell(None)
    assert (await shell("--server", served.url, "jobs", "-o", "name")).code == 0
    refused = await shell("run", "invoices", "--server", served.url)
    assert refused.code == 4
    assert "over the Unix socket" in refused.err


# ---------------------------------------------------------------- running


@pytest.mark.parametrize(
    ("job", "code", "words"),
    [
        ("invoices", 0, "● success"),
        ("exit7", 7, "exit 7"),
        ("killed", 137, "signal 9"),
        ("slow", 124, "timeout"),
        ("gone", 255, "rebooted"),
        ("nowhere", 125, "no target"),
        ("unreached", 255, "connection refused"),
    ],
)
@pytest.mark.parametrize("how", ["--wait", "--follow"])
async def test_exit_code_is_the_jobs_own(ctl, job, code, words, how) -> None:
    shown = await ctl("run", job, how)
    assert shown.code == code
    assert words in shown.err
    started = how == "--follow" and ENDINGS[job].attempted
    assert shown.out == (f"hello from {job}\n" if started else "")


async def test_run_passes_everything_on(ctl, served) -> None:
    shown = await ctl("run", "invoices", "-e", "MONTH=11", "-e", "EMPTY=", "--node", "web2", "--force")
    assert shown.code == 0
    assert shown.out.strip() in served.world.runs
    assert "logs -f" in shown.err
    order = served.world.orders[0]
    assert (order.environment, order.nodes, order.force) == ({"MONTH": "11", "EMPTY": ""}, ("web2",), True)
    assert order.key
    assert order.by.startswith("unix:")
    assert (await ctl("run", "invoices", "-o", "json")).json().keys() == {"id"}


async def test_several_targets_exit_with_the_highest(ctl, served) -> None:
    waiting = await ctl.start("run", OPEN_JOB, "--node", "web1", "--node", "web2", "--follow")
    await until(lambda: served.world.orders)
    run = next(run.id for run in served.world.runs.values() if run.job.name == OPEN_JOB)
    served.world.write(run, b"from one, ", target=0)
    served.world.write(run, b"from two\n", target=1)
    served.world.write(run, b"line two\n", target=0)
    served.world.end_attempt(run, target=0, ending=Ending(outcome=Outcome.FAILURE, code=3, reason=Reason.EXIT_CODE))
    served.world.end_attempt(run, target=1, ending=Ending(outcome=Outcome.FAILURE, code=9, reason=Reason.EXIT_CODE))
    served.world.finish(run, Ending(outcome=Outcome.FAILURE, reason=Reason.EXIT_CODE))
    shown = await ctl.end(waiting)
    assert shown.code == 9
    assert sorted(shown.out.splitlines()) == ["web1 | from one, line two", "web2 | from two"]


async def test_following_from_the_wait_to_the_end(ctl, served) -> None:
    """Waiting, first output, a hole, a second attempt on another node, the end."""
    waiting = await ctl.start("run", OPEN_JOB, "--follow")
    await until(lambda: served.world.orders)
    run = next(run.id for run in served.world.runs.values() if run.job.name == OPEN_JOB)
    served.world.write(run, b"first\n")
    assert await waiting.stdout.readline() == b"first\n"
    served.world.write(run, b"tail\n", hole=48_995)
    assert await waiting.stdout.readline() == b"tail\n"
    served.world.end_attempt(run, ending=ENDINGS["exit7"])
    served.world.start_attempt(run, "web2")
    served.world.write(run, b"second\n")
    served.world.finish(run, ENDINGS["invoices"])
    shown = await ctl.end(waiting)
    assert (shown.code, shown.out) == (0, "second\n")
    assert "48,995 bytes from byte 6 on were not kept" in shown.err
    assert "attempt 2 on web2" in shown.err


async def test_following_survives_a_restart_of_the_daemon(tmp_path) -> None:
    world = make_world()
    run = world.add_run(OPEN_JOB).id
    world.write(run, b"before\n")
    async with serve(tmp_path, world) as served:
        following = await Shell(served.socket).start("logs", OPEN_JOB, "-f")
        assert await following.stdout.readline() == b"before\n"
    assert b"cannot reach" in await following.stderr.readline()
    world.write(run, b"meanwhile\n")
    async with serve(tmp_path, world):
        assert await following.stdout.readline() == b"meanwhile\n"
        world.finish(run, ENDINGS["exit7"])
        shown = await Shell(None).end(following)
    assert (shown.code, shown.out) == (7, "")
    assert "distcrond is back" in shown.err
    assert "failure: exit 7" in shown.err


async def test_following_waits_while_the_daemon_cannot_answer(tmp_path) -> None:
    async with serve(tmp_path, most_streams=0) as served:
        run = served.world.add_run(OPEN_JOB).id
        following = await Shell(served.socket).start("logs", run, "-f")
        assert b"0 clients are waiting already" in await following.stderr.readline()
        served.api._streams._most = 10
        served.world.write(run, b"at last\n")
        assert await following.stdout.readline() == b"at last\n"
        served.world.finish(run, ENDINGS["invoices"])
        assert (await Shell(None).end(following)).code == 0


@pytest.mark.parametrize(
    ("job", "code"), [("invoices", 0), ("exit7", 7), ("slow", 124), ("gone", 255), ("nowhere", 125)]
)
async def test_following_exits_like_the_run(ctl, served, job, code) -> None:
    await ctl("run", job)
    shown = await ctl("logs", job, "-f")
    assert shown.code == code
    assert ("●" in shown.err or job in shown.err) == (code != 0)
    assert (await ctl("logs", job)).code == 0


async def test_following_one_node_ends_with_its_target(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB, nodes=("web1", "web2")).id
    following = await ctl.start("logs", run, "-f", "--node", "web1")
    served.world.write(run, b"one\n", target=0)
    assert await following.stdout.readline() == b"one\n"
    served.world.write(run, b"two\n", target=1)
    served.world.end_attempt(run, target=0, ending=ENDINGS["exit7"])
    served.world._put_target(run, served.world._finished(served.world.runs[run].targets[0], ENDINGS["exit7"]))
    shown = await ctl.end(following)
    assert (shown.code, shown.out) == (7, "")


async def test_interrupting_logs_leaves_the_run_alone(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\n")
    following = await ctl.start("logs", run, "-f")
    assert await following.stdout.readline() == b"one\n"
    await until(lambda: served.world.feed.watched(run))
    following.send_signal(signal.SIGINT)
    shown = await ctl.end(following)
    assert (shown.code, "the run goes on" in shown.err) == (130, True)
    assert served.world.cancelled == []


async def test_following_says_when_a_node_falls_silent_and_answers_again(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB)
    following = await ctl.start("logs", OPEN_JOB, "-f")
    await until(lambda: served.world.feed.watched(run.id))
    for lost, said in ((True, b"web1 does not answer; as far as"), (False, b"web1 answers again")):
        run = served.world.put(replace(run, targets=(replace(run.targets[0], contact_lost=lost),)))
        assert (await following.stderr.readline()).startswith(said)
    served.world.finish(run.id, ENDINGS["invoices"])
    assert (await ctl.end(following)).code == 0


async def test_interrupting_leaves_the_run_alone(ctl, served) -> None:
    waiting = await ctl.start("run", OPEN_JOB, "--wait")
    await until(lambda: served.world.feed._audiences)
    waiting.send_signal(signal.SIGINT)
    shown = await ctl.end(waiting)
    assert shown.code == 130
    assert "the run goes on" in shown.err
    assert served.world.cancelled == []


async def test_cancel(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    hinted = await ctl("cancel", OPEN_JOB)
    assert (hinted.code, run in hinted.err) == (2, True)
    shown = await ctl("cancel", run)
    assert (shown.code, shown.out.strip()) == (0, run)
    assert served.world.cancelled[0][0] == run
    again = await ctl("cancel", run)
    assert (again.code, "finished already" in again.err) == (6, True)


async def test_rerun(ctl, served) -> None:
    run = served.world.add_run("exit7", minutes_ago=5).id
    refused = await ctl("rerun", run)
    assert (refused.code, "not finished yet" in refused.err) == (6, True)
    served.world.finish(run, ENDINGS["exit7"])
    hinted = await ctl("rerun", "exit7")
    assert (hinted.code, run in hinted.err) == (2, True)
    shown = await ctl("rerun", run, "--failed", "--follow")
    assert (shown.code, shown.out) == (7, "hello from exit7\n")
    [wish] = served.world.reruns
    assert (wish.run, wish.failed, wish.force, len(wish.key)) == (run, True, False, 32)
    again = (await ctl("rerun", run, "--force")).out.strip()
    assert served.world.runs[again].occurrence.origin == run
    assert f"rerun of {run}" in (await ctl("runs", "-o", "wide")).out
    assert f"{again} (rerun of {run})" in (await ctl("status")).out


# ---------------------------------------------------------------- logs


async def test_logs(ctl, served) -> None:
    assert (await ctl("logs", "exit7")).out == "connecting\nerror: ledger locked\n"
    assert (await ctl("logs", "exit7", "-n", "1")).out == "error: ledger locked\n"
    run = next(iter(served.world.runs))
    assert (await ctl("logs", run, "--node", "web1")).out == "all 12 invoices written\n"
    wrong = await ctl("logs", run, "--node", "web2")
    assert (wrong.code, "it has: web1" in wrong.err) == (3, True)


async def test_logs_of_nothing(ctl, served) -> None:
    never = await ctl("logs", "busy")
    assert (never.code, "distcronctl run busy" in never.err) == (3, True)
    served.world.finish(served.world.wait_run("busy").id, ENDINGS["nowhere"])
    silent = await ctl("logs", "busy")
    assert (silent.code, silent.out) == (0, "")
    assert "missed no target" in silent.err


async def test_logs_pass_every_byte_into_a_pipe(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    data = bytes(range(256)) * 20_000
    served.world.write(run, data)
    process = await ctl.start("logs", run)
    out, _ = await process.communicate()
    assert out == data


async def test_logs_are_cleaned_where_colours_are_wanted(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"\x1b[31mred\x1b[0m \x1b]0;evil\x07\x1b[2Jend\r\n")
    assert (await ctl("logs", run, "--color", "always")).out == "\x1b[31mred\x1b[0m end\n"


async def test_long_logs_by_their_end(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"".join(b"line %06d %s\n" % (number, b"x" * 90) for number in range(20_000)))
    shown = await ctl("logs", run, "-n", "3000")
    assert shown.out.count("\n") == 3000
    assert shown.out.startswith("line 017000 ")
    assert (await ctl("logs", run, "-n", "0")).out == ""


async def test_logs_of_several_targets_and_streams(ctl, served) -> None:
    run = served.world.add_run(OPEN_JOB, nodes=("web1", "web2")).id
    served.world.write(run, b"one\n", target=0)
    served.world.write(run, b"two", target=1)
    assert (await ctl("logs", run)).out == "web1 | one\nweb2 | two\n"
    assert (await ctl("logs", run, "--node", "web2")).out == "two"
    merged = await ctl("logs", run, "--stderr")
    assert (merged.code, "separate" in merged.err) == (1, True)
    apart = served.world.add_run("busy").id
    served.world.write(apart, b"out\n", stream=Stream.STDOUT)
    served.world.write(apart, b"err\n", stream=Stream.STDERR)
    assert (await ctl("logs", apart)).out == "out\n"
    assert (await ctl("logs", apart, "--stderr")).out == "err\n"


# ---------------------------------------------------------------- files


async def test_diff_of_the_same(ctl) -> None:
    shown = await ctl("diff")
    assert (shown.code, shown.out, shown.err) == (0, "", "files and daemon are the same\n")
    assert json.loads((await ctl("diff", "-o", "json")).out)["same"] is True


async def test_diff_shows_keys_and_times_and_exits_with_1(ctl, served) -> None:
    change = {"file": "/etc/x.json", "line": 1, "next_before": [], "next_after": []}
    edited = {"key": "schedule", "before": "0 3 * * *", "after": {"cron": "0 4 * * *"}}
    served.world.difference = {
        "same": False,
        "counts": {"added": 1, "changed": 1, "removed": 3, "refused": 1},
        "changes": [
            change | {"name": "jobs/new", "change": "added", "keys": [], "next_after": ["2026-11-21T03:10:00Z"]},
            change
            | {
                "name": "jobs/a",
                "change": "changed",
                "keys": [edited, {"key": "umask", "before": None, "after": "0022"}],
                "next_before": ["2026-11-21T03:00:00Z"],
                "next_after": ["2026-11-21T04:00:00Z", "2027-11-21T04:00:00Z"],
            },
            change | {"name": "nodes/old\x1b[2J", "change": "removed", "keys": []},
        ],
        "refused": served.world.problems,
    }
    shown = await ctl("diff", "--utc")
    assert shown.code == 1
    lines = shown.out.splitlines()
    assert lines[0] == "added    jobs/new"
    assert lines[1].startswith("           next: - → ")
    assert lines[1].endswith("03:10:00Z")
    assert lines[2:5] == [
        "changed  jobs/a",
        '           schedule: 0 3 * * * → {"cron": "0 4 * * *"}',
        "           umask: - → 0022",
    ]
    assert "2027-11-21 04:00:00Z" in lines[5]
    assert "\x1b" not in shown.out
    assert lines[-1] == (
        "refused  /etc/distcron/jobs.d/typo.json:3:5: unknown key 'ownerz' (did you mean owners?); "
        "in force: nothing of it"
    )
    assert shown.err == "1 added, 1 changed, 3 removed, 1 refused (2 of them not shown)\n"
    assert (await ctl("diff", "-o", "name")).out.splitlines()[:2] == ["jobs/new", "jobs/a"]
    of_data = await ctl("diff", "-o", "json")
    assert (of_data.code, json.loads(of_data.out)) == (1, served.world.difference)


# ---------------------------------------------------------------- figures


async def test_report_shows_the_worst_first(ctl) -> None:
    lines = (await ctl("report", "--days", "14")).out.splitlines()
    assert "1,400 runs, 50.0 % went well, 3 never ran" in lines[0]
    assert lines[2].split()[:3] == ["JOB", "RUNS", "OK"]
    assert lines[3].split("  ")[0] == "exit7"
    for words in ("50 failure", "3 window passed", "≥ 2m", "↘ 100 % ok, ↗ 36s"):
        assert words in lines[3]
    assert "≥" in lines[4]
    assert (await ctl("report", "-o", "name")).out.split() == sorted([*ENDINGS, OPEN_JOB, "busy", "billing.invoice"])
    assert (await ctl("report", "-o", "json")).json()["items"][0]["job"] == "billing.invoice"
    assert (await ctl("report", "--days", "0")).code == 2


async def test_report_joins_pages(ctl, served) -> None:
    for number in range(1500):
        served.world.jobs[f"j{number}"] = served.world.jobs["invoices"]
    found = (await ctl("report", "-o", "json")).json()
    assert (len(found["items"]), found["next"]) == (len(served.world.jobs), None)


async def test_simulate_shows_when_it_is_most(ctl) -> None:
    shown = await ctl("simulate", "--days", "1", "--utc")
    assert shown.code == 0
    for words in (
        "1 day: about 216 starts of 9 jobs",
        "most at once: 9",
        "Busiest minutes",
        "≈ 24",
        "23 times the run before still goes on, an estimate from",
        "busy  is paused",
        "exit7: clock goes back",
    ):
        assert words in shown.out
    assert len(re.findall(r"^  [0-2][0-9]  ", shown.out, re.MULTILINE)) == 24
    assert (await ctl("simulate", "-o", "json")).json()["complete"] is False
    assert "exit7" in (await ctl("simulate", "-o", "name")).out.split()
    assert (await ctl("simulate", "--days", "32")).code == 2


# ---------------------------------------------------------------- crontabs


async def test_import_of_a_crontab_writes_files_that_pass_the_check(tmp_path) -> None:
    tab, folder, ctl = tmp_path / "tab", tmp_path / "jobs.d", Shell(None)
    tab.write_text("MAILTO=ops@example.com\n# Rotate the logs\n30 4 * * * /opt/rotate\n61 * * * * no\n@reboot x\n")
    folder.mkdir()
    dry = await ctl("import", "crontab", str(tab))
    assert dry.code == 1
    (document,) = yaml.safe_load_all(dry.out)
    assert (document["schedule"], document["shell_command"]) == ("30 4 * * *", "/opt/rotate")
    for words in (
        f"{tab}:4: not taken over: minute '61'",
        f"{tab}:5: not taken over: @reboot",
        "cron still runs",
        "1 jobs",
    ):
        assert words in dry.err
    assert list(folder.iterdir()) == []
    written = await ctl(
        "import", "crontab", str(tab), "--run-on", "web1", "--namespace", "old", "--directory", str(folder)
    )
    assert (written.code, written.out.split()) == (1, [str(folder / "old" / "rotate-the-logs.yaml")])
    assert yaml.safe_load((folder / "old" / "rotate-the-logs.yaml").read_text())["policy"] == {"hosts": ["web1"]}
    again = await ctl("import", "crontab", str(tab), "--namespace", "old", "--directory", str(folder))
    assert (again.code, "nothing was written" in again.err) == (6, True)
    said = (await ctl("import", "crontab", str(tab), "-o", "json")).json()
    assert [job["name"] for job in said["jobs"]] == ["rotate-the-logs"]
    assert [(remark["line"], remark["lost"]) for remark in said["remarks"]] == [(1, False), (4, True), (5, True)]


async def test_import_of_the_crontabs_of_a_node(ctl, served) -> None:
    system = {"file": "/etc/cron.d/certbot", "system": True, "user": None, "text": "0 */12 * * * root certbot renew\n"}
    own = {"file": "crontab of cron", "system": False, "user": "cron", "text": "@daily /opt/mine\n"}
    served.world.crontabs = {"items": [system, own], "unreadable": ["/var/spool/cron/crontabs"]}
    shown = await ctl("import", "crontab", "--node", "web1", "--disabled")
    assert (shown.code, "/var/spool/cron/crontabs cannot be read as cron" in shown.err) == (0, True)
    first, second = yaml.safe_load_all(shown.out)
    assert (first["run_as"], first["policy"], first["enabled"]) == ("root", {"hosts": ["web1"]}, False)
    assert first["schedule"] == {"cron": "0 */12 * * *", "timezone": "Europe/Berlin"}
    assert ("run_as" in second, "# web1/certbot.yaml" in shown.out) == (False, True)
    served.world.crontabs = {"items": []}
    assert "no crontab that cron may read" in (await ctl("import", "crontab", "--node", "web1")).err


async def test_import_refuses_what_means_nothing(ctl, tmp_path) -> None:
    tab = tmp_path / "tab"
    tab.write_text("@daily root /opt/x\n")
    assert (await ctl("import", "crontab")).code == 2
    assert (await ctl("import", "crontab", str(tab), "--node", "web1")).code == 2
    taken_for_users = await ctl("import", "crontab", str(tab))
    assert (taken_for_users.code, "--system" in taken_for_users.err) == (2, True)
    assert yaml.safe_load((await ctl("import", "crontab", str(tab), "--system")).out)["run_as"] == "root"
    assert "root /opt/x" in (await ctl("import", "crontab", str(tab), "--no-system")).out
    assert (await ctl("import", "crontab", str(tmp_path / "none"))).code == 1
    assert (await ctl("import", "crontab", "--node", "wep1")).code == 3
    absent = await ctl("import", "crontab", str(tab), "--system", "--directory", str(tmp_path / "none"))
    assert (absent.code, "mkdir" in absent.err) == (2, True)
    tab.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "more than a megabyte" in (await ctl("import", "crontab", str(tab))).err


# ---------------------------------------------------------------- saying no


async def test_not_found_names_the_nearest(ctl) -> None:
    for words, hint in (
        (["job", "invocies"], "did you mean job `invoices`?"),
        (["run", "invocies"], "did you mean job `invoices`?"),
        (["logs", "invocies"], "did you mean job `invoices`?"),
        (["next", "invocies"], "did you mean job `invoices`?"),
        (["node", "wep1"], "did you mean node `web1`?"),
        (["run", "invoices", "--node", "wep1"], "did you mean node `web1`?"),
        (["job", "../../etc/passwd"], "no job"),
        (["cancel", "x@y"], "an id looks like"),
    ):
        shown = await ctl(*words)
        assert (shown.code, shown.out) == (3, ""), words
        assert hint in shown.err


async def test_conflict(ctl) -> None:
    shown = await ctl("run", "busy")
    assert (shown.code, "waits already" in shown.err) == (6, True)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["stauts"], "did you mean `status`?"),
        (["xyzzy"], "--help"),
        (["jobs", "--nope"], "No such option"),
        (["runs", "--outcome", "failed"], "is not one of"),
        (["runs", "--since", "yesterday"], "not an instant"),
        (["run", "invoices", "-e", "MONTH"], "-e NAME=VALUE"),
        (["run", "invoices", "-e", "PATH=/tmp"], "may not be set"),
        (["run"], "Missing argument"),
        (["--server", "localhost:8080", "jobs"], "no address"),
    ],
)
async def test_usage(ctl, words, hint) -> None:
    shown = await ctl(*words)
    assert (shown.code, shown.out) == (2, "")
    assert hint in shown.err


@pytest.mark.parametrize(
    ("states", "code", "line"),
    [
        ((), 0, "0 of 0"),
        (("ok",), 0, "1 of 1"),
        (("ok", "warn"), 0, "1 of 2"),
        (("ok", "warn", "fail"), 1, "1 of 3"),
    ],
)
async def test_doctor_fails_only_with_a_failed_check(ctl, served, states, code, line) -> None:
    served.world.checks = [a_check(state, remedy="" if state == "ok" else "do so") for state in states]
    shown = await ctl("doctor")
    assert (shown.code, line in shown.err) == (code, True)
    assert len(shown.out.splitlines()) == sum(state != "ok" for state in states)
    assert len((await ctl("doctor", "--all")).out.splitlines()) == len(states)
    document = await ctl("doctor", "-o", "json")
    assert (document.code, document.json()["checks"]) == (code, served.world.checks)


async def test_trust_pins_only_what_was_confirmed(ctl, served) -> None:
    alone = await ctl("trust", "web1")
    assert (alone.code, served.world.pinned) == (4, [])
    assert FINGERPRINT in alone.out
    assert (await ctl("trust", "web1", "--fingerprint", "SHA256:else")).code == 4
    served.world.trust = "changed"
    assert "--replace" in (await ctl("trust", "web1", "--yes")).err
    assert served.world.pinned == []
    assert (await ctl("trust", "web1", "--yes", "--replace")).code == 0
    assert served.world.pinned == [FINGERPRINT]
    again = await ctl("trust", "web1", "--jump", "-o", "json")
    assert (again.code, again.json()["state"], again.json()["host"]) == (0, "trusted", "bastion")


def test_every_command_of_the_contract_is_there() -> None:
    promised = (
        "status jobs job nodes node runs run logs cancel rerun next why pause resume drain undrain trust check diff "
        "import export reload reindex backfill upcoming simulate top report completion doctor schema token es kibana"
    )
    assert set(COMMANDS) == set(promised.split())


async def test_unreachable_names_the_remedy(tmp_path) -> None:
    shell = Shell(tmp_path / "none.sock")
    shown = await shell("status")
    assert (shown.code, shown.out) == (5, "")
    assert "systemctl status distcrond" in shown.err
    assert (await shell("--server", "http://127.0.0.1:9", "jobs")).code == 5
    assert (await shell("run", "x", "--wait")).code == 5


async def test_what_is_not_distcrond(tmp_path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_unix_server(babble, tmp_path / "ssh.sock"):
        shown = await Shell(tmp_path / "ssh.sock")("jobs")
    assert (shown.code, "does not speak HTTP" in shown.err) == (5, True)


async def test_our_fault_is_one(ctl, served) -> None:
    served.world.broken = True
    shown = await ctl("runs")
    assert (shown.code, shown.out) == (1, "")
    assert "secret" not in shown.err


async def test_default_sockets(tmp_path) -> None:
    shell = Shell(None)
    system = await shell("jobs")
    assert system.code == 0 or "/run/distcrond/api.sock" in system.err
    shell.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    own = await shell("jobs")
    place = "/run/distcrond/api.sock" if os.geteuid() == 0 else f"{tmp_path}/distcrond/api.sock"
    assert place in own.err


async def test_reader_that_leaves_early(ctl, served) -> None:
    for index in range(3000):
        served.world.add_run("invoices", key=str(index))
    process = await ctl.start("runs", "--limit", "3000")
    await process.stdout.readline()
    process.stdout._transport.close()
    err = await process.stderr.read()
    await process.wait()
    assert b"Traceback" not in err
    assert b"Exception" not in err


# ---------------------------------------------------------------- offline


@pytest.fixture
def daemon_stub(tmp_path) -> Path:
    """A `distcrond` that tells its arguments and finds one mistake."""
    program = tmp_path / "bin" / "distcrond"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\necho "args: $*"\necho "$JOBS/a.json:3:5: error: unknown key ownerz (owners?)"\nexit 1\n'
    )
    program.chmod(0o755)
    return program


async def test_check(tmp_path, daemon_stub) -> None:
    jobs = tmp_path / "etc" / "jobs.d"
    (jobs / "billing").mkdir(parents=True)
    (jobs.parent / "nodes.d").mkdir()
    (jobs.parent / "distcrond.yaml").write_text("")
    (jobs / "a.json").write_text("{}")
    (jobs / "billing" / "b.json").write_text("{}")
    shell = Shell(None)
    shell.environment |= {"PATH": f"{daemon_stub.parent}:/bin:/usr/bin", "JOBS": str(jobs)}
    runner = (
        "import sys; sys.argv[0] = 'x'; sys.executable = '/nowhere/python'; from distcrond.cli.main import main; main()"
    )

    async def check(*words: str) -> Result:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", runner, "check", *words, stdout=pipe, stderr=pipe, env=shell.environment
        )
        return await shell.end(process)

    plain = await check()
    assert (plain.code, plain.out.splitlines()[0]) == (1, "args: --check")
    root = await check(str(jobs.parent))
    expected = f"args: --check --jobs-directory {jobs} --nodes-directory {jobs.parent}/nodes.d"
    assert root.out.splitlines()[0] == f"{expected} --config {jobs.parent}/distcrond.yaml"
    assert (await check(str(jobs))).out == root.out
    wrong = await check(str(jobs / "a.json"))
    assert (wrong.code, wrong.out.count("\n")) == (1, 1)
    right = await check(str(jobs / "billing" / "b.json"))
    assert (right.code, right.out) == (0, "")
    assert (await check(str(tmp_path / "bin" / "distcrond"))).code == 2
    assert (await check("/nonexistent")).code == 2
    shell.environment["PATH"] = "/nonexistent"
    assert (await check()).code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion(shell) -> None:
    shown = await Shell(None)("completion", shell)
    assert shown.code == 0
    assert "_DISTCRONCTL_COMPLETE" in shown.out


async def test_completion_completes() -> None:
    shell = Shell(None)
    shell.environment |= {"_DISTCRONCTL_COMPLETE": "bash_complete", "COMP_WORDS": "distcronctl lo", "COMP_CWORD": "1"}
    assert (await shell()).out.strip() == "plain,logs"


async def test_version_and_bare_call() -> None:
    assert (await Shell(None)("--version")).out.startswith("distcronctl ")
    bare = await Shell(None)()
    assert (bare.code, "Commands:" in bare.out + bare.err) == (2, True)


# ---------------------------------------------------------------- holds


async def test_pause_and_resume(ctl, served) -> None:
    paused = await ctl("pause", "invoices", "--until", "2h")
    assert (paused.code, paused.out) == (0, "invoices\n")
    assert "paused until" in paused.err
    assert "‖ paused until" in (await ctl("jobs")).out
    assert "until" in (await ctl("job", "invoices")).out
    assert "1 paused" in (await ctl("status")).out
    assert "its schedule rests" in (await ctl("run", "invoices")).err
    resumed = await ctl("resume", "invoices", "-o", "json")
    assert resumed.json() == {"job": "invoices", "paused": None}


async def test_pause_all_and_each_pause_is_its_own(ctl) -> None:
    assert (await ctl("pause", "exit7")).code == 0
    paused = await ctl("pause", "--all")
    assert (paused.out, "distcronctl resume --all" in paused.err) == ("all jobs\n", True)
    assert "resume --all" in (await ctl("resume", "invoices")).err
    resumed = await ctl("resume", "--all")
    assert "resting on: exit7" in resumed.err


@pytest.mark.parametrize("words", [("pause",), ("pause", "invoices", "--all"), ("resume",)])
async def test_one_job_or_all(ctl, words) -> None:
    assert (await ctl(*words)).code == 2


async def test_drain_and_undrain(ctl) -> None:
    drained = await ctl("drain", "web1", "--until", "90m")
    assert (drained.code, drained.out) == (0, "web1\n")
    assert "nothing still running there" in drained.err
    for command in (("nodes",), ("node", "web1"), ("status",)):
        assert "‖ drained" in (await ctl(*command)).out
    assert (await ctl("undrain", "web1", "-o", "json")).json()["state"] == "up"
    assert (await ctl("undrain", "web1")).out == "web1\n"


async def test_holds_of_what_does_not_exist_and_ends_that_mean_nothing(ctl) -> None:
    assert [(await ctl(verb, "nope")).code for verb in ("pause", "resume", "drain", "undrain")] == [3] * 4
    assert (await ctl("pause", "invoices", "--until", "soon")).code == 2


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("2026-11-21T03:10:00Z", "2026-11-21T03:10:00Z"),
        ("2026-11-21 03:10", "2026-11-21T02:10:00Z"),  # the client is in Berlin
        ("2026-07-21T03:10:00", "2026-07-21T01:10:00Z"),
    ],
)
async def test_why(ctl, time, at) -> None:
    shown = await ctl("why", "invoices", time, "-o", "wide")
    assert shown.code == 0
    for words in ("▲ missed", "unreachable", "It was missed.", "schedule", "next 03:20", at):
        assert words in shown.out
    assert (await ctl("why", "invoices", time, "-o", "json")).json()["at"] == at


async def test_why_of_times_without_a_date_and_of_nonsense(ctl) -> None:
    assert (await ctl("why", "invoices", "3:10", "--utc", "-o", "json")).json()["at"].endswith("T03:10:00Z")
    assert (await ctl("why", "invoices", "2h")).code == 0
    assert (await ctl("why", "invoices", "soon")).code == 2
    assert (await ctl("why", "nope")).code == 3


async def test_backfill(ctl, served) -> None:
    plan = await ctl("backfill", "invoices", "--from", "2h", "--dry-run")
    assert (plan.code, "4 runs would be made, from " in plan.err) == (0, True)
    assert "no run" in plan.out
    before = len(served.world.runs)
    made = await ctl("backfill", "invoices", "--from", "2h", "-o", "name")
    assert (made.code, len(made.out.split()), len(served.world.runs)) == (0, 4, before + 4)
    assert set(made.out.split()) <= set(served.world.runs)
    shown = (await ctl("backfill", "invoices", "--from", "2026-11-20", "--to", "03:10", "--utc", "-o", "json")).json()
    assert (shown["from"], shown["to"][10:], shown["count"]) == ("2026-11-20T00:00:00Z", "T03:10:00Z", 4)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("invoices",), 2, "--from"),
        (("invoices", "--from", "soon"), 2, "is no time"),
        (("invoices", "--from", "1h", "--to", "2h"), 2, "empty"),
        (("nope", "--from", "1h"), 3, "nope"),
    ],
)
async def test_backfill_of_nonsense(ctl, words, code, said) -> None:
    shown = await ctl("backfill", *words)
    assert (shown.code, said in shown.err) == (code, True)


async def test_export_is_a_file(ctl) -> None:
    exported = await ctl("export", "invoices")
    assert yaml.safe_load(exported.out) == {"command": ["true"], "schedule": "@daily"}
    assert (await ctl("export", "invoices", "-o", "json")).json() == yaml.safe_load(exported.out)
    assert (await ctl("export", "invoices", "-o", "name")).out == "invoices\n"
    assert (await ctl("export", "nope")).code == 3


async def test_upcoming(ctl) -> None:
    shown = await ctl("upcoming", "--hours", "2", "--limit", "5", "-o", "json")
    assert len(shown.json()) == 5
    assert len((await ctl("upcoming", "--no-headers", "--limit", "3")).out.splitlines()) == 3


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("distcronctl pau", ["pause"]),
        ("distcronctl pause inv", ["invoices"]),
        ("distcronctl run exi", ["exit7"]),
        ("distcronctl drain w", ["web1", "web2"]),
        ("distcronctl logs bil", ["billing.invoice"]),
    ],
)
async def test_bash_completes_commands_and_names_from_the_daemon(ctl, line, found) -> None:
    script = (await ctl("completion", "bash")).out
    ask = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD=2; [ ${{#COMP_WORDS[@]}} -eq 2 ] && COMP_CWORD=1\n"
    ask += f'_distcronctl_completion {PROGRAM}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    pipe = asyncio.subprocess.PIPE
    environment = ctl.environment | {"PATH": f"{PROGRAM.parent}:{ctl.environment['PATH']}"}
    bash = await asyncio.create_subprocess_exec("bash", "-c", ask, stdout=pipe, stderr=pipe, env=environment)
    out, err = await bash.communicate()
    assert (err.decode(), out.decode().split()) == ("", found)


async def test_completion_without_a_daemon_completes_nothing_and_says_nothing() -> None:
    shell = Shell(Path("/nonexistent.sock"))
    shell.environment |= {
        "_DISTCRONCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "distcronctl pause i",
        "COMP_CWORD": "2",
    }
    said = await shell()
    assert (said.out.strip(), said.err) == ("", "")


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_help_has_examples(ctl, name) -> None:
    said = await ctl(name, "--help")
    assert (said.code, f"distcronctl {name}" in said.out) == (0, True)
    assert "Examples:" in said.out or "Commands:" in said.out
