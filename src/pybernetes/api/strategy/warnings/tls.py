"""Whether a TLS secret's certificate and key are a pair."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any


def key_pair_problem(data: Mapping[str, Any]) -> str | None:
    """What is wrong with ``tls.crt`` and ``tls.key`` (base64 on the wire); None where they match."""
    try:
        certificate, key = (base64.b64decode(data.get(f) or "") for f in ("tls.crt", "tls.key"))
    except (binascii.Error, ValueError):
        return None
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        if b"-----BEGIN " not in certificate:
            return "tls: failed to find any PEM data in certificate input"
        if b"PRIVATE KEY-----" in certificate:
            return (
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
                "PEM inputs may have been switched"
            )
        return (
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of other types'
        )
    if b"PRIVATE KEY-----" not in key:
        if b"-----BEGIN " not in key:
            return "tls: failed to find any PEM data in key input"
        if b"-----BEGIN CERTIFICATE-----" in key:
            return "tls: found a certificate rather than a key in the PEM for the private key"
        return (
            'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of '
            "other types"
        )
    return _mismatch(certificate, key)


def _mismatch(certificate: bytes, key: bytes) -> str | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificate

    try:
        public = load_pem_x509_certificate(certificate).public_key()
        private = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    if type(public) is not type(private):
        return "tls: private key type does not match public key type"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != private.public_bytes(*form):
        return "tls: private key does not match public key"
    return None
