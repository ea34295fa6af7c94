"""Pod Security: every check in upstream's words, versions, modes, namespaces."""

import copy

import pytest
from auth_support import obj, user
from test_admission import World, pod

from pybernetes.api.resources import DEPLOYMENTS, NAMESPACES, PODS
from pybernetes.apiserver.admission.podsecurity.checks import NEWEST, checks_for, evaluate
from pybernetes.apiserver.admission.podsecurity.policy import LevelVersion, Policy, policy_of
from pybernetes.hooks.admission import AdmissionAttributes

GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(security=None, **fields):
    return {"containers": [{"name": "c", **({"securityContext": security} if security is not None else {})}], **fields}


@pytest.mark.parametrize(
    ("level", "pod_spec", "annotations", "expected"),
    [
        ("baseline", spec({"privileged": True}), {}, ("privileged", 'container "c" must not set securityContext.privileged=true')),
        ("baseline", spec(hostNetwork=True, hostPID=True, hostIPC=True), {}, ("host namespaces", "hostNetwork=true, hostPID=true, hostIPC=true")),
        ("baseline", spec(volumes=[{"name": "v", "hostPath": {}}]), {}, ("hostPath volumes", 'volume "v"')),
        ("baseline", {"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 22}]}]}, {}, ("hostPort", 'container "c" uses hostPorts 22, 80')),
        ("baseline", spec({"capabilities": {"add": ["SYS_ADMIN", "CHOWN", "NET_RAW"]}}), {}, ("non-default capabilities", 'container "c" must not include "NET_RAW", "SYS_ADMIN" in securityContext.capabilities.add')),
        ("baseline", spec({"procMount": "Unmasked"}), {}, ("procMount", 'container "c" must not set securityContext.procMount to "Unmasked"')),
        ("baseline", spec({"seLinuxOptions": {"type": "x", "user": "u"}}, securityContext={"seLinuxOptions": {"role": "r"}}), {}, ("seLinuxOptions", 'pod and container "c" set forbidden securityContext.seLinuxOptions: type "x"; user may not be set; role may not be set')),
        ("baseline", spec({"seccompProfile": {"type": "Unconfined"}}), {}, ("seccompProfile", 'container "c" must not set securityContext.seccompProfile.type to "Unconfined"')),
        ("baseline", spec(securityContext={"sysctls": [{"name": "a.b"}, {"name": "net.ipv4.tcp_rmem"}]}), {}, ("forbidden sysctls", "a.b")),
        ("baseline", spec({"windowsOptions": {"hostProcess": True}}), {}, ("hostProcess", 'container "c" must not set securityContext.windowsOptions.hostProcess=true')),
        ("baseline", spec({"appArmorProfile": {"type": "Unconfined"}}), {}, ("forbidden AppArmor profile", 'container "c" must not set AppArmor profile type to "Unconfined"')),
        ("baseline", spec(), {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}, ("forbidden AppArmor profile", 'annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/c="unconfined""')),
        ("baseline", {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "a"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "b"}}}}]}, {}, ("probe or lifecycle host", 'container "c" uses probe or lifecycle hosts "a", "b"')),
        ("restricted", spec(GOOD | {"allowPrivilegeEscalation": True}), {}, ("allowPrivilegeEscalation != false", 'container "c" must set securityContext.allowPrivilegeEscalation=false')),
        ("restricted", spec(GOOD | {"capabilities": {"add": ["CHOWN"]}}), {}, ("unrestricted capabilities", 'container "c" must set securityContext.capabilities.drop=["ALL"]; container "c" must not include "CHOWN" in securityContext.capabilities.add')),
        ("restricted", spec(GOOD, volumes=[{"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}]), {}, ("restricted volume types", 'volumes "a", "b" use restricted volume types "hostPath", "nfs"')),
        ("restricted", spec(GOOD | {"runAsNonRoot": None}), {}, ("runAsNonRoot != true", 'pod or container "c" must set securityContext.runAsNonRoot=true')),
        ("restricted", spec(GOOD | {"runAsNonRoot": False}, securityContext={"runAsNonRoot": False}), {}, ("runAsNonRoot != true", 'pod and container "c" must not set securityContext.runAsNonRoot=false')),
        ("restricted", spec(GOOD | {"runAsUser": 0}), {}, ("runAsUser=0", 'container "c" must not set runAsUser=0')),
        ("restricted", spec(GOOD | {"seccompProfile": None}), {}, ("seccompProfile", 'pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"')),
    ],
)  # fmt: skip
def test_checks(level, pod_spec, annotations, expected):
    assert evaluate(level, NEWEST, annotations, pod_spec) == [expected]


def test_good_pods():
    assert evaluate("restricted", NEWEST, {}, spec(GOOD)) == []
    assert evaluate("baseline", NEWEST, {}, spec()) == []
    assert evaluate("privileged", NEWEST, {}, spec({"privileged": True})) == []
    windows = spec({"runAsNonRoot": True}, os={"name": "windows"})
    assert evaluate("restricted", NEWEST, {}, windows) == []


def test_versions():
    sysctl = spec(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]})
    assert evaluate("baseline", 31, {}, sysctl) and not evaluate("baseline", 32, {}, sysctl)
    root = spec(GOOD | {"runAsUser": 0}, hostUsers=False)
    assert evaluate("restricted", 34, {}, root) and not evaluate("restricted", 35, {}, root)
    assert (
        evaluate(
            "restricted",
            21,
            {},
            spec({"allowPrivilegeEscalation": False, "runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}),
        )
        == []
    )
    assert len(checks_for("restricted", 0)) < len(checks_for("restricted", NEWEST))


def labels(**modes):
    return {f"pod-security.kubernetes.io/{k.replace('_', '-')}": v for k, v in modes.items()}


def test_policies():
    policy, errors = policy_of(labels(enforce="baseline"), Policy())
    assert (str(policy.enforce), str(policy.warn), str(policy.audit)) == (
        "baseline:latest",
        "baseline:latest",
        "privileged:latest",
    )
    policy, errors = policy_of(
        labels(enforce="restricted", enforce_version="v1.25", warn="baseline", audit_version="v1.0"), Policy()
    )
    assert (str(policy.enforce), str(policy.warn), str(policy.audit)) == (
        "restricted:v1.25",
        "baseline:latest",
        "privileged:v1.0",
    )
    policy, errors = policy_of(labels(enforce="strict", warn="x", audit_version="1.2"), Policy())
    assert (policy.enforce.level, policy.warn.level, policy.audit.version) == ("restricted", "privileged", "latest")
    assert [str(e) for e in errors] == [
        'metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted',
        'metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "1.2": must be "latest" or "v1.x"',
        'metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "x": must be one of privileged, baseline, restricted',
    ]
    assert LevelVersion("baseline", "v1.12").minor == 12


def world(settings=None, **modes):
    w = World(settings={"pod-security": settings} if settings else None)
    w.reader.put(NAMESPACES, obj("ns", meta={"labels": labels(**modes)}))
    return w


async def run(w, gvr, new, old=None, who=None, operation="CREATE"):
    (plugin,) = [p for p in w.chain if p.name == "PodSecurity"]
    namespace = new["metadata"].get("namespace", "")
    a = AdmissionAttributes(
        "UPDATE" if old else operation, gvr, None, "", namespace, new["metadata"]["name"], new, old, who or user()
    )
    await plugin.validate(a)
    return a


BAD = pod(hostNetwork=True)


async def test_enforce_warn_and_audit():
    w = world(enforce="baseline", audit="restricted")
    message = await w.refused(PODS, BAD)
    assert (
        message == 'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    a = await run(w, PODS, pod())
    assert a.audit_annotations["pod-security.kubernetes.io/enforce-policy"] == "baseline:latest"
    assert a.audit_annotations["pod-security.kubernetes.io/audit-violations"].startswith(
        'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation'
    )
    assert a.warnings == []
    a = await run(world(warn="baseline"), PODS, BAD)
    assert a.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)']


async def test_controllers_are_only_warned():
    w = world(enforce="baseline")
    a = await run(
        w,
        DEPLOYMENTS,
        obj("d", "ns", spec={"template": {"metadata": {}, "spec": {"hostNetwork": True, "containers": []}}}),
    )
    assert a.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)']


async def test_unimportant_updates_pass():
    w = world(enforce="baseline")
    labelled = copy.deepcopy(BAD)
    labelled["metadata"]["labels"] = {"a": "b"}
    await run(w, PODS, labelled, old=BAD)
    newer = copy.deepcopy(BAD)
    newer["spec"]["containers"][0]["image"] = "other"
    assert "violates" in await w.refused(PODS, newer, old=BAD)
    debugged = copy.deepcopy(BAD)
    debugged["spec"] |= {"ephemeralContainers": [{"name": "e", "image": "i"}], "serviceAccountName": "default"}
    assert "violates" in await w.refused(PODS, debugged, old=BAD, subresource="ephemeralcontainers")


async def test_exemptions_and_defaults():
    w = world(
        {
            "defaults": {"enforce": "restricted"},
            "exemptions": {"usernames": ["root"], "namespaces": ["kube-system"], "runtimeClasses": ["kata"]},
        }
    )
    assert 'violates PodSecurity "restricted:latest"' in await w.refused(PODS, pod())
    a = await run(w, PODS, pod(), who=user("root"))
    assert a.audit_annotations == {"pod-security.kubernetes.io/exempt": "user"}
    await run(w, PODS, pod(namespace="kube-system"))
    await run(w, PODS, pod(runtimeClassName="kata"))


async def test_labels_of_namespaces():
    w = world()
    message = await w.refused(NAMESPACES, obj("n", meta={"labels": labels(enforce="x")}), code=422)
    assert "must be one of privileged, baseline, restricted" in message
    broken = obj("n", meta={"labels": labels(enforce="x")})
    await run(w, NAMESPACES, broken, old=broken)


async def test_warnings_for_pods_that_are_there():
    w = world()
    for name in ("a", "b", "c"):
        w.reader.put(PODS, pod(name, hostNetwork=True))
    w.reader.put(PODS, pod("d", hostPID=True, meta={"ownerReferences": [{"uid": "1", "controller": True}]}))
    w.reader.put(PODS, pod("e"))
    a = await run(w, NAMESPACES, obj("ns", meta={"labels": labels(enforce="baseline")}), old=obj("ns"))
    assert a.warnings == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 3 other pods): host namespaces",
    ]
    a = await run(w, NAMESPACES, obj("ns"), old=obj("ns", meta={"labels": labels(enforce="baseline")}))
    assert a.warnings == []
