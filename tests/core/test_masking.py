"""Secrets in output: masked byte for byte, however the bytes arrive (GUARANTEES §8, statement 32)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.engine.running.masking import Mask
from distcrond.model.run import Stream
from distcrond.ports import Chunk

OUT, ERR = Stream.STDOUT, Stream.STDERR


def chunks(*pieces: bytes, stream: Stream = OUT, offset: int = 0) -> list[Chunk]:
    made = []
    for piece in pieces:
        made.append(Chunk(stream=stream, offset=offset, data=piece))
        offset += len(piece)
    return made


def shown(secrets: Sequence[str], printed: Sequence[Chunk]) -> bytes:
    """What is stored in the end; every piece is where the one before ended, but for holes that were printed."""
    mask = Mask(secrets)
    stored = [piece for chunk in printed for piece in mask.feed(chunk)] + list(mask.rest())
    assert sum(len(piece.data) for piece in stored) == sum(len(chunk.data) for chunk in printed)
    return b"".join(piece.data for piece in sorted(stored, key=lambda piece: (piece.stream, piece.offset)))


CASES = [
    (["hunter22"], [b"password hunter22!\n"], b"password ********!\n"),
    (["hunter22"], [b"password hun", b"ter22!\n"], b"password ********!\n"),
    (["hunter22"], [b"h", b"u", b"n", b"t", b"e", b"r", b"2", b"2"], b"********"),
    (["hunter22"], [b"hunthunter22", b"hunter2"], b"hunt********" + b"*******"),
    (["hunter22"], [b"ends with hun"], b"ends with hun"),
    (["hunter22"], [b"ends with hunt"], b"ends with ****"),
    (["aaab", "abcd"], [b"xaaa", b"bcdx"], b"x******x"),
    (["abcd", "abcdefgh"], [b"abcd", b"efgh abcd"], b"******** ****"),
    (["abab"], [b"ababab"], b"******"),
    (["line one\nline two"], [b"> line one\n> line two\n"], b"> ********\n> ********\n"),
    (["pä55wörd"], ["das pä55wörd".encode()], b"das **********"),
    (["raw\udcff\udcfe!"], [b"x raw\xff\xfe! y"], b"x ****** y"),
    ([], [b"nothing to hide"], b"nothing to hide"),
]


@pytest.mark.parametrize(("secrets", "pieces", "expected"), CASES)
def test_a_secret_is_masked_however_it_is_split(secrets, pieces, expected):
    assert shown(secrets, chunks(*pieces)) == expected


def test_streams_are_apart():
    printed = [*chunks(b"hun"), *chunks(b"hun", stream=ERR), *chunks(b"ter22", offset=3), *chunks(b"...", offset=8)]
    assert shown(["hunter22"], printed) == b"hun********..."  # stderr sorts first


def test_the_parts_on_both_sides_of_a_hole_are_masked():
    printed = [*chunks(b"see hunt"), *chunks(b"er22 and on", offset=5000)]
    assert shown(["hunter22"], printed) == b"see ********" + b" and on"


def test_what_cannot_be_judged_is_withheld():
    mask = Mask(withheld=True)
    (piece,) = mask.feed(Chunk(stream=OUT, offset=7, data=b"one\n\ntwo"))
    assert (piece.offset, piece.data) == (7, b"***\n\n***")


def test_words_about_a_run_are_masked():
    assert Mask(["hunter22"]).text("sh: hunter22: not found") == "sh: ********: not found"
    assert Mask(["hunter22"]).text("nothing ümläut \udcff") == "nothing ümläut \udcff"


def test_output_is_not_held_back_for_nothing():
    mask = Mask(["hunter22"])
    (piece,) = mask.feed(Chunk(stream=OUT, offset=0, data=b"a line without it\n"))
    assert piece.data == b"a line without it\n"


@given(
    st.lists(st.text("ab", min_size=4, max_size=8), min_size=1, max_size=3),
    st.lists(st.text("ab", max_size=9), max_size=12),
)
def test_no_secret_is_left_and_nothing_else_is_touched(secrets, pieces):
    """Whatever the split: the same as if all had come at once, but for the end."""
    printed = "".join(pieces)
    seen = shown(secrets, chunks(*(piece.encode() for piece in pieces))).decode()
    covered = {
        place
        for secret in secrets
        for found in re.finditer(f"(?={secret})", printed)
        for place in range(found.start(), found.start() + len(secret))
    }
    cut = max(
        (size for secret in secrets for size in range(4, len(secret)) if printed.endswith(secret[:size])), default=0
    )
    covered |= set(range(len(printed) - cut, len(printed)))
    assert seen == "".join("*" if place in covered else letter for place, letter in enumerate(printed))
