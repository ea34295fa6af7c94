"""The short way of plain reads gives what the long way gives."""

import asyncio

import pytest

from pybernetes.api.resources import CONFIG_MAPS
from pybernetes.apiserver.server import ServerConfig
from pybernetes.client.rest import Client
from pybernetes.client.transport import HttpTransport
from pybernetes.hooks.authorization import Decision, Verdict
from pybernetes.hooks.identity import UserInfo

from .test_http import listening

PATHS = [
    "/api/v1/namespaces/default/configmaps/a",
    "/api/v1/namespaces/default/configmaps/a?resourceVersion=0",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/configmaps",
    "/api/v1/namespaces/default",
    "/api/v1/namespaces",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
    "/api/v1/namespaces/default/configmaps/missing",
    "/api/v1/configmaps/a",
    "/api/v1/namespaces/default/nodes",
    "/api/v1/namespaces/default/configmaps/",
    "/apis/apps",
    "/api",
]


async def test_both_ways_give_the_same():
    async with listening() as front:
        client = Client(HttpTransport("127.0.0.1", front.port))
        for name in ("a", "b"):
            await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
        for path in PATHS:
            answers = []
            for express in (None, front.server.express):
                front.express = express
                for _ in range(3):
                    response = await client.transport.send(
                        client._build("GET", path, None, None, "", "application/json")
                    )
                    marks = [response.headers[f"x-kubernetes-pf-{m}-uid"] for m in ("flowschema", "prioritylevel")]
                    answers.append((response.status, response.headers["content-type"], marks, await response.read()))
            assert all(a == answers[0] for a in answers), path
        assert front.server.requests.quick > len(PATHS)
        client.transport.close()


class Fickle:
    def __init__(self):
        self.allow = True

    async def authorize(self, attributes):
        await asyncio.sleep(0) if attributes.name == "slow" else None
        return Verdict(Decision.ALLOW if self.allow else Decision.NO_OPINION)


class Someone:
    async def authenticate(self, credentials):
        return UserInfo("someone")


async def test_every_read_is_authorized():
    authorizer = Fickle()
    async with listening(ServerConfig(authorizer=authorizer, authenticators=[Someone()])) as front:
        client = Client(HttpTransport("127.0.0.1", front.port))
        await client.create(CONFIG_MAPS, {"metadata": {"name": "slow", "namespace": "default"}})
        for name in ("kube-root", "slow"):
            path = f"/api/v1/namespaces/default/configmaps/{name}"
            if name != "slow":
                await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
            for allow in (True, True, False, True, False):
                authorizer.allow = allow
                if allow:
                    assert (await client.request("GET", path))["metadata"]["name"] == name
                else:
                    with pytest.raises(Exception, match="cannot get resource"):
                        await client.request("GET", path)
        client.transport.close()
