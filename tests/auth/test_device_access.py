"""Claims for devices: who gets access as an administrator, and who may write which part of a claim's status."""

import pytest
from attack_support import attacked_server

BASE = "/apis/resource.k8s.io/v1/namespaces/default"
GROUP = "resource.k8s.io"
ADMIN = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": True}}]}}
PLAIN = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
NEEDED = (
    "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
)
RESULT = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "dev"}
STATUS = [{"apiGroups": [GROUP], "resources": ["resourceclaims/status"], "verbs": ["get", "update", "patch"]}]
MERGE = {"content_type": "application/merge-patch+json"}


@pytest.fixture
async def attacked(tmp_path):
    async with attacked_server(tmp_path) as found:
        yield found


async def patch(attacked, user, status):
    return await attacked.ask(user, "PATCH", f"{BASE}/resourceclaims/c/status", {"status": status}, **MERGE)


async def test_admin_access_needs_the_label_of_the_namespace(attacked):
    claim = {"metadata": {"name": "c"}, "spec": ADMIN}
    template = {"metadata": {"name": "t"}, "spec": {"spec": ADMIN}}
    for resource, body, path in (
        ("resourceclaims", claim, "spec.devices.requests[0].adminAccess"),
        ("resourceclaimtemplates", template, "spec.devices.requests[0].adminAccess"),
    ):
        status, message = await attacked.ask("root", "POST", f"{BASE}/{resource}", body)
        assert status == 422 and message.endswith(f"is invalid: {path}: Forbidden: {NEEDED}"), message
    labels = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
    assert (await attacked.ask("root", "PATCH", "/api/v1/namespaces/default", labels, **MERGE))[0] == 200
    assert (await attacked.ask("root", "POST", f"{BASE}/resourceclaims", claim))[0] == 201
    assert (await attacked.ask("root", "POST", f"{BASE}/resourceclaimtemplates", template))[0] == 201


async def test_the_parts_of_a_status_have_owners(attacked):
    await attacked.setup("POST", f"{BASE}/resourceclaims", {"metadata": {"name": "c"}, "spec": PLAIN})
    for user in ("alice", "bob"):
        await attacked.grant(user, STATUS)
    allocation = {"allocation": {"devices": {"results": [RESULT]}}}
    status, message = await patch(attacked, "alice", allocation)
    assert status == 422
    assert (
        'status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding"'
        ', verb="patch" permission: resourceclaims.resource.k8s.io is forbidden: User "alice" cannot patch resource '
        '"resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope'
    ) in message, message
    await attacked.grant("alice", [{"apiGroups": [GROUP], "resources": ["resourceclaims/binding"], "verbs": ["patch"]}])
    assert (await patch(attacked, "alice", allocation))[0] == 200

    devices = {"devices": [{k: v for k, v in RESULT.items() if k != "request"}]}
    status, message = await patch(attacked, "bob", devices)
    assert status == 422
    assert (
        'status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", '
        'verb="[arbitrary-node:patch]" permission: resourceclaims.resource.k8s.io "d.example.com" is forbidden: User "bob" '
        'cannot arbitrary-node:patch resource "resourceclaims/driver"'
    ) in message, message
    rule = {"apiGroups": [GROUP], "resources": ["resourceclaims/driver"], "resourceNames": ["d.example.com"]}
    await attacked.grant("bob", [{**rule, "verbs": ["arbitrary-node:patch"]}])
    assert (await patch(attacked, "bob", devices))[0] == 200
