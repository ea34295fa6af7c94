"""Name constraints of authorities: which alternative names of the certificates below them they allow. Pure.

The rules are those of RFC 5280 (4.2.1.10) as Go's ``crypto/x509`` reads them: only alternative names are looked at, of hosts, mail
addresses, IP addresses and URIs. A certificate without any, as those of users are, passes. Constraints of other kinds are not
understood.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

Matches = Callable[[Any, Any], bool]


def constraints_of(certificate: x509.Certificate) -> x509.NameConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None


def is_understood(constraints: x509.NameConstraints) -> bool:
    return all(type(s) in _MATCHERS for s in _subtrees(constraints))


def permits(issuer: x509.Certificate, below: Sequence[x509.Certificate]) -> bool:
    """Whether an authority's constraints allow all names of the certificates that lead to it."""
    constraints = constraints_of(issuer)
    return constraints is None or all(_allows(constraints, name) for c in below for name in _names(c))


def _subtrees(constraints: x509.NameConstraints) -> list[x509.GeneralName]:
    return [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _allows(constraints: x509.NameConstraints, name: x509.GeneralName) -> bool:
    matches = _MATCHERS.get(type(name))
    if matches is None:
        return True  # a name of a kind that no constraint of ours is about
    try:
        if any(matches(name.value, s.value) for s in constraints.excluded_subtrees or () if type(s) is type(name)):
            return False
        permitted = [s for s in constraints.permitted_subtrees or () if type(s) is type(name)]
        return not permitted or any(matches(name.value, s.value) for s in permitted)
    except ValueError:
        return False  # a name that cannot be read is not known to be allowed


def _host(name: str, constraint: str) -> bool:
    """A host is within a domain that is its own or above it; a domain with a dot before it is only above."""
    wanted = constraint.lower()
    if not wanted:
        return True
    own = name.lower().rstrip(".")
    if wanted.startswith("."):
        return own.endswith(wanted) and len(own) > len(wanted)
    return own == wanted or own.endswith(f".{wanted}")


def _mail(name: str, constraint: str) -> bool:
    mailbox, at, host = name.rpartition("@")
    if not at or not mailbox:
        raise ValueError(f"cannot parse rfc822Name {name!r}")
    if "@" in constraint:
        box, _, domain = constraint.rpartition("@")
        return mailbox == box and host.lower() == domain.lower()
    return _host(host, constraint)


def _uri(name: str, constraint: str) -> bool:
    host = urlsplit(name).hostname
    if not host:
        raise ValueError(f"URI with empty host ({name!r}) cannot be matched against constraints")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _host(host, constraint)
    raise ValueError(f"URI with IP ({name!r}) cannot be matched against constraints")


def _address(name: Any, constraint: Any) -> bool:
    return name.version == constraint.version and name in constraint


_MATCHERS: Mapping[type[x509.GeneralName], Matches] = {
    x509.DNSName: _host,
    x509.RFC822Name: _mail,
    x509.UniformResourceIdentifier: _uri,
    x509.IPAddress: _address,
}
