"""Flags of kube-apiserver that say how the process is run: what they change."""

import random

import orjson
import pytest

from pybernetes.apiserver.command import _stopper, apiserver, options_of
from pybernetes.apiserver.composition import compose
from pybernetes.apiserver.request import Request
from pybernetes.concurrency import RealClock, VirtualClock
from pybernetes.hooks.identity import ANONYMOUS, Credentials, UserInfo
from pybernetes.storage.memory import MemoryStore

ROOT = UserInfo("root", groups=("system:masters",))


def parsed(tmp_path, *given):
    return apiserver.make_context("apiserver", [f"--data-dir={tmp_path}", *given]).params


async def started(tmp_path, *given):
    options = options_of(parsed(tmp_path, "--advertise-address=192.0.2.7", *given))
    clock = RealClock()
    server = compose(MemoryStore(clock), clock, random.Random(7), options)
    await server.start()
    return server


async def get(server, path):
    response = await server.handle(Request("GET", path, "", {}, b"", Credentials({}), user=ROOT))
    return response.status, response.whole


async def test_metrics_can_be_hidden_by_name(tmp_path):
    server = await started(tmp_path, "--disabled-metrics=apiserver_request_total,process_open_fds")
    await get(server, "/api/v1/pods")
    _, text = await get(server, "/metrics")
    assert b"apiserver_request_total" not in text and b"process_open_fds" not in text
    assert b"apiserver_request_duration_seconds_bucket{" in text and b"\nprocess_max_fds " in text


async def test_watches_last_as_long_as_they_are_told_to(tmp_path):
    server = await started(tmp_path, "--min-request-timeout=60")
    request = Request("GET", "/api/v1/pods", "watch=1", {}, b"", Credentials({}), user=ROOT)
    server.auditor = None
    stream = (await server.handle(request)).stream
    while not hasattr(stream, "_timeout"):
        stream = stream._stream
    assert 60 <= stream._timeout <= 120


async def test_the_kubernetes_service_can_have_a_node_port(tmp_path):
    server = await started(tmp_path, "--kubernetes-service-node-port=30443")
    _, body = await get(server, "/api/v1/namespaces/default/services/kubernetes")
    spec = orjson.loads(body)["spec"]
    assert (spec["type"], spec["ports"][0]["nodePort"]) == ("NodePort", 30443)


@pytest.mark.parametrize(("kind", "status"), [("lease", 200), ("none", 404)])
async def test_endpoints_are_written_unless_nobody_wants_them(tmp_path, kind, status):
    server = await started(tmp_path, f"--endpoint-reconciler-type={kind}")
    assert (await get(server, "/api/v1/namespaces/default/endpoints/kubernetes"))[0] == status
    assert (await get(server, "/api/v1/namespaces/default/services/kubernetes"))[0] == 200


async def test_outsiders_are_told_other_addresses(tmp_path):
    path = "/.well-known/openid-configuration"
    server = await started(tmp_path / "a", "--external-hostname=api.example.com", "--secure-port=443")
    assert orjson.loads((await get(server, path))[1])["jwks_uri"] == "https://api.example.com:443/openid/v1/jwks"
    server = await started(tmp_path / "b", "--service-account-jwks-uri=https://keys.example.com/jwks")
    assert orjson.loads((await get(server, path))[1])["jwks_uri"] == "https://keys.example.com/jwks"


def test_parts_get_what_their_flags_say(tmp_path):
    options = options_of(
        parsed(
            tmp_path, "--requestheader-uid-headers=X-Uid,X-Other-Uid",
            "--etcd-compaction-interval=0", "--storage-backend=etcd3",
        )
    )  # fmt: skip
    assert options.authentication.request_header_names.uids == ("x-uid", "x-other-uid")
    assert options.server.compaction_interval == 0


async def test_it_goes_on_for_a_while_after_it_was_told_to_stop(tmp_path):
    server = await started(tmp_path)
    clock, stopped = VirtualClock(), []
    stop = _stopper(server, clock, 5.0, lambda: stopped.append(clock.monotonic()))
    assert (await get(server, "/readyz"))[0] == 200
    began = clock.monotonic()
    stop()
    assert (await get(server, "/readyz"))[0] == 500
    assert (await get(server, "/livez"))[0] == 200
    assert (await get(server, "/api/v1/pods"))[0] == 200
    assert stopped == []
    assert clock.advance_to_next()
    assert stopped == [began + 5.0]
    stop()
    assert len(stopped) == 2  # the second signal is heeded at once


def test_without_a_delay_it_stops_at_once(tmp_path):
    stopped = []
    _stopper(None, VirtualClock(), 0.0, lambda: stopped.append(1))()
    assert stopped == [1]


async def test_scripts_of_allowed_origins_may_read_answers(tmp_path):
    server = await started(tmp_path, r"--cors-allowed-origins=//ui\.example\.com(:|$),^https://x\.y$")

    async def ask(method, origin, user=ROOT):
        headers = {"origin": origin} if origin else {}
        response = await server.handle(
            Request(method, "/api/v1/pods", "", headers, b"", Credentials(headers), user=user)
        )
        return response.status, dict(response.headers).get("Access-Control-Allow-Origin")

    assert await ask("OPTIONS", "https://ui.example.com:8443", ANONYMOUS) == (204, "https://ui.example.com:8443")
    assert await ask("GET", "https://ui.example.com") == (200, "https://ui.example.com")
    assert await ask("GET", "https://x.y") == (200, "https://x.y")
    assert await ask("GET", "https://x.y", ANONYMOUS) == (401, "https://x.y")
    for other in ("https://ui.example.com.evil", "https://uixexample.com", ""):
        assert await ask("GET", other) == (200, None)
        assert (await ask("OPTIONS", other))[1] is None


@pytest.mark.parametrize("expression", ["example.com", "//example.com", "^(example$"])
def test_origins_must_be_pinned(tmp_path, expression):
    with pytest.raises(ValueError, match="--cors-allowed-origins has an invalid regular expression"):
        options_of(parsed(tmp_path, f"--cors-allowed-origins={expression}"))
