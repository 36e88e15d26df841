"""`distcronctl jobs`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import show_list
from distcrond.cli.show.table import Cell, Row, cell, judged

Document = dict[str, Any]
_HEAD = ("NAME", "SCHEDULE", "NEXT", "LAST", "WHEN", "RUNNING")
_NOTHING = "no jobs yet: put a file into jobs.d, then look with `distcronctl check`"


@click.command(
    short_help="All jobs: schedule, next run, last outcome.",
    epilog="\b\nExamples:\n  distcronctl jobs\n  distcronctl jobs -o wide\n  distcronctl jobs -o name | grep ^billing",
)
@global_options
def command() -> None:
    """All jobs: schedule, next run, last outcome."""
    options = settings()
    found = list(Client(options).items(path_of("jobs"), {}))
    now = found[0][1].now if found else datetime.min.replace(tzinfo=UTC)
    wide = options.output == "wide"
    show_list(
        (job for job, _ in found),
        options,
        head=(*_HEAD, "POLICY", "COMMAND", "FILE") if wide else _HEAD,
        row=lambda job: [*_row(job, now, options), *(_more(job) if wide else ())],
        key="name",
        nothing=_NOTHING,
    )


def _row(job: Document, now: datetime, options: Settings) -> Row:
    last = job["last"]
    return [
        cell(job["name"], bold=True),
        cell(schedule(job)),
        _next(job, now, options),
        judged(human.outcome(last)) if last else Cell("never", dim=True),
        human.when(last["finished_at"], now, utc=options.utc) if last else "",
        str(job["running"] or ""),
    ]


def _next(job: Document, now: datetime, options: Settings) -> Cell | str:
    if not job["enabled"]:
        return Cell("disabled", dim=True)
    paused = job.get("paused")
    if not paused:
        return human.when(job["next"], now, utc=options.utc)
    end = human.moment(paused["until"])
    words = f"{human.mark('paused')} paused" + (f" until {human.clock(end, now, utc=options.utc)}" if end else "")
    return Cell(words, color=human.color("paused"))


def _more(job: Document) -> Row:
    return [cell(human.plain(job["policy"])), cell(human.plain(job["command"])), cell(job.get("file") or "-")]


def schedule(job: Document) -> str:
    """A job's schedule on one line, in the words of its file."""
    text = job["schedule"]
    if isinstance(text, dict) and "interval" in text:
        return f"every {text['interval']}" + (f" from {text['reference']}" if "reference" in text else "")
    if isinstance(text, dict) and "cron" in text:
        return str(text["cron"]) + (f" {text['timezone']}" if "timezone" in text else "")
    if text is None and job.get("after"):
        return f"after {(' or ' if job['after'].get('join') == 'any' else ' and ').join(job['after']['jobs'])}"
    if text is None:
        return "by hand" if job["next"] is None else "-"
    return human.plain(text)
