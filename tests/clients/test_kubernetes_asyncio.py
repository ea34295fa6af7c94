"""kubernetes-asyncio against the API server: watch with an informer's loop, apply, conflicts, leader election."""

import asyncio
import json

from kubernetes_asyncio import client, config, watch

NAMESPACE = "asyncio"


async def test_an_application(apiserver):
    settings = client.Configuration()
    await config.load_kube_config(str(apiserver.kubeconfig), client_configuration=settings)
    async with client.ApiClient(settings) as api:
        core, leases = client.CoreV1Api(api), client.CoordinationV1Api(api)
        await core.create_namespace({"metadata": {"name": NAMESPACE}})
        await informs(core)
        await applies(core)
        await elects(leases)
        await elects_by_the_library(api, leases)


async def informs(core):
    """List, then watch from the list's revision; a write that comes in between is not lost."""
    listed = await core.list_namespaced_config_map(NAMESPACE)
    known = {m.metadata.name: m for m in listed.items}
    seen = []
    await core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "early"}})

    async def follow():
        async with watch.Watch().stream(
            core.list_namespaced_config_map,
            NAMESPACE,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=60,
        ) as stream:
            async for event in stream:
                name = event["object"].metadata.name
                seen.append((event["type"], name))
                if event["type"] == "DELETED":
                    known.pop(name)
                else:
                    known[name] = event["object"]
                if seen[-1] == ("DELETED", "late"):
                    return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "late"}})
        await core.patch_namespaced_config_map("early", NAMESPACE, {"data": {"a": "b"}})
        await core.delete_namespaced_config_map("late", NAMESPACE)
    expected = [("ADDED", "early"), ("ADDED", "late"), ("MODIFIED", "early"), ("DELETED", "late")]
    assert seen == expected
    assert {n: m.data for n, m in known.items()} == {"early": {"a": "b"}}


async def applies(core):
    def body(value):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": value}}

    async def apply(value, manager, **more):
        return await core.patch_namespaced_config_map(
            "applied",
            NAMESPACE,
            body(value),
            field_manager=manager,
            _content_type="application/apply-patch+yaml",
            **more,
        )

    await apply("1", "one")
    try:
        await apply("2", "two")
    except client.ApiException as failure:
        assert failure.status == 409
        assert json.loads(failure.body)["details"]["causes"][0]["field"] == ".data.a"
    else:
        raise AssertionError("no conflict")
    changed = await apply("2", "two", force=True)
    assert changed.data == {"a": "2"}


async def elects(leases):
    """Of many who would lead only one may; a lease that was renewed in the meantime cannot be taken."""

    async def campaign(name):
        spec = {"holderIdentity": name, "leaseDurationSeconds": 15}
        try:
            await leases.create_namespaced_lease(NAMESPACE, {"metadata": {"name": "leader"}, "spec": spec})
        except client.ApiException as failure:
            assert failure.status == 409
            return False
        return True

    won = await asyncio.gather(*(campaign(f"c{n}") for n in range(8)))
    assert sum(won) == 1
    lease = await leases.read_namespaced_lease("leader", NAMESPACE)
    lease.spec.holder_identity = "renewed"
    await leases.replace_namespaced_lease("leader", NAMESPACE, lease)
    lease.spec.holder_identity = "thief"
    try:
        await leases.replace_namespaced_lease("leader", NAMESPACE, lease)
    except client.ApiException as failure:
        assert failure.status == 409
    else:
        raise AssertionError("the lease was taken")


async def elects_by_the_library(api, leases):
    """The library's elector: the second candidate leads when the first one's lease has run out, not before."""
    from kubernetes_asyncio.leaderelection import electionconfig, leaderelection
    from kubernetes_asyncio.leaderelection.resourcelock.leaselock import LeaseLock

    leading: asyncio.Queue[str] = asyncio.Queue()

    def candidate(name):
        async def lead():
            await leading.put(name)

        async def stop():
            pass

        lock = LeaseLock("elected", NAMESPACE, name, api)
        return leaderelection.LeaderElection(
            electionconfig.Config(
                lock,
                lease_duration=3,
                renew_deadline=2,
                retry_period=1,
                onstarted_leading=lead,
                onstopped_leading=stop,
            )
        )

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        first = loop.create_task(candidate("first").run())
        assert await leading.get() == "first"
        second = loop.create_task(candidate("second").run())
        first.cancel()
        assert await leading.get() == "second"
        lease = await leases.read_namespaced_lease("elected", NAMESPACE)
        assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("second", 3)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
