"""--tls-min-version and --tls-cipher-suites: what a client may speak, by handshakes in memory."""

import ssl

import click
import pytest
from attack_support import NOW

from pybernetes.apiserver.command import apiserver
from pybernetes.apiserver.handshake import ServingTLS
from pybernetes.client import signing
from pybernetes.concurrency.tlsflags import FLAGS, SUITES, restrict

CA = signing.new_authority("kubernetes", now=NOW, lifetime=1e9)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ECDSA_128, ECDSA_256 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"


def flags(*arguments):
    @click.command
    def command(**_):
        raise NotImplementedError

    for flag in FLAGS:
        command = flag(command)
    return command.make_context("x", list(arguments)).params


@pytest.fixture
def serving(tmp_path):
    pair = signing.issue(
        CA, signing.Subject("localhost", (), ("localhost",)), signing.SERVER_USAGES, now=NOW, lifetime=1e9
    )
    for name, data in zip(("crt", "key"), pair, strict=True):
        (tmp_path / name).write_bytes(data)
    return lambda *arguments: (
        ServingTLS(
            str(tmp_path / "crt"), str(tmp_path / "key"), lambda context: restrict(context, flags(*arguments))
        ).context
    )


def handshake(server, version, ciphers=""):
    """The suite agreed upon. Raises ssl.SSLError where there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = context.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].cipher()[0]


def test_tls_1_2_is_the_oldest_unless_said_otherwise(serving):
    assert handshake(serving(), V12) and handshake(serving(), V13)
    assert handshake(serving("--tls-min-version=VersionTLS13"), V13)
    with pytest.raises(ssl.SSLError):
        handshake(serving("--tls-min-version=VersionTLS13"), V12)


@pytest.mark.parametrize("old", ("", "VersionTLS10", "VersionTLS11"))
def test_nothing_older_is_spoken_even_if_allowed(serving, old):
    assert serving(f"--tls-min-version={old}").minimum_version is V12


def test_only_the_suites_named_are_accepted(serving):
    server = serving(f"--tls-cipher-suites={ECDSA_256}")
    assert handshake(server, V12) == "ECDHE-ECDSA-AES256-GCM-SHA384"
    with pytest.raises(ssl.SSLError):
        handshake(server, V12, "ECDHE-ECDSA-AES128-GCM-SHA256")
    assert handshake(serving(f"--tls-cipher-suites={ECDSA_128},{ECDSA_256}"), V12, "ECDHE-ECDSA-AES128-GCM-SHA256")


def test_suites_of_tls_1_3_are_always_accepted_and_alone_leave_none_for_1_2(serving):
    assert handshake(serving(f"--tls-cipher-suites={ECDSA_256}"), V13)
    server = serving("--tls-cipher-suites=TLS_AES_128_GCM_SHA256")
    assert handshake(server, V13)
    with pytest.raises(ssl.SSLError):
        handshake(server, V12)


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_known_to_openssl(suite):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    restrict(context, flags(f"--tls-cipher-suites={suite}"))
    assert [c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"] == [SUITES[suite]]


@pytest.mark.parametrize(
    ("argument", "message"),
    (
        ("--tls-min-version=VersionTLS14", 'unknown tls version "VersionTLS14"'),
        ("--tls-cipher-suites=TLS_NONE", "Cipher suite TLS_NONE not supported or doesn't exist"),
        (
            f"--tls-cipher-suites={ECDSA_128},TLS_RSA_WITH_RC4_128_SHA",
            "Cipher suite TLS_RSA_WITH_RC4_128_SHA not supported or doesn't exist",
        ),
    ),
)
def test_mistakes_are_told(argument, message):
    with pytest.raises(click.ClickException) as failure:
        flags(argument)
    assert failure.value.message == message


def test_privileged_pods_are_not_kept_out_by_a_flag():
    assert apiserver.make_context("apiserver", ["--allow-privileged=true"]).params["allow_privileged"] is True
    with pytest.raises(click.ClickException, match="Pod Security"):
        apiserver.make_context("apiserver", ["--allow-privileged=false"])
