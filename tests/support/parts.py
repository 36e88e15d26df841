"""Real parts the tests run against (sshd, Elasticsearch …) and rights they need: there, or named in one line each."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest


def not_found(part: str, why: str) -> NoReturn:
    """Leave the asking test out; with DISTCRON_REQUIRE_PARTS=1 fail instead."""
    text = f"part not found: {part}: {why}"
    if os.environ.get("DISTCRON_REQUIRE_PARTS") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def not_allowed(what: str) -> NoReturn:
    """Leave the asking test out: no installation gives this user the right to do `what`."""
    pytest.skip(f"not allowed here: {what}")


def require_ipv6() -> None:
    """Leave the asking test out where the loopback interface has no `::1`."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        not_found("IPv6", f"nothing can listen on ::1 ({error.strerror})")


def summary(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """One line for each reason for which tests were left out."""
    reasons = Counter(_reason(report) for report in skipped)
    return [f"{reason} (left out: {count})" for reason, count in sorted(reasons.items())]


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())
