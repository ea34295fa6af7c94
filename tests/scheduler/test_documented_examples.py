"""Examples of Kubernetes' documentation with the outcome that it tells, asked of the scheduler and of the reference both."""

from __future__ import annotations

import copy

import pytest

from . import reference
from .fast import Fast
from .reference import Candidate, Cluster
from .test_against_reference import compare

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def node(name, zone="", taints=(), **labels):
    labels = {HOST: name, **({ZONE: zone} if zone else {}), **labels}
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": allocatable},
    }


def pod(name="asked", labels=None, on="", requests=None, started="2026-01-01T00:00:00Z", **spec):
    spec = {"containers": [{"name": "c", "image": "i", "resources": {"requests": requests or {}}}], **spec}
    status = {"startTime": started} if on else {}
    if on:
        spec["nodeName"] = on
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels or {}},
        "spec": spec,
        "status": status,
    }


def cluster(*nodes, pods=(), **more):
    return Cluster(nodes=list(nodes), pods=list(pods), namespaces=[{"metadata": {"name": "default"}}], **more)


def feasible(where, asked):
    return compare(Fast(where), where, asked)[0].feasible


def best(where, asked):
    return compare(Fast(where), where, asked)[0].best


def reasons(where, asked):
    expected, _ = compare(Fast(where), where, asked)
    return {n: r.reasons[0] for n, r in expected.refusals.items()}


def expression(key, operator, *values):
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


# -- Assigning Pods to Nodes ---------------------------------------------------------------------------------------


def test_required_node_affinity_with_a_preference():
    """Only the two zones will do, and among their nodes the one with the other label is better."""
    terms = [{"matchExpressions": [expression(ZONE, "In", "antarctica-east1", "antarctica-west1")]}]
    preference = {"matchExpressions": [expression("another-node-label-key", "In", "another-node-label-value")]}
    affinity = {
        "nodeAffinity": {
            REQUIRED: {"nodeSelectorTerms": terms},
            PREFERRED: [{"weight": 1, "preference": preference}],
        }
    }
    where = cluster(
        node("east", "antarctica-east1"),
        node("west", "antarctica-west1", **{"another-node-label-key": "another-node-label-value"}),
        node("elsewhere", "arctic"),
    )
    asked = pod(affinity=affinity)
    assert feasible(where, asked) == {"east", "west"}
    assert best(where, asked) == {"west"}
    assert reasons(where, asked) == {"elsewhere": "node(s) didn't match Pod's node affinity/selector"}


def test_weights_of_node_affinity_add_up():
    preferred = [
        {"weight": 1, "preference": {"matchExpressions": [expression("label-1", "In", "key-1")]}},
        {"weight": 50, "preference": {"matchExpressions": [expression("label-2", "In", "key-2")]}},
    ]
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression("kubernetes.io/os", "In", "linux")]}]}
    asked = pod(affinity={"nodeAffinity": {REQUIRED: required, PREFERRED: preferred}})
    linux = {"kubernetes.io/os": "linux"}
    where = cluster(node("one", **linux, **{"label-1": "key-1"}), node("two", **linux, **{"label-2": "key-2"}))
    assert best(where, asked) == {"two"}


def test_affinity_to_one_security_level_and_away_from_another():
    """The pod must go to the zone of S1 pods, and better not where S2 pods are."""

    def about(value, key):
        return {"topologyKey": key, "labelSelector": {"matchExpressions": [expression("security", "In", value)]}}

    affinity = {
        "podAffinity": {REQUIRED: [about("S1", ZONE)]},
        "podAntiAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": about("S2", HOST)}]},
    }
    where = cluster(
        node("v1", "V"),
        node("v2", "V"),
        node("r1", "R"),
        pods=[pod("s1", {"security": "S1"}, on="v1"), pod("s2", {"security": "S2"}, on="v1")],
    )
    assert feasible(where, pod(affinity=affinity)) == {"v1", "v2"}
    assert best(where, pod(affinity=affinity)) == {"v2"}


def test_web_servers_beside_their_caches():
    """Three caches that keep apart, and three servers that keep apart but near a cache: one of each on each node."""

    def term(app):
        return {"topologyKey": HOST, "labelSelector": {"matchExpressions": [expression("app", "In", app)]}}

    cache = {"podAntiAffinity": {REQUIRED: [term("store")]}}
    server = {"podAntiAffinity": {REQUIRED: [term("web-store")]}, "podAffinity": {REQUIRED: [term("store")]}}
    where = cluster(node("node-1"), node("node-2"), node("node-3"))
    for app, affinity in (("store", cache), ("web-store", server)):
        for at in range(4):
            asked = pod(f"{app}-{at}", {"app": app}, affinity=affinity)
            expected, fast = compare(Fast(where), where, asked)
            assert bool(expected.feasible) == (at < 3)
            if at < 3:
                placed = copy.deepcopy(asked)
                placed["spec"]["nodeName"] = fast.choice(seed=at)
                where.pods.append(placed)
    by_node = sorted((p["spec"]["nodeName"], p["metadata"]["labels"]["app"]) for p in where.pods)
    assert by_node == [(f"node-{n}", app) for n in (1, 2, 3) for app in ("store", "web-store")]


def test_the_first_of_a_group_that_wants_its_own_company():
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "a"}}}
    asked = pod(labels={"app": "a"}, affinity={"podAffinity": {REQUIRED: [term]}})
    assert feasible(cluster(node("n1", "z"), node("n2")), asked) == {"n1"}
    stranger = pod(labels={"app": "b"}, affinity={"podAffinity": {REQUIRED: [term]}})
    assert reasons(cluster(node("n1", "z")), stranger) == {"n1": "node(s) didn't match pod affinity rules"}


# -- Pod Topology Spread Constraints -------------------------------------------------------------------------------

FOO = {"foo": "bar"}


def spread(key, **more):
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": FOO},
        **more,
    }


def two_zones(*places, nodes=4):
    zones = {"node1": "zoneA", "node2": "zoneA", "node3": "zoneB", "node4": "zoneB"}
    made = [node(n, z) for n, z in list(zones.items())[:nodes]]
    return cluster(*made, pods=[pod(f"p{at}", FOO, on=n) for at, n in enumerate(places)])


def test_one_constraint():
    """2 pods in zone A, 1 in zone B: only zone B keeps the skew at 1."""
    where = two_zones("node1", "node2", "node3")
    assert feasible(where, pod(labels=FOO, topologySpreadConstraints=[spread(ZONE)])) == {"node3", "node4"}


def test_a_larger_skew_lets_both_zones_in_and_a_soft_one_prefers_the_emptier():
    where = two_zones("node1", "node2", "node3")
    asked = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE, maxSkew=2)])
    assert feasible(where, asked) == {"node1", "node2", "node3", "node4"}
    soft = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE, whenUnsatisfiable="ScheduleAnyway")])
    assert feasible(where, soft) == {"node1", "node2", "node3", "node4"}
    assert best(where, soft) <= {"node3", "node4"}


def test_two_constraints_meet_in_one_node():
    where = two_zones("node1", "node2", "node3")
    both = [spread(ZONE), spread(HOST)]
    assert feasible(where, pod(labels=FOO, topologySpreadConstraints=both)) == {"node4"}


def test_two_constraints_that_conflict():
    """Zone B is all that the first one allows, node 2 all that the second one does."""
    where = two_zones("node1", "node1", "node2", "node3", "node3", nodes=3)
    asked = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE), spread(HOST)])
    assert feasible(where, asked) == set()
    message = "node(s) didn't match pod topology spread constraints"
    assert reasons(where, asked) == dict.fromkeys(("node1", "node2", "node3"), message)


def test_node_affinity_takes_a_zone_out_of_the_count():
    """Zone C has no pods; if the pod cannot go there, it must not hold the others back."""
    where = two_zones("node1", "node2", "node3")
    where.nodes.append(node("node5", "zoneC"))
    away = {"nodeSelectorTerms": [{"matchExpressions": [expression(ZONE, "NotIn", "zoneC")]}]}
    asked = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE)], affinity={"nodeAffinity": {REQUIRED: away}})
    assert feasible(where, asked) == {"node3", "node4"}
    asked["spec"]["topologySpreadConstraints"] = [spread(ZONE, nodeAffinityPolicy="Ignore")]
    assert feasible(where, asked) == set()


def test_min_domains():
    """With fewer domains than asked for, the fewest counts as none: 2 matching pods a zone leave no room under a skew of 2."""
    where = two_zones("node1", "node2", "node3", "node4")
    asked = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE, maxSkew=2, minDomains=5)])
    assert feasible(where, asked) == set()
    where.nodes.append(node("node5", "zoneC"))
    assert feasible(where, asked) == {"node5"}


def test_nodes_without_the_label_are_left_out():
    where = cluster(node("labelled", "z"), node("plain"))
    asked = pod(labels=FOO, topologySpreadConstraints=[spread(ZONE)])
    assert feasible(where, asked) == {"labelled"}
    missing = "node(s) didn't match pod topology spread constraints (missing required label)"
    assert reasons(where, asked) == {"plain": missing}


def test_match_label_keys_count_one_revision_at_a_time():
    old = {**FOO, "pod-template-hash": "1"}
    where = cluster(node("a", "A"), node("b", "B"), pods=[pod("p1", old, on="a"), pod("p2", old, on="a")])
    new = pod(labels={**FOO, "pod-template-hash": "2"}, topologySpreadConstraints=[spread(ZONE)])
    assert feasible(where, new) == {"b"}
    new["spec"]["topologySpreadConstraints"] = [spread(ZONE, matchLabelKeys=["pod-template-hash"])]
    assert feasible(where, new) == {"a", "b"}


def test_default_constraints_spread_pods_of_a_service():
    service = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": FOO}}
    where = cluster(node("a", "A"), node("b", "B"), pods=[pod("p1", FOO, on="a")], services=[service])
    assert best(where, pod(labels=FOO)) == {"b"}


# -- Taints and Tolerations ----------------------------------------------------------------------------------------

TAINTS = (
    {"key": "key1", "value": "value1", "effect": "NoSchedule"},
    {"key": "key1", "value": "value1", "effect": "NoExecute"},
    {"key": "key2", "value": "value2", "effect": "NoSchedule"},
)


def test_every_taint_must_be_tolerated():
    """Two of the three are."""
    tolerations = [
        {"key": "key1", "operator": "Equal", "value": "value1", "effect": e} for e in ("NoSchedule", "NoExecute")
    ]
    where = cluster(node("node1", taints=TAINTS))
    assert reasons(where, pod(tolerations=tolerations)) == {"node1": "node(s) had untolerated taint(s)"}
    assert feasible(where, pod(tolerations=[*tolerations, {"key": "key2", "operator": "Exists"}])) == {"node1"}


@pytest.mark.parametrize(
    ("toleration", "let_in"),
    [
        ({"key": "key1", "operator": "Equal", "value": "value1", "effect": "NoSchedule"}, True),
        ({"key": "key1", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "key1", "operator": "Exists"}, True),
        ({"key": "key1", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "key1", "value": "other"}, False),
    ],
)
def test_how_a_toleration_matches(toleration, let_in):
    where = cluster(node("node1", taints=TAINTS[:1]))
    assert (feasible(where, pod(tolerations=[toleration])) == {"node1"}) is let_in


def test_a_preference_against_a_taint():
    dislike = {"key": "k", "effect": "PreferNoSchedule"}
    where = cluster(node("tainted", taints=[dislike]), node("plain"))
    assert feasible(where, pod()) == {"tainted", "plain"}
    assert best(where, pod()) == {"plain"}


# -- Pod Priority and Preemption -----------------------------------------------------------------------------------


def preempting(where, asked):
    """(all candidates, the nodes that may be chosen), and the scheduler agrees."""
    expected = reference.candidates(where, asked)
    fast = Fast(where).ask(asked)
    assert sorted(fast.candidates(), key=repr) == sorted(expected, key=repr)
    choice = fast.victims(seed=1)
    assert (choice is None) == (not expected) and (choice is None or choice.node in reference.best(where, expected))
    return expected, reference.best(where, expected)


def test_lower_pods_give_way_and_only_as_many_as_needed():
    low = [pod(f"low{at}", on="n", requests={"cpu": "1"}, started=f"2026-01-01T00:00:0{at}Z") for at in range(4)]
    asked = pod(requests={"cpu": "2"}, priority=10)
    # The two that run longest stay.
    assert preempting(cluster(node("n"), pods=low), asked)[0] == [Candidate("n", ("low2", "low3"), 0)]


def test_budgets_are_respected_where_possible_but_not_guaranteed():
    guarded = pod("guarded", {"app": "db"}, on="a", requests={"cpu": "4"})
    free = pod("free", {"app": "web"}, on="b", requests={"cpu": "4"}, priority=5)
    budget = {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": 0},
    }
    asked = pod(requests={"cpu": "1"}, priority=10)
    where = cluster(node("a"), node("b"), pods=[guarded, free], disruption_budgets=[budget])
    # A more important pod goes before a budget is broken.
    assert preempting(where, asked)[1] == {"b"}
    alone = cluster(node("a"), pods=[guarded], disruption_budgets=[budget])
    assert preempting(alone, asked)[0] == [Candidate("a", ("guarded",), 1)]


def test_affinity_to_the_victims_rules_their_node_out():
    """The pod wants the company of the pods that would have to go."""
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "friend"}}}
    low = pod("low", {"app": "friend"}, on="n", requests={"cpu": "4"})
    asked = pod(requests={"cpu": "1"}, priority=10, affinity={"podAffinity": {REQUIRED: [term]}})
    assert preempting(cluster(node("n"), pods=[low]), asked)[0] == []


def test_no_preemption_across_nodes():
    """The pod that stands in the way is in the same zone, on another node."""
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "q"}}}
    other = pod("q", {"app": "q"}, on="m", requests={"cpu": "1"})
    asked = pod(priority=10, affinity={"podAntiAffinity": {REQUIRED: [term]}})
    where = cluster(node("n", "Z"), node("m", "Z"), pods=[other])
    found, _ = preempting(where, asked)
    assert [c.node for c in found] == ["m"]


def test_a_pod_that_never_preempts_and_one_whose_victims_are_leaving():
    low = pod("low", on="n", requests={"cpu": "4"})
    where = cluster(node("n"), pods=[low])
    never = pod(requests={"cpu": "1"}, priority=10, preemptionPolicy="Never")
    assert reference.not_eligible(where, never) == "not eligible due to preemptionPolicy=Never."
    low["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    low["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
    waiting = pod(requests={"cpu": "1"}, priority=10)
    waiting["status"]["nominatedNodeName"] = "n"
    expected = "not eligible due to a terminating pod on the nominated node."
    assert reference.not_eligible(where, waiting) == expected
    for asked, words in ((never, "not eligible due to preemptionPolicy=Never."), (waiting, expected)):
        fast = Fast(where)
        plugin = fast.evaluator.profile.plugins["DefaultPreemption"]
        answered = fast.ask(asked)
        state = answered.outcome.state
        state["scheduler/outcome"] = answered.outcome
        assert plugin.post_filter(state, answered.info, answered.diagnosis).status.reasons == (f"preemption: {words}",)


# -- Resources -----------------------------------------------------------------------------------------------------


def test_overhead_counts():
    """Containers of 2 CPUs and 500 millicores, 250 more for the sandbox: not on 2,700, on 2,750."""
    asked = pod(requests={"cpu": "2500m"}, overhead={"cpu": "250m", "memory": "120Mi"})
    small, large = node("small"), node("large")
    small["status"]["allocatable"]["cpu"], large["status"]["allocatable"]["cpu"] = "2700m", "2750m"
    assert feasible(cluster(small, large), asked) == {"large"}


def test_pod_level_requests_take_the_place_of_the_containers():
    asked = pod(requests={"cpu": "500m"}, resources={"requests": {"cpu": "5"}})
    assert reasons(cluster(node("n")), asked) == {"n": "Insufficient cpu"}


def test_bin_packing_by_requested_to_capacity_ratio():
    """The worked example: 5/9, 1/9 and 3/9 of three resources' use give 5 (of 10) to one node and 7 to the other."""

    def machine(name, foo):
        made = node(name)
        made["status"]["allocatable"] = {"cpu": "8", "memory": "1Gi", "intel.com/foo": foo, "pods": "10"}
        return made

    used1 = pod("used1", on="one", requests={"cpu": "1", "memory": "256Mi", "intel.com/foo": "1"})
    used2 = pod("used2", on="two", requests={"cpu": "6", "memory": "512Mi", "intel.com/foo": "2"})
    where = cluster(machine("one", "4"), machine("two", "8"), pods=[used1, used2])
    asked = pod(requests={"cpu": "2", "memory": "256Mi", "intel.com/foo": "2"})
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [
            {"name": "intel.com/foo", "weight": 5},
            {"name": "memory", "weight": 1},
            {"name": "cpu", "weight": 3},
        ],
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]},
    }
    config = {"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}]}
    scores = Fast(where, config=config).ask(asked).scores
    # (75 x 5 + 50 + 37 x 3) / 9 and (50 x 5 + 75 + 100 x 3) / 9: the documentation counts in tens and drops the rest.
    assert {n: s["NodeResourcesFit"] for n, s in scores.items()} == {"one": 60, "two": 69}


def test_an_unschedulable_node_takes_only_pods_that_tolerate_it():
    cordoned = node("n")
    cordoned["spec"]["unschedulable"] = True
    assert reasons(cluster(cordoned), pod()) == {"n": "node(s) were unschedulable"}
    daemon = pod(
        tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}]
    )
    assert feasible(cluster(cordoned), daemon) == {"n"}
