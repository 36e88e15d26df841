"""A period in figures: what there was of each job between two instants.

Counted from indexes alone, without reading a run, so that a million of them take a moment; how long runs took, and how
late they were, is read of as many as are asked for, which a hash of their numbers chooses.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.model.ids import JobName
from distcrond.model.occurrence import Trigger
from distcrond.model.report import milliseconds
from distcrond.model.run import Outcome
from distcrond.ports import Tally, Timing

_TROUBLES: Final = codec.encode_words([outcome for outcome in Outcome if outcome is not Outcome.SUCCESS])
_IN: Final = "scheduled >= :since AND scheduled < :until"
_TALLIES: Final = f"""
SELECT name, 'run', '', (SELECT count(*) FROM runs INDEXED BY runs_of_job WHERE job = names.id AND {_IN}) FROM names
UNION ALL
SELECT name, 'trouble', word.value, (SELECT count(*) FROM runs INDEXED BY runs_of_job_in_trouble
 WHERE job = names.id AND trouble = word.value AND {_IN}) FROM names, json_each(:troubles) AS word
UNION ALL
SELECT name, 'open', '', count(*) FROM runs JOIN names ON names.id = job WHERE open IS NOT NULL AND {_IN} GROUP BY job
UNION ALL
SELECT name, 'gap', reason, sum(count) FROM gaps JOIN names ON names.id = job
 WHERE first >= :since AND first < :until GROUP BY job, reason
"""  # noqa: S608  of our own texts
_TIMINGS: Final = f"""
SELECT document FROM runs INDEXED BY runs_of_job WHERE job = (SELECT id FROM names WHERE name = :job) AND {_IN}
 AND ((ref & 0x3fffffff) * 2654435761 >> 7) % :every = 0
"""  # noqa: S608  a multiplicative hash: neighbours of a round of jobs, and of a minute, are told apart


class _Timed(msgspec.Struct):
    """What is read of a run's document."""

    trigger: str
    due_at: datetime
    started_at: datetime | None
    duration_ms: int | None


_TIMED: Final = msgspec.json.Decoder(_Timed)


def tallies(connection: sqlite3.Connection, since: datetime, until: datetime) -> dict[JobName, Tally]:
    """Count the runs of each job that were scheduled then, and what its gaps that began then have left out."""
    counted: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for name, kind, word, count in connection.execute(_TALLIES, _between(since, until) | {"troubles": _TROUBLES}):
        if count:
            counted[name][kind][word] = count
    return {JobName(name): _tally(kinds) for name, kinds in counted.items()}


def timings(
    connection: sqlite3.Connection, every: Mapping[JobName, int], since: datetime, until: datetime
) -> dict[JobName, list[Timing]]:
    """Read one of so many runs of those jobs that were scheduled then and have started.

    Raises:
        JournalError: a run's document is damaged.
    """
    found: dict[JobName, list[Timing]] = {}
    for job, share in every.items():
        rows = connection.execute(_TIMINGS, _between(since, until) | {"job": job, "every": share})
        read = (_timing(document) for (document,) in rows)
        found[job] = [timing for timing in read if timing is not None]
    return found


def _between(since: datetime, until: datetime) -> dict[str, int | str]:
    return {"since": codec.to_micros(since), "until": codec.to_micros(until)}


def _timing(document: bytes) -> Timing | None:
    try:
        run = _TIMED.decode(document)
    except msgspec.DecodeError as error:
        raise JournalError(f"the journal holds a damaged run: {error}") from error
    if run.started_at is None:
        return None
    by_schedule = run.trigger == Trigger.SCHEDULE
    return Timing(run.duration_ms, milliseconds(run.due_at, run.started_at) if by_schedule else None)


def _tally(kinds: Mapping[str, Mapping[str, int]]) -> Tally:
    runs, still_open = (kinds.get(kind, {}).get("", 0) for kind in ("run", "open"))
    troubles = kinds.get("trouble", {})
    success = runs - still_open - sum(troubles.values())
    outcomes = ({Outcome.SUCCESS.value: success} if success else {}) | dict(troubles)
    return Tally(open=still_open, outcomes=outcomes, gaps=dict(kinds.get("gap", {})))
