"""Odd homes and odd words over a real sshd."""

from __future__ import annotations

import os
import shutil

import pytest
from support.ssh import open_executor, run

from distcrond.model.reason import Reason
from distcrond.ports import NotStarted


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["a link", "with spaces", "beside XDG_STATE_HOME"])
async def test_the_spool_is_where_the_home_or_the_user_says(executor, farm, kind):
    place = home = farm.directory / f"home of {kind}"
    home.mkdir()
    if os.geteuid() == 0:
        shutil.chown(home, farm.user)
    if kind == "a link":
        home = farm.directory / "link"
        home.symlink_to(place)
    elsewhere = f'"XDG_STATE_HOME={place}/x d g"' if "XDG" in kind else ""
    (server,) = farm.add(1, SetEnv=f'"HOME={home}" {elsewhere}')
    seen = await run(executor, farm.node(server, spool_directory=""), 'echo "$HOME"; exit 3', durable=True)
    assert (seen.code, seen.text.decode()) == (3, f"{home}\n")
    assert list((place / ("x d g" if elsewhere else ".local/state") / "distcron").glob("*/*.run"))


@pytest.mark.parametrize("durable", [True, False])
async def test_long_words_and_newlines_arrive_and_nul_is_refused(executor, farm, durable):
    node = farm.node(farm.host(0))
    words = ("sh", "-c", 'printf %s "$*" | wc -c', "sh", "x" * 90_000, "y" * 90_000, "z" * 20_000)
    assert int((await run(executor, node, words, durable=durable)).text) == 200_002
    strange = f"{farm.host(0).home}/new\nline 'quoted' $x {durable}"
    seen = await run(executor, node, ("sh", "-c", 'mkdir "$0" && cd "$0" && pwd', strange), durable=durable)
    assert (seen.code, seen.text.decode()) == (0, f"{strange}\n")
    seen = await run(executor, node, "pwd", durable=durable, working_directory=strange)
    assert seen.text.decode() == f"{strange}\n"
    end = (await run(executor, node, "echo a\0b", durable=durable)).end
    assert isinstance(end, NotStarted)
    assert end.reason is Reason.INTERNAL
