"""``--authentication-token-webhook-*``: what another service is asked about tokens, and what its answers mean."""

import asyncio
import random

import orjson
import pytest
from attack_support import attacked_server
from auth_support import NOW, FixedClock
from click.testing import CliRunner

from pybernetes.api.errors import StatusError, internal_error
from pybernetes.apiserver import authn
from pybernetes.apiserver.authn.jwt import TokenError
from pybernetes.apiserver.authn.webhook import WebhookTokens, webhook_tokens
from pybernetes.apiserver.command import apiserver
from pybernetes.apiserver.outcalls import Outcall
from pybernetes.client.transport import TransportError
from pybernetes.concurrency import VirtualClock, virtual_event_loop

API = ("https://kubernetes.default.svc",)
USER = {"username": "jane", "uid": "u1", "groups": ["a", "b"], "extra": {"k": ["v"]}}
YES = {"authenticated": True, "user": USER}


class Service:
    def __init__(self, *answers):
        self.answers, self.asked, self.transport = list(answers), [], self

    async def request(self, method, path, body, *, timeout):
        self.asked.append((path, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict) and "kind" not in answer:
            return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": answer}
        return answer


def tokens(*answers, clock=None, version="v1", ttl=120.0):
    service, clock = Service(*answers), clock or FixedClock()
    call = Outcall(service, "/authenticate", clock, random.Random(1))
    return WebhookTokens(call, clock, API, version=version, ttl=ttl), service


async def test_a_user_and_what_was_asked():
    made, service = tokens(YES)
    found = await made.authenticate_token("secret", API)
    assert (found.user.name, found.user.uid, found.user.groups) == ("jane", "u1", ("a", "b"))
    assert (found.user.extra, found.audiences, found.expires) == ({"k": ("v",)}, API, NOW + 120)
    spec = {"token": "secret", "audiences": list(API)}
    assert service.asked == [
        ("/authenticate", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})
    ]
    made, service = tokens(YES, version="v1beta1")
    await made.authenticate_token("x", ())
    assert service.asked[0][1] == {
        "apiVersion": "authentication.k8s.io/v1beta1",
        "kind": "TokenReview",
        "spec": {"token": "x"},
    }


@pytest.mark.parametrize(
    ("said", "wanted", "agreed"),
    [
        ([], API, API),
        (["other"], ("other", "third"), ("other",)),
        (["other"], API, None),
        ([], ("other",), None),
        (["any"], (), ()),
    ],
)
async def test_audiences(said, wanted, agreed):
    made, _ = tokens({**YES, "audiences": said})
    found = await made.authenticate_token("x", wanted)
    assert (found.audiences if found else None) == agreed


@pytest.mark.parametrize("status", [{}, {"authenticated": False}, {"authenticated": False, "user": USER}])
async def test_a_no(status):
    made, _ = tokens(status)
    assert await made.authenticate_token("x", API) is None


async def test_a_no_with_a_reason_and_a_user_without_anything():
    made, _ = tokens({"authenticated": False, "error": "expired yesterday"})
    for _ in range(2):
        with pytest.raises(TokenError, match="expired yesterday"):
            await made.authenticate_token("x", API)
    made, _ = tokens({"authenticated": True, "user": {"username": "bob", "groups": None, "extra": None}})
    assert (await made.authenticate_token("x", API)).user.groups == ()


@pytest.mark.parametrize(
    "answer",
    [
        "text",
        {"kind": "Status"},
        {"kind": "TokenReview", "apiVersion": "example.com/v1"},
        {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": 5},
        {"authenticated": "yes"},
        {"authenticated": True, "user": "root"},
        {"authenticated": True, "user": {"username": 5}},
        {"authenticated": True, "user": {"username": "a", "groups": "system:masters"}},
        {"authenticated": True, "user": {"username": "a", "groups": [5]}},
        {"authenticated": True, "user": {"username": "a", "extra": {"k": "v"}}},
        {"authenticated": True, "user": {"username": "a", "extra": ["k"]}},
        {"authenticated": True, "user": USER, "audiences": "x"},
        TimeoutError(),
        TransportError("dial tcp", sent=False),
        StatusError(403, "Forbidden", "go away"),
    ],
)
async def test_answers_that_are_none_let_nobody_in_and_are_not_remembered(answer):
    made, service = tokens(answer, YES)
    with pytest.raises(TokenError):
        await made.authenticate_token("x", API)
    assert (await made.authenticate_token("x", API)).user.name == "jane"
    assert len(service.asked) == 2


async def test_answers_are_remembered_as_long_as_configured():
    clock = FixedClock()
    made, service = tokens(YES, {}, {}, YES, clock=clock, ttl=100.0)
    for _ in range(3):
        assert await made.authenticate_token("whole-secret", API)
    assert await made.authenticate_token("y", API) is None
    assert await made.authenticate_token("y", API) is None
    assert len(service.asked) == 2
    assert b"whole-secret" not in b"".join(key for key, _ in made._known), "tokens are not kept"
    clock.time += 101
    assert await made.authenticate_token("whole-secret", API) is None
    assert await made.authenticate_token("whole-secret", ("other",)) is None
    assert len(service.asked) == 4, "for other audiences it is another question"
    made, service = tokens(YES, ttl=0.0)
    for _ in range(3):
        assert not (await made.authenticate_token("x", API)).cacheable
    assert len(service.asked) == 3


def test_what_passes_is_asked_again():
    clock = VirtualClock()

    async def play():
        made, service = tokens(internal_error("x"), TransportError("reset", sent=True), YES, clock=clock)
        began = clock.monotonic()
        assert (await made.authenticate_token("x", API)).user.name == "jane"
        assert len(service.asked) == 3 and 1.25 <= clock.monotonic() - began <= 1.5

    loop = virtual_event_loop(clock)
    loop.run_until_complete(play())
    loop.close()


def test_what_cannot_be_configured(tmp_path):
    with pytest.raises(
        ValueError, match='unsupported authentication webhook version "v2", supported versions are "v1", "v1beta1"'
    ):
        webhook_tokens("x", "v2", 1.0, API, FixedClock(), random.Random(1))
    flags = [
        "--data-dir",
        str(tmp_path),
        "--authorization-mode=RBAC",
        "--authentication-token-webhook-config-file=/nonexistent",
    ]
    result = CliRunner().invoke(apiserver, flags)
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output


async def test_a_server_that_asks(tmp_path):
    asked = []

    async def serve(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(h[16:]) for h in head.split("\r\n") if h.lower().startswith("content-length: "))
                review = orjson.loads(await reader.readexactly(length))
                asked.append(review["spec"]["token"])
                review["status"] = YES if review["spec"]["token"] == "good" else {"error": "never heard of it"}
                raw = orjson.dumps(review)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ask"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    file = tmp_path / "tokens.conf"
    file.write_bytes(orjson.dumps(config))
    options = authn.AuthenticationOptions(token_webhook=str(file))
    me = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    async with listening, attacked_server(tmp_path, authentication=options) as attacked:
        for _ in range(3):
            status, answer = await attacked.ask("", "POST", me, {}, Authorization="Bearer good")
            assert (status, answer["status"]["userInfo"]["username"]) == (201, "jane")
        assert asked == ["good"]
        assert (await attacked.ask("", "POST", me, {}, Authorization="Bearer bad"))[0] == 401
        assert attacked.record()["responseStatus"]["code"] == 401
        review = {"spec": {"token": "bad"}}
        await attacked.grant("system:anonymous", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
        _, answer = await attacked.ask("", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        assert answer["status"] == {"user": {}, "error": "never heard of it"}
