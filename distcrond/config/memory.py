"""What files were found to say, remembered on the disk so that a restart need not read ten thousand of them anew.

Two things are remembered of a text that its schema has nothing against: that, and its data. Both follow from the text,
its defaults and this release alone, so they are found by a hash of just these. Whatever else a definition is judged by
(owners, time zones, scripts, names, nodes) is looked at each time, and so is whose file it is.

A memory of another release, a damaged one, or one that others may have written is as good as none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from distcrond import __version__
from distcrond.config.faults import FileFault
from distcrond.config.files import read_bytes
from distcrond.config.schema_files import SCHEMA_KINDS, schema_text

MOST_BYTES: Final = 64 * 1024 * 1024
_KEY: Final = 32
"""Characters of a key."""

Memory = Mapping[str, bytes]
"""Data as JSON by the key of the text."""


def digest(raw: bytes) -> bytes:
    """Name a text by its content."""
    return blake2b(raw, digest_size=_KEY // 2).digest()


def key_of(kind: str, suffix: str, texts: Iterable[bytes]) -> str:
    """Name what is remembered: of a `kind` of files, whose names end so, the digests of a text and its defaults."""
    return digest(b"\0".join((kind.encode(), suffix.encode(), b"".join(texts)))).hex()


def read_memory(path: Path) -> Memory:
    """Read what `write_memory` wrote; nothing, if it cannot be relied on."""
    try:
        raw = read_bytes(str(path), limit=MOST_BYTES)
    except FileFault:
        return {}
    head, _, body = raw.partition(b"\n")
    if head != _head(body):
        return {}
    return {line[:_KEY].decode(): line[_KEY:] for line in body.splitlines()}


def write_memory(path: Path, said: Mapping[str, Any]) -> None:
    """Keep the data of these texts in place of what was remembered before, for ourselves alone.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    body = b"".join(_lines(said))
    fresh = path.with_name(f".{path.name}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_head(body) + b"\n" + body)
    fresh.replace(path)


def _lines(said: Mapping[str, Any]) -> Iterable[bytes]:
    room = MOST_BYTES - 1024
    for key, data in said.items():
        line = f"{key}{json.dumps(data, separators=(',', ':'))}\n".encode()
        room -= len(line)
        if room < 0:
            return
        yield line


def _head(body: bytes) -> bytes:
    """Release and content: both must be what they were."""
    return f"distcrond {__version__} {_reader()} {digest(body).hex()}".encode()


@cache
def _reader() -> str:
    """Name what reads and judges texts: the schemas and the libraries that go by them."""
    libraries = "".join(f"{name} {version(name)}\n" for name in ("jsonschema", "PyYAML"))
    return digest("".join((libraries, *map(schema_text, SCHEMA_KINDS))).encode()).hex()
