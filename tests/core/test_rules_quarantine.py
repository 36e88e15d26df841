"""When a node is to blame, and when the job is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from distcrond.model.ids import JobName, NodeName
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.run import Outcome
from distcrond.rules.quarantine import Record, in_words

T0 = datetime(2026, 11, 21, tzinfo=UTC)
RULE = QuarantineRule()
N = NodeName("n")
F, T, S = Outcome.FAILURE, Outcome.TIMEOUT, Outcome.SUCCESS


def told(*ends, rule=RULE, minutes_apart=1.0):
    """Jobs (one letter each, with a node behind a slash) and their outcomes, one a minute: the culprits at `n`."""
    record, last = Record(), {}
    for number, (who, outcome) in enumerate(ends):
        job, _, node = who.partition("/")
        at = T0 + number * timedelta(minutes=minutes_apart)
        failed_before = last.get(job) in (F, T)
        record.note(JobName(job), NodeName(node or N), outcome, at, failed_before=failed_before)
        last[job] = outcome
    return "".join(record.culprits(N, rule, T0 + (len(ends) - 1) * timedelta(minutes=minutes_apart)))


@pytest.mark.parametrize(
    ("ends", "culprits"),
    [
        ([("a", F), ("b", F)], ""),
        ([("a", F), ("b", F), ("c", F)], "abc"),
        ([("a", F), ("b", T), ("c", F)], "abc"),
        ([("a", F), ("a", F), ("a", F), ("b", F)], ""),  # one job alone never counts twice
        ([("a", F), ("b", F), ("d", S), ("c", F)], ""),  # not in a row
        ([("a", F), ("b", F), ("d/m", S), ("c", F)], "abc"),  # elsewhere is no matter of this node
        ([("a", F), ("b", F), ("c", Outcome.CANCELLED)], ""),
        ([("a", F), ("b", F), ("c", Outcome.LOST)], ""),
        ([("a", F), ("b", F), ("c", Outcome.PARTIAL)], ""),
        ([("a", F), ("a/m", F), ("b", F), ("c", F)], ""),  # a fails everywhere
        ([("a/m", F), ("a", F), ("b", F), ("c", F)], ""),
        ([("a/m", F), ("a/k", F), ("a", F), ("b", F), ("c", F)], ""),
        ([("a", F), ("a/m", S), ("b", F), ("c", F)], "abc"),  # it went well elsewhere: all the worse for the node
        ([("a", F), ("d", S), ("a", F), ("b", F), ("c", F)], ""),  # a fails again, which says nothing new
        ([("a", F), ("a", S), ("a", F), ("b", F), ("c", F)], "abc"),
    ],
)
def test_who_is_to_blame(ends, culprits):
    assert told(*ends) == culprits


def test_what_is_too_long_ago_does_not_count():
    ends = [("a", F), ("b", F), ("c", F)]
    assert told(*ends, minutes_apart=29) == "abc"
    assert told(*ends, minutes_apart=30) == ""


def test_other_numbers():
    assert told(("a", F), rule=QuarantineRule(jobs=1)) == "a"
    assert told(*((job, F) for job in "abcdef"), rule=QuarantineRule(jobs=0)) == ""


def test_after_its_quarantine_one_more_is_enough_and_a_success_clears_it():
    record = Record()
    for job in "abc":
        record.note(JobName(job), N, F, T0, failed_before=False)
    later = T0 + timedelta(hours=5)
    record.put_on_probation(N, RULE, later)
    assert record.culprits(N, RULE, later) == []
    record.note(JobName("d"), N, F, later, failed_before=False)
    assert record.culprits(N, RULE, later) == ["b", "c", "d"]
    record.note(JobName("e"), N, S, later, failed_before=False)
    assert record.culprits(N, RULE, later) == []


def test_words():
    assert in_words([JobName(job) for job in "abc"]) == "3 different jobs failed there in a row: a, b, c"
    assert in_words([JobName(job) for job in "abcdef"]).endswith("a, b, c, d, e and others")
