"""`distcronctl pause JOB|--all`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import usage
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data


@click.command(
    short_help="Let the schedule of a job, or of all jobs, rest.",
    epilog="\b\nExamples:\n  distcronctl pause billing.invoice\n  distcronctl pause --all --until 2h\n"
    "  distcronctl pause backup --until 2026-12-27T06:00:00Z",
)
@click.argument("job", required=False, shell_complete=names.jobs)
@click.option("--all", "everything", is_flag=True, help="All jobs, those to come included.")
@click.option("--until", metavar="WHEN", help="When it ends by itself: 2h (from now) or 2026-11-21T03:10:00Z.")
@global_options
def command(job: str | None, until: str | None, *, everything: bool) -> None:
    """Let the schedule of a job, or of all jobs, rest.

    What runs goes on, what waits is skipped, what would be due meanwhile is counted as `skipped (paused)` and never
    made up for. `distcronctl run` works all the same.
    """
    options = settings()
    client = Client(options)
    answer = client.post(place(job, "pause", everything=everything), {"until": until})
    shown = answer.document()
    if options.output not in ("table", "wide", "name"):
        show_data(shown, options, key="job")
        return
    echo(job or "all jobs", options)
    end = human.moment(shown["paused"]["until"])
    lasts = f"until {human.clock(end, answer.now, utc=options.utc)}" if end else f"until `{_end(job)}`"
    say(f"paused {lasts}")


def place(job: str | None, verb: str, *, everything: bool) -> str:
    """The path of the verb, for a job or for all of them."""
    if (job is None) is not everything:
        raise usage("one job, or --all", f"distcronctl {verb} JOB")
    return path_of(verb) if job is None else path_of("jobs", job, verb)


def _end(job: str | None) -> str:
    return f"distcronctl resume {job or '--all'}"
