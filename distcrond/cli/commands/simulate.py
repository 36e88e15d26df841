"""`distcronctl simulate [--days N]`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.clean import word
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.table import Cell, Row, cell, table

Document = dict[str, Any]
_FEW = 10
_WIDTH = 40


@click.command(
    short_help="What would run in the next days, and when it is most.",
    epilog="\b\nExamples:\n  distcronctl simulate\n  distcronctl simulate --days 31 -o wide\n"
    "  distcronctl simulate -o json | jq '.jobs[] | select(.overlaps > 0)'",
)
@click.option("--days", type=click.IntRange(1, 31), default=7, show_default=True, help="How many days.")
@global_options
def command(days: int) -> None:
    """What would run in the next days: starts by the hour, the busiest minutes, how much runs at once, what never does.

    How long runs take is the median of each job's last ones; a run on several nodes counts as one, and limits of nodes
    are not looked at. Of jobs that start more often than can be counted (in all about a hundred thousand times) it is
    said until when they were; then they are taken to go on alike.
    """
    options = settings()
    answer = Client(options).get(path_of("simulate"), {"days": days})
    document = answer.document()
    if options.output == "name":
        for job in document["jobs"]:
            echo(job["job"], options)
    elif not options.for_people:
        show_data(document, options, key="jobs")
    else:
        for line in _screen(document, answer.now, days, options):
            echo(line, options)


def _screen(document: Document, now: datetime, days: int, options: Settings) -> Iterator[str]:
    few = None if options.output == "wide" else _FEW
    more = "" if document["complete"] else "about "
    yield f"{days} day{'s' * (days > 1)}: {more}{document['starts']:,} starts of {len(document['jobs'])} jobs"
    peak = document["peak"]
    if peak is not None:
        yield f"most at once: {peak['count']}, {_at(peak['at'], now, options)} ({_jobs(peak)})"
    hours = list(_day(document["hours"], options))
    sections = [
        ("Starts by the hour of the day", table(hours, ("HOUR", "STARTS", "", "AT ONCE") if options.headers else ())),
        ("Busiest minutes", table([_minute(each, now, options) for each in document["busiest"][:few]])),
        ("Jobs", _job_lines(document["jobs"][:few], now, options)),
        ("Never", table([[cell(each["job"], bold=True), cell(_words(each))] for each in document["never"][:few]])),
        ("The clock changes", [_note(each, now, options) for each in document["notes"][:few]]),
    ]
    for title, lines in sections:
        if lines:
            yield from ("", click.style(title, bold=True), *(f"  {line}" for line in lines))


def _day(hours: list[Document], options: Settings) -> Iterator[Row]:
    """All days laid over each other, in the reader's time."""
    starts, running = [0] * 24, [0] * 24
    for each in hours:
        moment = human.moment(each["at"])
        if moment is None:
            continue
        hour = moment.astimezone(UTC if options.utc else None).hour
        starts[hour] += each["starts"]
        running[hour] = max(running[hour], each["running"])
    most = max(starts, default=0) or 1
    for hour in range(24):
        if hours:
            yield [
                f"{hour:02}",
                f"{starts[hour]:>6,}",
                "█" * -(-starts[hour] * _WIDTH // most),
                str(running[hour] or ""),
            ]


def _minute(each: Document, now: datetime, options: Settings) -> Row:
    return [_at(each["at"], now, options), f"{each['count']:>4} starts", Cell(_jobs(each), dim=True)]


def _job_lines(jobs: list[Document], now: datetime, options: Settings) -> list[str]:
    rows: list[Row] = [
        [
            cell(job["job"], bold=True),
            f"{'' if job['counted_until'] is None else '≈ '}{job['starts']:,}",
            _at(job["first"], now, options),
            human.span(job["takes_ms"]),
            Cell(_warning(job, now, options), color="yellow"),
        ]
        for job in jobs
    ]
    return table(rows, ("JOB", "STARTS", "FIRST", "TAKES", "") if options.headers and rows else ())


def _warning(job: Document, now: datetime, options: Settings) -> str:
    words = []
    if job["overlaps"]:
        words.append(f"{job['overlaps']:,} times the run before still goes on")
    if job["counted_until"] is not None:
        words.append(f"an estimate from {_at(job['counted_until'], now, options)} on")
    return ", ".join(words)


def _words(each: Document) -> str:
    words = {
        "no_schedule": "has no schedule: only by hand",
        "after_others": "runs after other jobs, not at times of its own",
        "disabled": "is disabled",
        "paused": "is paused: `distcronctl resume` ends it",
        "max_runs": "has had all its runs (max_runs)",
        "not_due": "is not due in these days",
    }
    return words.get(each["reason"], str(each["reason"]))


def _note(each: Document, now: datetime, options: Settings) -> str:
    return f"{_at(each['at'], now, options)}  {word(each['job'])}: {word(each['note'])}"


def _jobs(crowd: Document) -> str:
    names = [word(name) for name in crowd["jobs"]]
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _at(text: str, now: datetime, options: Settings) -> str:
    moment = human.moment(text)
    return "-" if moment is None else human.clock(moment, now, utc=options.utc)
