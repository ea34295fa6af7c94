"""Custom resources of two API servers over one etcd: what one establishes, the other serves."""

import shutil

import pytest

from apiserver.conftest import running
from apiserver.test_custom import WIDGETS, definition, version, widget
from pybernetes.api.resources import CUSTOM_RESOURCE_DEFINITIONS
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.storage.etcd import EtcdStore

from .test_etcd import Members

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(shutil.which("etcd") is None, reason="needs an etcd binary on the PATH"),
]


async def seen(client, wanted, since=""):
    """The definition in a state that is wanted, as a watch of this server tells of it."""
    async for event in client.watch(CUSTOM_RESOURCE_DEFINITIONS, resource_version=since):
        if wanted(event):
            return event.object
    raise AssertionError("the watch ended")


def is_established(event):
    conditions = event.object["status"].get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def test_two_servers(tmp_path):
    members, clock = Members(tmp_path, 1), RealClock()
    try:
        stores = [EtcdStore(members.urls, clock, prefix="/x") for _ in range(2)]
        async with running(clock=clock, store=stores[0]) as first, running(clock=clock, store=stores[1]) as second:
            one, other = (Client(InProcessTransport(server)) for server in (first, second))
            for server in (first, second):
                assert server.definitions.served == {}
            await one.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
            crd = await seen(other, is_established)
            made = await other.create(WIDGETS, widget(spec={"size": 1}))
            assert await one.get(WIDGETS, "a", "default") == made
            crd["spec"]["versions"].append(version("v2", storage=False))
            crd = await other.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
            await seen(one, lambda e: len(e.object["spec"]["versions"]) == 2)
            found = await one.request("GET", "/apis/example.com/v2/namespaces/default/widgets/a")
            assert (found["apiVersion"], found["spec"]) == ("example.com/v2", {"size": 1})
            await one.update(WIDGETS, {**made, "spec": {"size": 2}})
            assert (await other.get(WIDGETS, "a", "default"))["spec"] == {"size": 2}
            await one.delete(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
            await seen(other, lambda e: e.type == "DELETED", crd["metadata"]["resourceVersion"])
            listed = await second.store.list("/registry/example.com/")
            assert listed.items == []
            for server in (first, second):
                server.definitions.validate_state()
    finally:
        members.stop()
