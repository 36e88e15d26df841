"""How a run goes over its targets: in batches, apart in time, until too many fail; and how many make a success."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of a run's targets: a number of them, or a percentage."""

    amount: int
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(self.amount)

    def of(self, total: int) -> int:
        """How many of `total` that is: a percentage is rounded up and at least one, as in `hosts` (SEMANTICS §5)."""
        return max(1, -(-total * self.amount // 100)) if self.percent else self.amount

    def is_exceeded(self, count: int, *, total: int) -> bool:
        """Whether `count` of `total` is more than that, exactly: one of five is more than 10 %."""
        return count * 100 > total * self.amount if self.percent else count > self.amount


ALL = Share(amount=100, percent=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What `policy` says beyond which nodes (SEMANTICS §5); by default all targets start at once and all must go well.

    `batch`: so many targets at a time, the next ones once all of these have ended; None = no batches. `stagger`: the
    least span from one target's start to the next one's. `max_failures`: once more than these have failed no further
    target starts; None = whatever fails. `min_success`: so many that went well make the run a success.
    """

    batch: Share | None = None
    stagger: timedelta = timedelta(0)
    max_failures: Share | None = None
    min_success: Share = ALL

    @property
    def paces(self) -> bool:
        """Whether a target may have to wait for others, or never start because of them."""
        return self.batch is not None or bool(self.stagger) or self.max_failures is not None

    def batch_size(self, total: int) -> int:
        """How many of `total` targets a batch has; all of them without batches."""
        return total if self.batch is None else self.batch.of(total)
