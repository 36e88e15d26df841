"""Asks an SSH node about itself, in one short session of a connection that stands."""

from __future__ import annotations

import secrets

from distcrond.executors import crontab_script
from distcrond.executors.checkup_script import parse, script
from distcrond.executors.plain import ask
from distcrond.executors.ssh_command import question
from distcrond.executors.ssh_link import Link
from distcrond.model.checkup import NodeFacts
from distcrond.model.crontab import Crontabs
from distcrond.ports import Clock


async def examine(link: Link, clock: Clock) -> NodeFacts:
    """The node's facts; none of them if it runs no questions.

    Raises:
        ExecutorError: there is no way to it.
    """
    await link.ensure()
    mark = secrets.token_hex(8)
    began = clock.now()
    answer = await ask(link, question(script(mark, link.options.spool_directory or "")))
    return parse(answer, mark, between=(began, clock.now()))


async def read_crontabs(link: Link) -> Crontabs:
    """The node's crontabs.

    Raises:
        ExecutorError: there is no way to it.
        ValueError: it does not tell.
    """
    await link.ensure()
    mark = secrets.token_hex(8)
    answer = await ask(link, question(crontab_script.script(mark)), most=crontab_script.MOST)
    return crontab_script.parse(answer, mark)
