"""The log of what was recorded: one line for each event that people are told of, once it is on the disk.

The facts are those of the stream of events; as fields they have the names of the documents in Elasticsearch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from distcrond.model import event as ev
from distcrond.model.happening import TOLD, happening
from distcrond.model.ids import RunId
from distcrond.model.report import Document
from distcrond.model.run import Outcome, Run

_log = logging.getLogger(__name__)

_SAID_ELSEWHERE: Final = (ev.Reloaded, ev.ClockStepped, ev.StoodBack)
"""Whoever records these writes a line that says more."""
_QUIET: Final = (ev.Due, ev.UpstreamEnded, ev.Held, ev.AttemptStarted, ev.AttemptEnded, ev.JobDefined)
"""Steps on the way: of interest to who looks for a fault."""
_LOUD: Final = (ev.Gapped, ev.AttemptStuck, ev.JournalRestored)
_FIELDS: Final = {"job": "distcron.job", "run": "distcron.run_id", "node": "host.name", "detail": "error.message"}


def write_down(events: Sequence[ev.Event], runs: Mapping[RunId, Run]) -> None:
    """Log what was recorded.

    Args:
        events: in their order.
        runs: those that the events changed, as they are now.
    """
    for event in events:
        if isinstance(event, TOLD) and not isinstance(event, _SAID_ELSEWHERE):
            level = _level(event)
            if _log.isEnabledFor(level):
                _write(level, event, runs.get(getattr(event, "run", RunId(""))))


def _level(event: ev.Event) -> int:
    if isinstance(event, _QUIET):
        return logging.DEBUG
    is_bad = isinstance(event, ev.RunClosed) and event.outcome not in (Outcome.SUCCESS, Outcome.SKIPPED)
    return logging.WARNING if is_bad or isinstance(event, _LOUD) else logging.INFO


def _write(level: int, event: ev.Event, run: Run | None) -> None:
    told = happening(0, event, None if run is None else _places(run)).document
    word = told.pop("event")
    facts = {name: fact for name, fact in told.items() if name not in ("id", "at") and fact not in (None, "", [])}
    text = " ".join(f"{name}={_plain(fact)}" for name, fact in facts.items())
    fields = {_FIELDS.get(name, f"distcron.{name}"): fact for name, fact in facts.items()}
    _log.log(level, "%s %s", word, text, extra={"fields": {"event.action": word.replace("_", "-"), **fields}})


def _places(run: Run) -> Document:
    """As much of the run's document as tells where it ran."""
    targets = [
        {"node": target.node, "attempts": [{"number": one.number, "node": one.node} for one in target.attempts]}
        for target in run.targets
    ]
    return {"targets": targets}


def _plain(fact: object) -> str:
    """A value beside its name: in quotes if it could be taken for more than one."""
    text = ",".join(map(str, fact)) if isinstance(fact, list) else str(fact)
    return text if text.isprintable() and not set(text) & set(' "=') else f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
