"""What becomes of a CertificateSigningRequest. Pure. The X.509 part is ``client.signing``."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, metadata
from ...api.times import parse_time, to_time
from ...client.signing import (
    KUBELET_CLIENT_SIGNER,
    KUBELET_SERVING_SIGNER,
    Authority,
    SigningError,
    check_for_signer,
    check_kubelet_client,
    check_kubelet_serving,
    common_name,
    duration_of,
    host_names,
    load_certificates,
    parse_request,
    sign_request,
)
from ..values import with_status

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
ISSUED_KEPT, DENIED_KEPT, PENDING_KEPT = 3600.0, 3600.0, 24 * 3600.0


def conditions_of(request: Object) -> list[dict[str, Any]]:
    return (request.get("status") or {}).get("conditions") or []


def has_condition(request: Object, kind: str) -> bool:
    return any(c.get("type") == kind for c in conditions_of(request))


def certificate_of(request: Object) -> bytes:
    return base64.b64decode((request.get("status") or {}).get("certificate") or "")


def pem_of(request: Object) -> bytes:
    return base64.b64decode(request["spec"].get("request") or "")


def _with_condition(request: Object, kind: str, reason: str, message: str, now: float) -> Object:
    stamp = to_time(now)
    condition = {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
    }
    return with_status(request, {**(request.get("status") or {}), "conditions": [*conditions_of(request), condition]})


# -- approving ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recognized:
    """A request that may be approved if its sender has a permission (a virtual subresource of the requests)."""

    subresource: str
    message: str


def recognize(request: Object, *, serving: bool) -> list[Recognized]:
    """``serving``: serving certificates that nodes ask for themselves count too. Raises SigningError for garbage."""
    if certificate_of(request) or has_condition(request, APPROVED) or has_condition(request, DENIED):
        return []
    parsed = parse_request(pem_of(request))
    usages, signer = request["spec"].get("usages") or [], request["spec"].get("signerName")
    own = request["spec"].get("username") == common_name(parsed.subject)
    try:
        if signer == KUBELET_CLIENT_SIGNER:
            check_kubelet_client(parsed, usages)
        elif signer == KUBELET_SERVING_SIGNER and serving and own:
            check_kubelet_serving(parsed, usages)
            if any(f"system:node:{name}" != common_name(parsed.subject) for name in host_names(parsed)):
                return []  # a node must not pass for anybody else
            return [Recognized("", "Auto approving kubelet serving certificate of the node itself.")]
        else:
            return []
    except SigningError:
        return []
    found = [Recognized("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if own:
        text = "Auto approving self kubelet client certificate after SubjectAccessReview."
        found.insert(0, Recognized("selfnodeclient", text))
    return found


def review_for(request: Object, subresource: str) -> Object:
    spec = request["spec"]
    attributes = {
        "group": "certificates.k8s.io",
        "resource": "certificatesigningrequests",
        "verb": "create",
        "subresource": subresource,
        "version": "*",
    }
    asked = {
        "user": spec.get("username"),
        "uid": spec.get("uid"),
        "groups": spec.get("groups"),
        "extra": spec.get("extra"),
        "resourceAttributes": attributes,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {k: v for k, v in asked.items() if v},
    }


def approved(request: Object, message: str, now: float) -> Object:
    return _with_condition(request, APPROVED, "AutoApproved", message, now)


# -- signing -----------------------------------------------------------------------------------------------------------


def sign(request: Object, authority: Authority, maximum: float, now: float) -> Object | None:
    """The request with its certificate, or with why it gets none; None where it is not for us, or not yet.

    Raises SigningError where it cannot be read or signed.
    """
    if not has_condition(request, APPROVED) or has_condition(request, FAILED) or certificate_of(request):
        return None
    if has_condition(request, DENIED):
        return None
    spec = request["spec"]
    parsed, usages = parse_request(pem_of(request)), spec.get("usages") or []
    try:
        if not check_for_signer(parsed, usages, spec.get("signerName") or ""):
            return None
    except SigningError as failure:
        return _with_condition(request, FAILED, "SignerValidationFailure", str(failure), now)
    duration = duration_of(spec.get("expirationSeconds"), maximum)
    certificate = sign_request(authority, parsed, usages, now=now, duration=duration)
    encoded = base64.b64encode(certificate).decode()
    return with_status(request, {**(request.get("status") or {}), "certificate": encoded})


# -- cleaning ----------------------------------------------------------------------------------------------------------


def is_outdated(request: Object, now: float) -> bool:
    conditions, issued = conditions_of(request), certificate_of(request)
    if not conditions:
        return _older(metadata(request).get("creationTimestamp"), PENDING_KEPT, now)
    for condition in conditions:
        changed = condition.get("lastUpdateTime")
        if condition.get("type") in (DENIED, FAILED) and _older(changed, DENIED_KEPT, now):
            return True
        if condition.get("type") == APPROVED:
            if _older(changed, ISSUED_KEPT if issued else PENDING_KEPT, now) or (issued and _expired(issued, now)):
                return True
    return False


def _older(stamp: str | None, seconds: float, now: float) -> bool:
    return bool(stamp) and now - parse_time(str(stamp)) > seconds


def _expired(certificate: bytes, now: float) -> bool:
    try:
        return load_certificates(certificate)[0].not_valid_after_utc.timestamp() < now
    except ValueError:
        return False
