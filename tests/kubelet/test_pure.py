"""Environment, names, resources, admission, resize, eviction, garbage: plain data in, plain data out."""

import base64

import orjson
import pytest

from pybernetes.kubelet.images import ImagePullError, credentials, normalized
from pybernetes.kubelet.node import garbage
from pybernetes.kubelet.node.eviction import (
    EvictionState,
    Observation,
    PodUsage,
    Threshold,
    ranked,
    storage_violation,
)
from pybernetes.kubelet.pod import qos, resize
from pybernetes.kubelet.pod.admission import admit, victims
from pybernetes.kubelet.pod.env import (
    ConfigError,
    Place,
    Sources,
    environment,
    expand,
    expand_strictly,
    field_value,
    resource_value,
    service_variables,
)
from pybernetes.kubelet.pod.envfiles import parse_env_file
from pybernetes.kubelet.pod.model import EXITED
from pybernetes.kubelet.pod.naming import (
    Dns,
    NamingError,
    hostname_and_domain,
    hosts_file,
    kernel_hostname,
    parse_resolv_conf,
    pod_dns,
)
from pybernetes.kubelet.pod.restarts import CrashBackoff, go_duration
from pybernetes.kubelet.pod.runtime_config import (
    NodeSettings,
    Prepared,
    check_non_root,
    container_config,
    sandbox_config,
)
from pybernetes.kubelet.status_manager import status_patch

from .builders import container, instance, pod, runtime, sandbox, sidecar

GI = 1 << 30


# -- environment ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("a$", "a$"),
        ("$$", "$"),
        ("$()", "$()"),
    ],
)
def test_expansion(text, expected):
    assert expand(text, {"A": "1"}, {"B": "2", "A": "no"}) == expected


def test_sub_path_expressions_are_strict():
    assert expand_strictly("$(A)/x", {"A": "1"}) == "1/x"
    with pytest.raises(ConfigError, match='missing value for "B"'):
        expand_strictly("$(B)", {})


def service(name, namespace="default", ip="10.96.0.1", *ports):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": list(ports)}}


def test_variables_of_services():
    kubernetes = service("kubernetes", "default", "10.96.0.1", {"port": 443, "name": "https", "protocol": "TCP"})
    mine = service("my-db", "shop", "10.96.0.7", {"port": 5432}, {"port": 53, "name": "dns-udp", "protocol": "UDP"})
    headless = service("headless", "shop", "None", {"port": 1})
    found = service_variables([kubernetes, mine, headless], "shop", True)
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1" and found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert found["MY_DB_PORT"] == "tcp://10.96.0.7:5432" and found["MY_DB_PORT_53_UDP_PROTO"] == "udp"
    assert found["MY_DB_SERVICE_PORT_DNS_UDP"] == "53" and "HEADLESS_SERVICE_HOST" not in found
    assert not any(k.startswith("MY_DB") for k in service_variables([kubernetes, mine], "shop", False))


def test_the_environment_in_order():
    c = container(
        env=[
            {"name": "A", "value": "$(FROM)-$(SVC)"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "FROM", "value": "own"},
        ],
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "m"}}, {"configMapRef": {"name": "m"}}],
    )
    sources = Sources({"m": {"FROM": "map"}, "none": None}, {"s": {"k": b"secret"}})
    found = environment(pod(c), c, sources, {"SVC": "1"}, Place(("10.0.0.5",)))
    assert found == {"P_FROM": "map", "FROM": "own", "A": "map-1", "B": "secret", "D": "10.0.0.5", "SVC": "1"}


def test_missing_sources():
    c = container(env=[{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
    with pytest.raises(ConfigError, match='secret "s" not found'):
        environment(pod(c), c, Sources(secrets={"s": None}), {}, Place())
    with pytest.raises(ConfigError, match="couldn't find key k in Secret default/s"):
        environment(pod(c), c, Sources(secrets={"s": {}}), {}, Place())


def test_downward_fields_and_resources():
    c = container("c", resources={"limits": {"cpu": "1500m"}, "requests": {"memory": "32Mi"}})
    p = pod(c, meta={"labels": {"b": "2", "a": 'x"y'}, "annotations": {"k": "v"}})
    assert field_value(p, "metadata.labels", Place()) == 'a="x\\"y"\nb="2"'
    assert field_value(p, "metadata.annotations['k']", Place()) == "v"
    with pytest.raises(ConfigError, match="unsupported fieldPath: spec.priority"):
        field_value(p, "spec.priority", Place())
    place = Place(allocatable={"cpu": "4", "memory": "8Gi"})
    for reference, expected in (
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "32"),
        ({"resource": "limits.memory"}, str(8 * GI)),
        ({"resource": "requests.cpu"}, "0"),
    ):
        assert resource_value(p, c, reference, place) == expected


def test_env_files():
    text = "# c\nA=1\nexport B='two\nlines'\nC = no\n D=\"x\"\nE=a b \n"
    assert parse_env_file(text) == {"A": "1", "B": "two\nlines", "D": "x", "E": "a b"}


# -- names ---------------------------------------------------------------------------------------------------------------


def test_host_names():
    assert hostname_and_domain(pod(), "cluster.local") == ("p", "")
    named = pod(hostname="h", subdomain="sub")
    assert hostname_and_domain(named, "cluster.local") == ("h", "sub.default.svc.cluster.local")
    assert kernel_hostname(named, "h", "d.e") == "h"
    assert kernel_hostname(pod(setHostnameAsFQDN=True), "h", "d.e") == "h.d.e"
    with pytest.raises(NamingError, match="is too long"):
        kernel_hostname(pod(setHostnameAsFQDN=True), "h" * 60, "d.e.f")
    assert hostname_and_domain(pod(meta={"name": "a" * 62 + "-b"}), "x")[0] == "a" * 62
    with pytest.raises(NamingError, match="not a valid DNS label"):
        hostname_and_domain(pod(hostname="a.b"), "x")


def test_hosts_file():
    text = hosts_file(pod(hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]), ["10.0.0.5"], "p", "s.d", "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.5\tp.s.d\tp\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
    on_host = hosts_file(pod(hostNetwork=True), ["10.0.0.5"], "p", "", "127.0.0.1 localhost\n")
    assert on_host == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"


NODE_DNS = parse_resolv_conf("nameserver 9.9.9.9\nsearch example.org. corp\noptions ndots:2\n")


def test_dns_policies():
    assert Dns(("9.9.9.9",), ("example.org", "corp"), ("ndots:2",)) == NODE_DNS
    dns, warnings = pod_dns(pod(), NODE_DNS, ["10.96.0.10"], "cluster.local")
    assert dns.servers == ("10.96.0.10",) and dns.options == ("ndots:5",) and warnings == []
    assert dns.searches == ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org", "corp")
    assert pod_dns(pod(dnsPolicy="Default"), NODE_DNS, ["x"], "c")[0] == NODE_DNS
    assert pod_dns(pod(hostNetwork=True), NODE_DNS, ["x"], "c")[0] == NODE_DNS
    own = {
        "nameservers": ["1.1.1.1"],
        "searches": ["a"],
        "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
    }
    assert pod_dns(pod(dnsPolicy="None", dnsConfig=own), NODE_DNS, [], "c")[0] == Dns(
        ("1.1.1.1",), ("a",), ("ndots:1", "edns0")
    )
    _, warned = pod_dns(pod(), NODE_DNS, [], "c")
    assert warned and "does not have ClusterDNS" in warned[0]
    many = {"nameservers": ["1", "2", "3", "4"], "searches": [f"s{n}" for n in range(40)]}
    dns, warned = pod_dns(pod(dnsPolicy="None", dnsConfig=many), NODE_DNS, [], "c")
    assert len(dns.servers) == 3 and len(dns.searches) == 32 and len(warned) == 2


# -- resources -----------------------------------------------------------------------------------------------------------


def test_shares_quota_and_oom_scores():
    assert qos.milli_cpu_to_shares(100) == 102 and qos.milli_cpu_to_shares(0) == 2
    assert qos.milli_cpu_to_quota(250) == 25000 and qos.milli_cpu_to_quota(1) == 1000
    assert qos.linux_resources({}, {"cpu": "500m", "memory": "1Gi"}) == {
        "cpu_shares": 512,
        "memory_limit_in_bytes": GI,
        "cpu_quota": 50000,
        "cpu_period": 100000,
    }
    both = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    burst = container("c", resources={"requests": {"memory": "2Gi"}})
    assert qos.oom_score_adj(pod(container("c", resources=both)), container("c", resources=both), 8 * GI) == -997
    assert qos.oom_score_adj(pod(container()), container(), 8 * GI) == 1000
    assert qos.oom_score_adj(pod(burst), burst, 8 * GI) == 750
    side = sidecar("s")
    assert qos.oom_score_adj(pod(burst, init=(side,)), side, 8 * GI) == 750
    critical = pod(burst, priority=2_000_001_000, priorityClassName="system-node-critical")
    assert qos.oom_score_adj(critical, burst, 8 * GI) == -997


SETTINGS = NodeSettings("/logs", "/seccomp", 8 * GI)


def test_configurations_for_the_runtime():
    c = container(
        "c",
        securityContext={
            "capabilities": {"add": ["NET_ADMIN"]},
            "allowPrivilegeEscalation": False,
            "procMount": "Unmasked",
        },
        ports=[{"containerPort": 80, "hostPort": 8080}],
        stdin=True,
    )
    p = pod(
        c,
        securityContext={
            "runAsUser": 1000,
            "fsGroup": 2000,
            "supplementalGroups": [5],
            "sysctls": [{"name": "net/core/x", "value": "1"}],
        },
    )
    box = sandbox_config(p, 2, hostname="h", dns=Dns(("d",)), cgroup_parent="/k", log_directory="/l", settings=SETTINGS)
    assert box["metadata"]["attempt"] == 2 and box["linux"]["sysctls"] == {"net.core.x": "1"}
    assert box["port_mappings"] == [{"protocol": "TCP", "container_port": 80, "host_port": 8080, "host_ip": ""}]
    made = container_config(p, c, Prepared(3, "sha256:x", environment={"A": "1"}), SETTINGS)
    security = made["linux"]["security_context"]
    assert security["run_as_user"] == {"value": 1000} and security["supplemental_groups"] == [2000, 5]
    assert (
        security["no_new_privs"]
        and security["masked_paths"] == ()
        and security["seccomp"] == {"profile_type": "Unconfined"}
    )
    assert made["log_path"] == "c/3.log" and made["envs"] == [{"key": "A", "value": b"1"}]


@pytest.mark.parametrize(
    ("context", "uid", "user", "message"),
    [
        ({"runAsNonRoot": True, "runAsUser": 0}, None, "", "runAsUser breaks non-root policy"),
        ({"runAsNonRoot": True}, 0, "", "image will run as root"),
        ({"runAsNonRoot": True}, None, "web", "non-numeric user"),
        ({"runAsNonRoot": True}, 5, "", None),
        ({"runAsNonRoot": False}, 0, "", None),
    ],
)
def test_run_as_non_root(context, uid, user, message):
    c = container("c", securityContext=context)
    if message is None:
        check_non_root(pod(c), c, uid, user)
    else:
        with pytest.raises(ConfigError, match=message):
            check_non_root(pod(c), c, uid, user)


# -- admission -----------------------------------------------------------------------------------------------------------

NODE = {
    "metadata": {"name": "n", "labels": {"zone": "a", "kubernetes.io/os": "linux"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3", "example.com/dongle": "2"}},
}


def asks(cpu="0", memory="0", **spec):
    return pod(container("c", resources={"requests": {"cpu": cpu, "memory": memory}}), **spec)


def needs(name, amount):
    return pod(container("c", resources={"requests": {name: amount}, "limits": {name: amount}}))


@pytest.mark.parametrize(
    ("p", "others", "reason"),
    [
        (asks("1"), [asks("1")], None),
        (asks("1"), [asks("1500m")], "OutOfcpu"),
        (asks("0", "5Gi"), [], "OutOfmemory"),
        (asks(), [asks(), asks(), asks()], "OutOfpods"),
        (pod(nodeSelector={"zone": "b"}), [], "NodeAffinity"),
        (pod(container("c", ports=[{"hostPort": 80, "containerPort": 1}])), [pod(container("d", ports=[{"hostPort": 80, "containerPort": 2}]))], "NodePorts"),
        (pod(container("c", ports=[{"hostPort": 80, "hostIP": "1.1.1.1", "containerPort": 1}])), [pod(container("d", ports=[{"hostPort": 80, "hostIP": "2.2.2.2", "containerPort": 2}]))], None),
        (pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), [], "SysctlForbidden"),
        (pod(os={"name": "windows"}), [], "PodOSNotSupported"),
        (needs("example.com/dongle", "2"), [], None),
        (needs("example.com/dongle", "2"), [needs("example.com/dongle", "1")], "OutOfexample.com/dongle"),
        (needs("example.com/unknown", "2"), [], None),
    ],
)  # fmt: skip
def test_admission(p, others, reason):
    rejection = admit(p, NODE, others)
    assert (rejection and rejection.reason) == reason


def test_node_affinity_and_taints():
    def affinity(*expressions):
        term = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
        return pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}})

    assert admit(affinity({"key": "zone", "operator": "In", "values": ["a"]}), NODE, []) is None
    assert admit(affinity({"key": "zone", "operator": "DoesNotExist"}), NODE, []).reason == "NodeAffinity"
    tainted = {**NODE, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
    assert admit(pod(), tainted, []).reason == "TaintToleration"
    assert admit(pod(tolerations=[{"operator": "Exists"}]), tainted, []) is None


def test_critical_pods_displace_the_least_important():
    critical = asks("1", priority=2_000_000_000)
    low, high = asks("1", priority=1), asks("1", priority=5)
    rejection = admit(critical, NODE, [high, low])
    assert victims(critical, rejection, NODE, [high, low]) == [low]
    assert victims(asks("1"), rejection, NODE, [high, low]) == []


# -- resize --------------------------------------------------------------------------------------------------------------


def sized(cpu, memory="64Mi", **more):
    return container("c", resources={"requests": {"cpu": cpu}, "limits": {"memory": memory}}, **more)


def test_resizes_are_granted_deferred_or_infeasible():
    assert resize.judge(pod(sized("1")), NODE, []) is None
    assert resize.judge(pod(sized("1")), NODE, [asks("1500m")])[0] == "Deferred"
    verdict = resize.judge(pod(sized("3")), NODE, [])
    assert verdict == ("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000")


def test_what_is_changed_in_place_and_what_needs_a_restart():
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    now = {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}
    for wanted, expected in (
        (sized("1", resizePolicy=policy), []),
        (sized("1000m", resizePolicy=policy), []),
        (sized("2", resizePolicy=policy), [("c", False, False)]),
        (sized("1", "32Mi", resizePolicy=policy), [("c", True, True)]),
        (sized("1", "128Mi"), [("c", False, False)]),
    ):
        found = resize.changes(pod(wanted), runtime(instance(wanted)), {"c-0": now})
        assert [(c.name, c.restart, c.memory_shrinks) for c in found] == expected


def test_an_allocation_is_recovered_from_the_status():
    p = pod(sized("2"))
    shown = {
        "name": "c",
        "state": {"running": {}},
        "allocatedResources": {"cpu": "1"},
        "resources": {"limits": {"memory": "32Mi"}},
    }
    p["status"] = {"containerStatuses": [shown]}
    assert resize.recovered(p)["c"] == {"requests": {"cpu": "1"}, "limits": {"memory": "32Mi"}}


# -- eviction ------------------------------------------------------------------------------------------------------------


def test_thresholds_grace_periods_and_transitions():
    hard, soft = Threshold("memory.available", "100Mi"), Threshold("memory.available", "1Gi", grace=30)
    state = EvictionState([hard, soft], transition=60)
    seen = {"memory.available": Observation(500 << 20, 8 * GI)}
    first = state.decide(seen, 0)
    assert first.conditions == {"MemoryPressure"} and first.acting is None
    assert state.decide(seen, 31).acting == soft
    assert state.decide({"memory.available": Observation(50 << 20, 8 * GI)}, 40).acting == hard
    calm = {"memory.available": Observation(2 * GI, 8 * GI)}
    assert state.decide(calm, 50).conditions == {"MemoryPressure"} and state.decide(calm, 50).acting is None
    assert state.decide(calm, 101).conditions == frozenset()


def test_a_percentage_and_the_minimum_reclaim():
    threshold = Threshold("nodefs.available", "10%", reclaim="5%")
    state = EvictionState([threshold])
    assert state.decide({"nodefs.available": Observation(9, 100)}, 0).acting == threshold
    assert state.decide({"nodefs.available": Observation(12, 100)}, 1).acting == threshold
    assert state.decide({"nodefs.available": Observation(16, 100)}, 2).acting is None


def test_ranking():
    def named(name, **spec):
        return pod(container("c", resources=spec.pop("resources", {})), meta={"uid": name}, **spec)

    within = named("within", resources={"requests": {"memory": "1Gi"}})
    over = named("over")
    important = named("important", priority=100)
    critical = named("critical", priority=2_000_000_000)
    usage = {"within": 500 << 20, "over": 100 << 20, "important": 2 * GI, "critical": 8 * GI}
    order = ranked("memory.available", [critical, within, important, over], lambda uid: PodUsage(memory=usage[uid]))
    assert [p["metadata"]["uid"] for p in order] == ["over", "important", "within"]


def test_local_storage_limits():
    p = pod(
        container("c", resources={"limits": {"ephemeral-storage": "1Mi"}}),
        volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Ki"}}],
    )
    assert storage_violation(p, {"v": 100}, {"c": 100}, 200) is None
    assert "EmptyDir" in storage_violation(p, {"v": 5000}, {}, 0)
    assert "total limit" in storage_violation(p, {}, {"c": 2 << 20}, 2 << 20)


# -- garbage -------------------------------------------------------------------------------------------------------------


def test_ended_containers_that_can_go():
    c = container("c")
    r = runtime(instance(c, n=3), *(instance(c, EXITED, n=n) for n in (0, 1, 2)))
    assert [x.id for x in garbage.dead_containers(r, wanted=True)] == ["c-1", "c-0"]
    assert len(garbage.dead_containers(r, wanted=False)) == 3
    old = runtime(instance(c, EXITED, sb="sb0"), sandboxes=(sandbox(1), sandbox(0, ready=False)))
    assert garbage.dead_sandboxes(old, [], wanted=True) == []
    assert garbage.dead_sandboxes(old, ["c-0"], wanted=True) == ["sb0"]


def test_images_that_go_when_the_disk_is_full():
    images = [garbage.ImageRecord(f"i{n}", 10, 0, n) for n in range(5)]
    assert garbage.bytes_to_free(50, 100, high=85, low=80) == 0
    assert garbage.bytes_to_free(10, 100, high=85, low=80) == 10
    chosen = garbage.images_to_free(images, ["i0"], 15, 1000, minimum_age=120)
    assert [i.id for i in chosen] == ["i1", "i2"]
    assert garbage.images_to_free(images, [], 15, 60, minimum_age=120) == []
    assert [i.id for i in garbage.images_too_old(images, ["i1"], 102, maximum_age=100)] == ["i0"]


# -- images, restarts, status patches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "nginx:latest"),
        ("host:5000/a/b", "host:5000/a/b:latest"),
        ("a:1", "a:1"),
        ("a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
        ("Upper", None),
        ("a b", None),
        ("", None),
    ],
)
def test_image_names(image, expected):
    if expected is None:
        with pytest.raises(ImagePullError):
            normalized(image)
    else:
        assert normalized(image) == expected


def test_pull_secrets_fit_their_registry():
    def secret(auths):
        return {"data": {".dockerconfigjson": base64.b64encode(orjson.dumps({"auths": auths})).decode()}}

    basic = base64.b64encode(b"me:pass:word").decode()
    secrets = [
        secret(
            {"https://index.docker.io/v1/": {"auth": basic}, "*.example.com/team": {"username": "u", "password": "p"}}
        )
    ]
    assert credentials("busybox:1", secrets) == [{"username": "me", "password": "pass:word"}]
    assert credentials("r.example.com/team/x:1", secrets) == [{"username": "u", "password": "p"}]
    assert credentials("r.example.com/other/x:1", secrets) == []
    assert credentials("a.b.example.com/team/x:1", secrets) == []


def test_crash_back_off():
    curve = CrashBackoff()
    assert curve.remaining("k", 100, 100) is None
    curve.next("k", 100, 100)
    assert curve.remaining("k", 105, 105) == (10, 10)
    curve.next("k", 105, 115)
    assert curve.remaining("k", 116, 120) == (16, 20)
    # The clock was set back by a day: nobody waits longer than the delay.
    assert curve.remaining("k", 116, 116 - 86400) == (20, 20)
    assert curve.remaining("k", 1000, 1000) is None
    shown = ["0s", "100ms", "1.5s", "10s", "1m20s", "5m0s", "1h1m1s"]
    assert [go_duration(s) for s in (0, 0.1, 1.5, 10, 80, 300, 3661)] == shown


def test_status_patches_are_small_and_leave_others_alone():
    old = {
        "phase": "Pending",
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "R", "lastProbeTime": None},
            {"type": "Gone", "status": "True"},
            {"type": "Same", "status": "True"},
        ],
        "podIPs": [{"ip": "10.0.0.1"}],
        "resourceClaimStatuses": [{"name": "x"}],
    }
    new = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Same", "status": "True"}],
        "podIPs": [{"ip": "10.0.0.2"}],
    }
    patch = status_patch(old, new)
    assert patch["phase"] == "Running"
    assert patch["conditions"] == [
        {"reason": None, "lastProbeTime": None, "type": "Ready", "status": "True"},
        {"$patch": "delete", "type": "Gone"},
    ]
    assert patch["podIPs"] == [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}]
    assert "resourceClaimStatuses" not in patch
    assert status_patch(new, new) == {}
