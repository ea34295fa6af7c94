"""MutatingAdmissionPolicy: objects changed by what expressions make, an apply configuration or a JSON patch.

Where a policy changed the object, the plugins before this one run once more, and then those policies that asked for it
(``reinvocationPolicy: IfNeeded``); they do so again where a webhook changed it after. Specified by "Mutating Admission Policy" and
``apiserver/pkg/admission/plugin/policy/mutating``. Settings: as for validating policies, ``schema_of`` (the schema of a resource)
and ``complete`` (decoding and defaulting of what was made).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import orjson

from ...api.cel import CelError
from ...api.errors import StatusError, forbidden, go_quote, internal_error
from ...api.expressions import environment, misplaced, mutation_environment
from ...api.managedfields import TypedError, overlay
from ...api.meta import Object, name_of
from ...api.patch import json_patch
from ...api.resources import GVR
from ...api.schema import Schema
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext, AdmissionPlugin
from .base import object_name
from .expressions import POLICY_BUDGET, Budget, Conditions, Expression, bindings, compiled, namespace_of_write
from .matching import Equivalent, is_exempt
from .policies import GROUP, Binding, BoundPolicies, Constraints, Misconfigured, Variables

POLICIES = GVR(GROUP, "v1", "mutatingadmissionpolicies")
BINDINGS = GVR(GROUP, "v1", "mutatingadmissionpolicybindings")
Complete = Callable[[GVR, str, Object], Object]
SchemaOf = Callable[[GVR], Schema | None]
Key = tuple[str, str, str, str]
"""Policy, binding, and namespace and name of the parameter: one use of a policy."""


class Failed(Exception):
    """A mutation that could not be made; the policy says whether that refuses the write."""


class Mutation:
    """One change: an expression and what its value is."""

    def __init__(self, spec: Mapping[str, Any], *, params: bool) -> None:
        self._is_patch = spec.get("patchType") == "JSONPatch"
        part = spec.get("jsonPatch" if self._is_patch else "applyConfiguration") or {}
        self._expression = _compiled_mutation(part.get("expression") or "", is_patch=self._is_patch, params=params)

    def apply(self, shown: Object, schema: Schema | None, values: Mapping[str, Any], budget: Budget) -> Object:
        """The object as this changes it; itself where a patch's own test fails. Raises Failed."""
        try:
            made = plain(self._expression.evaluate(values, budget))
        except CelError as failure:
            raise Failed(str(failure)) from failure
        if self._is_patch:
            return self._patched(shown, made)
        if schema is None:
            raise Failed(f"Resource kind {shown.get('kind')} not found")
        made["apiVersion"], made["kind"] = shown.get("apiVersion"), shown.get("kind")
        try:
            return overlay(schema, shown, made)
        except TypedError as failure:
            raise Failed(f"error applying patch: {failure}") from failure

    @staticmethod
    def _patched(shown: Object, operations: list[Object]) -> Object:
        written: Object = orjson.loads(orjson.dumps(shown))
        done: list[Object] = []
        for operation in operations:
            done.append({k: v for k, v in operation.items() if k != "from" or v})
            try:
                json_patch(written, done)
            except StatusError as failure:
                if operation.get("op") == "test":
                    return shown
                raise Failed(f"JSON Patch: {failure.message}") from failure
        return json_patch(written, done)


def _compiled_mutation(source: str, *, is_patch: bool, params: bool) -> Expression:
    expression = compiled(source, mutation_environment(params=params), ())
    if expression.program is None:
        return expression
    wanted = "list(JSONPatch)" if is_patch else "Object"
    type_ = str(expression.program.type)
    if type_ not in (wanted, "list(dyn)" if is_patch else wanted):
        return Expression(source, problem=f"must evaluate to {wanted}")
    problem = misplaced(expression.program)
    return Expression(source, problem=problem) if problem else expression


def plain(value: Any) -> Any:
    """A value of an expression as JSON has it. Raises Failed."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise Failed("unsupported map key: only strings are names of fields")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return int(value)
    raise Failed(f"expression evaluated to a type that could not marshal to JSON: {type(value).__name__.lower()}")


class MutatingPolicy:
    """One policy, compiled."""

    def __init__(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        self.name = name_of(obj)
        self.fails = spec.get("failurePolicy") != "Ignore"
        self.reinvocable = spec.get("reinvocationPolicy") == "IfNeeded"
        self.constraints = Constraints(spec.get("matchConstraints") or {})
        kind = spec.get("paramKind")
        self.param_kind = (kind.get("apiVersion") or "", kind.get("kind") or "") if kind else None
        params = kind is not None
        self.conditions = Conditions.of(spec.get("matchConditions") or (), params=params)
        known = environment(params=params, authorizer=True, variables=True)
        self.variables = {v["name"]: compiled(v["expression"], known, ()) for v in spec.get("variables") or ()}
        self.mutations = [Mutation(m, params=params) for m in spec.get("mutations") or ()]


class _Round:
    """One pass through the policies: who ran, who changed something, who is to run again."""

    def __init__(self, only: frozenset[Key] | None) -> None:
        self._only = only
        self.invoked: set[Key] = set()
        """Those that may run again."""
        self.required: set[Key] = set()
        self.changed = False
        self.refusals: list[str] = []
        """Why policies that may not fail did."""

    def takes(self, key: Key) -> bool:
        return self._only is None or key in self._only

    def failed(self, policy: MutatingPolicy, binding: Binding | None, why: str) -> None:
        if not policy.fails:
            return
        name = f"policy '{policy.name}' with binding '{binding.name}'" if binding else f"policy {go_quote(policy.name)}"
        self.refusals.append(f"{name} denied request: {why}")

    def ran(self, key: Key, *, reinvocable: bool, changed: bool) -> None:
        if changed:
            self.changed = True
            self.required |= self.invoked
        if reinvocable:
            self.invoked.add(key)


class MutatingAdmissionPolicy(BoundPolicies):
    """Makes the changes of all policies that are bound to a write, by the names of the policies."""

    name = "MutatingAdmissionPolicy"
    policies, bindings = POLICIES, BINDINGS

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        self._complete: Complete | None = context.settings.get("complete")
        self._schema_of: SchemaOf = context.settings.get("schema_of") or (lambda gvr: None)
        self.earlier: Sequence[AdmissionPlugin] = ()
        """The plugins before this one; set by who builds the chain."""

    def _make(self, obj: Object) -> MutatingPolicy:
        return MutatingPolicy(obj)

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and not is_exempt(gvr)

    async def admit(self, attributes: AdmissionAttributes) -> None:
        if attributes.object is None or not self._policies():
            return
        again = attributes.remembered.get(self.name)
        if again is not None:
            # A webhook changed the object, and the plugins before it look at it once more.
            self._pass(attributes, again)
            return
        first = self._pass(attributes, None)
        attributes.remembered[self.name] = frozenset(first.invoked)
        if not first.changed:
            return
        before = orjson.dumps(attributes.object)
        for plugin in self.earlier:
            if plugin.handles(attributes.operation, attributes.gvr, attributes.subresource):
                await plugin.admit(attributes)
        required = first.invoked if orjson.dumps(attributes.object) != before else first.required
        if required:
            self._pass(attributes, frozenset(required))

    def _pass(self, a: AdmissionAttributes, only: frozenset[Key] | None) -> _Round:
        """Raises StatusError where policies fail that may not, after all have run."""
        this = _Round(only)
        for policy, policy_bindings in cast("list[tuple[MutatingPolicy, list[Binding]]]", self._policies()):
            try:
                seen = policy.constraints.match(a, self.context, self._equivalents)
            except StatusError as failure:
                this.failed(policy, None, f"failed to configure policy: {failure}")
                continue
            for binding in policy_bindings if seen is not None else ():
                self._run(policy, binding, a, cast("Equivalent", seen), this)
        if this.refusals:
            raise refusal(a, this.refusals)
        return this

    def _run(
        self, policy: MutatingPolicy, binding: Binding, a: AdmissionAttributes, seen: Equivalent, this: _Round
    ) -> None:
        try:
            if binding.constraints and binding.constraints.match(a, self.context, self._equivalents) is None:
                return
            params = self._params(policy.param_kind, binding, a)
        except (StatusError, Misconfigured) as failure:
            this.failed(policy, binding, f"failed to configure binding: {failure}")
            return
        for param in params:
            meta = (param or {}).get("metadata") or {}
            key = (policy.name, binding.name, meta.get("namespace") or "", meta.get("name") or "")
            if this.takes(key):
                before = a.object
                for why in self._mutate(policy, a, seen, param):
                    this.failed(policy, binding, why)
                this.ran(key, reinvocable=policy.reinvocable, changed=a.object != before)

    def _mutate(
        self, policy: MutatingPolicy, a: AdmissionAttributes, seen: Equivalent, param: Object | None
    ) -> Iterator[str]:
        """Changes the object; gives why what could not be changed was not."""
        budget = Budget(POLICY_BUDGET)
        values = bindings(a, seen, self.context.authorizer, namespace_of_write(a, self.reader), param)
        try:
            if not policy.conditions.hold(values):
                return
        except CelError as failure:
            yield str(failure)
            return
        values["variables"] = Variables(policy.variables, values, budget)
        for mutation in policy.mutations:
            try:
                shown = mutation.apply(values["object"], self._schema_of(seen.gvr), values, budget)
                a.object = self._completed(seen, a, shown)
            except Failed as failure:
                yield str(failure)
                continue
            # Each sees what the one before made, and so do its variables.
            values["object"] = seen.convert(a.object)
            values["variables"] = Variables(policy.variables, values, budget)

    def _completed(self, seen: Equivalent, a: AdmissionAttributes, made: Object) -> Object:
        """In the version of the request, checked and with defaults. Raises Failed."""
        if seen.gvr != a.gvr:
            others = self._equivalents(seen.gvr, a.subresource) if self._equivalents else ()
            back = next((o for o in others if o.gvr == a.gvr), None)
            if back is None:
                raise internal_error(f"unable to convert {seen.gvk} to {a.gvk}")
            made = back.convert(made)
        if self._complete is None:
            return made
        try:
            return self._complete(a.gvr, a.gvk.kind, made)
        except StatusError as failure:
            raise Failed(failure.message) from failure


def refusal(a: AdmissionAttributes, why: Sequence[str]) -> StatusError:
    """The first is told, all are listed."""
    error = forbidden(a.gvr.group, a.gvr.resource, object_name(a), "")
    details = {**(error.details or {}), "causes": [{"message": message} for message in why]}
    return StatusError(403, "Invalid", why[0], details)
