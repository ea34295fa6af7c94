"""CEL: expressions and validation rules with the values, costs and words that a v1.36 server gives them."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from pybernetes.api.cel import CelError, CompileError, CostExceeded, Environment, dynamic, values
from pybernetes.api.cel.rules import check_rules, validate_rules
from pybernetes.api.schema import compile_structural

DATA = Path(__file__).parent / "data"
EXPRESSIONS = json.loads((DATA / "cel_expressions.json").read_text())
RULES = json.loads((DATA / "cel_rules.json").read_text())
X = {
    "a": 1,
    "b": "zed",
    "l": [1, 2, 3],
    "m": {"k": "v", "n": "w"},
    "o": {"p": {"q": [{"r": 1}, {"r": 2}]}},
    "s": "Hello World",
    "e": [],
    "n": None,
    "t": True,
    "d": 1.5,
}
ENVIRONMENT = Environment(dynamic("x"))


def shown(value: Any) -> str:
    name = values.type_name(value)
    if value is None:
        return f"{name} null"
    if isinstance(value, str | bool):
        return f"{name} {json.dumps(value, ensure_ascii=False)}"
    if name in ("int", "uint"):
        return f"{name} {int(value)}"
    if name == "double" and math.isfinite(value):
        return f"{name} " + (json.dumps(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value))
    return name


def outcome(expression: str) -> dict[str, Any]:
    try:
        program = ENVIRONMENT.compile(expression)
    except CompileError as failure:
        return {"compile": str(failure)}
    result: dict[str, Any] = {"type": str(program.type)}
    try:
        value, cost = program.evaluate({"x": X})
    except CelError as failure:
        return {**result, "error": str(failure)}
    return {**result, "value": shown(value), "cost": cost}


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS, ids=[e[0] for e in EXPRESSIONS])
def test_expressions(expression: str, expected: dict[str, Any]) -> None:
    if "error" in expected:
        expected = {k: v for k, v in expected.items() if k != "cost"}
    assert outcome(expression) == expected


@pytest.mark.parametrize(("name", "schema", "expected"), RULES, ids=[r[0] for r in RULES])
def test_rules_of_definitions(name: str, schema: dict[str, Any], expected: list[list[str]]) -> None:
    """Type errors, malformed rules and cost estimates, as the server refuses CustomResourceDefinitions for them."""
    found = check_rules(compile_structural(schema).root, "s")
    assert sorted([e.path, e.body] for e in found) == expected


HOSTILE = [
    "(" * 5000 + "1" + ")" * 5000,
    "!" * 5000 + "true",
    "+".join(["1"] * 20000),
    "[" * 3000 + "]" * 3000,
    "x" + ".a" * 5000,
    "x" + "[0]" * 5000,
    "'" + "a" * 2_000_000 + "'",
    'x.s.matches("((a{1000}){1000}){10}")',
]


@pytest.mark.parametrize("expression", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_do_not_compile(expression: str) -> None:
    begun = time.process_time()
    with pytest.raises(CompileError):
        ENVIRONMENT.compile(expression)
    assert time.process_time() - begun < 2


EXPENSIVE = [
    "[1,2,3,4,5,6,7,8,9,10].all(a, " * 8 + "true" + ")" * 8,
    "x.big.all(a, x.big.all(b, x.big.all(c, true)))",
    'x.s.replace("l", "llllllllll")' + '.replace("l", "llllllllll")' * 12,
    "[x.big]" + ".map(a, a + a)" * 40,
    "[x.s]" + ".map(a, dyn(a) + dyn(a))" * 40,
    "lists.range(900000)" + " + lists.range(900000)" * 100,
    '"%.1000000000f".format([1.0])',
    'x.long.replace("a", x.long)',
    "[x.long].map(a, x.big.map(b, a)).map(a, a.join(x.long))",
]


@pytest.mark.parametrize("expression", EXPENSIVE, ids=range(len(EXPENSIVE)))
def test_expensive_expressions_end(expression: str) -> None:
    program = ENVIRONMENT.compile(expression)
    begun = time.monotonic()
    with pytest.raises(CelError):
        program.evaluate({"x": {**X, "big": list(range(2000)), "long": "a" * 1_000_000}})
    assert time.monotonic() - begun < 5


def test_the_budget_of_an_object_is_shared() -> None:
    rule = {"rule": "self.all(a, self.all(b, a == b || a != b))"}
    schema = {
        "type": "object",
        "properties": {
            "l": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [rule] * 60},
        },
    }
    root = compile_structural(schema).root
    found, _ = validate_rules(root, {"l": list(range(300))}, budget=10_000_000)
    assert [e.body.partition(": ")[2] for e in found][-1:] == [
        '"array": validation failed due to running out of cost budget, no further validation rules will be run'
    ]


def test_a_rule_over_its_limit() -> None:
    program = ENVIRONMENT.compile("x.all(a, true)")
    with pytest.raises(CostExceeded):
        program.evaluate({"x": [1] * 100}, 50)


# -- rules on objects --------------------------------------------------------------------------------------------------


def field(schema: dict[str, Any], *rules: Any) -> Any:
    raw = [{"rule": r} if isinstance(r, str) else r for r in rules]
    held = {"type": "object", "properties": schema, **({"x-kubernetes-validations": raw} if raw else {})}
    return compile_structural({"type": "object", "properties": {"spec": held}}).root


def refusals(root: Any, value: Any, old: Any = None) -> list[str]:
    found, _ = validate_rules(root, {"spec": value}, None if old is None else {"spec": old})
    return [str(e) for e in found]


INTEGER, STRING = {"type": "integer"}, {"type": "string"}


def test_messages() -> None:
    root = field(
        {"a": INTEGER, "b": STRING},
        "!has(self.a) || self.a > 0",
        {
            "rule": "!has(self.a) || self.a < 9",
            "message": "too big",
            "reason": "FieldValueForbidden",
            "fieldPath": ".a",
        },
        {"rule": "!has(self.b) || self.b != 'x'", "messageExpression": "'b is ' + self.b", "fieldPath": ".b"},
        {"rule": "!has(self.b) || self.b != 'y'", "messageExpression": "''", "message": "fallback"},
    )
    assert refusals(root, {"a": 1, "b": "c"}) == []
    assert refusals(root, {"a": 0}) == ["spec: Invalid value: failed rule: !has(self.a) || self.a > 0"]
    assert refusals(root, {"a": 10}) == ["spec.a: Forbidden: too big"]
    assert refusals(root, {"b": "x"}) == ["spec.b: Invalid value: b is x"]
    assert refusals(root, {"b": "y"}) == ["spec: Invalid value: fallback"]


def test_transition_rules_run_on_updates_only() -> None:
    root = field({"a": {**STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]}})
    assert refusals(root, {"a": "x"}) == []
    assert refusals(root, {"a": "x"}, {"a": "x"}) == []
    assert refusals(root, {"a": "y"}, {}) == []
    assert refusals(root, {"a": "y"}, {"a": "x"}) == ['spec.a: Invalid value: "y": immutable']


def test_optional_old_self() -> None:
    rule = {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": True, "message": "shrinks"}
    root = field({"a": {**INTEGER, "x-kubernetes-validations": [rule]}})
    assert refusals(root, {"a": 3}) == []
    assert refusals(root, {"a": 2}, {"a": 3}) == ["spec.a: Invalid value: 2: shrinks"]


def test_list_map_items_keep_their_old_self() -> None:
    item = {
        "type": "object",
        "required": ["k"],
        "properties": {"k": STRING, "v": INTEGER},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "v shrinks"}],
    }
    listed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    root = field({"l": listed})
    old = {"l": [{"k": "a", "v": 3}, {"k": "b", "v": 1}]}
    assert refusals(root, {"l": [{"k": "b", "v": 1}, {"k": "a", "v": 2}]}, old) == [
        "spec.l[1]: Invalid value: v shrinks"
    ]
    assert refusals(root, {"l": [{"k": "c", "v": 0}]}, old) == []


def test_unchanged_parts_only_warn() -> None:
    root = field({"a": {**INTEGER, "x-kubernetes-validations": [{"rule": "self > 0"}]}, "b": INTEGER})
    found, warnings = validate_rules(root, {"spec": {"a": 0, "b": 2}}, {"spec": {"a": 0, "b": 1}})
    assert not found
    assert warnings == ["spec.a: Invalid value: 0: failed rule: self > 0"]
    assert refusals(root, {"a": -1}, {"a": 0}) == ["spec.a: Invalid value: -1: failed rule: self > 0"]


def test_escaped_names_and_metadata() -> None:
    schema = {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('a')"}],
        "properties": {"spec": {"type": "object", "properties": {"a-b": INTEGER, "in": INTEGER}}},
    }
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.a__dash__b > self.__in__"}]  # type: ignore[index]
    root = compile_structural(schema).root
    obj = {"apiVersion": "e/v1", "kind": "K", "metadata": {"name": "abc"}, "spec": {"a-b": 2, "in": 1}}
    assert validate_rules(root, obj) == ([], [])
    obj = {**obj, "metadata": {"name": "b"}, "spec": {"a-b": 1, "in": 1}}
    assert len(validate_rules(root, obj)[0]) == 2
