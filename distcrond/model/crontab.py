"""What cron would run on a node, as far as somebody may read it there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crontab:
    """A crontab of a user, or of the system (None), whose lines name one; `file` is empty if only cron knows it."""

    file: str
    text: str
    user: str | None = None

    @property
    def system(self) -> bool:
        """Whether its lines name a user."""
        return self.user is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crontabs:
    """All that were found as `user`; `timezone` is the node's; `unreadable` are files and directories of others."""

    user: str
    timezone: str | None = None
    found: tuple[Crontab, ...] = ()
    unreadable: tuple[str, ...] = ()
