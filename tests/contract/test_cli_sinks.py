"""`distcronctl reindex` and `es setup` against a served API."""

from __future__ import annotations

import pytest

from tests.contract.test_cli_commands import Shell
from tests.support.fake_engine import make_world, serve


@pytest.fixture
async def ctl(tmp_path):
    async with serve(tmp_path, make_world()) as served:
        yield Shell(served.socket)


async def test_reindex_shows_how_far_it_came(ctl):
    shown = await ctl("reindex")
    assert (shown.code, shown.out) == (0, "")
    assert "7 of 7 runs and audit records (100 %)" in shown.err


async def test_reindex_for_programs(ctl):
    shown = await ctl("reindex", "-o", "json")
    assert shown.json()["done"] == 7


async def test_an_unknown_sink_is_not_found(ctl):
    shown = await ctl("reindex", "nowhere")
    assert (shown.code, "no sink 'nowhere'" in shown.err) == (3, True)


async def test_es_setup(ctl):
    shown = await ctl("es", "setup")
    assert (shown.code, "templates are installed" in shown.err) == (0, True)
