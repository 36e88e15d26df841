"""Documents → bulk requests, and what their answers mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from distcrond.sinks import bulk
from distcrond.sinks.documents import Indexed
from distcrond.sinks.retention import past_months


def document(number: int, size: int = 10) -> Indexed:
    return Indexed("x-runs-2026.11", f"id{number}", 7, json.dumps({"text": "x" * size}).encode())


def test_a_request_is_pairs_of_lines():
    (parcel,) = bulk.pack([document(1)])
    action, source = parcel.body.data.splitlines()
    wanted = {"_index": "x-runs-2026.11", "_id": "id1", "version": 7, "version_type": "external_gte"}
    assert json.loads(action) == {"index": wanted}
    assert json.loads(source) == {"text": "x" * 10}


def test_requests_are_bounded_in_items_and_bytes():
    assert [parcel.count for parcel in bulk.pack(document(n) for n in range(1201))] == [500, 500, 201]
    big = [parcel.count for parcel in bulk.pack(document(n, 400 * 1024) for n in range(5))]
    assert big == [2, 2, 1]
    assert [parcel.count for parcel in bulk.pack([document(1), document(2, 9 * 1024 * 1024), document(3)])] == [1, 1, 1]
    assert list(bulk.pack([])) == []


def answer(status: int, kind: str = "some_exception", reason: str = "because", **more) -> dict:
    return {"errors": True, "items": [{"index": {"status": status, "error": {"type": kind, "reason": reason} | more}}]}


@pytest.mark.parametrize(
    ("status", "kind", "fate"),
    [
        (201, "", "delivered"),
        (200, "", "delivered"),
        (409, "version_conflict_engine_exception", "delivered"),
        (429, "es_rejected_execution_exception", "again"),
        (503, "unavailable_shards_exception", "again"),
        (500, "io_stream_exception", "again"),
        (403, "cluster_block_exception", "again"),
        (403, "security_exception", "again"),
        (404, "index_not_found_exception", "again"),
        (400, "validation_exception", "again"),
        (400, "document_parsing_exception", "dead"),
        (400, "mapper_parsing_exception", "dead"),
        (400, "illegal_argument_exception", "dead"),
        (413, "too_large", "dead"),
    ],
)
def test_what_becomes_of_an_item(status, kind, fate):
    (parcel,) = bulk.pack([document(1)])
    receipt = bulk.read_answer(parcel, answer(status, kind))
    assert (receipt.rest is not None) is (fate == "again")
    assert bool(receipt.dead) is (fate == "dead")


def test_a_dead_letter_says_why():
    (parcel,) = bulk.pack([document(1)])
    cause = {"type": "number_format_exception", "reason": "big"}
    letter = bulk.read_answer(parcel, answer(400, "document_parsing_exception", "field", caused_by=cause)).dead[0]
    assert (letter.id, letter.place) == ("id1", "x-runs-2026.11")
    assert letter.reason == "document_parsing_exception: field (number_format_exception: big)"


def test_what_was_deleted_a_moment_ago_comes_again():
    (parcel,) = bulk.pack([document(1)])
    conflict = answer(409)
    assert bulk.read_answer(parcel, conflict, vanished=bulk.conflicts(parcel, conflict)).rest is not None


@pytest.mark.parametrize(("there", "found"), [(2 << 32 | 1, 2), (1 << 32 | 99, 0)])
def test_a_later_epoch_is_noticed(there, found):
    (parcel,) = bulk.pack([document(1)])
    ours = 1 << 32 | 7
    reason = f"[id1]: version conflict, current version [{there}] is higher than the one provided [{ours}]"
    assert bulk.read_answer(parcel, answer(409, reason=reason)).newer_epoch == found


def test_months_that_are_past_as_a_whole():
    names = [
        "p-runs-2026.09",
        "p-output-2026.10",
        "p-runs-2025.12",
        "p-other-2020.01",
        "q-runs-2020.01",
        "p-runs-2026.13",
    ]
    limit = datetime(2026, 11, 1, tzinfo=UTC)
    assert past_months(names, "p", limit) == ["p-output-2026.10", "p-runs-2025.12", "p-runs-2026.09"]
    assert past_months(names, "p", datetime(2026, 10, 31, 23, tzinfo=UTC)) == ["p-runs-2025.12", "p-runs-2026.09"]
