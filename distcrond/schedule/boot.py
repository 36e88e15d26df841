"""`@reboot`: once per boot of the daemon's host, which no function of time can foresee."""

from __future__ import annotations

from datetime import datetime

from distcrond.model.spec import CronSpec, RestrictedSpec, ScheduleSpec, UnionSpec

_REBOOT = "@reboot"


class NeverSchedule:
    """Has no occurrence."""

    __slots__ = ()

    def next_after(self, t: datetime) -> datetime | None:  # noqa: ARG002  the question's shape
        """Give None (`Schedule`)."""
        return None


def is_reboot(expression: str) -> bool:
    """Tell whether a cron text is `@reboot`."""
    return expression.strip().lower() == _REBOOT


def runs_at_boot(spec: ScheduleSpec) -> bool:
    """Tell whether a schedule wants a run at the daemon's first start after its host has booted."""
    match spec:
        case CronSpec():
            return is_reboot(spec.expression)
        case RestrictedSpec():
            return runs_at_boot(spec.base)
        case UnionSpec():
            return any(map(runs_at_boot, spec.members))
        case _:
            return False
