"""A server that asks who comes: the documented role is enough and no more, and a wrong password is no catastrophe."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import urllib.error
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.elasticsearch import Login
from support.faulty_proxy import closed
from support.journaling import START, make_job
from support.reporting import open_rig, sink_for, until

from distcrond.errors import SinkRefuses
from distcrond.sinks.retention import Keep

ROLE = Path(__file__).parents[2] / "etc-example/elasticsearch-role.yml"
ADMIN = Login("boss", "boss-password", "$2a$10$6bBVjwm5waNy3MvDHZRODOXqZkGU3yFkYV53v4qNPwH4khXshipOi", "superuser")
WRITER = Login(
    "distcron", "writer-canary", "$2a$10$BjF9BFekV7/Iwj1NfGXLIOWK7KzW0yp/gVGktTFOsjReP1q7VwFUm", "distcron_writer"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "distcron test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2020, 1, 1))
        .not_valid_after(dt.datetime(2100, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem", folder / "key.pem"


@pytest.fixture(scope="module", params=[9, pytest.param(8, marks=pytest.mark.long)])
def server(elastic, certificate, request):
    server = elastic.secured(request.param, roles=ROLE.read_text(), users=[ADMIN, WRITER], tls=certificate)
    server.start()
    yield server
    server.stop()


def sink(server, prefix="distcron", *, password=WRITER.password, keep=None, **connection):
    who = {"username": WRITER.name, "password": password, "ca_file": server.certificate} | connection
    return sink_for(server.url, prefix, keep=keep, **who)


@pytest.fixture
async def rig(server, tmp_path):
    async with open_rig(tmp_path, "distcron", sink(server)) as rig:
        yield rig
    server.wipe("distcron")


@pytest.fixture
async def keeper(server):
    """A sink that removes what is old, followed by no outbox, which would remove it at an instant of its own."""
    keeper = sink(server, keep=Keep(span=timedelta(days=1), jobs={"b": timedelta(days=1)}))
    yield keeper
    await keeper.close()


async def test_the_documented_role_is_enough_for_everything(rig, keeper, server):
    await rig.feed(rig.story.whole(make_job("a"), b"x\n"), rig.story.whole(make_job("b"), b"x\n"))
    async with rig.running():
        await rig.drained()
        assert server.all("distcron-*") == rig.expected()
        await rig.outbox.setup()
        await rig.outbox.reindex()
        await rig.refilled()
    server.ask("POST", "/distcron-*/_refresh")
    assert await keeper.expire(START + timedelta(days=5)) == 3  # of job b, by id
    assert await keeper.expire(START + timedelta(days=60)) == 4  # indices


async def test_the_role_is_refused_on_other_indices(server, tmp_path):
    async with open_rig(tmp_path, "other", sink(server, "other")) as rig:
        await rig.feed(rig.story.whole(make_job("a"), b"x\n"))
        async with rig.running():
            await rig.in_trouble()
            told = await rig.outbox.status()
    assert "403" in told["reason"] + told["detail"]
    assert told["dead"] == 0
    assert server.all("other-*") == {}


async def test_an_api_key_with_the_documented_rights_is_enough_until_it_is_withdrawn(server, tmp_path):
    rights = yaml.safe_load(ROLE.read_text())["distcron_writer"]
    made = server.ask("POST", "/_security/api_key", {"name": "distcrond", "role_descriptors": {"writer": rights}})
    by_key = {"username": "", "password": "", "api_key": made["encoded"]}
    async with open_rig(tmp_path / "own", "distcron", sink(server, **by_key)) as rig:
        await rig.feed(rig.story.whole(make_job("a"), b"x\n"))
        async with rig.running():
            await rig.drained()
        assert server.all("distcron-*") == rig.expected()
    server.wipe("distcron")
    server.ask("DELETE", "/_security/api_key", {"ids": [made["id"]]})
    async with open_rig(tmp_path / "late", "distcron", sink(server, **by_key)) as rig:
        await rig.feed(rig.story.whole(make_job("a"), b"x\n"))
        async with rig.running():
            await rig.in_trouble()
            told = await rig.outbox.status()
    assert (told["state"], told["reason"]) == ("refused", "401")
    assert made["encoded"] not in str(told)


async def test_a_wrong_password_raises_an_alarm_and_a_slow_retry(server, tmp_path, caplog):
    async with open_rig(tmp_path, "distcron", sink(server, password="wrong-canary")) as rig:
        await rig.feed(rig.story.whole(make_job("a"), b"x\n"))
        async with rig.running():
            await until(lambda: rig.clock.pauses.count(60.0) >= 3)
            told = await rig.outbox.status()
    assert (told["state"], told["reason"]) == ("refused", "401")
    assert [pause for pause in rig.clock.pauses if pause > 1][:3] == [60.0, 60.0, 60.0]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "canary" not in caplog.text + str(told)


async def test_a_certificate_of_another_authority_is_refused(server):
    strict = sink(server, ca_file=None)
    with pytest.raises(SinkRefuses) as refused:
        await strict.prepare()
    assert refused.value.reason == "tls"
    await strict.close()


async def test_nobody_may_without_a_name(server):
    nobody = sink(server, username="", password="")
    with pytest.raises(SinkRefuses):
        await nobody.prepare()
    await nobody.close()
    server.login = WRITER
    with pytest.raises(urllib.error.HTTPError):
        server.ask("PUT", "/other-1/_doc/1", {"x": 1})
    server.login = ADMIN


@pytest.mark.parametrize(
    ("connection", "header"),
    [
        ({"api_key": "a2V5OmNhbmFyeQ=="}, "ApiKey a2V5OmNhbmFyeQ=="),
        ({"username": "u", "password": "p"}, "Basic dTpw"),
        ({}, None),
    ],
)
async def test_who_we_are_travels_in_the_header(connection, header):
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
        await closed(writer)

    stub = await asyncio.start_server(answer, "127.0.0.1", 0)
    made = sink_for(f"http://127.0.0.1:{stub.sockets[0].getsockname()[1]}", "x", **connection)
    with pytest.raises(SinkRefuses) as refused:
        await made.prepare()
    head = seen[0].decode().lower()
    assert (f"authorization: {header}".lower() in head) if header else "authorization" not in head
    assert "a2V5" not in str(refused.value)
    await made.close()
    stub.close()
