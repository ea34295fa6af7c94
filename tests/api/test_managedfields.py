"""Server-side apply: ownership after writes, merging, conflicts, by the cases of the documentation."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.managedfields import (
    ManagedFields,
    is_reset,
    keep_timestamps,
    manager_name,
    without_managed_fields,
)
from pybernetes.api.resources import GVK
from pybernetes.api.schema import builtin_schema, compile_structural

DEPLOYMENT = builtin_schema(GVK("apps", "v1", "Deployment"))
CONFIG_MAP = builtin_schema(GVK("", "v1", "ConfigMap"))
T0, T1, T2 = 1_700_000_000.0, 1_700_000_100.0, 1_700_000_200.0


def config_map(data: dict[str, str] | None, **meta: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", **meta}}
    if data is not None:
        obj["data"] = data
    return obj


def create(obj: dict[str, Any], manager: str = "creator", schema: Any = CONFIG_MAP) -> dict[str, Any]:
    return ManagedFields.update(None, obj, manager=manager, api_version=obj["apiVersion"], schema=schema, now=T0)


def write(old: dict, new: dict, manager: str, now: float = T1, **more: Any) -> dict[str, Any]:
    return ManagedFields.update(old, new, manager=manager, api_version="v1", schema=CONFIG_MAP, now=now, **more)


def put(live: dict | None, applied: dict, manager: str, now: float = T2, **more: Any) -> dict[str, Any]:
    return ManagedFields.apply(live, applied, manager=manager, api_version="v1", schema=CONFIG_MAP, now=now, **more)


def owners(obj: dict[str, Any]) -> dict[str, Any]:
    return {e["manager"] + "/" + e["operation"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


def test_create_owns_every_field() -> None:
    made = create(config_map({"b": "1", "a": "2"}, labels={"x": "y"}))
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "creator",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2023-11-14T22:13:20Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:data": {".": {}, "f:a": {}, "f:b": {}},
                "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
            },
        }
    ]
    assert json.dumps(owners(made)["creator/Update"]).index("f:a") < json.dumps(owners(made)["creator/Update"]).index(
        "f:b"
    )


def test_structs_that_always_exist_are_not_owned() -> None:
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 9}]}]},
            },
        },
    }
    made = create(body, schema=DEPLOYMENT)
    assert owners(made)["creator/Update"]["f:spec"] == {
        "f:replicas": {},
        "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
        "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                "f:containers": {
                    'k:{"name":"c"}': {
                        ".": {},
                        "f:name": {},
                        "f:ports": {
                            ".": {},
                            'k:{"containerPort":9,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                            'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                        },
                    }
                }
            },
        },
    }


def test_an_update_takes_what_it_changes() -> None:
    live = create(config_map({"a": "1", "b": "2"}))
    new = write(live, config_map({"a": "1", "b": "3", "c": "4"}), "other")
    assert owners(new) == {
        "creator/Update": {"f:data": {".": {}, "f:a": {}}},
        "other/Update": {"f:data": {"f:b": {}, "f:c": {}}},
    }
    assert [e["time"] for e in new["metadata"]["managedFields"]] == ["2023-11-14T22:13:20Z", "2023-11-14T22:15:00Z"]


def test_a_removed_field_belongs_to_nobody() -> None:
    live = create(config_map({"a": "1", "b": "2"}))
    new = write(live, config_map({"a": "1"}), "other")
    assert owners(new) == {"creator/Update": {"f:data": {".": {}, "f:a": {}}}}
    assert write(live, config_map(None), "other")["metadata"].get("managedFields") is None


def test_a_write_that_changes_nothing_keeps_the_entries() -> None:
    live = create(config_map({"a": "1"}))
    same = write(live, copy.deepcopy(live), "other")
    assert same == live
    stripped = write(live, without_managed_fields(live), "other")
    assert stripped == live


def test_writes_under_an_untracked_object_stay_untracked() -> None:
    live = config_map({"a": "1"})
    assert "managedFields" not in write(live, config_map({"a": "2"}), "x")["metadata"]


def test_managed_fields_can_be_reset() -> None:
    live = create(config_map({"a": "1"}))
    for empty in ([], [{}]):
        assert is_reset(empty)
        new = write(live, config_map({"a": "1"}, managedFields=empty), "x")
        assert "managedFields" not in new["metadata"]
    assert not is_reset(None)


def test_garbage_in_managed_fields_is_ignored() -> None:
    live = create(config_map({"a": "1"}))
    for junk in ([{"manager": "m"}], [{"manager": "m", "operation": "Update", "apiVersion": "v1"}]):
        new = write(live, config_map({"a": "1"}, managedFields=junk), "x")
        assert owners(new) == owners(live)
    bad = [{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"k:{}": {}}}]
    assert owners(write(live, config_map({"a": "1"}, managedFields=bad), "x")) == owners(live)


def test_subresources_have_entries_of_their_own() -> None:
    live = create(config_map({"a": "1"}), "m")
    new = write(live, config_map({"a": "2"}), "m", subresource="status")
    entries = new["metadata"]["managedFields"]
    assert [(e["manager"], e.get("subresource")) for e in entries] == [("m", None), ("m", "status")]


def test_reset_fields_are_not_owned() -> None:
    live = create(config_map({"a": "1"}))
    reset = {"v1": {"f:data": {}}}
    new = write(live, config_map({"a": "2"}), "x", reset_fields=reset)
    assert owners(new) == owners(live)


def test_old_updaters_are_merged() -> None:
    live = create(config_map({"k": "v"}), "m0")
    for i in range(1, 15):
        live = write(live, config_map({**live["data"], f"k{i}": "v"}), f"m{i:02}", now=T0 + i)
    entries = live["metadata"]["managedFields"]
    assert len(entries) == 10
    ancient = entries[0]
    assert ancient["manager"] == "ancient-changes"
    assert sorted(ancient["fieldsV1"]["f:data"]) == [".", "f:k", "f:k1", "f:k2", "f:k3", "f:k4", "f:k5"]


# -- apply -----------------------------------------------------------------------------------------------------------


def test_apply_creates_and_owns_what_it_says() -> None:
    made = put(None, config_map({"a": "1"}), "me")
    assert made["data"] == {"a": "1"}
    assert owners(made) == {"me/Apply": {"f:data": {"f:a": {}}}}


def test_apply_conflicts_and_force() -> None:
    live = create(config_map({"a": "1", "b": "1"}), "kubectl")
    with pytest.raises(StatusError) as failure:
        put(live, config_map({"a": "2"}), "me")
    assert failure.value.to_status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Apply failed with 1 conflict: conflict with "kubectl" using v1: .data.a',
        "reason": "Conflict",
        "details": {
            "causes": [
                {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data.a"}
            ]
        },
        "code": 409,
    }
    forced = put(live, config_map({"a": "2"}), "me", force=True)
    assert forced["data"] == {"a": "2", "b": "1"}
    assert owners(forced) == {"me/Apply": {"f:data": {"f:a": {}}}, "kubectl/Update": {"f:data": {".": {}, "f:b": {}}}}


def test_several_conflicts_are_listed_by_manager() -> None:
    live = put(None, config_map({"a": "1", "b": "1"}), "one")
    live = write(live, config_map({"a": "1", "b": "1", "c": "1"}), "two", subresource="status")
    with pytest.raises(StatusError) as failure:
        put(live, config_map({"a": "2", "b": "2", "c": "2"}), "me")
    assert failure.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\n'
        'conflicts with "two" with subresource "status" using v1:\n- .data.c'
    )


def test_same_values_are_shared_without_conflict() -> None:
    live = put(None, config_map({"a": "1"}), "one", now=T0)
    both = put(live, config_map({"a": "1"}), "two")
    assert owners(both) == {"one/Apply": {"f:data": {"f:a": {}}}, "two/Apply": {"f:data": {"f:a": {}}}}
    left = put(both, config_map(None), "one")
    assert left["data"] == {"a": "1"}
    gone = put(left, config_map(None), "two")
    assert not gone.get("data") and "managedFields" not in gone["metadata"]


def test_fields_no_longer_applied_are_removed() -> None:
    live = put(None, config_map({"a": "1", "b": "2"}), "me", now=T0)
    assert put(live, config_map({"a": "1"}), "me")["data"] == {"a": "1"}


def test_fields_that_others_own_stay() -> None:
    live = put(None, config_map({"a": "1", "b": "2"}), "me", now=T0)
    live = write(live, config_map({"a": "1", "b": "2", "c": "3"}), "other")
    assert put(live, config_map({"a": "1"}), "me")["data"] == {"a": "1", "c": "3"}


def test_applying_the_same_again_writes_nothing() -> None:
    live = put(None, config_map({"a": "1"}), "me", now=T0)
    assert put(live, config_map({"a": "1"}), "me") is live


def test_apply_to_an_untracked_object() -> None:
    live = config_map({"a": "1", "b": "2"}, uid="u")
    with pytest.raises(StatusError) as failure:
        put(live, config_map({"a": "2"}), "me")
    assert 'conflict with "before-first-apply" using v1: .data.a' in failure.value.message


def test_kubectl_takes_over_from_client_side_apply() -> None:
    last = config_map({"a": "1"})
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(last)}
    live = create(config_map({"a": "1"}, annotations=note), "kubectl-client-side-apply")
    new = put(live, config_map({"a": "2"}), "kubectl")
    assert new["data"] == {"a": "2"}
    kept = json.loads(new["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert kept["data"] == {"a": "2"}
    changed = write(live, config_map({"a": "9"}, annotations=note), "other")
    with pytest.raises(StatusError):
        put(changed, config_map({"a": "2"}), "kubectl")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"foo": 1},
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .foo: field not declared in schema",
        ),
        ({"spec": {"replicas": "x"}}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"spec": {"paused": 3}}, ".spec.paused: expected boolean, got &{3}"),
        ({"spec": {"template": "x"}}, ".spec.template: expected map, got &{x}"),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}},
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            {"spec": {"template": {"spec": {"containers": [None]}}}},
            "element 0: associative list with keys may not have a null element",
        ),
        ({"apiVersion": "apps/v2"}, "invalid object type: apps/v2, Kind=Deployment"),
        ({"metadata": {"name": "d", "managedFields": []}}, "metadata.managedFields must be nil"),
    ],
)
def test_configurations_that_do_not_fit(change: dict, words: str) -> None:
    applied = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, **change}
    with pytest.raises(StatusError) as failure:
        ManagedFields.apply(None, applied, manager="m", api_version="apps/v1", schema=DEPLOYMENT, now=T0)
    assert failure.value.code == 400 and words in failure.value.message


def deployment(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": list(containers)}}, **spec},
    }


def apply_deployment(live: dict | None, applied: dict, manager: str, **more: Any) -> dict[str, Any]:
    return ManagedFields.apply(live, applied, manager=manager, api_version="apps/v1", schema=DEPLOYMENT, now=T1, **more)


def names(obj: dict[str, Any]) -> list[str]:
    return [c["name"] for c in obj["spec"]["template"]["spec"]["containers"]]


def test_list_maps_merge_by_key_and_lose_items() -> None:
    live = apply_deployment(None, deployment({"name": "a", "image": "1"}, {"name": "b"}), "one")
    live = apply_deployment(live, deployment({"name": "side"}, {"name": "a", "workingDir": "/"}), "two")
    assert names(live) == ["side", "a", "b"]
    less = apply_deployment(live, deployment({"name": "b"}), "one")
    assert names(less) == ["side", "a", "b"]
    assert less["spec"]["template"]["spec"]["containers"][1] == {"name": "a", "workingDir": "/"}
    assert names(apply_deployment(less, deployment(), "two")) == ["b"]


def test_atomic_structs_are_replaced_whole() -> None:
    live = apply_deployment(None, deployment(selector={"matchLabels": {"a": "b"}}), "one")
    with pytest.raises(StatusError) as failure:
        apply_deployment(live, deployment(selector={"matchLabels": {"c": "d"}}), "two")
    assert failure.value.message.endswith(": .spec.selector")
    new = apply_deployment(live, deployment(selector={"matchLabels": {"c": "d"}}), "two", force=True)
    assert new["spec"]["selector"] == {"matchLabels": {"c": "d"}}


CRD = compile_structural(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "plain": {"type": "array", "items": {"type": "string"}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "any": {"x-kubernetes-preserve-unknown-fields": True},
                },
            }
        },
    }
)


def custom(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "e.x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def apply_custom(live: dict | None, applied: dict, manager: str, **more: Any) -> dict[str, Any]:
    return ManagedFields.apply(live, applied, manager=manager, api_version="e.x/v1", schema=CRD, now=T1, **more)


def test_custom_resources_with_sets_and_free_form_parts() -> None:
    live = apply_custom(None, custom(set=["a", "b"], plain=["x"], free={"k": {"l": 1}}, any=[1]), "one")
    assert owners(live)["one/Apply"]["f:spec"] == {
        "f:any": {},
        "f:free": {"f:k": {".": {}, "f:l": {}}},
        "f:plain": {},
        "f:set": {'v:"a"': {}, 'v:"b"': {}},
    }
    live = apply_custom(live, custom(set=["c"]), "two")
    assert live["spec"]["set"] == ["a", "b", "c"]
    assert apply_custom(live, custom(set=["b"]), "one")["spec"] == {"set": ["b", "c"]}


def test_user_agents_name_managers() -> None:
    assert manager_name("", "kubectl/v1.36.2 (linux/amd64) kubernetes/abc") == "kubectl"
    assert manager_name("given", "kubectl/v1") == "given"
    assert manager_name("", "") == ""
    assert manager_name("", "x" * 200) == "x" * 128


def test_only_new_times_is_no_change() -> None:
    old = create(config_map({"a": "1"}))
    new = copy.deepcopy(old)
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z"
    assert keep_timestamps(new, old) == old
    new["data"] = {"a": "2"}
    assert keep_timestamps(new, old) is new
