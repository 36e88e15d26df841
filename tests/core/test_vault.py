"""Where the secrets of jobs are read, and why one cannot be."""

from __future__ import annotations

import os
import re

import pytest

from distcrond.errors import SecretMissing
from distcrond.model.secret import MOST_LENGTH, SecretKind, SecretSource
from distcrond.vault import HostVault

CANARY = "canary-1f8e"


def source(kind: str, place: object) -> dict[str, SecretSource]:
    return {"TOKEN": SecretSource(kind=SecretKind(kind), place=str(place))}


def put(path, content: bytes = CANARY.encode(), mode: int = 0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


async def test_each_kind_is_read_anew_each_time(tmp_path):
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TOKEN": "from the environment"}
    vault = HostVault(environment)
    put(tmp_path / "file", b"one\ntwo\r\n")
    put(tmp_path / "cred", b"credential", 0o440)  # as systemd may make it for a service user
    wanted = {
        "A": SecretSource(kind=SecretKind.FILE, place=str(tmp_path / "file")),
        "B": SecretSource(kind=SecretKind.CREDENTIAL, place="cred"),
        "C": SecretSource(kind=SecretKind.ENVIRONMENT, place="TOKEN"),
    }
    assert await vault.read(wanted) == {"A": "one\ntwo", "B": "credential", "C": "from the environment"}
    put(tmp_path / "file", b"rotated \xff\n")
    assert (await vault.read(wanted))["A"] == "rotated \udcff"
    assert await vault.read({}) == {}


async def test_links_are_followed_as_container_platforms_make_them(tmp_path):
    put(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    assert await HostVault({}).read(source("file", tmp_path / "link")) == {"TOKEN": CANARY}


REFUSED = [
    ("file", {}, "No such file"),
    ("file", {"mode": 0o644}, "mode 0644 lets others read or write it; chmod 600"),
    ("file", {"mode": 0o620}, "chmod 600"),
    ("file", {"content": b""}, "shorter than 4 bytes"),
    ("file", {"content": b"abc\n"}, "shorter than 4 bytes"),
    ("file", {"content": b"x" * (MOST_LENGTH + 1)}, "longer than 32 KiB"),
    ("file", {"content": b"x" * 2**20}, "longer than 32 KiB"),
    ("file", {"content": CANARY.encode() + b"\0"}, "NUL"),
]


@pytest.mark.parametrize(("kind", "facts", "word"), REFUSED)
async def test_a_secret_that_cannot_be_used_is_named_and_never_shown(tmp_path, kind, facts, word):
    path = tmp_path / "token"
    if facts:
        put(path, **facts)
    with pytest.raises(SecretMissing, match=re.escape(word)) as refused:
        await HostVault({}).read(source(kind, path))
    assert f"secret TOKEN (file {path})" in str(refused.value)
    assert CANARY not in str(refused.value)


async def test_the_daemons_own_secrets_are_no_jobs(tmp_path):
    """By whatever name: as a file, by a link, as a credential."""
    put(tmp_path / "own")
    (tmp_path / "link").symlink_to("own")
    vault = HostVault({"CREDENTIALS_DIRECTORY": str(tmp_path)}, [tmp_path / "link"])
    for kind, place in (("file", tmp_path / "own"), ("file", tmp_path / "link"), ("credential", "own")):
        with pytest.raises(SecretMissing, match="a secret of the daemon itself") as refused:
            await vault.read(source(kind, place))
        assert CANARY not in str(refused.value)


async def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(SecretMissing, match="LoadCredential="):
        await HostVault({}).read(source("credential", "token"))
    with pytest.raises(SecretMissing, match="No such file"):
        await HostVault({"CREDENTIALS_DIRECTORY": str(tmp_path)}).read(source("credential", "token"))
    with pytest.raises(SecretMissing, match="no such variable"):
        await HostVault({}).read(source("environment", "TOKEN"))


async def test_a_fifo_does_not_block_and_a_directory_is_no_secret(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    for place in (tmp_path / "fifo", tmp_path):
        with pytest.raises(SecretMissing, match=r"not a regular file|Is a directory"):
            await HostVault({}).read(source("file", place))
