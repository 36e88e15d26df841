"""Headless Chromium over its DevTools protocol: opens pages and tells what they did."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from support import parts

SECONDS = 30.0


@dataclass(slots=True)
class Page:
    """One tab. `requests`, `answers`, `dialogs` and `errors` are what happened in it so far."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    requests: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def open(self, url: str) -> None:
        """Go there."""
        answer = await self.call("Page.navigate", url=url)
        assert not answer.get("errorText"), (url, answer)

    async def text(self, part: str = "body") -> str:
        """What a reader sees in the part that a CSS selector names."""
        return str(await self.value(f"document.querySelector({part!r})?.innerText ?? ''"))

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def shows(self, *texts: str, part: str = "body") -> str:
        """Return what the page, or a part of it, shows once all these texts are there."""
        deadline = time.perf_counter() + SECONDS
        while not _holds(seen := await self.text(part), texts):
            assert time.perf_counter() < deadline, f"{texts} not in: {seen}"
            await asyncio.to_thread(time.sleep, 0.05)
        return seen

    async def listens(self, url: str) -> None:
        """Return once the page has been answered from this address."""
        deadline = time.perf_counter() + SECONDS
        while url not in self.answers:
            assert time.perf_counter() < deadline, self.answers
            await asyncio.to_thread(time.sleep, 0.05)

    async def tries(self, url: str) -> None:
        """Return once the page has shown a dialog and asked for this address."""
        deadline = time.perf_counter() + SECONDS
        while not (self.dialogs and url in self.requests):
            assert time.perf_counter() < deadline, f"{self.dialogs}, {self.requests}"
            await asyncio.to_thread(time.sleep, 0.05)

    async def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.send_json(message | ({"sessionId": self.session} if self.session else {}))
        return await asyncio.wait_for(self._answers[number], SECONDS)  # noqa: TID251  a real browser takes real time

    async def listen(self) -> None:
        """Take what the browser tells, until it ends."""
        async for message in self.socket:
            facts = message.json()
            if "id" in facts:
                self._answers.pop(facts["id"]).set_result(facts.get("result", facts))
            else:
                self._note(facts["method"], facts.get("params", {}))

    def _note(self, method: str, facts: Any) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(facts["request"]["url"])
            case "Network.responseReceived":
                self.answers.append(facts["response"]["url"])
            case "Page.javascriptDialogOpening":
                self.dialogs.append(facts["message"])
            case "Log.entryAdded" if facts["entry"]["level"] == "error":
                self.errors.append(facts["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(facts["exceptionDetails"]))


def _holds(seen: str, texts: tuple[str, ...]) -> bool:
    return all(text in seen for text in texts)


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """A tab of a browser of its own; without a browser the test is skipped."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        parts.not_found("chromium", "no headless browser in PATH")
    with tempfile.TemporaryDirectory(prefix="distcron-chromium-", ignore_cleanup_errors=True) as directory:
        process = await asyncio.create_subprocess_exec(
            *(program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={directory}"),
            *("--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
            *("--disable-extensions", "--disable-component-update", "--window-size=1280,1600"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"HOME": directory},
            start_new_session=True,
        )
        try:
            address = await asyncio.wait_for(_address(process), SECONDS)  # noqa: TID251
            async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                await _attach(page)
                yield page
                listening.cancel()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    told = b""
    async for line in process.stderr:
        told += line
        if line.startswith(b"DevTools listening on "):
            return line.decode().split()[-1]
    raise AssertionError(f"chromium does not start: {told.decode(errors='replace')}")


async def _attach(page: Page) -> None:
    target = await page.call("Target.createTarget", url="about:blank")
    attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page.session = attached["sessionId"]
    for domain in ("Page", "Network", "Runtime", "Log"):
        await page.call(f"{domain}.enable")
