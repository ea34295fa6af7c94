"""What a kubelet with stolen credentials may not write."""

import copy

import pytest
from auth_support import account, obj, user
from test_admission import World, csr, pod

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    GVR,
    LEASES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SERVICE_ACCOUNTS,
)
from pybernetes.apiserver.admission.noderestriction import forbidden_labels
from pybernetes.hooks.admission import CREATE, DELETE, UPDATE, AdmissionAttributes

N1 = user("system:node:n1", "system:nodes")
MIRROR = {"kubernetes.io/config.mirror": "hash"}


@pytest.fixture
def world():
    w = World(
        (NODES, obj("n1")),
        (NODES, obj("n2")),
        (PODS, pod("mine", nodeName="n1")),
        (PODS, pod("other", nodeName="n2")),
        account("sa"),
    )
    w.chain = [p for p in w.chain if p.name == "NodeRestriction"]
    return w


def mirror(world, **changes):
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": "n1",
        "uid": world.reader.get(NODES, "", "n1")["metadata"]["uid"],
        "controller": True,
    }
    owner |= changes.pop("owner", {})
    meta = {"annotations": changes.pop("annotations", MIRROR), "ownerReferences": [owner]}
    return pod("static", meta=meta, **({"nodeName": "n1"} | changes))


async def test_others_are_not_restricted(world):
    await world.write(NODES, obj("n2", spec={"taints": []}), old=obj("n2", spec={"taints": [{"key": "a"}]}))


async def test_mirror_pods_only(world):
    await world.write(PODS, mirror(world), who=N1)
    assert "can only create mirror pods" in await world.refused(PODS, mirror(world, annotations={}), who=N1)
    assert "spec.nodeName set to itself" in await world.refused(PODS, mirror(world, nodeName="n2"), who=N1)
    assert "owner reference set to itself" in await world.refused(PODS, mirror(world, owner={"name": "n2"}), who=N1)
    assert "controller owner reference" in await world.refused(PODS, mirror(world, owner={"controller": False}), who=N1)
    assert "must not set blockOwnerDeletion" in await world.refused(
        PODS, mirror(world, owner={"blockOwnerDeletion": True}), who=N1
    )
    assert "UID mismatch" in await world.refused(PODS, mirror(world, owner={"uid": "x"}), who=N1)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"serviceAccountName": "sa"}, "serviceaccounts"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "secrets"),
        ({"volumes": [{"name": "v", "configMap": {"name": "s"}}]}, "configmaps"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]}, "persistentvolumeclaims"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}, "serviceaccounts (via projected volumes)"),
        ({"volumes": [{"name": "v", "csi": {"driver": "d"}}]}, "csidrivers (via CSI volumes)"),
    ],
)  # fmt: skip
async def test_mirror_pods_bring_nothing_from_the_api(world, spec, words):
    message = await world.refused(PODS, mirror(world, **spec), who=N1)
    assert message.endswith(f'node "n1" can not create pods that reference {words}')


async def test_pods_of_other_nodes(world):
    mine, other = world.reader.get(PODS, "ns", "mine"), world.reader.get(PODS, "ns", "other")
    await world.write(PODS, None, old=mine, operation=DELETE, who=N1)
    assert "can only delete pods" in await world.refused(PODS, None, old=other, operation=DELETE, who=N1)
    await world.write(PODS, mine, old=mine, subresource="status", who=N1)
    assert "can only update pod status" in await world.refused(PODS, other, old=other, subresource="status", who=N1)
    labelled = copy.deepcopy(mine)
    labelled["metadata"]["labels"] = {"a": "b"}
    assert "cannot update labels" in await world.refused(PODS, labelled, old=mine, subresource="status", who=N1)
    assert "unexpected operation" in await world.refused(PODS, mine, old=mine, who=N1)
    await world.write(PODS, mine, operation=CREATE, subresource="eviction", who=N1)
    assert "can only evict" in await world.refused(PODS, other, operation=CREATE, subresource="eviction", who=N1)
    assert "unexpected pod subresource" in await world.refused(
        PODS, mine, operation=CREATE, subresource="binding", who=N1
    )


async def test_own_node_only(world):
    async def update(before, after, **options):
        return await world.refused(NODES, obj("n1", **after), old=obj("n1", **before), who=N1, **options)

    await world.write(NODES, obj("n1", status={"x": 1}), old=obj("n1"), who=N1)
    assert 'is not allowed to modify node "n2"' in await world.refused(NODES, obj("n2"), old=obj("n2"), who=N1)
    assert "modify taints" in await update({"spec": {"taints": [{"key": "a"}]}}, {"spec": {}})
    assert "modify ownerReferences" in await update({}, {"meta": {"ownerReferences": [{"name": "x"}]}})
    label = {"node-restriction.kubernetes.io/zone": "x"}
    assert await update({}, {"meta": {"labels": label}}) == (
        'nodes "n1" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/zone'
    )
    message = await world.refused(
        NODES, obj("n1", meta={"labels": {"node-role.kubernetes.io/control-plane": ""}}), who=N1
    )
    assert 'node "n1" is not allowed to set the following labels: node-role.kubernetes.io/control-plane' in message


def test_labels():
    own = {
        "kubernetes.io/hostname": "n",
        "topology.kubernetes.io/zone": "z",
        "a.node.kubernetes.io/x": "1",
        "mine": "1",
        "my.org/x": "1",
    }
    assert forbidden_labels(own, {}) == []
    bad = {"kubernetes.io/x": "1", "k8s.io/y": "1", "x.k8s.io/z": "1", "a.node-restriction.kubernetes.io/b": "1"}
    assert forbidden_labels(bad, {}) == sorted(bad)
    assert forbidden_labels({}, bad) == sorted(bad)
    assert forbidden_labels(bad, bad) == []


async def test_tokens(world):
    def request(pod_name="mine", audiences=None, **ref):
        uid = world.reader.get(PODS, "ns", pod_name)["metadata"]["uid"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod_name, "uid": uid} | ref
        return {"metadata": {}, "spec": {"boundObjectRef": bound} | ({"audiences": audiences} if audiences else {})}

    async def ask(body):
        a = AdmissionAttributes(CREATE, SERVICE_ACCOUNTS, None, "token", "ns", "sa", body, None, N1)
        await world.chain[0].admit(a)

    world.authorizer.allows = lambda a: False
    projected = [
        {
            "name": "t",
            "projected": {
                "sources": [{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"audience": "vault"}}]
            },
        }
    ]
    uid = world.reader.get(PODS, "ns", "mine")["metadata"]["uid"]
    world.reader.put(PODS, pod("mine", nodeName="n1", volumes=projected, meta={"uid": uid}))
    await ask(request())
    await ask(request(audiences=["vault"]))
    for body, words in [
        ({"metadata": {}, "spec": {}}, "not bound to a pod"),
        (request(kind="Node"), "not bound to a pod"),
        (request(uid=""), "without a uid"),
        (request(uid="x"), "does not match the UID in record"),
        (request("other"), "scheduled on a different node"),
        (request(audiences=["bank"]), 'audience "bank" not found in pod spec volume, system:node:n1 is not authorized'),
        (request(audiences=["a", "b"]), "0 or 1 audiences"),
    ]:
        with pytest.raises(StatusError) as caught:
            await ask(body)
        assert words in caught.value.message
    world.authorizer.allows = lambda a: (
        (a.verb, a.resource, a.name) == ("request-serviceaccounts-token-audience", "bank", "sa")
    )
    await ask(request(audiences=["bank"]))


async def test_leases_claims_and_requests(world):
    lease = obj("n1", "kube-node-lease")
    await world.write(LEASES, lease, who=N1)
    await world.refused(LEASES, obj("n2", "kube-node-lease"), who=N1)
    await world.refused(LEASES, obj("n1", "kube-system"), who=N1)
    await world.refused(GVR("storage.k8s.io", "v1", "csinodes"), obj("n2"), who=N1)
    claim = obj("c", "ns", spec={"a": 1}, status={"capacity": {"storage": "1"}})
    bigger = obj("c", "ns", spec={"a": 1}, status={"capacity": {"storage": "2"}})
    await world.write(PERSISTENT_VOLUME_CLAIMS, bigger, old=claim, subresource="status", who=N1)
    await world.refused(
        PERSISTENT_VOLUME_CLAIMS,
        obj("c", "ns", spec={"a": 2}),
        old=claim,
        operation=UPDATE,
        subresource="status",
        who=N1,
    )
    await world.refused(PERSISTENT_VOLUME_CLAIMS, claim, old=claim, who=N1)
    message = await world.refused(CERTIFICATE_SIGNING_REQUESTS, csr("kubernetes.io/kubelet-serving"), who=N1)
    assert message.endswith("can only create a node CSR with CN=system:node:n1")


async def test_a_node_without_a_name(world):
    message = await world.refused(PODS, pod(), who=user("system:node:", "system:nodes"))
    assert message.endswith('could not determine node from user "system:node:"')
