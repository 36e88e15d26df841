"""Flags, environment and `distcrond.yaml` → Settings.

Flag > environment > file > default. Each value keeps its origin, and all that is wrong is told at once, by the same
schema wherever it was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from distcrond.config.calendars import parse_calendars
from distcrond.config.defaults import Layers, merge
from distcrond.config.document import Source, read_document
from distcrond.config.faults import FileFault, Finding, Pointer, in_order, problem_of
from distcrond.config.files import read_bytes
from distcrond.config.flags import flag_of
from distcrond.config.keeping import GROUP as JOURNAL
from distcrond.config.keeping import JournalSettings, journal_settings, parse_keeping
from distcrond.config.marks import Marks
from distcrond.config.parse_schedule import check_zone
from distcrond.config.places import credentials_directory, located, located_file
from distcrond.config.quarantine import parse_quarantine
from distcrond.config.reporting import (
    GROUP,
    SECRETS,
    ElasticsearchSettings,
    elasticsearch_settings,
    parse_url,
    parse_value,
)
from distcrond.config.settings_files import settings_files
from distcrond.config.validate import validate
from distcrond.config.zones import parse_zones
from distcrond.errors import ConfigurationRejected, InvalidValue
from distcrond.model.problem import Problem
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.span import format_duration, parse_duration
from distcrond.model.spec import Calendar
from distcrond.model.zone import Zone

DEFAULT_CONFIG = Path("/etc/distcron/distcrond.yaml")
_PREFIX = "DISTCRON_"
_GROUPED: Mapping[str, Pointer] = {"listen": ("api", "listen"), "socket": ("api", "socket")}
"""Settings that stand in a group of the file; flags and environment may call them by their last name."""
_SWITCHES = (("allow_no_owner",), ("api", "behind_proxy"))
_NUMBERS = (("health_check_interval",), ("es_port",), ("quarantine", "jobs"))
_LISTS = ((GROUP, "urls"), ("api", "allowed_hosts"))
_PLACES = frozenset({"jobs_directory", "nodes_directory", "state_directory", "socket", "log_directory"})
_FILES = frozenset({"tls_certificate_file", "tls_key_file", "tls_client_ca_file"})
_LEAVES = frozenset({"job_retention", "calendars", "zones", "quarantine"})
"""Settings whose value is a map."""
_NO_SETTING = frozenset({"config", "check", "show_config", "list_failpoints", "restored"})
# What runs and clients see in their environment; a daemon started from there must not stumble over it.
_NOT_OURS = re.compile(
    "run_id|job|node|attempt(_id)?|scheduled_at|trigger|server|token(_file)?|certificate|key|failpoint.*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the daemon is told about itself; paths are absolute.

    `listen` is host and port (0 = any free one), None for the socket alone; `socket_mode` has the bits of `chmod`.
    `elasticsearch` is None unless reports go there; `log_directory` is where the JSON lines of the storage `plain` go.
    `origins` tells where each value comes from; a setting without an origin is a default.
    """

    state_directory: Path
    socket: Path
    jobs_directory: Path = Path("/etc/distcron/jobs.d")
    nodes_directory: Path = Path("/etc/distcron/nodes.d")
    socket_mode: int = 0o660
    socket_group: str | None = None
    listen: tuple[str, int] | None = ("127.0.0.1", 8080)
    allowed_hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    allow_no_owner: bool = False
    health_check_interval: timedelta = timedelta(seconds=10)
    log_format: str = "text"
    log_level: str = "info"
    timezone: str = "UTC"
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    zones: Mapping[str, Zone] = field(default_factory=dict)
    quarantine: QuarantineRule = field(default_factory=QuarantineRule)
    storage: str = "sqlite"
    log_directory: Path | None = None
    elasticsearch: ElasticsearchSettings | None = None
    journal: JournalSettings = field(default_factory=JournalSettings)
    origins: Mapping[str, str] = field(default_factory=dict)

    def described(self) -> list[str]:
        """Return a line `name: value  # origin` for each setting, as `--show-config` prints it."""
        return [f"{name}: {value}  # {self._origin(name)}" for name, value in self.shown().items()]

    def shown(self) -> dict[str, str]:
        """Return each value as people write it, by the name of the setting; those of secrets are hidden."""
        names = [item.name for item in fields(self) if item.name not in {"origins", GROUP, JOURNAL}]
        values = {name: getattr(self, name) for name in names}
        if self.elasticsearch is not None:
            group = self.elasticsearch
            values |= {f"{GROUP}.{item.name}": getattr(group, item.name) for item in fields(group)}
        values |= {f"{JOURNAL}.{name}": value for name, value in self.journal.shown().items()}
        return {name: _masked(name, value) for name, value in values.items()}

    def secret_files(self) -> frozenset[Path]:
        """Return the files of the daemon's own secrets, which are no job's business."""
        group = self.elasticsearch or ElasticsearchSettings()
        files = (self.tls_key_file, group.password_file, group.api_key_file)
        return frozenset(file for file in files if file is not None)

    def place(self, name: str) -> tuple[str, int] | None:
        """Return the file and line that a value comes from; None if it comes from elsewhere."""
        file, _, line = self._origin(name).rpartition(":")
        return (file, int(line)) if file and line.isdecimal() else None

    def _origin(self, name: str) -> str:
        short = ("es_url", "es_host", "es_port") if name == f"{GROUP}.urls" else ()
        return next((self.origins[each] for each in (*short, name) if each in self.origins), "default")


def read_settings(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Read all settings.

    Args:
        flags: what `build_parser()` made of the command line, as a map (`vars(namespace)`).
        environment: the environment of the process.

    Raises:
        ConfigurationRejected: with everything that is wrong.
    """
    collected = _Collected(credentials_directory(environment))
    config = flags.get("config") or environment.get(f"{_PREFIX}CONFIG")
    files, problems = settings_files(Path(config) if config else DEFAULT_CONFIG, is_required=bool(config))
    collected.problems += problems
    for path in files:
        collected.add_file(path)
    for name, text in environment.items():
        collected.add_variable(name, text)
    for name, value in flags.items():
        collected.add_flag(name, value)
    values = collected.values()
    origins = {name: given.origin for name, given in collected.given.items()}
    try:
        values = _with_groups(values, is_chosen="storage" in origins)
    except InvalidValue as error:
        collected.refuse(f"{GROUP}.username", error)
    if values.get("storage") == "plain" and "log_directory" not in values:
        collected.refuse("storage", InvalidValue("the storage `plain` needs a place", "add --log-directory DIR"))
    for name in ("tls_key_file", "tls_client_ca_file"):
        if name in values and "tls_certificate_file" not in values:
            collected.refuse(name, InvalidValue("this goes with a certificate", "add api.tls.certificate_file"))
    if collected.problems:
        raise ConfigurationRejected(in_order(collected.problems))
    places = {"state_directory": default_state_directory(environment), "socket": default_socket(environment)}
    return Settings(**{**places, **values}, origins=origins)


def _with_groups(values: Mapping[str, Any], *, is_chosen: bool) -> dict[str, Any]:
    """Build the groups. Reports go to Elasticsearch if it is named at all, unless `--storage sqlite` keeps it off."""
    kept = {name: value for name, value in values.items() if not name.startswith((f"{GROUP}.", "es_", f"{JOURNAL}."))}
    group = elasticsearch_settings(values)
    storage = values.get("storage", "sqlite") if is_chosen else "es" if group.urls else "sqlite"
    if storage == "es" and not group.urls:
        group = elasticsearch_settings({**values, "es_url": (parse_url("http://localhost"),)})
    is_on = storage == "es" or (storage == "plain" and bool(group.urls))
    return kept | {"storage": storage, GROUP: group if is_on else None, JOURNAL: journal_settings(values)}


def default_state_directory(environment: Mapping[str, str]) -> Path:
    """Return where the daemon remembers: /var/lib/distcrond for whoever may write there, else the user's own place."""
    system = Path("/var/lib/distcrond")
    if os.geteuid() == 0 or os.access(system, os.W_OK):
        return system
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "distcrond"


def default_socket(environment: Mapping[str, str]) -> Path:
    """Return where the API's socket is; without a runtime directory of the user it lies beside the state."""
    system = Path("/run/distcrond")
    if os.geteuid() == 0 or os.access(system, os.W_OK):
        return system / "api.sock"
    runtime = environment.get("XDG_RUNTIME_DIR")
    return (Path(runtime) / "distcrond" if runtime else default_state_directory(environment)) / "api.sock"


@dataclass(frozen=True, slots=True)
class _Given:
    """One value with its origin; `source` shows where it is wrong, relative paths begin at `base`."""

    value: Any
    pointer: Pointer
    origin: str
    source: Source
    base: Path


class _Collected:
    """Values as they come in; the later wins."""

    def __init__(self, credentials: Path) -> None:
        self._credentials = credentials
        self.given: dict[str, _Given] = {}
        self.problems: list[Problem] = []

    def add_file(self, path: Path) -> None:
        try:
            source = read_document(str(path), read_bytes(os.path.realpath(path)))
        except FileFault as fault:
            self.problems.append(problem_of(fault, str(path)))
            return
        self._refuse_secrets(source)
        self._add(source, lambda pointer: f"{path}:{source.find(pointer).line}", path.parent)

    def _refuse_secrets(self, source: Source) -> None:
        """A settings file is shown, copied and versioned: a secret in it would be too."""
        for name in sorted(SECRETS):
            pointer = tuple(name.split("."))
            if source.holds(pointer):
                text = f"`{pointer[-1]}` belongs in the environment or in a file of its own"
                finding = Finding(pointer, "secret_in_file", text, f"name the file in `{pointer[-1]}_file`")
                self.problems.append(Layers((source,)).problem(finding))

    def add_variable(self, name: str, text: str) -> None:
        setting = name.removeprefix(_PREFIX).lower()
        if not name.startswith(_PREFIX) or setting in _NO_SETTING or _NOT_OURS.fullmatch(setting):
            return
        pointer = _GROUPED.get(setting) or _spelled_out(tuple(setting.split("__")))
        source = Source(name, _nest(pointer, _from_text(pointer, text)), Marks)
        self._add(source, lambda _: f"environment {name}", Path.cwd())

    def add_flag(self, setting: str, value: Any) -> None:
        if setting in _NO_SETTING:
            return
        pointer = _GROUPED.get(setting, (setting,))
        value = _from_text(pointer, value) if isinstance(value, str) else value
        self._add(
            Source(flag_of(setting), _nest(pointer, value), Marks), lambda _: f"flag {flag_of(setting)}", Path.cwd()
        )

    def values(self) -> dict[str, Any]:
        """Turn the winners into what Settings holds; what is wrong with them becomes a problem."""
        values = {}
        for name, given in self.given.items():
            try:
                values[name] = _parse(name, given.value, given.base, self._credentials)
            except InvalidValue as error:
                self._note(given, error)
        return values

    def refuse(self, name: str, error: InvalidValue) -> None:
        """Note that a setting does not go with the others."""
        self._note(self.given[name], error)

    def _note(self, given: _Given, error: InvalidValue) -> None:
        finding = Finding(given.pointer, "bad_value", error.text, error.hint)
        self.problems.append(Layers((given.source,)).problem(finding))

    def _add(self, source: Source, origin: Any, base: Path) -> None:
        findings = validate("settings", source.data)
        self.problems += Layers((source,)).problems(findings)
        if findings or not isinstance(source.data, dict):
            return
        for pointer, value in _flat(source.data):
            name = _name(pointer)
            self.given[name] = _Given(self._merged(name, value), pointer, origin(pointer), source, base)

    def _merged(self, name: str, value: Any) -> Any:
        """Lay a map over the one that an earlier file has; all else takes its place."""
        earlier = self.given.get(name)
        return value if earlier is None else merge(earlier.value, value)


def _flat(data: Mapping[str, Any], pointer: Pointer = ()) -> Iterator[tuple[Pointer, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and key not in _LEAVES:
            yield from _flat(value, (*pointer, key))
        else:
            yield (*pointer, key), value


def _name(pointer: Pointer) -> str:
    """The setting's name; those of large groups keep the group's, since others have words like theirs."""
    if pointer[0] in {GROUP, JOURNAL}:
        return ".".join(map(str, pointer))
    return f"tls_{pointer[-1]}" if "tls" in pointer else str(pointer[-1])


def _spelled_out(pointer: Pointer) -> Pointer:
    """`DISTCRON_ES__URL` is short for `DISTCRON_ELASTICSEARCH__URLS`."""
    if pointer[0] != "es" or len(pointer) == 1:
        return pointer
    return (GROUP, "urls" if pointer[1] == "url" else pointer[1])


def _nest(pointer: Pointer, value: Any) -> Any:
    for step in reversed(pointer):
        value = {step: value}
    return value


def _from_text(pointer: Pointer, text: str) -> Any:
    """Read text of the environment or command line as the file would have been read."""
    if pointer in _SWITCHES:
        return {"true": True, "false": False}.get(text.lower(), text)
    if pointer in _NUMBERS and text.isascii() and text.isdigit():
        return int(text)
    if pointer in _LISTS:
        return text.replace(",", " ").split()
    return text.lower() if pointer == ("log_level",) else text


def _parse(name: str, value: Any, base: Path, credentials: Path) -> Any:
    if name.startswith(f"{GROUP}."):
        return parse_value(name.partition(".")[2], value, lambda text: located_file(text, base, credentials))
    if name.startswith(f"{JOURNAL}."):
        return parse_keeping(name.partition(".")[2], value)
    if name in _FILES:
        return located_file(value, base, credentials)
    if name in _PLACES:
        return located(value, base)
    if name == "calendars":
        return parse_calendars(value, base)
    return _READERS[name](value) if name in _READERS else value


def _listen(text: str) -> tuple[str, int] | None:
    if text == "none":
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidValue(f"{text!r} is no address to listen on", "write HOST:PORT, [v6]:PORT or none")
    return host, int(port)


def _interval(value: str | float) -> timedelta:
    span = parse_duration(value)
    if span < timedelta(milliseconds=100):
        raise InvalidValue(f"{value!r} is too short", "100ms or more")
    return span


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "es_url": lambda urls: tuple(map(parse_url, urls)),
    "socket_mode": lambda text: int(text, 8),
    "allowed_hosts": tuple,
    "listen": _listen,
    "health_check_interval": _interval,
    "timezone": check_zone,
    "quarantine": parse_quarantine,
    "zones": parse_zones,
}


def _masked(name: str, value: Any) -> str:
    if name == "socket_mode":
        return f"{value:04o}"
    return "***" if name in SECRETS and value else _shown(value)


def _shown(value: Any) -> str:  # noqa: PLR0911  one for each kind of value
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return format_duration(value)
        case (str(host), int(port)):
            return f"{host}:{port}"
        case tuple():
            return " ".join(map(_shown, value)) or "none"
        case Calendar():
            return value.shown()
        case dict():
            return " ".join(f"{name}={_shown(each)}" for name, each in value.items()) or "none"
        case None:
            return "none"
        case _:
            return str(value)
