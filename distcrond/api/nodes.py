"""Nodes: how they are, and looking again now."""

from __future__ import annotations

from aiohttp import web

from distcrond.api.answers import answer, page_by_name
from distcrond.api.call import Call
from distcrond.api.hints import did_you_mean
from distcrond.api.problems import Problem, not_found
from distcrond.errors import InvalidValue, NotFound
from distcrond.model.ids import NodeName, node_name


async def list_nodes(call: Call) -> web.Response:
    """All nodes, by name."""
    return page_by_name(call.queries.nodes(), after=call.query.text("cursor"), limit=call.query.number("limit"))


async def show_node(call: Call) -> web.Response:
    """One node."""
    name = _known_node(call)
    try:
        return answer(call.queries.node(name))
    except NotFound:
        raise _no_such_node(call, name) from None


async def probe_node(call: Call) -> web.Response:
    """Look at a node now; answers when the look is asked for, `GET` shows what it saw."""
    name = _known_node(call)
    try:
        await call.control.probe(name)
    except NotFound:
        raise _no_such_node(call, name) from None
    return answer({"name": name}, status=202)


def _known_node(call: Call) -> NodeName:
    text = call.path("node")
    try:
        return node_name(text)
    except InvalidValue:
        raise _no_such_node(call, text) from None


def _no_such_node(call: Call, name: str) -> Problem:
    names = [str(node["name"]) for node in call.queries.nodes()]
    return not_found("node", name, did_you_mean("node", name, names))
