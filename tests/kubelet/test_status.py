"""Phase, conditions and container statuses out of runtime states."""

import pytest

from pybernetes.api.meta import get_condition
from pybernetes.kubelet.pod.actions import SUCCESS, Probes
from pybernetes.kubelet.pod.model import CREATED, EXITED, UNKNOWN, RuntimePod
from pybernetes.kubelet.pod.status import Facts, generate_status

from .builders import NOTHING, NOW, container, instance, pod, runtime, sandbox, sidecar

A, B, INIT, SIDE = container("a"), container("b"), container("i"), sidecar("s")


def status(p, r, old=None, **facts):
    return generate_status(p, r, old if old is not None else p["status"], Facts(NOW, ("192.0.2.1",), **facts))


def kinds(s):
    return {c["type"]: c["status"] for c in s["conditions"]}


def entry(s, name="a", key="containerStatuses"):
    return next(e for e in s[key] if e["name"] == name)


def test_before_anything_was_done():
    s = status(pod(A, init=(INIT,)), NOTHING)
    assert s["phase"] == "Pending"
    assert entry(s)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert kinds(s) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "False",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }
    assert get_condition({"status": s}, "Initialized")["message"] == "containers with incomplete status: [i]"
    assert get_condition({"status": s}, "Ready")["message"] == "containers with unready status: [a]"
    assert entry(status(pod(A), NOTHING))["state"]["waiting"]["reason"] == "ContainerCreating"


def test_running():
    s = status(pod(A, B), runtime(instance(A), instance(B)))
    assert s["phase"] == "Running" and set(kinds(s).values()) == {"True"}
    assert s["podIPs"] == [{"ip": "10.0.0.5"}] and s["hostIP"] == "192.0.2.1"
    assert entry(s)["containerID"] == "containerd://a-0"
    assert s["qosClass"] == "BestEffort" and s["observedGeneration"] == 1


@pytest.mark.parametrize(
    ("policy", "codes", "terminal", "phase"),
    [
        ("Always", (0, 0), False, "Running"),
        ("Always", (0, 0), True, "Succeeded"),
        ("OnFailure", (0, 0), False, "Succeeded"),
        ("OnFailure", (0, 1), False, "Running"),
        ("OnFailure", (0, 1), True, "Failed"),
        ("Never", (0, 0), False, "Succeeded"),
        ("Never", (0, 1), False, "Failed"),
        ("Never", (0, None), False, "Running"),
    ],
)
def test_phase_of_what_has_ended(policy, codes, terminal, phase):
    states = [instance(c, EXITED, code=n) if n is not None else instance(c) for c, n in zip((A, B), codes, strict=True)]
    assert status(pod(A, B, restartPolicy=policy), runtime(*states), terminal=terminal)["phase"] == phase


def test_a_failed_init_container():
    failed = runtime(instance(INIT, EXITED, code=1))
    assert status(pod(A, init=(INIT,), restartPolicy="Never"), failed)["phase"] == "Failed"
    assert status(pod(A, init=(INIT,)), failed)["phase"] == "Pending"


def test_phase_with_sidecars():
    probed = sidecar("s", startupProbe={"exec": {}})
    starting = runtime(instance(probed))
    assert status(pod(A, init=(probed,)), starting)["phase"] == "Pending"
    up = runtime(instance(probed), instance(A))
    assert status(pod(A, init=(probed,)), up, probes=Probes(startup={"s-0": SUCCESS}))["phase"] == "Running"
    done = runtime(instance(SIDE, EXITED, code=137), instance(A, EXITED))
    assert status(pod(A, init=(SIDE,), restartPolicy="Never"), done)["phase"] == "Succeeded"


def test_an_ended_phase_stays_and_conditions_say_why():
    ended = pod(A, status={"phase": "Failed", "reason": "Evicted", "message": "full"})
    s = status(ended, runtime(instance(A)))
    assert (s["phase"], s["reason"], s["message"]) == ("Failed", "Evicted", "full")
    assert get_condition({"status": s}, "Ready")["reason"] == "PodFailed"


def test_an_override_gives_the_reason():
    s = status(pod(A), runtime(instance(A)), override={"phase": "Failed", "reason": "Evicted", "message": "m"})
    assert (s["phase"], s["reason"]) == ("Failed", "Evicted")


def test_waiting_reasons_and_last_state():
    crashed = runtime(instance(A, EXITED, code=3))
    waiting = entry(status(pod(A), crashed, reasons={"a": ("CrashLoopBackOff", "back-off")}))
    assert waiting["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert waiting["lastState"]["terminated"]["exitCode"] == 3
    again = entry(status(pod(A), runtime(instance(A, n=1), instance(A, EXITED, code=3))))
    assert again["restartCount"] == 1 and "running" in again["state"]
    assert again["lastState"]["terminated"]["exitCode"] == 3


def test_an_old_reason_is_not_shown_for_what_runs():
    shown = entry(status(pod(A), runtime(instance(A)), reasons={"a": ("CrashLoopBackOff", "old")}))
    assert "running" in shown["state"]


def test_containers_that_were_lost():
    before = status(pod(A), runtime(instance(A)))
    gone = entry(status(pod(A), RuntimePod("u1"), old=before))
    assert gone["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert gone["restartCount"] == 1
    unknown = entry(status(pod(A), runtime(instance(A, UNKNOWN)), old=before))
    assert unknown["state"]["terminated"]["exitCode"] == 137
    assert entry(status(pod(A), runtime(instance(A, CREATED))))["state"] == {"waiting": {}}


def test_init_containers_that_were_removed_count_as_done_once_the_pod_runs():
    shown = entry(status(pod(A, init=(INIT,)), runtime(instance(A))), "i", "initContainerStatuses")
    assert shown["state"]["terminated"]["reason"] == "Completed"


def test_probes_decide_readiness():
    probed = container("a", readinessProbe={"exec": {}}, startupProbe={"exec": {}})
    r = runtime(instance(probed))
    both = Probes(startup={"a-0": SUCCESS}, readiness={"a-0": SUCCESS})
    for probes, started, ready in (
        (Probes(), False, False),
        (Probes(readiness={"a-0": SUCCESS}), False, False),
        (Probes(startup={"a-0": SUCCESS}), True, False),
        (both, True, True),
    ):
        shown = entry(status(pod(probed), r, probes=probes))
        assert (shown["started"], shown["ready"]) == (started, ready)


def test_readiness_gates():
    gated = pod(A, readinessGates=[{"conditionType": "example.com/ok"}])
    s = status(gated, runtime(instance(A)))
    text = 'corresponding condition of pod readiness gate "example.com/ok" does not exist.'
    assert get_condition({"status": s}, "Ready")["message"] == text
    gated["status"] = {"conditions": [{"type": "example.com/ok", "status": "True"}]}
    assert get_condition({"status": status(gated, runtime(instance(A)))}, "Ready")["status"] == "True"


def test_transition_times_change_with_the_status_only():
    first = status(pod(A), runtime(instance(A)))
    later = generate_status(pod(A), runtime(instance(A)), first, Facts(NOW + 100))
    assert get_condition({"status": first}, "Ready") == get_condition({"status": later}, "Ready")
    ended = generate_status(pod(A), runtime(instance(A, EXITED, code=1)), first, Facts(NOW + 100))
    moment = get_condition({"status": ended}, "Ready")["lastTransitionTime"]
    assert moment > get_condition({"status": first}, "Ready")["lastTransitionTime"]


def test_host_network_and_a_lost_sandbox():
    s = status(pod(A, hostNetwork=True), runtime(instance(A), sandboxes=(sandbox(network="NODE", ips=()),)))
    assert s["podIP"] == "192.0.2.1"
    kept = pod(A, status={"podIPs": [{"ip": "10.0.0.9"}]})
    assert status(kept, runtime(sandboxes=(sandbox(ready=False),)))["podIP"] == "10.0.0.9"


def test_resources_in_force():
    asked = container("a", resources={"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "64Mi"}})
    actual = {"cpu_shares": 153, "cpu_quota": 30000, "cpu_period": 100000, "memory_limit_in_bytes": 128 << 20}
    shown = entry(status(pod(asked), runtime(instance(asked, resources=actual))))
    assert shown["resources"] == {"requests": {"cpu": "150m"}, "limits": {"cpu": "300m", "memory": "128Mi"}}
    assert shown["allocatedResources"] == {"cpu": "100m"}


def test_all_containers_restart():
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
    source = container("a", restartPolicy="Never", restartPolicyRules=[rule])
    p = pod(source, B)
    triggered = status(p, runtime(instance(source, EXITED, code=42), instance(B)))
    assert kinds(triggered)["AllContainersRestarting"] == "True"
    removed = status(p, runtime(), old=triggered)
    assert kinds(removed)["AllContainersRestarting"] == "False"
    shown = entry(status(p, runtime(instance(B)), old=triggered))
    assert shown["restartCount"] == 1 and shown["state"]["waiting"]["reason"] == "RestartingAllContainers"


def test_statuses_are_sorted_and_volume_mounts_shown():
    mount = {"name": "v", "mountPath": "/v", "readOnly": True}
    s = status(pod(B, container("a", volumeMounts=[mount])), NOTHING)
    assert [e["name"] for e in s["containerStatuses"]] == ["a", "b"]
    assert entry(s)["volumeMounts"] == [{**mount, "recursiveReadOnly": "Disabled"}]
