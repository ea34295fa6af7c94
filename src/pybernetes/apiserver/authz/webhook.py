"""The Webhook mode: asks another service by SubjectAccessReview. Specified by "Webhook Mode" (``--authorization-webhook-*``)."""

from __future__ import annotations

from typing import Any

from ...api.errors import StatusError
from ...api.meta import Object
from ...client.rest import Client
from ...client.transport import TransportError
from ...concurrency import Clock, logger
from ...hooks.authorization import Attributes, Decision, Verdict

log = logger("apiserver.authz")


def review_of(attributes: Attributes) -> Object:
    """The SubjectAccessReview that asks for these attributes."""
    user = attributes.user
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {k: list(v) for k, v in user.extra.items()}
    if attributes.resource:
        fields = {
            "namespace": attributes.namespace,
            "verb": attributes.verb,
            "group": attributes.group,
            "version": attributes.version,
            "resource": attributes.resource,
            "subresource": attributes.subresource,
            "name": attributes.name,
        }
        spec["resourceAttributes"] = {k: v for k, v in fields.items() if v}
    else:
        spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


class WebhookAuthorizer:
    """Answers are remembered: five minutes where allowed, half a minute where not. An unreachable service has no opinion."""

    label = "webhook authorizer"
    MAX_ENTRIES = 8192

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        path: str = "/",
        allowed_ttl: float = 300.0,
        refused_ttl: float = 30.0,
        timeout: float = 30.0,
    ) -> None:
        self._client, self._clock, self._path, self._timeout = client, clock, path, timeout
        self._ttl = {True: allowed_ttl, False: refused_ttl}
        self._known: dict[tuple[Any, ...], tuple[float, Verdict]] = {}

    async def authorize(self, attributes: Attributes) -> Verdict:
        user = attributes.user
        key = (
            user.name, user.uid, user.groups, tuple(sorted(user.extra.items())), attributes.verb, attributes.group,
            attributes.version, attributes.resource, attributes.subresource, attributes.namespace, attributes.name,
            attributes.path, attributes.field_selector, attributes.label_selector,
        )  # fmt: skip
        known = self._known.get(key)
        if known is not None and known[0] > self._clock.monotonic():
            return known[1]
        verdict = await self._ask(attributes)
        if verdict is None:
            return Verdict(Decision.NO_OPINION, "the authorization webhook could not be asked")
        if len(self._known) >= self.MAX_ENTRIES:
            self._known.clear()
        self._known[key] = (self._clock.monotonic() + self._ttl[verdict.decision is Decision.ALLOW], verdict)
        return verdict

    async def _ask(self, attributes: Attributes) -> Verdict | None:
        try:
            answer = await self._client.request("POST", self._path, review_of(attributes), timeout=self._timeout)
        except (StatusError, TransportError, TimeoutError, ValueError) as failure:
            log.error("cannot ask the authorization webhook", error=str(failure))
            return None
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict):
            log.error("the authorization webhook's answer is not a SubjectAccessReview")
            return None
        reason = str(status.get("reason") or "")
        if status.get("allowed") and status.get("denied"):
            log.error("the authorization webhook both allows and denies")
            return Verdict(Decision.DENY, reason)
        if status.get("allowed"):
            return Verdict(Decision.ALLOW, reason)
        return Verdict(Decision.DENY if status.get("denied") else Decision.NO_OPINION, reason)
