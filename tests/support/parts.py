"""Real parts the tests run against (sshd, Elasticsearch …): found, or named once at the end of the run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

_missing: dict[str, str] = {}


def not_found(part: str, why: str) -> NoReturn:
    """Skip the asking test and remember the part; with DISTCRON_REQUIRE_PARTS=1 fail instead."""
    _missing[part] = why
    text = f"part not found: {part}: {why}"
    if os.environ.get("DISTCRON_REQUIRE_PARTS") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def summary() -> list[str]:
    """One line for each part that was asked for and not found."""
    return [f"part not found: {part}: {why}" for part, why in sorted(_missing.items())]
