"""What settings say of Elasticsearch: where it is, who we are there, how long reports stay.

Secrets are named by the file that holds them, or stand in the environment; they are read when they are needed and
shown nowhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from distcrond.config.files import read_bytes
from distcrond.errors import InvalidValue
from distcrond.model.ids import job_name
from distcrond.model.span import parse_duration

GROUP: Final = "elasticsearch"
DEFAULT_PORT: Final = 9200
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticsearchSettings:
    """The group `elasticsearch`. `compat` is the major to speak to, 0 = find out; no `retention` = for ever."""

    urls: tuple[str, ...] = ()
    api_key: str = field(default="", repr=False)
    api_key_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None
    index_prefix: str = "distcron"
    retention: timedelta | None = None
    job_retention: Mapping[str, timedelta] = field(default_factory=dict)
    compat: int = 0

    def read_api_key(self) -> str:
        """The API key, or an empty text. Raises InvalidValue if its file cannot be read."""
        return self.api_key or _secret(self.api_key_file)

    def read_password(self) -> str:
        """The password, or an empty text. Raises InvalidValue if its file cannot be read."""
        return self.password or _secret(self.password_file)


SECRETS: Final = frozenset({"elasticsearch.api_key", "elasticsearch.password"})
"""Settings that are shown as `***`."""
_NAMES: Final = frozenset(item.name for item in fields(ElasticsearchSettings))


def elasticsearch_settings(values: Mapping[str, Any]) -> ElasticsearchSettings:
    """Build the group from parsed values named `elasticsearch.…`, `es_host`, `es_port` and `es_url`.

    Raises:
        InvalidValue: two ways to say who we are.
    """
    known = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{GROUP}.")}
    settings = ElasticsearchSettings(**{name: value for name, value in known.items() if name in _NAMES})
    urls = values.get("es_url") or _address(values) or settings.urls
    if (settings.api_key or settings.api_key_file) and settings.username:
        raise InvalidValue("an API key and a user name exclude each other", "keep one of them")
    return ElasticsearchSettings(
        **{item.name: getattr(settings, item.name) for item in fields(settings)} | {"urls": urls}
    )


def _address(values: Mapping[str, Any]) -> tuple[str, ...]:
    """What `--es-host` and `--es-port` mean together."""
    if "es_host" not in values and "es_port" not in values:
        return ()
    host = values.get("es_host", "localhost")
    if "://" in host:
        return (parse_url(host),)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return (parse_url(f"http://{host}:{values.get('es_port', DEFAULT_PORT)}"),)


def parse_value(name: str, value: Any, locate: Callable[[str], Path]) -> Any:  # noqa: PLR0911  one for each kind of value
    """Read one value of the group; `name` is its key there, `locate` reads the path of a file.

    Raises:
        InvalidValue: it means nothing.
    """
    match name:
        case "urls":
            return tuple(parse_url(url) for url in value)
        case "api_key_file" | "password_file" | "ca_file":
            return locate(value)
        case "index_prefix":
            return _parse_prefix(value)
        case "retention":
            return _parse_span(value)
        case "job_retention":
            return {job_name(job): _parse_span(span) for job, span in value.items()}
        case "compat":
            return 0 if value == "auto" else int(value)
        case _:
            return value


def parse_url(text: str) -> str:
    """Check the URL of a cluster and complete it with a port.

    Raises:
        InvalidValue: no http or https URL of a host, or one with a secret in it.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidValue(f"{text!r} is no URL of a cluster", "write https://es1.example.com:9200") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidValue("a URL must not hold a user or a password", "use `username` and `password_file`")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise InvalidValue(f"{text!r} is no URL of a cluster", "write https://es1.example.com:9200")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    standard = 443 if parts.scheme == "https" else DEFAULT_PORT
    return f"{parts.scheme}://{host}:{port or standard}{parts.path.rstrip('/')}"


def _parse_prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise InvalidValue(f"{text!r} cannot begin the name of an index", "small letters, digits, . _ and -")
    return text


def _parse_span(value: str | float) -> timedelta:
    span = parse_duration(value)
    if span < timedelta(days=1):
        raise InvalidValue(f"{value!r} is too short", "1d or more")
    return span


def _secret(path: Path | None) -> str:
    """The first line of a file; symbolic links are followed, as container platforms make them."""
    if path is None:
        return ""
    real = os.path.realpath(path)
    try:
        text = read_bytes(real).decode().strip()
    except UnicodeDecodeError:
        text = ""
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error.text}", error.hint) from None
    if Path(real).stat().st_mode & stat.S_IRWXO:
        raise InvalidValue(f"{path} can be read by others", f"chmod o= {path}")
    if not text:
        raise InvalidValue(f"{path} holds no secret", "one line of text")
    return text
