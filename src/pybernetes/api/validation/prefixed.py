"""Paths and keys that begin with a domain."""

from __future__ import annotations

from ..errors import invalid_value, required
from .errors import Errors, invalid_each
from .formats import dns_subdomain_problems, http_path_problems, qualified_name_problems


def domain_prefixed_path(value: str, path: str) -> Errors:
    """``example.com/anything``: who manages a Job, which controller an IngressClass names."""
    if not value:
        return [required(path)]
    host, slash, rest = value.partition("/")
    if not slash or not host or not rest:
        return [invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found = invalid_each(path, host, dns_subdomain_problems(host))
    return found + invalid_each(path, rest, http_path_problems(rest))


def domain_prefixed_key(value: str, path: str) -> Errors:
    if not value:
        return [required(path)]
    found = invalid_each(path, value, qualified_name_problems(value))
    if not found and value.count("/") != 1:
        found.append(invalid_value(path, value, 'must be a domain-prefixed key (such as "acme.io/foo")'))
    return found
