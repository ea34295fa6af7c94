"""What must hold for any input: patches, field sets, managed fields, the wire formats, the expression language."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybernetes.api.cel import CelError, CompileError, Environment, dynamic
from pybernetes.api.errors import StatusError
from pybernetes.api.managedfields import ManagedFields, fieldset
from pybernetes.api.patch import json_patch, merge_patch, strategic_merge_patch
from pybernetes.api.resources import GVK
from pybernetes.api.schema import builtin_schema, strict_decode
from pybernetes.wire import protobuf

PROPERTY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
CONFIG_MAP, POD = GVK("", "v1", "ConfigMap"), GVK("", "v1", "Pod")
NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text('aé\n"☃𝄞', max_size=5)
TREES = st.recursive(SCALARS, lambda t: st.lists(t, max_size=3) | st.dictionaries(NAMES, t, max_size=3), max_leaves=12)
OBJECTS = st.dictionaries(NAMES, TREES, max_size=4)
WORDS = st.dictionaries(st.sampled_from("abcdef"), st.text("xyz", max_size=3), max_size=5)
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES, "image": st.sampled_from(["i", "j"])},
    optional={
        "env": st.lists(
            st.fixed_dictionaries({"name": NAMES, "value": NAMES}), max_size=3, unique_by=lambda e: e["name"]
        ),
        "command": st.lists(NAMES, max_size=2),
    },
)
PODS = st.builds(
    lambda labels, containers: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **({"labels": labels} if labels else {})},
        "spec": {"containers": containers},
    },
    WORDS,
    st.lists(CONTAINER, min_size=1, max_size=3, unique_by=lambda c: c["name"]),
)
FIELDS = st.lists(st.lists(NAMES.map(lambda n: f"f:{n}"), min_size=1, max_size=3).map(tuple), max_size=6).map(
    lambda paths: fieldset.make(*paths)
)


def pruned(value: Any) -> Any:
    """Without nulls in objects, as a merge patch can express it."""
    return {k: pruned(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def merge_difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {k: None for k in old if k not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            patch[key] = merge_difference(before, value)
        else:
            patch[key] = value
    return patch


@PROPERTY
@given(OBJECTS.map(pruned), OBJECTS.map(pruned))
def test_a_merge_patch_leads_anywhere(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy(old)
    result = merge_patch(old, merge_difference(old, new))
    assert result == new
    assert old == before
    assert merge_patch(new, {}) == new


@PROPERTY
@given(OBJECTS, TREES)
def test_a_json_patch_adds_and_removes(obj: dict[str, Any], value: Any) -> None:
    before = copy.deepcopy(obj)
    added = json_patch(obj, [{"op": "add", "path": "/new", "value": value}])
    assert added == {**obj, "new": value}
    assert json_patch(added, [{"op": "remove", "path": "/new"}]) == obj == before


@PROPERTY
@given(
    OBJECTS,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]),
                "path": st.sampled_from(["", "/", "/a", "/a/0", "/a/-", "/b/c", "a", "/~1", "/~2", "/a/99999999999"]),
            },
            optional={"from": st.sampled_from(["", "/a", "/b/c"]), "value": TREES},
        ),
        max_size=4,
    ),
)
def test_a_json_patch_works_or_is_refused(obj: dict[str, Any], ops: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(obj)
    try:
        json_patch(obj, ops)
    except StatusError as refused:
        assert 400 <= refused.code < 500
    assert obj == before


@PROPERTY
@given(PODS, PODS)
def test_a_strategic_patch_of_a_whole_pod_wins(old: dict[str, Any], new: dict[str, Any]) -> None:
    schema = builtin_schema(POD)
    before = copy.deepcopy(old)
    result = strategic_merge_patch(old, new, schema)
    assert old == before
    by_name = {c["name"]: c for c in result["spec"]["containers"]}
    assert set(by_name) == {c["name"] for pod in (old, new) for c in pod["spec"]["containers"]}
    for container in new["spec"]["containers"]:
        merged = by_name[container["name"]]
        assert merged["image"] == container["image"]
        assert all(e in merged["env"] for e in container.get("env", ()))
        if container.get("command"):
            assert merged["command"] == container["command"]
    assert strategic_merge_patch(result, new, schema) == result


@PROPERTY
@given(FIELDS, FIELDS, FIELDS)
def test_field_sets_are_sets(a: Any, b: Any, c: Any) -> None:
    def paths(fields: Any) -> set[Any]:
        return set(fieldset.iterate(fields))

    assert paths(fieldset.union(a, b)) == paths(a) | paths(b)
    assert paths(fieldset.intersection(a, b)) == paths(a) & paths(b)
    assert paths(fieldset.difference(a, b)) == paths(a) - paths(b)
    assert fieldset.union(a, fieldset.union(b, c)) == fieldset.union(fieldset.union(a, b), c)
    assert fieldset.parse(orjson.loads(orjson.dumps(fieldset.ordered(a)))) == a


@PROPERTY
@given(WORDS, WORDS)
def test_what_was_applied_is_there_and_what_was_left_out_is_gone(first: dict[str, str], second: dict[str, str]) -> None:
    schema, fields = builtin_schema(CONFIG_MAP), ManagedFields()

    def config(data: dict[str, str]) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}

    def apply(live: dict[str, Any] | None, data: dict[str, str], now: str) -> dict[str, Any]:
        merged = fields.apply(
            live, config(data), manager="m", api_version="v1", force=False, now=now, schema=schema, subresource=""
        )
        return merged

    live = apply(None, first, "2026-01-01T00:00:00Z")
    assert live.get("data") or first == {}
    other = {**live, "data": {**(live.get("data") or {}), "other": "x"}}
    live = fields.update(
        live, other, manager="u", api_version="v1", subresource="", now="2026-01-01T00:00:01Z", schema=schema
    )
    again = apply(live, first, "2026-01-01T00:00:02Z")
    assert again == live
    live = apply(live, second, "2026-01-01T00:00:03Z")
    assert live["data"] == {**second, "other": "x"}


@PROPERTY
@given(PODS)
def test_both_wire_formats_say_the_same(pod: dict[str, Any]) -> None:
    schema = builtin_schema(POD)
    read = schema.read(pod)
    kind, obj = protobuf.decode(protobuf.encode(POD, read))
    assert kind == POD
    assert schema.read({"apiVersion": "v1", "kind": "Pod", **obj}) == read


@PROPERTY
@given(st.binary(max_size=60))
def test_noise_is_refused_as_protobuf(noise: bytes) -> None:
    try:
        protobuf.decode(b"k8s\x00" + noise)
    except ValueError:
        pass


@PROPERTY
@given(TREES)
def test_strict_decoding_reads_json(tree: Any) -> None:
    value = {"a": tree}
    assert strict_decode(orjson.dumps(value)) == (value, [])


@PROPERTY
@given(st.text("x.()[]{}+-!&|<>=?:,'\"0123a \\n\n/*%", max_size=30))
def test_no_expression_breaks_the_compiler(text: str) -> None:
    try:
        Environment(dynamic("x")).compile(text).evaluate({"x": {"a": [1, "b"]}})
    except (CompileError, CelError):
        pass
