"""All controllers together against the real API server."""

import pytest

from pybernetes.api.resources import DEPLOYMENTS, ENDPOINT_SLICES, NAMESPACES, PODS, REPLICA_SETS, SERVICES
from pybernetes.concurrency import VirtualClock, virtual_event_loop

from .helpers import condition, deployment, template
from .real_world import real_world


@pytest.fixture
def really(caplog):
    def run(body, **options):
        clock = VirtualClock()
        loop = virtual_event_loop(clock)

        async def main():
            async with real_world(clock, **options) as world:
                return await body(world)

        try:
            result = loop.run_until_complete(main())
        finally:
            loop.close()
        bugs = [r for r in caplog.records if r.levelname == "ERROR"]
        assert not bugs, bugs[0].exc_text or bugs[0].getMessage()
        return result

    return run


def test_a_deployment_lives_and_dies(really):
    async def body(world):
        made = deployment("web", 6)
        await world.client.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", **made})
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }
        await world.client.create(SERVICES, service)
        await world.settle(10)
        found = await world.client.get(DEPLOYMENTS, "web", "default")
        assert condition(found, "Available") == ("True", "MinimumReplicasAvailable")
        assert condition(found, "Progressing") == ("True", "NewReplicaSetAvailable")
        slices = await world.all(ENDPOINT_SLICES, "default")
        ours = [s for s in slices if s["metadata"]["labels"].get("kubernetes.io/service-name") == "web"]
        assert sum(len(s["endpoints"]) for s in ours) == 6
        patch = {"spec": {"template": template({"app": "web"}, "app:2")}}
        await world.client.patch(DEPLOYMENTS, "web", patch, "default")
        await world.settle(30)
        images = {p["spec"]["containers"][0]["image"] for p in await world.all(PODS, "default")}
        assert images == {"app:2"} and len(await world.all(PODS, "default")) == 6
        await world.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await world.settle(30)
        assert await world.all(DEPLOYMENTS) == await world.all(REPLICA_SETS) == await world.all(PODS) == []

    really(body)


def test_a_namespace_full_of_things_goes(really):
    async def body(world):
        await world.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}})
        for n in range(3):
            made = deployment(f"web{n}", 4, namespace="gone")
            await world.client.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", **made})
        await world.settle(10)
        assert len(await world.all(PODS, "gone")) == 12
        await world.client.delete(NAMESPACES, "gone")
        await world.settle(40)
        assert "gone" not in {n["metadata"]["name"] for n in await world.all(NAMESPACES)}
        assert await world.all(PODS) == []

    really(body)
