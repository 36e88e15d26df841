"""Where the API listens: loopback unless somebody says how others are kept out, TLS, a proxy, the socket's group."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from distcrond.api import connections, server
from distcrond.api.auth import CHANGE_HEADER
from distcrond.api.certificate import Certificate
from distcrond.api.listeners import TcpAddress, UnixAddress, listen_tcp, listen_unix
from distcrond.api.scope import Scope
from distcrond.api.tokens import TokenBook, Wish
from distcrond.clock import SystemClock
from distcrond.errors import InvalidValue
from distcrond.model.globs import EVERY_JOB
from tests.support.certificates import Authority
from tests.support.fake_engine import Served, serve


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def bearer(tmp_path) -> dict[str, str]:
    """With the header of a token that servers in `tmp_path` know."""
    book = TokenBook(tmp_path / "tokens.json", SystemClock())
    _, text = await book.create(Wish(name="t", scope=Scope.OPERATE, jobs=EVERY_JOB, expires_at=None, by="test"))
    return {"Authorization": f"Bearer {text}"}


async def status(url: str, path: str = "/api/v1/jobs", **options) -> int:
    async with aiohttp.ClientSession(url) as client, client.get(path, **options) as answer:
        return answer.status


# ---------------------------------------------------------------- others reach it


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
@pytest.mark.parametrize(
    ("tls", "proxy", "tokens", "missing", "given"),
    [
        (False, False, 0, ["api.tls", "behind_proxy", "token create"], []),
        (False, False, 1, ["api.tls", "behind_proxy"], ["token create"]),
        (True, False, 0, ["token create"], ["behind_proxy"]),
        (False, True, 0, ["token create"], ["api.tls"]),
    ],
)
def test_another_bind_than_loopback_needs_tokens_and_tls(host, tls, proxy, tokens, missing, given) -> None:
    address = TcpAddress(host, 0, certificate=Certificate(Path("/x")) if tls else None, behind_proxy=proxy)
    with pytest.raises(InvalidValue, match="others reach") as refused:
        listen_tcp(address, tokens=tokens)
    assert all(word in refused.value.text for word in missing)
    assert not any(word in refused.value.text for word in given)
    assert "ssh -L" in refused.value.hint


@pytest.mark.parametrize("host", ["", "cron.example.com", "127.1", "*", "1.2.3.4.5"])
def test_what_is_no_address_is_refused(host) -> None:
    with pytest.raises(InvalidValue, match="no address"):
        listen_tcp(TcpAddress(host, 0), tokens=1)


async def test_a_refused_bind_leaves_nothing_behind(tmp_path) -> None:
    with pytest.raises(InvalidValue):
        async with serve(tmp_path, tcp=TcpAddress("0.0.0.0", 0)):
            pass
    assert not (tmp_path / "api.sock").exists()


@pytest.fixture
async def proxied(tmp_path, bearer) -> AsyncIterator[Served]:
    """As behind a proxy that does TLS for cron.example.com."""
    address = TcpAddress("0.0.0.0", 0, behind_proxy=True)
    async with serve(tmp_path, tcp=address, allowed_hosts=["cron.example.com"]) as served:
        yield served


def direct(served: Served) -> str:
    """The address to which the proxy would connect."""
    listening = served.api._listening[-1][0]
    return f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_who_comes_by_a_proxy_needs_a_token(proxied, bearer) -> None:
    url = direct(proxied)
    assert await status(url) == 401
    assert await status(url, "/-/healthy") == 200
    assert await status(url, headers=bearer) == 200
    assert await status(url, headers=bearer | {"Host": "cron.example.com"}) == 200
    assert await status(url, headers=bearer | {"Host": "192.0.2.1"}) == 421


async def test_a_proxy_on_the_same_machine_makes_loopback_public(tmp_path) -> None:
    async with serve(tmp_path, tcp=TcpAddress(port=0, behind_proxy=True)) as served:
        assert await status(served.url) == 401


async def test_a_browser_behind_the_proxy_is_at_the_outer_address(proxied) -> None:
    link = proxied.api.invite()
    assert link.startswith("https://cron.example.com/-/enter/")
    headers = {"Host": "cron.example.com", CHANGE_HEADER: "1"}
    async with aiohttp.ClientSession(direct(proxied), cookie_jar=aiohttp.DummyCookieJar()) as client:
        async with client.get(urlsplit(link).path, headers=headers, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
        assert "Secure" in cookie
        headers["Cookie"] = cookie.split(";")[0]
        for origin, expected in (("https://cron.example.com", 202), ("http://cron.example.com", 403)):
            path = "/api/v1/jobs/invoices/run"
            async with client.post(path, headers=headers | {"Origin": origin}) as answer:
                assert answer.status == expected


# ---------------------------------------------------------------- TLS


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.file)


@pytest.fixture
async def encrypted(tmp_path, authority, bearer) -> AsyncIterator[Served]:
    address = TcpAddress(port=0, certificate=Certificate(*authority.issue("server")))
    async with serve(tmp_path, tcp=address) as served:
        yield served


async def test_tls(encrypted, authority, bearer) -> None:
    assert encrypted.url.startswith("https://127.0.0.1:")
    assert await status(encrypted.url, headers=bearer, ssl=trusting(authority)) == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await status(encrypted.url, headers=bearer)
    with pytest.raises(aiohttp.ClientConnectionError):
        await status(encrypted.url.replace("https", "http"))


async def test_old_tls_is_refused(encrypted, authority) -> None:
    context = trusting(authority)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(aiohttp.ClientConnectionError):
        await status(encrypted.url, ssl=context)


async def serial(served: Served, authority: Authority) -> int:
    place = urlsplit(served.url)
    _, writer = await asyncio.open_connection(place.hostname, place.port, ssl=trusting(authority))
    number = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return int(number, 16)


async def test_a_renewed_certificate_is_used_for_new_connections(encrypted, authority, bearer) -> None:
    old = await serial(encrypted, authority)
    async with aiohttp.ClientSession(encrypted.url, headers=bearer) as client:
        assert (await client.get("/api/v1/jobs", ssl=trusting(authority))).status == 200
        authority.issue("server")
        encrypted.api.renew_certificate()
        assert await serial(encrypted, authority) != old
        assert (await client.get("/api/v1/jobs", ssl=trusting(authority))).status == 200


async def test_a_broken_renewal_keeps_the_old_certificate(encrypted, authority, tmp_path, caplog) -> None:
    old = await serial(encrypted, authority)
    other = authority.issue("other")[0]
    for content in (other.read_bytes(), b"", b"-----BEGIN CERTIFICATE-----\n"):
        (tmp_path / "server.pem").write_bytes(content)
        caplog.clear()
        encrypted.api.renew_certificate()
        assert "the certificate stays as it was" in caplog.text
        assert await serial(encrypted, authority) == old


def test_files_that_cannot_be_used_are_refused_with_the_reason(tmp_path, authority) -> None:
    certificate, key = authority.issue("server")
    other_key = authority.issue("other")[1]
    certificate.chmod(0o600)
    locked = authority.issue("locked", password=b"secret")
    wrong = [
        (Certificate(tmp_path / "none.pem", key), "none.pem cannot be read: No such file"),
        (Certificate(certificate, tmp_path / "none.key"), "none.key cannot be read: No such file"),
        (Certificate(certificate, other_key), "no certificate with its key"),
        (Certificate(certificate), "no certificate with its key"),
        (Certificate(*locked), "no certificate with its key"),
        (Certificate(certificate, key, client_ca=key), "no certificate"),
    ]
    for one, words in wrong:
        with pytest.raises(InvalidValue, match=words):
            one.context()
    key.chmod(0o604)
    with pytest.raises(InvalidValue, match="can be read by others"):
        Certificate(certificate, key).context()


async def test_certificates_of_clients(tmp_path, authority, bearer) -> None:
    address = TcpAddress(port=0, certificate=Certificate(*authority.issue("server"), client_ca=authority.file))
    async with serve(tmp_path, tcp=address) as served:
        with pytest.raises(aiohttp.ClientError):
            await status(served.url, headers=bearer, ssl=trusting(authority))
        known = trusting(authority)
        known.load_cert_chain(*authority.issue("client"))
        assert await status(served.url, headers=bearer, ssl=known) == 200
        assert await status(served.url, ssl=known) == 200  # it is loopback


async def test_who_never_ends_the_handshake_counts_and_is_cut(tmp_path, authority, monkeypatch) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "HANDSHAKE_SECONDS", -0.5)
    address = TcpAddress(port=0, certificate=Certificate(*authority.issue("server")))
    async with serve(tmp_path, tcp=address, most_connections=2) as served:
        place = urlsplit(served.url)
        silent = [await asyncio.open_connection(place.hostname, place.port) for _ in range(2)]
        with pytest.raises((aiohttp.ClientConnectionError, ConnectionError)):
            await status(served.url, ssl=trusting(authority))
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        await asyncio.wait_for(until_served(served, authority), 10)  # noqa: TID251


async def until_served(served: Served, authority: Authority) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            assert await status(served.url, ssl=trusting(authority)) == 200
            return
        await SystemClock().sleep(0.05)


# ---------------------------------------------------------------- the socket's group


def test_the_socket_is_given_to_a_group(tmp_path) -> None:
    own = grp.getgrgid(os.getgid()).gr_name
    listener = listen_unix(UnixAddress(tmp_path / "api.sock", 0o660, own))
    status = (tmp_path / "api.sock").stat()
    listener.close()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (os.getgid(), 0o660)


def test_a_group_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(InvalidValue, match="no group 'nobody-has-this'"):
        listen_unix(UnixAddress(tmp_path / "api.sock", 0o660, "nobody-has-this"))
    assert not (tmp_path / "api.sock").exists()


def test_a_group_that_one_is_not_in_is_refused(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(InvalidValue, match="cannot be given"):
        listen_unix(UnixAddress(tmp_path / "api.sock", 0o660, grp.getgrgid(os.getgid()).gr_name))
