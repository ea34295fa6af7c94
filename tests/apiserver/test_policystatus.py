"""Type checking goes into the status of policies."""

import asyncio
import random

from pybernetes.api.resources import GVR
from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK
from pybernetes.storage.memory import MemoryStore

POLICIES = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")


async def test_warnings_follow_the_spec():
    clock = RealClock()
    server = compose(MemoryStore(clock), clock, random.Random(1), Options())
    await server.start()
    task = asyncio.get_running_loop().create_task(server.run())
    client = Client(InProcessTransport(server, LOOPBACK))
    changed = asyncio.Event()
    server.objects.subscribe(POLICIES, lambda *event: changed.set())

    async def observed(generation):
        async with asyncio.timeout(10):
            while True:
                changed.clear()
                status = (server.objects.get(POLICIES, "", "p") or {}).get("status") or {}
                if status.get("observedGeneration") == generation:
                    return status["typeChecking"]
                await changed.wait()

    try:
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.spec.replicas > '1'"}],
        }
        await client.create(POLICIES, {"metadata": {"name": "p"}, "spec": spec})
        (warning,) = (await observed(1))["expressionWarnings"]
        assert warning["fieldRef"] == "spec.validations[0].expression"
        policy = await client.get(POLICIES, "p")
        policy["spec"]["validations"][0]["expression"] = "object.spec.replicas > 1"
        await client.update(POLICIES, policy)
        assert not (await observed(2)).get("expressionWarnings")
    finally:
        task.cancel()
        await asyncio.wait([task])
