"""What `doctor` asks a node, what it makes of the answer, and that no answer makes it fail."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parts import not_found

from distcrond.executors.checkup_script import MOST, parse, script
from distcrond.model.checkup import CheckState, NodeFacts
from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.rules.checkup import judge, unreachable

MARK = "c0ffee"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHELLS = [("dash",), ("bash", "--posix"), ("busybox", "sh")]
GOOD = NodeFacts(
    user="cron",
    shell="/usr/bin/dash",
    clock_off=timedelta(0),
    spool="/s",
    spool_mode="700",
    spool_is_ours=True,
    spool_free=10**9,
    disk="ext2/ext3",
    sessions=10,
    kills_user_processes=False,
    lingers=False,
)


def a_node(**facts) -> Node:
    return Node(name=NodeName("web1"), **facts)


NODE = a_node()


def judged(node: Node = NODE, /, **changes) -> dict[str, tuple[str, str]]:
    from dataclasses import replace

    checks = list(judge(node, replace(GOOD, **changes)))
    assert all(bool(check.remedy) == (check.state is not CheckState.OK) for check in checks), checks
    return {check.name: (check.state.value, check.remedy) for check in checks}


def test_a_good_node():
    states = {name: state for name, (state, _) in judged().items()}
    names = ("reachable", "host_key", "shell", "spool", "space", "clock", "sessions", "logout")
    assert states == dict.fromkeys(names, "ok")


TROUBLES = [
    ({"missing": ("setsid",)}, "shell", "fail", "install"),
    ({"spool_mode": "755"}, "spool", "fail", "chown cron /s; chmod 700 /s"),
    ({"spool_is_ours": False}, "spool", "fail", "chown cron"),
    ({"disk": "nfs"}, "spool", "warn", "spool_directory"),
    ({"spool_free": 1024**2}, "space", "fail", "room"),
    ({"clock_off": timedelta(seconds=-3600)}, "clock", "warn", "NTP"),
    ({"clock_off": timedelta(seconds=3)}, "clock", "warn", "NTP"),
    ({"sessions": 1}, "sessions", "warn", "MaxSessions"),
    ({"kills_user_processes": True}, "logout", "fail", "loginctl enable-linger cron"),
]


@pytest.mark.parametrize(("facts", "name", "state", "remedy"), TROUBLES)
def test_each_trouble_has_its_remedy(facts, name, state, remedy):
    found = judged(**facts)
    assert found.pop(name)[0] == state
    assert remedy in judged(**facts)[name][1]
    assert {state for state, _ in found.values()} == {"ok"}


def test_what_does_not_matter_is_not_asked_for():
    assert "spool" not in judged(a_node(durable=False), spool_mode="755", missing=("setsid",))
    assert "host_key" not in judged(a_node(connection="local"))
    assert judged(kills_user_processes=True, lingers=True)["logout"][0] == "ok"
    assert judged(clock_off=timedelta(seconds=1.9))["clock"][0] == "ok"
    assert judged(spool_mode="")["spool"][0] == "ok"


def test_a_node_that_takes_no_questions_is_no_failure():
    states = [(check.name, check.state.value) for check in judge(a_node(), NodeFacts())]
    assert states == [("reachable", "ok"), ("host_key", "ok"), ("shell", "warn")]


def test_a_node_that_cannot_be_reached():
    (check,) = unreachable(Reason.AUTH_REJECTED, "no")
    assert (check.name, check.state) == ("reachable", CheckState.FAIL)
    assert "authorized_keys" in check.remedy
    detail = "h offers K; check the fingerprint, then: distcronctl trust web1 --jump; not read: /x"
    (check,) = unreachable(Reason.HOST_KEY_UNKNOWN, detail)
    assert (check.name, check.remedy) == ("host_key", "distcronctl trust web1 --jump")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_the_question_is_answered_by_every_shell(shell, tmp_path):
    if shutil.which(shell[0]) is None:
        not_found(shell[0], "no such shell in PATH")
    spool = tmp_path / "it's a spool"
    spool.mkdir(mode=0o700)
    before = datetime.now(UTC)  # noqa: TID251  the node's clock is the real one
    for place, mode in ((spool, "700"), (tmp_path / "not" / "there", "")):
        done = subprocess.run([*shell, "-c", script(MARK, str(place))], capture_output=True, check=True)
        facts = parse(b"Welcome!\n" + done.stdout, MARK, between=(before, datetime.now(UTC)))  # noqa: TID251
        assert (facts.spool, facts.spool_mode, facts.clock_off) == (str(place), mode, timedelta(0))
        assert facts.spool_is_ours is (True if mode else None)
        assert facts.spool_free
        assert (facts.missing, bool(facts.user), bool(facts.shell), bool(facts.disk)) == ((), True, True, True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["it's a spool"], "nothing was made"


def answered(*lines: str) -> NodeFacts:
    text = "".join(f"{MARK} {line}\n" for line in (*lines, "end"))
    return parse(text.encode(), MARK, between=(NOON, NOON + timedelta(seconds=1)))


def test_answers_are_parsed_strictly():
    assert answered("time 9999999999999999999").clock_off is None
    assert answered(f"time {int(NOON.timestamp()) + 3600}").clock_off == timedelta(hours=1)
    assert answered("free -1").spool_free is None
    assert answered("mode 700; rm").spool_mode == ""
    assert answered("missing rm -rf /").missing == ()
    assert answered("user a\x1b[31mb").user is None
    assert answered("user first", "user second").user == "first"
    assert parse(f"{MARK} user x\n".encode(), MARK, between=(NOON, NOON)) == NodeFacts(), "cut before its end"


@given(st.lists(st.sampled_from(["user", "uid", "time", "mode", "free", "kills", "end"]) | st.text(), max_size=8))
def test_no_answer_makes_it_fail(words):
    text = "\n".join(f"{MARK} {word} {other}" for word in words for other in words)
    facts = parse(text.encode("utf-8", "replace") + b"x" * (MOST // 64), MARK, between=(NOON, NOON))
    list(judge(a_node(), facts))
