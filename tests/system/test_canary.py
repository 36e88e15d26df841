"""A canary secret of each kind: it reaches the command that asked for it and appears nowhere else.

GUARANTEES §8, statements 8 (log, API, index, argv, crash) and 35 (`local` runs inherit no secrets or descriptors).
"""

from __future__ import annotations

import base64
import os
import resource
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.daemon import until
from support.elastic_stub import open_stub
from support.parts import not_allowed

SOURCE = Path(__file__).parents[2]
KINDS = ("FROM_FILE", "FROM_CREDENTIAL", "FROM_ENVIRONMENT")
CRASH = """
import os
if "CRASH_AT_RELEASE" in os.environ:
    from distcrond.executors.spool_session import SpoolSession
    def release(self):
        request = self._request
        raise RuntimeError("somebody made a mistake")
    SpoolSession.release = release
"""
"""A fault of ours where an attempt's order is at hand: a traceback in the log."""


def canary(what: str) -> str:
    return f"canary-{what.lower()}-{secrets.token_hex(8)}"


@pytest.fixture
def birds(place, farm):
    """Canaries by name, each in its cage."""
    made = {kind: canary(kind) for kind in (*KINDS, "password", "unasked")}
    cages = place.root / "cages"
    cages.mkdir()
    for name, value in (("file", made["FROM_FILE"]), ("shop", made["FROM_CREDENTIAL"]), ("es", made["password"])):
        (cages / name).write_text(value + "\n")
        (cages / name).chmod(0o600)
    (cages / "sitecustomize.py").write_text(CRASH)
    place.variables |= {
        "CREDENTIALS_DIRECTORY": str(cages),
        "SHOP_KEY": made["FROM_ENVIRONMENT"],
        "UNASKED": made["unasked"],
        "DISTCRON_ELASTICSEARCH__USERNAME": "distcron",
        "DISTCRON_ELASTICSEARCH__PASSWORD_FILE": "credential:es",
        "PYTHONPATH": str(cages),
    }
    (place.root / "state").mkdir(mode=0o700)
    return made | {"private key": farm.key_file.read_text().splitlines()[2]}


SOURCES = {
    "FROM_CREDENTIAL": {"credential": "shop"},
    "FROM_ENVIRONMENT": {"environment": "SHOP_KEY"},
}


def asks(place, name, command, nodes, **keys):
    wanted = SOURCES | {"FROM_FILE": {"file": str(place.root / "cages" / "file")}}
    place.job(name, shell_command=command, secrets=wanted, policy={"hosts": nodes, "select": "all"}, **keys)


PRINTS = """
for value in "$FROM_FILE" "$FROM_CREDENTIAL" "$FROM_ENVIRONMENT"; do
  start=${value%????????????}; printf '%s' "$start"; sleep 0.3; printf '%s\\n' "${value#"$start"}"; echo "$value" >&2
done
until [ -e "$LEDGER/go" ]; do sleep 0.1; done
[ "${#FROM_FILE}" -gt 20 ] && exit 3
"""


def everywhere(place, stub) -> dict[str, bytes]:
    """All that the daemon wrote, said and sent."""
    runs = [run["id"] for run in place.all_runs()]
    routes = ["jobs", "jobs/asks", "runs", "nodes", "nodes/web/host-keys", "stats", "sinks", "config/problems"]
    routes += [f"runs/{run}" for run in runs] + ["jobs/asks/reports", "upcoming", "openapi.json", "doctor"]
    routes += [f"runs/{run}/output?node={node}" for run in runs for node in ("web", "bare", "here")]
    said = {route: place.ask("GET", f"/api/v1/{route}").body for route in routes}
    wrong = [("POST", "jobs/asks/run", {"environment": {"FROM_FILE\n": "x"}}), ("PUT", "jobs/asks", {})]
    said |= {path: place.ask(method, f"/api/v1/{path}", body).body for method, path, body in wrong}
    files = (path for path in (place.root / "state").rglob("*") if path.is_file())
    written = {str(path): path.read_bytes() for path in files}
    return {"log": place.log().encode(), "Elasticsearch": b"\n".join(stub.bodies)} | said | written


def command_lines() -> bytes:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return b"\n".join(lines)


def test_no_canary_is_seen_outside_its_cage(place, farm, birds):
    options = farm.node(farm.host(0)).options
    place.ssh_node("web", options)
    place.ssh_node("bare", options, durable=False)
    place.node("here")
    asks(place, "asks", PRINTS, ["web", "bare", "here"])
    asks(place, "after", "echo $FROM_FILE", ["web"])
    place.job("unasked", shell_command="env; ls -l /proc/self/fd; cat /proc/$PPID/environ", policy={"hosts": ["here"]})
    with open_stub() as stub:
        place.flags += ["--log-level", "debug", "--es-url", stub.url]
        place.start()
        place.await_nodes(web="up", bare="up", here="up")
        run = place.trigger("asks")
        words = [value.encode() for value in birds.values()]
        nodes = ("web", "bare", "here")
        until(lambda: all(place.output(run, node).count(b"\n") == 6 for node in nodes), what=place.log)
        seen = command_lines()
        assert place.process is not None
        assert str(place.root).encode() in seen
        assert [word for word in words if word in seen] == []
        (place.ledger / "go").touch()
        finished = place.finished(run)
        assert [target["exit_code"] for target in finished["targets"]] == [3, 3, 3], place.log()
        expected = "".join(f"{'*' * len(birds[kind])}\n" * 2 for kind in KINDS)
        assert {place.output(run, node).decode() for node in nodes} == {expected}

        unasked = place.run_job("unasked")
        environment = place.output(unasked["id"], "here")
        assert b"DISTCRON_RUN_ID" in environment
        assert [word for word in (*words, b"CREDENTIALS_DIRECTORY") if word in environment] == []
        descriptors = [line.split()[-1] for line in environment.decode().splitlines() if " -> " in line]
        assert not any(str(place.root) in each or "socket:" in each for each in descriptors), descriptors

        place.terminate()
        place.variables["CRASH_AT_RELEASE"] = "1"
        place.start()
        place.run_job("after")
        until(lambda: "somebody made a mistake" in place.log(), seconds=8, what=place.log)
        (place.root / "cages" / "file").unlink()
        missing = place.run_job("after")
        assert missing["reason"] == "secret_missing", missing
        until(lambda: missing["id"].encode() in b"\n".join(stub.bodies), what=place.log)
        found = [
            (where, name)
            for where, text in everywhere(place, stub).items()
            for name, word in birds.items()
            if word.encode() in text
        ]
        assert found == []
        assert "Elasticsearch 9.2.0" in str(place.get("doctor"))
        login = base64.b64encode(f"distcron:{birds['password']}".encode()).decode()
        assert f"Basic {login}" in stub.credentials, "the password was of use"
        assert "Traceback" in place.log()


DAEMON = """
import ctypes, os, sys, distcrond.privacy
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # as after the execution of a program: open to its user
if sys.argv[1] == "private":
    distcrond.privacy.keep_memory_private()
print(1, flush=True)
input()
"""


@pytest.mark.parametrize("private", [False, True])
def test_no_look_into_the_memory(private):
    """What a `local` command, which is a process of the same user, can see of a daemon that carries a secret."""
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    words = [sys.executable, "-c", DAEMON, "private" if private else "open"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, env={"BIRD": "canary", "PYTHONPATH": str(SOURCE)}, cwd="/", **pipes) as daemon:
        assert daemon.stdout.readline() == b"1\n"
        for file in ("environ", "mem") if private else ("environ",):  # the rest may be closed by the system anyway
            look = ["/usr/bin/head", "-c", "1", f"/proc/{daemon.pid}/{file}"]
            seen = subprocess.run(look, capture_output=True, check=False, text=True, **user)
            assert ("Permission denied" in seen.stderr) is private, seen
        daemon.communicate(b"\n")


def test_no_core_is_written(place):
    """By the kernel's own word on how the daemon died, and on how a process did that minds nothing."""
    place.start()
    assert place.process is not None
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=place.root)
    if not dumps_core(other):
        not_allowed("write a core file")
    assert not dumps_core(place.process)


def dumps_core(process: subprocess.Popen[bytes]) -> bool:
    """Let a process die where it stands; whether the kernel wrote its memory down."""
    hard = resource.prlimit(process.pid, resource.RLIMIT_CORE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (hard, hard))
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdin is not None:
        process.stdin.close()
    return os.WCOREDUMP(status)
