"""What is said to `launcher.sh` and what it answers, as bytes; no I/O here.

Two directions, two manners. What we send is quoted for a POSIX shell so that every byte but NUL arrives as it is. What
comes back was written by a machine that may be broken, full or hostile: it is parsed strictly and bounded, and anything
odd is a `ProtocolError`, never another exception.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib import resources

from distcrond.errors import ExecutorError, InvalidValue
from distcrond.model.command import Argv, Command, Script, ShellCommand
from distcrond.model.ids import AttemptId
from distcrond.model.job import Streams
from distcrond.model.reason import Reason
from distcrond.model.run import Spool, Stream
from distcrond.ports import WorkOrder

MAX_WORD = 96 * 1024
"""Bytes of one word or environment entry; Linux ends at 128 KiB with an exit code 126 (LAUNCHER rule 4)."""
MAX_SCRIPT = 1024 * 1024
"""Bytes of a script: bash reads its requests byte by byte, and the others wait meanwhile."""
MAX_EVENT = 4096
"""Bytes of an event line: the most a pipe takes in one piece."""
MAX_NOISE = 1024 * 1024
"""Bytes without any event of ours between them, after which nobody listens any more."""
SEGMENT_MIN = 256 * 1024
"""Least bytes of a tail segment on the node, so that a tiny tail does not mean a program per line."""
LIMIT_LATER = 1
"""Seconds after a timeout before a node acts on it by itself, so that a daemon which is there acts first, and looks."""
MARK = "DISTCRON_ATTEMPT_ID"
"""The environment variable by which processes of an attempt are found again."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,239}")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?|#[0-9]+")
_HEX = re.compile(r"[0-9a-f]{1,64}")
_BOOT = re.compile(r"[0-9a-f-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_STOPS = frozenset({Reason.TIMEOUT, Reason.CANCELLED})


class ProtocolError(ExecutorError):
    """The other side said something that `launcher.sh` never says."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.PROTOCOL, detail)


# ---------------------------------------------------------------- what we send


def quote(word: str) -> bytes:
    """One shell word. Lone surrogates stand for bytes that are not UTF-8, as everywhere in Python.

    Raises:
        InvalidValue: it holds a NUL, which no argument can.
    """
    if "\0" in word:
        raise InvalidValue("a NUL byte cannot be passed to a program")
    return b"'" + word.encode("utf-8", "surrogateescape").replace(b"'", b"'\\''") + b"'"


def line(*words: bytes) -> bytes:
    """One request. Cut anywhere before its closing brace it is a syntax error to every shell (LAUNCHER rule 1)."""
    return b"{ " + b" ".join(words) + b" ; }\n"


@functools.cache
def definitions() -> bytes:
    """`launcher.sh` without comments and indentation; the shared part once more as text, for shells inside sudo."""
    text = resources.files("distcrond.executors").joinpath("launcher.sh").read_text("utf-8")
    shared, private = text.split("# " + "=" * 64 + " private", 1)
    small = _without_comments(shared)
    return b"dc_shared=%s\n%s%s" % (quote(small), small.encode(), _without_comments(private).encode())


def hold_back(definitions: bytes) -> bytes:
    """Let each command say `starting` and wait for a moment once its record is made, for a failpoint."""
    begin = b'go() { exec "$@" <&3'
    if definitions.count(begin) != 1:
        raise ValueError("launcher.sh begins commands in another way")
    # who hears it dies of it: the next one that says so must not die of that
    pause = b"""(trap '' PIPE; say state "$dc_key" starting); sleep 2 </dev/null >/dev/null 2>&1; """
    return definitions.replace(begin, begin.replace(b"exec", pause + b"exec"))


def _without_comments(text: str) -> str:
    lines = (each.strip() for each in text.splitlines())
    return "".join(f"{each}\n" for each in lines if each and not each.startswith("#"))


def begin(
    *,
    nonce: str,
    daemon_id: str,
    generation: int,
    life: str,
    spare_spool_id: str,
    keep_records: timedelta,
    spool_directory: str,
) -> bytes:
    """The first request; answered by `Ready` or `Unfit`.

    Raises:
        InvalidValue: the daemon's id or its life is no hex, the generation negative, or the directory holds a NUL.
    """
    if not _HEX.fullmatch(daemon_id) or not _HEX.fullmatch(life) or generation < 0:
        raise InvalidValue(f"daemon {daemon_id!r} of generation {generation} cannot name itself to a node")
    minutes = int(keep_records / timedelta(minutes=1))
    words = (nonce, daemon_id, str(generation), life, spare_spool_id, str(minutes))
    return line(b"b", *(word.encode() for word in words), quote(spool_directory))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLimits:
    """How many bytes of a stream are kept: `head` from its start, `tail` before its end.

    `segment` is how the node stores the tail: two files of that size take turns.
    """

    head: int
    tail: int
    segment: int


def output_limits(max_bytes: int) -> OutputLimits:
    """Half head, half tail."""
    tail = max(max_bytes, 0) // 2
    return OutputLimits(head=max(max_bytes, 0) - tail, tail=tail, segment=max(tail, SEGMENT_MIN))


def streams_of(streams: Streams) -> tuple[Stream, ...]:
    """The streams an attempt has on the node."""
    return (Stream.MERGED,) if streams is Streams.MERGED else (Stream.STDOUT, Stream.STDERR)


def start(order: WorkOrder, token: str) -> bytes:
    """Run it; answered by `Exited` and one `Eof` per stream, or by `Refused`, or by `Duplicate`.

    Raises:
        InvalidValue: a word, name or value that no node can take; nothing may be sent then.
    """
    verb, script = _verb(order), _script(order.command)
    limits = output_limits(order.output.max_bytes)
    what = _surroundings(order) + _words(order.command)
    user = order.run_as or ""
    if user:
        if not _USER.fullmatch(user):
            raise InvalidValue(f"{user!r} is not a user name")
        call = (b"within_sudo", token.encode(), quote(script or ""), *what)
        script = (b" ".join(call) + b"\n").decode("utf-8", "surrogateescape")
        verb, what = verb + b"i", (b"-", b"''", b"x")
    elif script is not None:
        verb += b"i"
    fed = () if script is None else (quote(script),)
    facts = (_key(order.attempt), token.encode(), quote(order.definition[:128]), quote(user))
    return line(verb, *fed, *facts, b"%d %d" % (limits.head, limits.segment), _limit(order), *what)


def _limit(order: WorkOrder) -> bytes:
    """When the node ends it by itself (rule 15), and how long it waits for who was told to; whole seconds."""
    if not order.timeout:
        return b"0 0"
    seconds, grace = (math.ceil(span.total_seconds()) for span in (order.timeout, order.kill_grace))
    return b"%d %d" % (seconds + LIMIT_LATER, grace)


def _verb(order: WorkOrder) -> bytes:
    return b"m" if order.output.streams is Streams.MERGED else b"s"


def _script(command: Command) -> str | None:
    if not isinstance(command, Script):
        return None
    if len(command.source) > MAX_SCRIPT:
        raise InvalidValue(f"the script is longer than {MAX_SCRIPT // 1024} KiB")
    return command.source


def _words(command: Command) -> tuple[bytes, ...]:
    match command:
        case Argv(words=words):
            program = words
        case ShellCommand(text=text):
            program = ("/bin/sh", "-c", text)
        case Script(interpreter=interpreter):
            program = interpreter
    if not program or not program[0] or program[0].startswith("-"):
        raise InvalidValue("the command names no program")
    return (b"x", *(_bounded(quote(word)) for word in program))


def _surroundings(order: WorkOrder) -> tuple[bytes, ...]:
    """Umask, directory and environment, in the order in which `become` takes them."""
    umask = b"-" if order.umask is None else b"%04o" % (order.umask & 0o777)
    directory = order.working_directory or ""
    if directory.startswith("-"):
        directory = "./" + directory
    entries: list[bytes] = []
    for name, value in order.environment.items():
        _check_name(name)
        entries += (b"e", _bounded(quote(f"{name}={value}")))
    entries += (b"e", quote(f"{MARK}={order.attempt}"))
    return (umask, _bounded(quote(directory)), *entries)


def _check_name(name: str) -> None:
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise InvalidValue(f"{name!r} is not the name of an environment variable")
    if name.startswith("dc_"):
        raise InvalidValue(f"environment variable {name!r}: names beginning with dc_ belong to the launcher")


def _bounded(word: bytes) -> bytes:
    if len(word) > MAX_WORD:
        raise InvalidValue(f"an argument or environment value is longer than {MAX_WORD // 1024} KiB")
    return word


def _key(attempt: AttemptId) -> bytes:
    if not _KEY.fullmatch(attempt):
        raise InvalidValue(f"{attempt!r} cannot name a record on a node")
    return attempt.encode()


def query(attempt: AttemptId, spool: Spool | None) -> bytes:
    """Ask for the state, and make "no record" final; answered by `Eof`s and then `StateOf`."""
    known = spool and _HEX.fullmatch(spool.id) and _BOOT.fullmatch(spool.boot)
    return line(b"q", _key(attempt), *((spool.id.encode(), spool.boot.encode()) if spool and known else (b"-", b"-")))


def look(attempt: AttemptId) -> bytes:
    """Ask for the state of a start that is on its way: "no record" means that it is starting; answered as `query`."""
    return line(b"l", _key(attempt))


def undo(attempt: AttemptId) -> bytes:
    """End the doubt about an attempt that seems to be starting for ever; answered by `StateOf`."""
    return line(b"u", _key(attempt))


class Signal(StrEnum):
    """What `kill` can send; LOOK only counts."""

    LOOK = "0"
    TERM = "TERM"
    KILL = "KILL"


def kill(attempt: AttemptId, signal: Signal, reason: Reason = Reason.CANCELLED) -> bytes:
    """Signal the whole tree; answered by `Left`. The record keeps the first reason, and TERM is sent once."""
    return line(b"k", _key(attempt), signal.encode(), reason.encode())


def fetch(sequence: int, file: str, skip: int, size: int) -> bytes:
    """Ask for at most `size` bytes of a spool file after the first `skip`; answered by one block."""
    return line(b"f %d" % sequence, file.encode(), b"%d %d" % (skip, size))


def fetch_whole(sequence: int, files: Sequence[str]) -> bytes:
    """Ask for whole files one after the other in one block."""
    return line(b"c %d" % sequence, *(file.encode() for file in files))


def sizes(known: Iterable[tuple[str, int]]) -> bytes:
    """Ask which files have grown beyond an offset; answered by `Size`s."""
    pairs = tuple(known)
    offsets = " ".join(str(offset) for _, offset in pairs)
    return line(b"z", quote(offsets), *(file.encode() for file, _ in pairs))


def readers(heads: Iterable[str]) -> bytes:
    """Ask what the readers of these heads do; answered by a `Reader` for each that is found."""
    return line(b"w", *(head.encode() for head in heads))


def delete(files: Iterable[str]) -> bytes:
    """Delete spool files; not answered."""
    return line(b"d", *(file.encode() for file in files))


def heartbeat(number: int) -> bytes:
    """Ask for a sign of life; answered by `Beat`."""
    return line(b"h %d" % number)


_LETTER = {Stream.MERGED: "m", Stream.STDOUT: "o", Stream.STDERR: "e"}
_STREAM = {letter: stream for stream, letter in _LETTER.items()}


def head_file(attempt: AttemptId, stream: Stream) -> str:
    """The spool file with the first bytes of a stream."""
    return f"{attempt}.{_LETTER[stream]}"


def segment_file(attempt: AttemptId, stream: Stream, segment: int) -> str:
    """The spool file with the given segment of the tail; two take turns."""
    return f"{attempt}.{_LETTER[stream]}{segment % 2 + 1}"


def files_of(attempt: AttemptId, stream: Stream, *, segments: bool) -> tuple[str, ...]:
    """What may be deleted once a stream is fetched."""
    head = head_file(attempt, stream)
    return (head, head + "1", head + "2") if segments else (head,)


# ---------------------------------------------------------------- what comes back: events


@dataclass(frozen=True, slots=True)
class Ready:
    """The launcher works; starts go into this spool."""

    spool: Spool


@dataclass(frozen=True, slots=True)
class Disk:
    """What kind of file system the spool is on, in the words of the node's `stat`; empty if that cannot tell."""

    kind: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """The node or its spool cannot run anything."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat."""

    number: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The attempt has a record already: it was started, or fenced, before."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The command did not begin and never will."""

    attempt: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The command ended; a code above 128 stands for a signal, as shells have it; the rest as in `ports.Ended`."""

    attempt: str
    code: int
    pid: int | None
    stopped_for: Reason | None = None


@dataclass(frozen=True, slots=True)
class Eof:
    """A stream ended: `printed` bytes, `head` of them in the head file; `last` numbers the last tail segment or is -1.

    `token` is that of the start it belongs to: a duplicate start ends too, with nothing.
    """

    attempt: str
    stream: Stream
    printed: int
    head: int
    last: int
    token: str


class Word(StrEnum):
    """The states of a record, as `launcher.sh` names them.

    `absent`: there was none, and now there is a tombstone. `unknown`: this launcher cannot tell, a fresh one may.
    """

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FENCED = "fenced"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StateOf:
    """The answer to `query` and `undo`. `code` comes with done, `reason` with absent, refused, lost and unknown.

    `stopped_for` comes with done and lost if it was being stopped by then, `pid` with done.
    """

    attempt: str
    word: Word
    code: int | None
    reason: Reason | None
    stopped_for: Reason | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """How many processes of an attempt are left; None if nobody could look.

    `word` comes instead of a count: `lost` means that all of them ended with the boot, `starting` that none is known.
    """

    attempt: str
    count: int | None
    word: Word | None


@dataclass(frozen=True, slots=True)
class Size:
    """A head file has grown to so many bytes."""

    attempt: str
    stream: Stream
    size: int


@dataclass(frozen=True, slots=True)
class Reader:
    """What the reader of a stream does: `still`, it has stored all there was and waits; else it is at work.

    One that is still fills tail segment `last`, or the head if that is -1, and has `size` bytes of it.
    """

    attempt: str
    stream: Stream
    still: bool
    last: int = -1
    size: int = 0


AttemptEvent = Duplicate | Refused | Exited | Eof | StateOf | Size | Reader
Event = Ready | Disk | Unfit | Beat | Left | AttemptEvent


class EventDecoder:
    """Cuts the event stream into events.

    Lines without our nonce are noise (a login script, a shell's complaint): they are dropped, the latest is kept for
    people in `noise`.
    """

    def __init__(self, nonce: str) -> None:
        self._prefix = b"@" + nonce.encode() + b" "
        self._rest = b""
        self._skipping = False
        self._unheard = 0
        self.noise = ""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes as they come, in pieces of any size.

        Raises:
            ProtocolError: a line of ours that has no meaning, or no end, or nothing but noise.
        """
        self._unheard += len(data)
        if self._unheard > MAX_NOISE:
            raise ProtocolError("nothing but noise")
        *lines, rest = (self._rest + data).split(b"\n")
        if self._skipping and lines:
            self._skipping = False
            del lines[0]
        if len(rest) > MAX_EVENT:
            if rest.startswith(self._prefix):
                raise ProtocolError("an event without end")
            self._skipping = True
        self._rest = b"" if self._skipping else rest
        events = (self._event(each) for each in lines)
        return [event for event in events if event is not None]

    def _event(self, text: bytes) -> Event | None:
        if not text.startswith(self._prefix):
            self.noise = text[:200].decode("utf-8", "replace").strip() or self.noise
            return None
        if len(text) > MAX_EVENT or not text.isascii():
            raise ProtocolError("an event too long or not ASCII")
        self._unheard = 0
        words = text[len(self._prefix) :].decode("ascii").split(" ")
        try:
            return _decode(words)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ProtocolError(f"an event without meaning: {words[0][:20]!r}") from error


def _decode(words: list[str]) -> Event | None:
    return _DECODERS[words[0]](*words[1:])


def _ready(spool: str, boot: str) -> Ready:
    return Ready(Spool(id=_matching(_HEX, spool), boot=_matching(_BOOT, boot)))


def _unfit(reason: str, *detail: str) -> Unfit:
    return Unfit(_reason(reason), " ".join(detail))


def _eof(attempt: str, stream: str, *facts: str) -> Eof:
    printed, head, last, token = facts
    told = (_number(printed), _number(head), _segment(last))
    eof = Eof(_attempt(attempt), _STREAM[stream], *told, _matching(_HEX, token))
    if eof.head > eof.printed:
        raise ValueError(head)
    return eof


def _size(file: str, size: str) -> Size:
    return Size(*_head(file), _number(size))


def _reader(file: str, state: str, *progress: str) -> Reader:
    if state == "busy" and not progress:
        return Reader(*_head(file), still=False)
    if state != "still":
        raise ValueError(state)
    last, size = progress
    return Reader(*_head(file), still=True, last=_segment(last), size=_number(size))


def _segment(word: str) -> int:
    return -1 if word == "-1" else _number(word)


def _head(file: str) -> tuple[str, Stream]:
    attempt, dot, letter = file.rpartition(".")
    return _attempt(attempt), _STREAM[letter if dot else ""]


def _left(attempt: str, count: str, *word: str) -> Left:
    if count == "none":
        return Left(_attempt(attempt), None, Word(*word))
    if word:
        raise ValueError(word)
    return Left(_attempt(attempt), None if count == "unknown" else _number(count), None)


def _refused(attempt: str, reason: str, *detail: str) -> Refused:
    return Refused(_attempt(attempt), _reason(reason), " ".join(detail).strip())


def _state(attempt: str, word: str, *facts: str) -> StateOf:
    state, known = Word(word), _attempt(attempt)
    match state, facts:
        case Word.DONE, (code, pid, *stop):
            return StateOf(known, state, _code(code), None, _stop(*stop), _pid(pid))
        case Word.LOST, (reason, *stop):
            return StateOf(known, state, None, _reason(reason), _stop(*stop))
        case Word.RUNNING, (pid,):
            _number(pid)
            return StateOf(known, state, None, None)
        case ((Word.REFUSED | Word.UNKNOWN | Word.ABSENT), (reason,)):
            return StateOf(known, state, None, _reason(reason))
        case ((Word.STARTING | Word.FENCED | Word.ABSENT), ()):
            return StateOf(known, state, None, None)
        case _:
            raise ValueError(facts)


def _attempt(word: str) -> str:
    return _matching(_KEY, word)


def _matching(pattern: re.Pattern[str], word: str) -> str:
    if not pattern.fullmatch(word):
        raise ValueError(word)
    return word


def _number(word: str) -> int:
    return int(_matching(_NUMBER, word))


def _pid(word: str) -> int | None:
    return _number(word) or None


def _code(word: str) -> int:
    code = _number(word)
    if code > 255:
        raise ValueError(word)
    return code


def _stop(word: str = "") -> Reason | None:
    if word and word not in _STOPS:
        raise ValueError(word)
    return Reason(word) if word else None


def _reason(word: str) -> Reason:
    """A stable word. Those that only the shell knows (`environment`) mean no more than that it did not start."""
    try:
        return Reason(word)
    except ValueError:
        return Reason.NOT_STARTED


_DECODERS: dict[str, Callable[..., Event | None]] = {
    "ready": _ready,
    "disk": lambda *kind: Disk(" ".join(kind)),
    "unfit": _unfit,
    "beat": lambda number: Beat(_number(number)),
    "dup": lambda attempt: Duplicate(_attempt(attempt)),
    "refused": _refused,
    "exit": lambda attempt, code, pid, *stop: Exited(_attempt(attempt), _code(code), _pid(pid), _stop(*stop)),
    "eof": _eof,
    "state": _state,
    "left": _left,
    "size": _size,
    "reader": _reader,
}
"""By the first word; each takes the others, and fails on too few, too many or odd ones."""


# ---------------------------------------------------------------- what comes back: data


class BlockDecoder:
    """Cuts blocks out of the data stream: one is expected at a time, of known greatest size.

    A block ends with a line that holds the nonce, which no job knows. It may be shorter than asked for: then it ends
    where the file does.
    """

    _GREETING_WITHIN = 64 * 1024  # bytes that a login script may print before we speak

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce.encode()
        self._greeting: bytes | None = b"@%s data\n" % self._nonce
        self._buffer = bytearray()
        self._most: int | None = None
        self._end = b""

    def expect(self, sequence: int, most: int) -> None:
        """The next block is the answer to request `sequence` and holds at most `most` bytes."""
        self._most = most
        self._end = b"@%s end %d\n" % (self._nonce, sequence)

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes as they come; returns the block when it is complete.

        Raises:
            ProtocolError: bytes that nobody asked for, or more than were asked for.
        """
        self._buffer += data
        if self._greeting is not None and not self._greeted(self._greeting):
            return None
        if self._most is None:
            if self._buffer:
                raise ProtocolError("data that nobody asked for")
            return None
        if self._buffer.endswith(self._end) and len(self._buffer) <= self._most + len(self._end):
            return self._finish()
        if len(self._buffer) >= self._most + len(self._end):
            raise ProtocolError("more data than asked for")
        return None

    def _greeted(self, greeting: bytes) -> bool:
        before, found, after = self._buffer.partition(greeting)
        if found:
            self._greeting = None
            self._buffer = bytearray(after)
        elif len(before) > self._GREETING_WITHIN:
            raise ProtocolError("the login shell prints too much")
        return bool(found)

    def _finish(self) -> bytes:
        block = bytes(self._buffer[: -len(self._end)])
        self._buffer.clear()
        self._most = None
        return block
