"""distcronctl over TCP: tokens are made, used from a file or the environment, listed and revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.test_cli_commands import Shell
from tests.support.fake_engine import Served, serve


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def ctl(served) -> Shell:
    return Shell(served.socket)


@pytest.fixture
async def afar(served) -> Shell:
    shell = Shell(None)
    shell.environment["DISTCRON_SERVER"] = served.url
    return shell


async def test_a_token_is_printed_once_and_used_from_a_file(served, ctl, afar, tmp_path) -> None:
    made = await ctl("token", "create", "ci", "--scope", "operate", "--jobs", "billing.*", "--jobs", "exit7")
    assert made.code == 0, made.err
    assert "jobs billing.* exit7" in made.err
    assert made.out.strip() not in made.err
    file = tmp_path / "ci.token"
    file.write_text(made.out)
    listed = await afar("jobs", "-o", "name", "--token-file", str(file))
    assert listed.out.split() == ["billing.invoice", "exit7"]
    afar.environment["DISTCRON_TOKEN_FILE"] = str(file)
    assert (await afar("run", "exit7")).code == 0
    refused = await afar("run", "invoices")
    assert (refused.code, made.out.strip() in refused.err) == (3, False)
    assert served.world.orders[0].by == "token:ci"


async def test_status_with_a_token_for_some_jobs_is_about_those(served, ctl, afar) -> None:
    served.world.add_run("billing.invoice")
    made = await ctl("token", "create", "ci", "--scope", "read", "--jobs", "billing.*", "--jobs", "exit7")
    afar.environment["DISTCRON_TOKEN"] = made.out.strip()
    shown = await afar("status")
    assert shown.code == 0, shown.err
    assert "2 jobs on 3 nodes" in shown.out
    assert "exit7" in shown.out
    assert "invoices" not in shown.out
    assert "lateness" not in shown.out
    facts = (await afar("status", "-o", "json")).json()
    assert set(facts["usual"]) == {"billing.invoice", "exit7"}
    assert {run["job"] for run in facts["failed"]} == {"exit7"}


async def test_a_token_from_the_environment_ends_when_revoked(ctl, afar) -> None:
    made = await ctl("token", "create", "reader", "--expires", "never", "-o", "json")
    afar.environment["DISTCRON_TOKEN"] = made.json()["token"]
    assert made.json()["expires_at"] is None
    assert (await afar("jobs")).code == 0
    assert (await afar("token", "list")).code == 4
    shown = await ctl("token", "list")
    assert "never" in shown.out
    assert made.json()["token"] not in shown.out
    assert (await ctl("token", "revoke", "reader")).code == 0
    assert (await ctl("token", "revoke", "reader")).code == 3
    refused = await afar("jobs")
    assert (refused.code, "not valid" in refused.err) == (4, True)


async def test_a_flag_wins_over_the_environment(served, ctl, afar) -> None:
    ctl.environment["DISTCRON_SERVER"] = "http://127.0.0.1:1"
    assert (await ctl("--socket", str(served.socket), "jobs")).code == 0
    assert (await ctl("jobs")).code == 5
    afar.environment["DISTCRON_SOCKET"] = "/nonexistent"
    assert (await afar("jobs")).code == 0
    afar.environment["DISTCRON_SERVER"] = "http://127.0.0.1:1"
    assert (await afar("jobs", "--server", served.url)).code == 0


async def test_a_token_is_not_sent_readable_over_the_network(afar) -> None:
    afar.environment |= {"DISTCRON_TOKEN": "distcron_x", "DISTCRON_SERVER": "http://192.0.2.1:8080"}
    refused = await afar("jobs")
    assert (refused.code, "https://" in refused.err, "distcron_x" in refused.err) == (2, True, False)


async def test_what_cannot_be_is_said(ctl, afar, tmp_path) -> None:
    afar.environment["DISTCRON_TOKEN_FILE"] = str(tmp_path / "none")
    assert (await afar("jobs")).code == 2
    assert (await ctl("token", "create", "ci", "--scope", "root")).code == 2
    wrong = await ctl("token", "create", "ci", "--expires", "tomorrow")
    assert (wrong.code, "expires_at" in wrong.err) == (2, True)
    assert "no tokens yet" in (await ctl("token", "list")).err


@pytest.mark.parametrize("kind", ["job", "node", "defaults", "settings"])
async def test_schemas_are_those_that_check_files(ctl, kind) -> None:
    shown = await ctl("schema", kind)
    assert shown.json()["$id"].endswith(f"/{kind}.json")


async def test_a_schema_that_is_none(ctl) -> None:
    wrong = await ctl("schema", "jobs")
    assert (wrong.code, "job, node, defaults, settings" in wrong.err) == (3, True)
