"""Playbooks of the pod's state machine: events in, instructions out."""

import pytest

from pybernetes.kubelet.pod.lifecycle import (
    RETRY,
    RETRY_TERMINATION,
    Changed,
    CleanUp,
    Done,
    Forget,
    Gone,
    Interrupt,
    KillRequested,
    PodWork,
    Poked,
    Stage,
    Sync,
    Terminate,
    WakeAfter,
)

from .builders import pod


def deleted(grace=30, **more):
    return pod(meta={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace, **more})


def play(first, *exchanges):
    """Each exchange is (event, expected instructions)."""
    work = PodWork(first)
    for step, (event, expected) in enumerate(exchanges):
        assert work.handle(event) == expected, f"step {step}: {event}"
    return work


def test_a_pod_from_birth_to_deletion():
    alive, dying = pod(), deleted(20)
    work = play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (Done(again=60), [WakeAfter(60)]),
        (Poked(), [Sync(alive)]),
        (Done(), []),
        (Changed(dying), [Terminate(dying, 20, {})]),
        (Done(), [CleanUp(dying)]),
        (Done(), []),
        (Gone(), [Forget()]),
    )
    assert work.stage is Stage.FINISHED


def test_what_happens_during_a_sync_is_looked_at_once_afterwards():
    alive = pod()
    play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (Poked(), []),
        (Poked(), []),
        (Changed(alive), []),
        (Done(again=60), [Sync(alive)]),
        (Done(again=60), [WakeAfter(60)]),
    )


def test_the_latest_version_wins():
    first, second, third = pod(), pod(hostname="b"), pod(hostname="c")
    play(first, (Changed(first), [Sync(first)]), (Changed(second), []), (Changed(third), []), (Done(), [Sync(third)]))


def test_deletion_interrupts_a_sync_and_termination_starts_when_it_is_over():
    alive, dying = pod(), deleted(10)
    play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (Changed(dying), [Interrupt()]),
        (Done(), [Terminate(dying, 10, {})]),
        (Done(), [CleanUp(dying)]),
    )


def test_a_grace_period_can_only_shrink():
    alive = pod()
    shorter, longer = deleted(5), deleted(60)
    play(
        alive,
        (Changed(deleted(30)), [Terminate(deleted(30), 30, {})]),
        (Changed(longer), []),
        (Changed(shorter), [Interrupt()]),
        (Done(ok=False), [Terminate(shorter, 5, {})]),
        (Done(), [CleanUp(shorter)]),
    )


def test_no_grace_at_all_is_a_second():
    dying = deleted(0)
    play(dying, (Changed(dying), [Terminate(dying, 1, {})]))


def test_failed_steps_are_tried_again():
    alive, dying = pod(), deleted(1)
    play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (Done(ok=False), [WakeAfter(RETRY)]),
        (Poked(), [Sync(alive)]),
        (Done(ok=False, again=3), [WakeAfter(3)]),
        (Changed(dying), [Terminate(dying, 1, {})]),
        (Done(ok=False), [WakeAfter(RETRY_TERMINATION)]),
        (Poked(), [Terminate(dying, 1, {})]),
        (Done(), [CleanUp(dying)]),
        (Done(ok=False), [WakeAfter(RETRY_TERMINATION)]),
        (Poked(), [CleanUp(dying)]),
        (Done(), []),
    )


def test_a_pod_that_ends_by_itself_is_terminated_and_waits_to_be_deleted():
    alive, dying = pod(restartPolicy="Never"), deleted(30)
    play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (Done(terminal=True), [Terminate(alive, None, {})]),
        (Done(), [CleanUp(alive)]),
        (Done(), []),
        (Poked(), []),
        (Changed(dying), []),
        (Gone(), [Forget()]),
    )


def test_a_pod_that_had_ended_before_the_kubelet_started():
    ended = pod(status={"phase": "Succeeded"})
    play(ended, (Changed(ended), [Terminate(ended, 30, {})]))


def test_an_eviction_carries_its_status_and_a_shorter_grace():
    alive = pod(terminationGracePeriodSeconds=30)
    status = {"phase": "Failed", "reason": "Evicted"}
    play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (KillRequested(status, 3), [Interrupt()]),
        (Done(), [Terminate(alive, 3, status)]),
        (KillRequested({"phase": "Failed", "reason": "Other"}, 10), []),
        (Done(), [CleanUp(alive)]),
    )


def test_a_pod_removed_by_force_still_ends_properly():
    alive = pod(terminationGracePeriodSeconds=7)
    play(
        alive,
        (Changed(alive), [Sync(alive)]),
        (Done(), []),
        (Gone(), [Terminate(alive, 7, {})]),
        (Done(), [CleanUp(alive)]),
        (Done(), [Forget()]),
    )


def test_a_static_pod_that_comes_back_while_it_ends_is_started_afterwards():
    static = pod(meta={"annotations": {"kubernetes.io/config.source": "file"}})
    play(
        static,
        (Changed(static), [Sync(static)]),
        (Done(), []),
        (Gone(), [Terminate(static, 30, {})]),
        (Changed(static), []),
        (Done(), [CleanUp(static)]),
        (Done(), [Forget(restart=static)]),
    )


@pytest.mark.parametrize("events", [[Poked()], [Changed(pod())], [KillRequested({"phase": "Failed"}, 0)]])
def test_nothing_brings_a_finished_pod_back(events):
    ended = pod(status={"phase": "Failed"})
    work = play(ended, (Changed(ended), [Terminate(ended, 30, {})]), (Done(), [CleanUp(ended)]), (Done(), []))
    for event in events:
        assert work.handle(event) == []
    assert work.stage is Stage.FINISHED
