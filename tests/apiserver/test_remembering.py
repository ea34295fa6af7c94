"""What is remembered of a pod's shape changes nothing of the answers."""

import copy

from pybernetes.api.resources import PODS, builtin_by_gvr
from pybernetes.apiserver.kinds import BuiltinKind, PodKind

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
