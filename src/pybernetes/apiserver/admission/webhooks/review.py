"""The AdmissionReview: what is sent to a webhook, and what of its answer counts. Pure.

Specified by ``admission.k8s.io/v1`` (and v1beta1, which is still spoken) and ``webhook/request``; the messages are upstream's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ....api.errors import StatusError, go_quote
from ....api.meta import Object
from ....hooks.admission import AdmissionAttributes
from ..matching import Equivalent
from .calling import CallFailed

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")


@dataclass(slots=True)
class Answer:
    """What a webhook decided."""

    allowed: bool
    result: dict[str, Any] | None = None
    patch: list[Any] = field(default_factory=list)
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def version_for(accepted: Sequence[str]) -> str:
    """The first of the webhook's versions that we speak. Raises CallFailed."""
    for version in accepted:
        if version in VERSIONS:
            return version
    raise CallFailed("webhook does not accept known AdmissionReview versions (v1, v1beta1)")


def request_for(attributes: AdmissionAttributes, seen: Equivalent, version: str, uid: str) -> Object:
    """The review to send: the object as the webhook wants to see it, and how the client sent it."""
    a = attributes
    user: dict[str, Any] = {"username": a.user.name}
    if a.user.uid:
        user["uid"] = a.user.uid
    if a.user.groups:
        user["groups"] = list(a.user.groups)
    if a.user.extra:
        user["extra"] = {k: list(v) for k, v in a.user.extra.items()}
    request: dict[str, Any] = {
        "uid": uid,
        "kind": seen.gvk._asdict(),
        "resource": seen.gvr._asdict(),
        "requestKind": a.gvk._asdict(),
        "requestResource": a.gvr._asdict(),
        "operation": a.operation,
        "userInfo": user,
        "object": seen.convert(a.object) if a.object is not None else None,
        "oldObject": seen.convert(a.old_object) if a.old_object is not None else None,
        "dryRun": a.dry_run,
        "options": dict(a.options) or None,
    }
    for name, value in (("name", a.name), ("namespace", a.namespace)):
        if value:
            request[name] = value
    if a.subresource:
        request["subResource"] = request["requestSubResource"] = a.subresource
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def answer_of(review: Any, uid: str, version: str, *, mutating: bool) -> Answer:
    """Raises CallFailed where the answer is not one."""
    if not isinstance(review, dict):
        raise _invalid("webhook response was not an object")
    response = review.get("response")
    if not isinstance(response, dict):
        raise _invalid("webhook response was absent")
    patch, kind = response.get("patch"), response.get("patchType")
    if version == "v1":
        if response.get("uid") != uid:
            raise _invalid(f"expected response.uid={go_quote(uid)}, got {go_quote(response.get('uid') or '')}")
        got = f"{review.get('apiVersion') or ''}, Kind={review.get('kind') or ''}"
        if got != f"{GROUP}/v1, Kind=AdmissionReview":
            raise _invalid(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}")
        _check_patch_fields(patch, kind, mutating)
    if not mutating:
        patch = None
    if patch and version == "v1" and kind != "JSONPatch":
        raise CallFailed(f"unsupported patch type {go_quote(kind)}")
    result = response.get("status")
    annotations = response.get("auditAnnotations")
    warnings = response.get("warnings")
    return Answer(
        bool(response.get("allowed")),
        result if isinstance(result, dict) else None,
        _decoded_patch(patch) if patch else [],
        [w for w in warnings if isinstance(w, str)] if isinstance(warnings, list) else (),
        {k: str(v) for k, v in annotations.items()} if isinstance(annotations, dict) else {},
    )


def _invalid(why: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {why}")


def _check_patch_fields(patch: Any, kind: Any, mutating: bool) -> None:
    if not mutating:
        if patch:
            raise _invalid("validating webhook may not return response.patch")
        if kind is not None:
            raise _invalid("validating webhook may not return response.patchType")
    elif patch and kind is None:
        raise _invalid("webhook returned response.patch but not response.patchType")
    elif not patch and kind is not None:
        raise _invalid("webhook returned response.patchType but not response.patch")
    elif kind == "":
        raise _invalid('webhook returned invalid response.patchType of ""')


def _decoded_patch(patch: Any) -> list[Any]:
    try:
        value = orjson.loads(base64.b64decode(patch, validate=True))
    except (binascii.Error, TypeError, ValueError) as failure:
        raise CallFailed(f"received undecodable patch in webhook response: {failure}") from failure
    if value is not None and not isinstance(value, list):
        raise CallFailed("received undecodable patch in webhook response: not a list")
    return value or []


def rejection(webhook: str, result: Mapping[str, Any] | None) -> StatusError:
    """The refusal of a webhook as the client sees it."""
    result = result or {}
    code = result.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    denied = f"admission webhook {go_quote(webhook)} denied the request"
    message, reason = result.get("message") or "", result.get("reason") or ""
    if message or reason:
        text = f"{denied}: {message or reason}"
    else:
        text = f"{denied} without explanation"
    details = result.get("details")
    return StatusError(code, str(reason), text, dict(details) if isinstance(details, dict) else None)
