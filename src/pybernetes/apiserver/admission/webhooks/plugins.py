"""The two plugins: mutating webhooks one after the other, validating ones all at once.

Where a mutating webhook changed the object, the mutating plugins before it run once more, and then those webhooks that asked for
it (``reinvocationPolicy: IfNeeded``). Settings: ``equivalents`` (other versions of a resource), ``complete`` (decoding and
defaulting of what a webhook made), ``rng``.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ....api.errors import StatusError, bad_request, go_quote, internal_error
from ....api.meta import Object, name_of
from ....api.patch import json_patch
from ....api.resources import GVR
from ....concurrency import logger
from ....hooks.admission import AdmissionAttributes, AdmissionContext, AdmissionPlugin
from ...services import ServiceResolver
from ..base import Plugin
from ..matching import Equivalent, Equivalents, Matcher, is_exempt
from ..metrics import ADMIT, CALLING, NO_ERROR, AdmissionMetrics
from ..metrics import VALIDATING as VALIDATING_TYPE
from .calling import CallFailed, WebhookCaller
from .conditions import Conditions
from .review import Answer, answer_of, rejection, request_for, version_for

log = logger("apiserver.admission.webhooks")

GROUP = "admissionregistration.k8s.io"
MUTATING = GVR(GROUP, "v1", "mutatingwebhookconfigurations")
VALIDATING = GVR(GROUP, "v1", "validatingwebhookconfigurations")
DEFAULT_TIMEOUT = 10
MUTATION_KEY = "mutation.webhook.admission.k8s.io/"
PATCH_KEY = "patch.webhook.admission.k8s.io/"

Complete = Callable[[GVR, str, Object], Object]


class Hook:
    """One webhook of a configuration."""

    def __init__(self, configuration: str, index: int, spec: dict[str, Any]) -> None:
        self.configuration, self.name = configuration, spec.get("name") or ""
        self.uid = f"{configuration}/{self.name}/{index}"
        self.spec = spec
        self.matcher = Matcher(spec, spec.get("rules") or ())
        self.ignore_failures = spec.get("failurePolicy") == "Ignore"
        self.timeout = float(spec.get("timeoutSeconds") or DEFAULT_TIMEOUT)
        self.reinvocable = spec.get("reinvocationPolicy") == "IfNeeded"
        self.has_side_effects = spec.get("sideEffects") not in ("None", "NoneOnDryRun")
        self.conditions = Conditions(spec.get("matchConditions") or (), spec.get("failurePolicy") or "Fail")


class _Webhooks(Plugin):
    """What both kinds share: the configurations in force, and which webhooks a write is for."""

    source = MUTATING

    def __init__(self, context: AdmissionContext, caller: WebhookCaller | None = None) -> None:
        super().__init__(context)
        rng = context.settings.get("rng") or random.Random()
        users = context.settings.get(f"users-of-{self.name}")
        self._caller = caller or WebhookCaller(ServiceResolver(context.reader, rng), context.clock, users)
        self._equivalents: Equivalents | None = context.settings.get("equivalents")
        self._metrics: AdmissionMetrics = context.settings.get("metrics") or AdmissionMetrics()
        self._hooks: tuple[Hook, ...] | None = None
        self._relevant: dict[tuple[str, GVR, str, bool], tuple[tuple[Hook, Equivalent], ...]] = {}
        self.reader.subscribe(self.source, self._changed)

    def _changed(self, *event: object) -> None:
        self._hooks = None
        self._relevant.clear()

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return not is_exempt(gvr)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """By the names of their configurations, and in each in its order."""
        if self._hooks is None:
            configurations = sorted(self.reader.list(self.source), key=name_of)
            self._hooks = tuple(
                Hook(name_of(c), i, spec) for c in configurations for i, spec in enumerate(c.get("webhooks") or ())
            )
        return self._hooks

    def _candidates(self, a: AdmissionAttributes) -> tuple[tuple[Hook, Equivalent], ...]:
        """Those whose rules name such a write; found once for each kind of write."""
        key = (a.operation, a.gvr, a.subresource, bool(a.namespace))
        found = self._relevant.get(key)
        if found is None:
            pairs = (
                (h, h.matcher.match_rules(a.operation, a.gvr, a.gvk, a.subresource, a.namespace, self._equivalents))
                for h in self.hooks
            )
            found = self._relevant[key] = tuple((h, seen) for h, seen in pairs if seen is not None)
        return found

    def _applies(self, hook: Hook, seen: Equivalent, a: AdmissionAttributes) -> bool:
        """Selectors and conditions. Raises StatusError where a condition fails and the policy is to fail."""
        if not hook.matcher.match_selectors(a, self.reader):
            return False
        return hook.conditions.hold(a, seen, self.context.authorizer)

    async def _ask(self, hook: Hook, seen: Equivalent, a: AdmissionAttributes, *, mutating: bool) -> Answer:
        """Raises CallFailed, and StatusError 400 where the webhook cannot be asked in a dry run."""
        if a.dry_run and hook.has_side_effects:
            raise bad_request(f"admission webhook {go_quote(hook.name)} does not support dry run")
        began, kind = self.context.clock.monotonic(), ADMIT if mutating else VALIDATING_TYPE
        code, error = 500, CALLING
        try:
            answer = await self._exchange(hook, seen, a, mutating=mutating)
            code, error = 200 if answer.allowed else rejection(hook.name, answer.result).code, NO_ERROR
        finally:
            seconds = self.context.clock.monotonic() - began
            self._metrics.webhook(hook.name, kind, a.operation, seconds, code, error)
            if mutating:
                a.waited += seconds
        for key, value in answer.annotations.items():
            a.audit_annotations[f"{hook.name}/{key}"] = value
        a.warnings.extend(answer.warnings)
        return answer

    async def _exchange(self, hook: Hook, seen: Equivalent, a: AdmissionAttributes, *, mutating: bool) -> Answer:
        """Raises CallFailed."""
        version = version_for(hook.spec.get("admissionReviewVersions") or ())
        uid = str(uuid.uuid4())
        review = request_for(a, seen, version, uid)
        try:
            answered = await self._caller.call(hook.spec.get("clientConfig") or {}, review, hook.timeout)
        except CallFailed as failure:
            raise CallFailed(f"failed to call webhook: {failure}") from failure
        return answer_of(answered, uid, version, mutating=mutating)

    def _failed(self, hook: Hook, failure: CallFailed, a: AdmissionAttributes, key: str) -> StatusError | None:
        """The error that the client gets; None where the webhook may fail."""
        words = f"failed calling webhook {go_quote(hook.name)}: {failure}"
        if not hook.ignore_failures:
            log.warning("failed calling webhook, failing closed", webhook=hook.name, error=str(failure))
            return internal_error(words)
        log.warning("failed calling webhook, failing open", webhook=hook.name, error=str(failure))
        a.audit_annotations[f"failed-open.{key}"] = hook.name
        self._metrics.fail_open(hook.name, ADMIT if self.source == MUTATING else VALIDATING_TYPE)
        return None


class ValidatingAdmissionWebhook(_Webhooks):
    name = "ValidatingAdmissionWebhook"
    source = VALIDATING

    async def validate(self, attributes: AdmissionAttributes) -> None:
        if not self.hooks or not (candidates := self._candidates(attributes)):
            return
        applying = [(h, s) for h, s in candidates if self._applies(h, s, attributes)]
        refusals: list[StatusError | None] = [None] * len(applying)
        began = self.context.clock.monotonic()

        async def ask(index: int, hook: Hook, seen: Equivalent) -> None:
            try:
                answer = await self._ask(hook, seen, attributes, mutating=False)
            except CallFailed as failure:
                key = f"validating.webhook.admission.k8s.io/round_0_index_{index}"
                refusals[index] = self._failed(hook, failure, attributes, key)
            except StatusError as failure:
                refusals[index] = failure
            else:
                refusals[index] = None if answer.allowed else rejection(hook.name, answer.result)

        if len(applying) == 1:
            await ask(0, *applying[0])
        else:
            async with asyncio.TaskGroup() as group:
                for index, (hook, seen) in enumerate(applying):
                    group.create_task(ask(index, hook, seen))
        attributes.waited += self.context.clock.monotonic() - began
        refusal = next((r for r in refusals if r is not None), None)
        if refusal is not None:
            raise refusal


class MutatingAdmissionWebhook(_Webhooks):
    name = "MutatingAdmissionWebhook"
    source = MUTATING

    def __init__(self, context: AdmissionContext, caller: WebhookCaller | None = None) -> None:
        super().__init__(context, caller)
        self._complete: Complete | None = context.settings.get("complete")
        self.earlier: Sequence[AdmissionPlugin] = ()
        """The plugins before this one; set by who builds the chain."""

    async def admit(self, attributes: AdmissionAttributes) -> None:
        if not self.hooks or not self._candidates(attributes):
            return
        again = await self._round(attributes, 0, None)
        if again is None:
            return
        before = orjson.dumps(attributes.object)
        for plugin in self.earlier:
            if plugin.handles(attributes.operation, attributes.gvr, attributes.subresource):
                await plugin.admit(attributes)
        required, invoked = again
        if orjson.dumps(attributes.object) != before:
            required = invoked
        if required:
            await self._round(attributes, 1, required)

    async def _round(
        self, a: AdmissionAttributes, number: int, only: frozenset[str] | None
    ) -> tuple[frozenset[str], frozenset[str]] | None:
        """Asks the webhooks in turn. (who must be asked again, who may be); None where nothing has changed."""
        invoked: set[str] = set()
        required: set[str] = set()
        changed = False
        for index, (hook, seen) in enumerate(self._candidates(a)):
            if (only is not None and hook.uid not in only) or not self._applies(hook, seen, a):
                continue
            place = f"round_{number}_index_{index}"
            try:
                mutated = await self._mutate(hook, seen, a, place)
            except CallFailed as failure:
                error = self._failed(hook, failure, a, MUTATION_KEY + place)
                if error is not None:
                    raise error from failure
                mutated = False
            if mutated:
                changed = True
                required |= invoked
            if hook.reinvocable:
                invoked.add(hook.uid)
        return (frozenset(required), frozenset(invoked)) if changed else None

    async def _mutate(self, hook: Hook, seen: Equivalent, a: AdmissionAttributes, place: str) -> bool:
        """Whether the webhook changed the object. Raises CallFailed and StatusError."""
        changed = False
        try:
            answer = await self._ask(hook, seen, a, mutating=True)
            if not answer.allowed:
                raise rejection(hook.name, answer.result)
            if answer.patch:
                changed = self._apply(hook, seen, a, answer.patch)
                note = {"configuration": hook.configuration, "webhook": hook.name, "patch": answer.patch}
                a.audit_annotations[PATCH_KEY + place] = _json({**note, "patchType": "JSONPatch"})
        finally:
            note = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
            a.audit_annotations[MUTATION_KEY + place] = _json(note)
        return changed

    def _apply(self, hook: Hook, seen: Equivalent, a: AdmissionAttributes, patch: list[Any]) -> bool:
        if a.object is None:
            words = f"admission webhook {go_quote(hook.name)} attempted to modify the object"
            raise internal_error(f"{words}, which is not supported for this operation")
        shown = seen.convert(a.object)
        try:
            patched = json_patch(orjson.loads(orjson.dumps(shown)), patch)
        except StatusError as failure:
            raise internal_error(failure.message) from failure
        if not isinstance(patched, dict):
            raise internal_error(f"admission webhook {go_quote(hook.name)} made something that is no object")
        for field in ("apiVersion", "kind"):
            if shown.get(field) is not None and patched.get(field) != shown.get(field):
                raise internal_error(f"admission webhook {go_quote(hook.name)} attempted to change the {field}")
        if seen.gvr != a.gvr:
            patched = self._back(seen, a, patched)
        if self._complete is not None:
            try:
                patched = self._complete(a.gvr, a.gvk.kind, patched)
            except StatusError as failure:
                raise internal_error(failure.message) from failure
        changed = patched != a.object
        a.object = patched
        return changed

    def _back(self, seen: Equivalent, a: AdmissionAttributes, patched: Object) -> Object:
        """From the version that the webhook wanted to the one of the request."""
        for other in self._equivalents(seen.gvr, a.subresource) if self._equivalents else ():
            if other.gvr == a.gvr:
                return other.convert(patched)
        raise internal_error(f"unable to convert {seen.gvk} to {a.gvk}")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
