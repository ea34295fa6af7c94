"""Built-in kinds through the schema engine: Go's round trip, decoder errors, unknown fields."""

from __future__ import annotations

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import GVK, builtin_resources
from pybernetes.api.schema import builtin_schema, strict_decode

POD = builtin_schema(GVK("", "v1", "Pod"))
DEPLOYMENT = builtin_schema(GVK("apps", "v1", "Deployment"))


def test_every_served_kind_has_a_schema() -> None:
    for info in builtin_resources():
        assert builtin_schema(info.gvk).root.fields["metadata"]


def test_empty_optional_fields_vanish_and_required_ones_appear() -> None:
    pod = {"metadata": {"name": "a", "labels": {}}, "spec": {"hostNetwork": False, "priority": 0, "volumes": []}}
    assert POD.read(pod) == {"metadata": {"name": "a"}, "spec": {"priority": 0, "containers": None}, "status": {}}


def test_an_empty_deployment() -> None:
    assert DEPLOYMENT.read({"spec": None}) == {
        "metadata": {},
        "spec": {"selector": None, "template": {"metadata": {}, "spec": {"containers": None}}, "strategy": {}},
        "status": {},
    }


@pytest.mark.parametrize(
    ("given", "stored"),
    [("1000m", "1"), ("0.5", "500m"), (2, "2"), ("1024Mi", "1Gi"), ("1e3", "1e3"), (None, "0")],
)
def test_quantities_become_canonical(given: object, stored: str) -> None:
    pod = {"spec": {"overhead": {"cpu": given}}}
    assert POD.read(pod)["spec"]["overhead"] == {"cpu": stored}


def test_times_become_utc_without_fractions() -> None:
    read = POD.read({"metadata": {"deletionTimestamp": "2024-02-29T01:02:03.99+02:00"}})
    assert read["metadata"] == {"deletionTimestamp": "2024-02-28T23:02:03Z"}


def test_null_items_become_zero_values() -> None:
    assert POD.read({"metadata": {"annotations": {"a": None}, "finalizers": [None, "x"]}})["metadata"] == {
        "annotations": {"a": ""},
        "finalizers": ["", "x"],
    }


def test_prune_works_in_place() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"foo": 1, "containers": [{"name": "c", "bar": 2}]}}
    POD.prune(pod)
    assert pod["spec"] == {"containers": [{"name": "c", "resources": {}}]}


FIELD = "json: cannot unmarshal {} into Go struct field {} of type {}"
CASES = [
    ({"spec": {"replicas": "x"}}, ("string", "DeploymentSpec.spec.replicas", "int32")),
    ({"spec": {"replicas": 3000000000}}, ("number 3000000000", "DeploymentSpec.spec.replicas", "int32")),
    ({"spec": {"replicas": 1.5}}, ("number 1.5", "DeploymentSpec.spec.replicas", "int32")),
    ({"spec": {"paused": 1}}, ("number", "DeploymentSpec.spec.paused", "bool")),
    ({"spec": []}, ("array", "Deployment.spec", "v1.DeploymentSpec")),
    ({"kind": 1}, ("number", "Deployment.TypeMeta.kind", "string")),
    ({"metadata": {"labels": {"a": 1}}}, ("number", "ObjectMeta.metadata.labels", "string")),
    ({"metadata": {"labels": []}}, ("array", "ObjectMeta.metadata.labels", "map[string]string")),
    (
        {"spec": {"template": {"spec": {"containers": {}}}}},
        ("object", "PodSpec.spec.template.spec.containers", "[]v1.Container"),
    ),
    (
        {"spec": {"template": {"spec": {"restartPolicy": 1}}}},
        ("number", "PodSpec.spec.template.spec.restartPolicy", "v1.RestartPolicy"),
    ),
    (
        {"spec": {"template": {"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}}},
        ("string", "ContainerPort.spec.template.spec.containers.ports.containerPort", "int32"),
    ),
    (
        {"spec": {"template": {"spec": {"volumes": [{"hostPath": 1}]}}}},
        ("number", "Volume.spec.template.spec.volumes.VolumeSource.hostPath", "v1.HostPathVolumeSource"),
    ),
]


@pytest.mark.parametrize(("obj", "words"), CASES)
def test_decoder_errors_are_gos(obj: dict, words: tuple[str, str, str]) -> None:
    assert DEPLOYMENT.decode_errors(obj) == FIELD.format(*words)
    with pytest.raises(StatusError) as failure:
        DEPLOYMENT.read(obj)
    assert failure.value.code == 400


def test_own_decoders_of_types() -> None:
    assert DEPLOYMENT.decode_errors({"metadata": {"creationTimestamp": "x"}}) == (
        'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'
    )
    limits = {"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}}
    assert "quantities must match the regular expression" in (DEPLOYMENT.decode_errors(limits) or "")


def test_unknown_fields_in_document_order() -> None:
    pod = {"x": 1, "spec": {"foo": {"a": 1}, "containers": [{"name": "a"}, {"name": "b", "imagee": "x"}]}}
    assert POD.unknown_fields(pod) == ["x", "spec.foo", "spec.containers[1].imagee"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a":1,"b":{"c":2}}', []),
        (b'{ "a": 1 }', []),
        (b'{"a":1,"a":2}', ["a"]),
        (b'{"spec":{"r":1,"r":1},"items":[{"n":1},{"n":1, "n":2}]}', ["spec.r", "items[1].n"]),
        (b'{"a":"\\u0061"}', []),
    ],
)
def test_duplicate_fields(body: bytes, found: list[str]) -> None:
    assert strict_decode(body)[1] == found


def test_hostile_depth_is_a_bad_request() -> None:
    for body in (b"[" * 5000 + b"]" * 5000, b'{"a":' * 400 + b"1" + b"}" * 400):
        with pytest.raises(StatusError) as failure:
            strict_decode(body)
        assert failure.value.code == 400


def test_broken_utf8_is_replaced_as_go_does() -> None:
    assert strict_decode(b'{"a":"\xff","b":"\\ud800"}')[0] == {"a": "\ufffd", "b": "\ufffd"}


def test_merge_attributes() -> None:
    ports = POD.at(["spec", "containers", 0, "ports"])
    assert ports is not None
    assert (ports.list_type, ports.list_map_keys) == ("map", ("containerPort", "protocol"))
    assert (ports.patch_strategy, ports.patch_merge_key) == ("merge", "containerPort")
    protocol = POD.at(["spec", "containers", 0, "ports", 0, "protocol"])
    assert protocol is not None and protocol.default == "TCP"
    selector = DEPLOYMENT.at(["spec", "selector"])
    assert selector is not None and selector.atomic
    claim = builtin_schema(GVK("", "v1", "PersistentVolume")).at(["spec", "claimRef"])
    assert claim is not None and not claim.atomic
