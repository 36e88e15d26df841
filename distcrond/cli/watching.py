"""Watching a run: what is new is asked for by offset, so a broken connection repeats and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import Unreachable
from distcrond.cli.printer import Printer
from distcrond.cli.questions import run_by_id
from distcrond.cli.show.formats import say

Document = dict[str, Any]
WAIT = 30
"""Seconds that one question waits for news."""
_TRIES = 120
_TAIL_BYTES = 64 * 1024
_LONGEST_TAIL = 4 * 1024 * 1024


@dataclass(slots=True)
class _Position:
    number: int
    offset: int = 0


class Watcher:
    """Prints the output of a run's targets as it comes.

    Args:
        client: whom to ask.
        run: the run's id.
        printer: where to.
        node: only of this one.
        stream: only this one.
        all_attempts: begin with the first attempt, else with the latest.
        tail: begin with so many last lines, or None for all.
    """

    def __init__(
        self,
        client: Client,
        run: str,
        printer: Printer,
        *,
        node: str | None = None,
        stream: str | None = None,
        all_attempts: bool = False,
        tail: int | None = None,
    ) -> None:
        self._client = client
        self._run = run
        self._printer = printer
        self._node = node
        self._stream = stream
        self._all_attempts = all_attempts
        self._tail = tail
        self._positions: dict[int, _Position] = {}

    def print_new(self, document: Document) -> None:
        """Print what the targets have said since the last time."""
        for target in document["targets"]:
            if target["node"] and target["attempts"] and self._node in (None, target["node"]):
                self._print_target(target)

    def follow(self, document: Document) -> Document:
        """Print until the run, or what it does on the one node, has ended; returns its last document."""
        silence, steps = Silence(), Steps()
        patient(partial(self.print_new, document))
        while not self._is_over(document):
            silence.look(document)
            steps.look(document)
            revision = document["revision"]
            document = patient(partial(run_by_id, self._client, self._run, wait=WAIT, revision=revision))
            patient(partial(self.print_new, document))
        self._printer.finish_all()
        return document

    def _is_over(self, document: Document) -> bool:
        mine = of_node(document, self._node)["targets"]
        return document["state"] == "finished" or bool(mine and all(each["state"] == "finished" for each in mine))

    def _print_target(self, target: Document) -> None:
        position = self._positions.get(target["index"]) or self._begin(target)
        for attempt in target["attempts"]:
            if attempt["number"] < position.number:
                continue
            if attempt["number"] > position.number:
                self._printer.attempt(target["node"], attempt["number"], attempt["node"])
                position.number, position.offset = attempt["number"], 0
            self._drain(target["node"], attempt, position)

    def _begin(self, target: Document) -> _Position:
        first = target["attempts"][0 if self._all_attempts else -1]
        position = _Position(number=first["number"])
        if self._tail is not None:
            data, position.offset = self._read_tail(target["node"], position, self._tail)
            self._printer.output(target["node"], data)
        self._positions[target["index"]] = position
        return position

    def _drain(self, name: str, attempt: Document, position: _Position) -> None:
        while attempt["output"]["bytes"] > position.offset:
            answer = self._ask(name, position.number, position.offset)
            begins, following = position.offset, int(answer.headers["X-Next-Offset"])
            body = answer.body
            for start, stop in _holes(answer.headers.get("X-Output-Hole", "")):
                self._printer.output(name, body[: start - begins])
                self._printer.hole(name, start, stop)
                body, begins = body[start - begins :], stop
            self._printer.output(name, body)
            if following == position.offset:
                return
            position.offset = following

    def _read_tail(self, name: str, position: _Position, lines: int) -> tuple[bytes, int]:
        """Read the last lines without reading the rest; the window grows until it holds enough."""
        window = _TAIL_BYTES
        while True:
            answer = self._ask(name, position.number, -window)
            body = answer.body
            enough = body.count(b"\n", 0, -1) >= lines or answer.headers["X-Output-Offset"] == "0"
            if enough or window >= _LONGEST_TAIL:
                return last_lines(body, lines), int(answer.headers["X-Next-Offset"])
            window *= 8

    def _ask(self, name: str, number: int, offset: int) -> Any:
        query = {"node": name, "attempt": number, "offset": offset, "stream": self._stream}
        return self._client.get(path_of("runs", self._run, "output"), query)


def of_node(document: Document, node: str | None) -> Document:
    """The run as if it had but its targets on that node; without a node, or with nothing there, as it is."""
    mine = [target for target in document["targets"] if node is not None and target["node"] == node]
    return document | ({"targets": mine} if mine else {})


def wait_for(client: Client, document: Document) -> Document:
    """Return the run once it has ended."""
    silence, steps = Silence(), Steps()
    while document["state"] != "finished":
        silence.look(document)
        steps.look(document)
        document = patient(partial(run_by_id, client, document["id"], wait=WAIT))
    return document


class Silence:
    """Says when a node of a run falls silent, and when it answers again."""

    def __init__(self) -> None:
        self._silent: set[str] = set()

    def look(self, document: Document) -> None:
        """Compare with the last time."""
        running = [target for target in document["targets"] if target["state"] == "running"]
        silent = {target["node"] for target in running if target["contact"] == "lost"}
        for node in sorted(silent - self._silent):
            say(f"{node} does not answer; as far as anybody knows the run goes on there")
        for node in sorted({target["node"] for target in running} & self._silent - silent):
            say(f"{node} answers again")
        self._silent = silent


class Steps:
    """Says when a run over several nodes comes to its next batch, and when more of its targets have failed."""

    def __init__(self) -> None:
        self._said: tuple[int | None, int, bool] = (None, 0, False)

    def look(self, document: Document) -> None:
        """Compare with the last time."""
        progress = document.get("progress")
        if not progress:
            return
        present = (progress["batch"], progress["failed"], progress["stopped"])
        if present != self._said:
            say(progress["text"])
        self._said = present


def patient(ask: Callable[[], Any]) -> Any:
    """Ask again while the daemon is away: it may be restarting, and the run goes on meanwhile.

    Raises:
        Unreachable: for two minutes there was no answer.
    """
    try:
        return ask()
    except Unreachable as gone:
        say(f"{gone}\nwaiting for distcrond to come back; the run goes on")
    for _ in range(_TRIES):
        time.sleep(1)
        try:
            answer = ask()
        except Unreachable:
            continue
        say("distcrond is back")
        return answer
    return ask()


def last_lines(text: bytes, count: int) -> bytes:
    """The last lines of a text; a last line without an end counts."""
    lines = text.splitlines(keepends=True)
    return b"".join(lines[len(lines) - count :]) if 0 < count < len(lines) else text if count else b""


def _holes(header: str) -> list[tuple[int, int]]:
    ranges = [each.strip().partition("-") for each in header.split(",") if each]
    return [(int(start), int(stop)) for start, _, stop in ranges]
