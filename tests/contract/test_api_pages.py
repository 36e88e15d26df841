"""The pages: served as they are, without inline script or style, and with nothing from outside."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from distcrond.web import pages as web_pages
from tests.support.fake_engine import serve

PATHS = ["/", "/run", "/static/style.css", "/static/app.js", "/static/icon.svg"]


@pytest.fixture
async def client(tmp_path) -> AsyncIterator[aiohttp.ClientSession]:
    async with serve(tmp_path, pages=web_pages()) as served, aiohttp.ClientSession(served.url) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
async def test_served_with_the_headers(client, path) -> None:
    async with client.get(path) as answer:
        text = await answer.text()
        assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"""(?:src|href)="(?:https?:)?//""", text)
    async with client.get(path, headers={"If-None-Match": answer.headers["ETag"]}) as again:
        assert again.status == 304
    async with client.post(path) as refused:
        assert refused.status == 405


@pytest.mark.parametrize("path", ["/", "/run"])
async def test_nothing_is_inline(client, path) -> None:
    async with client.get(path) as answer:
        text = await answer.text()
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)|javascript:", text)


async def test_script_makes_no_markup_of_text(client) -> None:
    async with client.get("/static/app.js") as answer:
        text = await answer.text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|srcdoc", text)


async def test_every_element_the_script_names_exists(client) -> None:
    async with client.get("/static/app.js") as answer:
        named = set(re.findall(r"""\$\("([\w-]+)"\)|show\("([\w-]+)\"""", await answer.text()))
    pages = ""
    for path in ("/", "/run"):
        async with client.get(path) as answer:
            pages += await answer.text()
    ids = set(re.findall(r'id="([\w-]+)"', pages))
    assert {first or second for first, second in named} <= ids


async def test_no_other_file_is_served(client) -> None:
    climbing = ("/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2fpages.py", "/static/%2e%2e%2ffiles.py")
    for path in (*climbing, "/static/", "/static//etc/passwd", "/static/app.js%00", "/index.html", "/favicon.ico"):
        async with client.get(path) as answer:
            assert answer.status == 404
