"""Carries settings that came into force while the daemon runs to those who go by them."""

from __future__ import annotations

from collections.abc import Callable

from distcrond import logs
from distcrond.api.server import Api
from distcrond.config.settings import Settings
from distcrond.engine.service import Engine


class Following:
    """`changed` is called after each swap of the catalog, with which `settings` may have changed too.

    Those that say how files are read came with the catalog, and Elasticsearch's sink asks for its own.
    """

    def __init__(self, settings: Callable[[], Settings], *, engine: Engine, api: Api) -> None:
        self._settings = settings
        self._engine = engine
        self._api = api
        self._obeyed = settings()

    def changed(self) -> None:
        """Obey them."""
        before, now = self._obeyed, self._settings()
        if now is before:
            return
        self._obeyed = now
        if (before.log_format, before.log_level) != (now.log_format, now.log_level):
            logs.configure(form=now.log_format, level=now.log_level)
        self._engine.adjust(
            keep=now.journal.retention,
            min_free=now.journal.min_free,
            health_check_interval=now.health_check_interval,
            quarantine=now.quarantine,
        )
        self._api.allow_hosts(now.allowed_hosts)
