"""Names of certificate signers: ``example.com/name``. Specified by "Certificate Signing Requests: Signers"."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import go_quote, invalid_value, required, too_long
from .errors import Errors, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, qualified_name_problems, size
from .meta import ANNOTATIONS_LIMIT

_MAX = 571
"""253 for the domain, a slash, and 317 (a namespace, a dot and a name) for the path."""


def is_kubernetes_signer(name: str) -> bool:
    host = name.partition("/")[0]
    return host == "kubernetes.io" or host.endswith(".kubernetes.io")


def signer_name(name: str, path: str) -> Errors:
    if not name:
        return [required(path)]
    parts = name.split("/")
    if len(parts) != 2:
        words = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid_value(path, name, words)]
    domain, rest = parts
    found: Errors = [too_long(path, 253)] if size(domain) > 253 else []
    found += _first_bad_label(domain, dns_label_problems, path)
    if "." not in domain:
        found.append(invalid_value(path, domain, "should be a domain with at least two segments separated by dots"))
    found += _first_bad_label(rest, dns_subdomain_problems, path)
    if size(name) > _MAX:
        found.append(too_long(path, _MAX))
    return found


def _first_bad_label(text: str, check: Callable[[str], list[str]], path: str) -> Errors:
    """The errors of the first part that is wrong: those of later ones would read the same."""
    for label in text.split("."):
        problems = check(label)
        if problems:
            return [invalid_value(path, text, f"validating label {go_quote(label)}: {p}") for p in problems]
    return []


def validate_user_annotations(annotations: Mapping[str, str], path: str) -> Errors:
    """Keys with a domain, lower case or not; the total size is that of annotations."""
    found: Errors = []
    for key in annotations:
        lowered = key.lower()
        if not lowered:
            found.append(required(path))
            continue
        problems = invalid_each(path, lowered, qualified_name_problems(lowered))
        if not problems and "/" not in lowered:
            words = 'must be a domain-prefixed key (such as "acme.io/foo")'
            problems = [invalid_value(path, lowered, words)]
        found += problems
    if sum(size(k) + size(v or "") for k, v in annotations.items()) > ANNOTATIONS_LIMIT:
        found.append(too_long(path, ANNOTATIONS_LIMIT))
    return found
