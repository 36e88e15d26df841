"""Nodes: how they are, and looking again now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from distcrond.api.answers import answer
from distcrond.api.call import Call
from distcrond.api.hints import did_you_mean
from distcrond.api.lists import page_of
from distcrond.api.problems import Problem, not_found
from distcrond.engine.trust import Confirmed
from distcrond.errors import ExecutorError, InvalidValue, NotFound
from distcrond.model.ids import NodeName, node_name


async def list_nodes(call: Call) -> web.Response:
    """All nodes, by name."""
    return page_of(call, call.queries.nodes(), "name")


async def show_node(call: Call) -> web.Response:
    """One node."""
    return answer(call.queries.node(known_node(call)))


async def probe_node(call: Call) -> web.Response:
    """Look at a node now; answers when the look is asked for, `GET` shows what it saw."""
    name = known_node(call)
    await call.control.probe(name)
    return answer({"name": name}, status=202)


async def show_crontabs(call: Call) -> web.Response:
    """Read what cron would run on a node."""
    name = known_node(call)
    with _unreachable():
        return answer(await call.queries.crontabs.of(name))


async def show_host_keys(call: Call) -> web.Response:
    """Ask a node's server for its host keys; logs in nowhere but at a jump host."""
    name = known_node(call)
    with _unreachable():
        return answer(await call.control.trust.look(name, jump=call.query.flag("jump")))


async def pin_host_keys(call: Call) -> web.Response:
    """Trust host keys that somebody has confirmed."""
    body = call.body
    wish = Confirmed(
        node=known_node(call),
        fingerprints=tuple(body["fingerprints"]),
        by=call.by,
        replace=bool(body.get("replace")),
        jump=bool(body.get("jump")),
    )
    with _unreachable():
        return answer(await call.control.trust.pin(wish))


@contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except ExecutorError as error:
        raise Problem(502, error.reason, error.detail) from None


def known_node(call: Call) -> NodeName:
    """Read the node's name from the path.

    Raises:
        Problem: 404.
    """
    text = call.path("node")
    try:
        name = node_name(text)
        call.queries.node(name)
    except (InvalidValue, NotFound):
        raise _no_such_node(call, text) from None
    return name


def _no_such_node(call: Call, name: str) -> Problem:
    names = [str(node["name"]) for node in call.queries.nodes()]
    return not_found("node", name, did_you_mean("node", name, names))
