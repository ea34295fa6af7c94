"""Expiry and signatures of bootstrap tokens. Pure. Specified by "Authenticating with Bootstrap Tokens"."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable

import orjson

from ...api.meta import Object, is_deleting, name_of
from ...api.times import parse_time

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
_NAME = re.compile(r"bootstrap-token-([a-z0-9]{6})")
_SIGNATURE_PREFIX = "jws-kubeconfig-"


def _field(secret: Object, name: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(name) or "").decode()
    except ValueError:
        return ""


def expires_at(secret: Object) -> float | None:
    """None: never; the past for a time that cannot be read, as upstream."""
    if secret.get("type") != TYPE:
        return None
    text = _field(secret, "expiration")
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return 0.0


def signing_token(secret: Object, now: float) -> tuple[str, str] | None:
    """(id, secret) of a token that may sign."""
    match = _NAME.fullmatch(name_of(secret))
    if match is None or secret.get("type") != TYPE or is_deleting(secret):
        return None
    identity, value = _field(secret, "token-id"), _field(secret, "token-secret")
    due = expires_at(secret)
    if identity != match[1] or not value or _field(secret, "usage-bootstrap-signing") != "true":
        return None
    return None if due is not None and due <= now else (identity, value)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def detached_signature(content: str, identity: str, value: str) -> str:
    """A JWS (HS256) without its payload."""
    header = _b64(orjson.dumps({"alg": "HS256", "kid": identity}))
    signed = f"{header}.{_b64(content.encode())}".encode()
    return f"{header}..{_b64(hmac.new(value.encode(), signed, hashlib.sha256).digest())}"


def signed(cluster_info: Object, secrets: Iterable[Object], now: float) -> Object | None:
    """The ConfigMap with the signatures of all tokens, and of no others; None where it has them."""
    data = cluster_info.get("data") or {}
    content = data.get("kubeconfig")
    if content is None:
        return None
    wanted = {k: v for k, v in data.items() if not k.startswith(_SIGNATURE_PREFIX)}
    for secret in secrets:
        token = signing_token(secret, now)
        if token is not None:
            wanted[_SIGNATURE_PREFIX + token[0]] = detached_signature(content, *token)
    return None if wanted == data else {**cluster_info, "data": wanted}
