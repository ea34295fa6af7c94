"""Authentication: who sends a request. Specified by the "Authenticating" page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UserInfo:
    """``authentication.k8s.io`` UserInfo."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = UserInfo("system:anonymous", groups=("system:unauthenticated",))
SYSTEM_MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
LOOPBACK = UserInfo("system:apiserver", groups=(SYSTEM_MASTERS, AUTHENTICATED))


@dataclass(slots=True)
class Credentials:
    """What of a request may prove an identity: lower-case header names, the client certificate in DER form. Of that the TLS
    handshake has proven that the client has its key, and nothing more.

    A header that came more than once has its values joined by a line feed, which no value can contain: two groups in
    two headers must not be taken for one group with a comma in its name, nor the other way round.
    """

    headers: Mapping[str, str]
    client_certificate: bytes | None = None
    remote_address: str = ""
    websocket_protocols: Sequence[str] = ()
    path: str = ""
    """Anonymous access may be limited to some paths."""
    warnings: list[str] | None = None
    """Where an authenticator may add to the response's Warning headers; the request's own list."""
    annotations: dict[str, str] | None = None
    """Where an authenticator may add to the request's audit annotations."""
    intermediates: tuple[bytes, ...] = ()
    """Further certificates that came with the client's, which may lead from it to an authority; DER."""


class Authenticator(Protocol):
    """One way of proving who one is."""

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        """The user; None where these credentials are not of this kind. Raises StatusError 401 where they are but fail."""
        ...
