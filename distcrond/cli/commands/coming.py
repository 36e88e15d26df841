"""`distcronctl next [JOB]`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Answer, Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import show_list
from distcrond.cli.show.table import cell

Document = dict[str, Any]
_MOST = 1000


@click.command(
    short_help="What runs next, and when.",
    epilog="\b\nExamples:\n  distcronctl next\n  distcronctl next billing.invoice --count 5\n"
    "  distcronctl next --hours 12 -o json",
)
@click.argument("job", required=False, shell_complete=names.jobs)
@click.option("--count", type=click.IntRange(1, _MOST), metavar="N", help="How many.  [10]")
@click.option("--hours", type=click.IntRange(1, 9999), metavar="H", help="All of the next H hours (at most 1000).")
@global_options
def command(job: str | None, count: int | None, hours: int | None) -> None:
    """What runs next, and when."""
    options = settings()
    amount = count or (_MOST if hours else 10)
    until = f"{hours}h" if hours else None
    client = Client(options)
    if job is None:
        answer = client.get(path_of("upcoming"), {"limit": amount, "until": until})
    else:
        answer = client.get(path_of("jobs", job, "next"), {"count": amount, "until": until})
    show_coming(answer, options)


def show_coming(answer: Answer, options: Settings) -> None:
    """Show a list of coming occurrences."""
    show_list(
        answer.document()["items"],
        options,
        head=("WHEN", "JOB", "NOTE"),
        row=lambda each: [
            human.when(each["due_at"], answer.now, utc=options.utc),
            cell(each["job"], bold=True),
            cell(each.get("note") or ""),
        ],
        key="job",
        nothing="nothing is due: `distcronctl jobs` shows which jobs have a schedule",
    )
