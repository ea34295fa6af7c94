"""The fast scheduler against the slow one: same nodes, same refusals, same scores, same victims, on random clusters.

Quick and repeatable by default; ``PYBERNETES_PROPERTY_EXAMPLES=20000`` looks further and anew each time.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybernetes.scheduler.slimming import Slimmer

from . import reference
from .fast import Fast
from .random_clusters import Maker
from .reference import Refusal

EXAMPLES = int(os.environ.get("PYBERNETES_PROPERTY_EXAMPLES", "0"))
seeds = st.integers(0, 2**31).map(Random)
"""Drawn whole, so that an example costs milliseconds; what fails is repeated by its seed."""


def examples(count):
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def same(refusal):
    """Reasons in any order: upstream walks resources in no order at all."""
    return refusal and Refusal(refusal.plugin, refusal.code, tuple(sorted(refusal.reasons)))


def compare(fast, cluster, pod, loosely=frozenset(), full=None):
    """Asserts that both decide alike; returns both answers.

    Of ``loosely`` named nodes the words do not matter; the reference is asked about ``full``, if given.
    """
    expected, asked = reference.answer(cluster, full or pod), fast.ask(pod)
    assert same(asked.ahead) == same(expected.ahead)
    if expected.ahead is None:
        left_out = set(expected.left_out)
        assert set(asked.refusals) == set(expected.refusals)
        for node in set(expected.refusals) - loosely:
            assert same(asked.refusals[node]) == same(expected.refusals[node]), node
        assert asked.feasible == expected.feasible
        assert {n["metadata"]["name"] for n in cluster.nodes} == asked.feasible | set(asked.refusals) | left_out
    if not expected.feasible and not loosely:
        assert asked.message == reference.message(cluster, full or pod)
    if expected.feasible:
        scores = asked.scores
        for node, parts in expected.scores.items():
            assert {p: scores[node].get(p, 0) for p in parts} == parts, node
            assert set(scores[node]) <= set(parts)
        assert asked.choice(seed=1) in expected.best
    return expected, asked


@given(seeds)
@examples(120)
def test_one_pod_in_a_cluster(rng):
    maker = Maker(rng)
    cluster = maker.cluster()
    pod = maker.pending(len(cluster.nodes))
    compare(Fast(cluster), cluster, pod)


@given(seeds)
@examples(60)
def test_with_what_the_scheduler_keeps_of_objects(rng):
    """Its informers drop what it does not need: nothing that would change a decision."""
    maker = Maker(rng)
    cluster = maker.cluster()
    pod = maker.pending(len(cluster.nodes))
    pod["spec"]["priority"] = maker.rng.choice((0, 50))
    # A pod with a node is not to be scheduled; less is kept of it.
    pod["spec"].pop("nodeName", None)
    slimmer = Slimmer()
    slim = copy.deepcopy(replace(cluster, nodes=[slimmer.node(n) for n in cluster.nodes]))
    slim.pods = [slimmer.pod(p) for p in copy.deepcopy(cluster.pods)]
    compare(Fast(slim), cluster, slimmer.pod(pod), full=pod)


@given(seeds)
@examples(80)
def test_pods_with_volumes(rng):
    maker = Maker(rng)
    cluster = maker.cluster()
    pod = maker.pending(len(cluster.nodes))
    pod["spec"].pop("affinity", None)
    pod["metadata"]["namespace"] = "default"
    maker.volumes(cluster, pod)
    compare(Fast(cluster), cluster, pod)


@given(seeds)
@examples(60)
def test_beside_nominated_pods(rng):
    maker = Maker(rng)
    cluster = maker.cluster()
    for _ in range(maker.rng.randint(1, 2)):
        maker.nominate(cluster)
    pod = maker.pending(len(cluster.nodes))
    # With and without the nominated pods other rules may refuse first; that one does is what counts.
    awaited = {p["status"]["nominatedNodeName"] for p in cluster.pods if "nominatedNodeName" in p["status"]}
    compare(Fast(cluster), cluster, pod, loosely=awaited)


@given(seeds)
@examples(60)
def test_other_ways_to_score_resources(rng):
    maker = Maker(rng)
    cluster = maker.cluster()
    pod = maker.pending(len(cluster.nodes))
    kind = rng.choice(("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"))
    weights = {
        n: rng.randint(1, 5) for n in ("cpu", "memory", "example.com/gpu", "ephemeral-storage") if rng.random() < 0.7
    }
    weights = weights or {"cpu": 1}
    shape = [(0, rng.randint(0, 10)), (rng.randint(1, 99), rng.randint(0, 10)), (100, rng.randint(0, 10))]
    strategy = {"type": kind, "resources": [{"name": n, "weight": w} for n, w in weights.items()]}
    if kind == "RequestedToCapacityRatio":
        strategy["requestedToCapacityRatio"] = {"shape": [{"utilization": u, "score": s} for u, s in shape]}
    args = {"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}
    scores = Fast(cluster, config={"pluginConfig": [args]}).ask(pod).scores
    nodes = [n for n in cluster.nodes if n["metadata"]["name"] in scores]
    expected = reference.allocation_scores(cluster, pod, nodes, kind, weights, shape)
    assert {n: parts["NodeResourcesFit"] for n, parts in scores.items()} == expected


@given(seeds)
@examples(100)
def test_victims(rng):
    maker = Maker(rng)
    cluster = maker.cluster()
    pod = maker.pending(len(cluster.nodes))
    pod["spec"]["priority"] = maker.rng.choice((50, 1000))
    expected, asked = compare(Fast(cluster), cluster, pod)
    if expected.ahead is None and not expected.feasible:
        wanted = reference.candidates(cluster, pod)
        assert sorted(asked.candidates(), key=repr) == sorted(wanted, key=repr)
        choice = asked.victims(seed=maker.rng.randrange(100))
        assert (choice in wanted) if wanted else choice is None
        assert choice is None or choice.node in reference.best(cluster, wanted)


@given(seeds)
@examples(60)
def test_while_the_cluster_changes(rng):
    """One scheduler that remembers, against a reference that does not."""
    maker = Maker(rng)
    cluster = maker.cluster()
    fast = Fast(cluster)
    pods = [maker.pending(len(cluster.nodes), f"asked{at}") for at in range(2)]
    if maker.chance(40):
        pods[1]["spec"] = copy.deepcopy(pods[0]["spec"])
    for _ in range(maker.rng.randint(2, 6)):
        for pod in pods:
            compare(fast, cluster, pod)
        cluster = change(maker, fast, cluster)
    for pod in pods:
        compare(fast, cluster, pod)


def change(maker, fast, cluster):
    """Something happens, to both."""
    kind = maker.rng.choice(("place", "place", "remove", "relabel", "replace", "leave", "join", "namespace"))
    if kind == "place" or not cluster.pods:
        pod = maker.placed(len(cluster.nodes), f"late{maker.number()}")
        pod["spec"]["nodeName"] = maker.rng.choice(cluster.nodes)["metadata"]["name"]
        fast.put(pod)
        return replace(cluster, pods=[*cluster.pods, pod])
    if kind == "remove":
        pod = maker.rng.choice(cluster.pods)
        fast.remove(pod)
        return cluster.without([pod])
    if kind == "relabel":
        pod = copy.deepcopy(maker.rng.choice(cluster.pods))
        pod["metadata"]["labels"] = {"app": "web", "tier": "2"}
        fast.put(pod)
        return replace(cluster, pods=[*cluster.without([pod]).pods, pod])
    if kind == "namespace":
        space = {"metadata": {"name": "other", "labels": {"team": maker.rng.choice(("one", "two"))}}}
        fast.model.set_namespace("other", space["metadata"]["labels"])
        rest = [n for n in cluster.namespaces if n["metadata"]["name"] != "other"]
        return replace(cluster, namespaces=[*rest, space])
    if kind == "join" or len(cluster.nodes) == 1:
        node = maker.node(100 + maker.number())
        fast.model.put_node(node)
        return replace(cluster, nodes=[*cluster.nodes, node])
    old = maker.rng.choice(cluster.nodes)
    rest = [n for n in cluster.nodes if n is not old]
    if kind == "leave":
        fast.model.remove_node(old["metadata"]["name"])
        return replace(cluster, nodes=rest)
    new = maker.node(int(old["metadata"]["name"][1:]))
    fast.model.put_node(new)
    return replace(cluster, nodes=[*rest, new])


def test_the_same_seed_makes_the_same_choices():
    maker = Maker(Random(7))
    cluster = maker.cluster()
    cluster.nodes = [maker.node(at) for at in range(30)]
    pods = [maker.pending(30, f"p{at}") for at in range(40)]

    def decide():
        found = []
        fast = Fast(cluster, seed=3)
        for pod in pods:
            asked = fast.ask(pod)
            found.append(asked.choice(seed=5) if asked.feasible else asked.message)
        return found

    assert decide() == decide()
