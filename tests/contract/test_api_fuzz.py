"""The OpenAPI document against the server: never a 5xx, never an answer of another shape than promised."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from distcrond.api.auth import CHANGE_HEADER
from distcrond.api.openapi import describe
from distcrond.api.routes import ROUTES
from tests.support.fake_engine import Served, make_world, serve_in_thread

SCHEMA = schemathesis.openapi.from_dict(describe(ROUTES))
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as directory, serve_in_thread(Path(directory), make_world()) as served:
        yield served


@pytest.fixture(scope="module")
def session(served) -> Iterator[requests.Session]:
    """A browser session, so that changes get past the door."""
    with requests.Session() as session:
        assert session.get(served.api.invite(), allow_redirects=False).status_code == 303
        session.headers.update({CHANGE_HEADER: "1", "Origin": served.url})
        yield session


BOUNDED = hypothesis.settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)


def check(case: schemathesis.Case, served: Served, session: requests.Session) -> None:
    # What is refused for the job's definition is not looked at for anything else.
    given = {name: value for name, value in (case.headers or {}).items() if name != "If-Match"}
    case.headers = {**given, CHANGE_HEADER: "1", "Origin": served.url}
    answer = case.call(base_url=served.url, session=session, allow_redirects=False)
    if answer.status_code != 414:  # an address that is too long is refused unread, whatever it would have asked
        case.validate_response(answer, checks=CHECKS)


@SCHEMA.exclude(path="/api/v1/events").parametrize()  # it has no end
@BOUNDED
def test_any_names(case: schemathesis.Case, served: Served, session: requests.Session) -> None:
    if not case.path.startswith("/-/enter"):
        check(case, served, session)


@SCHEMA.include(path_regex="{").parametrize()
@BOUNDED
def test_names_that_exist(case: schemathesis.Case, served: Served, session: requests.Session) -> None:
    known = {
        "job": "invoices",
        "node": "web1",
        "run": next(iter(served.world.runs)),
        "sink": "elasticsearch",
        "token": "x",
        "name": "none",
        "kind": "job",
    }
    case.path_parameters = {name: known[name] for name in case.path_parameters}
    check(case, served, session)
