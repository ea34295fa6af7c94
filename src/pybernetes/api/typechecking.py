"""Type checking of ValidatingAdmissionPolicies: what their expressions say against the schemas of what they match. Pure.

Specified by "Validating Admission Policy", "Type checking"; the warnings are upstream's texts. It only warns: a policy may match
what nobody knows yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .cel import CompileError, Environment
from .cel import celtypes as t
from .cel.kindtypes import object_of
from .cel.program import ProgramError
from .expressions import environment
from .resources import GVK, parse_api_version
from .schema import builtin_schema
from .schema.node import Node

MAX_TYPES = 10
KindsFor = Callable[[str, str, str], Iterable[tuple[GVK, Node | None]]]
"""(group, version, resource) to the kinds served there, with their schemas."""
NodeOf = Callable[[GVK], Node | None]


def warnings(spec: Mapping[str, Any], kinds_for: KindsFor, node_of: NodeOf) -> list[dict[str, str]]:
    """``status.typeChecking.expressionWarnings`` of a policy with this spec."""
    kinds = matched_kinds(spec, kinds_for)
    parameters = _parameters(spec, node_of)
    found = []
    for i, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            source = validation.get(field) or ""
            if not source and field == "messageExpression":
                continue
            texts = [_problem(source, gvk, node, spec, parameters) for gvk, node in kinds]
            if any(texts):
                words = "\n".join(text for text in texts if text)
                found.append({"fieldRef": f"spec.validations[{i}].{field}", "warning": words})
    return found


def matched_kinds(spec: Mapping[str, Any], kinds_for: KindsFor) -> list[tuple[GVK, Node]]:
    """The kinds that a policy names without wildcards, at most ten, in order."""
    found: dict[GVK, Node | None] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        count = 0
        for group, version, resource in _named(rule):
            for gvk, node in kinds_for(group, version, resource):
                found[gvk] = node
                count += 1
                if count == MAX_TYPES:
                    return _in_order(found)
    return _in_order(found)


def _in_order(found: Mapping[GVK, Node | None]) -> list[tuple[GVK, Node]]:
    return [(gvk, node) for gvk, node in sorted(found.items(), key=lambda f: f[0]) if node is not None]


def _named(rule: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
    if any("*" in name for name in (*groups, *versions)):
        return
    resources = sorted(r for r in rule.get("resources") or () if "*" not in r and "/" not in r)
    for group in sorted(groups):
        for version in sorted(versions):
            for resource in resources:
                yield group, version, resource


def _parameters(spec: Mapping[str, Any], node_of: NodeOf) -> t.Type | None:
    """The type of ``params``; None where the policy has none."""
    kind = spec.get("paramKind")
    if not kind:
        return None
    gvk = GVK(*parse_api_version(kind.get("apiVersion") or ""), kind.get("kind") or "")
    node = node_of(gvk)
    return object_of(node, gvk.kind, _metadata()) if node is not None else t.DYN


def _metadata() -> Node:
    return builtin_schema(GVK("", "v1", "ConfigMap")).root.fields["metadata"].node


def _problem(source: str, gvk: GVK, node: Node, spec: Mapping[str, Any], parameters: t.Type | None) -> str:
    known = _environment(object_of(node, gvk.kind, _metadata()), parameters)
    known = _with_variables(known, spec.get("variables") or ())
    where = f"{gvk.group}/{gvk.version}, Kind={gvk.kind}"
    try:
        known.compile(source)
    except CompileError as failure:
        return f"{where}: {failure}\n"
    except ProgramError as failure:
        return f"{where}: type checking error: {failure}\n"
    return ""


def _environment(shown: t.Type, parameters: t.Type | None) -> Environment:
    plain = environment(params=parameters is not None, authorizer=True)
    types = {**plain.variables, "object": shown, "oldObject": shown}
    if parameters is not None:
        types["params"] = parameters
    return Environment(types, plain.functions)


def _with_variables(known: Environment, variables: Sequence[Mapping[str, Any]]) -> Environment:
    """Each variable has the type of its expression, and sees those before it; one that is wrong may be anything."""
    fields: dict[str, t.ObjectField] = {}
    for variable in variables:
        scope = Environment(
            {**known.variables, "variables": t.object_type("kubernetes.variables", dict(fields))}, known.functions
        )
        try:
            type_ = scope.compile(variable.get("expression") or "").type
        except (CompileError, ProgramError):
            type_ = t.DYN
        fields[variable.get("name") or ""] = t.ObjectField(type_, variable.get("name") or "")
    types = {**known.variables, "variables": t.object_type("kubernetes.variables", fields)}
    return Environment(types, known.functions)
