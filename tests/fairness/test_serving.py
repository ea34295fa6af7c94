"""Fairness in the request path of a server."""

import asyncio

import pytest
from tests.apiserver.conftest import running

from pybernetes.api.errors import StatusError
from pybernetes.apiserver.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.apiserver.request import Request, Response
from pybernetes.apiserver.server import ServerConfig
from pybernetes.client.rest import Client
from pybernetes.concurrency import VirtualClock, virtual_event_loop
from pybernetes.hooks.identity import AUTHENTICATED, UserInfo

JANE = UserInfo("jane", groups=(AUTHENTICATED,))
JOE = UserInfo("joe", groups=(AUTHENTICATED,))
ROOT = UserInfo("root", groups=("system:masters", AUTHENTICATED))
SMALL = {"max_requests_inflight": 8, "max_mutating_requests_inflight": 2}


class Gate:
    """A path whose answers wait to be let through, and take a second where a clock is given."""

    def __init__(self, server, clock=None):
        self.server, self.entered, self.open, self.clock = server, [], asyncio.Event(), clock
        server.paths["/gate"] = self

    async def __call__(self, request):
        self.entered.append(request.user.name)
        await self.open.wait()
        if self.clock is not None:
            await self.clock.sleep(1.0)
        return Response(200, b"{}")

    def ask(self, user, path="/gate"):
        return asyncio.ensure_future(self.server.handle(Request("GET", path, user=user)))


async def one_seat(server, response=None):
    """A level with a single seat that is neither lent nor borrowed, for the gate."""
    queuing = {"queues": 64, "handSize": 4, "queueLengthLimit": 50}
    limited = {
        "nominalConcurrencyShares": 1,
        "borrowingLimitPercent": 0,
        "limitResponse": response or {"type": "Queue", "queuing": queuing},
    }
    rule = {
        "subjects": [{"kind": "Group", "group": {"name": AUTHENTICATED}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/gate"]}],
    }
    client = Client(InProcessTransport(server))
    await client.create(PRIORITY_LEVELS, {"metadata": {"name": "one"}, "spec": {"type": "Limited", "limited": limited}})
    spec = {
        "priorityLevelConfiguration": {"name": "one"},
        "matchingPrecedence": 3,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [rule],
    }
    await client.create(FLOW_SCHEMAS, {"metadata": {"name": "gate"}, "spec": spec})
    return server.fairness


async def turns():
    for _ in range(20):
        await asyncio.sleep(0)


def headers(response):
    return dict(response.headers)


def virtually(test):
    """Runs it on a clock that jumps."""
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: virtual_event_loop(clock)) as runner:
        runner.run(test(clock))


def test_one_seat_is_shared_by_turns():
    async def main(clock):
        async with running(ServerConfig(**SMALL), clock=clock) as server:
            gate, _ = Gate(server, clock), await one_seat(server)
            gate.open.set()
            janes = [gate.ask(JANE) for _ in range(15)]
            await clock.sleep(0.5)
            joes = gate.ask(JOE)
            await clock.sleep(0.1)
            assert gate.entered == ["jane"]
            root = gate.ask(ROOT)
            await clock.sleep(0.1)
            assert gate.entered == ["jane", "root"]  # exempt
            answers = await asyncio.gather(*janes, joes, root)
            assert [a.status for a in answers] == [200] * 17
            assert gate.entered.index("joe") <= 7  # janes wait in no more than four queues
            uid = server.objects.get(FLOW_SCHEMAS, "", "gate")["metadata"]["uid"]
            assert headers(answers[0])["X-Kubernetes-PF-FlowSchema-UID"] == uid
            uid = server.objects.get(PRIORITY_LEVELS, "", "exempt")["metadata"]["uid"]
            assert headers(answers[-1])["X-Kubernetes-PF-PriorityLevel-UID"] == uid
            for level in server.fairness.levels.levels.values():
                level.queues.validate_state()
                assert level.queues.idle and level.queues.in_use == 0

    virtually(main)


async def test_what_finds_no_place_is_told_when_to_come_back():
    async with running(ServerConfig(**SMALL)) as server:
        gate, _ = Gate(server), await one_seat(server, {"type": "Reject"})
        first, second = gate.ask(JANE), gate.ask(JANE)
        refused = await second
        assert (refused.status, refused.body) == (429, b"Too many requests, please try again later.\n")
        assert headers(refused)["Retry-After"] == "1" and "X-Kubernetes-PF-FlowSchema-UID" in headers(refused)
        gate.open.set()
        assert (await first).status == 200
        text = (await server.handle(Request("GET", "/metrics", user=ROOT))).whole.decode()
        labels = 'priority_level="one",flow_schema="gate",reason="concurrency-limit"'
        assert f"apiserver_flowcontrol_rejected_requests_total{{{labels}}} 1" in text
        assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 5' in text


def test_waiting_ends():
    async def main(clock):
        async with running(ServerConfig(**SMALL), clock=clock) as server:
            gate, fairness = Gate(server), await one_seat(server)
            first, second = gate.ask(JANE), gate.ask(JANE)
            began = clock.monotonic()
            refused = await second
            assert refused.status == 429 and clock.monotonic() - began == 15.0
            third = gate.ask(JANE)
            await clock.sleep(1.0)
            third.cancel()
            await asyncio.wait([third])
            gate.open.set()
            assert (await first).status == 200
            queues = fairness.levels.levels["one"].queues
            queues.validate_state()
            assert (queues.timed_out, queues.cancelled, queues.waiting, queues.in_use) == (1, 1, 0, 0)

    virtually(main)


async def test_dumps_show_who_waits():
    async with running(ServerConfig(**SMALL)) as server:
        gate, _ = Gate(server), await one_seat(server)
        asked = [gate.ask(JANE), gate.ask(JANE)]
        await turns()

        async def dump(name, query=""):
            path = f"/debug/api_priority_and_fairness/{name}"
            return (await server.handle(Request("GET", path, query, user=ROOT))).whole.decode().splitlines()

        levels = await dump("dump_priority_levels")
        assert levels[0].split(", ")[0] == "PriorityLevelName" and len(levels) == 10
        row = next(line for line in levels if line.startswith("one,"))
        assert [c.strip() for c in row.split(",")] == ["one", "1", "false", "false", "1", "1", "1", "0", "0", "0"]
        assert len({len(line) - len(line.split()[-1]) for line in levels}) == 1  # aligned
        assert sum(line.startswith("one,") for line in await dump("dump_queues")) == 64
        requests = await dump("dump_requests", "includeRequestDetails=1")
        assert sum("jane" in line and "/gate" in line for line in requests) == 2
        gate.open.set()
        await asyncio.gather(*asked)


async def until(server, gvr, condition):
    """Returns when the condition holds after some change of the resource."""
    changed = asyncio.Event()
    end = server.objects.subscribe(gvr, lambda *event: changed.set())
    try:
        async with asyncio.timeout(10):
            while not condition():
                changed.clear()
                await changed.wait()
    finally:
        end()


async def test_mandatory_objects_come_back_and_dangling_schemas_say_so():
    async with running() as server:
        client = Client(InProcessTransport(server))
        await client.delete(PRIORITY_LEVELS, "catch-all")
        await until(server, PRIORITY_LEVELS, lambda: server.objects.get(PRIORITY_LEVELS, "", "catch-all") is not None)
        exempt = await client.get(FLOW_SCHEMAS, "exempt")
        exempt["spec"]["matchingPrecedence"] = 77
        with pytest.raises(StatusError, match="must be 1|exempt"):
            await client.update(FLOW_SCHEMAS, exempt)
        schema = {
            "metadata": {"name": "mine"},
            "spec": {"priorityLevelConfiguration": {"name": "nowhere"}, "matchingPrecedence": 9},
        }
        await client.create(FLOW_SCHEMAS, schema)

        def condition():
            found = (server.objects.get(FLOW_SCHEMAS, "", "mine").get("status") or {}).get("conditions") or [{}]
            return found[0].get("status")

        await until(server, FLOW_SCHEMAS, lambda: condition() == "True")
        await client.create(
            PRIORITY_LEVELS,
            {
                "metadata": {"name": "nowhere"},
                "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
            },
        )
        await until(server, FLOW_SCHEMAS, lambda: condition() == "False")
        assert "nowhere" in server.fairness.levels.levels


async def test_without_fairness_two_limits_hold():
    config = ServerConfig(fairness=False, max_requests_inflight=1, max_mutating_requests_inflight=1)
    async with running(config) as server:
        gate = Gate(server)
        first = gate.ask(JANE)
        await turns()
        assert (await gate.ask(JANE)).status == 429
        write = await server.handle(Request("POST", "/nowhere", user=JANE))
        assert write.status == 404
        root = gate.ask(ROOT)
        gate.open.set()
        assert [(await a).status for a in (first, root)] == [200, 200]
        assert not any(server.limiter.running.values())


async def test_a_long_list_holds_its_seats_to_its_end():
    async with running() as server:
        server.reader.STREAMED = 2
        server.reader.SLICE = 1
        client = Client(InProcessTransport(server))
        for i in range(4):
            body = {"metadata": {"name": f"c{i}", "namespace": "default"}, "data": {"x": "y" * 30_000}}
            await client.request("POST", "/api/v1/namespaces/default/configmaps", body)
        response = await server.handle(Request("GET", "/api/v1/configmaps", user=JANE))
        queues = server.fairness.levels.levels["global-default"].queues
        assert queues.in_use == 2
        assert len(b"".join([part async for part in response.body])) > 120_000
        assert queues.in_use == 0
        response = await server.handle(Request("GET", "/api/v1/configmaps", user=JANE))
        await response.body.aclose()
        assert queues.in_use == 0


async def test_no_seats_at_all_is_no_configuration():
    with pytest.raises(ValueError, match="they must add up to something positive"):
        async with running(ServerConfig(max_requests_inflight=0, max_mutating_requests_inflight=0)):
            pass
