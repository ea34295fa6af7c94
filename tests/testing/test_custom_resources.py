"""Custom resources in a whole cluster: the garbage collector, quotas and namespaces know them."""

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.meta import is_condition_true
from pybernetes.api.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, GVR, NAMESPACES, RESOURCE_QUOTAS
from pybernetes.testing import run_virtually, start_cluster

WIDGETS = GVR("example.com", "v1", "widgets")
NAME = "widgets.example.com"
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def widget(name, namespace="shop", **metadata):
    metadata |= {"name": name, "namespace": namespace}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata}


async def prepared(cluster):
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    await cluster.apply(DEFINITION)
    await cluster.wait_for(CUSTOM_RESOURCE_DEFINITIONS, NAME, lambda c: is_condition_true(c, "Established"))


def owned_by(owner):
    metadata = owner["metadata"]
    return [{"apiVersion": "example.com/v1", "kind": "Widget", "name": metadata["name"], "uid": metadata["uid"]}]


def test_what_a_custom_resource_owns_goes_with_it():
    async def main(clock):
        async with start_cluster(nodes=0, clock=clock, seed=1) as cluster:
            await prepared(cluster)
            client = cluster.client
            parent = await client.create(WIDGETS, widget("parent"))
            await client.create(WIDGETS, widget("child", ownerReferences=owned_by(parent)))
            config = {"metadata": {"name": "config", "namespace": "shop", "ownerReferences": owned_by(parent)}}
            await client.create(CONFIG_MAPS, config)
            await client.delete(WIDGETS, "parent", "shop", propagation_policy="Foreground")
            await cluster.wait_gone(CONFIG_MAPS, "config", "shop")
            await cluster.wait_gone(WIDGETS, "child", "shop")
            await cluster.wait_gone(WIDGETS, "parent", "shop")
            # Orphans stay.
            parent = await client.create(WIDGETS, widget("parent"))
            await client.create(WIDGETS, widget("child", ownerReferences=owned_by(parent)))
            await client.delete(WIDGETS, "parent", "shop", propagation_policy="Orphan")
            await cluster.wait_gone(WIDGETS, "parent", "shop")
            assert "ownerReferences" not in (await client.get(WIDGETS, "child", "shop"))["metadata"]

    run_virtually(main)


def test_a_namespace_goes_with_its_custom_resources():
    async def main(clock):
        async with start_cluster(nodes=0, clock=clock, seed=1) as cluster:
            await prepared(cluster)
            await cluster.client.create(WIDGETS, widget("a", finalizers=["example.com/hold"]))
            await cluster.client.create(WIDGETS, widget("b", "default"))
            await cluster.client.delete(NAMESPACES, "shop")
            held = await cluster.wait_for(
                NAMESPACES, "shop", lambda n: is_condition_true(n, "NamespaceFinalizersRemaining")
            )
            messages = [c["message"] for c in held["status"]["conditions"] if c["type"] == "NamespaceContentRemaining"]
            assert "widgets.example.com has 1 resource instances" in messages[0]
            await cluster.client.patch(WIDGETS, "a", {"metadata": {"finalizers": None}}, "shop")
            await cluster.wait_gone(NAMESPACES, "shop")
            assert [w["metadata"]["name"] for w in (await cluster.client.list(WIDGETS))["items"]] == ["b"]

    run_virtually(main)


def test_quotas_count_custom_resources():
    async def main(clock):
        async with start_cluster(nodes=0, clock=clock, seed=1) as cluster:
            quota = {"metadata": {"name": "q", "namespace": "shop"}, "spec": {"hard": {f"count/{NAME}": "2"}}}
            await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
            await cluster.client.create(RESOURCE_QUOTAS, quota)
            await prepared(cluster)

            async def used(amount):
                await cluster.wait_for(
                    RESOURCE_QUOTAS, "q", lambda q: (q["status"].get("used") or {}).get(f"count/{NAME}") == amount, "shop",
                    timeout=600,
                )  # fmt: skip

            await used("0")
            await cluster.client.create(WIDGETS, widget("a"))
            await cluster.client.create(WIDGETS, widget("b"))
            await used("2")
            with pytest.raises(StatusError) as failure:
                await cluster.client.create(WIDGETS, widget("c"))
            assert failure.value.code == 403
            assert failure.value.message == (
                f'widgets.example.com "c" is forbidden: exceeded quota: q, requested: count/{NAME}=1, '
                f"used: count/{NAME}=2, limited: count/{NAME}=2"
            )
            await cluster.client.delete(WIDGETS, "a", "shop")
            await used("1")
            # The definition goes, and the quota counts again what comes after it.
            await cluster.client.delete(CUSTOM_RESOURCE_DEFINITIONS, NAME)
            await cluster.wait_gone(CUSTOM_RESOURCE_DEFINITIONS, NAME)
            await used("0")
            await prepared(cluster)
            await cluster.client.create(WIDGETS, widget("d"))
            await used("1")
            await cluster.client.delete(WIDGETS, "d", "shop")
            await used("0")

    run_virtually(main)
