"""Data → what is wrong with it by the schema, in sentences.

The schema decides, and nothing beside it; this file only turns a validator's errors into one clear sentence each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jsonschema.exceptions import ValidationError

from distcrond.config.faults import Finding, Pointer, did_you_mean, dotted, printable, show
from distcrond.config.schema_files import Schema, SchemaKind, validator

_KINDS = ((bool, "true or false"), (str, "text"), (int | float, "a number"), (list, "a list"), (dict, "a map"))


def validate(kind: SchemaKind, data: Any) -> list[Finding]:
    """Return all that the schema of `kind` objects to, none twice, in the order of the data."""
    findings = (finding for error in validator(kind).iter_errors(data) for finding in _translate(error))
    return list(dict.fromkeys(findings))


class Objection(NamedTuple):
    """What a validator reports: `value` does not satisfy `keyword` of `schema`, whose argument is `demanded`."""

    value: Any
    keyword: str
    demanded: Any
    schema: Schema

    @property
    def expected(self) -> str:
        """The schema's own words for what the value must be."""
        return str(self.schema.get("x-expected", f"{self.keyword} {show(self.demanded)}"))

    @property
    def hint(self) -> str:
        """The schema's own words for what to write."""
        return str(self.schema.get("x-hint", ""))

    @property
    def planned(self) -> Sequence[str]:
        """Keys and words of the contract whose feature does not exist yet."""
        planned: Sequence[str] = self.schema.get("x-planned", ())
        return planned


def _translate(error: ValidationError) -> Iterator[Finding]:
    pointer = tuple(error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    objection = Objection(error.instance, str(error.validator), error.validator_value, schema)
    if "propertyNames" in error.absolute_schema_path:
        yield _bad_key_name(objection, pointer)
    else:
        yield from _SENTENCES.get(objection.keyword, _bad_value)(objection, pointer)


def _unknown_keys(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    known, planned = objection.schema.get("properties", {}), objection.planned
    for key in objection.value:
        if key in planned:
            yield _not_yet(key, (*pointer, key), on_key=True)
        elif key not in known:
            hint = did_you_mean(key, [*known, *planned]) or f"known here: {', '.join(sorted(known))}"
            message = f"unknown key `{printable(key)}`" + (f" in `{dotted(pointer)}`" if pointer else "")
            yield Finding((*pointer, key), "unknown_key", message, hint, on_key=True)


def _wrong_type(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    message = f"{_it(pointer)} must be {objection.expected}, not {_kind_of(objection.value)}"
    yield Finding(pointer, "wrong_type", message, objection.hint)


def _not_one_of(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    words = [str(word) for word in objection.demanded]
    value = objection.value
    if value in objection.planned:
        yield _not_yet(value, pointer)
        return
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    message = f"{_it(pointer)} cannot be {show(value)}"
    yield Finding(pointer, "bad_value", message, hint or f"one of {', '.join(words)}")


def _out_of_range(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    message = f"{_it(pointer)} must be {objection.expected}, {show(objection.value)} is out of range"
    yield Finding(pointer, "out_of_range", message, objection.hint)


def _bad_value(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    actual = "not an empty one" if objection.value in ([], {}) else f"not {show(objection.value)}"
    yield Finding(pointer, "bad_value", f"{_it(pointer)} must be {objection.expected}, {actual}", objection.hint)


def _not_exactly_one(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    """Explain a `oneOf` over `required`: our schemas use it for keys that exclude each other, and for nothing else."""
    names: list[str] = [choice["required"][0] for choice in objection.demanded]
    present = [name for name in names if name in objection.value]
    if len(present) > 1:
        message = " and ".join(f"`{name}`" for name in present) + " exclude each other"
        yield Finding((*pointer, present[1]), "conflicting_keys", message, "keep one", on_key=True)
    elif not any(key in objection.value for key in objection.planned):
        listed = ", ".join(f"`{name}`" for name in names)
        yield Finding(pointer, "missing_key", f"{_it(pointer)} needs one of {listed}")


def _missing_company(objection: Objection, pointer: Pointer) -> Iterator[Finding]:
    for key, needed in objection.demanded.items():
        if key in objection.value and not set(needed) <= set(objection.value):
            listed = ", ".join(f"`{name}`" for name in needed)
            message = f"`{key}` means nothing without {listed}"
            yield Finding((*pointer, key), "conflicting_keys", message, "add that or remove this", on_key=True)


def _bad_key_name(objection: Objection, pointer: Pointer) -> Finding:
    message = f"{show(objection.value)} in `{dotted(pointer)}` must be {objection.expected}"
    return Finding((*pointer, objection.value), "bad_key", message, on_key=True)


def _not_yet(word: str, pointer: Pointer, *, on_key: bool = False) -> Finding:
    return Finding(pointer, "not_yet_supported", f"`{word}` is not yet supported", "remove it", on_key=on_key)


_SENTENCES: dict[str, Callable[[Objection, Pointer], Iterable[Finding]]] = {
    "additionalProperties": _unknown_keys,
    "type": _wrong_type,
    "enum": _not_one_of,
    "minimum": _out_of_range,
    "maximum": _out_of_range,
    "oneOf": _not_exactly_one,
    "dependentRequired": _missing_company,
}


def _it(pointer: Pointer) -> str:
    return f"`{dotted(pointer)}`" if pointer else "the definition"


def _kind_of(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "nothing")
