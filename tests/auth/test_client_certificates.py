"""Client certificates from the handshake to the answer: whoever shows a bad one is told 401 by HTTP, and it is recorded."""

import asyncio
import ipaddress
import ssl
from contextlib import asynccontextmanager

import orjson
import pytest
import uvloop
from attack_support import CA, CLOCK, FRONT_CA, NOW, attacked_server
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pybernetes.apiserver.authn import chains
from pybernetes.apiserver.handshake import ServingTLS, first_certificate
from pybernetes.apiserver.http import HttpServer
from pybernetes.client import signing
from pybernetes.client.kubeconfig import load_certificate

FOREIGN = signing.new_authority("kubernetes", now=NOW - 1000, lifetime=86400)
ROOT = signing.Subject("root", ("system:masters",))


def issued(authority, subject=ROOT, usages=signing.CLIENT_USAGES, now=NOW, lifetime=3600.0):
    return signing.issue(authority, subject, usages, now=now, lifetime=lifetime)


def self_signed():
    authority = signing.new_authority("root", now=NOW - 10, lifetime=3600)
    return authority.pem, signing.key_to_pem(authority.key)


def intermediate(
    parent,
    name="middle",
    *,
    ca=True,
    path_length=None,
    sign=True,
    usages=(),
    permitted=(),
    excluded=(),
    critical=True,
    now=NOW,
):
    """An authority below another one."""
    key = signing.new_key()
    moment = signing._moment
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(parent.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(now - 60))
        .not_valid_after(moment(now + 3600))
        .add_extension(x509.BasicConstraints(ca, path_length if ca else None), True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, sign, False, False, False), True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    if permitted or excluded:
        builder = builder.add_extension(x509.NameConstraints(permitted or None, excluded or None), critical)
    return signing.Authority(builder.sign(parent.key, hashes.SHA256()), key)


@asynccontextmanager
async def tls_server(tmp_path):
    serving = issued(CA, signing.Subject("kube-apiserver", (), ("localhost", "127.0.0.1")), signing.SERVER_USAGES)
    for name, data in zip(("tls.crt", "tls.key"), serving, strict=True):
        (tmp_path / name).write_bytes(data)
    tls = ServingTLS(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    async with attacked_server(tmp_path) as attacked:
        front, started = HttpServer(attacked.server, CLOCK), asyncio.Event()
        task = asyncio.get_running_loop().create_task(front.run("127.0.0.1", 0, tls=tls.context, started=started))
        await started.wait()
        try:
            yield attacked, front
        finally:
            task.cancel()
            await asyncio.wait([task])


def client(pair, version):
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.minimum_version = context.maximum_version = version
    if pair is not None:
        load_certificate(context, *pair)
    return context


async def ask(front, pair, version=ssl.TLSVersion.TLSv1_3, number=2, path="/api/v1/secrets", headers=""):
    """The last of several answers on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=client(pair, version))
    try:
        for _ in range(number):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = next(int(h[16:]) for h in head.split("\r\n") if h.startswith("Content-Length: "))
            body = orjson.loads(await reader.readexactly(size))
        return int(head.split()[1]), body
    finally:
        writer.close()


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
BAD = {
    "foreign authority": lambda: issued(FOREIGN),
    "front proxy's authority": lambda: issued(FRONT_CA),
    "self-signed": self_signed,
    "expired": lambda: issued(CA, now=NOW - 900, lifetime=300.0),
    "future": lambda: issued(CA, now=NOW + 3600),
    "a server's": lambda: issued(CA, usages=signing.SERVER_USAGES),
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_bad_certificates_are_answered_401_and_recorded(tmp_path, version):
    async with tls_server(tmp_path) as (attacked, front):
        for name, make in BAD.items():
            status, body = await ask(front, make(), version)
            assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized"), name
            record = attacked.record()
            assert record["responseStatus"]["code"] == 401 and "username" not in record["user"]
            assert record["responseStatus"]["message"] == "Unauthorized"
            # A bad certificate does not stand in the way of a good token, as upstream.
            assert (await ask(front, make(), version, headers="Authorization: Bearer token-of-root\r\n"))[0] == 200, (
                name
            )
        assert (await ask(front, issued(CA), version))[0] == 200
        assert (await ask(front, None, version))[0] == 403


async def test_a_stolen_certificate_is_of_no_use_without_its_key(tmp_path):
    """The handshake proves the key: a client that signs with another one does not get through."""
    async with tls_server(tmp_path) as (_attacked, front):
        certificate, _ = issued(CA)
        with pytest.raises(ssl.SSLError):  # OpenSSL does not even load what does not belong together
            await ask(front, (certificate, issued(CA)[1]))


def test_on_uvloop_too(tmp_path):
    async def main():
        async with tls_server(tmp_path) as (_attacked, front):
            for version in VERSIONS:
                assert (await ask(front, issued(CA), version))[0] == 200
                assert (await ask(front, issued(FOREIGN), version))[0] == 401
                assert (await ask(front, BAD["expired"](), version))[0] == 401

    uvloop.run(main())


def chain(leaf, *authorities):
    certificate, key = leaf
    return certificate + b"".join(a.pem for a in authorities), key


async def test_a_chain_leads_to_an_authority(tmp_path):
    async with tls_server(tmp_path) as (_attacked, front):
        middle = intermediate(CA)
        lower = intermediate(middle, "lower")
        assert (await ask(front, chain(issued(middle))))[0] == 401
        assert (await ask(front, chain(issued(middle), middle)))[0] == 200
        assert (await ask(front, chain(issued(lower), middle, lower)))[0] == 200
        assert (await ask(front, chain(issued(lower), lower)))[0] == 401


@pytest.mark.parametrize(
    "limits",
    [
        {"ca": False},
        {"sign": False},
        {"usages": [ExtendedKeyUsageOID.SERVER_AUTH]},
        {"permitted": [x509.DirectoryName(x509.Name([]))]},
        {"permitted": [x509.DNSName("example.com")], "names": ("example.org",)},
        {"now": NOW + 7200},
    ],
)
async def test_an_intermediate_signs_only_as_it_may(tmp_path, limits):
    """OpenSSL ends some of these in the handshake; that we take none of them does not rest on that."""
    async with attacked_server(tmp_path) as attacked:

        async def status(leaf, *authorities):
            ders = [signing.load_certificate(leaf[0]), *(a.certificate for a in authorities)]
            first, *others = (c.public_bytes(Encoding.DER) for c in ders)
            found, _ = await attacked.as_certified(first, "GET", "/api/v1/secrets", intermediates=tuple(others))
            assert attacked.record()["responseStatus"]["code"] == found
            return found

        subject = signing.Subject("root", ("system:masters",), limits.pop("names", ()))
        middle = intermediate(CA, **limits)
        assert await status(issued(middle, subject), middle) == 401
        none_below = intermediate(CA, path_length=0)
        lower = intermediate(none_below, "lower")
        assert await status(issued(none_below), none_below) == 200
        assert await status(issued(lower), lower, none_below) == 401
        # Any client certificate of the cluster's is no authority, whatever it signs.
        jane = signing.load_authority(*issued(CA, signing.Subject("jane")))
        assert await status(issued(jane), jane) == 401


DNS, MAIL, URI = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier


def address(text):
    return x509.IPAddress(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("names", "limits", "accepted"),
    [
        ([], {"permitted": [DNS("example.com")]}, True),
        ([DNS("a.example.com")], {"permitted": [DNS("example.com")]}, True),
        ([DNS("EXAMPLE.com")], {"permitted": [DNS("example.com")]}, True),
        ([DNS("example.com")], {"permitted": [DNS(".example.com")]}, False),
        ([DNS("notexample.com")], {"permitted": [DNS("example.com")]}, False),
        ([DNS("a.example.com"), DNS("b.org")], {"permitted": [DNS("example.com")]}, False),
        ([DNS("b.org")], {"permitted": [DNS("example.com")], "critical": False}, False),
        ([DNS("b.org")], {"excluded": [DNS("example.com")]}, True),
        ([DNS("a.example.com")], {"excluded": [DNS("example.com")]}, False),
        ([DNS("anything")], {"excluded": [DNS("")]}, False),
        ([DNS("b.org")], {"permitted": [MAIL("example.com")]}, True),
        ([MAIL("jane@example.com")], {"permitted": [MAIL("example.com")]}, True),
        ([MAIL("jane@example.com")], {"permitted": [MAIL("john@example.com")]}, False),
        ([MAIL("jane@other.com")], {"permitted": [MAIL("example.com")]}, False),
        ([URI("https://a.example.com/x")], {"permitted": [URI("example.com")]}, True),
        ([URI("https://10.0.0.1/x")], {"permitted": [URI("example.com")]}, False),
        ([URI("spiffe:nothing")], {"excluded": [URI("example.com")]}, False),
        ([address("10.1.2.3")], {"permitted": [address("10.0.0.0/8")]}, True),
        ([address("11.1.2.3")], {"permitted": [address("10.0.0.0/8")]}, False),
        ([address("::1")], {"permitted": [address("10.0.0.0/8")]}, False),
        ([address("10.1.2.3")], {"excluded": [address("10.1.0.0/16")]}, False),
    ],
)
def test_names_that_an_authority_allows(names, limits, accepted):
    """The authority two steps above, with another one between."""
    constrained = intermediate(CA, **limits)
    lower = intermediate(constrained, "lower")
    pem, _ = signing.issue(lower, ROOT, signing.CLIENT_USAGES, now=NOW, lifetime=3600.0)
    if names:
        key = signing.new_key()
        plain = signing.load_certificate(pem)
        builder = (
            x509.CertificateBuilder(plain.issuer, plain.subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(plain.not_valid_before_utc)
            .not_valid_after(plain.not_valid_after_utc)
            .add_extension(x509.SubjectAlternativeName(names), False)
        )
        leaf = builder.sign(lower.key, hashes.SHA256())
    else:
        leaf = signing.load_certificate(pem)
    between = [constrained.certificate, lower.certificate]
    if accepted:
        assert chains.verify(leaf, between, [CA.certificate], NOW)[-1] == CA.certificate
    else:
        with pytest.raises(chains.CertificateError, match="x509: certificate signed by unknown authority"):
            chains.verify(leaf, between, [CA.certificate], NOW)


async def test_what_is_no_authority_gets_nobody_through_the_handshake(tmp_path):
    async with tls_server(tmp_path) as (attacked, front):
        middle = intermediate(CA, ca=False)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ask(front, chain(issued(middle), middle))


@pytest.mark.parametrize("version_1_3", [False, True])
def test_certificate_messages(version_1_3):
    context = b"\x00" if version_1_3 else b""
    one = b"\x00\x00\x03abc"
    assert first_certificate(b"\x0b\0\0\0" + context + b"\x00\x00\x06" + one, version_1_3) == b"abc"
    whole = b"\x0b\0\0\0" + context + b"\x00\x00\x06" + one
    for end in range(len(whole)):
        assert first_certificate(whole[:end], version_1_3) == b""
    assert first_certificate(b"\x0b\0\0\0" + context + b"\x00\x00\x00", version_1_3) == b""


async def test_what_ended_connections_leave_is_collected(tmp_path, monkeypatch):
    """They are cycles of the event loop's own, old by then: only a pass of everything finds them."""
    collected = asyncio.Event()
    monkeypatch.setattr("pybernetes.apiserver.http_limits.SWEEP", 0.0)
    monkeypatch.setattr("pybernetes.apiserver.http_limits.WORTH_COLLECTING", 3)
    monkeypatch.setattr("pybernetes.apiserver.http.collect_ended", collected.set)
    async with tls_server(tmp_path) as (_, front):
        for _ in range(3):
            assert not collected.is_set()
            await ask(front, issued(CA))
        async with CLOCK.timeout(10):
            await collected.wait()
        assert front.ended == 0
