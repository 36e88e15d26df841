"""A farm of real OpenSSH servers on loopback addresses, each with its own configuration, host key and port.

They log in a throw-away user without rights when the tests run as root, else the current user. Every process that a
farm caused carries DISTCRON_FARM in its environment, by which `close` finds what a test left behind.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from distcrond.model.ids import NodeName
from distcrond.model.node import Node, Option

TEST_USER = "distcron-test"
START_SECONDS = 20.0
DEBIAN = {
    "KbdInteractiveAuthentication": "no",
    "X11Forwarding": "yes",
    "PrintMotd": "no",
    "AcceptEnv": "LANG LC_*",
    "MaxSessions": "10",
    "MaxStartups": "10:30:100",
    "StrictModes": "no",  # the farm lives below the world-writable /tmp
    "LogLevel": "VERBOSE",
    "PidFile": "none",
}


def find_sshd() -> str | None:
    """The absolute path of sshd (which insists on one), or None."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@dataclass(slots=True, kw_only=True)
class Sshd:
    """One server. `host` and `port` stay the same over restarts; `within` are words that start it somewhere special.

    One that is `apart` is in a network where we are not.

    Everything that its sessions start carries `mark` in its environment.
    """

    host: str
    port: int
    directory: Path
    host_key: asyncssh.SSHKey
    within: tuple[str, ...] = ()
    apart: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it accepts connections."""
        self.spawn()
        self.wait()

    def spawn(self) -> None:
        """Start it without waiting."""
        with (self.directory / "log").open("ab") as log:
            command = [*self.within, find_sshd() or "sshd", "-D", "-e", "-f", str(self.directory / "sshd_config")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self) -> None:
        """Return when it accepts connections."""
        deadline = time.perf_counter() + START_SECONDS
        while not self._answers():
            if self.process is None or time.perf_counter() > deadline:
                raise RuntimeError(f"sshd does not start: {self.log()}")
            if self.process.poll() is not None:
                self._try_again()
            time.sleep(0.005)

    def _answers(self) -> bool:
        """Somebody else may listen there for a moment: who looks for a free port of another test process."""
        if self.apart:
            return "Server listening" in self.log()
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=5) as asked:
            return asked.recv(4) == b"SSH-"
        return False

    def _try_again(self) -> None:
        if "Address already in use" not in self.log():
            raise RuntimeError(f"sshd does not start: {self.log()}")
        self.spawn()

    @property
    def home(self) -> Path:
        """A directory of the user who logs in; the spool is below."""
        return self.directory / "home"

    @property
    def mark(self) -> str:
        """NAME=VALUE."""
        return f"DISTCRON_FARM_HOST={self.directory}"

    def log(self) -> str:
        """What the server wrote so far."""
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """End the listener; connections go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def connections(self) -> list[int]:
        """Pids of the processes that serve connections."""
        if self.process is None:
            return []
        return [pid for pid in _descendants(self.process.pid) if _name(pid).startswith("sshd")]

    def shells(self) -> list[int]:
        """Pids of what connections started on the node, without what that started in turn."""
        return [pid for server in self.connections() for pid in _children(server) if not _name(pid).startswith("sshd")]

    def drop_connections(self) -> None:
        """Kill the processes that serve connections; what they started goes on."""
        _signal(self.connections(), signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server and its connections in their tracks, as a stalled node does."""
        if self.process is not None:
            _signal([self.process.pid, *self.connections()], signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.process is not None:
            _signal([self.process.pid, *self.connections()], signal.SIGCONT)

    def close(self) -> None:
        """End the server and its connections."""
        self.thaw()
        pids = self.connections()
        self.stop()
        _signal(pids, signal.SIGKILL)

    @property
    def place(self) -> str:
        """Host and port as node files have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def power_off(self) -> None:
        """End it and every launcher and supervisor in its spool, none of which gets to say a word."""
        _signal(_inside(self.directory), signal.SIGKILL)
        self.close()

    def known_hosts_line(self, key: asyncssh.SSHKey | None = None) -> str:
        """The line that makes `key` (its own, if None) known under the server's address."""
        public = (key or self.host_key).export_public_key().decode().strip()
        return f"[{self.host}]:{self.port} {public}\n"


@dataclass(slots=True)
class Farm:
    """Servers that share a user, a client key and a known_hosts file."""

    directory: Path
    user: str
    servers: list[Sshd] = field(default_factory=list)
    usual: list[Sshd] = field(default_factory=list)

    @property
    def key_file(self) -> Path:
        """The client's private key."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The file with the host keys of all servers."""
        return self.directory / "known_hosts"

    def add(self, count: int = 1, *, within: tuple[str, ...] = (), apart: bool = False, **options: str) -> list[Sshd]:
        """Start further servers, all at once; `options` are sshd_config keywords over Debian's defaults.

        What `SetEnv` says is added to our own. Those `apart` need a `ListenAddress` and a `Port`.
        """
        added = [self._make(len(self.servers) + index, within, options, apart=apart) for index in range(count)]
        for server in added:
            server.spawn()
        self.servers += added
        for server in added:
            server.wait()
        with self.known_hosts.open("a") as lines:
            lines.writelines(server.known_hosts_line() for server in added)
        return added

    def host(self, index: int) -> Sshd:
        """The server of that number among those with the usual options, which tests share; missing ones are started."""
        if index >= len(self.usual):
            self.usual += self.add(index + 1 - len(self.usual))
        return self.usual[index]

    def node(self, server: Sshd, name: str = "", **options: Option) -> Node:
        """The node definition for a server; `options` are `connection_options` over the usual ones.

        An option given as an empty text is left out.
        """
        usual: dict[str, Option] = {
            "ssh_host": server.place,
            "ssh_user": self.user,
            "ssh_private_key_file": str(self.key_file),
            "ssh_known_hosts_file": str(self.known_hosts),
            "spool_directory": str(server.home / "spool"),
        }
        kept = {key: value for key, value in (usual | options).items() if value != ""}
        return Node(name=NodeName(name or f"host{self.servers.index(server)}"), options=kept)

    def close(self) -> None:
        """End everything by pid and remove the directory."""
        for server in self.servers:
            server.close()
        _signal(list(_marked(str(self.directory))), signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _make(self, number: int, within: tuple[str, ...], options: Mapping[str, str], *, apart: bool) -> Sshd:
        directory = self.directory / f"host{number}"
        directory.mkdir(mode=0o755)
        host = options.get("ListenAddress", f"127.0.0.{number % 250 + 1}")
        port = int(options["Port"]) if apart else _free_port(host)
        key = asyncssh.generate_private_key("ssh-ed25519")
        _write_private(directory / "host_key", key)
        settings = {
            "ListenAddress": host,
            "Port": str(port),
            "HostKey": str(directory / "host_key"),
            "AuthorizedKeysFile": str(self.directory / "authorized_keys"),
            "UsePAM": "yes" if os.geteuid() == 0 else "no",
        }
        server = Sshd(host=host, port=port, directory=directory, host_key=key, within=within, apart=apart)
        _give(server.home, self.user)
        settings |= options
        settings["SetEnv"] = f"DISTCRON_FARM={self.directory} {server.mark} {options.get('SetEnv', '')}"
        lines = [f"{keyword} {value}\n" for keyword, value in (DEBIAN | settings).items()]
        (directory / "sshd_config").write_text("".join(lines))
        return server


@contextlib.contextmanager
def open_farm(count: int = 0, **options: str) -> Iterator[Farm]:
    """A farm of `count` servers for the length of a `with` block."""
    directory = Path(tempfile.mkdtemp(prefix="distcron-sshd-"))
    directory.chmod(0o755)
    farm = Farm(directory, _user())
    key = asyncssh.generate_private_key("ssh-ed25519")
    _write_private(farm.key_file, key)
    key.write_public_key(str(directory / "authorized_keys"))
    farm.known_hosts.touch()
    try:
        if count:
            farm.add(count, **options)
        yield farm
    finally:
        farm.close()


def open_to_all(directory: Path) -> None:
    """Let everybody pass through a test's own directories."""
    for each in (directory, *directory.parents):
        if each.stat().st_uid == os.geteuid() and each.is_relative_to("/tmp") and each != Path("/tmp"):
            each.chmod(each.stat().st_mode | 0o011)


def _user() -> str:
    """The user to log in as; made once when we are root, and kept for the next run."""
    if os.geteuid() != 0:
        return getpass.getuser()
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(TEST_USER).pw_name
    command = ["useradd", "--create-home", "--shell", "/bin/sh", TEST_USER]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode not in (0, 9):  # 9: another test run was faster
        raise RuntimeError(f"useradd: {made.stderr}")
    return TEST_USER


def _give(directory: Path, user: str) -> None:
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(directory, user, pwd.getpwnam(user).pw_gid)


def _write_private(path: Path, key: asyncssh.SSHKey) -> None:
    path.touch(mode=0o600)
    key.write_private_key(str(path))


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        port: int = probe.getsockname()[1]
        return port


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _inside(directory: Path) -> list[int]:
    """Processes that work there, such as shells in a spool."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(directory):
                    found.append(int(entry.name))
    return found


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _marked(farm: str) -> Iterator[int]:
    mark = f"DISTCRON_FARM={farm}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
