"""What the routes say: shapes, filters, pages, hints and faults."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.definitions import OPENAPI_31

from distcrond.model.span import format_instant, parse_instant
from tests.support.fake_engine import ENDINGS, OPEN_JOB, Served, serve


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def client(served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(served.socket))
    async with aiohttp.ClientSession("http://local", connector=connector) as client:
        yield client


async def get(client: aiohttp.ClientSession, path: str):
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def refused(client: aiohttp.ClientSession, method: str, path: str, status: int, **options):
    async with client.request(method, path, **options) as answer:
        problem = await answer.json()
        assert (answer.status, answer.content_type) == (status, "application/problem+json"), problem
        assert problem["status"] == status
        return problem


async def test_jobs_are_paged_by_name(client, served) -> None:
    names: list[str] = []
    path = "/api/v1/jobs?limit=4"
    while True:
        found = await get(client, path)
        names += [job["name"] for job in found["items"]]
        if found["next"] is None:
            break
        path = f"/api/v1/jobs?limit=4&cursor={found['next']}"
    assert names == sorted(served.world.jobs)


async def test_job_shows_failures_and_figures(client) -> None:
    job = await get(client, "/api/v1/jobs/exit7")
    assert job["errors"][0]["reason"] == "exit_code"
    assert job["stats"]["durations_ms"]["p50"] == 72_000


async def test_runs_by_filter(client, served) -> None:
    since = format_instant(served.world.now - timedelta(minutes=15))
    assert [run["job"] for run in (await get(client, f"/api/v1/runs?since={since}"))["items"]] == ["exit7"]
    assert [run["job"] for run in (await get(client, "/api/v1/runs?since=15m"))["items"]] == ["exit7"]
    assert [run["job"] for run in (await get(client, "/api/v1/runs?until=15m"))["items"]] == ["invoices"]
    assert [run["job"] for run in (await get(client, "/api/v1/runs?outcome=failure&node=web1"))["items"]] == ["exit7"]
    assert (await get(client, "/api/v1/runs?state=waiting"))["items"] == []
    assert [run["job"] for run in (await get(client, "/api/v1/jobs/invoices/runs"))["items"]] == ["invoices"]
    first = await get(client, "/api/v1/runs?limit=1")
    second = await get(client, f"/api/v1/runs?limit=1&cursor={first['next']}")
    assert [first["items"][0]["job"], second["items"][0]["job"], second["next"]] == ["exit7", "invoices", None]


async def test_plus_in_an_offset_may_be_unescaped(client, served) -> None:
    moment = parse_instant(format_instant(served.world.now)).isoformat()
    assert moment.endswith("+00:00")
    async with client.get(f"http://local/api/v1/runs?since={moment}") as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("limit=1001", "?limit", "above 1000"),
        ("limit=0", "?limit", "below 1"),
        ("limit=ten", "?limit", "not a whole number"),
        ("limit=1&limit=2", "?limit", "more than once"),
        ("limit=99999999999999999999", "?limit", "not a whole number"),
        ("limit=²", "?limit", "not a whole number"),
        ("outcom=failure", "?outcom", "did you mean `outcome`?"),
        ("state=done", "?state", "waiting, running, finished"),
        ("outcome=", "?outcome", "not one of"),
        ("since=yesterday", "?since", "not an instant"),
        ("since=2026-11-21T03:10:00", "?since", "no offset"),
        ("since=0001-01-01T00:00:00%2B23:59", "?since", ""),
        ("since=999999999999w", "?since", ""),
        ("q=" + "a" * 401, "?q", "401 characters"),
        ("cursor=%E2%98%83", "?cursor", "has characters"),
        ("cursor=abc%0A", "?cursor", "has characters"),
        ("cursor=" + "a" * 1001, "?cursor", "1001 characters"),
        ("x=1", "?x", "unknown parameter"),
    ],
)
async def test_meaningless_parameters(client, query, pointer, words) -> None:
    problem = await refused(client, "GET", f"/api/v1/runs?{query}", 400)
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert words in problem["errors"][0]["message"]


async def test_all_faults_come_at_once(client) -> None:
    problem = await refused(client, "GET", "/api/v1/runs?limit=0&outcom=x&state=y", 400)
    assert len(problem["errors"]) == 3


@pytest.mark.parametrize("path", ["runs", "jobs/invoices/runs", "occurrences", "jobs", "nodes", "config/problems"])
async def test_foreign_cursor_is_refused(client, path) -> None:
    for cursor in ("abc", "WzFd", "MSAy", "bnVsbA", "WyJhIl0gYg"):  # [1], 1 2, null, ["a"] b
        await refused(client, "GET", f"/api/v1/{path}?cursor={cursor}", 400)
    for limit in (0, 1001, "x"):
        await refused(client, "GET", f"/api/v1/{path}?limit={limit}", 400)


async def test_problems_are_told_page_by_page_while_they_come_and_go(client, served) -> None:
    """Several at one place too; one that is new before the place of the page shifts nothing."""
    one = served.world.problems[0]
    place = {"file": "/é/b.yaml", "line": 2, "column": 10}
    served.world.problems[:] = [one | place | {"message": f"wrong {number}"} for number in range(5)]
    first = await get(client, "/api/v1/config/problems?limit=2")
    served.world.problems[:2] = [one | {"file": "/a.json"}]
    rest = await get(client, f"/api/v1/config/problems?limit=3&cursor={first['next']}")
    assert [each["message"] for each in (*first["items"], *rest["items"])] == [f"wrong {n}" for n in range(5)]
    assert rest["next"] is None


async def test_parameters_are_unknown_where_there_are_none(client) -> None:
    for path in ("/api/v1/stats", "/-/healthy", "/api/v1/openapi.json", "/api/v1/jobs/invoices"):
        await refused(client, "GET", f"{path}?pretty=1", 400)


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("GET", "/api/v1/jobs/invocies", "did you mean job `invoices`?"),
        ("GET", "/api/v1/jobs/billing.invoise/runs", "did you mean job `billing.invoice`?"),
        ("GET", "/api/v1/jobs/invoice%20s/next", "did you mean job `invoices`?"),
        ("GET", "/api/v1/jobs/invocies/reports", "did you mean job `invoices`?"),
        ("POST", "/api/v1/jobs/invocies/run", "did you mean job `invoices`?"),
        ("GET", "/api/v1/nodes/wep1", "did you mean node `web1`?"),
        ("POST", "/api/v1/nodes/wep1/probe", "did you mean node `web1`?"),
        ("GET", "/api/v1/runs/invoices", "an id looks like"),
        ("GET", "/api/v1/nope", "openapi.json"),
    ],
)
async def test_what_does_not_exist_is_hinted_at(client, method, path, hint) -> None:
    problem = await refused(client, method, path, 404)
    assert hint in problem["hint"]


async def test_method_that_is_not_possible(client) -> None:
    async with client.delete("/api/v1/jobs/invoices") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await answer.json())["reason"] == "method_not_allowed"


async def test_run_now(client, served) -> None:
    body = {"environment": {"MONTH": "11", "EMPTY": ""}, "nodes": ["web2"], "force": True}
    body["scheduled_at"] = "2026-11-21T03:10:00+01:00"
    headers = {"Idempotency-Key": "abc 1"}
    async with client.post("/api/v1/jobs/invoices/run", json=body, headers=headers) as answer:
        started = await answer.json()
        assert answer.status == 202
        assert answer.headers["Location"] == f"/api/v1/runs/{started['id']}"
    order = served.world.orders[-1]
    assert (order.job, order.key, order.nodes, order.force) == ("invoices", "abc 1", ("web2",), True)
    assert order.environment == {"MONTH": "11", "EMPTY": ""}
    assert order.scheduled_at == parse_instant("2026-11-21T02:10:00Z")
    async with client.post("/api/v1/jobs/invoices/run", json=body, headers=headers) as answer:
        assert (await answer.json())["id"] == started["id"]
    assert (await get(client, answer.headers["Location"]))["id"] == started["id"]


async def test_run_now_without_a_body(client, served) -> None:
    async with client.post("/api/v1/jobs/invoices/run") as answer:
        assert answer.status == 202
    assert served.world.orders[-1].environment == {}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"nodez": ["web1"]}, "#/nodez"),
        ({"force": "yes"}, "#/force"),
        ({"nodes": []}, "#/nodes"),
        ({"nodes": ["a b"]}, "#/nodes/0"),
        ({"environment": {"A": 1}}, "#/environment/A"),
        ({"environment": {"A-B": "1"}}, "#/environment"),
        ({"environment": {"A\n": "1"}}, "#/environment/A\n"),
        ({"environment": {"LD_PRELOAD": "1"}}, "#/environment/LD_PRELOAD"),
        ({"environment": {"PATH": "1"}}, "#/environment/PATH"),
        ({"environment": {"DISTCRON_JOB": "1"}}, "#/environment/DISTCRON_JOB"),
        ({"environment": {"A": "a\0b"}}, "#/environment/A"),
        ({"environment": {"A": "\ud800"}}, "#/environment/A"),
        ({"scheduled_at": "tomorrow"}, "#/scheduled_at"),
        ({"scheduled_at": "0001-01-01T00:00:00+23:59"}, "#/scheduled_at"),
        ([], "#"),
        ("text", "#"),
        (0, "#"),
    ],
)
async def test_meaningless_bodies(client, served, body, pointer) -> None:
    problem = await refused(client, "POST", "/api/v1/jobs/invoices/run", 400, json=body)
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert served.world.orders == []


SHELL_WORDS = ("BASH_ENV", "BASHOPTS", "ENV", "IFS", "PATH", "PS4", "SHELLOPTS")
LOADER_WORDS = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_")
OUR_WORDS = ("DISTCRON_RUN_ID", "DISTCRON_", "dc_key")


@pytest.mark.parametrize("name", [*SHELL_WORDS, *LOADER_WORDS, *OUR_WORDS, "", "1A", "A=B", "A B", "A\0", "Ä"])
async def test_names_that_change_how_programs_start_are_refused(client, served, name) -> None:
    """GUARANTEES §8, statement 10."""
    body = {"environment": {"FINE": "1", name: "1"}}
    problem = await refused(client, "POST", "/api/v1/jobs/invoices/run", 400, json=body)
    assert [fault["pointer"].startswith("#/environment") for fault in problem["errors"]] == [True]
    assert served.world.orders == []


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"force": true, "force": false}',
        b'{"force": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"environment": {"A": "' + b"9" * 5000 + b'"' + b"}" * 3,
        b"9" * 5000,
    ],
    ids=["cut", "twice", "nan", "not utf-8", "deep", "unbalanced", "long number"],
)
async def test_bodies_that_are_no_json(client, served, raw) -> None:
    headers = {"Content-Type": "application/json"}
    problem = await refused(client, "POST", "/api/v1/jobs/invoices/run", 400, data=raw, headers=headers)
    assert problem["errors"]
    assert served.world.orders == []


async def test_body_must_say_that_it_is_json(client) -> None:
    headers = {"Content-Type": "text/plain"}
    await refused(client, "POST", "/api/v1/jobs/invoices/run", 415, data=b"{}", headers=headers)


async def test_unexpected_bodies_are_refused(client, served) -> None:
    run = served.world.add_run(OPEN_JOB)
    await refused(client, "GET", "/api/v1/jobs", 400, data=b"{}")
    await refused(client, "POST", f"/api/v1/runs/{run.id}/cancel", 400, json={"why": "x"})
    assert served.world.cancelled == []


async def test_unknown_node_in_an_order(client) -> None:
    problem = await refused(client, "POST", "/api/v1/jobs/invoices/run", 404, json={"nodes": ["web1", "wep2"]})
    assert problem["errors"][0]["pointer"] == "#/nodes/1"
    assert "did you mean node `web2`?" in problem["hint"]


@pytest.mark.parametrize("key", ["a" * 256, "ä"])
async def test_meaningless_key(client, key) -> None:
    headers = {"Idempotency-Key": key}
    problem = await refused(client, "POST", "/api/v1/jobs/invoices/run", 400, headers=headers)
    assert problem["errors"][0]["pointer"] == "Idempotency-Key"


async def test_a_key_is_for_one_order(client, served) -> None:
    async def order(body) -> tuple[int, str]:
        path = "/api/v1/jobs/invoices/run"
        async with client.post(path, json=body, headers={"Idempotency-Key": "k"}) as answer:
            document = await answer.json()
            return answer.status, document.get("reason") or document["id"]

    first = await order({"force": True})
    assert first[0] == 202
    assert await order({"force": True}) == first
    assert await order({}) == (409, "key_reused")


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        ("{}", 202),
        ('"sha256:other", {}', 202),
        ("*", 202),
        ('"sha256:other"', 412),
        ("W/{}", 412),
        ("nonsense", 412),
        ("", 412),
    ],
)
async def test_a_change_of_a_job_that_is_another_one_by_now_is_refused(client, served, tag, status) -> None:
    async with client.get("/api/v1/jobs/invoices") as answer:
        present = answer.headers["ETag"]
        assert present == f'"{(await answer.json())["definition"]}"'
    headers = {"If-Match": tag.format(present)}
    async with client.post("/api/v1/jobs/invoices/run", headers=headers) as answer:
        assert answer.status == status
        assert status == 202 or (await answer.json())["reason"] == "job_changed"
    assert len(served.world.orders) == (status == 202)
    async with client.post("/api/v1/jobs/nope/run", headers=headers) as answer:
        assert answer.status == 404


async def test_openapi_tells_of_if_match_where_it_counts(client) -> None:
    paths = (await get(client, "/api/v1/openapi.json"))["paths"]
    taking = [
        (method, path)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "If-Match" in [each["name"] for each in operation["parameters"]] and "412" in operation["responses"]
    ]
    assert ("post", "/api/v1/jobs/{job}/run") in taking
    assert all("{job}" in path and method != "get" for method, path in taking)


async def test_conflicts(client, served) -> None:
    problem = await refused(client, "POST", "/api/v1/jobs/busy/run", 409)
    assert "waits already" in problem["detail"]
    run = served.world.add_run(OPEN_JOB)
    async with client.post(f"/api/v1/runs/{run.id}/cancel") as answer:
        assert answer.status == 202
    assert served.world.cancelled[0][0] == run.id
    await refused(client, "POST", f"/api/v1/runs/{run.id}/cancel", 409)
    await refused(client, "POST", "/api/v1/runs/x@20261121T031000Z-0000000000/cancel", 404)


async def test_a_rerun_is_asked_for_like_a_run(client, served) -> None:
    run = served.world.add_run("exit7", minutes_ago=5)
    path = f"/api/v1/runs/{run.id}/rerun"
    problem = await refused(client, "POST", path, 409)
    assert problem["reason"] == "unfinished"
    served.world.finish(run.id, ENDINGS["exit7"])
    async with client.post(path, json={"failed": True}, headers={"Idempotency-Key": "k"}) as answer:
        assert answer.status == 202
        again = (await answer.json())["id"]
        assert answer.headers["Location"] == f"/api/v1/runs/{again}"
    [wish] = served.world.reruns
    assert (wish.run, wish.failed, wish.force, wish.key) == (run.id, True, False, "k")
    document = await get(client, f"/api/v1/runs/{again}")
    assert (document["trigger"], document["origin"]) == ("rerun", run.id)
    assert (await get(client, f"/api/v1/runs/{run.id}"))["origin"] is None


@pytest.mark.parametrize(
    ("run", "status", "more"),
    [
        ("x@20261121T031000Z-0000000000", 404, {}),
        ("invoices", 404, {}),
        (None, 400, {"json": {"failed": "yes"}}),
        (None, 400, {"json": {"nodes": ["web1"]}}),
        (None, 400, {"headers": {"Idempotency-Key": "a" * 256}}),
    ],
)
async def test_a_rerun_that_cannot_be(client, served, run, status, more) -> None:
    run = run or served.world.add_run("invoices").id
    await refused(client, "POST", f"/api/v1/runs/{run}/rerun", status, **more)
    assert served.world.reruns == []


async def test_a_rerun_of_a_paused_job_says_that_only_the_schedule_rests(client, served) -> None:
    run = served.world.add_run("invoices", minutes_ago=5)
    served.world.finish(run.id, ENDINGS["invoices"])
    await client.post("/api/v1/jobs/invoices/pause")
    async with client.post(f"/api/v1/runs/{run.id}/rerun") as answer:
        assert "its schedule rests" in (await answer.json())["note"]


async def test_probe(client, served) -> None:
    async with client.post("/api/v1/nodes/db1/probe") as answer:
        assert answer.status == 202
    assert served.world.probed == ["db1"]
    assert (await get(client, "/api/v1/nodes/db1"))["state"] == "down"
    assert [node["name"] for node in (await get(client, "/api/v1/nodes"))["items"]] == ["db1", "web1", "web2"]


async def test_what_is_ahead(client) -> None:
    assert len((await get(client, "/api/v1/jobs/invoices/next?count=3"))["items"]) == 3
    assert len((await get(client, "/api/v1/jobs/invoices/next?count=100&until=1h"))["items"]) in (5, 6)
    assert len((await get(client, "/api/v1/upcoming?limit=5"))["items"]) == 5


async def test_reports_are_a_bare_list(client) -> None:
    reports = await get(client, "/api/v1/jobs/invoices/reports")
    assert set(reports[0]) == {"job", "time", "duration", "success", "items"}


async def test_health(client, served) -> None:
    assert (await get(client, "/-/healthy"))["healthy"] is True
    served.world.health = {
        "healthy": False,
        "ready": False,
        "reasons": ["the journal cannot be written"],
        "warnings": [],
    }
    for path in ("/-/healthy", "/-/ready"):
        async with client.get(path) as answer:
            assert answer.status == 503
            assert (await answer.json())["reasons"] == ["the journal cannot be written"]


async def test_waiting_for_a_run(client, served) -> None:
    run = served.world.add_run(OPEN_JOB)
    path = f"/api/v1/runs/{run.id}"
    seen = await get(client, f"{path}?wait=60&revision={run.revision + 1}")
    assert seen["state"] == "running"
    waiting = asyncio.create_task(get(client, f"{path}?wait=60&revision={run.revision}"))
    finished = asyncio.create_task(get(client, f"{path}?wait=60"))
    await get(client, path)
    served.world.write(run.id, b"news\n")
    changed = await waiting
    assert changed["revision"] == run.revision + 1
    served.world.finish(run.id, ENDINGS["exit7"])
    assert (await finished)["outcome"] == "failure"
    assert (await get(client, f"{path}?wait=60"))["outcome"] == "failure"


async def test_waiting_has_an_end(client, served) -> None:
    run = served.world.add_run(OPEN_JOB)
    assert (await get(client, f"/api/v1/runs/{run.id}?wait=1"))["state"] == "running"


async def test_openapi_lists_every_route(client) -> None:
    document = await get(client, "/api/v1/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]["/api/v1/jobs/{job}/run"]["post"]["responses"]) >= {"202", "400", "403", "404", "409"}
    scopes = [operation["x-distcron-scope"] for path in document["paths"].values() for operation in path.values()]
    assert set(scopes) == {"open", "read", "operate", "admin"}


async def test_openapi_is_what_it_says(client) -> None:
    document = await get(client, "/api/v1/openapi.json")
    Draft202012Validator(OPENAPI_31).validate(document)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_api_answers_are_never_stored(client) -> None:
    async with client.get("/api/v1/jobs") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "distcrond"


async def post(client: aiohttp.ClientSession, path: str, body: dict | None = None):
    async with client.post(path, json=body or {}) as answer:
        assert answer.status in (200, 202), await answer.text()
        return await answer.json()


async def test_a_pause_is_shown_where_the_job_is_and_a_run_says_that_it_does_not_rest(client, served) -> None:
    until = format_instant(served.world.now + timedelta(hours=2))
    paused = await post(client, "/api/v1/jobs/invoices/pause", {"until": until})
    assert paused["job"] == "invoices"
    assert (paused["paused"]["until"], paused["paused"]["by"][:5]) == (until, "unix:")
    assert (await get(client, "/api/v1/jobs/invoices"))["paused"] == paused["paused"]
    assert (await get(client, "/api/v1/stats"))["paused"] == 1
    assert "paused" in (await post(client, "/api/v1/jobs/invoices/run"))["note"]
    assert (await post(client, "/api/v1/jobs/invoices/resume")) == {"job": "invoices", "paused": None}
    assert "note" not in await post(client, "/api/v1/jobs/invoices/run")


async def test_all_jobs_are_paused_together(client) -> None:
    assert (await post(client, "/api/v1/pause"))["paused"]["until"] is None
    still = await post(client, "/api/v1/jobs/invoices/resume")
    assert still["paused"] == (await get(client, "/api/v1/stats"))["all_paused"]
    assert await post(client, "/api/v1/resume") == {"job": None, "paused": None}


async def test_a_drain_is_the_state_of_its_node(client) -> None:
    drained = await post(client, "/api/v1/nodes/web1/drain", {"until": "2h"})
    assert (drained["state"], drained["contact"]) == ("drained", "up")
    assert parse_instant(drained["drained"]["until"]) > parse_instant(drained["drained"]["since"])
    assert (await post(client, "/api/v1/nodes/web1/undrain"))["state"] == "up"


@pytest.mark.parametrize("path", ["jobs/invoices/pause", "pause", "nodes/web1/drain"])
@pytest.mark.parametrize("until", ["soon", "2020-01-01T00:00:00Z", "0s", "2026-11-21T03:10:00", "", 5, "9999w"])
async def test_an_end_that_means_nothing_or_has_passed_is_refused(client, path, until) -> None:
    problem = await refused(client, "POST", f"/api/v1/{path}", 400, json={"until": until})
    assert problem["errors"][0]["pointer"] == "#/until"


@pytest.mark.parametrize("path", ["jobs/invoice/pause", "jobs/invoice/resume", "nodes/web/drain", "nodes/web/undrain"])
async def test_what_does_not_exist_cannot_be_held(client, path) -> None:
    problem = await refused(client, "POST", f"/api/v1/{path}", 404)
    assert "did you mean" in problem["hint"]


async def test_why_takes_an_instant_or_now(client, served) -> None:
    answer = await get(client, "/api/v1/jobs/invoices/why?at=2026-11-21T03:10:00Z")
    assert (answer["job"], answer["at"], answer["decision"]) == ("invoices", "2026-11-21T03:10:00Z", "missed")
    assert (await get(client, "/api/v1/jobs/invoices/why"))["at"] == format_instant(served.world.now)
    assert "did you mean" in (await refused(client, "GET", "/api/v1/jobs/invoice/why", 404))["hint"]
    assert (await refused(client, "GET", "/api/v1/jobs/invoices/why?at=soon", 400))["errors"][0]["pointer"] == "?at"


async def test_occurrences_are_runs_and_gaps(client) -> None:
    found = (await get(client, "/api/v1/occurrences?job=exit7&since=2h"))["items"]
    assert [("count" in each, each["reason"]) for each in found] == [(True, "paused"), (False, "exit_code")]
    assert len((await get(client, "/api/v1/occurrences?limit=1"))["items"]) == 1
    for wrong in ("limit=1001", "limit=0", "cursor=not-ours"):
        await refused(client, "GET", f"/api/v1/occurrences?{wrong}", 400)
    for name in ("exit", "no%20name"):
        await refused(client, "GET", f"/api/v1/occurrences?job={name}", 404)


async def test_figures_and_definition_of_a_job(client) -> None:
    figures = await get(client, "/api/v1/jobs/exit7/stats")
    assert (figures["job"], figures["last"][0]["outcome"]) == ("exit7", "failure")
    assert (await get(client, "/api/v1/jobs/exit7/definition"))["schedule"] == "@daily"
    for what in ("stats", "definition"):
        await refused(client, "GET", f"/api/v1/jobs/nope/{what}", 404)


async def test_a_run_by_hand_says_what_its_job_requires_and_is_not_so(client, served) -> None:
    served.world.unmet["invoices"] = ["dump has never ended as success"]
    answer = await post(client, "/api/v1/jobs/invoices/run")
    assert (answer["unmet"], "dump has never" in answer["note"]) == (served.world.unmet["invoices"], True)


async def test_a_backfill_is_planned_and_made(client, served) -> None:
    path = "/api/v1/jobs/invoices/backfill"
    async with client.post(path, json={"from": "1h", "dry_run": True}) as answer:
        assert (answer.status, {run["id"] for run in (await answer.json())["runs"]}) == (200, {None})
    await client.post("/api/v1/jobs/invoices/pause")
    async with client.post(path, json={"from": "1h"}, headers={"Idempotency-Key": "k"}) as answer:
        made = await answer.json()
        assert (answer.status, made["count"], "its schedule rests" in made["note"]) == (202, 4, True)
    assert all(run["id"] in served.world.runs for run in made["runs"])


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"from": "1h", "to": "2h"}, 400), ({"from": "x"}, 400), ({"from": "1h", "until": "now"}, 400)],
)
async def test_a_backfill_that_cannot_be(client, served, body, status) -> None:
    await refused(client, "POST", "/api/v1/jobs/invoices/backfill", status, json=body)
    await refused(client, "POST", "/api/v1/jobs/nope/backfill", 404, json={"from": "1h"})
