"""What is remembered of a pod's shape changes nothing of the answers."""

import copy
import json
from pathlib import Path

from pybernetes.api.resources import PODS, builtin_by_gvr
from pybernetes.apiserver.kinds import BuiltinKind, PodKind
from pybernetes.apiserver.remembering import LIST_KEYS, field_shape

INFO = builtin_by_gvr()[PODS]


def pod(name="a", **spec):
    found = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"n": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }
    PodKind(INFO).default(found)
    return found


def outcome(kind, obj):
    managed = kind.manage(None, copy.deepcopy(obj), "test", "", "2026-01-01T00:00:00Z")
    errors = [str(e) for e in kind.validate_create(obj)]
    return managed["metadata"].get("managedFields"), errors, kind.warnings(obj, None, "")


def test_second_of_a_series_gets_the_same_answers():
    remembering = PodKind(INFO)
    cases = [
        pod("a"),
        pod("b"),
        pod("Bad_Name"),
        pod("a.b"),
        pod("c", hostNetwork=True, nodeSelector={"beta.kubernetes.io/os": "linux"}),
        pod("d", hostNetwork=True, nodeSelector={"beta.kubernetes.io/os": "linux"}),
        pod("e", restartPolicy="Nope"),
        pod("f", restartPolicy="Nope"),
        pod("g", volumes=[{"name": "v", "ephemeral": {}}]),
        pod("h" * 64, volumes=[{"name": "v", "ephemeral": {}}]),
    ]
    for obj in cases:
        assert outcome(remembering, copy.deepcopy(obj)) == outcome(BuiltinKind(INFO), copy.deepcopy(obj))


def test_fields_read_as_the_general_reader_reads_them():
    full = pod("a", nodeName="n1", hostNetwork=True)
    full["status"] = {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "nominatedNodeName": "n2"}
    for obj in (full, pod("b"), {"metadata": {"name": "c"}}):
        general = BuiltinKind(INFO).fields(obj)
        special = {k: v for k, v in PodKind(INFO).fields(obj).items() if v}
        assert special == general


def test_every_key_of_a_built_in_list_counts():
    """A key that is missing here would give one object the managed fields of another."""
    import kubernetes_validate

    definitions = next(Path(kubernetes_validate.__file__).parent.rglob("v1.36*-local/_definitions.json"))
    found = set()

    def walk(value):
        if isinstance(value, dict):
            keys = value.get("x-kubernetes-list-map-keys")
            found.update(keys if isinstance(keys, list) else ())
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(json.loads(definitions.read_text()))
    assert "containerPort" in found
    assert found <= LIST_KEYS


def test_values_do_not_count_but_keys_members_and_nulls_do():
    def shape(**spec):
        return field_shape(pod("a", **spec), "m", builtin=True)

    def container(**more):
        return {"containers": [{"name": "c", "image": "i", **more}]}

    base = shape(**container())
    assert shape(**container(image="j")) == base
    assert shape(**container(env=[{"name": "A", "value": "1"}])) == shape(
        **container(env=[{"name": "A", "value": "2"}])
    )
    assert shape(**container(env=[{"name": "A", "value": "1"}])) != shape(
        **container(env=[{"name": "B", "value": "1"}])
    )
    assert shape(**container(ports=[{"containerPort": 1}])) != shape(**container(ports=[{"containerPort": 2}]))
    assert shape(**container(args=["a"])) != base
    assert shape(**container(stdin=None)) != shape(**container(stdin=True))


def test_pods_that_differ_in_values_have_the_managed_fields_that_they_would_have_alone():
    remembering = PodKind(INFO)
    for number in range(20):
        spec = {
            "containers": [
                {
                    "name": "c",
                    "image": f"i:{number}",
                    "env": [{"name": f"E{number % 3}", "value": str(number)}],
                    "ports": [{"containerPort": 80 + number % 2, "protocol": "TCP"}],
                    "args": [str(number)] if number % 5 else [],
                }
            ],
            "activeDeadlineSeconds": number + 1 if number % 4 else None,
        }
        one = pod(f"p{number}", **spec)
        assert outcome(remembering, one) == outcome(PodKind(INFO), one)


def test_a_zero_is_not_owned_because_one_like_it_was_more():
    """A field that is always written belongs to nobody where it is zero, whatever was remembered of the kind before."""
    info = next(i for gvr, i in builtin_by_gvr().items() if gvr.resource == "priorityclasses")
    kind = BuiltinKind(info)

    def owned(value):
        obj = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}, "value": value}
        kind.default(obj)
        (entry,) = kind.manage(None, obj, "test", "", "2026-01-01T00:00:00Z")["metadata"]["managedFields"]
        return "f:value" in entry["fieldsV1"]

    assert [owned(5), owned(0), owned(7), owned(0)] == [True, False, True, False]
