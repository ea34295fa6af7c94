"""Reviews as clients send them: whoami, can-i, can-i --list, and the questions that webhooks and kubelets ask."""

import orjson
import pytest
from auth_support import FakeReader, FixedClock, account, obj, user

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR
from pybernetes.apiserver import authn, authz
from pybernetes.apiserver.authn import jwt
from pybernetes.apiserver.authn.issuer import TokenIssuer
from pybernetes.apiserver.request import Request, RequestInfo
from pybernetes.apiserver.reviews import Reviews
from pybernetes.client import signing

SIGNER = jwt.Signer(signing.new_key())
RULES = [
    {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
]
GROUPS = {"tokenreviews": "authentication.k8s.io", "selfsubjectreviews": "authentication.k8s.io"}


class World:
    def __init__(self):
        binding = obj("b", roleRef={"kind": "ClusterRole", "name": "r"}, subjects=[{"kind": "User", "name": "alice"}])
        self.reader = FakeReader(account(), (CLUSTER_ROLES, obj("r", rules=RULES)), (CLUSTER_ROLE_BINDINGS, binding))
        clock = FixedClock()
        options = authn.AuthenticationOptions(service_account_keys=[SIGNER.verification_key])
        self.issuer = TokenIssuer(SIGNER, authn.DEFAULT_ISSUER, options.audiences, self.reader, clock)
        self.reviews = Reviews(
            authn.build(options, self.reader, clock),
            authz.build(authz.AuthorizationOptions(), self.reader, clock),
            clock,
            self.issuer,
        )

    async def post(self, resource, body, who=None, namespace="", name="", subresource=""):
        group = GROUPS.get(resource, "authorization.k8s.io")
        info = RequestInfo(True, "create", "/", group, "v1", resource, subresource, namespace, name)
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        request = Request(
            "POST", "/", body=raw, headers={"content-type": "application/json"}, info=info, user=who or user("alice")
        )
        handler = (
            self.reviews.subresources()[resource, subresource]
            if subresource
            else self.reviews.resources()[GVR(group, "v1", resource)]
        )
        response = await handler(request)
        assert response.status == 201
        return orjson.loads(response.body)

    async def refused(self, *args, **options):
        with pytest.raises(StatusError) as caught:
            await self.post(*args, **options)
        return caught.value


@pytest.fixture
def world():
    return World()


def resource(**attributes):
    return {"spec": {"resourceAttributes": attributes}}


async def test_whoami(world):
    who = user("alice", "dev", **{"a.b/c": ("1",)})
    answer = await world.post(
        "selfsubjectreviews", {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}, who
    )
    assert answer["status"] == {"userInfo": {"username": "alice", "groups": ["dev"], "extra": {"a.b/c": ["1"]}}}
    assert answer["metadata"]["creationTimestamp"] == "2027-01-15T08:00:00Z"


async def test_can_i(world):
    answer = await world.post("selfsubjectaccessreviews", resource(verb="get", resource="pods", namespace="x"))
    assert answer["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "alice"',
    }
    answer = await world.post("selfsubjectaccessreviews", resource(verb="delete", resource="pods"))
    assert answer["status"] == {"allowed": False}
    answer = await world.post(
        "selfsubjectaccessreviews", {"spec": {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}}
    )
    assert answer["status"]["allowed"]


async def test_asking_about_others(world):
    spec = {"user": "alice", "groups": ["x"], "resourceAttributes": {"verb": "get", "resource": "pods"}}
    assert (await world.post("subjectaccessreviews", {"spec": spec}, user("bob")))["status"]["allowed"]
    spec["user"] = "bob"
    assert not (await world.post("subjectaccessreviews", {"spec": spec}, user("alice")))["status"]["allowed"]


async def test_local_reviews(world):
    spec = {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "ns"}}
    assert (await world.post("localsubjectaccessreviews", {"spec": spec}, namespace="ns"))["status"]["allowed"]
    failure = await world.refused("localsubjectaccessreviews", {"spec": spec}, namespace="other")
    assert failure.code == 422 and "must match metadata.namespace" in failure.message


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("selfsubjectaccessreviews", {"spec": {}}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ("selfsubjectaccessreviews", {"spec": {"resourceAttributes": {}, "nonResourceAttributes": {}}}, "cannot be specified in combination with resourceAttributes"),
        ("subjectaccessreviews", resource(verb="get"), "at least one of user or group must be specified"),
        ("selfsubjectaccessreviews", {"metadata": {"name": "x"}, **resource(verb="get")}, "must be empty"),
        ("selfsubjectaccessreviews", resource(fieldSelector={}), "requirements or rawSelector is required"),
    ],
)  # fmt: skip
async def test_reviews_that_make_no_sense(world, kind, body, message):
    failure = await world.refused(kind, body)
    assert failure.code == 422 and message in failure.message


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"5", b"{", b'{"spec": 5}', b'{"spec": {"resourceAttributes": []}}', b'{"kind": "Pod"}']
)
async def test_garbage_is_the_clients_fault(world, body):
    assert (await world.refused("selfsubjectaccessreviews", body)).code in (400, 422)


async def test_selectors_that_cannot_be_read_do_not_narrow(world):
    answer = await world.post(
        "selfsubjectaccessreviews", resource(verb="get", resource="pods", labelSelector={"rawSelector": "a in"})
    )
    assert answer["status"]["allowed"] and "ignored due to parse error" in answer["status"]["evaluationError"]


async def test_can_i_list(world):
    status = (await world.post("selfsubjectrulesreviews", {"spec": {"namespace": "ns"}}))["status"]
    assert status == {
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
        "incomplete": False,
    }
    status = (
        await world.post(
            "selfsubjectrulesreviews", {"spec": {"namespace": "ns"}}, user("system:node:n", "system:nodes")
        )
    )["status"]
    assert status["incomplete"] and status["evaluationError"] == "node authorizer does not support user rule resolution"
    assert (await world.refused("selfsubjectrulesreviews", {"spec": {}})).message == "no namespace on request"


async def test_token_review(world):
    token = world.issuer.create("ns", "default", {})["status"]["token"]
    status = (await world.post("tokenreviews", {"spec": {"token": token}}))["status"]
    assert status["authenticated"] and status["audiences"] == [authn.DEFAULT_ISSUER]
    assert status["user"]["username"] == "system:serviceaccount:ns:default"
    assert status["user"]["groups"] == ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
    status = (await world.post("tokenreviews", {"spec": {"token": token, "audiences": ["vault"]}}))["status"]
    assert "authenticated" not in status and "is invalid for the target audiences" in status["error"]
    status = (await world.post("tokenreviews", {"spec": {"token": "wrong"}}))["status"]
    assert status == {"user": {}, "error": "invalid bearer token"}
    assert (
        await world.refused("tokenreviews", {"spec": {}})
    ).message == "token is required for TokenReview in authentication"


async def test_token_request(world):
    async def post(spec):
        return await world.post("serviceaccounts", {"spec": spec}, namespace="ns", name="default", subresource="token")

    answer = await post({"audiences": ["vault"], "expirationSeconds": 600})
    assert answer["kind"] == "TokenRequest" and answer["status"]["token"].count(".") == 2
    seen = []

    async def refuse(attributes):
        seen.append((attributes.subresource, attributes.name, attributes.object["spec"].get("audiences")))
        raise StatusError(403, "Forbidden", "no")

    world.reviews.admission = refuse
    with pytest.raises(StatusError):
        await post({})
    assert seen == [("token", "default", None)]
