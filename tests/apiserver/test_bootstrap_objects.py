"""What a fresh v1.36 server makes for itself: roles and bindings, flow control, API services, namespaces, priority classes.

``bootstrap.txt`` has a line an object: its kind, namespace, name and a digest of the rest as upstream's server makes it,
without what differs from server to server (uids, times, revisions, managers) and without status.
"""

import hashlib
import json
from pathlib import Path

import pytest

from pybernetes.apiserver.authz.bootstrap import reconcile

EXPECTED = Path(__file__).with_name("bootstrap.txt")
PATHS = {
    "apiservices": "/apis/apiregistration.k8s.io/v1",
    "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "flowschemas": "/apis/flowcontrol.apiserver.k8s.io/v1",
    "namespaces": "/api/v1",
    "priorityclasses": "/apis/scheduling.k8s.io/v1",
    "prioritylevelconfigurations": "/apis/flowcontrol.apiserver.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "services": "/api/v1",
}
OWN = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")


def line(resource, obj):
    metadata = {k: v for k, v in obj["metadata"].items() if k not in OWN}
    rest = {k: v for k, v in obj.items() if k not in ("status", "kind", "apiVersion")} | {"metadata": metadata}
    for port in (rest.get("spec") or {}).get("ports") or () if resource == "services" else ():
        port["targetPort"] = 0  # the port that the server listens on
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:32]
    return " ".join([resource, metadata.get("namespace") or "-", metadata["name"], digest])


@pytest.mark.parametrize("resource", PATHS)
async def test_a_fresh_server_has_what_upstreams_has(client, resource):
    await reconcile(client.request)  # as a server does that authorizes by roles
    found = await client.request("GET", f"{PATHS[resource]}/{resource}")
    lines = sorted(line(resource, obj) for obj in found["items"])
    expected = [text for text in EXPECTED.read_text().splitlines() if text.split()[0] == resource]
    assert expected and lines == expected
