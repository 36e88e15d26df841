"""The daemon as built by `app`, reporting to a real server: switched on by a URL alone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.reporting import until

from distcrond.app import build
from distcrond.config.reporting import ElasticsearchSettings
from distcrond.config.settings import Settings
from distcrond.engine.control import Order
from distcrond.model.ids import JobName

PREFIX = "daemon"


@pytest.fixture
def nine(elastic):
    server = elastic.of(9)
    server.wipe(PREFIX)
    return server


def settings(folder: Path, **more) -> Settings:
    for name in ("jobs.d", "nodes.d"):
        (folder / name).mkdir()
    job = {"owners": [{"name": "x"}], "policy": {"hosts": "any"}, "schedule": None, "command": ["/bin/echo", "hello"]}
    (folder / "jobs.d/hello.json").write_text(json.dumps(job))
    (folder / "nodes.d/here.json").write_text('{"connection_type": "local"}')
    places = {"jobs_directory": folder / "jobs.d", "nodes_directory": folder / "nodes.d"}
    return Settings(state_directory=folder / "state", socket=folder / "s", listen=None, **places, **more)


async def run_once(told: Settings) -> str:
    """Run the job, wait for its end, stop the daemon; returns the run's id."""
    async with build(told) as daemon:
        running = asyncio.create_task(daemon.run())
        run = await daemon.engine.control.trigger(Order(job=JobName("hello"), by="anna"))

        async def is_finished() -> bool:
            return bool((await daemon.engine.queries.run(run))["state"] == "finished")

        await until(is_finished)
        daemon.stop()
        await running
    return run


async def live_until_told(told: Settings) -> None:
    """Another life of the daemon, until the sink knows everything."""
    async with build(told) as daemon:
        running = asyncio.create_task(daemon.run())

        async def is_told() -> bool:
            sinks = await daemon.engine.queries.sinks()
            return all(sink["lag"] == 0 for sink in sinks)

        await until(is_told, seconds=60)
        daemon.stop()
        await running


async def test_a_url_alone_switches_it_on(nine, tmp_path):
    group = ElasticsearchSettings(urls=(nine.url,), index_prefix=PREFIX)
    told = settings(tmp_path, storage="es", elasticsearch=group)
    run = await run_once(told)
    await live_until_told(told)  # what a stop could not deliver in five seconds comes with the next start
    there = nine.all(f"{PREFIX}-*")
    assert there[run][1]["distcron"]["outcome"] == "success"
    assert there[f"{run}:here:1"][1]["host"] == {"name": "here"}
    assert there[f"{run}:here:1:merged:0"][1]["message"] == "hello"
    actions = {source["event"]["action"] for _, source in there.values()}
    assert {"daemon-started", "job-defined", "run-requested", "daemon-stopped"} <= actions


async def test_without_settings_one_line_says_where_reports_stay(tmp_path, caplog):
    caplog.set_level("INFO")
    await run_once(settings(tmp_path))
    lines = [record.getMessage() for record in caplog.records if "Elasticsearch" in record.getMessage()]
    assert lines == [f"reports are kept in the journal {tmp_path}/state/journal.db; no Elasticsearch is configured"]


async def test_runs_go_on_where_nobody_listens(tmp_path):
    group = ElasticsearchSettings(urls=("http://127.0.0.1:9",))
    await run_once(settings(tmp_path, storage="es", elasticsearch=group))


async def test_plain(tmp_path):
    run = await run_once(settings(tmp_path, storage="plain", log_directory=tmp_path / "log"))
    (line,) = (tmp_path / "log/runs.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == run
