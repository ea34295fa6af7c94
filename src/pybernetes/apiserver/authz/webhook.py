"""The Webhook mode: asks another service by SubjectAccessReview.

Specified by "Webhook Mode", AuthorizationConfiguration's ``webhook`` and ``apiserver/plugin/pkg/authorizer/webhook``.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

from ...api.meta import Object
from ...api.selectors import SelectorError, parse_field_selector, parse_label_selector
from ...client.rest import Client
from ...concurrency import Clock, logger
from ...hooks.authorization import Attributes, Decision, Verdict
from ..outcalls import FAILURES, Outcall, result_of
from .conditions import ConditionsFailed, compile_condition, matches, request_of
from .configuration import WebhookSettings
from .metrics import AuthorizationMetrics

log = logger("apiserver.authz")

LONGEST_REMEMBERED = 10_000
"""Characters of a question; longer ones are not kept, lest a client fills the memory with them."""
BOTH = "webhook subject access review returned both allow and deny response"


def review_of(attributes: Attributes, version: str = "v1") -> Object:
    """The SubjectAccessReview that asks for these attributes."""
    spec = spec_of(attributes)
    if version == "v1beta1" and "groups" in spec:
        spec["group"] = spec.pop("groups")
    return {"apiVersion": f"authorization.k8s.io/{version}", "kind": "SubjectAccessReview", "spec": spec}


def spec_of(attributes: Attributes) -> dict[str, Any]:
    user = attributes.user
    spec: dict[str, Any] = {}
    if attributes.resource:
        fields: dict[str, Any] = {
            "namespace": attributes.namespace,
            "verb": attributes.verb,
            "group": attributes.group,
            "version": attributes.version,
            "resource": attributes.resource,
            "subresource": attributes.subresource,
            "name": attributes.name,
            "fieldSelector": _field_requirements(attributes.field_selector),
            "labelSelector": _label_requirements(attributes.label_selector),
        }
        spec["resourceAttributes"] = {k: v for k, v in fields.items() if v}
    else:
        spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
    spec["user"] = user.name
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {k: list(v) for k, v in user.extra.items()}
    if user.uid:
        spec["uid"] = user.uid
    return spec


def _field_requirements(selector: str) -> dict[str, Any] | None:
    try:
        found = parse_field_selector(selector).requirements if selector else ()
    except SelectorError:
        return None
    asked = [{"key": r.field, "operator": "NotIn" if r.negated else "In", "values": [r.value]} for r in found]
    return {"requirements": asked} if asked else None


def _label_requirements(selector: str) -> dict[str, Any] | None:
    """What of the selector the API can say: a question that is narrowed by less is the wider one."""
    try:
        found = parse_label_selector(selector).requirements if selector else ()
    except SelectorError:
        return None
    asked = []
    for r in found:
        if r.operator in ("In", "NotIn", "Exists", "DoesNotExist"):
            values = {"values": sorted(r.values)} if r.values else {}
            asked.append({"key": r.key, "operator": r.operator, **values})
    return {"requirements": asked} if asked else None


class _Pause:
    """Lets the event loop run once. Who asks for an answer at once stops here, before anything has been sent."""

    def __await__(self) -> Generator[None]:
        yield


class WebhookAuthorizer:
    """Answers are remembered. A service that cannot be asked has no opinion, or forbids, as it is configured."""

    label = "webhook authorizer"
    MAX_ENTRIES = 8192

    def __init__(
        self,
        client: Client,
        clock: Clock,
        settings: WebhookSettings,
        *,
        path: str = "/",
        name: str = "default",
        metrics: AuthorizationMetrics | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._clock, self._settings, self._name = clock, settings, name
        self._metrics = metrics = metrics or AuthorizationMetrics()
        self._service = Outcall(
            client,
            path,
            clock,
            rng or random.Random(),
            timeout=settings.timeout,
            count=lambda result, seconds: metrics.called(name, result, seconds),
        )
        self._conditions = [compile_condition(c) for c in settings.conditions]
        self._ttl = {True: settings.allowed_ttl, False: settings.refused_ttl}
        self._known: dict[tuple[Any, ...], tuple[float, Verdict]] = {}
        self._on_error = Decision.DENY if settings.fail_closed else Decision.NO_OPINION

    def close(self) -> None:
        self._service.close()

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
        await _Pause()
        if self._conditions:
            excluded = self._excluded(attributes)
            if excluded is not None:
                return excluded
        try:
            status = await self._service.post(review_of(attributes, self._settings.version), _status_of)
        except FAILURES as failure:
            log.error("failed to make webhook authorizer request", webhook=self._name, error=str(failure))
            if not self._settings.fail_closed:
                self._metrics.failed_open(self._name, result_of(failure))
            return Verdict(self._on_error, error=self._service.words(failure))
        verdict, allowed = _verdict(status)
        self._remember(key, verdict, self._ttl[allowed])
        return verdict

    def _excluded(self, attributes: Attributes) -> Verdict | None:
        """The answer where the conditions say not to ask, or cannot be evaluated."""
        started = self._clock.monotonic()
        error = ""
        excluded = False
        try:
            excluded = not matches(self._conditions, request_of(spec_of(attributes)))
        except ConditionsFailed as failure:
            error = str(failure)
        seconds = self._clock.monotonic() - started
        self._metrics.conditions(self._name, seconds, excluded=excluded, failed=bool(error))
        if error:
            return Verdict(self._on_error, error=error)
        return Verdict(Decision.NO_OPINION) if excluded else None

    def _remember(self, key: tuple[Any, ...], verdict: Verdict, ttl: float) -> None:
        if ttl <= 0 or sum(map(len, key[4:12])) >= LONGEST_REMEMBERED:
            return
        if len(self._known) >= self.MAX_ENTRIES:
            # The oldest first: a dictionary keeps the order of its making.
            self._known.pop(next(iter(self._known)))
        self._known.pop(key, None)
        self._known[key] = (self._clock.monotonic() + ttl, verdict)


def _status_of(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or answer.get("kind") != "SubjectAccessReview":
        raise ValueError("the answer is not a SubjectAccessReview")
    if str(answer.get("apiVersion")).partition("/")[0] != "authorization.k8s.io":
        raise ValueError("the answer is not a SubjectAccessReview of authorization.k8s.io")
    status = answer.get("status") or {}
    if not isinstance(status, dict):
        raise ValueError("the answer's status is not an object")
    for name, type_ in (("allowed", bool), ("denied", bool), ("reason", str)):
        if not isinstance(status.get(name, type_()), type_):
            raise ValueError(f"the answer's status.{name} is not a {type_.__name__}")
    return status


def _verdict(status: dict[str, Any]) -> tuple[Verdict, bool]:
    allowed, denied = bool(status.get("allowed")), bool(status.get("denied"))
    reason = status.get("reason") or ""
    if allowed and denied:
        return Verdict(Decision.DENY, reason, BOTH), True
    if denied:
        return Verdict(Decision.DENY, reason), False
    return Verdict(Decision.ALLOW if allowed else Decision.NO_OPINION, reason), allowed


def webhook_of(
    settings: WebhookSettings, name: str, clock: Clock, metrics: AuthorizationMetrics, rng: random.Random
) -> WebhookAuthorizer:
    """From the kubeconfig that names the service. Raises KubeconfigError or OSError."""
    from ...client.kubeconfig import client_from_kubeconfig, current_server

    path = urlsplit(current_server(settings.kubeconfig)).path or "/"
    client = client_from_kubeconfig(settings.kubeconfig, clock=clock, user_agent="kube-apiserver")
    return WebhookAuthorizer(client, clock, settings, path=path, name=name, metrics=metrics, rng=rng)
