"""The subject of a client certificate, read from its DER bytes.

The certificate has been verified by the TLS library already; only two names are wanted of it, and the general library would cost the
kubelet nine megabytes. Specified by RFC 5280 (Certificate, Name) and X.690 (DER).
"""

from __future__ import annotations

from collections.abc import Iterator

_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_CODECS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
_VERSION = 0xA0


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of what stands in a row."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        yield tag, data[at : at + length]
        at += length


def subject_of(der: bytes) -> tuple[list[str], list[str]]:
    """(common names, organizations), in the order in which they stand. Raises ValueError where the bytes are no certificate."""
    try:
        _, certificate = next(_elements(der))
        _, signed = next(_elements(certificate))
        parts = list(_elements(signed))
        # version (which may be absent), serial number, algorithm, issuer, validity, subject
        _, subject = parts[5 if parts[0][0] == _VERSION else 4]
        found: dict[bytes, list[str]] = {_COMMON_NAME: [], _ORGANIZATION: []}
        for _, attributes in _elements(subject):
            for _, attribute in _elements(attributes):
                (_, kind), (tag, value) = _elements(attribute)
                if kind in found:
                    found[kind].append(value.decode(_CODECS.get(tag, "utf-8")))
    except (IndexError, StopIteration, UnicodeDecodeError) as failure:
        raise ValueError(f"not a certificate: {failure}") from failure
    return found[_COMMON_NAME], found[_ORGANIZATION]
