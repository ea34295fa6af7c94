"""Who calls the kubelet, and whether they may: client certificates, TokenReview and SubjectAccessReview.

Specified by the "Kubelet authentication/authorization" page. Answers of the API server are kept as long as upstream keeps them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...api.errors import StatusError
from ...client.rest import Client
from ...client.transport import TransportError
from ...concurrency import Clock, logger
from ...hooks.identity import ANONYMOUS, AUTHENTICATED, UserInfo
from ...streams.http_server import HttpRequest
from .subject import subject_of

log = logger("kubelet.server")

TOKEN_TTL = 120.0
ALLOWED_TTL, DENIED_TTL = 300.0, 30.0
MAX_CACHED = 4096

_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

V = TypeVar("V")


class AuthorizationFailed(Exception):
    """The API server could not be asked."""


class _Cache(Generic[V]):
    """Values that live for a while, the oldest dropped when there are too many."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        entry = self._entries.get(key)
        if entry is None or entry[0] < self._clock.monotonic():
            return None
        return entry[1]

    def put(self, key: Hashable, value: V, ttl: float) -> None:
        self._entries[key] = (self._clock.monotonic() + ttl, value)
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_CACHED:
            self._entries.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Allowed:
    value: bool


def subresources_of(path: str) -> list[str]:
    """The subresources of ``nodes`` any of which allows a path, the finest first."""

    def under(root: str) -> bool:
        return path == root or path.startswith(root + "/")

    fine = []
    if under("/pods") or under("/runningpods"):
        fine.append("pods")
    elif under("/healthz"):
        fine.append("healthz")
    elif under("/configz"):
        fine.append("configz")
    for root, name in (("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/checkpoint", "checkpoint")):
        if under(root):
            return [*fine, name]
    return [*fine, "proxy"]


def user_of_certificate(der: bytes) -> UserInfo:
    names, organizations = subject_of(der)
    return UserInfo(names[-1] if names else "", groups=(*organizations, AUTHENTICATED))


class KubeletAuth:
    """Both questions for one node. Without a client only certificates count, and those in ``system:masters`` may all."""

    def __init__(self, node_name: str, client: Client | None, clock: Clock, *, anonymous: bool = False) -> None:
        self._node, self._client, self._anonymous = node_name, client, anonymous
        self._users: _Cache[UserInfo] = _Cache(clock)
        self._decisions: _Cache[_Allowed] = _Cache(clock)

    async def authenticate(self, request: HttpRequest) -> UserInfo | None:
        """None for nobody."""
        if request.client_certificate:
            return user_of_certificate(request.client_certificate)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer" and token:
            return await self._by_token(token)
        return ANONYMOUS if self._anonymous else None

    async def _by_token(self, token: str) -> UserInfo | None:
        known = self._users.get(token)
        if known is not None or self._client is None:
            return known
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        try:
            answer = await self._client.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        except (StatusError, TransportError, TimeoutError) as failure:
            log.error("cannot review a token", reason=str(failure))
            return None
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            return None
        user = _user_of(status.get("user") or {})
        self._users.put(token, user, TOKEN_TTL)
        return user

    async def authorize(self, user: UserInfo, method: str, path: str) -> bool:
        """Whether any of the path's subresources is allowed. Raises AuthorizationFailed."""
        verb = _VERBS.get(method, "")
        for subresource in subresources_of(path):
            if await self._allowed(user, verb, subresource, path):
                return True
        return False

    async def _allowed(self, user: UserInfo, verb: str, subresource: str, path: str) -> bool:
        if self._client is None:
            return "system:masters" in user.groups
        key = (user.name, user.uid, user.groups, verb, subresource)
        known = self._decisions.get(key)
        if known is not None:
            return known.value
        try:
            answer = await self._client.request(
                "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", self._review(user, verb, subresource)
            )
        except (StatusError, TransportError, TimeoutError) as failure:
            log.error("cannot review access", reason=str(failure), user=user.name, path=path)
            raise AuthorizationFailed(
                f"Authorization error (user={user.name}, verb={verb}, resource=nodes, subresource={subresource})"
            ) from failure
        allowed = bool((answer.get("status") or {}).get("allowed"))
        self._decisions.put(key, _Allowed(allowed), ALLOWED_TTL if allowed else DENIED_TTL)
        return allowed

    def _review(self, user: UserInfo, verb: str, subresource: str) -> dict[str, Any]:
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name,
                "uid": user.uid,
                "groups": list(user.groups),
                "extra": {name: list(values) for name, values in user.extra.items()},
                "resourceAttributes": {
                    "verb": verb,
                    "version": "v1",
                    "resource": "nodes",
                    "subresource": subresource,
                    "name": self._node,
                },
            },
        }

    def forbidden(self, user: UserInfo, method: str, path: str) -> str:
        listed = " ".join(subresources_of(path))
        verb = _VERBS.get(method, "")
        return f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{listed}])\n"


def _user_of(user: dict[str, Any]) -> UserInfo:
    extra = {name: tuple(values) for name, values in (user.get("extra") or {}).items()}
    return UserInfo(user.get("username") or "", user.get("uid") or "", tuple(user.get("groups") or ()), extra)
