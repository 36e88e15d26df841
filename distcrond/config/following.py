"""Settings that are read again while the daemon runs: which of them it follows, and which wait for a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from distcrond.config.faults import FileFault, problem_of
from distcrond.config.reporting import GROUP, ElasticsearchSettings
from distcrond.config.settings import DEFAULT_CONFIG, Settings
from distcrond.errors import ConfigurationRejected
from distcrond.model.problem import Problem

_FOLLOWED: Final = (
    "allow_no_owner",
    "allowed_hosts",
    "calendars",
    "health_check_interval",
    "journal",
    "log_format",
    "log_level",
    "quarantine",
    "timezone",
    "zones",
    "zones",
)
_FOLLOWED_OF_GROUP: Final = ("retention", "job_retention")
"""Of the group `elasticsearch`, if it was there at the start."""


@dataclass(frozen=True, slots=True)
class Told:
    """The settings in force, and what keeps what the files say now from being in force too."""

    settings: Settings
    problems: tuple[Problem, ...] = ()


def follow(before: Told, read: Callable[[], Settings]) -> Told:
    """Read the settings again. What is wrong as a whole leaves the last good settings in force."""
    try:
        wanted = read()
    except ConfigurationRejected as error:
        return replace(before, problems=tuple(replace(problem, active=True) for problem in error.problems))
    settings = _followed(before.settings, wanted)
    told = Told(settings, tuple(_needs_restart(settings, wanted)))
    return before if told == before else told


def _followed(running: Settings, wanted: Settings) -> Settings:
    taken = {name: getattr(wanted, name) for name in _FOLLOWED}
    return replace(running, **taken, elasticsearch=_group(running.elasticsearch, wanted.elasticsearch))


def _group(running: ElasticsearchSettings | None, wanted: ElasticsearchSettings | None) -> ElasticsearchSettings | None:
    if running is None or wanted is None:
        return running
    return replace(running, **{name: getattr(wanted, name) for name in _FOLLOWED_OF_GROUP})


def _needs_restart(settings: Settings, wanted: Settings) -> list[Problem]:
    """One problem for all that waits; it stands where the first of it is written, or was."""
    names = _differing(settings.shown(), wanted.shown())
    if not names:
        return []
    first = f"{GROUP}.urls" if names[0] == GROUP else names[0]
    file, line = wanted.place(first) or settings.place(first) or (str(DEFAULT_CONFIG), 1)
    message = f"needs a restart: {', '.join(names)}"
    return [replace(problem_of(FileFault("needs_restart", message, line=line), file), active=True)]


def _differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names whose values differ; a group that comes or goes as a whole counts once."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    whole = f"{GROUP}.urls"
    if (whole in before) is (whole in after):
        return names
    return [GROUP, *(name for name in names if not name.startswith(f"{GROUP}."))]
