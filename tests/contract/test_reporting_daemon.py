"""The daemon as built by `app`, reporting to a real server: switched on by a URL alone."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.elastic_stub import open_stub
from support.reporting import opensearch, until

from distcrond.app import Daemon, build
from distcrond.config.reporting import ElasticsearchSettings
from distcrond.config.settings import Settings
from distcrond.engine.requests import Order
from distcrond.model.ids import JobName
from tests.contract.test_cli_commands import Shell

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


@asynccontextmanager
async def living(told: Settings) -> AsyncIterator[Daemon]:
    """A life of the daemon, for the length of a block."""
    async with build(told) as daemon:
        running = asyncio.create_task(daemon.run())
        try:
            yield daemon
        finally:
            daemon.stop()
            await running


async def run_once(told: Settings) -> str:
    """A life of the daemon in which the job runs once; returns the run's id."""
    async with living(told) as daemon:
        return await finished_run(daemon)


async def finished_run(daemon: Daemon) -> str:
    run = await daemon.engine.control.trigger(Order(job=JobName("hello"), by="anna"))

    async def is_finished() -> bool:
        return bool((await daemon.engine.queries.run(run))["state"] == "finished")

    await until(is_finished)
    return run


async def all_told(daemon: Daemon) -> None:
    """Return once every sink knows everything."""

    async def is_told() -> bool:
        return all(sink["lag"] == 0 for sink in await daemon.engine.queries.sinks())

    await until(is_told)


async def test_a_url_alone_switches_it_on(nine, tmp_path):
    group = ElasticsearchSettings(urls=(nine.url,), index_prefix=PREFIX)
    told = settings(tmp_path, storage="es", elasticsearch=group)
    run = await run_once(told)
    async with living(told) as daemon:  # what a stop could not deliver in five seconds comes with the next start
        await all_told(daemon)
        [attempt] = (await daemon.engine.queries.run(run))["targets"][0]["attempts"]
    there = nine.all(f"{PREFIX}-*")
    assert there[run][1]["distcron"]["outcome"] == "success"
    assert there[f"{run}:here:1"][1]["host"] == {"name": "here"}
    assert there[f"{run}:here:1"][1]["process"]["pid"] == attempt["pid"] > 1
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


async def test_runs_go_on_beside_an_opensearch_that_is_refused(tmp_path):
    async with opensearch() as url:
        told = settings(tmp_path, storage="es", elasticsearch=ElasticsearchSettings(urls=(url,)))
        async with living(told) as daemon:

            async def is_refused() -> bool:
                (sink,) = await daemon.engine.queries.sinks()
                return bool((sink["state"], sink["reason"]) == ("refused", "unsupported_product"))

            await until(is_refused)
            await finished_run(daemon)


async def test_a_reload_reads_the_secret_again(tmp_path, caplog):
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)

    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"cron:{password}".encode()).decode()

    with open_stub() as stub:
        secret.write_text("first")
        group = ElasticsearchSettings(urls=(stub.url,), username="cron", password_file=secret)
        async with living(settings(tmp_path, storage="es", elasticsearch=group)) as daemon:
            for password in ("first", "second"):
                secret.write_text(password)
                await daemon.engine.control.reload(by="test")
                await finished_run(daemon)
                await until(lambda password=password: _soon(basic(password) in stub.credentials))
            secret.unlink()
            await daemon.engine.control.reload(by="test")
            assert "the secret for Elasticsearch stays as it was" in caplog.text
            stub.credentials.clear()
            await finished_run(daemon)
            await until(lambda: _soon(basic("second") in stub.credentials))
            assert stub.credentials == {basic("second")}


async def _soon(value: bool) -> bool:
    return value


async def test_the_client_refills_a_wiped_index_of_the_running_daemon(nine, tmp_path):
    group = ElasticsearchSettings(urls=(nine.url,), index_prefix=PREFIX)
    told = settings(tmp_path, storage="es", elasticsearch=group)
    async with living(told) as daemon:
        await finished_run(daemon)
        await all_told(daemon)
        before = nine.all(f"{PREFIX}-*")
        nine.wipe(PREFIX)
        shown = await Shell(told.socket)("reindex")
        assert (shown.code, "(100 %)" in shown.err) == (0, True)
        assert before
        assert nine.all(f"{PREFIX}-*") == before


async def test_the_client_installs_templates_that_somebody_removed(nine, tmp_path):
    told = settings(tmp_path, storage="es", elasticsearch=ElasticsearchSettings(urls=(nine.url,), index_prefix=PREFIX))
    async with living(told) as daemon:
        await all_told(daemon)
        before = templates(nine)
        assert before == [f"{PREFIX}-{kind}" for kind in ("audit", "executions", "output", "runs")]
        for name in before:
            nine.ask("DELETE", f"/_index_template/{name}")
        assert (await Shell(told.socket)("es", "setup")).code == 0
        assert templates(nine) == before


def templates(server) -> list[str]:
    """The names of ours."""
    found = server.ask("GET", "/_index_template")["index_templates"]
    return sorted(one["name"] for one in found if one["name"].startswith(f"{PREFIX}-"))


async def test_a_reload_gives_plain_files_away_and_is_recorded(nine, tmp_path):
    places = {"storage": "plain", "log_directory": tmp_path / "log"}
    told = settings(tmp_path, elasticsearch=ElasticsearchSettings(urls=(nine.url,), index_prefix=PREFIX), **places)
    file, moved = tmp_path / "log/runs.jsonl", tmp_path / "log/runs.jsonl.moved"
    async with living(told) as daemon:
        first = await finished_run(daemon)
        await all_told(daemon)
        file.rename(moved)
        (tmp_path / "nodes.d/more.json").write_text('{"connection_type": "local"}')
        daemon.reload()
        await until(lambda: "more" in [node["name"] for node in daemon.engine.queries.nodes()])
        second = await finished_run(daemon)
        await all_told(daemon)
        audit = [source for _, source in nine.all(f"{PREFIX}-audit-*").values()]
    assert [json.loads(path.read_text())["id"] for path in (moved, file)] == [first, second]
    reloads = [one for one in audit if one["event"]["action"] == "files-reloaded"]
    assert "SIGHUP" in [one["user"]["name"] for one in reloads]
    # the daemon may have looked by itself a moment before
    assert ["nodes/more"] in [one["distcron"].get("added") for one in reloads]


async def test_plain(tmp_path):
    run = await run_once(settings(tmp_path, storage="plain", log_directory=tmp_path / "log"))
    (line,) = (tmp_path / "log/runs.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == run
