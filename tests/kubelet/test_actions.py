"""What a sync decides to do, case by case."""

import pytest

from pybernetes.kubelet.pod.actions import FAILURE, LIVENESS, STARTUP, SUCCESS, Actions, Kill, Probes, compute_actions
from pybernetes.kubelet.pod.model import CREATED, EXITED, RUNNING, UNKNOWN

from .builders import NOTHING, container, instance, pod, runtime, sandbox, sidecar

A, B = container("a"), container("b")


def decide(p, r, **probes):
    return compute_actions(p, r, Probes(**probes))


def keeps(**more):
    return Actions(sandbox_id="sb0", **more)


def test_a_new_pod():
    assert decide(pod(A, B), NOTHING) == Actions(True, True, "", 0, start=["a", "b"])


def test_a_new_pod_with_init_containers_starts_the_first_only():
    assert decide(pod(A, init=(container("i"), container("j"))), NOTHING).start_init == ["i"]


def test_nothing_to_do():
    decided = decide(pod(A), runtime(instance(A)))
    assert decided == keeps() and decided.idle


def test_a_container_that_ended_is_started_again():
    assert decide(pod(A, B), runtime(instance(A), instance(B, EXITED, code=1))) == keeps(start=["b"])


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_restart_policy(policy, code, again):
    decided = decide(pod(A, B, restartPolicy=policy), runtime(instance(A), instance(B, EXITED, code=code)))
    assert decided == keeps(start=["b"] if again else [])


def test_a_pod_whose_work_is_done_is_ended():
    done = runtime(instance(A, EXITED), instance(B, EXITED))
    assert decide(pod(A, B, restartPolicy="OnFailure"), done) == keeps(kill_pod=True)


def test_sidecars_do_not_keep_a_pod_alive():
    s = sidecar()
    done = runtime(instance(s), instance(A, EXITED))
    assert decide(pod(A, init=(s,), restartPolicy="Never"), done) == keeps(kill_pod=True)


def test_a_dead_sandbox_takes_everything_with_it():
    dead = runtime(instance(A), sandboxes=(sandbox(ready=False),))
    assert decide(pod(A), dead) == Actions(True, True, "sb0", 1, start=["a"])


def test_a_dead_sandbox_of_a_pod_that_may_not_restart():
    dead = runtime(instance(A, EXITED, code=1), sandboxes=(sandbox(ready=False),))
    assert decide(pod(A, restartPolicy="Never"), dead) == Actions(True, False, "sb0", 1)


def test_a_dead_sandbox_before_any_container_was_made_is_replaced_even_so():
    dead = runtime(sandboxes=(sandbox(ready=False),))
    assert decide(pod(A, restartPolicy="Never"), dead).create_sandbox


def test_a_dead_sandbox_starts_only_what_has_not_succeeded():
    dead = runtime(instance(A, EXITED), instance(B, EXITED, code=2), sandboxes=(sandbox(ready=False),))
    assert decide(pod(A, B, restartPolicy="OnFailure"), dead).start == ["b"]


def test_a_dead_sandbox_when_all_succeeded_is_not_replaced():
    dead = runtime(instance(A, EXITED), sandboxes=(sandbox(ready=False),))
    assert decide(pod(A, restartPolicy="OnFailure"), dead) == Actions(True, False, "sb0", 1)


def test_a_sandbox_without_an_address_or_with_the_wrong_network_is_replaced():
    assert decide(pod(A), runtime(sandboxes=(sandbox(ips=()),))).create_sandbox
    assert decide(pod(A, hostNetwork=True), runtime()).create_sandbox
    assert not decide(pod(A, hostNetwork=True), runtime(sandboxes=(sandbox(ips=(), network="NODE"),))).create_sandbox


def test_two_ready_sandboxes_are_one_too_many():
    decided = decide(pod(A), runtime(instance(A), sandboxes=(sandbox(1), sandbox(0))))
    assert (decided.create_sandbox, decided.attempt) == (True, 2)


def test_a_changed_image_restarts_whatever_the_policy():
    running = instance(A)
    new = container("a", "app:2")
    decided = decide(pod(new, restartPolicy="Never"), runtime(running))
    assert decided == keeps(kill=[Kill(running, "Container a definition changed, will be restarted")], start=["a"])


def test_liveness_and_startup_failures():
    a, b = instance(A), instance(B)
    decided = decide(pod(A, B), runtime(a, b), liveness={a.id: FAILURE}, startup={b.id: FAILURE})
    assert decided.kill == [
        Kill(a, "Container a failed liveness probe, will be restarted", LIVENESS),
        Kill(b, "Container b failed startup probe, will be restarted", STARTUP),
    ]
    assert decided.start == ["a", "b"]


def test_a_failed_probe_of_a_pod_that_never_restarts():
    a, b = instance(A), instance(B)
    decided = decide(pod(A, B, restartPolicy="Never"), runtime(a, b), liveness={a.id: FAILURE})
    assert decided == keeps(kill=[Kill(a, "Container a failed liveness probe", LIVENESS)])


def test_an_unknown_container_is_killed_before_it_is_started_again():
    a = instance(A, UNKNOWN)
    decided = decide(pod(A), runtime(a))
    assert decided.start == ["a"]
    assert decided.kill == [Kill(a, 'Container is in "unknown" state, try killing it before restart')]


def test_ephemeral_containers_start_once():
    e, f = container("e"), container("f")
    p = pod(A, ephemeralContainers=[e, f])
    assert decide(p, runtime(instance(A), instance(e, EXITED, code=1))).start_ephemeral == ["f"]


# -- init containers -----------------------------------------------------------------------------------------------------

FIRST, SECOND = container("i"), container("j")


@pytest.mark.parametrize(
    ("states", "start_init", "start"),
    [
        ([], ["i"], []),
        ([(FIRST, CREATED, 0)], ["i"], []),
        ([(FIRST, RUNNING, 0)], [], []),
        ([(FIRST, EXITED, 1)], ["i"], []),
        ([(FIRST, EXITED, 0)], ["j"], []),
        ([(FIRST, EXITED, 0), (SECOND, RUNNING, 0)], [], []),
        ([(FIRST, EXITED, 0), (SECOND, EXITED, 1)], ["j"], []),
        ([(FIRST, EXITED, 0), (SECOND, EXITED, 0)], [], ["a"]),
        # The first was removed meanwhile: that the second ran tells enough.
        ([(SECOND, EXITED, 0)], [], ["a"]),
        # All init containers are gone, but the regular one runs.
        ([(A, RUNNING, 0)], [], []),
    ],
)
def test_progress_of_initialization(states, start_init, start):
    decided = decide(
        pod(A, init=(FIRST, SECOND)), runtime(*(instance(s, state, code=code) for s, state, code in states))
    )
    assert (decided.start_init, decided.start, decided.kill_pod) == (start_init, start, False)


def test_a_failed_init_container_ends_a_pod_that_never_restarts():
    decided = decide(pod(A, init=(FIRST, SECOND), restartPolicy="Never"), runtime(instance(FIRST, EXITED, code=1)))
    assert decided == keeps(kill_pod=True)


def test_an_init_container_may_have_a_policy_of_its_own():
    own = container("i", restartPolicy="OnFailure")
    decided = decide(pod(A, init=(own,), restartPolicy="Never"), runtime(instance(own, EXITED, code=1)))
    assert decided == keeps(start_init=["i"])


# -- sidecars ------------------------------------------------------------------------------------------------------------

S = sidecar("s")
PROBED = sidecar("s", startupProbe={"exec": {}}, livenessProbe={"exec": {}})


def test_a_sidecar_is_waited_for_then_the_next_starts():
    assert decide(pod(A, init=(PROBED, SECOND)), runtime(instance(PROBED))).start_init == []
    started = {"s-0": SUCCESS}
    assert decide(pod(A, init=(PROBED, SECOND)), runtime(instance(PROBED)), startup=started).start_init == ["j"]
    assert decide(
        pod(A, init=(SECOND, PROBED)), runtime(instance(PROBED), instance(SECOND, EXITED)), startup=started
    ).start == ["a"]


def test_a_sidecar_without_startup_probe_counts_as_started():
    assert decide(pod(A, init=(S,)), runtime(instance(S))).start == ["a"]


def test_a_sidecar_that_ends_is_started_again_also_after_initialization():
    r = runtime(instance(S, EXITED, code=0), instance(SECOND, EXITED), instance(A))
    assert decide(pod(A, init=(S, SECOND), restartPolicy="Never"), r) == keeps(start_init=["s"])


def test_a_lost_sidecar_is_started_again_but_a_lost_init_container_is_not():
    r = runtime(instance(A))
    assert decide(pod(A, init=(S, SECOND)), r).start_init == ["s"]


def test_a_sidecar_that_fails_its_probes_is_restarted():
    running = instance(PROBED)
    r = runtime(running, instance(A))
    failed = decide(pod(A, init=(PROBED,)), r, startup={running.id: FAILURE})
    assert failed.kill == [Kill(running, "Init container s failed startup probe", STARTUP)]
    assert failed.start_init == ["s"]
    sick = decide(pod(A, init=(PROBED,)), r, startup={running.id: SUCCESS}, liveness={running.id: FAILURE})
    assert sick.kill == [Kill(running, "Init container s failed liveness probe", LIVENESS)]
    assert sick.start_init == ["s"] and sick.start == []


# -- rules of a container ------------------------------------------------------------------------------------------------


def ruled(action, operator="In", values=(42,), policy="Never"):
    rule = {"action": action, "exitCodes": {"operator": operator, "values": list(values)}}
    return container("a", restartPolicy=policy, restartPolicyRules=[rule])


@pytest.mark.parametrize(
    ("spec", "code", "again"),
    [
        (ruled("Restart"), 42, True),
        (ruled("Restart"), 1, False),
        (ruled("Restart", "NotIn", (0,)), 1, True),
        (ruled("Restart", "NotIn", (0,)), 0, False),
        (ruled("Restart", policy="OnFailure"), 1, True),
        (container("a", restartPolicy="Never"), 1, False),
        (container("a", restartPolicy="Always"), 0, True),
    ],
)
def test_restart_rules_of_a_container(spec, code, again):
    decided = decide(pod(spec, B), runtime(instance(spec, EXITED, code=code), instance(B)))
    assert decided == keeps(start=["a"] if again else [])


def test_restarting_all_containers_removes_them_in_reverse_the_source_last():
    source = ruled("RestartAllContainers")
    p = pod(source, B, init=(FIRST,))
    a, b, i = instance(source, EXITED, code=42), instance(B), instance(FIRST, EXITED)
    decided = compute_actions(p, runtime(a, b, i), Probes(), restart_all=True)
    assert [c.name for c in decided.reset] == ["b", "i", "a"]
