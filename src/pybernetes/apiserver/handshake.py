"""Client certificates in the TLS handshake: asked for and proven, but not judged.

Who shows a certificate that nobody vouches for, or that has expired, is to be told so by an HTTP answer (401, with its audit
record), not by an alert in the handshake: upstream asks for certificates without verifying them (``tls.RequestClientCert``) and
judges them per request. OpenSSL verifies every certificate that a client sends, and Python's ``ssl`` has no hook for that. But
a connection may change its context, which holds what is trusted, while the handshake goes on; so when a client's certificate
arrives, its connection goes on with a context that trusts just this one, at any time and for any usage. That the client has the
certificate's key is still proven by the handshake. Who vouches for it is decided by ``authn.certificates``.

The certificate is seen by the context's message callback (there since Python 3.8, a debugging aid without documentation). Where
it is missing, or a message is not understood, OpenSSL decides as ever: an alert, never a certificate that was not judged.
"""

from __future__ import annotations

import os
import ssl
from base64 import encodebytes
from collections.abc import Callable
from typing import Any

HANDSHAKE, CERTIFICATE, FINISHED = 22, 11, 20
DER = 2
NO_CHECK_TIME = 0x200000
"""``X509_V_FLAG_NO_CHECK_TIME``, which ``ssl`` has no name for."""
_CLIENT_AUTH = bytes.fromhex("300c300a06082b06010505070302")
"""OpenSSL's auxiliary data of a trusted certificate: good for client authentication, whatever usages it names itself."""


class ServingTLS:
    """What a server that asks for client certificates does TLS with: listen with ``context``."""

    MAX_KNOWN = 256

    def __init__(
        self, certificate: str, key: str = "", restrict: Callable[[ssl.SSLContext], None] | None = None
    ) -> None:
        """``restrict`` chooses versions and suites. Raises ssl.SSLError or OSError for files that cannot be used."""
        self._files = (certificate, key or None)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._after = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """For connections whose handshake is over: without the callback, which would be called for every record."""
        for context in (self.context, self._after):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if restrict:
                restrict(context)
            context.verify_mode = ssl.CERT_OPTIONAL  # who has no certificate may have a token
            # Flags stay with a connection when its context changes. No context trusts an authority, so they weaken nothing.
            context.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME)
        self._known: dict[bytes, ssl.SSLContext] = {}
        self.context._msg_callback = self._seen  # type: ignore[attr-defined]
        self.load()

    def load(self) -> None:
        """Reads the serving certificate and its key. Raises ssl.SSLError or OSError."""
        for context in (self.context, self._after):
            context.load_cert_chain(*self._files)

    def _seen(self, conn: Any, direction: str, version: int, content: int, message: int, data: bytes) -> None:
        if direction != "read" or content != HANDSHAKE:
            return
        if message == FINISHED:
            conn.context = self._after
        elif message == CERTIFICATE:
            leaf = first_certificate(data, version >= ssl.TLSVersion.TLSv1_3)
            conn.context = self._trusting(leaf) if leaf else self._after

    def _trusting(self, leaf: bytes) -> ssl.SSLContext:
        known = self._known.get(leaf)
        if known is None:
            if len(self._known) >= self.MAX_KNOWN:
                self._known.clear()
            known = self._known[leaf] = _trusting(leaf) or self._after
        return known


def peer_certificates(tls: Any) -> tuple[bytes, ...]:
    """What the client has sent, as DER: its certificate first, then what leads to an authority. ``tls`` is an SSLObject."""
    leaf = tls.getpeercert(True)
    if not leaf:
        return ()
    sent = tls._sslobj.get_unverified_chain() or ()
    chain = [c if isinstance(c, bytes) else c.public_bytes(DER) for c in sent]
    return (leaf, *(c for c in chain if c != leaf))


def first_certificate(message: bytes, version_1_3: bool) -> bytes:
    """The first certificate of a handshake message with a list of them; nothing where there is none."""
    at = 4
    if version_1_3:
        at += 1 + message[4] if len(message) > 4 else 0
    size = int.from_bytes(message[at + 3 : at + 6], "big")
    return message[at + 6 : at + 6 + size] if size and len(message) >= at + 6 + size else b""


def _trusting(leaf: bytes) -> ssl.SSLContext | None:
    """A context in which one certificate needs nobody to vouch for it; None where OpenSSL cannot read it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    pem = b"-----BEGIN TRUSTED CERTIFICATE-----\n%b-----END TRUSTED CERTIFICATE-----\n"
    file = os.memfd_create("client-certificate")  # trust data is only read from files
    try:
        os.write(file, pem % encodebytes(leaf + _CLIENT_AUTH))
        context.load_verify_locations(f"/proc/self/fd/{file}")
    except (ssl.SSLError, OSError):
        return None
    finally:
        os.close(file)
    return context
