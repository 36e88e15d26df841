"""What the log says: a line for each recorded event with its facts, and no flood from what goes on and on."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from world import World, a_job, a_node, cron, every

from distcrond.errors import NodeUnreachable
from distcrond.logs import JsonFormatter, TextFormatter
from distcrond.model.event import TokenCreated, TokenRevoked
from distcrond.model.reason import Reason
from distcrond.model.run import Exit
from distcrond.testing import Script

DIARY = "distcrond.engine.telling.diary"


def lines(caplog: pytest.LogCaptureFixture, logger: str = DIARY) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger]


async def test_each_event_of_a_run_has_a_line_with_its_facts(world: World, caplog) -> None:
    caplog.set_level(logging.DEBUG, logger=DIARY)
    world.executor.script(Script(exit=Exit(code=7)))
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=5)
    told = [line.split()[0] for line in lines(caplog)]
    assert told == ["job_defined", "run_due", "attempt_started", "attempt_ended", "run_finished"]
    record = next(one for one in caplog.records if one.getMessage().startswith("run_finished"))
    assert record.levelno == logging.WARNING
    fields = json.loads(JsonFormatter().format(record))
    expected = {
        "event.action": "run-finished",
        "distcron.job": "job",
        "distcron.run_id": run,
        "distcron.outcome": "failure",
        "distcron.reason": "exit_code",
        "distcron.nodes": ["a"],
    }
    assert fields | expected == fields
    assert f"job=job run={run} outcome=failure reason=exit_code" in record.getMessage()
    ended = next(one for one in caplog.records if one.getMessage().startswith("attempt_ended"))
    assert json.loads(JsonFormatter().format(ended))["host.name"] == "a"


async def test_tokens_made_and_revoked_have_a_line(world: World, caplog) -> None:
    caplog.set_level(logging.INFO, logger=DIARY)
    await world.start()
    facts = {"at": world.clock.now(), "by": "unix:0", "name": "ci", "scope": "read", "jobs": ("a.*", "b")}
    for kind in (TokenCreated, TokenRevoked):
        await world.engine.control.record_token(kind(**facts, expires_at=None))
    told = "by=unix:0 token=ci scope=read jobs=a.*,b"
    assert lines(caplog) == [f"token_created {told}", f"token_revoked {told}"]


async def test_at_the_usual_level_a_run_has_one_line(world: World, caplog) -> None:
    caplog.set_level(logging.INFO)
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.pass_(minutes=10.5)
    assert [line.split()[0] for line in lines(caplog) if "run_" in line] == ["run_finished"] * 10


async def test_what_a_node_says_cannot_forge_a_line(world: World, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    evil = 'no\nrun_finished job=forged outcome="success"\r\x1b[2J'
    world.executor.node("a").faults["prepare"] = NodeUnreachable(Reason.UNREACHABLE, evil)
    world.executor.node("a").faults["probe"] = NodeUnreachable(Reason.UNREACHABLE, evil)
    await world.start(a_job(start_deadline=timedelta(seconds=30)), a_node("a"))
    await world.trigger()
    await world.pass_(minutes=2)
    said = [record for record in caplog.records if "forged" in record.getMessage()]
    assert said
    for formatter in (TextFormatter(), JsonFormatter()):
        assert {len(formatter.format(record).splitlines()) for record in said} == {1}
        assert not any("\x1b" in formatter.format(record) for record in said)


async def test_a_node_that_is_down_for_a_day_is_told_in_few_lines(world: World, caplog) -> None:
    caplog.set_level(logging.INFO)
    world.executor.node("a").cut(Reason.CONNECTION_REFUSED)
    await world.start(a_node("a"))
    await world.pass_(hours=1)
    assert len(lines(caplog, "distcrond.engine.dispatch.health")) == 1
    await world.pass_(hours=23)
    told = lines(caplog, "distcrond.engine.dispatch.health")
    assert len(told) <= 5
    assert told[-1].startswith("node a is still down, since 2026-01-05 ")


async def test_jobs_for_a_node_that_is_down_have_a_line_for_each_run_and_no_more(world: World, caplog) -> None:
    caplog.set_level(logging.INFO)
    world.executor.node("a").cut(Reason.CONNECTION_REFUSED)
    job = a_job(schedule=every(minutes=5), nodes=("a",), start_deadline=timedelta(minutes=1))
    await world.start(job, a_node("a"))
    await world.pass_(minutes=62)
    runs = [line for line in lines(caplog) if line.startswith("run_finished")]
    assert len(runs) == 12
    assert len(caplog.records) <= 12 + 5


async def test_a_clock_that_steps_and_steps_is_told_once_a_minute(world: World, caplog) -> None:
    await world.start(a_node("a"))
    for _ in range(150):
        world.clock.step(timedelta(seconds=5))
        await world.pass_(seconds=2)
    told = [line for line in lines(caplog, "distcrond.engine.service") if "stepped" in line]
    assert 4 <= len(told) <= 7
    assert "more steps of which no line told" in told[-1]
