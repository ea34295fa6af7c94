"""The built-in plugins one by one, and the chain."""

import base64
import copy

import pytest
from auth_support import FakeReader, FixedClock, ListAuthorizer, account, obj, user

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    GVR,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    SERVICE_ACCOUNTS,
    SERVICES,
    STORAGE_CLASSES,
)
from pybernetes.apiserver.admission import ORDER, build_chain
from pybernetes.apiserver.admission.network import INGRESS_CLASSES
from pybernetes.apiserver.admission.tolerations import merge
from pybernetes.client import signing
from pybernetes.hooks.admission import CREATE, DELETE, UPDATE, AdmissionAttributes, AdmissionContext

INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")


class World:
    """A chain over a reader: ``write`` runs an object through it as the pipeline does."""

    def __init__(self, *objects, enable=(), authorizer=None, settings=None, request=None):
        self.reader = FakeReader((NAMESPACES, obj("ns")), account(), *objects)
        self.authorizer = authorizer or ListAuthorizer()
        context = AdmissionContext(self.reader, request, self.authorizer, FixedClock(), settings or {})
        self.chain = build_chain(context, enable, entry_points=False)

    async def write(self, gvr, new, old=None, operation=None, subresource="", who=None, namespace=None):
        new, meta = copy.deepcopy(new), (new or old)["metadata"]
        operation = operation or (UPDATE if old else CREATE)
        namespace = meta.get("namespace", "") if namespace is None else namespace
        a = AdmissionAttributes(
            operation, gvr, None, subresource, namespace, meta.get("name", ""), new, old, who or user()
        )
        relevant = [p for p in self.chain if p.handles(operation, gvr, subresource)]
        for plugin in relevant:
            await plugin.admit(a)
        for plugin in relevant:
            await plugin.validate(a)
        return a.object

    async def refused(self, *args, code=403, **options):
        with pytest.raises(StatusError) as caught:
            await self.write(*args, **options)
        assert caught.value.code == code
        return caught.value.message


def pod(name="p", namespace="ns", meta=None, **spec):
    return obj(name, namespace, meta=meta or {}, spec={"containers": [{"name": "c", "image": "i"}], **spec})


# -- the chain ---------------------------------------------------------------------------------------------------------


def names(chain):
    return [p.name for p in chain]


def test_order_and_choice():
    context = AdmissionContext(FakeReader(), None, None, FixedClock())
    default = names(build_chain(context, entry_points=False))
    assert default == [n for n in ORDER if n in default]
    assert "NamespaceExists" not in default and "Priority" in default
    chosen = names(build_chain(context, ["NamespaceExists"], ["Priority"], entry_points=False))
    assert "NamespaceExists" in chosen and "Priority" not in chosen
    with pytest.raises(ValueError, match='"Magic" is unknown'):
        build_chain(context, ["Magic"])
    with pytest.raises(ValueError, match="overlapped"):
        build_chain(context, ["Priority"], ["Priority"])


# -- namespaces --------------------------------------------------------------------------------------------------------


async def test_namespace_must_be_there_and_stay():
    world = World()
    assert await world.refused(PODS, pod(namespace="none"), code=404) == 'namespaces "none" not found'
    world.reader.put(NAMESPACES, obj("ns", status={"phase": "Terminating"}))
    message = await world.refused(PODS, pod())
    assert (
        message == 'pods "p" is forbidden: unable to create new content in namespace ns because it is being terminated'
    )
    await world.write(SERVICES, obj("s", "ns", spec={}), old=obj("s", "ns", spec={}))
    message = await world.refused(NAMESPACES, None, old=obj("kube-system"), operation=DELETE)
    assert message == 'namespaces "kube-system" is forbidden: this namespace may not be deleted'
    await world.write(NAMESPACES, None, old=obj("ns"), operation=DELETE)


async def test_access_reviews_do_not_tell_whether_a_namespace_is_there():
    await World().write(GVR("authorization.k8s.io", "v1", "localsubjectaccessreviews"), obj("", "none"))


async def test_names_to_be_generated_in_messages():
    made = obj("", "ns", spec={"serviceAccountName": "none", "containers": []})
    made["metadata"] = {"namespace": "ns", "generateName": "web-"}
    message = await World().refused(PODS, made)
    assert (
        message == 'pods "web-" is forbidden: error looking up service account ns/none: serviceaccount "none" not found'
    )


async def test_auto_provision():
    made = []

    async def request(method, path, body):
        made.append((method, path, body["metadata"]["name"]))

    world = World(enable=["NamespaceAutoProvision"], request=request)
    with pytest.raises(StatusError):
        await world.write(SERVICES, obj("s", "new", spec={}))
    assert made == [("POST", "/api/v1/namespaces", "new")]


# -- service accounts --------------------------------------------------------------------------------------------------


async def test_token_volume():
    made = await World().write(PODS, pod(initContainers=[{"name": "i"}]))
    spec = made["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-") and len(volume["name"]) == len("kube-api-access-") + 5
    assert volume["projected"]["defaultMode"] == 420
    assert [next(iter(s)) for s in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    mount = {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    assert spec["containers"][0]["volumeMounts"] == spec["initContainers"][0]["volumeMounts"] == [mount]


@pytest.mark.parametrize(
    ("on_account", "on_pod", "mounted"),
    [(None, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
async def test_who_decides_on_the_token(on_account, on_pod, mounted):
    world = World()
    fields = {} if on_account is None else {"automountServiceAccountToken": on_account}
    world.reader.put(SERVICE_ACCOUNTS, obj("default", "ns", **fields))
    made = await world.write(PODS, pod(**({} if on_pod is None else {"automountServiceAccountToken": on_pod})))
    assert ("volumes" in made["spec"]) is mounted


async def test_an_own_mount_is_left_alone():
    mount = {"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    made = await World().write(PODS, pod(containers=[{"name": "c", "volumeMounts": [mount]}]))
    assert "volumes" not in made["spec"] and made["spec"]["containers"][0]["volumeMounts"] == [mount]


async def test_a_second_pass_adds_nothing():
    world = World()
    first = await world.write(PODS, pod())
    assert await world.write(PODS, first) == first


async def test_image_pull_secrets():
    world = World()
    world.reader.put(SERVICE_ACCOUNTS, obj("default", "ns", imagePullSecrets=[{"name": "a"}]))
    assert (await world.write(PODS, pod()))["spec"]["imagePullSecrets"] == [{"name": "a"}]
    assert (await world.write(PODS, pod(imagePullSecrets=[{"name": "b"}])))["spec"]["imagePullSecrets"] == [
        {"name": "b"}
    ]


async def test_mountable_secrets():
    world = World()
    annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
    world.reader.put(
        SERVICE_ACCOUNTS, obj("default", "ns", meta={"annotations": annotations}, secrets=[{"name": "ok"}])
    )
    await world.write(PODS, pod(volumes=[{"name": "v", "secret": {"secretName": "ok"}}]))
    message = await world.refused(PODS, pod(volumes=[{"name": "v", "secret": {"secretName": "other"}}]))
    assert message.endswith(
        'volume with secret.secretName="other" is not allowed because service account default does not reference that secret'
    )
    env = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}
    message = await world.refused(PODS, pod(containers=[{"name": "c", "env": [env]}]))
    assert 'container c with envVar A referencing secret.secretName="other" is not allowed' in message
    message = await world.refused(PODS, pod(imagePullSecrets=[{"name": "x"}]))
    assert (
        'imagePullSecrets[0].name="x" is not allowed because service account default does not reference that imagePullSecret'
        in message
    )


async def test_mirror_pods():
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    made = await World().write(PODS, pod(meta=mirror))
    assert "volumes" not in made["spec"] and "serviceAccountName" not in made["spec"]
    assert (await World().refused(PODS, pod(meta=mirror, serviceAccountName="x"))).endswith(
        "a mirror pod may not reference service accounts"
    )
    secret = [{"name": "v", "secret": {"secretName": "s"}}]
    assert (await World().refused(PODS, pod(meta=mirror, volumes=secret))).endswith(
        "a mirror pod may not reference secrets"
    )


# -- priority, tolerations, runtime class ------------------------------------------------------------------------------


def priority(name, value, **fields):
    return PRIORITY_CLASSES, obj(name, value=value, **fields)


async def test_priority():
    world = World(priority("high", 1000, preemptionPolicy="Never"))
    spec = (await world.write(PODS, pod()))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"], spec.get("priorityClassName")) == (
        0,
        "PreemptLowerPriority",
        None,
    )
    spec = (await world.write(PODS, pod(priorityClassName="high")))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    world.reader.put(*priority("usual", 5, globalDefault=True))
    spec = (await world.write(PODS, pod()))["spec"]
    assert (spec["priority"], spec["priorityClassName"]) == (5, "usual")
    assert (await world.refused(PODS, pod(priorityClassName="none"))).endswith(
        "no PriorityClass with name none was found"
    )
    message = await world.refused(PODS, pod(priority=7))
    assert message.endswith(
        "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 5 from the given PriorityClass name"
    )
    message = await world.refused(*priority("other", 1, globalDefault=True))
    assert message.endswith("PriorityClass usual is already marked as default. Only one default can exist")
    gvr, usual = priority("usual", 5, globalDefault=True)
    await world.write(gvr, usual, old=usual)
    old = pod(priority=5)
    assert (await world.write(PODS, pod(), old=old))["spec"]["priority"] == 5


async def test_tolerations_of_trouble():
    spec = (await World().write(PODS, pod()))["spec"]
    assert spec["tolerations"] == [
        {"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for k in ("not-ready", "unreachable")
    ]
    everything = [{"operator": "Exists"}]
    assert (await World().write(PODS, pod(tolerations=everything)))["spec"]["tolerations"] == everything
    own = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    keys = [t["key"] for t in (await World().write(PODS, pod(tolerations=own)))["spec"]["tolerations"]]
    assert keys == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]


async def test_new_nodes_are_tainted():
    made = await World().write(NODES, obj("n"))
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_runtime_class():
    kata = obj("kata", handler="kata", overhead={"podFixed": {"cpu": "250m"}},
               scheduling={"nodeSelector": {"kata": "yes"}, "tolerations": [{"key": "kata", "operator": "Exists"}]})  # fmt: skip
    world = World((RUNTIME_CLASSES, kata))
    spec = (await world.write(PODS, pod(runtimeClassName="kata")))["spec"]
    assert spec["overhead"] == {"cpu": "250m"} and spec["nodeSelector"] == {"kata": "yes"}
    assert {"key": "kata", "operator": "Exists"} in spec["tolerations"]
    assert (await world.refused(PODS, pod(runtimeClassName="none"))).endswith(
        'pod rejected: RuntimeClass "none" not found'
    )
    message = await world.refused(PODS, pod(overhead={"cpu": "1"}))
    assert message.endswith("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
    await world.write(PODS, pod(runtimeClassName="kata", overhead={"cpu": "0.25"}))
    await world.refused(PODS, pod(runtimeClassName="kata", overhead={"cpu": "1"}))
    message = await world.refused(PODS, pod(runtimeClassName="kata", nodeSelector={"kata": "no"}))
    assert "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no" in message


def test_merging_tolerations():
    one = {"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}
    two = {"key": "a", "operator": "Exists"}
    assert merge([one], [two]) == [two]
    assert merge([two], [one]) == [two]
    assert merge([one, one], []) == [one]
    short = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    long = short | {"tolerationSeconds": 10}
    assert merge([short], [long]) == [long]


async def test_topology_labels():
    labels = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "x"}
    world = World((NODES, obj("n", meta={"labels": labels})))
    expected = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"}
    assert (await world.write(PODS, pod(nodeName="n")))["metadata"]["labels"] == expected
    binding = obj("p", "ns", target={"kind": "Node", "name": "n"})
    assert (await world.write(PODS, binding, subresource="binding"))["metadata"]["labels"] == expected
    assert "labels" not in (await world.write(PODS, pod()))["metadata"]


# -- volumes, networks -------------------------------------------------------------------------------------------------


def claim(size="1Gi", phase="Bound", **spec):
    return obj("c", "ns", spec={"resources": {"requests": {"storage": size}}, **spec}, status={"phase": phase})


async def test_default_storage_class():
    marked = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    world = World((STORAGE_CLASSES, obj("old", meta=marked | {"creationTimestamp": "2020-01-01T00:00:00Z"})),
                  (STORAGE_CLASSES, obj("new", meta=marked | {"creationTimestamp": "2021-01-01T00:00:00Z"})))  # fmt: skip
    made = await world.write(PERSISTENT_VOLUME_CLAIMS, claim())
    assert made["spec"]["storageClassName"] == "new" and made["metadata"]["finalizers"] == [
        "kubernetes.io/pvc-protection"
    ]
    assert (await world.write(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="")))["spec"]["storageClassName"] == ""


async def test_volumes_are_protected_once():
    made = await World().write(PERSISTENT_VOLUMES, obj("v", meta={"finalizers": ["kubernetes.io/pv-protection"]}))
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]


async def test_claims_grow_where_the_class_allows_it():
    world = World((STORAGE_CLASSES, obj("yes", allowVolumeExpansion=True)), (STORAGE_CLASSES, obj("no")))
    gvr = PERSISTENT_VOLUME_CLAIMS
    await world.write(gvr, claim("2Gi", storageClassName="yes"), old=claim(storageClassName="yes"))
    await world.write(gvr, claim("1024Mi", storageClassName="no"), old=claim(storageClassName="no"))
    message = await world.refused(gvr, claim("2Gi", storageClassName="no"), old=claim(storageClassName="no"))
    assert message.endswith(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
    )
    message = await world.refused(gvr, claim("2Gi"), old=claim(phase="Pending"))
    assert message.endswith("Only bound persistent volume claims can be expanded")


async def test_default_ingress_class():
    marked = {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    world = World((INGRESS_CLASSES, obj("nginx", meta=marked)))
    assert (await world.write(INGRESSES, obj("i", "ns", spec={})))["spec"] == {"ingressClassName": "nginx"}
    old_way = obj("i", "ns", spec={}, meta={"annotations": {"kubernetes.io/ingress.class": "x"}})
    assert (await world.write(INGRESSES, old_way))["spec"] == {}


async def test_external_ips():
    world = World(enable=["DenyServiceExternalIPs"])
    service = obj("s", "ns", spec={"externalIPs": ["1.2.3.4"]})
    assert (await world.refused(SERVICES, service)).endswith("Use of external IPs is denied by admission control")
    await world.write(SERVICES, service, old=service)
    await World().write(SERVICES, service)


# -- certificates ------------------------------------------------------------------------------------------------------


def csr(signer="example.com/one", organizations=(), **status):
    pem = signing.new_request(signing.new_key(), signing.Subject("x", organizations))
    return obj("r", spec={"signerName": signer, "request": base64.b64encode(pem).decode()}, status=status)


async def test_approval_and_signing_by_signer():
    allowed = ListAuthorizer(lambda a: a.resource == "signers" and a.verb == "approve" and a.name == "example.com/*")
    world, gvr = World(authorizer=allowed), CERTIFICATE_SIGNING_REQUESTS
    await world.write(gvr, csr(), old=csr(), subresource="approval")
    message = await world.refused(gvr, csr("example.com/one"), old=csr("other.org/x"), subresource="approval")
    assert (
        message
        == 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "other.org/x"'
    )
    message = await world.refused(gvr, csr(certificate="eA=="), old=csr(), subresource="status")
    assert message.endswith('user not permitted to sign requests with signerName "example.com/one"')
    await world.write(gvr, csr(), old=csr(), subresource="status")


async def test_nobody_asks_for_masters():
    signer = "kubernetes.io/kube-apiserver-client"
    message = await World().refused(CERTIFICATE_SIGNING_REQUESTS, csr(signer, ("system:masters",)))
    assert message.endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    await World().write(CERTIFICATE_SIGNING_REQUESTS, csr(signer, ("dev",)))


async def test_trust_bundles():
    world = World(authorizer=ListAuthorizer(lambda a: False))
    gvr = GVR("certificates.k8s.io", "v1beta1", "clustertrustbundles")
    message = await world.refused(gvr, obj("b", spec={"signerName": "a.b/c"}))
    assert message.endswith('user not permitted to attest for signerName "a.b/c"')
    await world.write(gvr, obj("b", spec={}))


# -- limits ------------------------------------------------------------------------------------------------------------


def limits(*entries):
    return LIMIT_RANGES, obj("l", "ns", spec={"limits": list(entries)})


def container(requests=None, limits=None, name="c"):
    resources = {k: v for k, v in (("requests", requests), ("limits", limits)) if v}
    return {"name": name, "resources": resources} if resources else {"name": name}


async def test_limit_defaults():
    world = World(
        limits({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}})
    )
    made = await world.write(
        PODS,
        pod(containers=[container(), container(limits={"cpu": "2"}, name="d")], initContainers=[container(name="i")]),
    )
    first, second = made["spec"]["containers"]
    assert first["resources"] == {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}
    assert second["resources"] == {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m"}}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c; cpu request for container d; "
        "memory limit for container d; cpu request for init container i; cpu, memory limit for init container i"
    )


async def test_limit_bounds_in_upstreams_words():
    world = World(
        limits({"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "100m"}, "maxLimitRequestRatio": {"cpu": "4"}})
    )

    async def words(**resources):
        return (await world.refused(PODS, pod(containers=[container(**resources)]))).removeprefix(
            'pods "p" is forbidden: '
        )

    assert (
        await words(requests={"cpu": "50m"}, limits={"cpu": "0.2"})
        == "minimum cpu usage per Container is 100m, but request is 50m"
    )
    assert (
        await words(requests={"cpu": "1"}, limits={"cpu": "2"})
        == "maximum cpu usage per Container is 1, but limit is 2"
    )
    assert await words(requests={"cpu": "0.1"}, limits={"cpu": "1"}) == (
        "cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000"
    )
    assert await words() == (
        "[minimum cpu usage per Container is 100m.  No request is specified, maximum cpu usage per Container is 1.  No limit is "
        "specified, cpu max limit to request ratio per Container is 4, but no request is specified or request is 0]"
    )
    await world.write(PODS, pod(containers=[container(requests={"cpu": "500m"}, limits={"cpu": "1"})]))


async def test_pod_and_claim_bounds():
    world = World(
        limits(
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}, "max": {"storage": "5Gi"}},
        )
    )
    two = [container(requests={"memory": "600Mi"}, limits={"memory": "600Mi"}, name=n) for n in "ab"]
    assert (await world.refused(PODS, pod(containers=two))).endswith(
        "maximum memory usage per Pod is 1Gi, but limit is 1200Mi"
    )
    gvr = PERSISTENT_VOLUME_CLAIMS
    assert (await world.refused(gvr, claim("1Gi"))).endswith(
        "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi"
    )
    assert (await world.refused(gvr, claim("6Gi"))).endswith(
        "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"
    )


async def test_resize_stays_on_the_node():
    node = obj("n", status={"allocatable": {"cpu": "2", "memory": "1Gi"}})

    def sized(cpu, generation):
        return pod(nodeName="n", meta={"generation": generation}, containers=[container(requests={"cpu": cpu})])

    world = World((NODES, node))
    await world.write(PODS, sized("2", 2), old=sized("1", 1), subresource="resize")
    message = await world.refused(PODS, sized("3", 2), old=sized("1", 1), subresource="resize")
    assert message.endswith("node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000")
