"""Faults under real containers: pods end in the state that upstream documents, and nothing of them is left behind.

``real_node`` removes all pods at the end of every test and asserts that no sandbox, address, mount, cgroup, log or process is left.
"""

import asyncio
import os
import platform
import re
import select
import shutil
import signal
import threading
from pathlib import Path

import pytest

from pybernetes.api.meta import get_condition, is_condition_true, uid_of
from pybernetes.api.resources import CONFIG_MAPS, NODES, PODS
from pybernetes.concurrency import RealClock
from pybernetes.kubelet import cgroups, linux
from pybernetes.kubelet.containerd import shims_of
from pybernetes.kubelet.runtime.pause import pause_binary
from pybernetes.kubelet.stats import source
from pybernetes.kubelet.volumes import manager
from pybernetes.testing.cluster import start_cluster

from .builders import pod, sidecar
from .conftest import BUSYBOX, running_node
from .real_node import (
    FOREVER,
    RealNode,
    kubelet_on,
    ready,
    real_node,
    remove_pods,
    shell,
    until_nothing_left,
)

pytestmark = pytest.mark.containers


@pytest.fixture
async def node(tmp_path):
    async with real_node(tmp_path) as real:
        yield real


def named(name: str):
    return {"name": name}


def processes(node) -> set[int]:
    return set(shims_of(str(node.node.settings.socket)))


async def test_containerd_killed_and_restarted(node):
    created = await node.create(pod(shell(FOREVER)))
    before = await node.until(ready, timeout=90)
    shims = processes(node)
    os.kill(node.node.containerd.running_pid(), signal.SIGKILL)
    while node.node.containerd.ready.is_set():
        await node.clock.sleep(0.02)
    async with node.clock.timeout(90):
        await node.node.containerd.ready.wait()
        while node.kubelet.not_ready():
            await node.clock.sleep(0.05)
    assert (await node.execute(created, "echo alive")).stdout == b"alive\n"
    after = await node.pod()
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert processes(node) == shims
    await node.client.delete(PODS, "p", "default")
    await node.until_gone(timeout=90)


async def test_pods_asked_for_and_ended_while_containerd_is_away(node):
    """What was created meanwhile starts, what ended meanwhile is seen to have ended, and what was deleted goes."""
    dying = await node.create(pod(shell(FOREVER), meta=named("dying")))
    await node.create(pod(shell(FOREVER), meta=named("leaving")))
    await node.until(ready, "dying", timeout=90)
    await node.until(ready, "leaving", timeout=90)
    inside = await first_process(node, dying)
    os.kill(node.node.containerd.running_pid(), signal.SIGKILL)
    os.kill(inside, signal.SIGKILL)
    await node.create(pod(shell(FOREVER), meta=named("late")))
    await node.client.delete(PODS, "leaving", "default", grace_period_seconds=1)
    again = await node.until(lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1, "dying", timeout=90)
    assert again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
    await node.until(ready, "late", timeout=90)
    await node.until_gone("leaving", timeout=90)


async def test_a_shim_that_a_restarted_containerd_does_not_know_is_ended(node):
    """It was killed between starting a shim and noting it."""
    await node.create(pod(shell(FOREVER)))
    await node.until(ready, timeout=90)
    kept = processes(node)
    stray = await asyncio.create_subprocess_exec(
        "containerd-shim-fake", "-address", str(node.node.settings.socket), "-id", "unknown", "30",
        executable=stray_program(node),
    )  # fmt: skip
    async with node.clock.timeout(90):
        while len(processes(node)) != 2:
            await node.clock.sleep(0.02)
        os.kill(node.node.containerd.running_pid(), signal.SIGKILL)
        assert await stray.wait() == -signal.SIGKILL
        await node.node.containerd.ready.wait()
    assert processes(node) == kept
    assert ready(await node.pod())


def stray_program(node) -> str:
    """A program that only waits, whatever it is called with."""
    file = node.node.base / "stray"
    file.write_bytes(pause_binary(platform.machine()))
    file.chmod(0o755)
    return str(file)


async def first_process(node, created, name="c") -> int:
    found = await node.kubelet.find_container("default", created["metadata"]["name"], name)
    status = await node.node.cri.container_status(found.id, verbose=True)
    return int(re.search(rb'"pid":(\d+)', status["info"]["info"].encode())[1])


def shim_of(node, created) -> int:
    sandbox = node.kubelet.cache.get(uid_of(created)).sandboxes[0].id
    pids = [p for p in processes(node) if sandbox.encode() in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(pids) == 1
    return pids[0]


@pytest.mark.parametrize("ending", [signal.SIGCONT, signal.SIGKILL])
async def test_a_hung_shim_holds_only_its_own_pod(node, ending, monkeypatch):
    monkeypatch.setattr(source, "RUNTIME_PATIENCE", 0.5)
    stuck = await node.create(pod(shell(FOREVER), meta=named("stuck")))
    await node.until(ready, "stuck", timeout=90)
    shim = shim_of(node, stuck)
    os.kill(shim, signal.SIGSTOP)
    try:
        await node.client.delete(PODS, "stuck", "default", grace_period_seconds=1)
        limit = {"limits": {"ephemeral-storage": "1Gi"}}
        await node.create(pod(shell(FOREVER, resources=limit), meta=named("other")))
        await node.until(ready, "other", timeout=90)
        assert (await node.pod("stuck"))["metadata"]["deletionTimestamp"]
        assert node.kubelet.not_ready() == []
        async with node.clock.timeout(30):
            # containerd asks every shim for what its containers use: eviction must not wait for the answer.
            assert await node.kubelet.evictor.look() is False
        await node.client.delete(PODS, "other", "default", grace_period_seconds=1)
        await node.until_gone("other", timeout=90)
    finally:
        os.kill(shim, ending)
    await node.until_gone("stuck", timeout=90)


async def test_a_stopped_container_is_killed_after_its_grace_period(node):
    created = await node.create(pod(shell(FOREVER), terminationGracePeriodSeconds=1))
    await node.until(ready, timeout=90)
    os.kill(await first_process(node, created), signal.SIGSTOP)
    await node.client.delete(PODS, "p", "default")
    await node.until_gone(timeout=90)


# -- network ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commands", ["ADD", "ADD DEL"])
async def test_a_network_plugin_that_fails_and_comes_back(tmp_path, commands):
    """The plugin before it has given an address by then: that must not be lost."""
    async with real_node(tmp_path, faulty_cni=True) as node:
        broken = tmp_path / "broken"
        await node.create(pod(shell(FOREVER), meta=named("before")))
        await node.until(ready, "before", timeout=90)
        broken.write_text(commands)
        created = await node.create(pod(shell(FOREVER)))
        async with node.clock.timeout(90):
            while not (events := await node.events("FailedCreatePodSandBox")):
                await node.clock.sleep(0.05)
        assert "no network today" in events[0]
        waiting = await node.pod()
        assert waiting["status"]["phase"] == "Pending"
        assert get_condition(waiting, "PodReadyToStartContainers")["status"] == "False"
        broken.unlink()
        node.kubelet.probe_changed(uid_of(created))
        await node.until(ready, timeout=90)
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await node.until_gone(timeout=90)
        # A pod that was never given a network goes too.
        broken.write_text(commands)
        await node.create(pod(shell(FOREVER), meta=named("never")))
        await node.clock.sleep(1)
        await node.client.delete(PODS, "never", "default", grace_period_seconds=1)
        broken.unlink()
        await node.until_gone("never", timeout=90)


async def test_a_network_that_cannot_be_taken_down_holds_the_pod_until_it_can(tmp_path):
    async with real_node(tmp_path, faulty_cni=True) as node:
        await node.create(pod(shell(FOREVER)))
        await node.until(ready, timeout=90)
        broken = tmp_path / "broken"
        broken.write_text("DEL")
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        async with node.clock.timeout(90):
            while not (events := await node.events("FailedKillPod")):
                await node.clock.sleep(0.05)
        assert "no network today" in events[0]
        assert (await node.pod())["metadata"]["deletionTimestamp"]
        broken.unlink()
        await node.until_gone(timeout=90)


# -- disk and mounts ---------------------------------------------------------------------------------------------------------


FILL = "dd if=/dev/zero of=/v/big bs=1M count=64 2>/dev/null; echo full; " + FOREVER
VOLUME = {"name": "v", "emptyDir": {}}
MOUNT = {"name": "v", "mountPath": "/v"}


async def test_a_full_disk_delays_new_pods_and_harms_no_running_one(tmp_path):
    async with real_node(tmp_path, disk=8 << 20) as node:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "x" * 100_000}}
        await node.client.create(CONFIG_MAPS, config, "default")
        steady = await node.create(pod(shell(FOREVER), meta=named("steady")))
        await node.until(ready, "steady", timeout=90)
        hog = await node.create(pod(shell(FILL, volumeMounts=[MOUNT]), volumes=[VOLUME], meta=named("hog")))
        await node.until_logged(hog, "full")
        volume = {"name": "m", "configMap": {"name": "m"}}
        late = pod(shell(FOREVER, volumeMounts=[{"name": "m", "mountPath": "/m"}]), volumes=[volume])
        await node.create(late)
        async with node.clock.timeout(90):
            while not (events := await node.events("FailedMount")):
                await node.clock.sleep(0.05)
        assert 'MountVolume.SetUp failed for volume "m"' in events[0] and "No space left on device" in events[0]
        await node.client.delete(PODS, "hog", "default", grace_period_seconds=1)
        await node.until_gone("hog", timeout=90)
        await node.until(ready, timeout=90)
        assert (await node.execute(steady, "echo alive")).stdout == b"alive\n"
        assert (await node.pod("steady"))["status"]["containerStatuses"][0]["restartCount"] == 0


async def test_the_pod_that_fills_the_disk_is_evicted(tmp_path):
    async with real_node(tmp_path, disk=8 << 20, eviction_hard={"nodefs.available": "50%"}) as node:
        await node.create(pod(shell(FOREVER), meta=named("small")))
        await node.until(ready, "small", timeout=90)
        hog = await node.create(pod(shell(FILL, volumeMounts=[MOUNT]), volumes=[VOLUME], meta=named("hog")))
        await node.until_logged(hog, "full")
        await node.kubelet.evictor.look()
        evicted = await node.until_phase("Failed", "hog", timeout=90)
        assert evicted["status"]["reason"] == "Evicted"
        assert evicted["status"]["message"].startswith(
            "The node was low on resource: ephemeral-storage. Threshold quantity: 4096Ki"
        )
        assert get_condition(evicted, "DisruptionTarget")["reason"] == "TerminationByKubelet"
        await node.cluster.wait_for(NODES, "node", lambda n: is_condition_true(n, "DiskPressure"), timeout=90)
        await node.create(pod(shell(FOREVER), meta=named("late")))
        late = await node.until_phase("Failed", "late", timeout=90)
        assert late["status"]["message"] == "Pod was rejected: The node had condition: [DiskPressure]. "
        directory = node.kubelet.settings.pod_dir(uid_of(hog))
        async with node.clock.timeout(90):
            while directory.exists():
                await node.clock.sleep(0.05)
        await node.kubelet.evictor.look()
        assert ready(await node.pod("small"))


async def test_an_empty_dir_over_its_limit_is_evicted(node):
    volume = {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}
    created = await node.create(
        pod(
            shell("dd if=/dev/zero of=/v/big bs=1M count=3 2>/dev/null; echo full; " + FOREVER, volumeMounts=[MOUNT]),
            volumes=[volume],
        )
    )
    await node.until_logged(created, "full")
    await node.kubelet.evictor.look()
    evicted = await node.until_phase("Failed", timeout=90)
    assert evicted["status"]["reason"] == "Evicted"
    assert evicted["status"]["message"] == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '


async def test_what_is_written_to_etc_hosts_counts(node):
    """CVE-2020-8557: a file of the node's that a container can write must not be a way around its limit."""
    limit = {"limits": {"ephemeral-storage": "2Mi"}, "requests": {"ephemeral-storage": "1Mi"}}
    created = await node.create(
        pod(shell("dd if=/dev/zero of=/etc/hosts bs=1M count=4 2>/dev/null; echo full; " + FOREVER, resources=limit))
    )
    await node.until_logged(created, "full")
    await node.kubelet.evictor.look()
    evicted = await node.until_phase("Failed", timeout=90)
    assert (
        evicted["status"]["message"] == "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    )


async def test_a_mount_that_does_not_answer_holds_only_its_own_pod(node, monkeypatch):
    """More of them than any pool of threads has, and one is deleted while it hangs."""
    answer, real = threading.Event(), manager.host_path

    def host_path(source, **more):
        if source["path"] == "/hung":
            answer.wait(300)
            source = {"path": "/tmp"}
        return real(source, **more)

    monkeypatch.setattr(manager, "host_path", host_path)
    monkeypatch.setattr("pybernetes.kubelet.syncing.OPERATION", 1.0)
    hung = [{"name": "v", "hostPath": {"path": "/hung"}}]
    try:
        for n in range(12):
            await node.create(pod(shell(FOREVER, volumeMounts=[MOUNT]), volumes=hung, meta=named(f"hung{n}")))
        await node.create(pod(shell(FOREVER)))
        await node.until(ready, timeout=90)
        async with node.clock.timeout(90):
            while not (events := await node.events("FailedMount")):
                await node.clock.sleep(0.05)
        assert events[0].startswith("Unable to attach or mount volumes: unmounted volumes=[v")
        assert events[0].endswith("context deadline exceeded")
        await node.client.delete(PODS, "hung0", "default", grace_period_seconds=1)
        await node.until_gone("hung0", timeout=90)
    finally:
        answer.set()
    await node.until(ready, "hung1", timeout=90)


async def test_a_file_system_that_hangs(node):
    """A FUSE file system whose server never answers, as a hostPath with a type that has to be looked at."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("no /dev/fuse")
    target = node.node.base / "hung"
    target.mkdir()
    linux.mount("hung", str(target), "fuse", 0, f"fd={device},rootmode=40000,user_id=0,group_id=0")
    try:
        volume = {"name": "v", "hostPath": {"path": f"{target}/x", "type": "Directory"}}
        await node.create(pod(shell(FOREVER, volumeMounts=[MOUNT]), volumes=[volume], meta=named("hung")))
        await node.create(pod(shell(FOREVER)))
        await node.until(ready, timeout=90)
        await node.client.delete(PODS, "hung", "default", grace_period_seconds=1)
        await node.until_gone("hung", timeout=90)
    finally:
        linux.unmount(str(target), linux.MNT_DETACH)
        os.close(device)


# -- processes and memory ----------------------------------------------------------------------------------------------------


async def test_a_fork_bomb_stays_in_its_pod(tmp_path):
    async with real_node(tmp_path, pod_pids_limit=40) as node:
        bomb = "(while true; do sleep 1000 & done) 2>/dev/null; echo spent; exec sleep 1000"
        created = await node.create(pod(shell(bomb), meta=named("bomb")))
        other = await node.create(pod(shell(FOREVER)))
        await node.until_logged(created, "spent")
        await node.until(ready, timeout=90)
        tree = cgroups.ROOT / "pids" if (cgroups.ROOT / "pids").is_dir() else cgroups.ROOT
        used = int((tree / node.kubelet.cgroups.parent_for(created)[1:] / "pids.current").read_text())
        assert 30 <= used <= 40
        assert (await node.execute(other, "echo alive")).stdout == b"alive\n"
        await node.client.delete(PODS, "bomb", "default", grace_period_seconds=1)
        await node.until_gone("bomb", timeout=90)


async def test_a_container_out_of_memory_is_restarted_and_said_so(node):
    hungry = shell("x=a; while true; do x=$x$x; done", "oom", resources={"limits": {"memory": "16Mi"}})
    await node.create(pod(hungry, shell(FOREVER)))
    seen = await node.until(
        lambda p: any(s["restartCount"] >= 1 for s in p.get("status", {}).get("containerStatuses", ())), timeout=90
    )
    states = {s["name"]: s for s in seen["status"]["containerStatuses"]}
    ended = states["oom"]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert states["c"]["restartCount"] == 0 and "running" in states["c"]["state"]


# -- reboot ------------------------------------------------------------------------------------------------------------------


def power_off(node) -> None:
    """All that a boot holds is lost at once: processes, mounts, cgroups, and what lies under /run."""
    settings = node.settings
    ends = [node.containerd.running_pid(), *shims_of(str(settings.socket))]
    for tree in cgroups.ROOT.iterdir():
        if (tree / node.name).is_dir():
            cgroups.remove_tree(tree / node.name)
    for pid in ends:
        descriptor = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [], 5.0)
        os.close(descriptor)
    for directory in (settings.state, node.base / "kubelet", settings.root):
        linux.unmount_below(directory)
    shutil.rmtree(settings.state)


async def test_a_node_that_was_rebooted(tmp_path):
    clock = RealClock()
    async with start_cluster(nodes=0, clock=clock, schedule=False, controllers=("serviceaccount",)) as cluster:
        async with running_node(tmp_path) as machine:
            async with kubelet_on(cluster, machine) as kubelet:
                node = RealNode(cluster, machine, kubelet)
                volumes = [VOLUME, {"name": "m", "emptyDir": {"medium": "Memory"}}]
                mounts = [MOUNT, {"name": "m", "mountPath": "/m"}]
                script = "ls /v /m; echo x > /v/kept; echo x > /m/lost; echo written; " + FOREVER
                web = await node.create(
                    pod(
                        shell(script, volumeMounts=mounts),
                        init=(sidecar("s", image=BUSYBOX, command=["sleep", "1000"]),),
                        volumes=volumes,
                        meta=named("web"),
                    )
                )
                await node.create(pod(shell(FOREVER), restartPolicy="Never", meta=named("job")))
                await node.create(pod(shell(FOREVER), meta=named("leaving")))
                for name in ("web", "job", "leaving"):
                    await node.until(ready, name, timeout=90)
                await node.until_logged(web, "written")
            await node.client.delete(PODS, "leaving", "default")
            # Not in a thread: nobody may start containerd again before all of it is gone.
            power_off(machine)
            while machine.containerd.ready.is_set():
                await clock.sleep(0.02)
            async with clock.timeout(90):
                await machine.containerd.ready.wait()
            async with kubelet_on(cluster, machine, boot="another-boot") as kubelet:
                node = RealNode(cluster, machine, kubelet)
                again = await node.until(
                    lambda p: ready(p) and p["status"]["containerStatuses"][0]["restartCount"] == 1, "web", timeout=90
                )
                assert again["metadata"]["uid"] == web["metadata"]["uid"]
                assert again["status"]["initContainerStatuses"][0]["restartCount"] == 1
                assert "lost" not in await node.until_logged(web, "kept", attempt=1)
                job = await node.until_phase("Failed", "job", timeout=90)
                assert job["status"]["containerStatuses"][0]["restartCount"] == 0
                await node.until_gone("leaving", timeout=90)
                listed = (await node.client.list(NODES))["items"][0]
                assert listed["status"]["nodeInfo"]["bootID"] == "another-boot"
                await remove_pods(node)


# -- what one pod sees of another ------------------------------------------------------------------------------------------------


async def test_nothing_of_a_pod_is_visible_to_the_next_of_its_name(node):
    script = (
        "exec 2>&1; ls /v /m; ls /left; echo secret > /left; echo secret > /v/x; echo secret > /m/x; echo done; "
        + FOREVER
    )
    volumes = [VOLUME, {"name": "m", "emptyDir": {"medium": "Memory"}}]
    mounts = [MOUNT, {"name": "m", "mountPath": "/m"}]
    seen = []
    for _ in range(2):
        created = await node.create(pod(shell(script, volumeMounts=mounts), volumes=volumes))
        seen.append(await node.until_logged(created, "done"))
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await node.until_gone(timeout=90)
    assert seen[0] == seen[1]
    await until_nothing_left(node)


async def test_a_killed_shim_is_a_dead_pod_that_comes_back(node):
    await node.create(pod(shell(FOREVER)))
    before = await node.until(ready, timeout=90)
    for pid in processes(node):
        os.kill(pid, signal.SIGKILL)
    old = before["status"]["containerStatuses"][0]["containerID"]
    again = await node.until(
        lambda p: ready(p) and p["status"]["containerStatuses"][0]["containerID"] != old, timeout=90
    )
    assert again["status"]["containerStatuses"][0]["restartCount"] >= 1


async def test_a_restarted_kubelet_touches_nothing(node):
    for n in range(5):
        await node.create(
            pod(shell(FOREVER), init=(sidecar("s", image=BUSYBOX, command=["sleep", "1000"]),), meta={"name": f"p{n}"})
        )
    before = [await node.until(ready, f"p{n}", timeout=90) for n in range(5)]
    async with kubelet_on(node.cluster, node.node) as second:
        await node.clock.sleep(2)
        assert second.not_ready() == []
        for n, old in enumerate(before):
            now = await node.pod(f"p{n}")
            assert now["status"]["containerStatuses"] == old["status"]["containerStatuses"]
            assert ready(now)


async def test_volumes_left_by_a_kubelet_that_died_are_taken_down(node):
    volume = {"name": "v", "emptyDir": {"medium": "Memory"}}
    created = await node.create(pod(shell(FOREVER, volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[volume]))
    await node.until(ready, timeout=90)
    directory = node.kubelet.settings.pod_dir(uid_of(created))
    assert [m for m in linux.mounts() if m.target.startswith(str(directory))]
    await node.client.delete(PODS, "p", "default", grace_period_seconds=0)
    async with node.clock.timeout(90):
        while directory.exists():
            await node.clock.sleep(0.05)
    assert not [m for m in linux.mounts() if m.target.startswith(str(directory))]
