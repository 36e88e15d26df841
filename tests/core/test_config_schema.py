"""The published schemas: valid, linear, explained, and in agreement with the validators made of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from distcrond.config.schema_files import schema_text, validator
from distcrond.config.validate import validate

KINDS = ("job", "node", "defaults", "settings")
SCHEMAS = {kind: json.loads(schema_text(kind)) for kind in KINDS}


def inside(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from inside(item)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one(kind):
    Draft202012Validator.check_schema(SCHEMAS[kind])


PATTERNS = sorted(
    {part["pattern"] for kind in KINDS for part in inside(SCHEMAS[kind]) if isinstance(part.get("pattern"), str)}
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_linear(pattern):
    begun = time.process_time()
    for text in ("a", "1", "1s", "1.1ms", "a@", "/", "_-", "%", "https://a", " "):
        for end in ("", "!", "\n", "@"):
            re.search(pattern, text * 50_000 + end)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_cover_the_whole_text(pattern):
    assert pattern.startswith("^")
    assert pattern.endswith("$")


@pytest.mark.parametrize("kind", ["job", "node", "settings"])
def test_every_key_is_described(kind):
    for part in inside(SCHEMAS[kind]):
        for key, value in part.get("properties", {}).items():
            reference = value.get("$ref", "").removeprefix("#/$defs/")
            explained = value.get("description") or SCHEMAS[kind]["$defs"].get(reference, {}).get("description")
            assert explained or key in {"name", "email_address", "exit_codes", "partial_exit_codes"}, key


SAMPLES: list[tuple[str, Any]] = [
    ("job", {"command": ["a"]}),
    ("job", {"command": []}),
    ("job", {"command": ["a"], "schedule": {"cron": "x", "at": "y"}}),
    ("job", {"command": ["a"], "schedule": ["x", {"at": "y"}, None]}),
    ("job", {"command": ["a"], "policy": {"hosts": ["x"], "select": "5%"}, "timeout": "1h"}),
    ("job", {"timeout": 5}),
    ("job", []),
    ("defaults", {"timeout": 5}),
    ("defaults", {"timeout": -5}),
    ("defaults", {"x": 1}),
    ("node", {"roles": ["a"], "connection_options": {"ssh_host": "x"}}),
    ("node", {"roles": "a"}),
    ("settings", {"api": {"listen": "x"}}),
    ("settings", {"api": {"x": "x"}}),
]


@pytest.mark.parametrize(("kind", "data"), SAMPLES)
def test_inlining_changes_no_verdict(kind, data):
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
    )
    published = Draft202012Validator(SCHEMAS[kind], registry=registry)
    assert published.is_valid(data) == validator(kind).is_valid(data) == (not validate(kind, data))


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_and_if_stand_only_where_the_validators_short_forms_hold(kind):
    for part in inside(SCHEMAS[kind]):
        assert all(list(choice) == ["required"] and len(choice["required"]) == 1 for choice in part.get("oneOf", ()))
        assert part.get("if", {"type": "object"}) == {"type": "object"}
        assert "else" not in part or {"job", "else"} <= part.keys(), "but as a key that people write"


def test_a_line_break_at_the_end_is_not_overlooked():
    """Python's `$` would let it through; JSON Schema's does not."""
    assert validate("job", {"command": ["a"], "run_as": "root\n"})
    assert validate("job", {"command": ["a"], "timeout": "5m\n"})
