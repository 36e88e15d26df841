"""JSON and YAML → data: the same meaning, the same limits, and never a traceback."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.config.document import read_document
from distcrond.config.faults import FileFault, Pointer
from distcrond.config.json_text import read_json, scan_json
from distcrond.config.limits import MAX_DEPTH, MAX_FILE_BYTES, MAX_VALUES
from distcrond.config.marks import Marks
from distcrond.config.yaml12 import read_yaml

LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co"), exclude_characters="\ufeff")
SCALARS = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(LETTERS, max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    SCALARS | FLOATS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(LETTERS, max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("03:10", "03:10"),
        ("13:10", "13:10"),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("'1'", "1"),
        ('"true"', "true"),
        ("1", 1),
        ("-7", -7),
        ("+7", 7),
        ("0022", 22),
        ("0o22", 18),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("2026-11-21", "2026-11-21"),
        ("2026-11-21T03:10:00Z", "2026-11-21T03:10:00Z"),
        ("1:2:3", "1:2:3"),
        ("=", "="),
        ("5m", "5m"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">\n  a\n  b\n", "a b\n"),
    ],
)
def test_yaml_scalars_are_those_of_the_core_schema(text, value):
    data = read_yaml(f"k: {text}")
    assert data == {"k": value}
    assert type(data["k"]) is type(value)


def test_a_key_that_yaml_1_1_takes_for_a_boolean_is_text():
    assert read_yaml("on: 1\nno: 2\ny: 3") == {"on": 1, "no": 2, "y": 3}


def test_an_alias_stands_for_its_anchor():
    assert read_yaml("a: &x {k: [1]}\nb: *x") == {"a": {"k": [1]}, "b": {"k": [1]}}


@given(DATA)
def test_json_means_what_json_means(data):
    for text in (json.dumps(data), json.dumps(data, ensure_ascii=False, indent=1)):
        assert read_json(text) == scan_json(text) == json.loads(text)


@given(st.dictionaries(st.text(LETTERS, max_size=8), DATA, max_size=4))
def test_json_means_the_same_in_a_yaml_file(data):
    raw = json.dumps(data, ensure_ascii=False).encode()
    assert read_document("x.yaml", raw).data == read_document("x.json", raw).data == data


@given(st.dictionaries(st.text(LETTERS.filter(lambda c: c not in "\ufeff\u2028\u2029"), max_size=8), DATA, max_size=4))
def test_yaml_reads_json_as_json_does(data):
    """Both readers, not only the shortcut by the first character."""
    text = json.dumps(data, ensure_ascii=True, indent=1)
    if "\\ud" not in text:  # YAML writes characters beyond the first plane another way
        assert read_yaml(text) == json.loads(text)


def test_both_readers_agree_on_places():
    text = '{\n  "a": {"b": [1,\n    "x"]},\n  "c": null}'
    of_json, of_yaml = Marks(), Marks()
    scan_json(text, of_json)
    read_yaml(text, of_yaml)
    expected: dict[Pointer, tuple[int, int]] = {
        (): (1, 1),
        ("a",): (2, 8),
        ("a", "b"): (2, 14),
        ("a", "b", 0): (2, 15),
        ("a", "b", 1): (3, 5),
        ("c",): (4, 8),
    }
    for pointer, place in expected.items():
        assert of_json.find(pointer) == of_yaml.find(pointer) == place
    assert of_json.find(("a", "b"), on_key=True) == of_yaml.find(("a", "b"), on_key=True) == (2, 9)
    assert of_json.find(("a", "missing")) == (2, 8)


@given(st.binary(max_size=200))
def test_any_bytes_are_data_or_a_fault(raw):
    for name in ("x.json", "x.yaml"):
        _data_or_fault(name, raw)


@given(st.text(alphabet="{}[]:,\"'\\ \n-&*!|>#%@`?~0123456789.eEaxNul\t\ufeff\u00e9", max_size=60))
def test_any_punctuation_is_data_or_a_fault(text):
    for name in ("x.json", "x.yaml"):
        _data_or_fault(name, text.encode())


def _data_or_fault(name: str, raw: bytes) -> None:
    result = outcome(read_document, name, raw)
    if isinstance(result, FileFault):
        assert 1 <= result.line < raw.count(b"\n") + raw.count(b"\r") + 9
        assert result.column >= 1
        assert result.text
    else:
        json.dumps(result.data, ensure_ascii=False, allow_nan=False).encode()
        assert result.find(()).line >= 1


@given(st.text(LETTERS, max_size=30))
def test_the_quick_reading_and_the_scanner_agree_on_what_is_wrong(text):
    assert _comparable(outcome(read_json, text)) == _comparable(outcome(scan_json, text))


def outcome(read: Callable[..., Any], *arguments: object) -> Any:
    try:
        return read(*arguments)
    except FileFault as fault:
        return fault


def _comparable(result: Any) -> Any:
    return (result.code, result.line, result.column) if isinstance(result, FileFault) else result


def test_the_depth_limit_is_the_same_in_both():
    deep = '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"
    for name in ("x.json", "x.yaml"):
        with pytest.raises(FileFault, match="deep"):
            read_document(name, deep.replace("[[", "[[[", 1).replace("]]", "]]]", 1).encode())
    assert scan_json(deep) == read_yaml(deep)


BOMBS = {
    "brackets.json": b"[" * MAX_FILE_BYTES,
    "brackets.yaml": b"[" * MAX_FILE_BYTES,
    "braces.yaml": b"{a: " * (MAX_FILE_BYTES // 4),
    "indent.yaml": "".join(" " * i + "a:\n" for i in range(1400)).encode(),
    "dashes.yaml": b"- " * (MAX_FILE_BYTES // 2),
    "values.json": b"[" + b"1," * (MAX_FILE_BYTES // 2 - 2) + b"1]",
    "values.yaml": b"- 1\n" * (MAX_FILE_BYTES // 4),
    "keys.yaml": "".join(f"k{i}: 1\n" for i in range(90_000)).encode(),
    "strings.json": b'["' + b'","' * (MAX_FILE_BYTES // 3 - 2) + b'"]',
    "anchors.yaml": "".join(f"- &a{i} x\n" for i in range(80_000)).encode(),
    "laughs.yaml": (
        "a: &a [x, x]\n"
        + "".join(f"b{i}: &{'b' * i} [*{'b' * (i - 1) or 'a'}, *{'b' * (i - 1) or 'a'}]\n" for i in range(1, 60))
    ).encode(),
    "aliases.yaml": b"a: &a [" + b"x," * 9000 + b"]\nb: [" + b"*a," * 50_000 + b"]\n",
    "escapes.json": b'"' + b"\\u0041" * (MAX_FILE_BYTES // 6 - 1) + b'"',
    "digits.json": b"9" * (MAX_FILE_BYTES - 1),
    "digits.yaml": b"a: " + b"9" * (MAX_FILE_BYTES - 9),
    "comments.yaml": b"#\n" * (MAX_FILE_BYTES // 2),
    "spaces.json": b" " * MAX_FILE_BYTES,
    "questions.yaml": b"? " * (MAX_FILE_BYTES // 2),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_bounded_in_time_and_memory(name):
    raw = BOMBS[name]
    tracemalloc.start()
    begun = time.process_time()
    _data_or_fault(name, raw)
    spent = time.process_time() - begun
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 5, "even under tracemalloc, which slows allocation several times"
    assert peak < 64 * 1024 * 1024


def test_as_many_values_as_allowed_are_allowed():
    text = json.dumps(["x"] * (MAX_VALUES - 1))
    assert len(read_json(text)) == len(read_yaml(text)) == MAX_VALUES - 1
    for read in (read_json, read_yaml):
        with pytest.raises(FileFault, match="more than"):
            read(json.dumps(["x"] * MAX_VALUES))


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert read_document("x.json", b'\xef\xbb\xbf{"a": 1}').data == {"a": 1}
    assert read_document("x.yaml", b"\xef\xbb\xbfa: 1").data == {"a": 1}
