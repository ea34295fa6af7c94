"""JSON patch, merge patch and strategic merge patch: tables of cases out of the documentation."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.patch import json_patch, merge_patch, strategic_merge_patch
from pybernetes.api.resources import GVK
from pybernetes.api.schema import builtin_schema

DEPLOYMENT = builtin_schema(GVK("apps", "v1", "Deployment"))
POD = builtin_schema(GVK("", "v1", "Pod"))

# RFC 6902, appendix A, and the lenient cases
JSON_CASES: list[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | int]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
    ({"foo": ["a", "b", "c"]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": ["b", "c", "a"]}),
    ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
    ({"a": [1, "2"]}, [{"op": "test", "path": "/a/1", "value": "2"}], {"a": [1, "2"]}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": "1"}], 422),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], 422),
    ({"foo": []}, [{"op": "add", "path": "/foo/-", "value": ["x"]}], {"foo": [["x"]]}),
    ({"a": 1}, [{"op": "add", "path": "/b/c", "value": 1}], 422),
    ({"/": 9, "~1": 10}, [{"op": "replace", "path": "/~01", "value": 1}], {"/": 9, "~1": 1}),
    ({"a": {}}, [{"op": "replace", "path": "/a/b", "value": 1}], {"a": {"b": 1}}),
    ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
    ({"a": [1, 2]}, [{"op": "remove", "path": "/a/2"}], 422),
    ({"a": [1, 2]}, [{"op": "remove", "path": "/a/x"}], 422),
    ({"a": 1}, [{"op": "remove", "path": "/b"}], 422),
    ({"a": 1}, [{"op": "nonsense", "path": "/b"}], 422),
    ({"a": 1}, [{"op": "remove"}], 422),
    ({"a": 1}, [{"op": "add", "path": "/a/b", "value": 1}], 422),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 1}}], {"b": 1}),
]


@pytest.mark.parametrize(("obj", "ops", "result"), JSON_CASES)
def test_json_patch(obj: dict, ops: list, result: dict | int) -> None:
    before = copy.deepcopy((obj, ops))
    if isinstance(result, int):
        with pytest.raises(StatusError) as failure:
            json_patch(obj, ops)
        assert failure.value.code == result
        assert failure.value.message == "the server rejected our request due to an error in our request"
    else:
        assert json_patch(obj, ops) == result
    assert (obj, ops) == before


def test_json_patch_limits() -> None:
    with pytest.raises(StatusError) as failure:
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)
    assert failure.value.code == 413
    with pytest.raises(StatusError) as failure:
        json_patch({}, {"op": "add"})
    assert failure.value.message == (
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    )


def test_json_patch_copy_bomb() -> None:
    ops = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 64
    with pytest.raises(StatusError) as failure:
        json_patch({"a": ["x" * 1000]}, ops)
    assert failure.value.code == 422


# RFC 7386, appendix A
@pytest.mark.parametrize(
    ("obj", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(obj: dict, patch: dict, result: dict) -> None:
    before = copy.deepcopy((obj, patch))
    assert merge_patch(obj, patch) == result
    assert (obj, patch) == before


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def containers(*names: str) -> list[dict[str, Any]]:
    return [{"name": n, "image": n} for n in names]


STRATEGIC: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # lists with a merge key merge, new items come first as the order of the patch wins
    (
        pod(containers=containers("a")),
        pod(containers=[{"name": "b", "image": "b"}]),
        pod(containers=containers("b", "a")),
    ),
    (
        pod(containers=containers("a", "b")),
        pod(containers=[{"name": "a", "image": "x"}]),
        pod(containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "b"}]),
    ),
    # atomic lists are replaced
    (pod(tolerations=[{"key": "a"}]), pod(tolerations=[{"key": "b"}]), pod(tolerations=[{"key": "b"}])),
    # $patch: delete, replace in lists
    (
        pod(containers=containers("a", "b")),
        pod(containers=[{"name": "a", "$patch": "delete"}]),
        pod(containers=containers("b")),
    ),
    (
        pod(containers=containers("a", "b")),
        pod(containers=[{"$patch": "replace"}, {"name": "c", "image": "c"}]),
        pod(containers=containers("c")),
    ),
    # $patch in maps
    (pod(nodeSelector={"a": "b"}), pod(nodeSelector={"c": "d", "$patch": "replace"}), pod(nodeSelector={"c": "d"})),
    (pod(nodeSelector={"a": "b"}), pod(nodeSelector={"$patch": "delete"}), pod(nodeSelector={})),
    (pod(nodeSelector={"a": "b"}), pod(nodeSelector=None), pod()),
    (pod(), pod(nodeSelector={"a": None, "b": "c"}), pod(nodeSelector={"b": "c"})),
    # scalars merge in sets, and are deleted by the parallel list
    (
        {"metadata": {"finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b", "a"]}},
        {"metadata": {"finalizers": ["b", "a"]}},
    ),
    (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    # order lists
    (
        pod(containers=containers("a", "b", "c")),
        pod(**{"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}),
        pod(containers=containers("b", "c", "a")),
    ),
    (
        pod(containers=containers("a", "b")),
        pod(
            **{"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}]},
            containers=[{"name": "c", "image": "c"}],
        ),
        pod(containers=containers("c", "b", "a")),
    ),
    # retainKeys
    (
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
        pod(volumes=[{"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]}]),
        pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    ),
]


@pytest.mark.parametrize(("obj", "patch", "result"), STRATEGIC)
def test_strategic_merge_patch(obj: dict, patch: dict, result: dict) -> None:
    before = copy.deepcopy((obj, patch))
    assert strategic_merge_patch(obj, patch, POD) == result
    assert (obj, patch) == before


def test_retain_keys_of_a_deployment_strategy() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (pod(containers=[{"image": "x"}]), "map: map[image:x] does not contain declared merge key: name"),
        (pod(nodeSelector={"$patch": "foo"}), "unknown patch type: foo in map: map[$patch:foo]"),
        (pod(containers=[{"name": "a", "$patch": "merge"}]), "merging lists cannot yet be specified in the patch"),
        (pod(volumes=[{"name": "v", "$retainKeys": 1}]), "invalid patch format of retainKeys"),
        (pod(**{"$deleteFromPrimitiveListx": ["a"]}), "invalid patch format of primitive list"),
    ],
)
def test_bad_strategic_patches(patch: dict, message: str) -> None:
    live = pod(containers=containers("a"), nodeSelector={"a": "b"}, volumes=[{"name": "v"}])
    with pytest.raises(StatusError) as failure:
        strategic_merge_patch(live, patch, POD)
    assert (failure.value.code, failure.value.message) == (400, message)
