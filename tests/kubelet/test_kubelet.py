"""The kubelet as a whole, on a virtual clock: pods live and die by the book, and the API sees it."""

import pytest

from pybernetes.api.meta import get_condition, is_condition_true
from pybernetes.api.resources import CONFIG_MAPS, LEASES, NODES, PODS
from pybernetes.kubelet.interfaces import ExecResult

from .builders import by_name, container, pod, ready, sidecar
from .fake_runtime import Program
from .node_in_memory import running_kubelet


def test_the_node_is_registered_ready_and_renews_its_lease(play):
    async def test(node):
        found = await node.cluster.wait_for(NODES, "node", lambda n: is_condition_true(n, "Ready"))
        assert found["status"]["allocatable"]["pods"] == "110"
        assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "node"
        first = await node.cluster.wait_for(LEASES, "node", lambda lease: True, "kube-node-lease")
        await node.clock.sleep(60)
        second = await node.client.get(LEASES, "node", "kube-node-lease")
        assert second["spec"]["renewTime"] > first["spec"]["renewTime"]

    play(test)


def test_a_pod_runs_and_is_deleted(play):
    async def test(node):
        await node.create(pod(container("c")))
        running = await node.until(ready)
        assert running["status"]["phase"] == "Running"
        assert running["status"]["podIP"].startswith("10.0.0.")
        assert running["status"]["hostIP"] == "192.0.2.10"
        status = by_name(running)["c"]
        assert (status["ready"], status["started"], status["restartCount"]) == (True, True, 0)
        assert get_condition(running, "Ready")["observedGeneration"] == 1
        begun = node.clock.now()
        await node.client.delete(PODS, "p", "default")
        await node.until_gone()
        assert node.clock.now() - begun < 5
        assert node.runtime.asked("StopContainer") == ["StopContainer c 30"]
        await node.clock.sleep(5)
        assert node.runtime.containers == {} and node.runtime.sandboxes == {}
        assert {"Container created", "Container started"} <= set(await node.events())

    play(test)


def test_a_crashing_container_backs_off_by_the_book(play):
    async def test(node):
        await node.create(pod(container("c")))
        await node.clock.sleep(700)
        moments = [at for _, at in node.runtime.starts]
        # Each lives a second; then the next comes at once, after 10 s, 20 s and so on, at most five minutes.
        pauses = [round(b - a) - 1 for a, b in zip(moments, moments[1:], strict=False)]
        assert pauses == [0, 10, 20, 40, 80, 160, 300]
        status = by_name(await node.pod())["c"]
        assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert status["state"]["waiting"]["message"].startswith(
            "back-off 5m0s restarting failed container=c pod=p_default("
        )
        assert status["lastState"]["terminated"]["exitCode"] == 3
        assert len(moments) == status["restartCount"] + 1
        assert (await node.pod())["status"]["phase"] == "Running"

    play(test, lambda name, attempt: Program(runs=1, code=3))


def test_back_off_starts_anew_after_a_long_run(play):
    def script(name, attempt):
        return Program(runs=1 if attempt < 4 else 700, code=1)

    async def test(node):
        await node.create(pod(container("c")))
        await node.until(lambda p: by_name(p).get("c", {}).get("restartCount") == 4)
        await node.clock.sleep(701)
        await node.until(lambda p: by_name(p)["c"]["restartCount"] == 5, timeout=5)

    play(test, script)


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 0, "Succeeded"), ("Never", 2, "Failed"), ("OnFailure", 0, "Succeeded")]
)
def test_a_pod_that_ends(play, policy, code, phase):
    async def test(node):
        await node.create(pod(container("c"), restartPolicy=policy))
        ended = await node.until_phase(phase)
        assert by_name(ended)["c"]["state"]["terminated"]["exitCode"] == code
        assert get_condition(ended, "Ready")["reason"] == ("PodCompleted" if phase == "Succeeded" else "PodFailed")
        await node.clock.sleep(3)
        assert len(node.runtime.of("c")) == 1

    play(test, lambda name, attempt: Program(runs=2, code=code))


def test_init_containers_run_in_order_then_the_rest(play):
    async def test(node):
        p = pod(container("c"), init=(container("i1"), sidecar("s"), container("i2")))
        await node.create(p)
        await node.until(ready)
        assert node.runtime.asked("StartContainer") == [f"StartContainer {n}" for n in ("i1", "s", "i2", "c")]
        begun = [node.runtime.of(n)[0].started for n in ("i1", "s", "i2", "c")]
        assert begun == sorted(begun) and begun[3] - begun[0] >= 10

    play(test, lambda name, attempt: Program(runs=5) if name.startswith("i") else Program())


def test_sidecars_end_last_and_in_reverse(play):
    async def test(node):
        p = pod(container("c"), init=(sidecar("s1"), sidecar("s2")))
        await node.create(p)
        await node.until(ready)
        await node.client.delete(PODS, "p", "default")
        await node.until_gone()
        stopped = [call.split()[1] for call in node.runtime.asked("StopContainer")]
        assert stopped == ["c", "s2", "s1"]

    play(test, lambda name, attempt: Program(stops_in=3))


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace_period(play):
    async def test(node):
        await node.create(pod(container("c"), terminationGracePeriodSeconds=7))
        await node.until(ready)
        begun = node.clock.now()
        await node.client.delete(PODS, "p", "default")
        await node.until_gone()
        assert 6 <= node.clock.now() - begun <= 9

    play(test, lambda name, attempt: Program(ignores_term=True))


def test_a_shorter_grace_period_takes_over(play):
    async def test(node):
        await node.create(pod(container("c"), terminationGracePeriodSeconds=300))
        await node.until(ready)
        await node.client.delete(PODS, "p", "default")
        await node.clock.sleep(5)
        begun = node.clock.now()
        await node.client.delete(PODS, "p", "default", grace_period_seconds=3)
        await node.until_gone()
        assert node.clock.now() - begun <= 5

    play(test, lambda name, attempt: Program(ignores_term=True))


def test_pre_stop_counts_into_the_grace_period(play):
    async def test(node):
        c = container("c", lifecycle={"preStop": {"sleep": {"seconds": 4}}})
        await node.create(pod(c, terminationGracePeriodSeconds=10))
        await node.until(ready)
        begun = node.clock.now()
        await node.client.delete(PODS, "p", "default")
        await node.until_gone()
        assert node.runtime.asked("StopContainer") == ["StopContainer c 6"]
        assert 9 <= node.clock.now() - begun <= 12

    play(test, lambda name, attempt: Program(ignores_term=True))


def test_a_failed_post_start_hook_kills_the_container(play):
    async def test(node):
        node.runtime.exec_results = lambda name, command: ExecResult(b"", b"no", 1)
        c = container("c", lifecycle={"postStart": {"exec": {"command": ["setup"]}}})
        await node.create(pod(c))
        await node.until(lambda p: by_name(p).get("c", {}).get("restartCount", 0) >= 1)
        assert "PostStartHook failed" in await node.events("FailedPostStartHook")

    play(test)


# -- probes --------------------------------------------------------------------------------------------------------------


def test_readiness_follows_its_probe(play):
    answers = {"code": 1}

    async def test(node):
        node.runtime.exec_results = lambda name, command: ExecResult(b"not yet", b"", answers["code"])
        c = container("c", readinessProbe={"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 2})
        await node.create(pod(c))
        await node.until_phase("Running")
        await node.clock.sleep(20)
        assert not ready(await node.pod())
        assert "Readiness probe failed: not yet" in await node.events("Unhealthy")
        answers["code"] = 0
        await node.until(ready, timeout=6)
        answers["code"] = 1
        begun = node.clock.now()
        await node.until(lambda p: not ready(p))
        assert 4 <= node.clock.now() - begun <= 11
        assert by_name(await node.pod())["c"]["restartCount"] == 0

    play(test)


def test_a_failed_liveness_probe_restarts_with_its_own_grace_period(play):
    answers = {"code": 0}

    async def test(node):
        node.runtime.exec_results = lambda name, command: ExecResult(b"sick", b"", answers["code"])
        probe = {
            "exec": {"command": ["check"]},
            "periodSeconds": 2,
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": 5,
        }
        await node.create(pod(container("c", livenessProbe=probe)))
        await node.until(ready)
        answers["code"] = 1
        await node.until(lambda p: by_name(p)["c"]["restartCount"] == 1)
        assert node.runtime.asked("StopContainer")[0] == "StopContainer c 5"
        assert "Container c failed liveness probe, will be restarted" in await node.events("Killing")
        assert "Liveness probe failed: sick" in await node.events("Unhealthy")

    play(test)


def test_other_probes_wait_for_the_startup_probe(play):
    answers = {"start": 1}

    async def test(node):
        def answer(name, command):
            return ExecResult(b"", b"", answers["start"] if command == ["start"] else 0)

        node.runtime.exec_results = answer
        c = container(
            "c",
            startupProbe={"exec": {"command": ["start"]}, "periodSeconds": 1, "failureThreshold": 100},
            readinessProbe={"exec": {"command": ["ready"]}},
        )
        await node.create(pod(c))
        await node.until_phase("Running")
        await node.clock.sleep(10)
        assert by_name(await node.pod())["c"]["started"] is False
        assert node.runtime.asked("ExecSync")[-1] == "ExecSync c start"
        answers["start"] = 0
        await node.until(ready, timeout=5)

    play(test)


# -- images --------------------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_pulled(play):
    async def test(node):
        await node.create(pod(container("c", "nowhere:1")))
        await node.until(lambda p: "ErrImagePull" in str(by_name(p)))
        waiting = (await node.until(lambda p: "ImagePullBackOff" in str(by_name(p))))["status"]["containerStatuses"][0]
        message = waiting["state"]["waiting"]["message"]
        assert message.startswith('Back-off pulling image "nowhere:1": ErrImagePull: rpc error: code = NotFound desc =')
        node.runtime.registry.add("nowhere:1")
        await node.until(ready, timeout=320)
        pulls = node.runtime.asked("PullImage")
        assert 2 <= len(pulls) <= 4

    play(test)


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [("gone:1", "Never", "ErrImageNeverPull"), ("UPPER", "IfNotPresent", "InvalidImageName")],
)
def test_images_that_are_not_even_tried(play, image, policy, reason):
    async def test(node):
        await node.create(pod(container("c", image, imagePullPolicy=policy)))
        await node.until(lambda p: reason in str(by_name(p)))
        assert node.runtime.asked("PullImage") == []

    play(test)


# -- trouble -------------------------------------------------------------------------------------------------------------


def test_a_sandbox_that_cannot_be_made_is_tried_again(play):
    async def test(node):
        node.runtime.fail("RunPodSandbox", "no network today")
        await node.create(pod(container("c")))
        await node.until(ready, timeout=30)
        events = await node.events("FailedCreatePodSandBox")
        assert events == ["Failed to create pod sandbox: rpc error: code = Unknown desc = no network today"]

    play(test)


def test_a_sandbox_that_dies_takes_its_containers_along_and_is_replaced(play):
    async def test(node):
        await node.create(pod(container("c"), init=(container("i"),)))
        first = (await node.until(ready))["status"]["podIP"]
        node.runtime.kill_sandbox(next(iter(node.runtime.sandboxes)))
        await node.until(lambda p: ready(p) and p["status"]["podIP"] != first, timeout=60)
        assert "Pod sandbox changed, it will be killed and re-created." in await node.events("SandboxChanged")

    play(test, lambda name, attempt: Program(runs=1) if name == "i" else Program())


def test_create_and_start_errors_are_told(play):
    async def test(node):
        node.runtime.fail("CreateContainer", "bad mount")
        node.runtime.fail("StartContainer", "no such file", "Unknown")
        await node.create(pod(container("c")))
        await node.until(lambda p: "CreateContainerError" in str(by_name(p)))
        await node.until(lambda p: "RunContainerError" in str(by_name(p)))
        await node.until(ready, timeout=60)
        assert {"Error: bad mount", "Error: no such file"} <= set(await node.events("Failed"))

    play(test)


def test_a_missing_config_map_holds_the_pod_until_it_comes(play):
    async def test(node):
        volume = {"name": "v", "configMap": {"name": "later"}}
        await node.create(pod(container("c", volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[volume]))
        await node.clock.sleep(5)
        waiting = await node.pod()
        assert by_name(waiting)["c"]["state"]["waiting"]["reason"] == "ContainerCreating"
        assert not is_condition_true(waiting, "PodReadyToStartContainers")
        assert 'MountVolume.SetUp failed for volume "v" : configmap "later" not found' in await node.events(
            "FailedMount"
        )
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"k": "1"}}
        await node.client.create(CONFIG_MAPS, config, "default")
        await node.until(ready, timeout=30)
        files = node.kubelet.settings.pod_dir(waiting["metadata"]["uid"]) / "volumes/kubernetes.io~configmap/v"
        assert (files / "k").read_text() == "1"
        changed = {**(await node.client.get(CONFIG_MAPS, "later", "default")), "data": {"k": "2"}}
        await node.client.update(CONFIG_MAPS, changed)
        await node.clock.sleep(200)
        assert (files / "k").read_text() == "2"

    play(test)


def test_a_missing_variable_source_is_a_config_error(play):
    async def test(node):
        variable = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}}
        await node.create(pod(container("c", env=[variable])))
        failed = await node.until(lambda p: "CreateContainerConfigError" in str(by_name(p)))
        assert by_name(failed)["c"]["state"]["waiting"]["message"] == 'configmap "none" not found'

    play(test)


def test_the_deadline_ends_a_pod(play):
    async def test(node):
        begun = node.clock.now()
        await node.create(pod(container("c"), activeDeadlineSeconds=30, terminationGracePeriodSeconds=1))
        failed = await node.until_phase("Failed")
        assert failed["status"]["reason"] == "DeadlineExceeded"
        assert failed["status"]["message"] == "Pod was active on the node longer than the specified deadline"
        assert 29 <= node.clock.now() - begun <= 35

    play(test)


def test_a_pod_that_does_not_fit_is_rejected(play):
    async def test(node):
        await node.create(pod(container("c", resources={"requests": {"cpu": "64"}})))
        failed = await node.until_phase("Failed")
        assert failed["status"]["reason"] == "OutOfcpu"
        text = "Pod was rejected: Node didn't have enough resource: cpu, requested: 64000, used: 0, capacity: 4000"
        assert failed["status"]["message"] == text
        assert node.runtime.asked("RunPodSandbox") == []

    play(test)


def test_what_somebody_advertises_in_the_capacity_is_allocatable(play):
    """ "Advertise Extended Resources for a Node": only the capacity is patched."""
    name = "example.com/dongle"

    async def status_of(node):
        return (await node.client.get(NODES, "node"))["status"]

    async def test(node):
        patch = {"status": {"capacity": {name: "2"}}}
        await node.client.patch(NODES, "node", patch, subresource="status")
        # A pod that comes before the node has seen it is not turned away for it.
        dongle = {"requests": {name: "1"}, "limits": {name: "1"}}
        await node.create(pod(container("c", resources=dongle), meta={"name": "first"}))
        await node.until(ready, "first")
        await node.clock.sleep(15)
        seen = await status_of(node)
        assert (seen["capacity"][name], seen["allocatable"][name]) == ("2", "2")
        version = (await node.client.get(NODES, "node"))["metadata"]["resourceVersion"]
        await node.clock.sleep(60)
        assert (await node.client.get(NODES, "node"))["metadata"]["resourceVersion"] == version
        await node.create(
            pod(container("c", resources={"requests": {name: "2"}, "limits": {name: "2"}}), meta={"name": "second"})
        )
        failed = await node.until_phase("Failed", "second")
        assert failed["status"]["reason"] == f"OutOf{name}"
        await node.client.patch(NODES, "node", {"status": {"capacity": {name: None}}}, subresource="status")
        await node.clock.sleep(15)
        seen = await status_of(node)
        assert name not in seen["capacity"] and name not in seen["allocatable"]

    play(test)


# -- restarts of the kubelet ---------------------------------------------------------------------------------------------


def test_a_restarted_kubelet_takes_over_without_touching_what_runs(play):
    async def test(node):
        c = container("c", readinessProbe={"exec": {"command": ["check"]}})
        await node.create(pod(c))
        before = await node.until(ready)
        calls = len(node.runtime.calls)
        async with running_kubelet(node.cluster, node.runtime, node.kubelet.settings) as second:
            await node.clock.sleep(30)
            after = await node.pod()
            assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
            assert get_condition(after, "Ready") == get_condition(before, "Ready")
            changed = {c for c, _ in node.runtime.calls[calls:]} - {"ExecSync"}
            assert changed == set()
            assert len(second.pods()) == 1

    play(test)


def test_a_pod_that_vanished_while_the_kubelet_was_away_is_ended(play, tmp_path):
    async def test(node):
        await node.create(pod(container("c")))
        await node.until(ready)
        await node.client.delete(PODS, "p", "default", grace_period_seconds=0)
        await node.clock.sleep(60)
        assert node.runtime.containers == {} and node.runtime.sandboxes == {}

    play(test)


def test_static_pods_and_their_mirrors(play, tmp_path):
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    manifest = manifests / "web.yaml"
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'app:1'}]\n"
    manifest.write_text(text)

    async def test(node):
        mirror = await node.until(ready, "web-node")
        assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
        await node.client.delete(PODS, "web-node", "default", grace_period_seconds=0)
        again = await node.until(ready, "web-node", timeout=30)
        assert again["metadata"]["uid"] != mirror["metadata"]["uid"]
        assert len(node.runtime.of("c")) == 1
        manifest.unlink()
        await node.until_gone("web-node", timeout=60)
        await node.clock.sleep(40)
        assert node.runtime.containers == {}

    play(test, static_pod_path=manifests)


def test_eviction_under_memory_pressure(play, monkeypatch):
    from pybernetes.kubelet.node import evicting

    free = {"bytes": 1 << 30}
    monkeypatch.setattr(evicting, "meminfo", lambda: {"MemAvailable": free["bytes"], "MemTotal": 8 << 30})

    async def test(node):
        await node.create(pod(container("c"), terminationGracePeriodSeconds=1))
        await node.until(ready)
        free["bytes"] = 10 << 20
        evicted = await node.until_phase("Failed", timeout=60)
        assert evicted["status"]["reason"] == "Evicted"
        assert evicted["status"]["message"].startswith(
            "The node was low on resource: memory. Threshold quantity: 102400Ki"
        )
        assert is_condition_true(evicted, "DisruptionTarget")
        pressed = await node.cluster.wait_for(
            NODES, "node", lambda n: is_condition_true(n, "MemoryPressure"), timeout=20
        )
        assert get_condition(pressed, "MemoryPressure")["reason"] == "KubeletHasInsufficientMemory"
        await node.create(pod(container("c"), meta={"name": "late"}))
        late = await node.until_phase("Failed", "late")
        assert late["status"]["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "

    play(test, eviction_hard={"memory.available": "100Mi"}, eviction_pressure_transition_period=60.0)


def test_graceful_shutdown_of_the_node(play):
    async def test(node):
        await node.create(pod(container("c")))
        await node.create(pod(container("c"), meta={"name": "vital"}, priorityClassName="system-node-critical"))
        await node.until(ready)
        await node.until(ready, "vital")
        begun = node.clock.now()
        await node.kubelet.shutdown.begin()
        assert 30 <= node.clock.now() - begun <= 33
        stopped = node.runtime.asked("StopContainer")
        assert stopped == ["StopContainer c 20", "StopContainer c 10"]
        ended = await node.until_phase("Failed", timeout=20)
        assert ended["status"]["reason"] == "Terminated"

    play(
        test,
        lambda name, attempt: Program(ignores_term=True),
        shutdown_grace_period=30.0,
        shutdown_grace_period_critical_pods=10.0,
    )


def test_resizing_a_running_pod(play):
    async def test(node):
        c = container("c", resources={"requests": {"cpu": "1"}})
        await node.create(pod(c))
        await node.until(ready)

        async def resize(cpu):
            now = await node.pod()
            now["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu
            await node.client.update(PODS, now, subresource="resize")

        await resize("2")
        grown = await node.until(lambda p: by_name(p)["c"].get("allocatedResources") == {"cpu": "2"})
        assert node.runtime.asked("UpdateContainerResources") == ["UpdateContainerResources c 2048"]
        assert by_name(grown)["c"]["restartCount"] == 0
        await node.create(pod(container("c", resources={"requests": {"cpu": "1500m"}}), meta={"name": "other"}))
        await node.until(ready, "other")
        await resize("3")
        refused = await node.until(lambda p: get_condition(p, "PodResizePending") is not None)
        assert get_condition(refused, "PodResizePending")["reason"] == "Deferred"
        assert by_name(refused)["c"]["allocatedResources"] == {"cpu": "2"}
        await node.client.delete(PODS, "other", "default")
        await node.until(lambda p: by_name(p)["c"].get("allocatedResources") == {"cpu": "3"}, timeout=60)
        assert any(m.startswith("Pod resize completed: ") for m in await node.events("ResizeCompleted"))

    play(test)
