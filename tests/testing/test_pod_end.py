"""The end of a pod through the API: its status may still change while it ends."""

import asyncio

import pytest

from pybernetes.api.resources import PODS
from pybernetes.concurrency import RealClock
from pybernetes.storage.contract import RevisionMismatch
from pybernetes.storage.sqlite import SqliteStore
from pybernetes.testing import start_cluster


async def test_the_status_of_a_pod_that_is_being_deleted_can_be_written():
    async with start_cluster(nodes=0) as cluster:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "ending", "namespace": "default", "finalizers": ["example.com/kept"]},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "c", "image": "i"}]},
        }
        await cluster.client.create(PODS, pod)
        deleted = await cluster.client.delete(PODS, "ending", "default")
        written = await cluster.client.patch(
            PODS, "ending", {"status": {"phase": "Running"}}, "default", subresource="status"
        )
        assert written["status"]["phase"] == "Running"
        assert written["metadata"]["deletionTimestamp"] == deleted["metadata"]["deletionTimestamp"]


async def test_two_who_delete_the_same_object_at_once_both_get_an_answer(tmp_path):
    """On the store whose commits take time: the second finds the first one's deletion under way."""
    clock = RealClock()
    store = SqliteStore(tmp_path / "state.db", clock)
    await store.open()
    revision = await store.put("/a", b"1")
    first = asyncio.ensure_future(store.delete("/a", expected=revision))
    await asyncio.sleep(0)
    with pytest.raises(RevisionMismatch):
        await store.delete("/a", expected=revision)
    assert first.done(), "the refusal waits for what it rests on"
    await store.close()
