"""`distcronctl report [--days N]`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli.client import Answer, Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.show.table import Cell, Row, cell, table

Document = dict[str, Any]
_HEAD = ("JOB", "RUNS", "OK", "ELSE", "NOT RUN", "P50", "P95", "MAX", "LATE", "BEFORE")
_POINTS = 0.01
"""A change of the rate that is worth a word."""
_TIMES = 1.25
"""A median so many times as long as before is worth one too."""


@click.command(
    short_help="The last days of each job in figures, beside the days before.",
    epilog="\b\nExamples:\n  distcronctl report\n  distcronctl report --days 30 -o wide\n"
    "  distcronctl report -o json | jq '.items[] | select(.success_rate < 0.99) | .job'",
)
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="How many days.")
@global_options
def command(days: int) -> None:
    """The last days of each job in figures, beside as many days before; the worst first.

    OK is the share of success among the runs that no rule and nobody ended. NOT RUN counts instants that never became
    a run. LATE is the 95th percentile from due to started. BEFORE names what was clearly different before. With ≥ the
    longest one is of the runs whose times were read; `-o wide` says of how many.
    """
    options = settings()
    document, answer = _gather(Client(options), days)
    if options.output == "name":
        for item in document["items"]:
            echo(item["job"], options)
    elif not options.for_people:
        show_data(document, options, key="items")
    else:
        _show(document, answer, days, options)


def _gather(client: Client, days: int) -> tuple[Document, Answer]:
    """All pages as one document."""
    answer = client.get(path_of("report"), {"days": days})
    document = answer.document()
    cursor = document["next"]
    while cursor is not None:
        page = client.get(path_of("report"), {"days": days, "cursor": cursor}).document()
        document["items"] += page["items"]
        cursor = page["next"]
    return document | {"next": None}, answer


def _show(document: Document, answer: Answer, days: int, options: Settings) -> None:
    total, before = document["total"], document["total"]["before"]
    until = human.clock(human.moment(document["until"]) or answer.now, answer.now, utc=options.utc)
    echo(
        f"{days} day{'s' * (days > 1)} until {until}: {total['runs']:,} runs, {_percent(total['success_rate'])} went "
        f"well, {total['not_run']:,} never ran (before: {before['runs']:,} runs, {_percent(before['success_rate'])})",
        options,
    )
    wide = options.output == "wide"
    rows = [_row(item, wide=wide) for item in sorted(document["items"], key=_badness)]
    if not rows:
        say("no jobs yet: put a file into jobs.d, then look with `distcronctl check`")
        return
    head = (*_HEAD, "TIMES OF") if wide else _HEAD
    for line in ["", *table(rows, head if options.headers else ())]:
        echo(line, options)


def _badness(item: Document) -> tuple[float, bool, str]:
    rate = item["success_rate"]
    return (2.0 if rate is None else rate, not item["not_run"], item["job"])


def _row(item: Document, *, wide: bool) -> Row:
    durations, runs = item["durations_ms"], _runs(item)
    bad = item["success_rate"] is not None and item["success_rate"] < 1
    partly = "≥ " if item["one_in"] > 1 and durations["of"] else ""
    row: list[Cell | str] = [
        cell(item["job"], bold=item["defined"], dim=not item["defined"]),
        f"{runs:,}" if runs else Cell("0", dim=True),
        Cell(_percent(item["success_rate"]), color="red" if bad else None),
        cell(_words({word: count for word, count in item["outcomes"].items() if word != "success"})),
        cell(_words(item["not_run"]), color="yellow"),
        human.span(durations["p50"]),
        human.span(durations["p95"]),
        partly + human.span(durations["max"]),
        human.span(item["lateness_ms"]["p95"]),
        cell(_change(item)),
    ]
    return [*row, f"{durations['of']:,}"] if wide else row


def _runs(item: Document) -> int:
    return int(item["open"] + sum(item["outcomes"].values()))


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in sorted(counts.items()))


def _change(item: Document) -> str:
    before, rate, median = item["before"], item["success_rate"], item["durations_ms"]["p50"]
    words = []
    if rate is not None and before["success_rate"] is not None and abs(rate - before["success_rate"]) >= _POINTS:
        words.append(f"{'↗' if rate > before['success_rate'] else '↘'} {_percent(before['success_rate'])} ok")
    if median and before["p50_ms"] and not 1 / _TIMES < median / before["p50_ms"] < _TIMES:
        words.append(f"{'↗' if median > before['p50_ms'] else '↘'} {human.span(before['p50_ms'])}")
    return ", ".join(words) or ("" if before["runs"] else "no runs")


def _percent(share: float | None) -> str:
    """Never 100 % unless it is."""
    if share is None:
        return "-"
    return "100 %" if share == 1 else f"{min(share, 0.999):.1%}".replace("%", " %")
