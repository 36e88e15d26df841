"""The JSON Schemas shipped with the package, ready for validation.

The files stand as published: documentation, OpenAPI and other people's editors use them. Keywords of our own begin with
`x-`: `x-expected` says in words what a value must be, `x-hint` what to write instead, and `x-planned` lists keys and
words of the contract whose feature does not exist yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

SchemaKind = Literal["job", "node", "defaults", "settings"]
SCHEMA_KINDS: Final[tuple[SchemaKind, ...]] = ("job", "node", "defaults", "settings")
Schema = dict[str, Any]


@cache
def schema_text(kind: SchemaKind) -> str:
    """Return a schema as published."""
    return files("distcrond.config").joinpath(f"schema/{kind}.json").read_text("utf-8")


@cache
def validator(kind: SchemaKind) -> Validator:
    """Return the one validator of a kind; making it costs more than using it a hundred times."""
    made: Validator = _Validator(_inline(_published(kind), kind))
    return made


def _exactly_one(_: Any, choices: list[Schema], instance: Any, __: Schema) -> Iterator[ValidationError]:
    """`oneOf` as our schemas use it: over keys of which one must be there. In general it costs a validator a choice."""
    names = [choice["required"][0] for choice in choices]
    if isinstance(instance, dict) and sum(name in instance for name in names) != 1:
        yield ValidationError(f"not exactly one of {names}")


def _if_map(validator: Any, _: Schema, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    """`if` as our schemas use it: `{"type": "object"}`."""
    if isinstance(instance, dict):
        yield from validator.descend(instance, schema["then"], schema_path="then")


_Validator: Any = extend(  # type: ignore[no-untyped-call]  # jsonschema leaves it without types
    Draft202012Validator, {"oneOf": _exactly_one, "if": _if_map}
)


def _descend(  # the library's signature
    _: Validator, instance: Any, schema: Any, path: Any = None, schema_path: Any = None, resolver: Any = None
) -> Iterator[ValidationError]:
    """Go on with a part of the schema. Ours stand alone: the library makes a validator anew for each value."""
    del resolver
    part = _parts.get(id(schema))
    if part is None:
        part = _parts[id(schema)] = _Validator(schema)
    for error in part.iter_errors(instance):
        if path is not None:
            error.path.appendleft(path)
        if schema_path is not None:
            error.schema_path.appendleft(schema_path)
        yield error


_parts: dict[int, Validator] = {}
"""By identity of the part, which its validator keeps alive."""
_Validator.descend = _descend


def _published(kind: SchemaKind) -> Schema:
    schema: Schema = json.loads(schema_text(kind))
    return schema


def _inline(schema: Any, kind: SchemaKind) -> Any:
    """Put what a `$ref` names in its place: looking references up again for each value takes half of the time."""
    if isinstance(schema, list):
        return [_inline(item, kind) for item in schema]
    if not isinstance(schema, dict):
        return schema
    own = {key: _keyword(key, value, kind) for key, value in schema.items() if not key.startswith("$")}
    return {**_referenced(schema["$ref"], kind), **own} if "$ref" in schema else own


def _keyword(key: str, value: Any, kind: SchemaKind) -> Any:
    if key == "pattern":
        # JSON Schema's $ is the end of the text; Python's would let a line break through before it.
        return value.removesuffix("$") + r"\Z" if value.endswith("$") else value
    return _inline(value, kind)


def _referenced(reference: str, kind: SchemaKind) -> Schema:
    file, _, pointer = reference.partition("#/")
    other: SchemaKind = "job" if file == "job.json" else kind
    target = _published(other)
    for step in pointer.split("/"):
        target = target[step]
    inlined: Schema = _inline(target, other)
    return inlined
