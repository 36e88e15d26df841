"""The language between us and `launcher.sh`: what we write is safe, what we read is parsed strictly or refused."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.errors import InvalidValue
from distcrond.executors import launcher_protocol as protocol
from distcrond.executors.launcher_fetch import FetchQueue, Wanted
from distcrond.executors.launcher_protocol import (
    Beat,
    BlockDecoder,
    Disk,
    Duplicate,
    Eof,
    EventDecoder,
    Exited,
    Left,
    OutputLimits,
    ProtocolError,
    Reader,
    Ready,
    Refused,
    Signal,
    Size,
    StateOf,
    Unfit,
    Word,
    output_limits,
    segment_file,
)
from distcrond.executors.spool_output import Piece, Tape
from distcrond.model.command import Argv, Script, ShellCommand
from distcrond.model.ids import AttemptId
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.reason import Reason
from distcrond.model.run import OutputSize, Spool, Stream
from distcrond.ports import WorkOrder

NONCE = "00c0ffee"
KEY = AttemptId("billing.invoices@20261121T031000Z-5f0c9a1b2e.0.1")


def order(**changes):
    return WorkOrder(**({"attempt": KEY, "command": ShellCommand(text="true")} | changes))


def events(*lines: str):
    return EventDecoder(NONCE).feed("".join(f"@{NONCE} {line}\n" for line in lines).encode())


# ---------------------------------------------------------------- what we send


def test_a_start_names_everything_once():
    text = protocol.start(order(environment={"A": "it's"}, working_directory="/srv", umask=0o27), "ab").decode()
    assert text == (
        f"{{ m {KEY} ab '' '' 8388608 8388608 0 0 0027 '/srv' e 'A=it'\\''s' e 'DISTCRON_ATTEMPT_ID={KEY}'"
        " x '/bin/sh' '-c' 'true' ; }\n"
    )


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({}, "{ m "),
        ({"output": OutputPolicy(streams=Streams.SEPARATE)}, "{ s "),
        ({"command": Script(interpreter=("python3",), source="print(1)")}, "{ mi 'print(1)' "),
        ({"run_as": "backup"}, "{ mi 'within_sudo ab "),
        ({"run_as": "backup", "output": OutputPolicy(streams=Streams.SEPARATE)}, "{ si 'within_sudo ab "),
    ],
)
def test_the_verb_follows_from_the_order(changes, beginning):
    assert protocol.start(order(**changes), "ab").decode().startswith(beginning)


@pytest.mark.parametrize(
    "changes",
    [
        {"command": Argv(words=("echo", "a\0b"))},
        {"command": Argv(words=())},
        {"command": Argv(words=("",))},
        {"command": Argv(words=("-c", "x"))},
        {"command": Argv(words=("echo", "x" * 100_000))},
        {"command": Script(interpreter=(), source="x")},
        {"command": Script(interpreter=("sh",), source="x" * 2_000_000)},
        {"environment": {"A B": "x"}},
        {"environment": {"A;reboot": "x"}},
        {"environment": {"": "x"}},
        {"environment": {"dc_key": "x"}},
        {"environment": {"A": "a\0b"}},
        {"environment": {"A": "x" * 100_000}},
        {"working_directory": "a\0b"},
        {"run_as": "-u root"},
        {"run_as": "a b"},
        {"run_as": "$(id)"},
        {"attempt": AttemptId("../x")},
        {"attempt": AttemptId("a/b")},
        {"attempt": AttemptId(".run")},
        {"attempt": AttemptId("a b")},
        {"attempt": AttemptId("a" * 250)},
    ],
)
def test_what_no_node_can_take_is_not_sent(changes):
    with pytest.raises(InvalidValue):
        protocol.start(order(**changes), "ab")


@pytest.mark.parametrize("changes", [{"daemon_id": "x/y"}, {"daemon_id": ""}, {"generation": -1}, {"life": "a b"}])
def test_a_daemon_has_to_name_itself(changes):
    facts = {"nonce": NONCE, "daemon_id": "ab", "generation": 1, "life": "01"}
    facts |= {"spare_spool_id": "00", "spool_directory": ""}
    with pytest.raises(InvalidValue):
        protocol.begin(**(facts | {"keep_records": timedelta(hours=48)} | changes))


def test_an_intent_from_elsewhere_cannot_inject_anything():
    for spool in (None, Spool(id="$(reboot)", boot="00"), Spool(id="00", boot="a b")):
        assert protocol.query(KEY, spool) == f"{{ q {KEY} - - ; }}\n".encode()


def test_the_text_that_is_sent_has_no_comments_and_knows_the_shared_part_twice():
    text = protocol.definitions().decode()
    assert not [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("dc_shared='")
    assert text.count("\nwithin_sudo() {") == 2
    assert text.count("\nsupervise() {") == 1


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.binary().map(lambda b: b.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
)
def test_quoting_is_undone_by_the_rules_of_posix(word):
    quoted = protocol.quote(word)
    assert quoted[:1] == quoted[-1:] == b"'"
    assert quoted[1:-1].replace(b"'\\''", b"\0").count(b"'") == 0
    assert quoted[1:-1].replace(b"'\\''", b"'") == word.encode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- events


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("ready c0ffee 1-2", Ready(Spool(id="c0ffee", boot="1-2"))),
        ("disk ext2/ext3", Disk("ext2/ext3")),
        ("disk UNKNOWN (0x6a656a63)", Disk("UNKNOWN (0x6a656a63)")),
        ("disk ", Disk("")),
        ("unfit spool_unusable belongs to another user", Unfit(Reason.SPOOL_UNUSABLE, "belongs to another user")),
        ("beat 7", Beat(7)),
        (f"dup {KEY}", Duplicate(KEY)),
        (f"refused {KEY} working_directory", Refused(KEY, Reason.WORKING_DIRECTORY, "")),
        (f"refused {KEY} environment", Refused(KEY, Reason.NOT_STARTED, "")),
        (f"refused {KEY} run_as_refused sudo: no", Refused(KEY, Reason.RUN_AS_REFUSED, "sudo: no")),
        (f"exit {KEY} 255 77", Exited(KEY, 255, 77)),
        (f"exit {KEY} 137 0", Exited(KEY, 137, None)),
        (f"eof {KEY} m 10 4 0 ab", Eof(KEY, Stream.MERGED, 10, 4, 0, "ab")),
        (f"eof {KEY} e 0 0 -1 ab", Eof(KEY, Stream.STDERR, 0, 0, -1, "ab")),
        (f"state {KEY} running 77", StateOf(KEY, Word.RUNNING, None, None)),
        (f"state {KEY} done 3 77", StateOf(KEY, Word.DONE, 3, None, None, 77)),
        (f"state {KEY} absent", StateOf(KEY, Word.ABSENT, None, None)),
        (f"state {KEY} absent spool_gone", StateOf(KEY, Word.ABSENT, None, Reason.SPOOL_GONE)),
        (f"state {KEY} lost rebooted", StateOf(KEY, Word.LOST, None, Reason.REBOOTED)),
        (f"left {KEY} 0", Left(KEY, 0, None)),
        (f"left {KEY} unknown", Left(KEY, None, None)),
        (f"left {KEY} none lost", Left(KEY, None, Word.LOST)),
        (f"size {KEY}.o 12", Size(KEY, Stream.STDOUT, 12)),
        (f"reader {KEY}.e still -1 12", Reader(KEY, Stream.STDERR, still=True, last=-1, size=12)),
        (f"reader {KEY}.m still 3 0", Reader(KEY, Stream.MERGED, still=True, last=3, size=0)),
        (f"reader {KEY}.m busy", Reader(KEY, Stream.MERGED, still=False)),
    ],
)
def test_every_event_is_understood(line, event):
    assert events(line) == [event]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "what",
        "beat",
        "beat x",
        "beat -1",
        "beat 1 2",
        "beat 1234567890123456789",
        "beat ١",
        "ready c0ffee",
        "ready C0FFEE 1-2",
        "ready ../x 1-2",
        f"exit {KEY}",
        f"exit {KEY} 0",
        f"exit {KEY} 256 1",
        f"exit {KEY} -1 1",
        f"exit {KEY} 0 x",
        f"exit {KEY} 0 1 0",
        "exit ../../x 0 1",
        f"eof {KEY} x 1 1 -1 ab",
        f"eof {KEY} m 1 2 -1 ab",
        f"eof {KEY} m 1 1 -2 ab",
        f"eof {KEY} m 1 1 -1",
        f"state {KEY}",
        f"state {KEY} none",
        f"state {KEY} done",
        f"state {KEY} done 0",
        f"state {KEY} done 0 1 0",
        f"state {KEY} running",
        f"state {KEY} running x",
        f"state {KEY} starting 3",
        f"left {KEY} 0 lost",
        f"left {KEY} none",
        f"left {KEY} none what",
        f"size {KEY} 3",
        f"reader {KEY}.m asleep",
        f"reader {KEY} still -1 0",
        f"reader {KEY}.m still",
        f"reader {KEY}.m still 3",
        f"reader {KEY}.m still -2 1",
        f"reader {KEY}.m still 1 -1",
        f"reader {KEY}.m busy 1 1",
        f"size {KEY}.run 3",
        "size m 3",
        "exit " + "a" * 300 + " 0 1",
        "refused a spool_full " + "x" * 5000,
    ],
)
def test_what_the_launcher_never_says_is_an_error(line):
    with pytest.raises(ProtocolError):
        events(line)


def test_noise_is_dropped_and_the_last_of_it_kept():
    decoder = EventDecoder(NONCE)
    noise = b"Welcome to web1!\n@0badcafe exit a 0\nsh: syntax error\n"
    assert decoder.feed(noise + f"@{NONCE} beat 1\n".encode()) == [Beat(1)]
    assert decoder.noise == "sh: syntax error"


def test_a_long_line_of_noise_is_dropped_and_a_long_event_is_an_error():
    decoder = EventDecoder(NONCE)
    for _ in range(100):
        assert decoder.feed(b"x" * 5000) == []
    assert decoder.feed(f"\n@{NONCE} beat 1\n".encode()) == [Beat(1)]
    with pytest.raises(ProtocolError):
        decoder.feed(f"@{NONCE} beat ".encode() + b"1" * 5000)


def test_endless_noise_is_an_error():
    decoder = EventDecoder(NONCE)
    for _ in range(1000):
        decoder.feed(b"spam\n" * 200)
    with pytest.raises(ProtocolError):
        decoder.feed(b"spam\n" * 20_000)


SAMPLES = st.sampled_from(
    [f"@{NONCE} exit {KEY} 3 7\n", f"@{NONCE} eof {KEY} m 1 1 -1 ab\n", "noise\n", f"@{NONCE} beat 3\n", "\n"]
)


@given(st.lists(SAMPLES, max_size=20), st.lists(st.integers(0, 600), max_size=20))
def test_events_do_not_depend_on_how_the_bytes_were_cut(lines, cuts):
    data = "".join(lines).encode()
    at_once = EventDecoder(NONCE).feed(data)
    decoder = EventDecoder(NONCE)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == at_once


SAFE = "0 1 -1 300 m o e x none unknown done running lost absent spool_gone rebooted ab ../x"
WORDS = st.sampled_from([*SAFE.split(), KEY, f"{KEY}.m", ""])
VERBS = st.sampled_from(["ready", "unfit", "beat", "dup", "refused", "exit", "eof", "state", "left", "size", "what"])
HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda verb, words: f"@{NONCE} {' '.join([verb, *words])}\n".encode(), VERBS, st.lists(WORDS, max_size=7)
    ),
    st.binary(max_size=60).map(lambda tail: f"@{NONCE} ".encode() + tail + b"\n"),
)


@given(st.lists(HOSTILE, max_size=8))
def test_no_bytes_make_the_event_decoder_fail_otherwise(pieces):
    decoder = EventDecoder(NONCE)
    try:
        for piece in pieces:
            decoder.feed(piece)
    except ProtocolError:
        pass


# ---------------------------------------------------------------- data


def greeted() -> BlockDecoder:
    decoder = BlockDecoder(NONCE)
    assert decoder.feed(f"bash: hello\n@{NONCE} data\n".encode()) is None
    return decoder


@given(st.binary(max_size=200), st.integers(0, 100), st.lists(st.integers(1, 50), max_size=10))
def test_a_block_arrives_whole_however_it_is_cut(content, slack, steps):
    decoder = greeted()
    decoder.expect(3, len(content) + slack)
    data = content + f"@{NONCE} end 3\n".encode()
    blocks = []
    for step in [*steps, len(data)]:
        piece, data = data[:step], data[step:]
        if piece:
            blocks.append(decoder.feed(piece))
    assert [block for block in blocks if block is not None] == [content]


def test_a_job_that_prints_our_protocol_is_only_data():
    decoder = greeted()
    forged = f"@0badcafe end 1\n@{NONCE} end 2\n".encode()
    decoder.expect(1, len(forged))
    assert decoder.feed(forged + f"@{NONCE} end 1\n".encode()) == forged


@pytest.mark.parametrize("data", [b"x", b"x" * 20])
def test_data_that_nobody_asked_for_is_an_error(data):
    with pytest.raises(ProtocolError):
        greeted().feed(data)


def test_more_data_than_asked_for_is_an_error():
    decoder = greeted()
    decoder.expect(1, 5)
    with pytest.raises(ProtocolError):
        decoder.feed(b"123456" + f"@{NONCE} end 1\n".encode())


def test_a_login_shell_that_never_stops_talking_is_an_error():
    decoder = BlockDecoder(NONCE)
    for _ in range(65):
        decoder.feed(b"x" * 1000)
    with pytest.raises(ProtocolError):
        decoder.feed(b"x" * 1000)


@given(st.lists(st.binary(max_size=100) | st.just(f"@{NONCE} data\n".encode()), max_size=10), st.integers(0, 100))
def test_no_bytes_make_the_block_decoder_fail_otherwise(pieces, most):
    decoder = BlockDecoder(NONCE)
    decoder.expect(1, most)
    try:
        for piece in pieces:
            block = decoder.feed(piece)
            assert block is None or len(block) <= most
    except ProtocolError:
        pass


# ---------------------------------------------------------------- the queue of fetches


class Files:
    """Answers the requests of a FetchQueue out of memory."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.requests: list[str] = []
        self.queue = FetchQueue(NONCE, lambda line: self.requests.append(line.decode()), lambda: 0.0)
        self.queue.received(f"@{NONCE} data\n".encode())

    def serve(self) -> None:
        """Answer until nothing is asked any more."""
        while self.requests:
            verb, sequence, *words = self.requests.pop(0).strip("{ ;}\n").split()
            if verb == "c":
                data = b"".join(self.files[name] for name in words)
            else:
                data = self.files[words[0]][int(words[1]) :][: int(words[2])]
            self.queue.received(data + f"@{NONCE} end {sequence}\n".encode())


def test_whole_small_files_travel_together():
    node = Files(a=b"1", b=b"22", c=b"333")
    got = {}
    for name, data in node.files.items():
        node.queue.ask(Wanted(Piece(name, 0, len(data), 0), True, lambda data, name=name: got.update({name: data})))
    node.queue.flush()
    assert node.requests == ["{ c 1 a b c ; }\n"]
    node.serve()
    assert got == node.files


def test_a_file_that_is_not_what_it_was_spoils_no_other():
    node = Files(a=b"1", b=b"", c=b"333")
    got = {}
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        node.queue.ask(Wanted(Piece(name, 0, size, 0), True, lambda data, name=name: got.update({name: data})))
    node.queue.flush()
    node.serve()
    assert got == {"a": b"1", "b": b"", "c": b"333"}


# ---------------------------------------------------------------- which bytes to ask for


class NodeFiles:
    """What `collect` in `launcher.sh` makes of a stream, in Python."""

    def __init__(self, data: bytes, limits: OutputLimits) -> None:
        self.data, self.limits = data, limits
        self.files = {f"{KEY}.m": data[: limits.head]}
        rest = data[limits.head :]
        self.last = -1
        # a full head begins a segment at once: only then does anybody look whether there is more
        while len(data) >= limits.head and (rest or self.last < 0):
            self.last += 1
            self.files[f"{KEY}.m{self.last % 2 + 1}"] = rest[: limits.segment]
            rest = rest[limits.segment :]
        self.eof = Eof(KEY, Stream.MERGED, len(data), len(self.files[f"{KEY}.m"]), self.last, "ab")

    @property
    def present(self) -> bytes:
        """What is in the file that the reader writes into."""
        return self.files[f"{KEY}.m" if self.last < 0 else segment_file(KEY, Stream.MERGED, self.last)]

    def read(self, piece: Piece) -> bytes:
        return self.files.get(piece.file, b"")[piece.skip :][: piece.size]


LIMITS = st.builds(
    lambda head, tail, more: OutputLimits(head=head, tail=tail, segment=max(1, tail + more)),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 10),
)


@given(LIMITS, st.lists(st.integers(0, 10**18 - 1), min_size=2, max_size=2), st.integers(-1, 10**18 - 1), st.booleans())
def test_no_numbers_that_a_node_may_tell_make_us_read_more_than_was_agreed(limits, numbers, last, held):
    head, printed = sorted(numbers)
    tape = Tape(KEY, Stream.MERGED, limits)
    tape.grown(head)
    if held:
        tape.hold(last, printed)
    tape.end(Eof(KEY, Stream.MERGED, printed, head, last, "ab"))
    agreed, read = limits.head + limits.tail, 0
    while (piece := tape.next(1000)) is not None:
        read += piece.size
        tape.received(piece, piece.size)
        assert read <= agreed
    assert 0 <= tape.size.kept <= agreed


@given(st.binary(max_size=300), LIMITS, st.integers(1, 40), st.integers(0, 60), st.booleans())
def test_head_and_tail_arrive_and_nothing_else(data, limits, most, looked, held):
    """Whether the node told the end or, as a child holds the stream, where its reader stands."""
    node = NodeFiles(data, limits)
    tape = Tape(KEY, Stream.MERGED, limits)
    got: dict[int, bytes] = {}
    tape.grown(min(looked, len(node.files[f"{KEY}.m"])))
    for told in (False, True):
        if told and held:
            tape.hold(node.last, len(node.present))
        elif told:
            tape.end(node.eof)
        while piece := tape.next(most):
            assert piece.size <= most
            chunk = node.read(piece)
            assert chunk == data[piece.offset : piece.offset + piece.size]
            got[piece.offset] = chunk
            tape.received(piece, len(chunk))
    kept = data if len(data) <= limits.head + limits.tail else data[: limits.head] + data[len(data) - limits.tail :]
    assert b"".join(got[offset] for offset in sorted(got)) == kept
    assert tape.ended
    assert tape.size == OutputSize(
        printed=len(data), kept=len(kept), next=len(data) if limits.tail or len(data) <= limits.head else limits.head
    )


@given(st.binary(min_size=1, max_size=100), LIMITS, st.integers(0, 100))
def test_an_adopted_stream_is_read_on_where_it_was_left(data, limits, offset):
    node = NodeFiles(data, limits)
    tape = Tape(KEY, Stream.MERGED, limits, offset=offset)
    tape.end(node.eof)
    while piece := tape.next(7):
        assert piece.offset >= offset
        assert node.read(piece) == data[piece.offset : piece.offset + piece.size]
        tape.received(piece, piece.size)


def test_a_file_that_ends_early_ends_the_stream():
    tape = Tape(KEY, Stream.MERGED, output_limits(1000))
    tape.end(Eof(KEY, Stream.MERGED, 100, 100, -1, "ab"))
    piece = tape.next(1000)
    assert piece is not None
    tape.received(piece, 10)
    assert (tape.next(1000), tape.ended, tape.size.kept) == (None, True, 10)


def test_without_an_end_the_head_is_read_as_far_as_it_goes():
    tape = Tape(KEY, Stream.MERGED, output_limits(1000))
    tape.grown(10)
    tape.received(tape.next(1000), 10)
    tape.give_up()
    assert tape.ended
    tape.received(tape.next(1000), 5)
    assert (tape.next(1000), tape.size) == (None, OutputSize(printed=15, kept=15, next=15))


def test_a_signal_is_sent_by_name():
    assert [protocol.kill(KEY, each).split()[-4] for each in Signal] == [b"0", b"TERM", b"KILL"]


@pytest.mark.parametrize(
    ("timeout", "grace", "words"),
    [(0, 30, "0 0"), (0.1, 0, "2 0"), (90, 2.5, "91 3"), (86_400, 30, "86401 30")],
)
def test_a_node_counts_whole_seconds_of_a_limit_and_is_a_little_late(timeout, grace, words):
    limits = {"timeout": timedelta(seconds=timeout), "kill_grace": timedelta(seconds=grace)}
    assert f" 8388608 8388608 {words} - '' e " in protocol.start(order(**limits), "ab").decode()


def test_an_end_may_say_why_it_was_stopped():
    assert events(
        f"exit {KEY} 143 7 timeout", f"state {KEY} done 0 7 cancelled", f"state {KEY} lost supervisor timeout"
    ) == [
        Exited(KEY, 143, 7, Reason.TIMEOUT),
        StateOf(KEY, Word.DONE, 0, None, Reason.CANCELLED, 7),
        StateOf(KEY, Word.LOST, None, Reason.SUPERVISOR, Reason.TIMEOUT),
    ]


@pytest.mark.parametrize(
    "line", ["exit {} 0 7 overlap", "exit {} 0 7 timeout x", "state {} done 0 7 x", "state {} running 1 timeout"]
)
def test_an_end_is_stopped_for_nothing_else(line):
    with pytest.raises(ProtocolError):
        events(line.format(KEY))
