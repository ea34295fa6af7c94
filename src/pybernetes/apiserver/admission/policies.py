"""ValidatingAdmissionPolicy: validations in CEL, bound to what they apply to, with parameters.

Specified by "Validating Admission Policy" and ``apiserver/pkg/admission/plugin/policy``. Settings: ``equivalents`` (other
versions of a resource) and ``resource_of_kind`` (where the objects of a kind are served).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ...api.cel import CelError
from ...api.cel import celtypes as t
from ...api.errors import StatusError, forbidden
from ...api.expressions import environment
from ...api.meta import Object, name_of
from ...api.resources import GVR
from ...api.selectors import selector_from_object
from ...hooks.admission import AdmissionAttributes, AdmissionContext
from .base import Plugin, object_name
from .expressions import (
    POLICY_BUDGET,
    Budget,
    Conditions,
    Expression,
    bindings,
    compiled,
    namespace_of_write,
)
from .matching import Equivalent, Equivalents, Matcher, is_exempt, rule_matches
from .metrics import AdmissionMetrics

GROUP = "admissionregistration.k8s.io"
POLICIES = GVR(GROUP, "v1", "validatingadmissionpolicies")
BINDINGS = GVR(GROUP, "v1", "validatingadmissionpolicybindings")
FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
MAX_MESSAGE = 5 * 1024
MAX_AUDIT_VALUE = 10 * 1024
CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}

ResourceOfKind = Callable[[str, str], "tuple[GVR, bool] | None"]
"""(apiVersion, kind) to the resource and whether it is namespaced."""


class Misconfigured(Exception):
    """A policy or binding that cannot be used on a write."""


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a validation, or the policy itself, refuses."""

    message: str
    reason: str = ""
    error: str = "no_error"
    """The kind of failure, where it is not the validation that refuses."""


def failure_kind(failure: CelError) -> str:
    """As metrics tell failures of expressions apart."""
    text = str(failure)
    if text.startswith("compilation error"):
        return "compile_error"
    return "out_of_budget" if "running out of cost budget" in text or "cost limit exceeded" in text else "invalid_error"


class Constraints:
    """``matchConstraints`` of a policy, ``matchResources`` of a binding."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._rules: Sequence[Mapping[str, Any]] = spec.get("resourceRules") or ()
        self._excluded: Sequence[Mapping[str, Any]] = spec.get("excludeResourceRules") or ()
        self._matcher = Matcher(spec, ())
        self._equivalent = self._matcher.equivalent

    def match(
        self, a: AdmissionAttributes, context: AdmissionContext, equivalents: Equivalents | None
    ) -> Equivalent | None:
        """As what the write is to be shown. Raises StatusError where its namespace is not there."""
        if self._excluded and self._seen(self._excluded, a, equivalents) is not None:
            return None
        seen = self._seen(self._rules, a, equivalents) if self._rules else Equivalent(a.gvr, a.gvk, _same)
        if seen is None or not self._matcher.match_selectors(a, context.reader):
            return None
        return seen

    def _seen(
        self, rules: Sequence[Mapping[str, Any]], a: AdmissionAttributes, equivalents: Equivalents | None
    ) -> Equivalent | None:
        for rule in rules:
            if _named(rule, a) and rule_matches(rule, a.operation, a.gvr, a.subresource, a.namespace):
                return Equivalent(a.gvr, a.gvk, _same)
        if not self._equivalent or equivalents is None:
            return None
        for rule in rules:
            for other in equivalents(a.gvr, a.subresource) if _named(rule, a) else ():
                if rule_matches(rule, a.operation, other.gvr, a.subresource, a.namespace):
                    return other
        return None


def _same(obj: Object) -> Object:
    return obj


def _named(rule: Mapping[str, Any], a: AdmissionAttributes) -> bool:
    names = rule.get("resourceNames")
    return not names or a.name in names


@dataclass(frozen=True, slots=True)
class Validation:
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str

    def denial(self, values: Mapping[str, Any], budget: Budget) -> Denial:
        message = self._evaluated(values, budget) or self.message.strip()
        return Denial(message or f"failed expression: {self.expression.source.strip()}", self.reason or "Invalid")

    def _evaluated(self, values: Mapping[str, Any], budget: Budget) -> str:
        if self.message_expression is None:
            return ""
        try:
            value = self.message_expression.evaluate({k: v for k, v in values.items() if k != "authorizer"}, budget)
        except CelError:
            return ""
        text = value.strip() if isinstance(value, str) else ""
        return "" if len(text.encode()) > MAX_MESSAGE or "\n" in text else text


class Variables(dict[str, Any]):
    """``variables``: each is worked out when it is first asked for."""

    def __init__(self, expressions: Mapping[str, Expression], values: dict[str, Any], budget: Budget) -> None:
        super().__init__()
        self._expressions, self._values, self._budget = expressions, values, budget

    def __missing__(self, name: str) -> Any:
        expression = self._expressions.get(name)
        if expression is None:
            raise KeyError(name)
        try:
            value = self[name] = expression.evaluate(self._values, self._budget)
        except CelError as failure:
            raise CelError(f'composited variable "{name}" fails to evaluate: {failure}') from failure
        return value


class Policy:
    """One policy, compiled."""

    def __init__(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        self.name = name_of(obj)
        self.fails = spec.get("failurePolicy") != "Ignore"
        self.constraints = Constraints(spec.get("matchConstraints") or {})
        kind = spec.get("paramKind")
        self.param_kind = (kind.get("apiVersion") or "", kind.get("kind") or "") if kind else None
        params = kind is not None
        self.conditions = Conditions.of(spec.get("matchConditions") or (), params=params)
        known = environment(params=params, authorizer=True, variables=True)
        plain = environment(params=params, authorizer=False, variables=True)
        self.variables = {v["name"]: compiled(v["expression"], known, ()) for v in spec.get("variables") or ()}
        self.validations = [
            Validation(
                compiled(v.get("expression") or "", known),
                v.get("message") or "",
                compiled(v["messageExpression"], plain, (t.STRING,)) if v.get("messageExpression") else None,
                v.get("reason") or "",
            )
            for v in spec.get("validations") or ()
        ]
        self.annotations = [
            (n["key"], compiled(n["valueExpression"], known, (t.STRING, t.NULL)))
            for n in spec.get("auditAnnotations") or ()
        ]

    def denials(self, values: dict[str, Any]) -> Iterator[tuple[int, Denial]]:
        """(index, why) of each validation that refuses; what cannot be evaluated refuses where the policy is to fail."""
        try:
            if not self.conditions.hold(values):
                return
        except CelError as failure:
            if self.fails:
                yield 0, Denial(str(failure), error=failure_kind(failure))
            return
        budget = Budget(POLICY_BUDGET)
        values["variables"] = Variables(self.variables, values, budget)
        for index, validation in enumerate(self.validations):
            try:
                holds = validation.expression.evaluate(values, budget)
            except CelError as failure:
                if self.fails:
                    yield index, Denial(str(failure), error=failure_kind(failure))
                continue
            if holds is not True:
                yield index, validation.denial(values, budget)

    def audit(self, values: dict[str, Any]) -> tuple[dict[str, str], list[Denial]]:
        """What goes into the audit log, and the failures that refuse the write."""
        found: dict[str, str] = {}
        failures: list[Denial] = []
        budget = Budget(POLICY_BUDGET)
        for key, expression in self.annotations:
            try:
                value = expression.evaluate(values, budget)
            except CelError as failure:
                if self.fails:
                    failures.append(Denial(str(failure)))
                continue
            if isinstance(value, str) and value.strip():
                found[key] = value.strip().encode()[:MAX_AUDIT_VALUE].decode("utf-8", "ignore")
        return found, failures


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    spec: Mapping[str, Any]
    constraints: Constraints | None

    @classmethod
    def of(cls, obj: Object) -> Binding:
        spec = obj.get("spec") or {}
        resources = spec.get("matchResources")
        return cls(name_of(obj), spec, Constraints(resources) if resources else None)


class BoundPolicies(Plugin):
    """Policies of one kind, compiled and with their bindings, as far as they have any."""

    policies, bindings = POLICIES, BINDINGS

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._equivalents: Equivalents | None = context.settings.get("equivalents")
        self._resource_of_kind: ResourceOfKind | None = context.settings.get("resource_of_kind")
        self._metrics: AdmissionMetrics = context.settings.get("metrics") or AdmissionMetrics()
        self._bound: list[tuple[Any, list[Binding]]] | None = None
        self._compiled: dict[str, tuple[Object, Any]] = {}
        for gvr in (self.policies, self.bindings):
            self.reader.subscribe(gvr, self._changed)

    def _changed(self, *event: object) -> None:
        self._bound = None

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return not is_exempt(gvr)

    def _policies(self) -> list[tuple[Any, list[Binding]]]:
        """Those that are bound, by name."""
        if self._bound is None:
            by_policy: dict[str, list[Binding]] = {}
            for obj in sorted(self.reader.list(self.bindings), key=name_of):
                binding = Binding.of(obj)
                by_policy.setdefault(binding.spec.get("policyName") or "", []).append(binding)
            objects = {name_of(o): o for o in self.reader.list(self.policies)}
            self._compiled = {n: self._compile(o) for n, o in objects.items() if n in by_policy}
            self._bound = [(policy, by_policy[name]) for name, (_, policy) in sorted(self._compiled.items())]
        return self._bound

    def _compile(self, obj: Object) -> tuple[Object, Any]:
        known = self._compiled.get(name_of(obj))
        if known is not None and known[0].get("spec") == obj.get("spec"):
            return known
        return obj, self._make(obj)

    def _make(self, obj: Object) -> Any:
        raise NotImplementedError

    def _params(
        self, param_kind: tuple[str, str] | None, binding: Binding, a: AdmissionAttributes
    ) -> Sequence[Object | None]:
        """Raises Misconfigured."""
        reference = binding.spec.get("paramRef")
        if param_kind is None or not reference:
            return (None,)
        version, kind = param_kind
        served = self._resource_of_kind(version, kind) if self._resource_of_kind else None
        if served is None:
            raise Misconfigured(f"paramKind kind `{version}, Kind={kind}` not known")
        gvr, namespaced = served
        namespace = reference.get("namespace") or ""
        if namespace and not namespaced:
            raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        if namespaced and not namespace:
            namespace = a.namespace
            if not namespace:
                words = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                raise Misconfigured(words)
        found = self._select(gvr, namespace, reference)
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [{"apiVersion": version, "kind": kind, **o} for o in found]

    def _select(self, gvr: GVR, namespace: str, reference: Mapping[str, Any]) -> list[Object]:
        name = reference.get("name")
        if name:
            one = self.reader.get(gvr, namespace, name)
            return [one] if one is not None else []
        selector = selector_from_object(reference.get("selector") or {})
        return [o for o in self.reader.list(gvr, namespace) if selector.matches(o["metadata"].get("labels") or {})]


class ValidatingAdmissionPolicy(BoundPolicies):
    """Runs the validations of all policies that are bound to a write."""

    name = "ValidatingAdmissionPolicy"

    def _make(self, obj: Object) -> Policy:
        return Policy(obj)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        bound = self._policies()
        if not bound:
            return
        refusals: list[StatusError] = []
        for policy, policy_bindings in bound:
            refusals += self._run(policy, policy_bindings, attributes)
        if refusals:
            raise refusals[0]

    def _run(self, policy: Policy, policy_bindings: Sequence[Binding], a: AdmissionAttributes) -> Iterator[StatusError]:
        try:
            seen = policy.constraints.match(a, self.context, self._equivalents)
        except StatusError as failure:
            if policy.fails:
                yield refusal(a, policy, None, Denial(f"failed to configure policy: {failure}"))
            return
        if seen is None:
            return
        annotations: dict[str, list[str]] = {}
        for binding in policy_bindings:
            try:
                if binding.constraints and binding.constraints.match(a, self.context, self._equivalents) is None:
                    continue
                params = self._params(policy.param_kind, binding, a)
            except (StatusError, Misconfigured) as failure:
                if policy.fails:
                    yield refusal(a, policy, binding, Denial(f"failed to configure binding: {failure}"))
                continue
            for param in params:
                yield from self._evaluate(policy, binding, a, seen, param, annotations)
        for key, values in annotations.items():
            a.audit_annotations[f"{policy.name}/{key}"] = ", ".join(dict.fromkeys(values))

    def _evaluate(
        self,
        policy: Policy,
        binding: Binding,
        a: AdmissionAttributes,
        seen: Equivalent,
        param: Object | None,
        annotations: dict[str, list[str]],
    ) -> Iterator[StatusError]:
        values = bindings(a, seen, self.context.authorizer, namespace_of_write(a, self.reader), param)
        clock, refused = self.context.clock, 0
        began = clock.monotonic()
        for index, denial in policy.denials(values):
            refused += 1
            actions = binding.spec.get("validationActions") or ()
            for action in actions:
                elapsed = clock.monotonic() - began
                self._metrics.policy(policy.name, binding.name, action.lower(), denial.error, elapsed)
            if "Deny" in actions:
                yield refusal(a, policy, binding, denial)
            if "Warn" in actions:
                words = (
                    f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': "
                )
                a.warnings.append(words + denial.message)
            if "Audit" in actions:
                a.audit_annotations[FAILURE_KEY] = _failure_note(policy, binding, index, denial, actions)
        if not refused:
            self._metrics.policy(policy.name, binding.name, "allow", "no_error", clock.monotonic() - began)
        if "variables" in values:
            found, failures = policy.audit(values)
            for key, value in found.items():
                annotations.setdefault(key, []).append(value)
            yield from (refusal(a, policy, binding, denial) for denial in failures)


def refusal(a: AdmissionAttributes, policy: Policy, binding: Binding | None, denial: Denial) -> StatusError:
    with_binding = f" with binding '{binding.name}'" if binding is not None else ""
    message = f"ValidatingAdmissionPolicy '{policy.name}'{with_binding} denied request: {denial.message}"
    error = forbidden(a.gvr.group, a.gvr.resource, object_name(a), message)
    reason = denial.reason or "Invalid"
    details = {**(error.details or {}), "causes": [{"message": message}]}
    return StatusError(CODES.get(reason, 422), reason, error.message, details)


def _failure_note(policy: Policy, binding: Binding, index: int, denial: Denial, actions: Sequence[str]) -> str:
    note = {
        "message": denial.message,
        "policy": policy.name,
        "binding": binding.name,
        "expressionIndex": index,
        "validationActions": list(actions),
    }
    return orjson.dumps([note]).decode()
