"""Controllers know what servers behind serve: a namespace does not go before its aggregated objects, and waits for their server."""

from pybernetes.api.resources import API_SERVICES, GVR, NAMESPACES, SERVICES
from pybernetes.testing import start_cluster
from pybernetes.testing.cluster import default_options

from .conftest import GROUP, SERVICE, VERSION, api_service

CATS = GVR(GROUP, VERSION, "cats")
NAME = f"{VERSION}.{GROUP}"


def available(wanted):
    def holds(service):
        conditions = (service.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Available" and c["status"] == wanted for c in conditions)

    return holds


def condition(kind, wanted):
    def holds(namespace):
        return any(c["type"] == kind and c["status"] == wanted for c in namespace["status"].get("conditions") or ())

    return holds


async def test_a_namespace_goes_with_its_aggregated_objects(cats, config, pki):
    options = default_options("token")
    options.server.proxy_certificate = config.proxy_certificate
    async with start_cluster(
        nodes=0, controllers=("namespace-controller",), options=options, schedule=False
    ) as cluster:
        client = cluster.client
        await client.create(SERVICES, SERVICE)
        await client.create(API_SERVICES, api_service(pki, cats.port))
        await cluster.wait_for(API_SERVICES, NAME, available("True"))
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "doomed"}})
        await client.create(CATS, {"metadata": {"name": "tom", "namespace": "doomed"}})
        await client.delete(NAMESPACES, "doomed")
        await cluster.wait_gone(NAMESPACES, "doomed")
        assert cats.cats == {}
        deletions = [r.path for r in cats.requests if r.method == "DELETE"]
        assert deletions == [f"{CATS.path}/namespaces/doomed/cats"]


async def test_a_namespace_waits_for_a_server_that_does_not_answer(cats, config, pki):
    options = default_options("token")
    options.server.proxy_certificate = config.proxy_certificate
    async with start_cluster(
        nodes=0, controllers=("namespace-controller",), options=options, schedule=False
    ) as cluster:
        client = cluster.client
        await client.create(API_SERVICES, api_service(pki, cats.port))
        await cluster.wait_for(API_SERVICES, NAME, available("False"))
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "doomed"}})
        await client.delete(NAMESPACES, "doomed")
        failed = condition("NamespaceDeletionDiscoveryFailure", "True")
        namespace = await cluster.wait_for(NAMESPACES, "doomed", failed)
        (why,) = [c for c in namespace["status"]["conditions"] if c["type"] == "NamespaceDeletionDiscoveryFailure"]
        assert f"{GROUP}/{VERSION}" in why["message"]
        await client.create(SERVICES, SERVICE)
        await cluster.wait_gone(NAMESPACES, "doomed", timeout=60)
