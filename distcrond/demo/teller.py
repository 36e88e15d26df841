"""Tells each finished run of the demo in one line."""

from __future__ import annotations

from collections import Counter

from distcrond.engine.answers.queries import Queries
from distcrond.model.ids import RunId
from distcrond.model.report import Document
from distcrond.model.run import State
from distcrond.ports import Clock, RunQuery

_SIGNS = {
    "success": "✓",
    "failure": "✗",
    "timeout": "⧖",
    "skipped": "·",
    "missed": "○",
    "cancelled": "⊘",
    "partial": "◐",
    "lost": "!",
}
_WIDTH = 48


class Teller:
    """Looks twice a second; prints what finished since, oldest first."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock
        self._told: set[str] = set()
        self._outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._tell_news()
            await self._clock.sleep(0.5)

    def summary(self) -> str:
        """What there was, in one line."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self._outcomes.most_common())
        return f"{self._outcomes.total()} runs: {counts}" if counts else "no run finished"

    async def _tell_news(self) -> None:
        page = await self._queries.runs(RunQuery(state=State.FINISHED, limit=100))
        for run in sorted(page.items, key=lambda item: str(item["finished_at"])):
            if run["id"] not in self._told:
                self._told.add(run["id"])
                self._outcomes[run["outcome"]] += 1
                print(await self._line(run), flush=True)

    async def _line(self, run: Document) -> str:
        nodes = ",".join(target["node"] or "-" for target in run["targets"]) or "-"
        took = "" if run["duration_ms"] is None else f"{run['duration_ms'] / 1000:.3f} s"
        said = ": ".join(text for text in (run["reason"], await self._last_line(run)) if text)
        return (
            f"{run['finished_at'][11:19]}  {_SIGNS.get(run['outcome'], '?')} {run['outcome']:<8} "
            f"{run['job']:<14} {nodes:<14} {took:>9}  {said[:_WIDTH]}"
        )

    async def _last_line(self, run: Document) -> str:
        if not run["targets"]:
            return ""
        piece = await self._queries.output(RunId(run["id"]), target=0, attempt=None, stream=None, offset=0, limit=4096)
        lines = piece.data.decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")
