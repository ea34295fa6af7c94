"""PEM texts, and what may be in them: certificate requests and certificates."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import go_quote

_BLOCK = re.compile(rb"-----BEGIN ([^\n]*?)-----[ \t\r]*\n(.*?)-----END \1-----", re.DOTALL)
_HEADER = re.compile(rb"^[^\n:]+:[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    has_headers: bool
    content: bytes


def blocks(text: bytes) -> Iterator[Block]:
    """The blocks of a text; what stands between them and what is no base64 is passed over."""
    for match in _BLOCK.finditer(text):
        body = match[2]
        headers = bool(_HEADER.match(body))
        if headers:
            body = _HEADER.sub(b"", body)
        try:
            content = base64.b64decode(b"".join(body.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        yield Block(match[1].decode("utf-8", "replace"), headers, content)


def request_problem(text: bytes) -> str:
    """What is wrong with a PKCS #10 certificate request in PEM: its form or its signature."""
    block = next(blocks(text), None)
    if block is None or block.kind != "CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import load_der_x509_csr

    try:
        request = load_der_x509_csr(block.content)
        if request.is_signature_valid:
            return ""
        return _signature_words(type(request.public_key()).__name__)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "asn1: structure error: malformed certificate request"


def _signature_words(key: str) -> str:
    if "RSA" in key:
        return "crypto/rsa: verification error"
    return f"x509: {'Ed25519' if 'Ed25519' in key else 'ECDSA'} verification failure"


def certificates_problem(text: bytes) -> str:
    """What is wrong with a text of one or more certificates."""
    from cryptography.x509 import load_der_x509_certificate

    count = 0
    for block in blocks(text):
        if block.kind != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {go_quote(block.kind)}"
        if block.has_headers:
            return "no PEM block headers are permitted"
        if not block.content:
            return "found CERTIFICATE PEM block containing 0 certificates"
        try:
            load_der_x509_certificate(block.content)
        except ValueError:
            return "x509: malformed certificate"
        count += 1
    return "" if count else "must contain at least one CERTIFICATE PEM block"
