"""The PKI on disk: what is made, what is kept, what is renewed, and that the TLS library takes it."""

import ssl
import stat

import pytest
from cryptography import x509

from pybernetes.client import signing
from pybernetes.cluster import certificates
from pybernetes.cluster.certificates import ADMIN, DAY, YEAR, ensure_pki

NOW = 1_800_000_000.0
SANS = ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc"]


def make(tmp_path, **options):
    return ensure_pki(tmp_path / "pki", now=options.pop("now", NOW), sans=options.pop("sans", SANS), **options)


def contents(directory):
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def test_makes_every_file_with_owner_only_access(tmp_path):
    pki = make(tmp_path)
    names = {p.name for p in pki.directory.iterdir()}
    assert names == {
        "ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "apiserver.crt",
        "apiserver.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key", "front-proxy-client.crt",
        "front-proxy-client.key",
    }  # fmt: skip
    assert {stat.S_IMODE(p.stat().st_mode) for p in pki.directory.iterdir()} == {0o600}


def test_is_idempotent(tmp_path):
    before = contents(make(tmp_path).directory)
    assert contents(make(tmp_path, now=NOW + DAY).directory) == before


def test_renews_what_expired_and_keeps_the_authority(tmp_path):
    before = contents(make(tmp_path).directory)
    after = contents(make(tmp_path, now=NOW + YEAR + DAY).directory)
    changed = {n for n in after if after[n] != before[n]}
    assert changed == {
        f"{n}.{e}" for n in ("apiserver", "apiserver-kubelet-client", "front-proxy-client") for e in ("crt", "key")
    }


def test_a_new_name_renews_only_the_serving_certificate(tmp_path):
    before = contents(make(tmp_path).directory)
    pki = make(tmp_path, sans=[*SANS, "10.0.0.7"])
    after = contents(pki.directory)
    assert {n for n in after if after[n] != before[n]} == {"apiserver.crt", "apiserver.key"}


def test_an_authority_without_its_key_is_external_as_long_as_its_leaves_serve(tmp_path):
    pki = make(tmp_path)
    pki.key_file("ca").unlink()
    make(tmp_path)
    with pytest.raises(certificates.PkiError, match=r"apiserver\.crt has expired, and ca\.key is not here"):
        make(tmp_path, now=NOW + 2 * YEAR)


def test_a_key_without_its_certificate_is_refused(tmp_path):
    pki = make(tmp_path)
    pki.certificate_file("ca").unlink()
    with pytest.raises(certificates.PkiError, match=r"ca\.crt is missing"):
        make(tmp_path)


def test_the_tls_library_takes_the_chain(tmp_path):
    import time

    pki = make(tmp_path, now=time.time())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.certificate_file("apiserver"), pki.key_file("apiserver"))
    server.load_verify_locations(pki.certificate_file("ca"))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(pki.certificate_file("ca")))
    certificate, key = pki.client(ADMIN.subject, now=time.time())
    (tmp_path / "c.pem").write_bytes(certificate + key)
    client.load_cert_chain(tmp_path / "c.pem")
    subject = handshake(server, client, "127.0.0.1")
    assert (("commonName", "kubernetes-admin"),) in subject
    assert (("organizationName", "kubeadm:cluster-admins"),) in subject


def handshake(server, client, name):
    a, b, c, d = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    s = server.wrap_bio(a, b, server_side=True)
    k = client.wrap_bio(c, d, server_hostname=name)
    for _ in range(6):
        for side in (k, s):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            a.write(d.read())
            c.write(b.read())
    return s.getpeercert()["subject"]


def test_kubeconfigs_are_kept_until_they_no_longer_serve(tmp_path):
    pki = make(tmp_path)
    path = certificates.ensure_kubeconfig(tmp_path / "admin.conf", pki, ADMIN, "https://127.0.0.1:6443", now=NOW)
    first = path.read_bytes()
    certificates.ensure_kubeconfig(path, pki, ADMIN, "https://127.0.0.1:6443", now=NOW + DAY)
    assert path.read_bytes() == first
    certificates.ensure_kubeconfig(path, pki, ADMIN, "https://10.0.0.1:6443", now=NOW + DAY)
    assert path.read_bytes() != first


def test_expiry_and_renewal(tmp_path):
    pki = make(tmp_path)
    conf = certificates.ensure_kubeconfig(tmp_path / "admin.conf", pki, ADMIN, "https://a:1", now=NOW)
    rows = {r.name: r for r in certificates.check_expiration(pki, {conf.name: conf}, now=NOW + DAY)}
    assert list(rows) == [
        "admin.conf", "apiserver", "apiserver-kubelet-client", "front-proxy-client", "ca", "front-proxy-ca",
    ]  # fmt: skip
    assert rows["apiserver"].residual_seconds == 364 * DAY and rows["apiserver"].authority == "ca"
    assert rows["ca"].is_authority
    for name in ("apiserver", "apiserver-kubelet-client", "front-proxy-client"):
        certificates.renew(pki, name, now=NOW + 10 * DAY)
    certificates.renew_kubeconfig(conf, pki, now=NOW + 10 * DAY)
    renewed = {r.name: r for r in certificates.check_expiration(pki, {conf.name: conf}, now=NOW + 10 * DAY)}
    assert {renewed[n].residual_seconds for n in rows if not rows[n].is_authority} == {365 * DAY}
    # Names and groups are those of before.
    assert contents(make(tmp_path, now=NOW + 10 * DAY).directory) == contents(pki.directory)


# -- signing requests --------------------------------------------------------------------------------------------------


def authority(now=NOW, lifetime=10 * YEAR):
    return signing.new_authority("kubernetes", now=now, lifetime=lifetime)


def node_request(names=(), organizations=("system:nodes",), cn="system:node:a"):
    return signing.parse_request(signing.new_request(signing.new_key(), signing.Subject(cn, organizations, names)))


def test_signs_a_kubelets_client_certificate():
    request = node_request()
    assert signing.check_for_signer(request, signing.CLIENT_USAGES, signing.KUBELET_CLIENT_SIGNER)
    ca = authority()
    pem = signing.sign_request(ca, request, signing.CLIENT_USAGES, now=NOW, duration=YEAR)
    certificate = signing.load_certificate(pem)
    certificate.verify_directly_issued_by(ca.certificate)
    assert certificate.not_valid_after_utc.timestamp() == NOW + YEAR - 300
    assert certificate.not_valid_before_utc.timestamp() == NOW - 300
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize(
    ("request_", "usages", "signer", "message"),
    [
        (node_request(organizations=("x",)), signing.CLIENT_USAGES, signing.KUBELET_CLIENT_SIGNER, "subject organization is not system:nodes"),
        (node_request(names=("a",)), signing.CLIENT_USAGES, signing.KUBELET_CLIENT_SIGNER, "DNS subjectAltNames are not allowed"),
        (node_request(names=("10.0.0.1",)), signing.CLIENT_USAGES, signing.KUBELET_CLIENT_SIGNER, "IP subjectAltNames are not allowed"),
        (node_request(cn="a"), signing.CLIENT_USAGES, signing.KUBELET_CLIENT_SIGNER, "subject common name does not begin with system:node:"),
        (node_request(), signing.SERVER_USAGES, signing.KUBELET_CLIENT_SIGNER, "usages did not match [client auth digital signature key encipherment]"),
        (node_request(), signing.SERVER_USAGES, signing.KUBELET_SERVING_SIGNER, "DNS or IP subjectAltName is required"),
        (node_request(), signing.SERVER_USAGES, signing.CLIENT_SIGNER, "invalid usage for client certificate: server auth"),
        (node_request(), ("digital signature",), signing.CLIENT_SIGNER, "missing required usage for client certificate: client auth"),
    ],
)  # fmt: skip
def test_signers_refuse_in_upstreams_words(request_, usages, signer, message):
    with pytest.raises(signing.SigningError) as caught:
        signing.check_for_signer(request_, usages, signer)
    assert str(caught.value) == message


def test_signers_of_others_are_left_to_them():
    assert signing.check_for_signer(node_request(), (), "example.com/mine") is False


def test_durations():
    assert signing.duration_of(None, 3600) == 3600
    assert signing.duration_of(60, 3600) == 600
    assert signing.duration_of(7200, 3600) == 3600
    assert signing.duration_of(1200, 3600) == 1200


def test_a_certificate_never_outlives_its_authority():
    ca = authority(lifetime=DAY)
    pem = signing.sign_request(ca, node_request(), signing.CLIENT_USAGES, now=NOW, duration=YEAR)
    assert signing.load_certificate(pem).not_valid_after_utc == ca.certificate.not_valid_after_utc
    with pytest.raises(signing.SigningError, match="expired in the past"):
        signing.sign_request(ca, node_request(), signing.CLIENT_USAGES, now=NOW + 2 * DAY, duration=YEAR)


def test_garbage_is_no_request():
    with pytest.raises(signing.SigningError, match="PEM block type must be CERTIFICATE REQUEST"):
        signing.parse_request(b"hello")
    with pytest.raises(signing.SigningError):
        signing.parse_request(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
