"""CEL for admission: what expressions of match conditions and policies may refer to, and asking the authorizer from within.

Specified by "Validating Admission Policy" and ``apiserver/pkg/admission/plugin/cel``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...api.cel import CelError, CompileError, CostExceeded, Environment, Program
from ...api.cel import celtypes as t
from ...api.cel.program import ProgramError
from ...api.expressions import environment
from ...api.meta import Object
from ...api.resources import NAMESPACES
from ...hooks.admission import AdmissionAttributes
from ...hooks.authorization import Attributes, Authorizer, Decision
from ...hooks.identity import UserInfo
from ...hooks.reading import ObjectReader
from ..authn.serviceaccounts import groups, username
from .matching import Equivalent
from .webhooks.review import request_for

MATCH_BUDGET = 2_500_000
"""What the conditions of one webhook or policy may cost together."""
POLICY_BUDGET = 10_000_000

# -- asking the authorizer ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """What the authorizer said."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """A question in the making."""

    authorizer: Authorizer
    asked: Attributes
    request_resource: Attributes | None = None

    def __getitem__(self, name: str) -> Check:
        if name != "requestResource" or self.request_resource is None:
            raise KeyError(name)
        return Check(self.authorizer, self.request_resource)

    def with_(self, **changes: Any) -> Check:
        return Check(self.authorizer, replace(self.asked, **changes))

    def for_service_account(self, namespace: str, name: str) -> Check:
        user = UserInfo(username(namespace, name), groups=groups(namespace))
        return Check(self.authorizer, replace(self.asked, user=user))

    def answer(self, verb: str) -> Answered | None:
        """None where the authorizer would have to wait for something."""
        question = self.authorizer.authorize(replace(self.asked, verb=verb))
        try:
            question.send(None)  # type: ignore[attr-defined]
        except StopIteration as answered:
            verdict = answered.value
            return Answered(verdict.decision is Decision.ALLOW, verdict.reason)
        question.close()  # type: ignore[attr-defined]
        return None


# -- values ----------


def bindings(
    a: AdmissionAttributes, seen: Equivalent, authorizer: Authorizer, namespace: Object | None, params: Object | None
) -> dict[str, Any]:
    """The values for one write."""
    request = request_for(a, seen, "v1", "")["request"]
    for name in ("object", "oldObject", "uid"):
        request.pop(name)
    gvr = seen.gvr
    target = Attributes(a.user, "", gvr.group, gvr.version, gvr.resource, a.subresource, a.namespace, a.name)
    return {
        "object": seen.convert(a.object) if a.object is not None else None,
        "oldObject": seen.convert(a.old_object) if a.old_object is not None else None,
        "request": {k: v for k, v in request.items() if v is not None},
        "namespaceObject": namespace,
        "params": params,
        "authorizer": Check(authorizer, Attributes(a.user, ""), target),
    }


def namespace_of_write(a: AdmissionAttributes, reader: ObjectReader) -> Object | None:
    if not a.namespace or a.gvr == NAMESPACES:
        return None
    found = reader.get(NAMESPACES, "", a.namespace)
    if found is None:
        return None
    kept = ("name", "generateName", "labels", "annotations", "creationTimestamp", "uid", "resourceVersion")
    metadata = {k: v for k, v in found["metadata"].items() if k in kept}
    return {"metadata": metadata, "spec": found.get("spec") or {}, "status": found.get("status") or {}}


# -- expressions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, or why it is none."""

    source: str
    program: Program | None = None
    problem: str = ""

    def evaluate(self, values: Mapping[str, Any], budget: Budget) -> Any:
        """Raises CelError with upstream's words."""
        if self.program is None:
            raise CelError(f"compilation error: {self.problem}")
        try:
            value, cost = self.program.evaluate(values)
        except CostExceeded as failure:
            budget.spend(getattr(failure, "cost", 0))
            raise CelError(
                f"expression '{self.source}' resulted in error: operation cancelled: actual cost limit exceeded"
            ) from failure
        except CelError as failure:
            budget.spend(getattr(failure, "cost", 0))
            raise CelError(f"expression '{self.source}' resulted in error: {failure}") from failure
        budget.spend(cost)
        return value


@dataclass(slots=True)
class Budget:
    """What expressions may still cost."""

    left: int

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise CelError(
                "validation failed due to running out of cost budget, no further validation rules will be run"
            )


def compiled(source: str, known: Environment, wanted: Sequence[t.Type] = (t.BOOL,)) -> Expression:
    try:
        program = known.compile(source)
    except (CompileError, ProgramError) as failure:
        return Expression(source, problem=f"compilation failed: {failure}")
    if wanted and program.type not in wanted and program.type != t.DYN:
        return Expression(source, problem=f"must evaluate to {wanted[0]}")
    return Expression(source, program)


@dataclass(slots=True)
class Conditions:
    """Match conditions: one that is false is enough for no match; where none is but some fail, that is an error."""

    expressions: list[Expression]

    @classmethod
    def of(cls, conditions: Sequence[Mapping[str, Any]], *, params: bool) -> Conditions:
        known = environment(params=params, authorizer=True)
        return cls([compiled(c.get("expression") or "", known) for c in conditions])

    def hold(self, values: Mapping[str, Any]) -> bool:
        """Raises CelError."""
        budget, problems = Budget(MATCH_BUDGET), []
        for expression in self.expressions:
            try:
                value = expression.evaluate(values, budget)
            except CelError as failure:
                problems.append(str(failure))
                continue
            if value is False:
                return False
            if value is not True:
                problems.append(f"expression '{expression.source}' did not evaluate to bool")
        if problems:
            raise CelError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
        return True
