"""Faults on a virtual clock: where waiting is the point (an API server away, clocks that jump, delays that double)."""

import os
import random
from collections import Counter

import pytest

from pybernetes.api.meta import is_condition_true
from pybernetes.api.resources import LEASES, NODES, PODS, PRIORITY_CLASSES
from pybernetes.api.times import parse_time
from pybernetes.kubelet.node import evicting
from pybernetes.kubelet.node.cleaning import Cleaner
from pybernetes.kubelet.node.shutdown import classes, groups
from pybernetes.kubelet.settings import KubeletSettings

from .builders import by_name, container, pod, ready
from .fake_runtime import Program
from .node_in_memory import running_kubelet, settings_in


def test_an_api_server_that_is_away_for_ten_minutes(play):
    def script(name, attempt):
        return Program(runs=100 if name == "job" else None, code=0)

    async def test(node):
        await node.create(pod(container("c"), container("job"), restartPolicy="OnFailure"))
        await node.until(ready)
        node.cut()
        await node.clock.sleep(50)
        node.runtime.crash("c", 9)
        await node.clock.sleep(550)
        assert [c.state for c in node.runtime.of("c")] == ["CONTAINER_EXITED", "CONTAINER_RUNNING"]
        node.mend()
        seen = await node.until(lambda p: by_name(p)["c"]["restartCount"] == 1, timeout=60)
        assert by_name(seen)["job"]["state"]["terminated"]["exitCode"] == 0
        await node.client.delete(PODS, "p", "default")
        await node.until_gone(timeout=90)

    play(test, script)


def test_a_node_that_was_rebooted(play):
    async def test(node):
        await node.create(pod(container("c"), init=(container("i"),), meta={"name": "web"}))
        await node.create(pod(container("once"), restartPolicy="Never", meta={"name": "job"}))
        await node.until(ready, "web")
        await node.until(ready, "job")
        for sandbox in list(node.runtime.sandboxes):
            node.runtime.kill_sandbox(sandbox)
        async with running_kubelet(node.cluster, node.runtime, node.kubelet.settings, boot="boot-2"):
            again = await node.until(lambda p: ready(p) and by_name(p)["c"]["restartCount"] == 1, "web", timeout=60)
            assert by_name(again, "initContainerStatuses")["i"]["restartCount"] >= 0
            assert (await node.until_phase("Failed", "job", timeout=60))["status"]["containerStatuses"][0][
                "restartCount"
            ] == 0

    def script(name, attempt):
        return Program(runs=1) if name == "i" else Program()

    play(test, script)


def test_what_a_dead_kubelet_left_behind_is_cleaned_up(play, tmp_path):
    stray = tmp_path / "kubelet/pods/gone-uid/volumes/kubernetes.io~empty-dir/v"
    stray.mkdir(parents=True)
    (stray / "file").write_text("x")

    async def test(node):
        await node.clock.sleep(5)
        assert not (tmp_path / "kubelet/pods/gone-uid").exists()

    play(test)


def test_a_full_disk_delays_a_pod(play, monkeypatch):
    from pybernetes.kubelet.volumes import manager

    full = {"now": True}
    real = manager.empty_dir

    def empty_dir(*args):
        if full["now"]:
            raise OSError(28, "No space left on device", "v")
        return real(*args)

    monkeypatch.setattr(manager, "empty_dir", empty_dir)

    async def test(node):
        c = container("c", volumeMounts=[{"name": "v", "mountPath": "/v"}])
        await node.create(pod(c, volumes=[{"name": "v", "emptyDir": {}}]))
        await node.clock.sleep(10)
        assert "No space left on device" in (await node.events("FailedMount"))[0]
        full["now"] = False
        await node.until(ready, timeout=130)

    play(test)


def test_a_runtime_that_does_not_stop_a_container(play):
    async def test(node):
        await node.create(pod(container("c")))
        await node.until(ready)
        for _ in range(3):
            node.runtime.fail("StopContainer", "context deadline exceeded", "DeadlineExceeded")
        await node.client.delete(PODS, "p", "default")
        await node.until_gone(timeout=60)
        assert len(node.runtime.asked("StopContainer")) == 4
        assert any("error killing pod" in m for m in await node.events("FailedKillPod"))

    play(test)


def test_pods_created_and_deleted_while_the_api_server_was_away(play):
    """What others did meanwhile (through another API server, say) is made good; the node is Ready again at once."""

    async def test(node):
        for name in ("stays", "leaves", "forced"):
            await node.create(pod(container("c"), meta={"name": name}))
            await node.until(ready, name)
        before = await node.pod("stays")
        node.cut()
        await node.clock.sleep(60)
        await node.client.delete(PODS, "leaves", "default")
        await node.client.delete(PODS, "forced", "default", grace_period_seconds=0)
        await node.create(pod(container("c"), meta={"name": "comes"}))
        await node.clock.sleep(540)
        assert len([c for c in node.runtime.of("c") if c.state == "CONTAINER_RUNNING"]) == 3
        node.mend()
        await node.until(ready, "comes", timeout=60)
        await node.until_gone("leaves", timeout=90)
        await node.clock.sleep(60)
        assert len(node.runtime.sandboxes) == 2 and len(node.runtime.containers) == 2
        assert (await node.pod("stays"))["status"]["containerStatuses"] == before["status"]["containerStatuses"]
        lease = await node.client.get(LEASES, "node", "kube-node-lease")
        assert node.clock.now() - parse_time(lease["spec"]["renewTime"]) < 15
        assert is_condition_true(await node.client.get(NODES, "node"), "Ready")

    play(test)


def test_static_pods_run_without_an_api_server(play, tmp_path):
    """One of them may be the API server itself; their mirrors come with it."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'app:1'}]\n"
    (manifests / "web.yaml").write_text(text)

    async def test(node):
        settings = settings_in(tmp_path, static_pod_path=manifests)
        async with running_kubelet(node.cluster, node.runtime, settings, cut=True) as node.kubelet:
            await node.clock.sleep(30)
            assert [c.state for c in node.runtime.of("c")] == ["CONTAINER_RUNNING"]
            node.mend()
            await node.until(ready, "web-node", timeout=90)
            assert len(node.runtime.of("c")) == 1

    play(test, started=False)


def test_of_pods_found_all_at_once_the_important_ones_get_their_room_first(play, tmp_path):
    async def test(node):
        meta = {"name": "high"}
        high = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": meta, "value": 1000}
        await node.client.create(PRIORITY_CLASSES, high)
        big = {"requests": {"cpu": "3"}}
        await node.create(pod(container("c", resources=big), meta={"name": "a-low"}))
        await node.create(pod(container("c", resources=big), meta={"name": "b-high"}, priorityClassName="high"))
        async with running_kubelet(node.cluster, node.runtime, settings_in(tmp_path)):
            await node.until(ready, "b-high", timeout=60)
            assert (await node.until_phase("Failed", "a-low", timeout=60))["status"]["reason"] == "OutOfcpu"

    play(test, started=False)


@pytest.mark.parametrize("seed", range(4))
def test_a_kubelet_killed_at_any_moment_starts_nothing_twice(play, tmp_path, seed):
    """Between any two calls of the runtime; what it had asked for may have been done or not."""

    async def test(node):
        runtime, clock, rng = node.runtime, node.clock, random.Random(seed)
        slow_down(runtime, clock, rng)
        settings = settings_in(tmp_path)
        names = [f"p{n}" for n in range(3)]
        for name in names:
            await node.create(pod(container("c"), container("d"), init=(container("i"),), meta={"name": name}))
        for _ in range(20):
            async with running_kubelet(node.cluster, runtime, settings, wait=False):
                await clock.sleep(rng.random() * rng.choice((0.3, 1.0, 3.0)))
                assert running_twice(runtime) == []
        async with running_kubelet(node.cluster, runtime, settings):
            for name in names:
                await node.until(ready, name, timeout=60)
            assert running_twice(runtime) == []
            await node.clock.sleep(30)
            assert sum(s["state"] == "SANDBOX_READY" for s in runtime.sandboxes.values()) == 3
            for name in names:
                await node.client.delete(PODS, name, "default")
            for name in names:
                await node.until_gone(name, timeout=60)
            await clock.sleep(90)
            assert runtime.sandboxes == {} and runtime.containers == {}
            assert list((tmp_path / "kubelet/pods").iterdir()) == []

    play(test, lambda name, attempt: Program(runs=0.2) if name == "i" else Program(), started=False)


def slow_down(runtime, clock, rng) -> None:
    """Every call takes its time, before and after it is carried out."""

    def slow(call):
        async def slowly(*args, **kwargs):
            await clock.sleep(rng.random() * 0.05)
            answer = await call(*args, **kwargs)
            await clock.sleep(rng.random() * 0.05)
            return answer

        return slowly

    for name in ("run_pod_sandbox", "create_container", "start_container", "stop_container", "remove_container"):
        setattr(runtime, name, slow(getattr(runtime, name)))


def running_twice(runtime):
    """Containers of which more than one instance runs at once."""
    running = Counter(
        (c.config["labels"]["io.kubernetes.pod.uid"], c.name)
        for c in runtime.containers.values()
        if c.state == "CONTAINER_RUNNING"
    )
    return [key for key, count in running.items() if count > 1]


# -- pressure --------------------------------------------------------------------------------------------------------------


def test_a_soft_threshold_waits_and_gives_the_pod_time(play, monkeypatch):
    free = {"bytes": 1 << 30}
    monkeypatch.setattr(evicting, "meminfo", lambda: {"MemAvailable": free["bytes"], "MemTotal": 8 << 30})

    async def test(node):
        await node.create(pod(container("c")))
        await node.until(ready)
        free["bytes"] = 10 << 20
        await node.clock.sleep(45)
        assert ready(await node.pod())
        assert is_condition_true(await node.client.get(NODES, "node"), "MemoryPressure")
        evicted = await node.until_phase("Failed", timeout=60)
        assert evicted["status"]["reason"] == "Evicted"
        assert node.runtime.asked("StopContainer") == ["StopContainer c 5"]

    soft = {"memory.available": "100Mi"}
    grace = {"memory.available": 60.0}
    play(test, eviction_soft=soft, eviction_soft_grace_period=grace, eviction_max_pod_grace_period=5)


def test_images_go_when_the_disk_is_full(play, monkeypatch):
    disk = {"free": 50}

    async def file_system(self):
        return os.statvfs_result((1, 1, 100, disk["free"], disk["free"], 0, 0, 0, 0, 255))

    monkeypatch.setattr(Cleaner, "image_file_system", file_system)

    async def test(node):
        node.runtime.has_image("unused:1")
        node.runtime.images["unused:1"]["size"] = 30
        await node.create(pod(container("c", "app:1")))
        await node.until(ready)
        await node.clock.sleep(700)
        assert node.runtime.asked("RemoveImage") == []
        disk["free"] = 5
        await node.clock.sleep(301)
        # The one that nobody has used for longest is enough.
        assert node.runtime.asked("RemoveImage") == ["RemoveImage sha256:app:2"]

    play(test, image_gc_high_threshold=90, image_gc_low_threshold=80)


# -- clocks ----------------------------------------------------------------------------------------------------------------


def set_clock(node, seconds: float) -> None:
    """The wall clock is set; how long things take is measured by the other one."""
    virtual = node.clock
    ahead = virtual.now() - virtual.monotonic() + seconds
    virtual.now = lambda: virtual.monotonic() + ahead


@pytest.mark.parametrize("seconds", [-7200.0, 7200.0])
def test_a_clock_that_jumps_restarts_nothing(play, seconds):
    async def test(node):
        c = container("c", readinessProbe={"exec": {"command": ["check"]}, "periodSeconds": 10})
        await node.create(pod(c))
        before = await node.until(ready)
        set_clock(node, seconds)
        probes = len(node.runtime.asked("ExecSync"))
        await node.clock.sleep(120)
        assert 11 <= len(node.runtime.asked("ExecSync")) - probes <= 13
        after = await node.pod()
        assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"] and ready(after)
        lease = await node.client.get(LEASES, "node", "kube-node-lease")
        assert abs(node.clock.now() - parse_time(lease["spec"]["renewTime"])) < 15
        begun = node.clock.monotonic()
        await node.client.delete(PODS, "p", "default")
        await node.until_gone()
        assert node.clock.monotonic() - begun < 5

    play(test)


@pytest.mark.parametrize("seconds", [-7200.0, 7200.0])
def test_a_clock_that_jumps_makes_no_back_off_longer(play, seconds):
    async def test(node):
        await node.create(pod(container("c")))
        await node.clock.sleep(100)
        set_clock(node, seconds)
        started = len(node.runtime.starts)
        await node.clock.sleep(330)
        assert len(node.runtime.starts) > started

    play(test, lambda name, attempt: Program(runs=1, code=3))


def test_a_deadline_goes_by_the_wall_clock(play):
    """As upstream's: a clock that is set forward over it ends the pod."""

    async def test(node):
        await node.create(pod(container("c"), activeDeadlineSeconds=3600, terminationGracePeriodSeconds=1))
        await node.until(ready)
        set_clock(node, 7200)
        node.kubelet.probe_changed((await node.pod())["metadata"]["uid"])
        failed = await node.until_phase("Failed", timeout=60)
        assert failed["status"]["reason"] == "DeadlineExceeded"

    play(test)


# -- shutdown --------------------------------------------------------------------------------------------------------------


def test_who_ends_together_when_the_node_goes_down():
    def ranked(name, priority, **spec):
        return pod(container("c"), meta={"name": name}, priority=priority, **spec)

    pods = [ranked("low", -5), ranked("none", 0), ranked("high", 1_500_000), ranked("vital", 2_000_000_000)]
    plain = KubeletSettings("n", shutdown_grace_period=30, shutdown_grace_period_critical_pods=10)

    def shown(settings):
        return [([p["metadata"]["name"] for p in chosen], seconds) for chosen, seconds in groups(pods, settings)]

    assert shown(plain) == [(["low", "none", "high"], 20.0), (["vital"], 10.0)]
    given = ({"priority": 100_000, "shutdownGracePeriodSeconds": 10}, {"priority": 0, "shutdownGracePeriodSeconds": 60})
    by_priority = KubeletSettings("n", shutdown_grace_period_by_pod_priority=given)
    assert classes(by_priority) == [(0, 60.0), (100_000, 10.0)]
    assert shown(by_priority) == [(["low", "none"], 60.0), (["high", "vital"], 10.0)]
