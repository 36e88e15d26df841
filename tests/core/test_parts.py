"""What the tests say of the parts and rights they did without."""

from __future__ import annotations

import pytest
from support import parts


def left_out(reason: str) -> pytest.TestReport:
    where = ("tests/some/test_of.py", 7, f"Skipped: {reason}")
    return pytest.TestReport("some::test", (*where[:2], "test"), {}, "skipped", where, "setup")


def test_a_missing_part_leaves_its_test_out(monkeypatch):
    monkeypatch.delenv("DISTCRON_REQUIRE_PARTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^part not found: sshd: nowhere$"):
        parts.not_found("sshd", "nowhere")


def test_a_missing_part_fails_where_all_are_required(monkeypatch):
    monkeypatch.setenv("DISTCRON_REQUIRE_PARTS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"^part not found: sshd: nowhere$"):
        parts.not_found("sshd", "nowhere")


def test_a_missing_right_never_fails(monkeypatch):
    monkeypatch.setenv("DISTCRON_REQUIRE_PARTS", "1")
    with pytest.raises(pytest.skip.Exception, match=r"^not allowed here: mounting$"):
        parts.not_allowed("mounting")


def test_every_reason_is_one_line():
    reasons = ["part not found: sshd: nowhere", "not allowed here: two\nlines", "part not found: sshd: nowhere"]
    assert parts.summary(map(left_out, reasons)) == [
        "not allowed here: two lines (left out: 1)",
        "part not found: sshd: nowhere (left out: 2)",
    ]
    assert parts.summary([]) == []
