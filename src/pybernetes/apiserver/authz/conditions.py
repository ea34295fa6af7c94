"""Match conditions of authorization webhooks: CEL over the SubjectAccessReview that would be sent (``request``). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ...api.cel import CelError, Environment, Program
from ...api.cel import celtypes as t


def _object(type_name: str, /, **fields: t.Type) -> t.Type:
    return t.object_type(type_name, {k: t.ObjectField(v, k) for k, v in fields.items()})


@cache
def environment() -> Environment:
    """What a condition may use."""
    text, texts = t.STRING, t.list_of(t.STRING)
    requirement = _object("kubernetes.SelectorRequirement", key=text, operator=text, values=texts)
    selectors = {
        name: _object(f"kubernetes.{kind}", rawSelector=text, requirements=t.list_of(requirement))
        for name, kind in (("fieldSelector", "FieldSelectorAttributes"), ("labelSelector", "LabelSelectorAttributes"))
    }
    resource = _object(
        "kubernetes.ResourceAttributes", namespace=text, verb=text, group=text, version=text, resource=text,
        subresource=text, name=text, **selectors,
    )  # fmt: skip
    other = _object("kubernetes.NonResourceAttributes", path=text, verb=text)
    request = _object(
        "kubernetes.SubjectAccessReviewSpec", resourceAttributes=resource, nonResourceAttributes=other, user=text,
        groups=texts, extra=t.map_of(text, texts), uid=text,
    )  # fmt: skip
    return Environment({"request": request})


@cache
def compile_condition(expression: str) -> Program:
    """Raises CompileError or ProgramError."""
    return environment().compile(expression)


class ConditionsFailed(ValueError):
    """At least one condition could not be evaluated, and none was false."""


def matches(conditions: Sequence[Program], request: Mapping[str, Any]) -> bool:
    """Whether all are true; one that is false counts for more than one that fails. Raises ConditionsFailed."""
    failures: list[str] = []
    for condition in conditions:
        try:
            value, _ = condition.evaluate({"request": request})
        except CelError as failure:
            failures.append(f"cel evaluation error: expression '{condition.source}' resulted in error: {failure}")
            continue
        if not value:
            return False
    if failures:
        raise ConditionsFailed(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
    return True


def request_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``request`` for the spec of a SubjectAccessReview: all plain fields are there, empty or not."""
    given = spec.get("resourceAttributes")
    request = {
        "user": spec.get("user") or "",
        "groups": spec.get("groups") or [],
        "uid": spec.get("uid") or "",
        "extra": spec.get("extra") or {},
    }
    if given is not None:
        texts = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
        request["resourceAttributes"] = {**given, **{name: given.get(name) or "" for name in texts}}
    if spec.get("nonResourceAttributes") is not None:
        path = spec["nonResourceAttributes"]
        request["nonResourceAttributes"] = {"verb": path.get("verb") or "", "path": path.get("path") or ""}
    return request
