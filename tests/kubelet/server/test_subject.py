"""Names of a client certificate, against certificates that the general library makes."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pybernetes.kubelet.server.subject import subject_of


def certificate(*attributes):
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the issuer")])
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(o, v) for o, v in attributes]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1 << 150)
        .not_valid_before(moment)
        .not_valid_after(moment)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


def test_names_and_organizations():
    der = certificate(
        (NameOID.COUNTRY_NAME, "CH"),
        (NameOID.ORGANIZATION_NAME, "system:nodes"),
        (NameOID.ORGANIZATION_NAME, "système"),
        (NameOID.COMMON_NAME, "system:node:a"),
    )
    assert subject_of(der) == (["system:node:a"], ["system:nodes", "système"])


def test_a_long_subject():
    names = [(NameOID.ORGANIZATION_NAME, f"group-{n}" * 6) for n in range(40)]
    assert len(subject_of(certificate(*names))[1]) == 40


def test_no_subject_at_all():
    assert subject_of(certificate()) == ([], [])


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03\x02\x01\x01", b"no certificate at all"])
def test_what_is_no_certificate(data):
    with pytest.raises(ValueError, match="not a certificate"):
        subject_of(data)
