"""Namespaces end: ordered, with conditions that tell why they do not; and what every namespace has."""

from pybernetes.api.resources import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from pybernetes.cluster.simulated import SimulatedNodes, Stage
from pybernetes.controllers.settings import Settings

from .helpers import condition

NAME = "namespace-controller"


def make(world, gvr, name, namespace="gone", **fields):
    return world.api.create(
        gvr, {"metadata": {"name": name, "namespace": namespace, **fields.pop("metadata", {})}, **fields}
    )


def test_an_empty_namespace_goes(virtually):
    async def main(world):
        async def body():
            world.api.create(NAMESPACES, {"metadata": {"name": "gone"}})
            make(world, CONFIG_MAPS, "a")
            make(world, CONFIG_MAPS, "kept", namespace="default")
            world.api.remove(NAMESPACES, "", "gone")
            await world.settle(5)
            assert world.api.all(NAMESPACES) == []
            assert [o["metadata"]["name"] for o in world.api.all(CONFIG_MAPS)] == ["kept"]

        await world.managed(body, NAME)

    virtually(main)


def test_pods_go_first_and_wake_the_namespace(virtually):
    async def main(world):
        nodes = SimulatedNodes(world.client, world.clock, 1, stages=(Stage(stop=(10.0, 10.0)),), rng=world.rng)

        async def body():
            import asyncio

            task = asyncio.get_running_loop().create_task(nodes.run())
            world.api.create(NAMESPACES, {"metadata": {"name": "gone"}})
            spec = {"nodeName": "sim-0", "terminationGracePeriodSeconds": 30, "containers": []}
            make(world, PODS, "p", spec=spec)
            make(world, CONFIG_MAPS, "a")
            await world.settle(1)
            world.api.remove(NAMESPACES, "", "gone")
            started = world.clock.now()
            await world.settle(5)
            assert len(world.api.all(CONFIG_MAPS)) == 1
            namespace = world.api.get(NAMESPACES, "", "gone")
            assert namespace["status"]["phase"] == "Terminating"
            assert condition(namespace, "NamespaceContentRemaining") == ("True", "SomeResourcesRemain")
            assert condition(namespace, "NamespaceDeletionContentFailure") == ("False", "ContentDeleted")
            while world.api.all(NAMESPACES):
                await world.clock.sleep(0.1)
            assert world.clock.now() - started < 12
            task.cancel()

        await world.managed(body, NAME)

    virtually(main)


def test_a_finalizer_holds_it_and_is_named(virtually):
    async def main(world):
        async def body():
            world.api.create(NAMESPACES, {"metadata": {"name": "gone"}})
            make(world, CONFIG_MAPS, "held", metadata={"finalizers": ["example.com/wait"]})
            world.api.remove(NAMESPACES, "", "gone")
            await world.settle(20)
            namespace = world.api.get(NAMESPACES, "", "gone")
            messages = {c["type"]: c["message"] for c in namespace["status"]["conditions"] if c["status"] == "True"}
            assert messages == {
                "NamespaceContentRemaining": "Some resources are remaining: configmaps. has 1 resource instances",
                "NamespaceFinalizersRemaining": "Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances",
            }
            held = world.api.get(CONFIG_MAPS, "gone", "held")
            world.api.update(CONFIG_MAPS, {**held, "metadata": {**held["metadata"], "finalizers": []}})
            await world.settle(20)
            assert world.api.all(NAMESPACES) == []

        await world.managed(body, NAME)

    virtually(main)


def test_every_namespace_has_an_account_and_the_root_certificate(virtually, tmp_path):
    path = tmp_path / "ca.crt"
    path.write_text("CERTIFICATE")

    async def main(world):
        async def body():
            world.api.create(NAMESPACES, {"metadata": {"name": "a"}})
            await world.settle()
            assert world.api.get(CONFIG_MAPS, "a", "kube-root-ca.crt")["data"] == {"ca.crt": "CERTIFICATE"}
            world.api.remove(SERVICE_ACCOUNTS, "a", "default")
            found = world.api.get(CONFIG_MAPS, "a", "kube-root-ca.crt")
            world.api.update(CONFIG_MAPS, {**found, "data": {}})
            await world.settle()
            assert world.api.get(SERVICE_ACCOUNTS, "a", "default")
            assert world.api.get(CONFIG_MAPS, "a", "kube-root-ca.crt")["data"] == {"ca.crt": "CERTIFICATE"}

        names = ("serviceaccount-controller", "root-ca-certificate-publisher-controller")
        await world.managed(body, *names, settings=Settings(root_ca_file=str(path)))

    virtually(main)
