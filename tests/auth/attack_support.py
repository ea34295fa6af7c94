"""A whole API server behind a socket, with everything configured that decides who may do what, and its audit log."""

import asyncio
import random
from contextlib import asynccontextmanager

import orjson

from pybernetes.apiserver import authn
from pybernetes.apiserver.authn.certificates import RequestHeaderNames
from pybernetes.apiserver.authn.jwt import Signer
from pybernetes.apiserver.composition import AuditOptions, Options, compose
from pybernetes.apiserver.http import HttpServer
from pybernetes.apiserver.request import Request
from pybernetes.client import signing
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK, Credentials, UserInfo
from pybernetes.storage.memory import MemoryStore

CLOCK = RealClock()
NOW = CLOCK.now()
CA = signing.new_authority("kubernetes", now=NOW - 1000, lifetime=86400)
FRONT_CA = signing.new_authority("front-proxy-ca", now=NOW - 1000, lifetime=86400)
KEY = signing.new_key()
USERS = ("alice", "bob", "root", "watcher", "namer", "impersonator", "prober")
TOKENS = "".join(f"token-of-{name},{name},uid-{name}{',system:masters' if name == 'root' else ''}\n" for name in USERS)
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\nomitStages: [RequestReceived]\n"


GET_PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
SECRET = {"metadata": {"name": "jewels"}, "stringData": {"a": "b"}}
POD = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "x"}]}}


class Attacked:
    """A server, connections to it, and what it has recorded."""

    def __init__(self, server, front, socket, log):
        self.server, self.front, self.socket, self.log = server, front, socket, log

    async def setup(self, method, path, body=None):
        """As the cluster's master."""
        headers = {"content-type": "application/json"}
        raw = orjson.dumps(body) if body is not None else b""
        response = await self.server.handle(
            Request(method, path, "", headers, raw, Credentials(headers), user=LOOPBACK)
        )
        assert response.status < 300, response.whole
        return orjson.loads(response.whole)

    async def grant(self, user, rules, namespace=""):
        role, binding = ("Role", "RoleBinding") if namespace else ("ClusterRole", "ClusterRoleBinding")
        base = "/apis/rbac.authorization.k8s.io/v1" + (f"/namespaces/{namespace}" if namespace else "")
        name = f"r{len(self.server.objects.list(_gvr(role)))}"
        await self.setup("POST", f"{base}/{role.lower()}s", {"metadata": {"name": name}, "rules": rules})
        subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        reference = {"kind": role, "name": name, "apiGroup": "rbac.authorization.k8s.io"}
        body = {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference}
        await self.setup("POST", f"{base}/{binding.lower()}s", body)

    async def raw(self, *requests):
        """(status, body) of each of the requests, sent one after the other on one connection."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        answers = []
        for request in requests:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            length = next((int(h[16:]) for h in head.split("\r\n") if h.lower().startswith("content-length: ")), 0)
            answers.append((status, await reader.readexactly(length)))
        writer.close()
        return answers

    async def ask(self, user, method, target, body=None, **headers):
        """(status, message or object)"""
        [(status, data)] = await self.raw(request(user, method, target, body, **headers))
        try:
            answer = orjson.loads(data)
        except orjson.JSONDecodeError:
            return status, data.decode()
        return status, answer.get("message", "") if answer.get("kind") == "Status" else answer

    async def as_certified(self, certificate, method, target, headers=None, intermediates=()):
        """The status for a request over a connection with a client certificate (DER)."""
        headers = headers or {}
        path, _, query = target.partition("?")
        asked = Request(
            method, path, query, headers, b"", Credentials(headers, certificate, intermediates=intermediates)
        )
        response = await self.server.handle(asked)
        return response.status, orjson.loads(response.whole)

    def lines(self):
        """The audit log."""
        return self.log.read_bytes().splitlines() if self.log.exists() else []

    def record(self):
        """The newest audit record."""
        return orjson.loads(self.lines()[-1])

    @staticmethod
    def request_of(user):
        """One that has been authenticated."""
        headers = {"authorization": f"Bearer token-of-{user}"}
        return Request("GET", "/", "", headers, b"", Credentials(headers), user=UserInfo(user))


def _gvr(kind):
    from pybernetes.api.resources import GVR

    return GVR("rbac.authorization.k8s.io", "v1", f"{kind.lower()}s")


def request(user, method, target, body=None, **headers):
    data = orjson.dumps(body) if body is not None else b""
    lines = [f"{method} {target} HTTP/1.1", "Host: api", f"Content-Length: {len(data)}"]
    if user:
        lines.append(f"Authorization: Bearer token-of-{user}")
    if body is not None:
        lines.append(f"Content-Type: {headers.pop('content_type', 'application/json')}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


@asynccontextmanager
async def attacked_server(tmp_path, policy=POLICY, **more):
    (tmp_path / "tokens.csv").write_text(TOKENS)
    (tmp_path / "policy.yaml").write_text(policy)
    options = Options(signing_key=signing.key_to_pem(KEY))
    options.authentication = authn.AuthenticationOptions(
        client_ca=CA.pem,
        request_header_ca=FRONT_CA.pem,
        request_header_allowed_names=("front-proxy-client",),
        request_header_names=RequestHeaderNames(),
        token_file=str(tmp_path / "tokens.csv"),
        service_account_keys=[Signer(KEY).verification_key],
    )
    options.audit = AuditOptions(
        policy_file=str(tmp_path / "policy.yaml"), log_path=str(tmp_path / "audit.log"), mode="blocking"
    )
    for name, value in more.items():
        setattr(options, name, value)
    server = compose(MemoryStore(CLOCK), CLOCK, random.Random(3), options)
    await server.start()
    started = asyncio.Event()
    socket = str(tmp_path / "api.sock")
    loop = asyncio.get_running_loop()
    front = HttpServer(server, CLOCK)
    tasks = [
        loop.create_task(server.run()),
        loop.create_task(front.run("", unix_path=socket, started=started)),
    ]
    await started.wait()
    try:
        yield Attacked(server, front, socket, tmp_path / "audit.log")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def refused(attacked, user, method, target, words="", code=403, body=None, **headers):
    status, message = await attacked.ask(user, method, target, body, **headers)
    assert (status, words in message) == (code, True), message
    record = attacked.record()
    assert record["responseStatus"]["code"] == code
    assert record["requestURI"] == target
    if code == 403 and "Upgrade" not in headers:
        assert record.get("annotations", {}).get("authorization.k8s.io/decision") != "allow"
    return record
