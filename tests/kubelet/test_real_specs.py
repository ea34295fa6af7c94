"""What a pod's spec asks of the kernel, as containers of a real runtime find it."""

import gzip
import json

import pytest

from pybernetes.api.meta import uid_of
from pybernetes.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from pybernetes.concurrency import RealClock

from .builders import pod
from .real_node import FOREVER, ready, real_node, shell

pytestmark = pytest.mark.containers


@pytest.fixture
async def node(tmp_path):
    async with real_node(tmp_path) as real:
        yield real


def named(name: str):
    return {"name": name}


async def test_namespaces_groups_sysctls_and_profiles(node):
    profiles = node.node.base / "kubelet/seccomp"
    profiles.mkdir()
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    (profiles / "nomkdir.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    local = {"seccompProfile": {"type": "Localhost", "localhostProfile": "nomkdir.json"}}
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "m", "mountPath": "/m"}]
    plain = {
        "runAsUser": 1000,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    shared = await node.create(
        pod(
            shell("exec sleep 4321", "one"),
            shell("mkdir /x 2>&1; " + FOREVER, securityContext=local),
            meta=named("shared"),
            shareProcessNamespace=True,
        )
    )
    small = await node.create(
        pod(
            shell(FOREVER, securityContext=plain, volumeMounts=mounts),
            volumes=volumes,
            meta=named("small"),
            hostname="h",
            subdomain="sub",
            setHostnameAsFQDN=True,
            hostAliases=[{"ip": "192.0.2.9", "hostnames": ["far.example"]}],
            securityContext={
                "supplementalGroups": [77],
                "fsGroup": 88,
                "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "10000 10100"}],
            },
        )
    )
    await node.until(ready, "shared", timeout=90)
    await node.until(ready, "small", timeout=90)
    assert "Operation not permitted" in await node.until_logged(shared, "mkdir")
    assert b"sleep 4321" in (await node.execute(shared, "cat /proc/*/cmdline | tr '\\0' ' '")).stdout

    async def said(script: str) -> str:
        done = await node.execute(small, script)
        return (done.stdout + done.stderr).decode()

    assert "NoNewPrivs:\t1" in (text := await said("cat /proc/self/status")) and "CapEff:\t0000000000000000" in text
    assert (await said("id -G")).split() == ["1000", "77", "88", "50000"]
    assert await said("cat /proc/sys/net/ipv4/ip_local_port_range") == "10000\t10100\n"
    assert await said("hostname") == "h.sub.default.svc.cluster.local\n"
    assert "192.0.2.9\tfar.example\n" in await said("cat /etc/hosts")
    assert "Read-only file system" in await said("touch /x")
    assert await said("stat -c %a:%g /v /m") == "2777:88\n2777:88\n"
    assert "No space left on device" in await said("dd if=/dev/zero of=/m/x bs=1M count=3")


async def test_an_empty_dir_keeps_the_mode_that_its_pod_gave_it(node):
    """The volumes of a pod with a token are looked at again and again."""
    token = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    mount = {"name": "v", "mountPath": "/v"}
    created = await node.create(
        pod(shell("chmod 700 /v; " + FOREVER, volumeMounts=[mount]), volumes=[{"name": "v", "emptyDir": {}}, token])
    )
    await node.until(ready, timeout=90)
    patch = {"metadata": {"annotations": {"a": "b"}}}
    for _ in range(2):
        await node.client.patch(PODS, "p", patch, "default")
        patch["metadata"]["annotations"]["a"] = "c"
        await node.clock.sleep(0.5)
    assert (await node.execute(created, "stat -c %a /v")).stdout == b"700\n"


async def test_sub_path_expressions(node):
    volumes = [{"name": "v", "emptyDir": {}}]
    for name, value, wanted in (
        ("inside", "a/b", "Running"),
        ("absolute", "/etc", "error SubPath `/etc` must not be an absolute path"),
        ("back", "../../..", "must not contain '..'"),
    ):
        mount = {"name": "v", "mountPath": "/v", "subPathExpr": "$(PART)"}
        c = shell(FOREVER, env=[{"name": "PART", "value": value}], volumeMounts=[mount])
        await node.create(pod(c, volumes=volumes, meta=named(name)))
        seen = await node.until(lambda p, w=wanted: w in str(p.get("status")), name, timeout=90)
        if name != "inside":
            assert seen["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"


async def test_what_this_runtime_cannot_do_is_said_in_upstreams_words(node):
    """containerd 1.6 has neither user namespaces nor recursive read-only mounts; newer ones do."""
    mount = {"name": "v", "mountPath": "/v", "readOnly": True}
    volumes = [{"name": "v", "emptyDir": {}}]
    strict = {**mount, "recursiveReadOnly": "Enabled"}
    lenient = {**mount, "recursiveReadOnly": "IfPossible"}
    await node.create(pod(shell(FOREVER, volumeMounts=[strict]), volumes=volumes, meta=named("strict")))
    await node.create(pod(shell(FOREVER, volumeMounts=[lenient]), volumes=volumes, meta=named("lenient")))
    await node.create(pod(shell("cat /proc/self/uid_map; " + FOREVER), hostUsers=False, meta=named("users")))
    await node.create(pod(shell(FOREVER), meta=named("groups"), securityContext={"supplementalGroupsPolicy": "Strict"}))
    await node.until(ready, "lenient", timeout=90)
    if node.kubelet.preparation.recursive_read_only:
        await node.until(ready, "strict", timeout=90)
    else:
        text = "requested recursive read-only mode, but it is not supported by the runtime"
        await node.until(lambda p: text in str(p.get("status")), "strict", timeout=90)
    if not node.kubelet.pod_runtime.user_namespaces_supported:
        async with node.clock.timeout(90):
            while not (events := await node.events("FailedCreatePodSandBox")):
                await node.clock.sleep(0.05)
        assert "can't set `spec.hostUsers: false`, runtime does not support user namespaces" in events[0]
    rejected = await node.until_phase("Failed", "groups", timeout=90)
    assert rejected["status"]["reason"] == "SupplementalGroupsPolicyNotSupported"


async def test_mounts_travel_as_far_as_they_may(node):
    shared = node.node.base / "kubelet/shared"
    volume = {"name": "v", "hostPath": {"path": str(shared), "type": "DirectoryOrCreate"}}

    def mount(how):
        return [{"name": "v", "mountPath": "/v", "mountPropagation": how}]

    maker = shell(
        "mkdir -p /v/m; mount -t tmpfs t /v/m; echo x > /v/m/here; echo mounted; trap 'umount /v/m; exit 0' TERM; while true; do sleep 0.1; done",
        "maker",
        securityContext={"privileged": True},
        volumeMounts=mount("Bidirectional"),
    )
    created = await node.create(
        pod(
            maker,
            shell(FOREVER, "seeing", volumeMounts=mount("HostToContainer")),
            shell(FOREVER, "private", volumeMounts=mount("None")),
            volumes=[volume],
            terminationGracePeriodSeconds=5,
        )
    )
    await node.until(ready, timeout=90)
    async with node.clock.timeout(90):
        while not (shared / "m/here").exists():
            await node.clock.sleep(0.05)
    assert (await node.execute(created, "ls /v/m", "seeing")).stdout == b"here\n"
    # What was mounted before its own start a private mount has too, so only the kind is looked at.
    tables = [
        (await node.execute(created, "cat /proc/self/mountinfo", n)).stdout.decode() for n in ("seeing", "private")
    ]
    flags = [next(line for line in table.splitlines() if " /v " in line) for table in tables]
    assert "master:" in flags[0] and "master:" not in flags[1] and "shared:" not in flags[1]
    await node.client.delete(PODS, "p", "default")
    await node.until_gone(timeout=90)


async def test_a_claim_on_a_local_volume(node):
    directory = node.node.base / "disk"
    directory.mkdir()
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "disk"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "local": {"path": str(directory)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}
                    ]
                }
            },
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": "disk",
            "storageClassName": "",
        },
    }
    made = await node.client.create(PERSISTENT_VOLUME_CLAIMS, claim, "default")
    volume["spec"]["claimRef"] = {"namespace": "default", "name": "mine", "uid": uid_of(made)}
    await node.client.create(PERSISTENT_VOLUMES, volume)
    mounts = [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/part", "subPath": "deep/er"}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "mine"}}]
    created = await node.create(
        pod(shell("echo x > /v/a; echo y > /part/b; " + FOREVER, volumeMounts=mounts), volumes=volumes)
    )
    async with node.clock.timeout(90):
        while not (events := await node.events("FailedMount")):
            await node.clock.sleep(0.05)
    assert "PVC is not bound" in events[0]
    bound = {**made, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}
    await node.client.update(PERSISTENT_VOLUME_CLAIMS, bound, subresource="status")
    await node.until(ready, timeout=90)
    assert (await node.execute(created, "cat /v/deep/er/b")).stdout == b"y\n"
    await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
    await node.until_gone(timeout=90)
    assert (directory / "a").read_text() == "x\n" and (directory / "deep/er/b").read_text() == "y\n"


async def test_a_container_is_restarted_by_its_own_rules(node):
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    own = {"restartPolicy": "Never", "restartPolicyRules": rules}
    again = shell(
        "test -e /v/x && exit 1; echo > /v/x; exit 42", "again", volumeMounts=[{"name": "v", "mountPath": "/v"}], **own
    )
    await node.create(
        pod(again, shell("exit 3", "once", **own), volumes=[{"name": "v", "emptyDir": {}}], restartPolicy="Never")
    )
    ended = await node.until_phase("Failed", timeout=90)
    statuses = {s["name"]: s for s in ended["status"]["containerStatuses"]}
    assert (statuses["again"]["restartCount"], statuses["again"]["state"]["terminated"]["exitCode"]) == (1, 1)
    assert (statuses["once"]["restartCount"], statuses["once"]["state"]["terminated"]["exitCode"]) == (0, 3)


class Ahead(RealClock):
    def __init__(self, turn: int) -> None:
        super().__init__()
        self._turn = turn

    def now(self) -> float:
        return super().now() + 10.0 * self._turn


async def test_logs_are_rotated_and_the_runtime_writes_on(tmp_path):
    async with real_node(tmp_path, container_log_max_size=4_000, container_log_max_files=3) as node:
        line = "x" * 100
        created = await node.create(
            pod(shell(f"n=0; while true; do n=$((n+1)); echo $n {line}; sleep 0.002; done", "c"))
        )
        await node.until(ready, timeout=90)
        meta = created["metadata"]
        directory = node.kubelet.settings.pod_logs_dir / f"default_p_{meta['uid']}" / "c"
        for turn in range(4):
            # Names of rotated files end in the second.
            node.kubelet.cleaner._clock = Ahead(turn)
            async with node.clock.timeout(90):
                while (directory / "0.log").stat().st_size < 4_000:
                    await node.clock.sleep(0.05)
            await node.kubelet.cleaner.logs()
        names = sorted(f.name for f in directory.iterdir())
        assert len(names) == 3 and names[0] == "0.log" and names[1].endswith(".gz") and not names[2].endswith(".gz")
        packed = gzip.decompress((directory / names[1]).read_bytes())
        numbers = [int(row.split()[3]) for row in (packed + (directory / names[2]).read_bytes()).splitlines()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
