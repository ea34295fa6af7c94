"""``p8s why``'s answers, over clusters given as lists."""

from __future__ import annotations

import copy
from random import Random

import numpy as np
import pytest
from hypothesis import given

from pybernetes.api.resources import NAMESPACES, NODES, PODS
from pybernetes.hooks.scheduling import Plugin
from pybernetes.scheduler.explain import World, explain, told
from pybernetes.scheduler.gathering import world_of
from pybernetes.scheduler.handle import SchedulerHandle
from pybernetes.scheduler.model import StaticObjects, model_of
from pybernetes.scheduler.profiles import build_profile, builtin_factories

from . import reference
from .fast import LISTS
from .random_clusters import Maker
from .test_against_reference import examples, seeds
from .test_documented_examples import FOO, HOST, REQUIRED, ZONE, node, pod, spread

GPU = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


def ask(nodes, pods, asked, **lists):
    world = world_of({NODES: nodes, PODS: pods, NAMESPACES: [{"metadata": {"name": "default"}}], **lists})
    return explain(world, asked)


def sized(name, cpu, **more):
    made = node(name, **more)
    made["status"]["allocatable"]["cpu"] = cpu
    return made


def the(answer, name):
    return next(n for n in answer.nodes if n.node == name)


def helps(answer):
    return {c.text: c.nodes for c in answer.changes}


def test_what_is_lacking_and_the_request_that_would_fit():
    nodes = [sized("small", "1"), sized("large", "2")]
    answer = ask(nodes, [pod("taken", on="large", requests={"cpu": "1600m"})], pod(requests={"cpu": "2"}))
    assert the(answer, "large").refusals[0].details == ("asks 2 cpu, 0.4 free of 2",)
    assert the(answer, "large").refusals[0].preemptible and not the(answer, "small").refusals[0].preemptible
    # The node where the least must go is the one that is told.
    assert helps(answer) == {"ask for at most 1 cpu in place of 2": ("small",)}
    assert answer.message == "0/2 nodes are available: 2 Insufficient cpu."


def test_memory_is_told_in_units_and_several_resources_together():
    asked = pod(requests={"cpu": "8", "memory": "16Gi"})
    answer = ask([node("n")], [], asked)
    assert the(answer, "n").refusals[0].details == ("asks 8 cpu, 4 free of 4", "asks 16Gi memory, 8Gi free of 8Gi")
    assert helps(answer) == {
        "ask for at most 4 cpu in place of 8 and ask for at most 8Gi memory in place of 16Gi": ("n",)
    }


def test_where_nothing_is_free_no_request_is_proposed():
    full = sized("n", "1")
    answer = ask([full], [pod("taken", on="n", requests={"cpu": "1"})], pod(requests={"cpu": "1"}))
    assert answer.changes == []
    full["status"]["allocatable"]["pods"] = "1"
    answer = ask([full], [pod("taken", on="n")], pod())
    assert the(answer, "n").refusals[0].details == ("holds 1 of at most 1 pods",)
    assert answer.changes == []


def test_taints_and_cordons():
    cordoned = node("cordoned", taints=[{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}])
    cordoned["spec"]["unschedulable"] = True
    sick = node("sick", taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    answer = ask([node("tainted", taints=[GPU]), cordoned, sick], [], pod())
    assert the(answer, "tainted").refusals[0].details == ("taint dedicated=gpu:NoSchedule",)
    assert helps(answer) == {
        "tolerate dedicated=gpu:NoSchedule": ("tainted",),
        "uncordon the node": ("cordoned",),
        "the node must become ready": ("sick",),
    }


def test_several_refusals_of_one_node_need_all_their_remedies():
    asked = pod(requests={"cpu": "8"}, nodeSelector={"disk": "ssd"})
    answer = ask([node("n", taints=[GPU], disk="hdd")], [], asked)
    assert [r.plugin for r in the(answer, "n").refusals] == ["TaintToleration", "NodeAffinity", "NodeResourcesFit"]
    (change,) = answer.changes
    assert change.text == (
        "tolerate dedicated=gpu:NoSchedule; drop disk=ssd from the nodeSelector or label the node so; "
        "ask for at most 4 cpu in place of 8"
    )


def test_affinity_names_what_was_found():
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["a", "b"]}]}]}
    answer = ask([node("n", "c"), node("m")], [], pod(affinity={"nodeAffinity": {REQUIRED: terms}}))
    assert the(answer, "n").refusals[0].details == (f"wants {ZONE} in (a,b), it is c",)
    assert the(answer, "m").refusals[0].details == (f"wants {ZONE} in (a,b), the label is missing",)
    assert helps(answer) == {"loosen the required node affinity or label the node to match": ("m", "n")}


def test_other_pods_are_named():
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": FOO}}
    others = [pod(f"p{at}", FOO, on="n") for at in range(5)]
    asked = pod(affinity={"podAntiAffinity": {REQUIRED: [term]}})
    answer = ask([node("n", "a")], others, asked)
    assert the(answer, "n").refusals[0].details == (f"default/p0, default/p1, default/p2 and 2 more are in {ZONE}=a",)
    assert helps(answer) == {"make the podAntiAffinity preferred in place of required": ("n",)}
    lonely = pod(affinity={"podAffinity": {REQUIRED: [{**term, "labelSelector": {"matchLabels": {"app": "x"}}}]}})
    answer = ask([node("n", "a"), node("bare")], others, lonely)
    assert the(answer, "n").refusals[0].details == (f"no pod that matches app=x is in {ZONE}=a",)
    assert the(answer, "bare").refusals[0].details == (f"the node has no label {ZONE}",)


def test_pods_that_do_not_want_this_one():
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": FOO}}
    hermit = pod("hermit", on="n", affinity={"podAntiAffinity": {REQUIRED: [term]}})
    answer = ask([node("n")], [hermit], pod(labels=FOO))
    assert the(answer, "n").refusals[0].details == (f"default/hermit wants no such pod in {HOST}=n",)
    assert answer.changes == []


def test_skew_in_numbers():
    others = [pod("p0", FOO, on="n"), pod("p1", FOO, on="n")]
    asked = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE)])
    full = sized("m", "0", zone="b")
    answer = ask([node("n", "a"), full], others, copy.deepcopy(asked) | {})
    assert the(answer, "n").refusals[0].details == (
        f"{ZONE}=a holds 2 matching pods, the fewest is 0: with this one the skew is 3, at most 1 is allowed",
    )
    assert f"set whenUnsatisfiable: ScheduleAnyway (or a larger maxSkew) for {ZONE}" in helps(
        ask([node("n", "a"), node("m", "b", taints=[GPU])], others, asked)
    )


def test_a_host_port_and_who_has_it():
    def with_port(name, **more):
        made = pod(name, **more)
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
        return made

    answer = ask([node("n")], [with_port("web", on="n")], with_port("asked"))
    assert the(answer, "n").refusals[0].details == ("port 80/TCP is taken by default/web",)
    assert helps(answer) == {"do without the host port": ("n",)}


def test_a_missing_claim_refuses_the_pod_whatever_the_node():
    asked = pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "gone"}}])
    answer = ask([node("n")], [], asked)
    assert answer.rejection.reasons == ('persistentvolumeclaim "gone" not found',)
    assert answer.nodes == [] and 'persistentvolumeclaim "gone" not found' in told(answer)


def test_victims_and_why_there_are_none():
    low = pod("low", on="n", requests={"cpu": "4"})
    answer = ask([node("n")], [low], pod(requests={"cpu": "1"}, priority=10))
    assert (answer.preemption.node, answer.preemption.victims) == ("n", (("default/low", 0),))
    assert "Preemption would make room on n by removing default/low (priority 0)." in told(answer)
    answer = ask([node("n")], [low], pod(requests={"cpu": "1"}, priority=10, preemptionPolicy="Never"))
    assert answer.preemption.why_not == "not eligible due to preemptionPolicy=Never."
    answer = ask([node("n")], [low], pod(requests={"cpu": "1"}))
    assert "Preemption would not help" in told(answer)


def test_a_placed_pod_is_asked_about_as_if_it_were_to_come():
    mine = pod("mine", on="full", requests={"cpu": "4"})
    answer = ask([node("full"), node("empty")], [mine], mine)
    assert answer.placed_on == "full"
    # It does not stand in its own way.
    assert {n.node for n in answer.fitting} == {"full", "empty"}
    assert the(answer, "full").total == the(answer, "empty").total
    assert "full is the best of 2 nodes that can take it, as good as 1 other." in told(answer)
    elsewhere = ask([node("full", taints=[GPU]), node("empty")], [mine], mine)
    assert "full would not be chosen now: node(s) had untolerated taint(s)." in told(elsewhere)
    gone = ask([node("empty")], [mine], mine)
    assert "full is not among the nodes any more." in told(gone)


def test_gates_deletion_and_an_empty_cluster():
    gated = pod(schedulingGates=[{"name": "example.com/later"}])
    assert any("example.com/later" in n for n in ask([node("n")], [], gated).notes)
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert "The pod is being deleted." in ask([node("n")], [], leaving).notes
    assert "no nodes available to schedule pods" in told(ask([], [], pod()))


def test_nodes_that_are_alike_are_told_together():
    nodes = [node(f"n{at:04}", taints=[GPU]) for at in range(900)] + [sized(f"s{at}", "1") for at in range(100)]
    text = told(ask(nodes, [], pod(requests={"cpu": "2"})))
    assert len(text.splitlines()) < 25
    assert "900 nodes: node(s) had untolerated taint(s) [TaintToleration]" in text
    assert "n0000, n0001, n0002, n0003, n0004 and 895 more: taint dedicated=gpu:NoSchedule" in text


def test_a_plugin_that_raises_is_a_note():
    class Broken(Plugin):
        name = "Broken"

        def filter_node(self, state, pod, node):
            raise ValueError("out of order")

    class Picky(Plugin):
        name = "Picky"

        def filter_node(self, state, pod, node):
            from pybernetes.hooks.scheduling import Code, Status

            return Status(Code.UNSCHEDULABLE, ("never",))

    model = model_of(StaticObjects(), [node("n")], [])
    handle = SchedulerHandle(model, StaticObjects())
    known = {**builtin_factories(), "Broken": lambda args, handle: Broken(), "Picky": lambda args, handle: Picky()}
    enabled = [{"name": "Picky"}, {"name": "Broken"}]
    build_profile({"plugins": {"filter": {"enabled": enabled}}}, handle, known)
    answer = explain(World(model, handle.evaluator), pod())
    assert answer.notes == ["plugin Broken failed: out of order"]
    assert [r.plugin for r in answer.refused[0].refusals] == ["Picky"]


@given(seeds)
@examples(60)
def test_answers_agree_with_the_reference_and_change_nothing(rng):
    maker = Maker(rng)
    cluster = maker.cluster()
    if maker.chance(30):
        maker.nominate(cluster)
    asked = maker.pending(len(cluster.nodes))
    if maker.chance(40):
        asked["metadata"]["namespace"] = "default"
        asked["spec"].pop("affinity", None)
        maker.volumes(cluster, asked)
    world = world_of({NODES: cluster.nodes, PODS: cluster.pods, **{g: getattr(cluster, f) for f, g in LISTS.items()}})
    before = state_of(world)
    answer = explain(world, asked)
    assert told(answer) and answer.as_object()
    assert state_of(world) == before
    expected = reference.answer(cluster, asked)
    assert (answer.rejection is None) == (expected.ahead is None)
    if expected.ahead is None:
        assert {n.node for n in answer.fitting} == expected.feasible
        assert {n.node: n.total for n in answer.fitting} == expected.totals
        assert all(n.refusals for n in answer.refused)
    for change in answer.changes:
        assert set(change.nodes) <= {n.node for n in answer.refused}


def state_of(world: World):
    table = world.evaluator.table
    used = {n: table.requested[at].tolist() for n, at in table.resources.items() if np.any(table.requested[at])}
    nominated = {n: [p.uid for p in table.nominations.on(n)] for n in table.nominations.nodes()}
    return used, table.non_zero.tolist(), table.pod_count.tolist(), [sorted(p) for p in table.pods], nominated


@pytest.mark.parametrize(
    ("resource", "value", "text"),
    [
        ("cpu", 400, "0.4"),
        ("cpu", 2000, "2"),
        ("memory", 1610612736, "1.5Gi"),
        ("memory", 100, "100"),
        ("example.com/gpu", 3, "3"),
    ],
)
def test_amounts_for_people(resource, value, text):
    from pybernetes.scheduler.explain.amounts import said

    assert said(resource, value) == text


def test_a_lower_request_is_spread_over_containers():
    from pybernetes.scheduler.explain.changes import reduce_requests
    from pybernetes.scheduler.requests import pod_requests

    for seed in range(200):
        maker = Maker(Random(seed))
        asked = maker.pending(1)
        wanted = {n: v for n, v in pod_requests(asked).items() if v > 0}
        target = {n: max(1, v // 2) for n, v in wanted.items() if n != "pods"}
        reduce_requests(asked, target)
        overhead = pod_requests({"spec": {"overhead": asked["spec"].get("overhead") or {}}})
        for name, limit in target.items():
            assert pod_requests(asked).get(name, 0) <= max(limit, overhead.get(name, 0)), (seed, name)
