"""The manager: which controllers run, the lease, health and metrics, flags, a user's own controller."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from pybernetes.api.meta import key_of
from pybernetes.api.resources import CONFIG_MAPS, LEASES, NAMESPACES, PODS, REPLICA_SETS
from pybernetes.client.leases import LeadershipLost
from pybernetes.client.transport import TransportError
from pybernetes.concurrency import RealClock
from pybernetes.controllers import registry
from pybernetes.controllers.command import CONCURRENCY, DURATION, IGNORED, controller_manager
from pybernetes.controllers.manager import ControllerManager
from pybernetes.controllers.metrics import Metrics
from pybernetes.controllers.runtime import Controller, slow_start
from pybernetes.controllers.serving import HealthServer

from .helpers import replica_set


def test_names_are_chosen_as_upstream_does():
    names = ["job-controller", "cronjob-controller", "token-cleaner-controller"]
    assert registry.choose(["*"], names) == names[:2]
    assert registry.choose(["*", "-cronjob"], names) == names[:1]
    assert registry.choose(["*", "tokencleaner"], names) == names
    assert registry.choose(["job"], names) == names[:1]
    with pytest.raises(registry.UnknownController, match='"nonsense" is not in the list of known controllers'):
        registry.choose(["*", "nonsense"], names)


def test_every_built_in_controller_exists_and_is_called_so(virtually):
    async def main(world):
        manager = ControllerManager(world.client, world.clock, controllers=["*", "bootstrapsigner", "tokencleaner"])
        assert set(manager.names) >= set(registry.BUILT_IN)
        assert set(registry.ALIASES.values()) <= set(registry.BUILT_IN)

        async def body():
            await world.settle(5)
            assert {c.name for c in world.manager.controllers} == set(registry.BUILT_IN)
            assert all(world.manager.health().values())

        await world.managed(body, "*", "bootstrapsigner", "tokencleaner")

    virtually(main)


class Labels(Controller):
    """A user's controller: counts ConfigMaps."""

    name = "labels"

    def setup(self):
        self.seen = []
        self.watch(CONFIG_MAPS)

    async def sync(self, key):
        self.seen.append(key)


def test_a_package_adds_a_controller(virtually, monkeypatch):
    class Point:
        name = "labels"

        def load(self):
            return Labels

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Point()] if group == registry.ENTRY_POINT_GROUP else []
    )

    async def main(world):
        async def body():
            made = world.api.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
            await world.settle()
            assert world.manager.find(["labels"])[0].seen == [key_of(made)]

        await world.managed(body, "labels")

    virtually(main)


def test_two_managers_never_act_together(virtually):
    """One leads; when it is cut off it stops before the other begins."""

    async def main(world):
        loop = asyncio.get_running_loop()
        cut = set()

        class Link:
            """A way to the server that can be cut."""

            def __init__(self, name):
                self.name = name

            async def send(self, request):
                if self.name in cut:
                    raise TransportError("no route", sent=False)
                return await world.api.send(request)

            def close(self):
                pass

        managers, tasks, both = {}, {}, []
        for name in ("a", "b"):
            client = type(world.client)(Link(name), clock=world.clock)
            managers[name] = ControllerManager(
                client, world.clock, controllers=["replicaset"], leader_elect=True, identity=name, rng=world.rng
            )
            tasks[name] = loop.create_task(managers[name].run())

        def watch():
            both.append(all(m.controllers for m in managers.values()))
            if not loop.is_closed():
                world.clock.call_later(0.1, watch)

        watch()
        await world.clock.sleep(10)
        (leader,) = [n for n, m in managers.items() if m.controllers]
        other = "b" if leader == "a" else "a"
        cut.add(leader)
        await world.clock.sleep(60)
        assert managers[other].leading and not managers[leader].controllers and not any(both)
        with pytest.raises(LeadershipLost):
            tasks[leader].result()
        lease = world.api.get(LEASES, "kube-system", "kube-controller-manager")["spec"]
        assert lease["holderIdentity"] == other and lease["leaseTransitions"] == 1
        world.api.create(REPLICA_SETS, replica_set("web", 2))
        await world.clock.sleep(2)
        assert len(world.api.all(PODS)) == 2
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    virtually(main)


def test_metrics_have_upstreams_names(virtually):
    async def main(world):
        async def body():
            world.api.create(REPLICA_SETS, replica_set("web", 2))
            await world.settle()
            text = world.manager.metrics_text().decode()
            assert 'workqueue_adds_total{name="replicaset-controller"}' in text
            assert 'workqueue_work_duration_seconds_bucket{le="1e-08",name="replicaset-controller"}' in text
            assert 'leader_election_master_status{name="kube-controller-manager"} 1.0' in text

        await world.managed(body, "replicaset-controller")

    virtually(main)


async def test_health_over_http():
    class Manager:
        good = {"a": True, "b": False}

        def health(self):
            return self.good

        def metrics_text(self):
            return Metrics().text()

    server = HealthServer(Manager(), RealClock(), version={"gitVersion": "v1.36.0"})
    task = asyncio.get_running_loop().create_task(server.run("127.0.0.1", 0))
    await server.serving.wait()

    async def get(path, method="GET"):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body.decode()

    assert await get("/livez") == (200, "ok")
    assert await get("/healthz") == (500, "[+]a ok\n[-]b failed: not started\nhealthz check failed\n")
    assert await get("/healthz/a") == (200, "ok")
    assert (await get("/healthz/c"))[0] == 404 and (await get("/nothing"))[0] == 404
    assert (await get("/metrics"))[1].startswith("# HELP")
    assert "v1.36.0" in (await get("/version"))[1]
    assert (await get("/livez", "POST"))[0] == 405 and await get("/livez", "HEAD") == (200, "")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("40s", 40.0), ("5m0s", 300.0), ("1h30m", 5400.0), ("0", 0.0), ("250ms", 0.25)]
)
def test_durations(text, seconds):
    assert DURATION.convert(text, None, None) == seconds


def test_flags():
    shown = CliRunner().invoke(controller_manager, ["--help"]).output
    for flag in (
        *IGNORED,
        *(f"--concurrent-{k}-syncs" for k in CONCURRENCY),
        "--leader-elect",
        "--cluster-signing-duration",
    ):
        assert flag in shown
    refused = CliRunner().invoke(controller_manager, ["--kubeconfig=x", "--node-monitor-period=soon"])
    assert refused.exit_code == 1 and 'time: invalid duration "soon"' in refused.output
    missing = CliRunner().invoke(controller_manager, ["--kubeconfig=/no/such/file"])
    assert missing.exit_code == 1 and "cannot read kubeconfig" in missing.output
    assert set(CONCURRENCY.values()) <= set(registry.BUILT_IN) and isinstance(controller_manager, click.Command)


async def test_slow_start_stops_at_the_first_failure():
    calls = []

    async def work(n):
        calls.append(n)
        if n == 4:
            raise TransportError("no", sent=False)

    failure = await slow_start([lambda n=n: work(n) for n in range(100)])
    assert isinstance(failure, TransportError) and len(calls) == 7
    assert await slow_start([lambda n=n: work(n + 200) for n in range(100)]) is None and len(calls) == 107


def test_the_controller_of_the_documentation(virtually, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/controllers.md").read_text()
    code: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], code)
    point = SimpleNamespace(name="labels", load=lambda: code["Labels"])
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])

    async def main(world):
        async def body():
            world.api.create(NAMESPACES, {"metadata": {"name": "work"}})
            world.api.create(NAMESPACES, {"metadata": {"name": "ours", "labels": {"team": "us"}}})
            await world.settle()
            teams = {n["metadata"]["name"]: n["metadata"]["labels"]["team"] for n in world.api.all(NAMESPACES)}
            assert teams == {"work": "nobody", "ours": "us"}

        await world.managed(body, "labels")

    virtually(main)
