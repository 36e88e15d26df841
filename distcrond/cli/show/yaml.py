"""Plain data as block YAML, quoted like JSON wherever YAML could read something else into it."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@-]+)*")
_UNSURE = re.compile(r"[^\x20-\x7e]")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"})


def to_yaml(value: object, indent: int = 0) -> str:
    """Show a document; ends with a newline."""
    if isinstance(value, dict) and value:
        return "".join(_entry(f"{_scalar(key)}:", each, indent) for key, each in value.items())
    if isinstance(value, list) and value:
        return "".join(_item(each, indent) for each in value)
    return " " * indent + _scalar(value) + "\n"


def _entry(key: str, value: object, indent: int) -> str:
    pad = " " * indent
    if isinstance(value, (dict, list)) and value:
        return f"{pad}{key}\n{to_yaml(value, indent + 2)}"
    return f"{pad}{key} {_scalar(value)}\n"


def _item(value: object, indent: int) -> str:
    text = to_yaml(value, indent + 2)
    return " " * indent + "- " + text[indent + 2 :]


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _UNSURE.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(character: re.Match[str]) -> str:
    """JSON escapes what is beyond 16 bits as two halves, which YAML does not join again."""
    found = character[0]
    return found if found.isprintable() else f"\\U{ord(found):08x}"
