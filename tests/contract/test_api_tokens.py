"""Tokens: made, shown once, kept as hashes, limited to jobs, and ended."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from distcrond.api import events, follow
from distcrond.api import tokens as module
from distcrond.api.scope import Scope
from distcrond.api.tokens import PREFIX, TokenBook, Wish
from distcrond.clock import SystemClock
from distcrond.errors import Conflict, InvalidValue, JournalError, NotFound
from distcrond.model.event import CancelRequested, TokenCreated, TokenRevoked
from distcrond.model.globs import EVERY_JOB, GLOB_PATTERN, JobGlobs, job_globs
from distcrond.model.span import parse_instant
from tests.support.fake_engine import OPEN_JOB, FakeControl, Served, serve

PATH = "/api/v1/tokens"


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def admin(served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(served.socket))
    async with aiohttp.ClientSession("http://local", connector=connector) as client:
        yield client


@pytest.fixture
async def tcp(served) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(served.url) as client:
        yield client


async def make(admin: aiohttp.ClientSession, **wish: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Make a token; answers its document and the header that carries it."""
    async with admin.post(PATH, json={"name": "ci", "scope": "operate"} | wish) as answer:
        assert answer.status == 201, await answer.text()
        document = await answer.json()
        return document, {"Authorization": f"Bearer {document['token']}"}


def a_wish(name: str = "ci", *, expires_at: datetime | None = None) -> Wish:
    return Wish(name=name, scope=Scope.READ, jobs=EVERY_JOB, expires_at=expires_at, by="test")


# ---------------------------------------------------------------- making and ending


async def test_its_text_is_shown_once_and_kept_nowhere(served, admin, tcp, tmp_path, caplog) -> None:
    caplog.set_level("DEBUG")
    document, header = await make(admin, name="ci", scope="operate")
    text = document.pop("token")
    assert text.startswith(PREFIX)
    assert len(text) >= len(PREFIX) + 43
    assert (await (await admin.get(PATH)).json()) == {"items": [document], "next": None}
    async with tcp.post("/api/v1/jobs/invoices/run", headers=header) as answer:
        assert answer.status == 202
    assert served.world.orders[0].by == "token:ci"
    file = tmp_path / "tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert text not in file.read_text() + caplog.text
    assert text.removeprefix(PREFIX) not in file.read_text() + caplog.text


async def test_making_and_ending_it_is_recorded_without_the_secret(served, admin, tmp_path) -> None:
    document, _ = await make(admin, scope="read", jobs=["billing.*"])
    digest = json.loads((tmp_path / "tokens.json").read_text())[0]["sha256"]
    await admin.delete(f"{PATH}/ci")
    made, ended = served.world.recorded
    assert (type(made), type(ended)) == (TokenCreated, TokenRevoked)
    expires_at = parse_instant(document["expires_at"])
    for event in (made, ended):
        assert (event.name, event.scope, event.jobs) == ("ci", "read", ("billing.*",))
        assert (event.expires_at, event.by) == (expires_at, document["created_by"])
        assert document["token"] not in repr(event)
        assert digest not in repr(event)


async def test_without_a_record_nobody_gets_its_text(admin, monkeypatch) -> None:
    async def refuse(_self: FakeControl, _event: TokenCreated) -> None:
        raise JournalError("the disk is gone")

    monkeypatch.setattr(FakeControl, "record_token", refuse)
    async with admin.post(PATH, json={"name": "ci", "scope": "read"}) as answer:
        assert answer.status >= 500
        assert PREFIX not in await answer.text()


async def test_what_is_refused_is_not_recorded(served, admin, tcp) -> None:
    _, header = await make(admin, name="ci", scope="operate")
    served.world.recorded.clear()
    assert (await admin.post(PATH, json={"name": "ci", "scope": "read"})).status == 409
    assert (await admin.post(PATH, json={"name": "../x", "scope": "read"})).status == 400
    assert (await tcp.post(PATH, json={"name": "more", "scope": "read"}, headers=header)).status == 403
    assert (await admin.delete(f"{PATH}/nobody")).status == 404
    assert served.world.recorded == []


async def test_usually_it_ends_after_ninety_days(admin) -> None:
    document, _ = await make(admin)
    life = parse_instant(document["expires_at"]) - SystemClock().now()
    assert timedelta(days=89, hours=23) < life < timedelta(days=90, hours=1)
    document, _ = await make(admin, name="for-ever", expires_at=None)
    assert document["expires_at"] is None


async def test_a_revoked_token_is_refused_at_once(admin, tcp) -> None:
    _, header = await make(admin)
    assert (await tcp.get("/api/v1/jobs", headers=header)).status == 200
    async with admin.delete(f"{PATH}/ci") as answer:
        assert (answer.status, await answer.json()) == (200, {"name": "ci"})
    async with tcp.get("/api/v1/jobs", headers=header) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await admin.delete(f"{PATH}/ci")).status == 404


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/runs/{run}/output?follow=1"])
async def test_what_a_revoked_token_follows_ends(served, admin, tcp, monkeypatch, path) -> None:
    for each in (events, follow):
        monkeypatch.setattr(each, "BEAT_SECONDS", 0.05)
    _, header = await make(admin)
    run = served.world.add_run(OPEN_JOB).id
    async with tcp.get(path.format(run=run), headers=header) as answer:
        assert answer.status == 200
        assert (await admin.delete(f"{PATH}/ci")).status == 200
        await answer.read()


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        ({"name": "../x"}, "#/name"),
        ({"name": "ci\n"}, "#"),
        ({"scope": "open"}, "#/scope"),
        ({"scope": "root"}, "#/scope"),
        ({"jobs": []}, "#/jobs"),
        ({"jobs": ["a[b]"]}, "#/jobs/0"),
        ({"jobs": ["a' OR '1"]}, "#/jobs/0"),
        ({"jobs": ["a\n"]}, "#"),
        ({"jobs": ["billing.*"], "scope": "admin"}, "#/jobs"),
        ({"expires_at": "tomorrow"}, "#/expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "#/expires_at"),
        ({"token": "mine"}, "#/token"),
    ],
)
async def test_a_wish_that_means_nothing_makes_nothing(served, admin, wish, pointer) -> None:
    async with admin.post(PATH, json={"name": "ci", "scope": "operate"} | wish) as answer:
        problem = await answer.json()
        assert answer.status == 400, problem
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert len(served.tokens) == 0


async def test_a_name_is_used_once(admin) -> None:
    await make(admin)
    async with admin.post(PATH, json={"name": "ci", "scope": "read"}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (409, "token_exists")


async def test_a_full_disk_makes_no_token_and_ends_none(served, admin, tcp, monkeypatch) -> None:
    _, header = await make(admin)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    async with admin.post(PATH, json={"name": "more", "scope": "read"}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (503, "not_written")
    async with admin.delete(f"{PATH}/ci") as answer:
        assert answer.status == 503
    assert len(served.tokens) == 1
    assert (await tcp.get("/api/v1/jobs", headers=header)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer")],
        [("Authorization", "Basic {}")],
        [("Authorization", "{}")],
        [("Authorization", "Bearer {}x")],
        [("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")],
        [("Authorization", "Bearer " + "é" * 20)],
    ],
)
async def test_what_is_no_bearer_is_refused(admin, tcp, headers) -> None:
    document, _ = await make(admin)
    sent = [(name, value.format(document["token"])) for name, value in headers]
    assert (await tcp.get("/api/v1/jobs", headers=sent)).status == 401


# ---------------------------------------------------------------- the book


class HandClock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 21, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


async def test_tokens_outlive_a_restart_and_expire(tmp_path) -> None:
    clock = HandClock()
    book = TokenBook(tmp_path / "tokens.json", clock)
    _, short = await book.create(a_wish("short", expires_at=clock.at + timedelta(hours=1)))
    _, long = await book.create(a_wish("long"))
    again = TokenBook(tmp_path / "tokens.json", clock)
    assert [again.find(text).name for text in (short, long)] == ["short", "long"]
    clock.at += timedelta(hours=1)
    assert again.find(short) is None
    assert again.find(long).name == "long"
    assert [document["expired"] for document in again.documents()] == [True, False]
    await again.revoke("short")
    with pytest.raises(NotFound):
        await again.revoke("short")
    assert len(TokenBook(tmp_path / "tokens.json", clock)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]


async def test_many_at_once_are_all_written(tmp_path) -> None:
    book = TokenBook(tmp_path / "tokens.json", HandClock())
    made = await asyncio.gather(*(book.create(a_wish(f"t{number}")) for number in range(20)))
    again = TokenBook(tmp_path / "tokens.json", HandClock())
    assert [again.find(text).name for _, text in made] == [f"t{number}" for number in range(20)]


async def test_the_number_of_tokens_is_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_TOKENS", 1)
    book = TokenBook(tmp_path / "tokens.json", HandClock())
    await book.create(a_wish())
    with pytest.raises(Conflict, match="revoke"):
        await book.create(a_wish("other"))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"name": "x"}]', "\xff"])
async def test_a_file_that_makes_no_sense_is_refused_with_a_remedy(tmp_path, content) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(content, encoding="latin-1")
    file.chmod(0o600)
    with pytest.raises(InvalidValue, match=r"tokens\.json cannot be read") as refused:
        TokenBook(file, HandClock())
    assert "remove it" in refused.value.hint


async def test_a_pattern_written_by_hand_is_checked_too(tmp_path) -> None:
    file = tmp_path / "tokens.json"
    await TokenBook(file, HandClock()).create(a_wish())
    tokens = json.loads(file.read_text())
    file.write_text(json.dumps([tokens[0] | {"jobs": ["[a-z]*"]}]))
    with pytest.raises(InvalidValue, match="no pattern"):
        TokenBook(file, HandClock())


@pytest.mark.parametrize("mode", [0o660, 0o606])
async def test_a_file_that_others_can_write_is_refused(tmp_path, mode) -> None:
    file = tmp_path / "tokens.json"
    file.write_text("[]")
    file.chmod(mode)
    with pytest.raises(InvalidValue, match="written by others"):
        TokenBook(file, HandClock())


# ---------------------------------------------------------------- which jobs


@pytest.mark.parametrize(
    ("patterns", "job", "fits"),
    [
        (["*"], "billing.invoice", True),
        (["billing.*"], "billing.invoice", True),
        (["billing.*"], "billing", False),
        (["billing.*"], "Billing.invoice", False),
        (["exit?"], "exit7", True),
        (["exit?"], "exit77", False),
        (["a", "b"], "b", True),
        (["a", "b"], "ab", False),
    ],
)
def test_patterns(patterns, job, fits) -> None:
    assert (job in job_globs(patterns)) is fits


def test_every_job_is_said_by_a_star_alone() -> None:
    assert EVERY_JOB.is_every
    assert JobGlobs(("x", "*")).is_every
    assert not JobGlobs(("**",)).is_every
    assert GLOB_PATTERN.startswith("^")


@pytest.fixture
async def limited(served, admin) -> AsyncIterator[aiohttp.ClientSession]:
    """With a token for one namespace and one job."""
    _, header = await make(admin, jobs=["billing.*", "exit7"])
    async with aiohttp.ClientSession(served.url, headers=header) as client:
        yield client


async def names(client: aiohttp.ClientSession, path: str, key: str) -> list[str]:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return sorted({item[key] for item in (await answer.json())["items"]})


async def test_lists_show_what_the_token_is_for(served, limited) -> None:
    served.world.add_run("billing.invoice")
    seen = ["billing.invoice", "exit7"]
    assert await names(limited, "/api/v1/jobs", "name") == seen
    assert await names(limited, "/api/v1/runs", "job") == seen
    assert await names(limited, "/api/v1/upcoming", "job") == seen
    assert await names(limited, "/api/v1/runs?job=invoices", "job") == []


async def test_what_it_is_not_for_looks_as_if_it_did_not_exist(served, limited) -> None:
    hidden = next(run for run in served.world.runs if run.startswith("invoices@"))
    absent = hidden.replace("invoices@", "invoicez@")
    pairs = [("jobs/invoices", "jobs/invoicez"), (f"runs/{hidden}", f"runs/{absent}")]
    for there, missing in pairs:
        for end in ("", "/output", "/runs", "/next"):
            answers = []
            for path in (there, missing):
                async with limited.get(f"/api/v1/{path}{end}") as answer:
                    answers.append((answer.status, (await answer.text()).replace("invoicez", "invoices")))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
    for path in ("jobs/invoices/run", f"runs/{hidden}/cancel"):
        assert (await limited.post(f"/api/v1/{path}")).status == 404
    assert (served.world.orders, served.world.cancelled) == ([], [])


async def test_a_hint_gives_no_other_name_away(limited) -> None:
    hints = []
    for wrong in ("exit8", "invoicess", "unreach"):
        async with limited.get(f"/api/v1/jobs/{wrong}") as answer:
            hints.append((await answer.json()).get("hint"))
    assert hints == ["did you mean job `exit7`?", None, None]


async def test_events_tell_of_its_jobs_only(served, limited) -> None:
    runs = [served.world.add_run(job).id for job in ("invoices", "exit7", "billing.invoice")]
    now = SystemClock().now()
    served.world.record(*(CancelRequested(at=now, run=run, by="test") for run in runs))
    async with limited.get("/api/v1/events?after=1") as answer:  # the first is of its own token
        told: list[str] = []
        while len(told) < 2:
            line = (await answer.content.readline()).decode()
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: "))["job"])
    assert told == ["exit7", "billing.invoice"]


async def test_occurrences_are_those_of_its_jobs(served, limited) -> None:
    served.world.add_run("billing.invoice")
    assert await names(limited, "/api/v1/occurrences", "job") == ["billing.invoice", "exit7"]
    assert await names(limited, "/api/v1/occurrences?job=exit7", "job") == ["exit7"]
    answers = []
    for job in ("invoices", "invoicez"):
        async with limited.get(f"/api/v1/occurrences?job={job}") as answer:
            answers.append((answer.status, (await answer.text()).replace("invoicez", "invoices")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_figures_count_its_jobs_and_leave_out_what_cannot_be_divided(served, admin, limited) -> None:
    served.world.add_run("billing.invoice")
    served.world.add_run(OPEN_JOB)
    async with admin.get("/api/v1/stats") as whole, limited.get("/api/v1/stats") as own:
        every, its = await whole.json(), await own.json()
    assert (its["jobs"], its["runs_24h"]) == (2, 2)
    assert every["jobs"] > its["jobs"]
    assert every["runs_24h"] > its["runs_24h"]
    assert (its["lateness_ms"], its["outbox"]) == (None, None)
    assert (every["lateness_ms"], every["outbox"]) != (None, None)


async def test_problems_are_those_of_its_files(served, limited) -> None:
    served.world.problems.append(served.world.problems[0] | {"file": "/etc/distcron/jobs.d/exit7.json"})
    assert await names(limited, "/api/v1/config/problems", "file") == ["/etc/distcron/jobs.d/exit7.json"]


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/doctor", "/api/v1/sinks", "/api/v1/config/diff"])
async def test_what_is_about_every_job_says_so(limited, path) -> None:
    async with limited.get(path) as answer:
        problem = await answer.json()
    assert (answer.status, problem["reason"]) == (403, "limited_token")
    assert "billing.* exit7" in problem["detail"]


def test_scopes_include_what_is_below() -> None:
    for lower, higher in pairwise(Scope):
        assert lower in higher.and_below
        assert higher not in lower.and_below
