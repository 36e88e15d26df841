"""The README's table of what may be wrong with a node: each row tried on a real sshd, through the whole daemon.

What the rows need and this machine does not have (root for mounts and name spaces, libfaketime, a recent sshd) is said
when it is skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import parts
from support.checker import moment
from support.daemon import Place, marked, now, until
from support.disks import fill_up, small_disk, use_up_files
from support.sshd import Farm, Sshd, open_to_all

README = (Path(__file__).parents[2] / "README.md").read_text()
TRIED: dict[str, str] = {}
"""The reason by condition, of all that is tried here."""


def row(condition: str, reason: str = "–") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Name the row of the README's table that a test tries."""
    TRIED[condition] = reason
    return lambda test: test


def test_the_readme_promises_what_is_tried_here():
    table = README.split("| on the node | reason |")[1].split("\n\n")[0]
    cells = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in table.splitlines()[2:]]
    assert dict(cells) == TRIED


class Lab:
    """A running daemon that gets a node and a job of the same name for each row."""

    def __init__(self, place: Place, farm: Farm) -> None:
        self.place = place
        self.farm = farm

    def add(self, name: str, server: Sshd, command: str, *, plain_node: bool = False, **keys: Any) -> None:
        """A node on this server, and a job for it."""
        self.place.ssh_node(name, self.farm.node(server).options, durable=not plain_node)
        keys = (
            {"policy": {"hosts": [name]}, "overlap": "allow"}
            | ({} if "script" in keys else {"shell_command": command})
            | keys
        )
        self.place.job(name, **keys)
        self.place.hang_up()
        until(lambda: name in self.names("jobs") & self.names("nodes"), what=self.place.log)

    def names(self, what: str) -> set[str]:
        return {each["name"] for each in self.place.get(what)["items"]}

    def verdict(self, name: str) -> tuple[str, str | None]:
        """Run the job to its end: outcome, and the reason if there is one."""
        run = self.place.run_job(name)
        return run["outcome"], run["targets"][0]["reason"]

    def says(self, name: str) -> bytes:
        """What the job prints when it succeeds."""
        run = self.place.run_job(name)
        assert run["outcome"] == "success", f"{run}\n{self.place.log()}"
        return self.place.output(run["id"], name)

    def begin(self, name: str, first: bytes) -> str:
        """Start the job and return the run once it has printed this."""
        run = self.place.trigger(name)
        self.place.await_output(run, name, first)
        return run

    def allow_one_process(self, pid: int) -> None:
        """Limit a process as its own user may."""
        user = ["setpriv", f"--reuid={self.farm.user}", f"--regid={self.farm.user}", "--clear-groups"]
        limit = ["prlimit", "--nproc=1:1", "--pid", str(pid)]
        subprocess.run([*user, *limit] if os.geteuid() == 0 else limit, check=True)

    def launchers(self, server: Sshd) -> list[int]:
        """Pids of the shells that wait for requests on this server."""
        return [pid for pid in marked(server.mark) if _words(pid)[-2:] == ["sh", "-s"]]


@pytest.fixture(scope="module")
def lab(shared, farm):
    shared.node("here")
    shared.start()
    return Lab(shared, farm)


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    return []


def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("a name space of one's own needs root")


def forced(text: str) -> str:
    """A ForceCommand that does something before what was asked for."""
    return f'{text}; eval "$SSH_ORIGINAL_COMMAND"'


# ---------------------------------------------------------------- no room


@row("disk full", "spool_full")
def test_disk_full(lab: Lab):
    server = lab.farm.add(1)[0]
    with small_disk(server.home, "size=400k", lab.farm.user) as disk:
        gate = lab.place.ledger / "disk-full"
        command = f"echo early; until [ -e {gate} ]; do sleep 0.02; done; head -c 2000000 /dev/zero; exit 9"
        lab.add("disk-full", server, command)
        run = lab.begin("disk-full", b"early\n")
        hog = fill_up(disk)
        assert lab.verdict("disk-full") == ("missed", "spool_full")
        gate.touch()
        seen = lab.place.finished(run)
        [target] = seen["targets"]
        assert (seen["outcome"], target["exit_code"]) == ("failure", 9)
        assert target["output"]["truncated"]
        assert target["output"]["bytes"] >= 1_900_000
        assert target["output"]["kept"] < 400_000
        hog.unlink()
        assert lab.verdict("disk-full") == ("failure", "exit_code")


@row("quota used up", "spool_full")
def test_quota_used_up(lab: Lab):
    """A quota refuses the same system calls as a full disk, and a shell tells neither apart: no file can be made."""
    server = lab.farm.add(1)[0]
    with small_disk(server.home, "nr_inodes=40", lab.farm.user) as disk:
        lab.add("quota", server, "echo fine")
        assert lab.says("quota") == b"fine\n"
        hogs = use_up_files(disk)
        assert lab.verdict("quota") == ("missed", "spool_full")
        for hog in hogs:
            hog.unlink()
        assert lab.says("quota") == b"fine\n"


@row("process limit reached", "fork_refused")
def test_process_limit_reached(lab: Lab):
    server = lab.farm.add(1, ForceCommand='exec prlimit --nproc=1:1 sh -c "$SSH_ORIGINAL_COMMAND"')[0]
    lab.add("forks", server, "echo no")
    assert lab.verdict("forks") == ("missed", "fork_refused")


@row("process limit reached", "fork_refused")
def test_process_limit_reached_under_a_launcher(lab: Lab):
    """It dies of that, and whoever is to follow it finds out."""
    server = lab.farm.add(1)[0]
    lab.add("later", server, "echo fine; exit 3")
    assert lab.verdict("later") == ("failure", "exit_code")
    [before] = until(lambda: len(found := lab.launchers(server)) == 1 and found, what=lab.place.log)
    lab.allow_one_process(before)
    assert lab.verdict("later") == ("failure", "exit_code")
    assert before not in lab.launchers(server)


# ---------------------------------------------------------------- the home


@row("home read-only", "spool_unusable")
def test_home_read_only(lab: Lab):
    server = lab.farm.add(1)[0]
    with small_disk(server.home, "ro", lab.farm.user):
        lab.add("read-only", server, "echo no")
        assert lab.verdict("read-only") == ("missed", "spool_unusable")
        lab.add("read-only-plain", server, "echo plain", plain_node=True)
        assert lab.says("read-only-plain") == b"plain\n"


@row("home on a shared file system")
def test_home_on_a_shared_file_system(lab: Lab, tmp_path):
    as_root()
    servers = []
    for number in range(2):
        machine = tmp_path / str(number)
        machine.write_text(f"machine{number}\n")
        renamed = f'mount --bind {machine} /etc/machine-id && exec "$@"'
        servers += lab.farm.add(1, within=("unshare", "--mount", "sh", "-c", renamed, "sh"))
    spool = servers[0].home / "spool"
    for number, server in enumerate(servers):
        lab.place.ssh_node(f"shared{number}", lab.farm.node(server, spool_directory=str(spool)).options)
    lab.add("shared2", servers[0], "cat /etc/machine-id", policy={"hosts": ["shared0", "shared1"], "select": "all"})
    run = lab.place.run_job("shared2")
    assert run["outcome"] == "success"
    for number in range(2):
        assert lab.place.output(run["id"], f"shared{number}") == f"machine{number}\n".encode()
        assert list((spool / f"machine{number}").glob(f"*.{number}.1.run"))


def test_a_spool_on_a_network_file_system_is_told(lab: Lab, tmp_path):
    """No such file system can be had here: the node's `stat` says that it is one."""
    stat = tmp_path / "stat"
    stat.write_text(f'#!/bin/sh\n[ "$1" = -f ] && echo nfs || exec {shutil.which("stat")} "$@"\n')
    stat.chmod(0o755)
    open_to_all(tmp_path)
    lab.add("nfs", lab.farm.add(1, ForceCommand=forced(f"PATH={tmp_path}:$PATH"))[0], "echo fine")
    assert lab.says("nfs") == b"fine\n"
    told = "the spool of node nfs is on a network file system (nfs): give it a spool_directory"
    until(lambda: told in lab.place.log(), what=lab.place.log)


@row("home mounted noexec")
def test_home_mounted_noexec(lab: Lab):
    server = lab.farm.add(1)[0]
    with small_disk(server.home, "noexec", lab.farm.user):
        source = {"interpreter": ["/bin/sh"], "source": f"cd {server.home}; cp /bin/true .; ./true; echo $?"}
        lab.add("noexec", server, "", script=source)
        assert lab.says("noexec").splitlines()[-1] == b"126"


# ---------------------------------------------------------------- the login


@row("no setsid", "node_unsupported")
def test_no_setsid(lab: Lab, tmp_path):
    programs = "dd grep find stat head tail cat rm ln tr sleep mkdir ls env sh"
    for program in programs.split():
        (tmp_path / program).symlink_to(shutil.which(program) or pytest.fail(program))
    open_to_all(tmp_path)
    server = lab.farm.add(1, ForceCommand=forced(f"PATH={tmp_path}"))[0]
    lab.add("setsid", server, "echo no")
    assert lab.verdict("setsid") == ("missed", "node_unsupported")
    assert "no setsid" in lab.place.log()
    lab.add("setsid-plain", server, "echo plain", plain_node=True)
    assert lab.says("setsid-plain") == b"plain\n"


@row("restricted login shell", "node_unsupported")
@pytest.mark.parametrize("by", ["node", "job"])
def test_restricted_login_shell(lab: Lab, by):
    if shutil.which("rbash") is None:
        parts.not_found("rbash", "a login shell that forbids a lot")
    server = lab.farm.add(1, ForceCommand='exec rbash -c "$SSH_ORIGINAL_COMMAND"')[0]
    lab.add(f"restricted-{by}", server, "echo no")
    assert lab.verdict(f"restricted-{by}") == ("missed", "node_unsupported")
    until(lambda: "exec: restricted" in lab.place.node_states()[f"restricted-{by}"]["detail"], what=lab.place.log)
    lab.add(f"restricted-{by}-plain", server, "echo plain; exit 3", plain_node=by == "node", durable=by == "node")
    assert lab.verdict(f"restricted-{by}-plain") == ("failure", "exit_code")


@row("login shell prints a banner")
@pytest.mark.parametrize("durable", [True, False])
def test_login_shell_prints_a_banner(lab: Lab, durable):
    server = lab.farm.add(1, ForceCommand=forced("echo banner; printf fuss >&2; printf 'no end'"))[0]
    lab.add(f"banner-{durable}", server, "echo mine; echo own >&2", durable=durable)
    assert lab.says(f"banner-{durable}") == b"mine\nown\n"


@row("slow profile")
def test_slow_profile(lab: Lab):
    """It is paid once: twenty runs wait for it together."""
    lab.add("slow", lab.farm.add(1, ForceCommand=forced("sleep 2"))[0], "echo fine")
    began = time.perf_counter()
    runs = [lab.place.trigger("slow") for _ in range(20)]
    assert [lab.place.finished(run)["outcome"] for run in runs] == ["success"] * 20
    assert time.perf_counter() - began < 30


@row("a profile slower than connect_timeout", "connect_timeout")
def test_a_profile_slower_than_connect_timeout(lab: Lab):
    server = lab.farm.add(1, ForceCommand=forced("sleep 60"))[0]
    lab.add("slower", server, "echo no", connect_timeout="1s")
    assert lab.verdict("slower") == ("missed", "connect_timeout")


# ---------------------------------------------------------------- the server


@row("MaxSessions 1")
def test_max_sessions_1(lab: Lab):
    server = lab.farm.add(1, MaxSessions="1")[0]
    lab.add("sessions", server, "sleep 0.5")
    runs = [lab.place.trigger("sessions") for _ in range(30)]
    assert [lab.place.finished(run)["outcome"] for run in runs] == ["success"] * 30
    assert server.log().count("Accepted publickey") == 1


@row("ChannelTimeout")
def test_channel_timeout(lab: Lab):
    """A quiet channel is closed under a quiet command."""
    try:
        server = lab.farm.add(1, ChannelTimeout="session:*=2s")[0]
    except RuntimeError as error:
        if "ChannelTimeout" not in str(error):
            raise
        pytest.skip("this sshd knows no ChannelTimeout: it came with OpenSSH 9.2")
    lab.add("channels", server, "echo early; sleep 6; echo late")
    run = lab.begin("channels", b"early\n")
    launcher = lab.launchers(server)
    assert lab.place.finished(run)["outcome"] == "success"
    assert lab.place.output(run, "channels") == b"early\nlate\n"
    until(lambda: lab.launchers(server) != launcher, what="the channel was never closed")
    assert len(lab.place.get(f"runs/{run}")["targets"][0]["attempts"]) == 1


@row("clock off by an hour")
@pytest.mark.parametrize("offset", ["-1h", "+1h"])
def test_clock_off_by_an_hour(lab: Lab, offset):
    name = f"clock{'behind' if offset[0] == '-' else 'ahead'}"
    server = lab.farm.add(1, SetEnv=f"LD_PRELOAD={libfaketime()} FAKETIME={offset}")[0]
    lab.add(name, server, "date +%s; sleep 1; date +%s")
    before = now()
    run = lab.place.run_job(name)
    theirs = [int(word) for word in lab.place.output(run["id"], name).split()]
    assert run["outcome"] == "success"
    assert 3500 < abs(theirs[0] - before.timestamp()) < 3700
    assert before <= moment(run["started_at"]) <= moment(run["finished_at"]) <= now()
    assert 900 <= run["duration_ms"] < 60_000


@row("KillUserProcesses", "supervisor")
def test_kill_user_processes(lab: Lab):
    """What logind does when the last session ends is done here by hand: every process of it is killed."""
    server = lab.farm.add(1)[0]
    lab.add("logind", server, "echo begun; sleep 100")
    run = lab.begin("logind", b"begun\n")
    server.drop_connections()
    for pid in marked(server.mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    seen = lab.place.finished(run)
    assert print(seen) or (seen["outcome"], seen["targets"][0]["reason"]) == ("lost", "supervisor")
    assert lab.place.output(run, "logind") == b"begun\n"
    assert len(seen["targets"][0]["attempts"]) == 1


def libfaketime() -> str:
    found = next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)
    if found is None:
        parts.not_found("libfaketime", "a clock of its own for one server's sessions")
    return str(found)
