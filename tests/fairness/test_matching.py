"""Which schema, how many seats: with plain data."""

import math

import orjson
import pytest

from pybernetes.apiserver.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS, flow_control_objects
from pybernetes.apiserver.fairness.estimating import list_seats, write_work
from pybernetes.apiserver.fairness.levels import Dropped, Levels, dangling
from pybernetes.apiserver.fairness.shares import Claim, Demand, Limits, adjust, allocate, limits_of, max_seats
from pybernetes.apiserver.fairness.upkeep import revised
from pybernetes.apiserver.request import RequestInfo
from pybernetes.hooks.identity import UserInfo

OBJECTS = list(flow_control_objects())
LEVELS = [o for g, o in OBJECTS if g == PRIORITY_LEVELS]
SCHEMAS = [o for g, o in OBJECTS if g == FLOW_SCHEMAS]


def levels(extra_levels=(), extra_schemas=()):
    mandatory = ("exempt", "catch-all")
    found = Levels(
        600,
        [o for o in LEVELS if o["metadata"]["name"] in mandatory],
        [o for o in SCHEMAS if o["metadata"]["name"] in mandatory],
    )
    found.digest([*LEVELS, *extra_levels], [*SCHEMAS, *extra_schemas], 0.0)
    return found


def ask(verb, resource, *, group="", namespace="default", sub="", name=""):
    return RequestInfo(True, verb, "/x", group, "v1", resource, sub, namespace, name)


ALL = "system:authenticated"
NODE = UserInfo("system:node:n1", groups=("system:nodes", ALL))
ACCOUNT = UserInfo("system:serviceaccount:default:app", groups=("system:serviceaccounts", ALL))


@pytest.mark.parametrize(
    "user, info, schema, level",
    [
        (UserInfo("root", groups=("system:masters",)), ask("list", "pods"), "exempt", "exempt"),
        (UserInfo("u", groups=(ALL,)), RequestInfo(False, "get", "/healthz"), "probes", "exempt"),
        (UserInfo("u", groups=(ALL,)), RequestInfo(False, "get", "/healthz/etcd"), "probes", "exempt"),
        (UserInfo("u", groups=(ALL,)), RequestInfo(False, "get", "/healthzz"), "global-default", "global-default"),
        (NODE, ask("patch", "nodes", sub="status", namespace=""), "system-node-high", "node-high"),
        (NODE, ask("update", "leases", group="coordination.k8s.io"), "system-node-high", "node-high"),
        (NODE, ask("list", "pods"), "system-nodes", "system"),
        (
            UserInfo("system:kube-scheduler", groups=(ALL,)),
            ask("update", "leases", group="coordination.k8s.io", namespace="kube-system"),
            "system-leader-election",
            "leader-election",
        ),
        (UserInfo("system:kube-scheduler", groups=(ALL,)), ask("list", "pods"), "kube-scheduler", "workload-high"),
        (
            UserInfo("system:serviceaccount:kube-system:x", groups=("system:serviceaccounts:kube-system", ALL)),
            ask("list", "pods"),
            "kube-system-service-accounts",
            "workload-high",
        ),
        (ACCOUNT, ask("list", "pods"), "service-accounts", "workload-low"),
        (UserInfo("jane", groups=(ALL,)), ask("list", "pods"), "global-default", "global-default"),
        (UserInfo("nobody"), ask("list", "pods"), "catch-all", "catch-all"),
    ],
)
def test_the_bootstrap_schemas(user, info, schema, level):
    flow = levels().flow(user, info)
    assert (flow.schema.name, flow.level.name) == (schema, level)


def schema(name, precedence, level, **rule):
    return {
        "metadata": {"name": name, "uid": name},
        "spec": {
            "matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": level},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "*"}}], **rule}],
        },
    }


def everything(**changes):
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    return {"resourceRules": [{**rule, **changes}]}


def test_precedence_then_name_and_a_dangling_schema_is_passed_over():
    found = levels(
        extra_schemas=[
            schema("b", 50, "workload-low", **everything()),
            schema("a", 50, "workload-high", **everything()),
            schema("c", 40, "missing", **everything()),
            schema("d", 30, "workload-low", **everything(verbs=["get"], clusterScope=False)),
        ]
    )
    jane = UserInfo("jane", groups=(ALL,))
    assert found.flow(jane, ask("list", "pods")).schema.name == "a"
    assert found.flow(jane, ask("get", "pods")).schema.name == "d"
    assert found.flow(jane, ask("get", "nodes", namespace="")).schema.name == "a"


def test_flows_are_told_apart_as_the_schema_says():
    found = levels()
    jane, joe = (found.flow(UserInfo(n, groups=(ALL,)), ask("list", "pods")) for n in ("jane", "joe"))
    assert (jane.distinguisher, joe.distinguisher) == ("jane", "joe") and jane.hand != joe.hand
    scheduler = UserInfo("system:kube-scheduler", groups=(ALL,))
    assert found.flow(scheduler, ask("list", "pods", namespace="ns")).distinguisher == "ns"


def test_nominal_seats_are_those_of_the_documentation():
    shares = sum((o["spec"].get("limited") or o["spec"]["exempt"])["nominalConcurrencyShares"] for o in LEVELS)
    assert shares == 245
    found = {o["metadata"]["name"]: limits_of(o["spec"], 600, shares) for o in LEVELS}
    assert found["workload-low"] == Limits(245, 24, 845)
    assert found["catch-all"] == Limits(13, 13, 613)
    assert found["exempt"] == Limits(0, 0, 600)
    spec = {"limited": {"nominalConcurrencyShares": 20, "lendablePercent": 50, "borrowingLimitPercent": 30}}
    assert limits_of(spec, 600, 240) == Limits(50, 25, 65)
    assert max_seats(next(o for o in LEVELS if o["metadata"]["name"] == "global-default")["spec"], 49) == 8
    assert max_seats({"limited": {"limitResponse": {"type": "Reject"}}}, 49) == 0


def test_seats_go_where_the_demand_is():
    idle = Claim(False, Limits(100, 50, 700), 0, 0.0)
    busy = Claim(False, Limits(100, 50, 700), 300, 300.0)
    seats, _ = adjust({"idle": idle, "busy": busy})
    assert seats == {"idle": 50, "busy": 150}
    seats, _ = adjust({"idle": idle, "busy": Claim(False, Limits(100, 50, 110), 300, 300.0)})
    assert seats == {"idle": 90, "busy": 110}
    both, fraction = adjust({"a": busy, "b": busy})
    assert both == {"a": 100, "b": 100} and fraction == 0.0
    seats, _ = adjust({"exempt": Claim(True, Limits(0, 0, 600), 120, 0.0), "a": busy, "b": busy})
    assert seats == {"exempt": 120, "a": 50, "b": 50}


def test_an_allocation_is_within_its_bounds_and_adds_up():
    bounds = [(1.0, 5.0, 1.0), (2.0, 40.0, 20.0), (0.0, 100.0, 0.0), (3.0, 3.0, 3.0)]
    for total in (6, 10, 20, 45, 148):
        amounts, _ = allocate(float(total), bounds)
        assert math.isclose(sum(amounts), total, abs_tol=1e-6)
        assert all(low - 1e-9 <= a <= high + 1e-9 for a, (low, high, _) in zip(amounts, bounds, strict=True))


def test_demand_over_a_period():
    demand = Demand(0.0)
    demand.set(10, 0.0)
    demand.set(0, 5.0)
    demand.close(10.0)
    assert (demand.average, demand.deviation, demand.highest) == (5.0, 5.0, 10)
    assert demand.smoothed == 10.0
    demand.close(20.0)
    assert demand.highest == 0 and math.isclose(demand.smoothed, 9.77)


def test_estimates():
    assert list_seats(10, 1000, 0) == 1
    assert list_seats(1000, 1000, 0) == 10 and list_seats(100_000, 1000, 0) == 10
    assert list_seats(1000, 1000, 8) == 8
    assert write_work(9, 0).most == 1
    assert write_work(200, 0).most == 10 and math.isclose(write_work(200, 0).latency, 0.01)


def test_a_level_that_is_gone_serves_what_it_has():
    extra = {
        "metadata": {"name": "own", "uid": "1"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 10,
                "limitResponse": {"type": "Queue", "queuing": {"queues": 2, "handSize": 1, "queueLengthLimit": 5}},
            },
        },
    }
    found = levels([extra], [schema("own", 5, "own", **everything())])
    jane = UserInfo("jane", groups=(ALL,))
    flow = found.flow(jane, ask("list", "pods"))
    assert flow.level.name == "own" and flow.level.limits.nominal == math.ceil(600 * 10 / 255)
    from pybernetes.apiserver.fairness.queueset import ONE, Ticket

    ticket = Ticket(ONE, flow)
    flow.queues.begin(ticket, 1.0)
    found.digest(LEVELS, [*SCHEMAS, schema("own", 5, "own", **everything())], 2.0)
    assert found.levels["own"].quiescing and found.flow(jane, ask("list", "pods")).level.name == "global-default"
    flow.queues.finish(ticket, 3.0)
    found.reap()
    assert "own" not in found.levels


def test_what_is_mandatory_is_there_without_objects():
    found = Levels(
        600,
        [o for o in LEVELS if o["metadata"]["name"] in ("exempt", "catch-all")],
        [o for o in SCHEMAS if o["metadata"]["name"] in ("exempt", "catch-all")],
    )
    found.digest([], [], 0.0)
    assert found.flow(UserInfo("jane", groups=(ALL,)), ask("list", "pods")).level.name == "catch-all"
    assert found.flow(UserInfo("x", groups=("system:masters",)), ask("list", "pods")).level.name == "exempt"
    broken = {"metadata": {"name": "odd"}, "spec": {"type": "Limited"}}
    found.digest([broken], [], 1.0)
    assert "odd" not in found.levels


def test_the_dangling_condition():
    wanted = schema("s", 1, "nowhere")
    condition = dangling(wanted, lambda n: False, "now")
    assert condition == {
        "type": "Dangling",
        "status": "True",
        "reason": "NotFound",
        "lastTransitionTime": "now",
        "message": 'This FlowSchema references the PriorityLevelConfiguration object named "nowhere" but there is no such object',
    }
    wanted["status"] = {"conditions": [condition]}
    assert dangling(wanted, lambda n: False, "later") is None
    assert dangling(wanted, lambda n: True, "later")["status"] == "False"


def test_who_may_change_bootstrap_objects():
    wanted = next(o for o in SCHEMAS if o["metadata"]["name"] == "service-accounts")
    current = orjson.loads(orjson.dumps(wanted))
    assert revised(current, wanted, mandatory=False) is None
    current["spec"]["matchingPrecedence"] = 7
    assert revised(current, wanted, mandatory=False)["spec"] == wanted["spec"]
    current["metadata"]["annotations"] = {"apf.kubernetes.io/autoupdate-spec": "false"}
    assert revised(current, wanted, mandatory=False) is None
    assert revised(current, wanted, mandatory=True)["spec"] == wanted["spec"]
    current["metadata"] |= {"annotations": {}, "generation": 2}
    noted = revised(current, wanted, mandatory=False)
    assert noted["spec"]["matchingPrecedence"] == 7
    assert noted["metadata"]["annotations"] == {"apf.kubernetes.io/autoupdate-spec": "false"}


def test_retry_after_grows_under_pressure_and_shrinks_again():
    dropped = Dropped()
    for second in range(100, 130):
        for _ in range(50):
            dropped.note(float(second))
    assert dropped.retry_after == 16
    for second in range(130, 400, 2):
        dropped.note(float(second))
    assert dropped.retry_after < 4
