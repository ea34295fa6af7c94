"""Attacks on a whole API server, as bytes on a connection: each is refused in upstream's words, and recorded."""

import asyncio
import hmac
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import orjson
import pytest
from attack_support import CA, FRONT_CA, GET_PODS, KEY, NOW, POD, SECRET, attacked_server, refused, request
from cryptography.hazmat.primitives.serialization import Encoding

from pybernetes.api.resources import PODS
from pybernetes.client import signing


@pytest.fixture
async def attacked(tmp_path):
    async with attacked_server(tmp_path) as found:
        yield found


# -- paths -------------------------------------------------------------------------------------------------------------


SPELLINGS = (
    "/api/v1/namespaces/default/secrets/jewels",
    "//api/v1/namespaces/default/secrets/jewels",
    "/api//v1/namespaces/default/secrets/jewels",
    "/api/v1//namespaces/default/secrets/jewels",
    "/api/v1/namespaces/default//secrets/jewels",
    "/api/v1/namespaces/default/secrets//jewels",
    "/api/v1/namespaces/default/secrets/jewels/",
    "/api/v1/namespaces/default/pods/../secrets/jewels",
    "/api/v1/namespaces/default/pods/%2e%2e/secrets/jewels",
    "/api/v1/namespaces/default/pods%2f..%2fsecrets%2fjewels",
    "/api/v1/namespaces%2fdefault%2fsecrets%2fjewels",
    "/api%2fv1%2fnamespaces%2fdefault%2fsecrets%2fjewels",
    "/%61pi/v1/namespaces/default/secrets/jewels",
    "/API/v1/namespaces/default/secrets/jewels",
    "/api/v1/namespaces/default/./secrets/jewels",
    "/api/v1/namespaces/default/secrets/%6aewels",
    "/api/v1/namespaces/default/secrets;pods/jewels",
    "/api/v1/namespaces/default/secrets%00/jewels",
    "/api/v1/watch/namespaces/default/secrets/jewels",
    "/healthz/../api/v1/namespaces/default/secrets/jewels",
    "/version/%2e%2e/api/v1/namespaces/default/secrets/jewels",
    "http://api/api/v1/namespaces/default/secrets/jewels",
    "/apis//v1/namespaces/default/secrets/jewels",
)


async def test_no_spelling_of_a_path_leads_to_what_is_forbidden(attacked):
    await attacked.setup("POST", "/api/v1/namespaces/default/secrets", SECRET)
    await attacked.grant("alice", GET_PODS)
    for target in SPELLINGS:
        status, answer = await attacked.ask("alice", "GET", target)
        assert status in (403, 404) and isinstance(answer, str), (target, answer)
        assert attacked.record()["responseStatus"]["code"] == status
        # The same spelling by one who may read everything leads to the object or to nothing, never to an error of ours.
        assert (await attacked.ask("root", "GET", target))[0] in (200, 400, 404, 405), target


async def test_a_role_in_a_namespace_reaches_nothing_outside_by_that_namespaces_path(attacked):
    await attacked.grant("alice", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}], "default")
    for kind, name in (("nodes", "n"), ("persistentvolumes", "v"), ("componentstatuses", "etcd-0")):
        for target in (f"/api/v1/namespaces/default/{kind}", f"/api/v1/namespaces/default/{kind}/{name}"):
            assert (await attacked.ask("alice", "GET", target))[0] == 404
    review = {"spec": {"user": "root", "resourceAttributes": {"verb": "get", "resource": "secrets"}}}
    target = "/apis/authorization.k8s.io/v1/namespaces/default/subjectaccessreviews"
    assert (await attacked.ask("alice", "POST", target, review))[0] == 404
    target = "/apis/authentication.k8s.io/v1/namespaces/default/tokenreviews"
    assert (await attacked.ask("alice", "POST", target, {"spec": {"token": "token-of-root"}}))[0] == 404
    await refused(attacked, "alice", "GET", "/api/v1/namespaces/default/../kube-system/pods", code=404)
    await refused(attacked, "alice", "GET", "/api/v1/namespaces/kube-system/pods", 'in the namespace "kube-system"')


async def test_the_watch_prefix_opens_no_other_verbs(attacked):
    """Asked about as `watch`, it must not do what the method or the subresource would do elsewhere."""
    await attacked.setup("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await attacked.setup("POST", "/api/v1/namespaces/default/pods", POD)
    await attacked.grant("watcher", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["watch", "get", "list"]}])
    pod = "/api/v1/watch/namespaces/default/pods/p"
    for method, target in (
        ("GET", f"{pod}/exec?command=id&container=c&stdout=1"),
        ("POST", f"{pod}/exec?command=id&container=c&stdout=1"),
        ("GET", f"{pod}/proxy/"),
        ("PUT", f"{pod}/status"),
        ("PATCH", f"{pod}/status"),
        ("POST", f"{pod}/eviction"),
        ("POST", "/api/v1/watch/namespaces/default/serviceaccounts/default/token"),
        ("PUT", "/apis/apps/v1/watch/namespaces/default/deployments/d/scale"),
    ):
        body = {} if method != "GET" else None
        assert (await attacked.ask("watcher", method, target, body))[0] == 404, (method, target)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await attacked.ask("watcher", method, pod, {}))[0] == 405
        assert (await attacked.ask("watcher", method, "/api/v1/watch/namespaces/default/pods", {}))[0] == 405
    assert (await attacked.setup("GET", "/api/v1/namespaces/default/pods/p"))["metadata"]["name"] == "p"


async def test_exec_over_a_websocket_needs_create(attacked):
    await attacked.setup("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await attacked.setup("POST", "/api/v1/namespaces/default/pods", POD)
    await attacked.grant("alice", [{"apiGroups": [""], "resources": ["pods", "pods/*"], "verbs": ["get"]}])
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec_WebSocket_Protocol": "v5.channel.k8s.io",
    }  # fmt: skip
    for sub, query in (("exec", "command=id&stdout=1"), ("attach", "stdout=1"), ("portforward", "ports=80")):
        target = f"/api/v1/namespaces/default/pods/p/{sub}?{query}"
        await refused(attacked, "alice", "GET", target, **upgrade)


# -- names -------------------------------------------------------------------------------------------------------------


async def test_lists_and_watches_stay_within_resource_names(attacked):
    await attacked.setup("POST", "/api/v1/namespaces/default/secrets", SECRET)
    await attacked.setup("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "mine"}})
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["*"]}
    await attacked.grant("namer", [rule], "default")
    base = "/api/v1/namespaces/default/secrets"
    status, found = await attacked.ask("namer", "GET", f"{base}?fieldSelector=metadata.name%3Dmine")
    assert status == 200 and [i["metadata"]["name"] for i in found["items"]] == ["mine"]
    for query in (
        "", "?watch=1", "?fieldSelector=metadata.name%3Djewels", "?fieldSelector=metadata.name!%3Dmine",
        "?fieldSelector=metadata.name%3Djewels&fieldSelector=metadata.name%3Dmine", "?labelSelector=metadata.name%3Dmine",
        "?fieldSelector=type%3Dmine", "?resourceNames=mine", "?fieldSelector=metadata.namespace%3Dmine",
    ):  # fmt: skip
        await refused(attacked, "namer", "GET", base + query, "cannot")
    for query in (
        "fieldSelector=metadata.name%3Dmine&fieldSelector=metadata.name%3Djewels",
        "fieldSelector=metadata.name%3Dmine%2Cmetadata.name%3Djewels",
    ):
        status, found = await attacked.ask("namer", "GET", f"{base}?{query}")
        assert (status, "jewels" in str(found)) in ((200, False), (400, True))
    await refused(attacked, "namer", "DELETE", f"{base}?fieldSelector=metadata.name%3Dmine", "cannot deletecollection")
    await refused(attacked, "namer", "GET", f"{base}/jewels", 'cannot get resource "secrets"')
    await refused(attacked, "namer", "POST", base, "cannot create", body={"metadata": {"name": "mine"}})


# -- identities --------------------------------------------------------------------------------------------------------


async def test_impersonation_takes_a_right_for_every_part(attacked):
    await attacked.grant(
        "impersonator",
        [{"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}],
    )
    await attacked.grant("bob", GET_PODS)
    await attacked.grant("bob", [{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}])
    pods = "/api/v1/namespaces/default/pods"
    status, _ = await attacked.ask("impersonator", "GET", pods, Impersonate_User="bob")
    record = attacked.record()
    assert status == 200 and record["user"]["username"] == "impersonator"
    assert record["impersonatedUser"]["username"] == "bob"
    # Whom one impersonates may impersonate others: that right is not handed on.
    await refused(attacked, "impersonator", "GET", pods, "cannot impersonate", Impersonate_User="root")
    twice = b"Impersonate-User: bob\r\nImpersonate-User: root\r\n"
    head = request("impersonator", "GET", pods).replace(b"Host: api\r\n", b"Host: api\r\n" + twice)
    [(status, _)] = await attacked.raw(head)
    assert (status, attacked.record().get("impersonatedUser", {}).get("username")) in ((200, "bob"), (403, None))
    masters = {"Impersonate_User": "bob", "Impersonate_Group": "system:masters"}
    await refused(attacked, "impersonator", "GET", pods, "cannot impersonate", **masters)
    extra = {"Impersonate_User": "bob", "Impersonate_Extra_Scopes": "all"}
    await refused(attacked, "impersonator", "GET", pods, "cannot impersonate", **extra)
    uid = {"Impersonate_User": "bob", "Impersonate_Uid": "x"}
    await refused(attacked, "impersonator", "GET", pods, "cannot impersonate", **uid)


@pytest.mark.parametrize("header", ["Impersonate_Group", "Impersonate_Uid", "Impersonate_Extra_Scopes"])
async def test_impersonating_no_user_is_an_error(attacked, header):
    status, message = await attacked.ask("root", "GET", "/api/v1/pods", **{header: "system:masters"})
    assert status in (400, 500) and "without impersonating a user" in message


async def test_front_proxy_headers_count_only_with_its_certificate(attacked):
    smuggled = {"X_Remote_User": "root", "X_Remote_Group": "system:masters", "X_Remote_Extra_A": "b"}
    status, message = await attacked.ask("", "GET", "/api/v1/secrets", **smuggled)
    assert status == 403 and 'User "system:anonymous" cannot list' in message
    status, message = await attacked.ask("alice", "GET", "/api/v1/secrets", **smuggled)
    assert status == 403 and 'User "alice" cannot list' in message
    assert attacked.record()["user"]["username"] == "alice"
    headers = {"x-remote-user": "root", "x-remote-group": "system:masters"}

    def certificate(authority, name, organizations=(), usages=signing.CLIENT_USAGES, now=NOW, lifetime=3600.0):
        pem, _ = signing.issue(authority, signing.Subject(name, organizations), usages, now=now, lifetime=lifetime)
        return signing.load_certificate(pem).public_bytes(Encoding.DER)

    good = certificate(FRONT_CA, "front-proxy-client")
    assert (await attacked.as_certified(good, "GET", "/api/v1/secrets", headers))[0] == 200
    for bad in (
        certificate(FRONT_CA, "somebody-else"),
        certificate(FRONT_CA, "front-proxy-client", usages=signing.SERVER_USAGES),
        certificate(FRONT_CA, "front-proxy-client", now=NOW - 900, lifetime=300.0),
        certificate(CA, "front-proxy-client"),
        certificate(signing.new_authority("front-proxy-ca", now=NOW, lifetime=3600), "front-proxy-client"),
    ):
        status, body = await attacked.as_certified(bad, "GET", "/api/v1/secrets", headers)
        assert status in (401, 403), body
        assert attacked.record()["responseStatus"]["code"] == status
        assert attacked.record().get("user", {}).get("username") != "root"
    foreign = signing.new_authority("kubernetes", now=NOW, lifetime=3600)
    for bad in (
        certificate(foreign, "root", ("system:masters",)),
        certificate(CA, "root", ("system:masters",), now=NOW - 900, lifetime=300.0),
        certificate(CA, "root", ("system:masters",), usages=signing.SERVER_USAGES),
        certificate(FRONT_CA, "root", ("system:masters",)),
        b"0garbage",
    ):
        status, body = await attacked.as_certified(bad, "GET", "/api/v1/secrets")
        assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")
        assert attacked.record()["responseStatus"]["code"] == 401


async def test_a_deleted_pods_token_ends_with_the_pod_on_open_connections_too(attacked):
    await attacked.setup("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    pod = await attacked.setup("POST", "/api/v1/namespaces/default/pods", POD)
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}
    made = await attacked.setup(
        "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"boundObjectRef": reference}}
    )
    await attacked.grant("system:serviceaccount:default:default", GET_PODS)
    await attacked.setup("POST", "/api/v1/namespaces/default/pods", {**POD, "metadata": {"name": "other"}})
    token = made["status"]["token"]
    once = f"GET /api/v1/namespaces/default/pods/other HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    reader, writer = await asyncio.open_unix_connection(attacked.socket)

    async def status():
        writer.write(once)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(h[16:]) for h in head.split("\r\n") if h.lower().startswith("content-length: "))
        await reader.readexactly(length)
        return int(head.split()[1])

    assert [await status() for _ in range(4)] == [200] * 4
    # On the way out the pod may still use it, and not a moment longer: not by the short way of an open connection either.
    assert (await attacked.ask("root", "DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0"))[0] == 200
    assert attacked.server.objects.get(PODS, "default", "p") is None
    assert await status() == 401
    assert (attacked.record()["responseStatus"]["code"], attacked.record()["user"]) == (401, {})
    writer.close()


async def test_tokens_that_are_none(attacked):
    account = "/api/v1/namespaces/default/serviceaccounts"
    await attacked.setup("POST", account, {"metadata": {"name": "default"}})
    made = await attacked.setup("POST", f"{account}/default/token", {"spec": {"audiences": ["vault"]}})
    wrong_audience = made["status"]["token"]
    head, payload, signature = wrong_audience.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    for token in (
        wrong_audience,
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{head}.{payload}.",
        "x",
        "a.b.c",
    ):
        raw = f"GET /api/v1/pods HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        [(status, data)] = await attacked.raw(raw)
        assert (status, orjson.loads(data)["reason"]) == (401, "Unauthorized")
        assert attacked.record()["responseStatus"]["code"] == 401


# -- escalation --------------------------------------------------------------------------------------------------------


async def test_nobody_grants_what_he_has_not(attacked):
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    everything = {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["*"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"],
    }
    await attacked.grant("alice", [everything])
    subject = {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}
    all_rights = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    role = {"metadata": {"name": "r"}, "rules": all_rights}
    admin = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": admin}
    aggregating = {
        "metadata": {"name": "g"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    }
    for path, body in (
        (f"{rbac}/clusterroles", role),
        (f"{rbac}/clusterroles", aggregating),
        (f"{rbac}/namespaces/default/roles", role),
        (f"{rbac}/clusterrolebindings", binding),
        (f"{rbac}/namespaces/kube-system/rolebindings", binding),
    ):
        status, message = await attacked.ask("alice", "POST", path, body)
        words = ("is attempting to grant RBAC permissions not currently held", "must have cluster-admin privileges")
        assert status == 403 and any(w in message for w in words), message
        record = attacked.record()
        assert (record["responseStatus"]["code"], record["user"]["username"]) == (403, "alice")
    # By changing what exists, in every way of changing.
    harmless = {"metadata": {"name": "mine"}, "rules": []}
    assert (await attacked.ask("alice", "POST", f"{rbac}/clusterroles", harmless))[0] == 201
    target = f"{rbac}/clusterroles/mine"
    assert (await attacked.ask("alice", "PUT", target, {**harmless, "rules": all_rights}))[0] == 403
    for form in ("merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"):
        body = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "mine"},
            "rules": all_rights,
        }
        data = orjson.dumps(body)
        force = "&force=true" if form.startswith("apply") else ""
        lines = (
            f"PATCH {target}?fieldManager=x{force} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer token-of-alice\r\n"
        )
        lines += f"Content-Type: application/{form}\r\nContent-Length: {len(data)}\r\n\r\n"
        [(status, _)] = await attacked.raw(lines.encode() + data)
        assert status == 403, form
        assert attacked.record()["responseStatus"]["code"] == 403
    data = orjson.dumps([{"op": "add", "path": "/rules", "value": all_rights}])
    lines = f"PATCH {target} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer token-of-alice\r\n"
    lines += f"Content-Type: application/json-patch+json\r\nContent-Length: {len(data)}\r\n\r\n"
    [(status, answer)] = await attacked.raw(lines.encode() + data)
    assert (status, b"is attempting to grant RBAC permissions not currently held" in answer) == (403, True)
    missing = {**binding, "roleRef": {**admin, "name": "is-made-later"}}
    assert (await attacked.ask("alice", "POST", f"{rbac}/clusterrolebindings", missing))[0] in (403, 404)


async def test_a_kubelet_reaches_no_other_nodes_secrets(attacked):
    await attacked.setup("POST", "/api/v1/namespaces/default/secrets", SECRET)
    await attacked.setup("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {**POD["spec"], "nodeName": "n2", "volumes": [{"name": "v", "secret": {"secretName": "jewels"}}]}
    await attacked.setup("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, "spec": spec})

    def kubelet(node):
        subject = signing.Subject(f"system:node:{node}", ("system:nodes",))
        pem, _ = signing.issue(CA, subject, signing.CLIENT_USAGES, now=NOW, lifetime=3600.0)
        return signing.load_certificate(pem).public_bytes(Encoding.DER)

    secret = "/api/v1/namespaces/default/secrets/jewels"
    assert (await attacked.as_certified(kubelet("n2"), "GET", secret))[0] == 200
    status, body = await attacked.as_certified(kubelet("n1"), "GET", secret)
    assert status == 403 and "no relationship found between node 'n1' and this object" in body["message"]
    watch = "/api/v1/namespaces/default/secrets?watch=1&fieldSelector=" + quote("metadata.name=jewels")
    assert (await attacked.as_certified(kubelet("n1"), "GET", watch))[0] == 403
    record = attacked.record()
    assert (record["user"]["username"], record["responseStatus"]["code"]) == ("system:node:n1", 403)
    assert (await attacked.as_certified(kubelet("n1"), "GET", "/api/v1/namespaces/default/secrets"))[0] == 403
    assert (await attacked.as_certified(kubelet("n1"), "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2"))[
        0
    ] == 403
    assert (await attacked.as_certified(kubelet("n1"), "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"))[
        0
    ] == 200
    token = "/api/v1/namespaces/default/serviceaccounts/default/token"
    assert (await attacked.as_certified(kubelet("n1"), "POST", token))[0] == 403
    assert attacked.record()["user"]["username"] == "system:node:n1"


# -- records -----------------------------------------------------------------------------------------------------------


async def test_a_refused_creation_is_recorded_with_the_name_that_was_wanted(attacked):
    rule = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["create"]}
    await attacked.grant("alice", [rule])
    body = {"metadata": {"name": "mighty"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    assert (await attacked.ask("bob", "POST", roles, body))[0] == 403
    assert "name" not in attacked.record()["objectRef"]  # nobody reads the body of one who may not write at all
    body["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    assert (await attacked.ask("alice", "POST", roles, body))[0] == 403
    assert attacked.record()["objectRef"]["name"] == "mighty"


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(attacked):
    """Key confusion: the verifier must not take a public key for a shared secret."""
    account = "/api/v1/namespaces/default/serviceaccounts"
    await attacked.setup("POST", account, {"metadata": {"name": "default"}})
    made = await attacked.setup("POST", f"{account}/default/token", {"spec": {}})
    _, payload, _ = made["status"]["token"].split(".")
    for secret in (signing.public_key_to_pem(KEY), signing.public_key_to_pem(KEY).strip(), b""):
        for algorithm in ("HS256", "HS512", "hs256"):
            head = urlsafe_b64encode(orjson.dumps({"alg": algorithm, "typ": "JWT"})).decode().rstrip("=")
            digest = "sha512" if algorithm == "HS512" else "sha256"
            mac = hmac.digest(secret, f"{head}.{payload}".encode(), digest)
            token = f"{head}.{payload}.{urlsafe_b64encode(mac).decode().rstrip('=')}"
            raw = f"GET /api/v1/pods HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            [(status, data)] = await attacked.raw(raw)
            assert (status, orjson.loads(data)["message"]) == (401, "Unauthorized")
            assert attacked.record()["responseStatus"]["code"] == 401
            assert attacked.record()["user"] == {}


async def test_rights_to_make_tokens_or_to_approve_are_no_rights_to_be_somebody(attacked):
    """Further routes up: tokens of other accounts, certificates of masters, impersonated groups."""
    for namespace in ("default", "kube-system"):
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        await attacked.setup("POST", account, {"metadata": {"name": "robot"}})
    await attacked.grant("alice", [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["*"]}], "default")
    token = "/api/v1/namespaces/{}/serviceaccounts/robot/token"
    await refused(attacked, "alice", "POST", token.format("default"), "serviceaccounts/token", body={"spec": {}})
    await refused(attacked, "alice", "POST", token.format("kube-system"), "serviceaccounts/token", body={"spec": {}})
    request_ = signing.new_request(signing.new_key(), signing.Subject("root", ("system:masters",)))
    spec = {
        "request": b64encode(request_).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth", "digital signature"],
    }
    csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    rule = {"apiGroups": ["certificates.k8s.io"], "verbs": ["*"]}
    names = ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"]
    await attacked.grant("alice", [{**rule, "resources": names}])
    status, message = await attacked.ask("alice", "POST", csrs, {"metadata": {"name": "up"}, "spec": spec})
    assert status == 403 and "use of kubernetes.io/kube-apiserver-client signer with system:masters group" in message
    spec["request"] = b64encode(signing.new_request(signing.new_key(), signing.Subject("root"))).decode()
    status, made = await attacked.ask("alice", "POST", csrs, {"metadata": {"name": "up"}, "spec": spec})
    assert status == 201 and made["spec"]["username"] == "alice"
    condition = {"type": "Approved", "status": "True", "reason": "x", "message": "y"}
    body = {**made, "status": {"conditions": [condition]}}
    words = 'user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"'
    await refused_by_admission(attacked, "alice", "PUT", f"{csrs}/up/approval", words, body)
    body = {**made, "status": {"certificate": b64encode(CA.pem).decode()}}
    words = 'user not permitted to sign requests with signerName "kubernetes.io/kube-apiserver-client"'
    await refused_by_admission(attacked, "alice", "PUT", f"{csrs}/up/status", words, body)


async def refused_by_admission(attacked, user, method, target, words, body):
    """The authorizer allowed it, so the record says that; the answer and its record are a 403."""
    status, message = await attacked.ask(user, method, target, body)
    assert (status, words in message) == (403, True), message
    record = attacked.record()
    assert (record["responseStatus"]["code"], record["user"]["username"]) == (403, user)
