"""Query parameters as a table: read strictly, all faults at once, and shown in the OpenAPI from the same lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from multidict import MultiMapping

from distcrond.api.hints import did_you_mean
from distcrond.api.problems import Fault, invalid
from distcrond.errors import InvalidValue
from distcrond.model.span import parse_duration, parse_instant

MAX_LIMIT = 1000

INSTANT_OR_DISTANCE: dict[str, Any] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,4}[smhdw]$"}],
}

Value = str | int | bool | datetime


class Kind(StrEnum):
    """How a parameter is read. `AGO` and `AHEAD` are instants that may also be written as a distance from now."""

    TEXT = "text"
    INTEGER = "integer"
    FLAG = "flag"
    AGO = "ago"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One query parameter; `choices` and `pattern` bound a text, `least` and `most` a number or a text's length."""

    name: str
    kind: Kind
    meaning: str
    choices: tuple[str, ...] = ()
    pattern: str = ""
    least: int | None = None
    most: int | None = None
    default: int | None = None

    def schema(self) -> dict[str, Any]:
        """Show it as JSON Schema."""
        match self.kind:
            case Kind.TEXT if self.choices:
                return {"type": "string", "enum": list(self.choices)}
            case Kind.TEXT:
                bounds = {"minLength": 1, "maxLength": self.most or 400, "pattern": self.pattern}
                return {"type": "string"} | {key: bound for key, bound in bounds.items() if bound}
            case Kind.INTEGER:
                bounds = {"minimum": self.least, "maximum": self.most, "default": self.default}
                return {"type": "integer"} | {key: bound for key, bound in bounds.items() if bound is not None}
            case Kind.FLAG:
                return {"type": "string", "enum": ["0", "1"]}
            case Kind.AGO | Kind.AHEAD:
                return INSTANT_OR_DISTANCE

    def read(self, text: str, now: datetime) -> Value:
        """Turn the text into its value.

        Raises:
            InvalidValue: the text means nothing, or is out of bounds.
        """
        match self.kind:
            case Kind.TEXT:
                return self._read_text(text)
            case Kind.INTEGER:
                return self._read_integer(text)
            case Kind.FLAG:
                return _read_flag(text)
            case Kind.AGO | Kind.AHEAD:
                return read_instant(text, now, ahead=self.kind is Kind.AHEAD)

    def _read_text(self, text: str) -> str:
        if self.choices and text not in self.choices:
            raise InvalidValue(f"{text!r} is not one of {', '.join(self.choices)}")
        if not 1 <= len(text) <= (self.most or 400):
            raise InvalidValue(f"has {len(text)} characters; 1 to {self.most or 400} are possible")
        if self.pattern and re.fullmatch(self.pattern, text) is None:
            raise InvalidValue("has characters that no such text of ours has")
        return text

    def _read_integer(self, text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise InvalidValue(f"{text!r} is not a whole number")
        number = int(text)
        if self.least is not None and number < self.least:
            raise InvalidValue(f"{number} is below {self.least}")
        if self.most is not None and number > self.most:
            raise InvalidValue(f"{number} is above {self.most}")
        return number


@dataclass(frozen=True, slots=True)
class Arguments:
    """The values of one request's parameters, each asked for by its type; None = not given and no default."""

    values: Mapping[str, Value] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A text parameter."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def integer(self, name: str) -> int | None:
        """A number."""
        value = self.values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def number(self, name: str) -> int:
        """A number that has a default in the table."""
        value = self.integer(name)
        if value is None:
            raise TypeError(f"parameter {name} has no default")
        return value

    def flag(self, name: str) -> bool:
        """A switch; not given = off."""
        return self.values.get(name) is True

    def instant(self, name: str) -> datetime | None:
        """An aware UTC instant."""
        value = self.values.get(name)
        return value if isinstance(value, datetime) else None


def read_query(query: MultiMapping[str], parameters: Sequence[Parameter], now: datetime) -> Arguments:
    """Read a query string.

    Raises:
        Problem: 400 with every unknown, repeated or meaningless parameter.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Value] = {p.name: p.default for p in parameters if p.default is not None}
    faults: list[Fault] = []
    for name in dict.fromkeys(query):
        try:
            values[name] = _single(query, name, known).read(query[name], now)
        except InvalidValue as wrong:
            faults.append(Fault(pointer=f"?{name}", message=str(wrong)))
    if faults:
        raise invalid(faults)
    return Arguments(values)


def _single(query: MultiMapping[str], name: str, known: Mapping[str, Parameter]) -> Parameter:
    if name not in known:
        hint = did_you_mean("", name, list(known)) or f"known: {', '.join(known) or 'none'}"
        raise InvalidValue("unknown parameter", hint)
    if len(query.getall(name)) > 1:
        raise InvalidValue("given more than once")
    return known[name]


def _read_flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise InvalidValue(f"{text!r} is neither 0 nor 1")
    return text == "1"


def read_instant(text: str, now: datetime, *, ahead: bool) -> datetime:
    """Read an instant, or a distance from now: ahead of it or before it.

    Raises:
        InvalidValue: it is neither.
    """
    try:
        if text[-1:] in "smhdw" and text[:1].isdigit():
            return now + parse_duration(text) if ahead else now - parse_duration(text)
        # A + that nobody escaped arrives as a space: 2026-11-21T03:10:00+01:00 from curl.
        return parse_instant(text.replace(" ", "+") if "T" in text else text)
    except OverflowError:
        raise InvalidValue(f"{text!r} is out of range") from None


def limit(most: int = MAX_LIMIT, default: int = 100) -> Parameter:
    """The page size of a list."""
    return Parameter(name="limit", kind=Kind.INTEGER, meaning="page size", least=1, most=most, default=default)


CURSOR = Parameter(
    name="cursor", kind=Kind.TEXT, meaning="`next` of the page before", pattern=r"^[A-Za-z0-9_.=-]+$", most=1000
)
LONG_CURSOR = replace(CURSOR, most=7000)
"""Of a list whose places are long: paths of files. Its characters need no escaping, so that a URL has room for it."""
