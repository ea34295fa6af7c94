"""Sharing changes nothing that can be read, and keeps one copy of what is equal."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.api.resources import CONFIG_MAPS, PODS
from pybernetes.client.sharing import Sharer, sharing_transforms, slim_pod

leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.sampled_from(["a", "b", ""])
trees = st.recursive(
    leaves, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from("xyz"), c, max_size=3), max_leaves=20
)
labels = st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=3)
objects = st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"labels": labels}), "spec": trees, "items": trees})


@settings(max_examples=200, deadline=None)
@given(st.lists(objects, max_size=6), st.integers(0, 40))
def test_nothing_changes(found, limit):
    sharer, before = Sharer(limit), copy.deepcopy(found)
    shared = [sharer.share(o) for o in found]
    assert shared == before
    assert repr(shared) == repr(before), "True is not 1, and 1.0 is not 1"


def pod(name):
    container = {"name": "c", "env": [{"name": "E", "value": "v"}], "volumeMounts": [{"name": name}]}
    return {
        "metadata": {"name": name, "labels": {"app": "web"}, "managedFields": [1]},
        "spec": {"nodeName": "n", "containers": [container]},
        "status": {"containerStatuses": [{"name": "c", "containerID": name, "ready": True}]},
    }


def test_equal_parts_become_one():
    transform = sharing_transforms(slim_pods=True)(PODS)
    one, two = transform(pod("a")), transform(pod("b"))
    assert one["spec"]["containers"] is two["spec"]["containers"]
    assert one["status"]["containerStatuses"] is two["status"]["containerStatuses"]
    assert one["metadata"]["labels"] is two["metadata"]["labels"] and "managedFields" not in one["metadata"]
    assert one["metadata"]["name"] == "a" and two["metadata"]["name"] == "b"


def test_pods_of_one_template_share_their_spec():
    def made(name):
        token = {"name": f"kube-api-access-{name}", "projected": {"sources": []}}
        toleration = {"key": "k", "operator": "Exists", "tolerationSeconds": int("300")}
        one = pod(name)
        one["spec"] |= {"tolerations": [toleration], "volumes": [token]}
        return one

    transform = sharing_transforms(slim_pods=True)(PODS)
    one, two = transform(made("a")), transform(made("b"))
    assert one["spec"] is two["spec"] and "volumes" not in one["spec"]


def test_volumes_with_claims_stay():
    claimed = {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}
    one = pod("a")
    one["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}, claimed]
    assert slim_pod(one)["spec"]["volumes"] == [claimed]


def test_only_pods_are_slim():
    assert "volumeMounts" not in slim_pod(pod("a"))["spec"]["containers"][0]
    transform = sharing_transforms(slim_pods=True)(CONFIG_MAPS)
    assert "volumeMounts" in transform(pod("a"))["spec"]["containers"][0]
