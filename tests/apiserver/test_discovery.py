"""What a default v1.36 server serves: every group, version, resource, verb, short name, category and subresource, in order.

``discovery.txt`` has a line a resource, as a fresh upstream server answers aggregated discovery.
"""

from pathlib import Path

from pybernetes.testing import start_cluster

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
EXPECTED = Path(__file__).with_name("discovery.txt")


def lines(document):
    for group in document["items"]:
        for version in group["versions"]:
            at = "/".join(filter(None, [group["metadata"].get("name", ""), version["version"]]))
            yield f"{at} {version.get('freshness', '')}"
            for resource in version["resources"]:
                yield " ".join(["  " + resource["resource"], *described(resource)])
                for sub in resource.get("subresources") or []:
                    yield " ".join([f"    /{sub['subresource']}", *described(sub)])


def described(found):
    kind = found.get("responseKind") or {}
    shown = [
        f"{kind.get('group', '')}/{kind.get('version', '')}/{kind.get('kind', '')}",
        ",".join(sorted(found["verbs"])),
    ]
    for name in ("scope", "singularResource"):
        if name in found:
            shown.append(found[name])
    for name in ("shortNames", "categories"):
        if found.get(name):
            shown.append(f"{name}={','.join(found[name])}")
    if found.get("acceptedTypes"):
        shown.append("accepts=" + ",".join(f"{t['group']}/{t['version']}/{t['kind']}" for t in found["acceptedTypes"]))
    return shown


async def test_everything_that_a_default_server_serves():
    async with start_cluster(nodes=0) as cluster:
        documents = [await cluster.client.request("GET", path, accept=AGGREGATED) for path in ("/api", "/apis")]
    assert [line for document in documents for line in lines(document)] == EXPECTED.read_text().splitlines()
