"""``x-kubernetes-validations``: compiling the rules of a schema, checking them in a CRD, running them on objects.

A rule sees its part of the object as ``self``, on updates the part it had before as ``oldSelf`` (transition rules run
only where both exist; with optionalOldSelf always). Specified by "Validation rules" in the CustomResourceDefinition page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import errors
from ..errors import FieldError
from ..schema.node import LIST, Node
from ..schema.structural import META_FIELDS
from . import celtypes as t
from .environment import PER_CALL_LIMIT, RUNTIME_BUDGET, CelError, CompileError, Environment, Program
from .estimate import estimate
from .program import ProgramError
from .running import CostExceeded
from .selftypes import MAX_REQUEST, Declared, declare, to_value
from .sizes import MAX
from .values import NONE, OptionalValue

RULE_COST_LIMIT = 10_000_000
"""The most that one rule of a CRD may cost by estimate, for all the places it applies to."""
SCHEMA_COST_LIMIT = 100_000_000
MAX_MESSAGE = 5 * 1024
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(slots=True)
class Rule:
    """One compiled rule: a program, or why there is none."""

    text: str
    message: str
    reason: str
    field_path: str
    program: Program | None = None
    error: str = ""
    cost: int = 0
    message_text: str = ""
    message_program: Program | None = None
    message_error: str = ""
    message_cost: int = 0
    optional_old: bool = False

    @property
    def uses_old(self) -> bool:
        return self.program is not None and "oldSelf" in self.program.names

    def shown(self) -> str:
        return (self.message or self.text).strip()

    def default_message(self) -> str:
        return self.message.strip() or f"failed rule: {self.shown()}"


def rules_of(node: Node) -> list[Rule]:
    """The compiled rules of a node itself (cached with the node)."""
    known: list[Rule] | None = node.compiled.get("rules")
    if known is None:
        raw = (node.openapi or {}).get("x-kubernetes-validations") or ()
        declared = _declared(node) if raw else None
        known = node.compiled["rules"] = [_compile(r, node, declared) for r in raw]
    return known


def _declared(node: Node) -> Declared | None:
    known = node.compiled.get("declared")
    if known is None:
        root = node.embedded and node.openapi is not None
        known = node.compiled["declared"] = declare(node, root=root)
    return known  # type: ignore[no-any-return]


def _compile(raw: Mapping[str, Any], node: Node, declared: Declared | None) -> Rule:
    rule = Rule(
        raw.get("rule") or "",
        raw.get("message") or "",
        raw.get("reason") or "",
        _normal_path(raw.get("fieldPath") or "", node),
        message_text=raw.get("messageExpression") or "",
        optional_old=bool(raw.get("optionalOldSelf")),
    )
    if not rule.text.strip():
        return rule
    if declared is None:
        rule.error = "failed to convert to declType for CEL validation rules"
        return rule
    old = t.optional_of(declared.type) if rule.optional_old else declared.type
    environment = Environment({"self": declared.type, "oldSelf": old})
    rule.program, rule.error = _program(environment, rule.text, t.BOOL, "", "cel expression must evaluate to a bool")
    if rule.program is None:
        return rule
    rule.cost = estimate(rule.program.tree, declared)
    if rule.message_text:
        words = "messageExpression must evaluate to a string"
        rule.message_program, rule.message_error = _program(
            environment, rule.message_text, t.STRING, "messageExpression ", words
        )
        if rule.message_program is not None:
            rule.message_cost = estimate(rule.message_program.tree, declared)
    return rule


def _program(
    environment: Environment, text: str, wanted: t.Type, prefix: str, wrong_type: str
) -> tuple[Program | None, str]:
    try:
        program = environment.compile(text)
    except ProgramError as failure:
        return None, f"{prefix or 'program '}instantiation failed: {failure}"
    except CompileError as failure:
        return None, f"{prefix}compilation failed: {failure}"
    if program.type != wanted:
        return None, wrong_type
    return program, ""


def _normal_path(path: str, node: Node) -> str:
    """``.a['b-c']`` as the field path of an error: ``a.b-c``; map keys stay in brackets."""
    if not _PATH.fullmatch(path):
        return ""
    steps: list[str] = []
    at: Node | None = node
    for step in _steps(path):
        if at is None:
            return ""
        named = bool(at.fields) and step in at.fields
        steps.append(("." if steps else "") + step if named else f"[{step}]")
        at = at.child(step)
    if at is None:
        return ""
    return "".join(steps)


_STEP = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")
_PATH = re.compile(rf"(?:{_STEP.pattern})+")


def _steps(path: str) -> Iterator[str]:
    for match in _STEP.finditer(path):
        yield match[1] if match[1] is not None else match[2].replace("\\'", "'").replace("\\\\", "\\")


# -- checking a CRD ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Check:
    """The findings about the rules of one schema, and what they may cost together."""

    errors: list[FieldError] = field(default_factory=list)
    total: int = 0
    expensive: list[tuple[int, str]] = field(default_factory=list)

    def spend(self, path: str, cost: int) -> None:
        self.total = min(MAX, self.total + cost)
        if cost >= SCHEMA_COST_LIMIT // 100:
            self.expensive = sorted([*self.expensive, (cost, path)], key=lambda e: -e[0])[:4]


def check_rules(root: Node, path: str) -> list[FieldError]:
    """What a CRD's validation says of all rules of a version's schema; ``path`` is that of ``openAPIV3Schema``."""
    check = Check()
    _check_node(root, path, check, 1, "")
    if check.total > SCHEMA_COST_LIMIT:
        words = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        check.errors += [errors.forbidden_field(where, words) for _, where in check.expensive]
        total = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        check.errors.append(errors.forbidden_field(path, _cost_message(total, check.total, SCHEMA_COST_LIMIT)))
    return check.errors


def _check_node(node: Node, path: str, check: Check, cardinality: int | None, uncorrelatable: str) -> bool:
    """Depth first, as the schema is written; ``cardinality`` is how often the place can occur, None for unbounded.

    False where rules here or below are not even well-formed: then those of this node are not compiled.
    """
    schema = node.openapi or {}
    below = _cardinality_below(schema, cardinality)
    sound = True
    if node.values is not None and node.values.openapi is not None:
        sound &= _check_node(node.values, f"{path}.additionalProperties", check, below, uncorrelatable)
    for name, known in node.fields.items():
        if known.node.openapi is not None:
            sound &= _check_node(known.node, f"{path}.properties[{name}]", check, below, uncorrelatable)
    if node.items is not None and node.items.openapi is not None:
        lost = uncorrelatable
        if node.kind == LIST and node.list_type != "map":
            lost = lost or path
        sound &= _check_node(node.items, f"{path}.items", check, below, lost)
    for index, raw in enumerate(schema.get("x-kubernetes-validations") or ()):
        found = list(_malformed(raw, node, f"{path}.x-kubernetes-validations[{index}]"))
        check.errors += found
        sound &= not found
    if sound:
        for index, rule in enumerate(rules_of(node)):
            _check_rule(rule, node, index, path, check, cardinality, uncorrelatable)
    return sound


_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LINE_BREAKS = re.compile(r"[\n\r]")


def _malformed(raw: Mapping[str, Any], node: Node, where: str) -> Iterator[FieldError]:
    rule, message = (raw.get("rule") or "").strip(), raw.get("message") or ""
    if not rule:
        yield errors.required(f"{where}.rule", "rule is not specified")
    elif message and not message.strip():
        yield errors.invalid_value(f"{where}.message", message, "must be non-empty if specified")
    elif _LINE_BREAKS.search(message.strip()):
        yield errors.invalid_value(f"{where}.message", message, "must not contain line breaks")
    elif _LINE_BREAKS.search(rule) and not message.strip():
        yield errors.required(f"{where}.message", "message must be specified if rule contains line breaks")
    expression = raw.get("messageExpression") or ""
    if expression and not expression.strip():
        yield errors.required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
    reason = raw.get("reason")
    if reason is not None and reason not in _REASONS:
        yield errors.not_supported(f"{where}.reason", reason, _REASONS)
    path = raw.get("fieldPath") or ""
    if path and not path.strip():
        yield errors.invalid_value(f"{where}.fieldPath", path, "must be non-empty if specified")
    if _LINE_BREAKS.search(path):
        yield errors.invalid_value(f"{where}.fieldPath", path, "must not contain line breaks")
    if path and not _normal_path(path, node):
        yield errors.invalid_value(f"{where}.fieldPath", path, "must be a valid path")


_INTERNAL = {
    "Rule": "rule",
    "Message": "message",
    "MessageExpression": "messageExpression",
    "Reason": "reason",
    "FieldPath": "fieldPath",
    "OptionalOldSelf": "optionalOldSelf",
}


def _bad_rule(where: str, raw: Mapping[str, Any], detail: str) -> FieldError:
    """The rule is shown as upstream shows it: the JSON of its internal struct."""
    optional = ("Reason", "OptionalOldSelf")
    value = {k: raw.get(name, None if k in optional else "") for k, name in _INTERNAL.items()}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return FieldError(where, "FieldValueInvalid", f"Invalid value: {text}: {detail}")


def _cardinality_below(schema: Mapping[str, Any], cardinality: int | None) -> int | None:
    if cardinality is None:
        return None
    most: int | None = 1
    if schema.get("type") == "array":
        most = schema.get("maxItems")
    elif schema.get("type") == "object" and schema.get("additionalProperties"):
        most = schema.get("maxProperties")
    return None if most is None else min(MAX, cardinality * max(0, most))


def _check_rule(
    rule: Rule, node: Node, index: int, path: str, check: Check, cardinality: int | None, uncorrelatable: str
) -> None:
    where = f"{path}.x-kubernetes-validations[{index}]"
    raw = (node.openapi or {})["x-kubernetes-validations"][index]
    declared = _declared(node)
    times = cardinality
    if times is None:
        times = MAX_REQUEST // ((declared.smallest if declared is not None else 0) + 1)
    cost = min(MAX, rule.cost * times)
    if cost > RULE_COST_LIMIT:
        check.errors.append(
            errors.forbidden_field(f"{where}.rule", _cost_message("estimated rule cost", cost, RULE_COST_LIMIT))
        )
    check.spend(f"{where}.rule", cost)
    if rule.error:
        check.errors.append(_bad_rule(f"{where}.rule", raw, rule.error))
    if rule.message_error:
        check.errors.append(_bad_rule(f"{where}.messageExpression", raw, rule.message_error))
    elif rule.message_program is not None:
        if rule.message_cost > RULE_COST_LIMIT:
            words = _cost_message("estimated messageExpression cost", rule.message_cost, RULE_COST_LIMIT)
            check.errors.append(errors.forbidden_field(f"{where}.messageExpression", words))
        check.spend(f"{where}.messageExpression", rule.message_cost)
    if rule.uses_old and uncorrelatable:
        words = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
        check.errors.append(errors.invalid_value(f"{where}.rule", rule.text, words))
    elif not rule.uses_old and raw.get("optionalOldSelf") is not None:
        words = "may not be set if oldSelf is not used in rule"
        check.errors.append(errors.invalid_value(f"{where}.optionalOldSelf", raw["optionalOldSelf"], words))


def _cost_message(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    else:
        shown = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


# -- running -----------------------------------------------------------------------------------------------------------


def has_rules(node: Node) -> bool:
    """Whether this node or one below has rules (computed once)."""
    known: bool | None = node.compiled.get("has_rules")
    if known is None:
        below = [f.node for f in node.fields.values()] if node.struct is not None else []
        below += [n for n in (node.values, node.items) if n is not None]
        own = bool((node.openapi or {}).get("x-kubernetes-validations"))
        node.compiled["has_rules"] = known = own or any(n.openapi is not None and has_rules(n) for n in below)
    return known


def compile_rules(node: Node) -> None:
    """Compiles all rules of a node and below, so that the first object need not wait for it."""
    if not has_rules(node):
        return
    rules_of(node)
    below = [f.node for f in node.fields.values()] + [n for n in (node.values, node.items) if n is not None]
    for child in below:
        if child.openapi is not None:
            compile_rules(child)


class _Absent:
    __slots__ = ()


_NOTHING: Any = _Absent()


@dataclass(slots=True)
class _Job:
    """One object's validation. ``ratchet`` asks not to hold unchanged parts against an update."""

    budget: int
    errors: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def spent(self) -> bool:
        return self.budget < 0


def validate_rules(
    root: Node, obj: Any, old: Any = None, *, budget: int = RUNTIME_BUDGET
) -> tuple[list[FieldError], list[str]]:
    """(errors, warnings) of the rules of a custom resource; ``old`` is the object before an update."""
    job = _Job(budget)
    if has_rules(root):
        before = _NOTHING if old is None else old
        _walk(job, root, obj, before, before, "", root=True)
    return job.errors, job.warnings


def _walk(job: _Job, node: Node, value: Any, old: Any, ratchet: Any, path: str, *, root: bool = False) -> None:
    """``old`` is what oldSelf is; ``ratchet`` what the value is compared with: that of the nearest correlated parent."""
    if value is None or job.spent() or not has_rules(node):
        return
    _run(job, node, value, old, ratchet, path)
    if job.spent():
        return
    if isinstance(value, list) and node.items is not None:
        earlier = _by_key(node, old)
        for index, item in enumerate(value):
            before = earlier(item)
            against = before if before is not _NOTHING else (ratchet if _same(value, ratchet) else _NOTHING)
            _walk(job, node.items, item, before, _against(item, before, against), f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            child = node.child(key)
            if child is None or child.openapi is None or (root and key in META_FIELDS and key not in node.fields):
                continue
            before = old[key] if isinstance(old, dict) and key in old and old[key] is not None else _NOTHING
            against = ratchet[key] if isinstance(ratchet, dict) and key in ratchet else _NOTHING
            known = key in node.fields
            below = (f"{path}.{key}" if path else key) if known else f"{path}[{key}]"
            _walk(job, child, item, before, against, below)


def _same(left: Any, right: Any) -> bool:
    from ..schema.checking import same_value

    return right is not _NOTHING and same_value(left, right)


def _against(item: Any, before: Any, against: Any) -> Any:
    """Items that have no old self are unchanged where their whole list is."""
    return before if before is not _NOTHING else (item if against is not _NOTHING else _NOTHING)


def _by_key(node: Node, old: Any) -> Any:
    if node.list_type != "map" or not isinstance(old, list):
        return lambda item: _NOTHING
    found = {}
    for item in old:
        if isinstance(item, dict):
            found[tuple((type(item.get(k)), item.get(k)) for k in node.list_map_keys)] = item

    def lookup(item: Any) -> Any:
        if not isinstance(item, dict):
            return _NOTHING
        return found.get(tuple((type(item.get(k)), item.get(k)) for k in node.list_map_keys), _NOTHING)

    return lookup


def _run(job: _Job, node: Node, value: Any, old: Any, ratchet: Any, path: str) -> None:
    rules = rules_of(node)
    if not rules:
        return
    type_ = (node.openapi or {}).get("type") or ""
    if job.budget <= 0:
        job.errors.append(errors.invalid_value(path or "<nil>", type_, _OUT_OF_BUDGET))
        job.budget = -1
        return
    has_old = old is not _NOTHING and old is not None
    variables = {"self": to_value(node, value)}
    if has_old:
        variables["oldSelf"] = to_value(node, old)
    optional = {**variables, "oldSelf": OptionalValue(True, variables["oldSelf"]) if has_old else NONE}
    for rule in rules:
        if rule.error:
            job.errors.append(errors.invalid_value(path or "<nil>", type_, f"rule compile error: {rule.error}"))
            continue
        if rule.program is None or (rule.uses_old and not has_old and not rule.optional_old):
            continue
        _evaluate(job, rule, optional if rule.optional_old else variables, type_, value, ratchet, path)
        if job.spent():
            return


def _evaluate(
    job: _Job, rule: Rule, variables: dict[str, Any], type_: str, value: Any, ratchet: Any, path: str
) -> None:
    assert rule.program is not None
    failure: CelError | None = None
    try:
        result, cost = rule.program.evaluate(variables, PER_CALL_LIMIT)
    except CelError as error:
        failure, result, cost = error, None, getattr(error, "cost", 0)
    where = path or "<nil>"
    if cost > job.budget:
        job.errors.append(errors.invalid_value(where, type_, _OUT_OF_BUDGET))
        job.budget = -1
        return
    job.budget -= cost
    if failure is not None:
        job.errors.append(errors.invalid_value(where, type_, _failure_words(failure, rule)))
        if isinstance(failure, CostExceeded):
            job.budget = -1
        return
    if result is True:
        return
    _refuse(job, rule, variables, type_, value, ratchet, path)


def _failure_words(failure: CelError, rule: Rule) -> str:
    text = str(failure)
    if text.startswith("no such overload"):
        words = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{text}': {words}: {rule.shown()}"
    if isinstance(failure, CostExceeded):
        words = "no further validation rules will be run due to call cost exceeds limit for rule"
        return f"'{text}': {words}: {rule.shown()}"
    return f"{text} evaluating rule: {rule.shown()}"


def _refuse(job: _Job, rule: Rule, variables: dict[str, Any], type_: str, value: Any, ratchet: Any, path: str) -> None:
    where = path
    if rule.field_path:
        where = f"{path}.{rule.field_path}" if path and not rule.field_path.startswith("[") else path + rule.field_path
    message = _message(job, rule, variables, type_, where) if rule.message_program is not None else ""
    if job.spent():
        return
    error = _error(rule, where or "<nil>", value, type_, message or rule.default_message())
    if not rule.uses_old and _same(value, ratchet):
        job.warnings.append(str(error))
    else:
        job.errors.append(error)


def _error(rule: Rule, where: str, value: Any, type_: str, detail: str) -> FieldError:
    omitted = type_ in ("object", "array")
    match rule.reason:
        case "FieldValueForbidden":
            return errors.forbidden_field(where, detail)
        case "FieldValueRequired":
            return errors.required(where, detail)
        case "FieldValueDuplicate":
            return (
                FieldError(where, "FieldValueDuplicate", "Duplicate value")
                if omitted
                else errors.duplicate(where, value)
            )
    if omitted:
        return FieldError(where, "FieldValueInvalid", f"Invalid value: {detail}")
    return errors.invalid_value(where, value, detail)


def _message(job: _Job, rule: Rule, variables: dict[str, Any], type_: str, where: str) -> str:
    """What messageExpression says; empty where it fails, then the rule's own message stands."""
    assert rule.message_program is not None
    try:
        text, cost = rule.message_program.evaluate(variables, PER_CALL_LIMIT)
    except CostExceeded:
        words = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
        job.errors.append(errors.invalid_value(where or "<nil>", type_, f'{words}: "{rule.message_text}"'))
        job.budget = -1
        return ""
    except CelError as failure:
        job.budget -= getattr(failure, "cost", 0)
        return ""
    if cost > job.budget:
        words = "messageExpression evaluation failed due to running out of cost budget, no further validation rules"
        job.errors.append(errors.invalid_value(where or "<nil>", type_, f"{words} will be run"))
        job.budget = -1
        return ""
    job.budget -= cost
    trimmed = text.strip() if isinstance(text, str) else ""
    return trimmed if "\n" not in trimmed and len(trimmed.encode()) <= MAX_MESSAGE else ""
