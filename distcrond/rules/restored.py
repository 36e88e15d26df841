"""What a journal that is an older copy still knows: nothing of what was due before somebody said so."""

from __future__ import annotations

from datetime import datetime

from distcrond.model.reason import Reason
from distcrond.model.run import Outcome
from distcrond.rules.verdict import Verdict

UNKNOWN = Verdict(
    outcome=Outcome.LOST,
    reason=Reason.RESTORED,
    detail="it may have run: the journal was restored from an older copy",
)


def may_have_run(due: datetime, restored_at: datetime | None) -> bool:
    """Whether an occurrence may have run without this journal's knowledge, so that it must not be started."""
    return restored_at is not None and due <= restored_at
