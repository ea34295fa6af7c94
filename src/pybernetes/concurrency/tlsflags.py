"""Which TLS versions and cipher suites a serving component accepts, by the names that Go's ``crypto/tls`` gives them.

The suites of TLS 1.3 cannot be chosen, as in Go: all three are always accepted. Suites that OpenSSL no longer has (RC4, 3DES)
count as unknown. ``VersionTLS10`` and ``VersionTLS11`` are accepted as lower bounds, but nothing below TLS 1.2 is spoken.
Only command modules import this: it needs click.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import click

VERSIONS = {
    "": ssl.TLSVersion.TLSv1_2,
    "VersionTLS10": ssl.TLSVersion.TLSv1_2,
    "VersionTLS11": ssl.TLSVersion.TLSv1_2,
    "VersionTLS12": ssl.TLSVersion.TLSv1_2,
    "VersionTLS13": ssl.TLSVersion.TLSv1_3,
}
_ALWAYS = frozenset(("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"))
_CIPHERS = {
    "AES_128_CBC_SHA": "AES128-SHA",
    "AES_256_CBC_SHA": "AES256-SHA",
    "AES_128_CBC_SHA256": "AES128-SHA256",
    "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
    "CHACHA20_POLY1305": "CHACHA20-POLY1305",
}
_EXCHANGES = {"TLS_ECDHE_ECDSA_WITH_": "ECDHE-ECDSA-", "TLS_ECDHE_RSA_WITH_": "ECDHE-RSA-", "TLS_RSA_WITH_": ""}
SUITES = {
    exchange + cipher: prefix + name
    for exchange, prefix in _EXCHANGES.items()
    for cipher, name in _CIPHERS.items()
    if prefix or not name.startswith("CHACHA20")
}
"""OpenSSL's names of the suites of TLS 1.2."""


def _version(context: click.Context, parameter: click.Parameter, value: str) -> ssl.TLSVersion:
    if value not in VERSIONS:
        raise click.BadParameter(f'unknown tls version "{value}"')
    return VERSIONS[value]


def _suites(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(v.strip() for v in value.split(",") if v.strip())
    for name in names:
        if name not in SUITES and name not in _ALWAYS:
            raise click.BadParameter(f"Cipher suite {name} not supported or doesn't exist")
    return names


FLAGS: tuple[Any, ...] = (
    click.option("--tls-min-version", default="VersionTLS12", show_default=True, callback=_version, help="The oldest TLS accepted: VersionTLS12 or VersionTLS13."),
    click.option("--tls-cipher-suites", default="", callback=_suites, help="Suites of TLS 1.2 accepted, by Go's names [OpenSSL's choice]."),
)  # fmt: skip


def restrict(context: ssl.SSLContext, flags: Mapping[str, Any]) -> None:
    """Has a server's context accept what the flags allow."""
    minimum, names = flags["tls_min_version"], flags["tls_cipher_suites"]
    chosen = [SUITES[n] for n in names if n in SUITES]
    if chosen:
        context.set_ciphers(":".join(dict.fromkeys(chosen)))
    elif names:
        minimum = ssl.TLSVersion.TLSv1_3  # no suite of TLS 1.2 is among those named
    context.minimum_version = minimum
