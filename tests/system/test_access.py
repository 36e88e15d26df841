"""Who may change what over TCP: whoever came by the one-time link, with the page's header, and nobody else."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.daemon import exchange, until

from distcrond.api.routes import ROUTES

WITHOUT_END = ("/api/v1/events",)
NOT_HERE = {"/api/v1/sinks/{sink}": 404, "/-/enter/{token}": 403, "/api/v1/nodes/{node}/host-keys": 409}
TRIGGER = "/api/v1/jobs/job/run"


@pytest.fixture(scope="module")
def link(shared):
    """The link that a daemon printed on its terminal; `shared` is that daemon."""
    shared.node("here")
    shared.job("job", shell_command="echo done")
    shared.job("looked-at", shell_command="echo done")
    return shared.start_on_terminal()


@pytest.fixture
def tcp(link):
    def ask(method: str, path: str, body=None, **headers: str):
        place = urlsplit(link)
        with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=30)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return exchange(connection, method, path, body, named)

    return ask


@pytest.fixture(scope="module")
def cookie(link):
    """The session that the link begins, once."""
    place = urlsplit(link)
    with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=30)) as connection:
        answer = exchange(connection, "GET", place.path)
    assert answer.status == 303
    text = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in text.split(";")}
    return text.split(";")[0]


def test_plain_tcp_reads(tcp):
    assert tcp("GET", "/api/v1/jobs").document["items"][0]["name"] == "job"
    assert tcp("GET", "/").status == 200


def test_plain_tcp_changes_nothing(tcp, shared):
    for headers in ({}, {"X_Distcron_Request": "1"}, {"Cookie": "distcron_session=guess", "X_Distcron_Request": "1"}):
        answer = tcp("POST", TRIGGER, {}, **headers)
        assert answer.status in (401, 403), answer
        assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert not shared.all_runs("&job=job")


def test_reading_everything_changes_nothing(link, shared):
    """All that can be read, of a daemon that has something to show; the number of its last event stays what it is."""
    run = shared.run_job("looked-at")["id"]
    names = {"job": "looked-at", "node": "here", "run": run, "kind": "job", "sink": "none", "token": "none"}
    before = last_event(shared)
    for route in ROUTES:
        if route.method == "GET" and route.path not in WITHOUT_END:
            for method in route.methods:
                status = shared.ask(method, route.path.format(**names)).status
                assert status == NOT_HERE.get(route.path, 200), route.path
    assert last_event(shared) == before


def last_event(place) -> int:
    """The number with which a new stream of events begins."""
    with closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(place.socket))
        connection.request("GET", WITHOUT_END[0])
        answer = connection.getresponse()
        return int(next(line for line in iter(answer.readline, b"") if line.startswith(b"id: "))[4:])


def test_the_session_changes_with_the_page_s_header_and_origin_only(tcp, link, cookie, shared):
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    assert tcp("POST", TRIGGER, {}, Cookie=cookie).status == 403
    assert tcp("POST", TRIGGER, {}, Cookie=cookie, Origin=origin).status == 403
    assert tcp("POST", TRIGGER, {}, Cookie=cookie, X_Distcron_Request="1", Origin="http://evil.example").status == 403
    assert not shared.all_runs("&job=job")
    answer = tcp("POST", TRIGGER, {}, Cookie=cookie, X_Distcron_Request="1", Origin=origin)
    assert answer.status == 202, answer
    assert shared.finished(answer.document["id"])["outcome"] == "success"


def test_a_token_for_some_jobs_gets_what_is_theirs(tcp, shared):
    shared.job("theirs", shell_command="exit 3")
    shared.job("typo", comand="true")
    shared.ask("POST", "/api/v1/reload", {})
    shared.run_job("theirs")
    shared.run_job("looked-at")
    wish = {"name": "some", "scope": "read", "jobs": ["theirs", "typ?"]}
    bearer = "Bearer " + shared.ask("POST", "/api/v1/tokens", wish).document["token"]
    stats = tcp("GET", "/api/v1/stats", Authorization=bearer).document
    assert (stats["jobs"], stats["failing"], stats["runs_24h"], stats["success_24h"]) == (1, 1, 1, 0)
    happened = tcp("GET", "/api/v1/occurrences", Authorization=bearer).document["items"]
    assert [each["job"] for each in happened] == ["theirs"]
    assert tcp("GET", "/api/v1/occurrences?job=looked-at", Authorization=bearer).status == 404
    problems = tcp("GET", "/api/v1/config/problems", Authorization=bearer).document["items"]
    assert {Path(each["file"]).name for each in problems} == {"typo.json"}
    assert tcp("GET", "/metrics", Authorization=bearer).status == 403


def test_tokens_are_events_without_their_text(shared):
    wish = {"name": "watched", "scope": "operate", "jobs": ["theirs"]}
    made = shared.ask("POST", "/api/v1/tokens", wish).document
    assert shared.ask("DELETE", "/api/v1/tokens/watched", {}).status == 200
    told = told_of_token(shared, "watched", number=2)
    assert [each["event"] for each in told] == ["token_created", "token_revoked"]
    facts = {"token": "watched", "scope": "operate", "jobs": ["theirs"], "expires_at": made["expires_at"]}
    for each in told:
        assert {name: each[name] for name in facts} == facts
        assert each["by"] == made["created_by"]
        assert made["token"] not in str(each)


def told_of_token(place, name: str, *, number: int) -> list[dict[str, Any]]:
    """The first so many events of that token."""
    with closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(str(place.socket))
        connection.request("GET", WITHOUT_END[0] + "?after=0")
        answer = connection.getresponse()
        told = (json.loads(line[6:]) for line in iter(answer.readline, b"") if line.startswith(b"data: "))
        return list(islice((each for each in told if each.get("token") == name), number))


def test_status_works_with_a_token_for_some_jobs(link, shared):
    shared.job("fails", shell_command="exit 3")
    shared.ask("POST", "/api/v1/reload", {})
    shared.run_job("fails")
    token = shared.root / "status.token"
    token.touch(0o600)
    token.write_text(shared.ctl("token", "create", "status", "--scope", "read", "--jobs", "fails").stdout)
    place = urlsplit(link)
    shown = shared.ctl("status", "--server", f"http://{place.netloc}", "--token-file", str(token)).stdout
    assert "1 jobs on 1 nodes" in shown
    assert "1 failing" in shown
    assert "looked-at" not in shown


def test_the_link_works_once(tcp, link, cookie):
    assert tcp("GET", urlsplit(link).path).status in (403, 404, 410)


def test_another_host_name_is_refused(tcp):
    assert tcp("GET", "/api/v1/jobs", Host="rebound.example").status == 421


def test_the_link_is_for_the_terminal_and_never_in_a_log(place):
    place.node("here")
    place.start()
    until(lambda: "listens on" in place.log())
    assert "/-/enter/" not in place.log()
