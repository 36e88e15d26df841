"""One-time links and the browser sessions they begin; only hashes are kept, and all of them end with the process."""

from __future__ import annotations

import hashlib
import secrets

from distcrond.ports import Clock

COOKIE = "distcron_session"
LINK_SECONDS = 600.0
SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 256


class Sessions:
    """The links that nobody has used yet, and the sessions under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._links: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def invite(self) -> str:
        """Make a 256-bit token that `enter` takes once within ten minutes."""
        return _issue(self._links, self._clock.monotonic() + LINK_SECONDS)

    def enter(self, token: str) -> str | None:
        """Use up a token and return a session's cookie value, or None if it is not valid (any more)."""
        until = self._links.pop(_digest(token), None)
        now = self._clock.monotonic()
        if until is None or until < now:
            return None
        return _issue(self._sessions, now + SESSION_SECONDS)

    def find(self, cookie: str) -> str | None:
        """Return a session's name for the records (never the secret), or None."""
        digest = _digest(cookie)
        until = self._sessions.get(digest)
        if until is None or until < self._clock.monotonic():
            return None
        return digest[:8]


def _issue(book: dict[str, float], until: float) -> str:
    token = secrets.token_urlsafe(32)
    book[_digest(token)] = until
    while len(book) > _MOST_SESSIONS:
        del book[next(iter(book))]
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
