"""Custom resources: pruning, defaults, unknown fields, OpenAPI validation, ratcheting. Messages are a v1.36 server's."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from pybernetes.api.regexes import PatternError, compile_pattern, matches
from pybernetes.api.schema import compile_structural

INTEGER, STRING = {"type": "integer"}, {"type": "string"}
PAIR = {"type": "object", "properties": {"q": INTEGER, "w": STRING}}
EITHER = [{"required": ["q"]}, {"required": ["w"]}]


def spec(**properties: Any) -> Any:
    return compile_structural({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})


def custom(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "e.x/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": fields}


def problems(schema: dict[str, Any], value: Any, old: Any = None) -> list[str]:
    compiled = spec(f=schema)
    before = None if old is None else custom(f=old)
    return [str(e) for e in compiled.validate(custom(f=value), before)]


BODY = "spec.f: Invalid value: {}: spec.f in body {}"
CASES: list[tuple[dict[str, Any], Any, list[str]]] = [
    (STRING, "x", []),
    (STRING, 1, [BODY.format('"integer"', 'must be of type string: "integer"')]),
    (STRING, None, [BODY.format('"null"', 'must be of type string: "null"')]),
    ({**STRING, "nullable": True}, None, []),
    (INTEGER, 2.0, []),
    (
        INTEGER,
        1.5,
        [
            BODY.format('"number"', 'must be of type integer: "number"'),
            '<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.f',
        ],
    ),
    ({"type": "number"}, 1, []),
    ({**INTEGER, "minimum": 1}, 0, [BODY.format(0, "should be greater than or equal to 1")]),
    ({**INTEGER, "minimum": 1, "exclusiveMinimum": True}, 1, [BODY.format(1, "should be greater than 1")]),
    (
        {"type": "number", "maximum": 1000000.5},
        2e6,
        [BODY.format("2e+06", "should be less than or equal to 1.0000005e+06")],
    ),
    ({**INTEGER, "multipleOf": 3}, 4, [BODY.format(4, "should be a multiple of 3")]),
    ({**STRING, "minLength": 2}, "a", [BODY.format('"a"', "should be at least 2 chars long")]),
    ({**STRING, "maxLength": 2}, "abc", ["spec.f: Too long: may not be more than 2 bytes"]),
    ({**STRING, "pattern": "^[a-z]+$"}, "A", [BODY.format('"A"', "should match '^[a-z]+$'")]),
    ({**STRING, "enum": ["a", "b"]}, "c", ['spec.f: Unsupported value: "c": supported values: "a", "b"']),
    ({"type": "array", "items": INTEGER, "maxItems": 1}, [1, 2], ["spec.f: Too many: 2: must have at most 1 items"]),
    ({"type": "array", "items": INTEGER, "minItems": 1}, [], [BODY.format(0, "should have at least 1 items")]),
    (
        {"type": "array", "items": INTEGER},
        [1, "x"],
        ['spec.f[1]: Invalid value: "string": spec.f[1] in body must be of type integer: "string"'],
    ),
    (
        {"type": "object", "additionalProperties": INTEGER},
        {"k": "x"},
        ['spec.f.k: Invalid value: "string": spec.f.k in body must be of type integer: "string"'],
    ),
    ({"type": "object", "required": ["r"], "properties": {"r": STRING}}, {}, ["spec.f.r: Required value"]),
    ({"x-kubernetes-int-or-string": True}, "50%", []),
    (
        {"x-kubernetes-int-or-string": True},
        True,
        [BODY.format('"boolean"', 'must be of type integer,string: "boolean"')],
    ),
    ({**STRING, "format": "date-time"}, "2020-01-01T00:00:00Z", []),
    ({**STRING, "format": "ipv4"}, "::1", [BODY.format('"::1"', 'must be of type ipv4: "::1"')]),
    ({**STRING, "format": "date-time"}, 5, [BODY.format('"int64"', 'must be of type date-time: "int64"')]),
    ({**STRING, "format": "no-such-format"}, "x", []),
    (
        {**PAIR, "anyOf": EITHER},
        {},
        ['<nil>: Invalid value: "": "spec.f" must validate at least one schema (anyOf)', "spec.f.q: Required value"],
    ),
    (
        {**PAIR, "oneOf": EITHER},
        {"q": 1, "w": "x"},
        [
            '<nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found 2 valid alternatives'
        ],
    ),
    (
        {**STRING, "not": {"enum": ["bad"]}},
        "bad",
        ['<nil>: Invalid value: "": "spec.f" must not validate the schema (not)'],
    ),
    (
        {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
        ["a", "b", "a", "a"],
        ['spec.f[2]: Duplicate value: "a"'],
    ),
    (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"a": STRING}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["a"],
        },
        [{"a": "1"}, {"a": "1"}],
        ['spec.f[1]: Duplicate value: {"a":"1"}'],
    ),
    (
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"apiVersion": "a/b/c"},
        [
            "spec.f.kind: Required value",
            'spec.f.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
        ],
    ),
]


@pytest.mark.parametrize(("schema", "value", "expected"), CASES)
def test_validation(schema: dict, value: Any, expected: list[str]) -> None:
    assert problems(schema, value) == expected


RATCHET: list[tuple[dict[str, Any], Any, Any, bool]] = [
    ({**INTEGER, "maximum": 1}, 9, 9, True),
    ({**INTEGER, "maximum": 1}, 8, 9, False),
    ({"type": "array", "items": {**INTEGER, "maximum": 1}}, [9, 1], [9], False),
    ({"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}, ["b", "b"], ["a", "a"], True),
    ({"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}, ["b", "b"], ["a"], False),
]


@pytest.mark.parametrize(("schema", "new", "old", "accepted"), RATCHET)
def test_ratcheting(schema: dict, new: Any, old: Any, accepted: bool) -> None:
    assert (not problems(schema, new, old)) == accepted


def test_list_items_ratchet_by_their_keys() -> None:
    item = {"type": "object", "properties": {"a": STRING, "v": {**INTEGER, "maximum": 5}}}
    schema = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a"],
    }
    assert not problems(schema, [{"a": "2", "v": 1}, {"a": "1", "v": 9}], [{"a": "1", "v": 9}])
    assert problems(schema, [{"a": "2", "v": 9}], [{"a": "1", "v": 9}])


# -- pruning, unknown fields, defaults -----------------------------------------------------------------------------------

FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
PRUNING = spec(
    a=STRING,
    free=FREE,
    half={**FREE, "properties": {"b": {"type": "object", "properties": {"c": STRING}}}},
    map={"type": "object", "additionalProperties": {"type": "object", "properties": {"c": STRING}}},
    emb={**FREE, "x-kubernetes-embedded-resource": True},
    nul={**STRING, "nullable": True},
    list={"type": "array", "items": {"type": "object", "properties": {"c": STRING}}},
)


def test_pruning() -> None:
    obj = custom(
        a=None,
        x=1,
        free={"y": {"z": None}},
        half={"b": {"c": "1", "d": 1}, "e": 1},
        map={"k": {"c": "1", "d": 1}},
        emb={"apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "foo": 1, "labels": {}}, "other": 1},
        nul=None,
        list=[{"c": "1", "d": 1}],
    )
    obj["top"] = 1
    obj["metadata"]["zzz"] = 1
    unknown = PRUNING.unknown_fields(copy.deepcopy(obj))
    assert unknown == [
        "metadata.zzz",
        "spec.half.b.d",
        "spec.list[0].d",
        "spec.map.k.d",
        "spec.x",
        "top",
        "spec.emb.metadata.foo",
    ]
    PRUNING.prune(obj)
    assert obj == custom(
        free={"y": {"z": None}},
        half={"b": {"c": "1"}, "e": 1},
        map={"k": {"c": "1"}},
        emb={"apiVersion": "v1", "kind": "X", "metadata": {"name": "n"}, "other": 1},
        nul=None,
        list=[{"c": "1"}],
    )


def test_defaults_go_top_down_and_replace_nulls() -> None:
    inner = {"type": "object", "default": {}, "properties": {"d": {**INTEGER, "default": 7}, "e": STRING}}
    schema = spec(o=inner, l={"type": "array", "items": inner}, n={**STRING, "nullable": True, "default": "x"})
    obj = custom(o=None, l=[{}, {"d": 1}, None], n=None)
    schema.prune(obj)
    schema.default(obj)
    assert obj == custom(o={"d": 7}, l=[{"d": 7}, {"d": 1}, {"d": 7}], n=None)
    obj["spec"]["o"]["d"] = 9
    again = custom()
    schema.default(again)
    assert again == custom(o={"d": 7}, n="x")


def test_bad_metadata_is_a_decoding_error() -> None:
    schema = spec()
    words = "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
    assert schema.decode_errors({**custom(), "metadata": {"labels": {"a": 1}}}) == words
    assert schema.decode_errors([]) is not None
    embedded = spec(e={**FREE, "x-kubernetes-embedded-resource": True})
    assert embedded.decode_errors(custom(e={"kind": 1})) == "spec.e.kind: Invalid value: 1: must be a string"


# -- hostile input ---------------------------------------------------------------------------------------------------------


def test_patterns_run_in_linear_time() -> None:
    assert not matches("^(a+)+$", "a" * 50_000 + "b")
    with pytest.raises(PatternError):
        compile_pattern("(?=a)")
    assert "pattern is invalid" in problems({**STRING, "pattern": "("}, "x")[0]


def test_deep_schemas_and_values() -> None:
    schema: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    value: Any = {}
    for _ in range(120):
        schema = {"type": "object", "properties": {"a": schema}}
        value = {"a": value}
    compiled = compile_structural(schema)
    assert compiled.validate({**custom(), **value}) == []
    deep: Any = {}
    for _ in range(20_000):
        deep = {"a": deep}
    recursive = spec(f={"type": "object", "additionalProperties": FREE})
    recursive.prune(custom(f=deep))


# -- the short way -----------------------------------------------------------------------------------------------------


def _anything(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(4 if depth > 3 else 6)
    if kind == 4:
        return [_anything(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind == 5:
        names = ["a", "b", "c", "d", "e", "metadata", "kind", "x"]
        return {rng.choice(names): _anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [None, 1, "text", True][kind]


def test_an_object_that_fits_has_nothing_to_drop() -> None:
    schema = spec(
        a={"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "nullable": True}}},
        b={"type": "array", "items": {"type": "object", "properties": {"c": {"type": "string", "default": "x"}}}},
        c={"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "boolean"}}}},
        d=FREE,
        e={"x-kubernetes-int-or-string": True},
        x={"type": "array", "items": {"type": "string"}},
    )
    rng, fitting = random.Random(3), 0
    for _ in range(4000):
        obj = custom(**{name: _anything(rng) for name in rng.sample("abcdex", 3)})
        pruned = copy.deepcopy(obj)
        unknown = schema.unknown_fields(copy.deepcopy(obj))
        schema.prune(pruned)
        before = copy.deepcopy(obj)
        if schema.coerce_fitting(obj):
            fitting += 1
            assert not unknown and obj == pruned
        else:
            assert obj == before
    assert fitting > 200


def test_lists_that_keep_what_is_unknown() -> None:
    keep = {"x-kubernetes-preserve-unknown-fields": True}
    known = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": STRING}}}}
    schema = spec(
        free={"type": "array", **keep},
        half={"type": "array", "items": known, **keep},
        none={"type": "array"},
        bare={"type": "array", "items": known},
    )
    item = {"a": {"b": "1", "c": 2}, "d": 3}
    obj = custom(**{name: [copy.deepcopy(item)] for name in ("free", "half", "none", "bare")})
    assert schema.unknown_fields(copy.deepcopy(obj)) == [
        "spec.bare[0].a.c", "spec.bare[0].d", "spec.half[0].a.c", "spec.none[0].a", "spec.none[0].d",
    ]  # fmt: skip
    schema.prune(obj)
    assert obj["spec"] == {
        "free": [item], "half": [{"a": {"b": "1"}, "d": 3}], "none": [{}], "bare": [{"a": {"b": "1"}}],
    }  # fmt: skip
