"""Text of a settings file → the path of another file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from distcrond.errors import InvalidValue

_CREDENTIAL: Final = "credential:"
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_USUAL: Final = "/run/credentials/distcrond.service"
"""Where systemd puts them, for those who look at the settings outside of the service."""


def credentials_directory(environment: Mapping[str, str]) -> Path:
    """Return where systemd puts the credentials of the service."""
    return Path(environment.get("CREDENTIALS_DIRECTORY") or _USUAL)


def located(text: str, base: Path) -> Path:
    """Read a path; relative ones begin at `base`."""
    return Path(os.path.normpath(base / Path(text).expanduser()))


def located_file(text: str, base: Path, credentials: Path) -> Path:
    """Read the path of a file, or `credential:NAME` for one that systemd gives to the service alone.

    Raises:
        InvalidValue: no name of a credential.
    """
    if not text.startswith(_CREDENTIAL):
        return located(text, base)
    name = text.removeprefix(_CREDENTIAL)
    if not _NAME.fullmatch(name):
        raise InvalidValue(f"{name!r} is no name of a credential", "that of a LoadCredential=NAME:… in the unit")
    return credentials / name
