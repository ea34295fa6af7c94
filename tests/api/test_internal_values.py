"""How errors print upstream's internal types: learned by sending the same updates to kube-apiserver."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pybernetes.api.resources import builtin_by_gvr
from pybernetes.api.validation import validate_update
from pybernetes.api.validation.diffs import diff
from pybernetes.api.validation.go_structs import STRUCTS
from pybernetes.api.validation.go_values import go_value, same

NAMES = [line.split()[0] for line in STRUCTS.strip().splitlines() if not line.startswith(" ")]


@pytest.mark.parametrize("name", NAMES)
def test_every_struct_has_a_zero_value_that_is_json(name: str) -> None:
    assert json.dumps(go_value({}, name))


def test_a_struct_has_gos_names_in_gos_order_and_every_field() -> None:
    assert json.dumps(go_value({"image": "i", "monitors": ["m"]}, "core.RBDVolumeSource")) == (
        '{"CephMonitors": ["m"], "RBDImage": "i", "FSType": "", "RBDPool": "", "RadosUser": "", "Keyring": "", '
        '"SecretRef": null, "ReadOnly": false}'
    )


def test_embedded_structs_stand_among_the_others() -> None:
    template = {"metadata": {"labels": {"b": "1", "a": "2"}}, "spec": {"containers": [{"name": "c"}]}}
    shown = go_value(template, "core.PodTemplateSpec")
    assert shown is not None and list(shown) == ["labels", "Spec"] and list(shown["labels"]) == ["a", "b"]
    assert shown["Spec"]["Containers"][0]["Resources"] == {"Limits": None, "Requests": None, "Claims": None}


def test_what_a_pod_spec_says_of_the_host_is_in_its_security_context() -> None:
    shown = go_value({"hostNetwork": True, "containers": []}, "core.PodSpec")
    assert shown is not None and shown["SecurityContext"]["HostNetwork"] is True


def test_pointers_to_nothing_are_no_missing_pointers() -> None:
    claim = "core.PersistentVolumeClaimSpec"
    assert same({"volumeName": ""}, {}, claim)
    assert same({"accessModes": []}, {}, claim)
    assert not same({"storageClassName": ""}, {}, claim)


def test_a_difference_of_volumes() -> None:
    old, new = {"nfs": {"server": "s", "path": "/"}}, {"nfs": {"server": "t", "path": "/"}}
    assert diff(old, new, "core.PersistentVolumeSource") == (
        '@@ -4,7 +4,7 @@\n  "HostPath": null,\n  "Glusterfs": null,\n  "NFS": {\n-  "Server": "s",\n+  "Server": "t",\n'
        '   "Path": "/",\n   "ReadOnly": false\n  },\n'
    )


def _update(resource: str, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    info = next(i for gvr, i in builtin_by_gvr().items() if gvr.resource == resource)
    for obj in (new, old):
        obj["metadata"] = {"name": "x", "namespace": "n", "resourceVersion": "1", "uid": "u"}
    if not info.namespaced:
        del new["metadata"]["namespace"], old["metadata"]["namespace"]
    return [str(e) for e in validate_update(info, new, old)]


def test_an_attachment_is_immutable() -> None:
    old = {"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}
    new = {"spec": {**old["spec"], "nodeName": "m"}}
    assert _update("volumeattachments", new, old) == [
        'spec: Invalid value: {"Attacher":"a.b","Source":{"PersistentVolumeName":"p","InlineVolumeSpec":null},'
        '"NodeName":"m"}: field is immutable'
    ]


def test_nodes_and_volumes_are_checked_twice() -> None:
    node = {"spec": {"taints": [{"key": "a", "effect": "Odd"}]}}
    found = _update("nodes", node, {"spec": {}})
    assert len(found) == 2 and found[0] == found[1] and "metadata.taints[0].effect" in found[0]


def test_an_immutable_config_map_keeps_even_its_empty_maps() -> None:
    old = {"immutable": True, "data": {"a": "b"}}
    assert _update("configmaps", {**old, "binaryData": {}}, old) == [
        "binaryData: Forbidden: field is immutable when `immutable` is set"
    ]


def test_pointers_to_empty_structs_are_set() -> None:
    claim = "core.PersistentVolumeClaimSpec"
    assert not same({"selector": {}}, {}, claim) and same({"selector": {}}, {"selector": {}}, claim)


def test_a_pod_keeps_even_a_pointer_to_nothing() -> None:
    def pod(profile: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "c", "image": "i", "securityContext": {"seccompProfile": profile}}]}}

    kind = {"type": "RuntimeDefault"}
    (found, *_) = [
        e for e in _update("pods", pod({**kind, "localhostProfile": ""}), pod(kind)) if e.startswith("spec: ")
    ]
    assert '-     "LocalhostProfile": null\n+     "LocalhostProfile": ""\n' in found
