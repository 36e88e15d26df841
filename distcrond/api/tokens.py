"""Tokens: the way in over TCP for programs. Kept as hashes in one file of the state directory, changed while we run.

A token is 256 bits of chance, so a plain SHA-256 of it cannot be turned back, and finding it by its hash tells a
guesser nothing. The text itself is in the answer that made it and nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from distcrond.api.scope import Scope
from distcrond.errors import Conflict, InvalidValue, NotFound
from distcrond.model.globs import JobGlobs, job_globs
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Clock

PREFIX = "distcron_"
"""What every token begins with, so that people and scanners recognise one that lies where it should not."""
MOST_TOKENS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is remembered of a token: never its text. `expires_at` None = it does not end by itself."""

    name: str
    sha256: str
    scope: Scope
    jobs: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None

    def document(self, now: datetime) -> Document:
        """Show it; nothing in here lets anybody in."""
        return {
            "name": self.name,
            "scope": self.scope.value,
            "jobs": list(self.jobs),
            "created_at": format_instant(self.created_at),
            "created_by": self.created_by,
            "expires_at": self.expires_at and format_instant(self.expires_at),
            "expired": self.is_over(now),
        }

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A token that somebody wants; `jobs` are patterns of job names."""

    name: str
    scope: Scope
    jobs: JobGlobs
    expires_at: datetime | None
    by: str


class TokenBook:
    """All tokens. What it answers is on the disk.

    Raises (when made):
        InvalidValue: the file cannot be trusted or read; it says what to do.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._writing = asyncio.Lock()
        self._tokens = {token.name: token for token in _read(path)}
        self._by_hash = {token.sha256: token for token in self._tokens.values()}

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, text: str) -> Token | None:
        """Return the token with that text if it is (still) valid."""
        token = self._by_hash.get(_digest(text))
        return None if token is None or token.is_over(self._clock.now()) else token

    def documents(self) -> Sequence[Document]:
        """Show all of them."""
        now = self._clock.now()
        return [token.document(now) for token in self._tokens.values()]

    async def create(self, wish: Wish) -> tuple[Token, str]:
        """Make a token; the second value is its text, shown this once.

        Raises:
            Conflict: there is one of that name, or there are too many.
            OSError: it cannot be written down.
        """
        async with self._writing:
            if wish.name in self._tokens:
                raise Conflict(
                    "token_exists", f"there is a token {wish.name!r}; revoke it first, or choose another name"
                )
            if len(self._tokens) >= MOST_TOKENS:
                raise Conflict("too_many_tokens", f"there are {MOST_TOKENS} tokens; revoke what nobody needs")
            text = PREFIX + secrets.token_urlsafe(32)
            token = Token(
                name=wish.name,
                sha256=_digest(text),
                scope=wish.scope,
                jobs=wish.jobs.patterns,
                created_at=self._clock.now(),
                created_by=wish.by,
                expires_at=wish.expires_at,
            )
            await self._put({**self._tokens, token.name: token})
            return token, text

    async def revoke(self, name: str) -> Token:
        """End a token at once; returns what it was.

        Raises:
            NotFound: there is none of that name.
            OSError: it cannot be written down; the token is still valid.
        """
        async with self._writing:
            revoked = self._tokens.get(name)
            if revoked is None:
                raise NotFound("token_unknown", f"there is no token {name!r}")
            await self._put({key: token for key, token in self._tokens.items() if key != name})
            return revoked

    async def _put(self, tokens: Mapping[str, Token]) -> None:
        await asyncio.to_thread(_write, self._path, list(tokens.values()))
        self._tokens = dict(tokens)
        self._by_hash = {token.sha256: token for token in tokens.values()}


def token_name(text: str) -> str:
    """Check a token's name.

    Raises:
        InvalidValue: it is none.
    """
    if not _NAME.fullmatch(text):
        raise InvalidValue(f"{text!r} is not a token's name", "letters, digits, _ and -, at most 63")
    return text


def _read(path: Path) -> list[Token]:
    try:
        status, raw = path.stat(), path.read_bytes()
    except FileNotFoundError:
        return []
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise InvalidValue(f"{path} can be written by others", "make sure of its content, then chown and chmod 600 it")
    try:
        tokens = msgspec.json.decode(raw, type=list[Token])
        for token in tokens:
            token_name(token.name)
            job_globs(token.jobs)
    except (msgspec.DecodeError, InvalidValue) as wrong:
        raise InvalidValue(
            f"{path} cannot be read: {wrong}", "restore it from a backup, or remove it and make new tokens"
        ) from None
    return tokens


def _write(path: Path, tokens: list[Token]) -> None:
    """Replace the file as a whole: after a crash the old or the new one is there."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(tokens)))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
