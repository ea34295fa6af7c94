"""Certificate signing requests: what they ask for, their approval, the certificates issued."""

from __future__ import annotations

import base64
import binascii

from ..errors import duplicate, forbidden_field, go_quote, invalid_value, not_supported, required
from .diffs import diff
from .errors import Errors, Obj
from .go_values import go_value
from .kube_meta import validate_meta, validate_meta_update
from .pem import certificates_problem, request_problem
from .signers import signer_name

LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_DECISIONS = ("Approved", "Denied")
_ONLY_TRUE = (*_DECISIONS, "Failed")
_CONDITIONS = "status.conditions"


def _bytes(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "")
    except (binascii.Error, ValueError):
        return b""


def _any_name(name: str, prefix: bool) -> list[str]:
    return []


def _types(request: Obj | None) -> list[str]:
    return [c.get("type") or "" for c in ((request or {}).get("status") or {}).get("conditions") or ()]


def _usages(usages: list[str], before: list[str]) -> Errors:
    found = [] if usages else [required("spec.usages")]
    if set(before) <= set(USAGES):
        for i, usage in enumerate(usages):
            if usage not in USAGES:
                found.append(not_supported(f"spec.usages[{i}]", usage, USAGES))
    if len(set(before)) == len(before):
        for i, usage in enumerate(usages):
            if usage in usages[:i]:
                found.append(duplicate(f"spec.usages[{i}]", usage))
    return found


def _signer(name: str, before: str) -> Errors:
    if name == LEGACY_SIGNER and before != LEGACY_SIGNER:
        words = "the legacy signerName is not allowed via this API version"
        return [invalid_value("spec.signerName", name, words)]
    return signer_name(name, "spec.signerName")


def _certificate(request: Obj, old: Obj | None) -> Errors:
    content = _bytes((request.get("status") or {}).get("certificate"))
    if old is not None:
        before = _bytes((old.get("status") or {}).get("certificate"))
        if content == before or (before and certificates_problem(before)):
            return []
    problem = certificates_problem(content) if content else ""
    return [invalid_value("status.certificate", "<certificate data>", problem)] if problem else []


def _condition_list(request: Obj, old: Obj | None) -> Errors:
    stored = _types(old)
    both, repeated = set(_DECISIONS) <= set(stored), len(set(stored)) < len(stored)
    found: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate((request.get("status") or {}).get("conditions") or ()):
        kind, status, path = condition.get("type") or "", condition.get("status") or "", f"{_CONDITIONS}[{i}]"
        if not kind and "" not in stored:
            found.append(required(f"{path}.type"))
        allowed = ("True",) if kind in _ONLY_TRUE else ("False", "True", "Unknown")
        if not status:
            found.append(required(f"{path}.status"))
        elif status not in allowed:
            found.append(not_supported(f"{path}.status", status, allowed))
        if kind in _DECISIONS and not both and set(_DECISIONS) - {kind} <= seen:
            found.append(invalid_value(_CONDITIONS, kind, "Approved and Denied conditions are mutually exclusive"))
        if kind in seen and not repeated:
            found.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
    return found


def _request(request: Obj, old: Obj | None) -> Errors:
    spec, before = request.get("spec") or {}, (old or {}).get("spec") or {}
    found = validate_meta(request.get("metadata") or {}, False, _any_name)
    problem = request_problem(_bytes(spec.get("request")))
    if problem:
        found.append(invalid_value("spec.request", spec.get("request"), problem))
    found += _usages(spec.get("usages") or [], before.get("usages") or [])
    found += _signer(spec.get("signerName") or "", before.get("signerName") or "")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        words = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(invalid_value("spec.expirationSeconds", seconds, words))
    return found + _condition_list(request, old) + _certificate(request, old)


def _create(request: Obj) -> Errors:
    return _request(request, None)


def _of(request: Obj, kind: str) -> list[Obj]:
    conditions = (request.get("status") or {}).get("conditions") or ()
    return [condition for condition in conditions if condition.get("type") == kind]


def _difference(stored: list[Obj], wanted: list[Obj]) -> str:
    struct = "certificates.CertificateSigningRequestCondition"
    return diff([go_value(c, struct) for c in stored], [go_value(c, struct) for c in wanted], keep_order=True)


def _condition_changes(new: Obj, old: Obj, approving: bool) -> Errors:
    found: Errors = []
    for kind in _ONLY_TRUE:
        if len(_of(new, kind)) < len(_of(old, kind)):
            words = f"updates may not remove a condition of type {go_quote(kind)}"
            found.append(forbidden_field(_CONDITIONS, words))
    for kind in () if approving else _DECISIONS:
        wanted, stored = _of(new, kind), _of(old, kind)
        if len(wanted) > len(stored):
            words = f"updates may not add a condition of type {go_quote(kind)}"
            found.append(forbidden_field(_CONDITIONS, words))
        elif len(wanted) == len(stored) and wanted != stored:
            words = f"updates may not modify a condition of type {go_quote(kind)}\n{_difference(stored, wanted)}"
            found.append(forbidden_field(_CONDITIONS, words))
    return found


def _change(new: Obj, old: Obj, *, approving: bool = False, issuing: bool = False) -> Errors:
    found = _request(new, old) + _condition_changes(new, old, approving)
    content, before = (_bytes((o.get("status") or {}).get("certificate")) for o in (new, old))
    if content != before and not issuing:
        found.append(forbidden_field("status.certificate", "updates may not set certificate content"))
    elif content != before and before:
        found.append(forbidden_field("status.certificate", "updates may not modify existing certificate content"))
    return found + validate_meta_update(new, old)


def _update(new: Obj, old: Obj) -> Errors:
    return _change(new, old)


def _approval(new: Obj, old: Obj) -> Errors:
    return _change(new, old, approving=True)


def _status(new: Obj, old: Obj) -> Errors:
    return _change(new, old, issuing=True)


_KEY = ("certificates.k8s.io", "certificatesigningrequests")
CREATE = {_KEY: _create}
UPDATE = {(*_KEY, ""): _update, (*_KEY, "approval"): _approval, (*_KEY, "status"): _status}
