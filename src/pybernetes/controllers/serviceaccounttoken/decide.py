"""What a token Secret lacks. Pure. Semantics of upstream's ``tokens_controller``."""

from __future__ import annotations

import base64
from collections.abc import Callable

from ...api.meta import Object, annotations_of, name_of, namespace_of, uid_of
from ...api.resources import SECRETS
from ..commands import Command, Delete, Update
from ..values import with_metadata

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


def is_token(secret: Object) -> bool:
    return secret.get("type") == TYPE


def account_of(secret: Object) -> str:
    return annotations_of(secret).get(NAME, "")


def belongs_to(secret: Object, account: Object) -> bool:
    uid = annotations_of(secret).get(UID)
    return account_of(secret) == name_of(account) and uid in (None, "", uid_of(account))


def decide(secret: Object, account: Object | None, root_ca: bytes, token: Callable[[], str]) -> list[Command]:
    """``token`` makes a new one; it is called only where one is missing."""
    if not is_token(secret) or not account_of(secret):
        return []
    if account is None or not belongs_to(secret, account):
        return [Delete(SECRETS, secret)]
    data = dict(secret.get("data") or {})
    if root_ca:
        data["ca.crt"] = base64.b64encode(root_ca).decode()
    data.setdefault("namespace", base64.b64encode(namespace_of(secret).encode()).decode())
    if not data.get("token"):
        data["token"] = base64.b64encode(token().encode()).decode()
    if data == (secret.get("data") or {}):
        return []
    annotations = {**annotations_of(secret), NAME: name_of(account), UID: uid_of(account)}
    return [Update(SECRETS, {**with_metadata(secret, annotations=annotations), "data": data})]
