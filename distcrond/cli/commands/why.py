"""`distcronctl why JOB [TIME]`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import usage
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show.clean import word
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.table import Cell, cell, judged, table

Document = dict[str, Any]
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?")


@click.command(
    short_help="Why a job ran or did not, waits or will run.",
    epilog="\b\nExamples:\n  distcronctl why billing.invoice\n  distcronctl why billing.invoice 03:10\n"
    "  distcronctl why billing.invoice 2026-11-21T03:10:00Z -o wide\n"
    "  distcronctl why billing.invoice '2026-12-24 03:10' --utc",
)
@click.argument("job", shell_complete=names.jobs)
@click.argument("time", required=False)
@global_options
def command(job: str, time: str | None) -> None:
    """Why a job ran or did not, waits or will run.

    TIME is the instant of its schedule: 03:10 (of today), '2026-11-21 03:10' (local, or UTC with --utc),
    2026-11-21T03:10:00Z or 2h (ago). Without it: the run that waits or runs now, else the last record.
    """
    options = settings()
    at = None if time is None else _instant(time, options)
    shown = Client(options).get(path_of("jobs", job, "why"), {"at": at}).document()
    if not options.for_people:
        show_data(shown, options, key="decision")
        return
    head = [judged(shown["decision"]), cell(shown["reason"] or ""), cell(shown["job"], bold=True), cell(shown["at"])]
    for line in table([head]):
        echo(line, options)
    for sentence in shown["text"]:
        echo(word(sentence), options)
    if options.output == "wide":
        for line in ["", *table([_row(point) for point in shown["considered"]])]:
            echo(line, options)


def _row(point: Document) -> list[Cell | str]:
    return [
        cell(point["what"]),
        cell(point["verdict"]),
        cell(point["reason"] or ""),
        Cell(word(point["detail"]), dim=True),
    ]


def _instant(text: str, options: Settings) -> str:
    """An instant as the API reads it; what has no offset is local time."""
    if re.fullmatch(r"[0-9]{1,4}[smhdw]", text):
        return text
    here = UTC if options.utc else None
    if _CLOCK.fullmatch(text):
        today = datetime.now(here).date().isoformat()  # noqa: TID251  as whoever types it has it
        text = f"{today}T{text.zfill(5)}" if len(text) < 6 else f"{today}T{text.zfill(8)}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise usage(f"{text!r} is no time", "03:10, '2026-11-21 03:10', 2026-11-21T03:10:00Z or 2h (ago)") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC) if options.utc else moment.astimezone()
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
