"""What the tests of the SSH executor share: a node book, an executor without surroundings, and a run in one call."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from distcrond.clock import SystemClock
from distcrond.executors.deadline import within
from distcrond.executors.ssh import SshExecutor
from distcrond.model.command import Argv, Command, ShellCommand
from distcrond.model.ids import AttemptId, NodeName
from distcrond.model.node import Node
from distcrond.model.run import Stream
from distcrond.ports import Chunk, Contact, Ended, NotStarted, Session, WorkOrder

PATIENCE = timedelta(seconds=30)
CLOCK = SystemClock()
_numbers = itertools.count(os.getpid() << 16)  # a stop goes by them, also through processes of another test run


class Book(dict[NodeName, Node]):
    """A `NodeBook` to fill by hand."""

    def node(self, name: NodeName) -> Node | None:
        return self.get(name)

    def add(self, *nodes: Node) -> None:
        self.update({node.name: node for node in nodes})


@dataclass(slots=True)
class Seen:
    """What a session told."""

    end: Ended | NotStarted
    output: dict[Stream, bytes] = field(default_factory=dict)
    contacts: list[bool] = field(default_factory=list)

    @property
    def text(self) -> bytes:
        return b"".join(self.output.values())

    @property
    def code(self) -> int | None:
        assert isinstance(self.end, Ended), self.end
        return self.end.exit.code if self.end.exit else None


@contextlib.asynccontextmanager
async def open_executor(directory: Path, book: Book | None = None, **changes: Any) -> AsyncIterator[SshExecutor]:
    """An executor that knows no file but those below `directory`."""
    settings = {
        "clock": CLOCK,
        "nodes": Book() if book is None else book,
        "state_directory": directory,
        "daemon_id": "ab12",
        "generation": 1,
        "life": "01",
        "user_directory": None,
    }
    executor = SshExecutor(**(settings | changes))
    try:
        yield executor
    finally:
        await executor.close()


def order(command: Command | str | tuple[str, ...], **changes: Any) -> WorkOrder:
    """A work order with an attempt of its own; a text is a shell command."""
    if isinstance(command, str):
        command = ShellCommand(text=command)
    elif isinstance(command, tuple):
        command = Argv(words=command)
    attempt = AttemptId(f"test@20261121T031000Z-{next(_numbers):010x}.0.1")
    return WorkOrder(**({"attempt": attempt, "command": command, "durable": False} | changes))


async def until(condition: Callable[[], object], patience: timedelta = PATIENCE) -> None:
    """Wait for a condition, within reason."""

    async def wait() -> None:
        while not condition():
            await CLOCK.sleep(0.01)

    await within(CLOCK, patience, wait())


async def collect(session: Session, output: dict[Stream, bytes] | None = None) -> Seen:
    """Follow a session to its end; `output` is filled meanwhile, for those who wait for a word."""
    output = {} if output is None else output
    contacts: list[bool] = []
    end = None
    async for event in session.events():
        assert end is None, f"{event} after {end}"
        if isinstance(event, Chunk):
            output[event.stream] = output.get(event.stream, b"") + event.data
        elif isinstance(event, Contact):
            contacts.append(event.lost)
        else:
            end = event
    assert end is not None
    return Seen(end, output, contacts)


async def begin(executor: SshExecutor, node: Node, work: WorkOrder) -> Session:
    """Prepare and start."""
    await executor.prepare(node, timeout=PATIENCE, durable=work.durable)
    session = executor.session(node, work)
    session.start()
    return session


async def run(executor: SshExecutor, node: Node, command: Command | str | tuple[str, ...], **changes: Any) -> Seen:
    """Run a command to its end."""
    return await collect(await begin(executor, node, order(command, **changes)))
