"""What ``/metrics`` says of the requests that were sent: upstream's names, labels and buckets, nothing made up."""

import random
import re

import orjson
import pytest
from tests.apiserver.test_express import listening

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS
from pybernetes.apiserver.authn import AuthenticationOptions
from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.fairness.fairness import too_many_requests
from pybernetes.apiserver.metrics import number_text
from pybernetes.apiserver.request import Request
from pybernetes.apiserver.requestmetrics import Peak
from pybernetes.client.rest import Client
from pybernetes.client.transport import HttpTransport
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import Credentials, UserInfo
from pybernetes.storage.memory import MemoryStore

ROOT = UserInfo("root", groups=("system:masters",))
_LINE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)$")


async def scraped(server):
    """{(name, labels): value}, and the types of the families."""
    text = (await server.handle(Request("GET", "/metrics", user=ROOT))).whole.decode()
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types, f"{name} is there twice"
            types[name] = kind
        elif not line.startswith("#"):
            name, labels, value = _LINE.match(line).groups()
            key = (name, frozenset(re.findall(r'([a-z_]+)="([^"]*)"', labels or "")))
            assert key not in found, line
            found[key] = float(value)
            assert any(name == t or name.removesuffix(s) == t for t in types for s in ("_bucket", "_sum", "_count")), (
                line
            )
    return found, types


def total(found, metric, **labels):
    return sum(v for (n, have), v in found.items() if n == metric and frozenset(labels.items()) <= have)


async def ask(server, method, path, body=b"", content_type="application/json", query="", user=ROOT):
    headers = {"content-type": content_type}
    return await server.handle(Request(method, path, query, headers, body, Credentials(headers), user=user))


MAP = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"%s"}}'


async def test_requests_are_named_as_upstream_names_them(server):
    maps = "/api/v1/namespaces/default/configmaps"
    await ask(server, "POST", maps, MAP % b"a")
    await ask(server, "POST", maps, MAP % b"b", query="dryRun=All")
    await ask(server, "PATCH", f"{maps}/a", b'{"data":{"a":"b"}}', "application/merge-patch+json")
    await ask(server, "PATCH", f"{maps}/a", MAP % b"a", "application/apply-patch+yaml", "fieldManager=x&force=true")
    await ask(server, "GET", f"{maps}/a")
    await ask(server, "GET", f"{maps}/none")
    await ask(server, "GET", maps)
    await ask(server, "GET", "/api/v1/configmaps")
    await ask(server, "GET", "/readyz")
    await ask(server, "GET", "/openapi/v3")
    await ask(server, "GET", "/what/ever/a/client/likes")
    await ask(server, "GET", "/api/v1/namespaces/default/nonsense")
    await ask(server, "BREW", f"{maps}/a")
    await ask(server, "DELETE", maps)
    found, types = await scraped(server)

    def count(verb, code, **labels):
        return total(found, "apiserver_request_total", verb=verb, code=str(code), **labels)

    where = {"group": "", "version": "v1", "resource": "configmaps", "subresource": "", "component": "apiserver"}
    assert count("POST", 201, scope="resource", dry_run="", **where) == 1
    assert count("POST", 201, scope="resource", dry_run="All", **where) == 1
    assert count("PATCH", 200, scope="resource", **where) == 1
    assert count("APPLY", 200, scope="resource", **where) == 1
    assert count("GET", 200, scope="resource", **where) == 1
    assert count("GET", 404, scope="resource", **where) == 1
    assert count("LIST", 200, scope="namespace", **where) == 1
    assert count("LIST", 200, scope="cluster", **where) == 1
    assert count("DELETE", 200, scope="namespace", **where) == 1
    assert count("GET", 200, subresource="/readyz", component="", resource="") == 1
    assert count("GET", 200, subresource="openapi/v3", component="") == 1
    assert count("OTHER", 405, **where) == 1
    assert not any("nonsense" in str(k) or "likes" in str(k) for k in found)
    assert types["apiserver_request_duration_seconds"] == "histogram"
    assert total(found, "apiserver_request_sli_duration_seconds_count", verb="POST", **where) == 1  # dry runs have none
    assert total(found, "apiserver_response_sizes_count", verb="GET", **where) == 2
    assert total(found, "apiserver_request_body_size_bytes_count", verb="create", resource="configmaps") == 2
    assert total(found, "apiserver_selfrequest_total", verb="POST", resource="namespaces") == 4


async def test_histograms_are_whole(server):
    """Buckets rise, the last one is the count, and there is a sum."""
    await ask(server, "GET", "/api/v1/namespaces")
    found, types = await scraped(server)
    series = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket") and types.get(name[:-7]) == "histogram":
            edge = dict(labels)["le"]
            rest = frozenset(kv for kv in labels if kv[0] != "le")
            series.setdefault((name[:-7], rest), []).append((float(edge), value))
    assert len(series) > 20
    for (name, labels), buckets in series.items():
        values = [v for _, v in sorted(buckets)]
        assert values == sorted(values), name
        assert buckets[-1] == (float("inf"), found[f"{name}_count", labels])
        assert (f"{name}_sum", labels) in found


async def test_short_reads_are_counted_as_others():
    async with listening() as front:
        server, client = front.server, Client(HttpTransport("127.0.0.1", front.port))
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        for _ in range(5):
            await client.get(CONFIG_MAPS, "a", "default")
        with pytest.raises(StatusError):
            await client.get(CONFIG_MAPS, "none", "default")
        assert server.requests.quick
        found, _ = await scraped(server)
        where = {"resource": "configmaps", "verb": "GET", "scope": "resource"}
        assert total(found, "apiserver_request_total", code="200", **where) == 5
        assert total(found, "apiserver_request_duration_seconds_count", **where) == 6
        assert total(found, "apiserver_request_duration_seconds_sum", **where) > 0
        assert total(found, "apiserver_request_sli_duration_seconds_count", **where) == 6
        assert total(found, "apiserver_response_sizes_count", **where) == 6
        client.transport.close()


async def test_watches_are_open_until_they_end(server):
    response = await ask(server, "GET", "/api/v1/configmaps", query="watch=1")
    found, _ = await scraped(server)
    where = {"verb": "WATCH", "resource": "configmaps", "scope": "cluster", "component": "apiserver"}
    assert total(found, "apiserver_longrunning_requests", **where) == 1
    assert total(found, "apiserver_request_total", **where) == 0
    response.stream.stop()
    response.stream.stop()
    found, _ = await scraped(server)
    assert total(found, "apiserver_longrunning_requests", **where) == 0
    assert total(found, "apiserver_request_total", code="200", **where) == 1


async def test_what_is_deprecated_is_told_when_it_was_asked_for(server):
    assert total((await scraped(server))[0], "apiserver_requested_deprecated_apis") == 0
    await ask(server, "GET", "/api/v1/endpoints")
    found, _ = await scraped(server)
    labels = {"group": "", "version": "v1", "resource": "endpoints", "subresource": "", "removed_release": ""}
    assert total(found, "apiserver_requested_deprecated_apis", **labels) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.005, "0.005"), (1.0, "1"), (60.0, "60"), (1e3, "1000"), (1e5, "100000"), (1e6, "1e+06"), (1048576.0, "1.048576e+06"),
        (2592000.0, "2.592e+06"), (1e-05, "1e-05"), (9.999999999999999e-06, "9.999999999999999e-06"), (0.00016, "0.00016"),
        (1e9, "1e+09"), (float("inf"), "+Inf"), (-1.5, "-1.5"), (1.5e20, "1.5e+20"), (0.0, "0"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_go_does(value, text):
    assert number_text(value) == text
    assert float(text) == value


async def test_the_store_is_counted_by_what_is_asked_of_it(server):
    maps = "/api/v1/namespaces/default/configmaps"
    before, _ = await scraped(server)
    await ask(server, "POST", maps, MAP % b"a")
    await ask(server, "PATCH", f"{maps}/a", b'{"data":{"a":"b"}}', "application/merge-patch+json")
    await ask(server, "POST", maps, MAP % b"a")  # is there already: no call of the store fails for that
    await ask(server, "GET", maps)
    await ask(server, "DELETE", f"{maps}/a")
    found, _ = await scraped(server)
    where = {"group": "", "resource": "configmaps"}
    for operation, number in (("create", 2), ("update", 1), ("delete", 1)):
        assert total(found, "etcd_requests_total", operation=operation, **where) == number, operation
        assert total(found, "etcd_request_duration_seconds_count", operation=operation, **where) == number
    assert total(found, "etcd_request_errors_total") == 0
    assert total(found, "apiserver_storage_events_received_total", **where) == 3
    assert total(found, "apiserver_watch_cache_events_received_total", **where) == 3
    assert total(found, "apiserver_cache_list_total", index="", **where) == 1
    assert total(before, "apiserver_storage_list_total", **where) == 1
    assert total(found, "apiserver_resource_objects", **where) == total(before, "apiserver_resource_objects", **where)
    assert total(found, "apiserver_resource_size_estimate_bytes", resource="namespaces") > 400
    assert total(found, "apiserver_storage_objects", resource="deployments.apps") == 0
    assert found["apiserver_storage_size_bytes", frozenset({("storage_cluster_id", "memory-0")})] > 0
    revision = total(found, "apiserver_watch_cache_resource_version", **where)
    assert revision == server.hub.revision


class Full:
    """A reader that takes the first so many pieces, and no more."""

    def __init__(self, room):
        self.room, self.pieces, self.ended = room, [], False

    def write(self, payload):
        self.pieces.append(payload.raw)
        return len(self.pieces) < self.room

    def end(self):
        self.ended = True


async def test_watch_events_are_counted_as_they_are_sent(server):
    maps = "/api/v1/namespaces/default/configmaps"
    await ask(server, "POST", maps, MAP % b"first")
    readers = [Full(100) for _ in range(3)]
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    streams = [(await ask(server, "GET", maps, query=query)).stream for _ in readers]
    for stream, reader in zip(streams, readers, strict=True):
        stream.start(reader)
    await ask(server, "POST", maps, MAP % b"second")
    next(d for d in server.hub.dispatchers.values() if d.cache.gvr == CONFIG_MAPS).flush()
    found, _ = await scraped(server)
    where = {"group": "", "version": "v1", "resource": "configmaps"}
    sent = sum(len(p.splitlines()) for r in readers for p in r.pieces)
    assert sent == 9  # each the first, a bookmark, the second
    assert total(found, "apiserver_watch_events_total", **where) == sent
    assert total(found, "apiserver_watch_events_sizes_count", **where) == sent
    assert total(found, "apiserver_watch_events_sizes_sum", **where) == sum(len(p) for r in readers for p in r.pieces)
    assert total(found, "apiserver_watch_list_duration_seconds_count", scope="namespace", **where) == 3
    for stream in streams:
        stream.stop()


async def test_watchers_that_read_too_slowly_are_counted(server):
    maps = "/api/v1/namespaces/default/configmaps"
    dispatcher = next(d for d in server.hub.dispatchers.values() if d.cache.gvr == CONFIG_MAPS)
    cache = dispatcher.cache
    reader, stream = Full(1), (await ask(server, "GET", maps, query="watch=1&resourceVersion=1")).stream
    stream.start(reader)
    for i in range(5):
        await ask(server, "POST", maps, MAP % b"n%d" % i)
        dispatcher.flush()
    cache._cut(len(cache.log), sum(len(c.entry.data) for c in cache.log))
    await ask(server, "POST", maps, MAP % b"last")
    stream.resume()
    assert reader.ended
    found, _ = await scraped(server)
    assert total(found, "apiserver_terminated_watchers_total", resource="configmaps", group="") == 1


async def test_plugins_are_timed_where_they_do_something():
    clock = RealClock()
    server = compose(MemoryStore(clock), clock, random.Random(7), Options())
    await server.start()
    spec = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"%s"}}'
    await ask(server, "POST", "/api/v1/namespaces/default/configmaps", spec % b"default")
    refused = await ask(server, "POST", "/api/v1/namespaces/none/configmaps", spec % b"none")
    assert refused.status == 404
    found, _ = await scraped(server)
    name = "apiserver_admission_controller_admission_duration_seconds_count"
    create = {"operation": "CREATE"}
    assert total(found, name, name="NamespaceLifecycle", type="admit", rejected="true", **create) == 1
    assert total(found, name, name="NamespaceLifecycle", type="admit", rejected="false", **create) > 0
    assert total(found, name, name="NamespaceLifecycle", type="validate") == 0  # it validates nothing
    step = "apiserver_admission_step_admission_duration_seconds_count"
    assert total(found, step, type="admit", rejected="true", **create) == 1
    assert total(found, step, type="validate", rejected="false", **create) > 0
    assert not any(
        n == "authorization_attempts_total" and v and ("result", "error") in have for (n, have), v in found.items()
    )


async def test_who_asks_is_counted_by_how_it_went(tmp_path):
    (tmp_path / "tokens.csv").write_text('good,admin,1,"system:masters"\nother,carol@example.com,2\n')
    clock = RealClock()
    options = Options(authentication=AuthenticationOptions(token_file=str(tmp_path / "tokens.csv"), anonymous=False))
    server = compose(MemoryStore(clock), clock, random.Random(7), options)
    await server.start()

    async def by(token):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return (await server.handle(Request("GET", "/version", "", headers, b"", Credentials(headers)))).status

    assert [await by(t) for t in ("good", "good", "other", "bad", "")] == [200, 200, 200, 401, 401]
    found, _ = await scraped(server)
    assert total(found, "authentication_attempts", result="success") == 3
    assert total(found, "authentication_attempts", result="error") == 1
    assert total(found, "authentication_attempts", result="failure") == 1
    assert total(found, "authentication_duration_seconds_count") == 5
    assert total(found, "authenticated_user_requests", username="admin") == 2
    assert total(found, "authenticated_user_requests", username="email_id") == 1
    assert total(found, "authentication_token_cache_request_total", status="hit") == 1
    assert total(found, "authentication_token_cache_request_total", status="miss") == 3
    assert total(found, "authentication_token_cache_fetch_total", status="ok") == 2
    assert total(found, "authentication_token_cache_fetch_total", status="error") == 1


async def test_overload_is_told(server):
    server.limiter = Refusing()
    assert (await ask(server, "GET", "/api/v1/pods")).status == 429
    server.limiter = server.fairness
    found, _ = await scraped(server)
    where = {"verb": "LIST", "resource": "pods", "scope": "cluster", "code": "429"}
    assert total(found, "apiserver_request_terminations_total", **where) == 1


class Refusing:
    async def enter(self, request, info):
        return too_many_requests(1)


def test_the_most_at_a_time_is_of_the_last_second():
    peak = Peak()
    peak.begin(1.0)
    peak.begin(1.2)
    peak.now -= 2
    assert peak.at(1.9) == 2
    assert peak.at(2.5) == 2
    assert peak.at(3.1) == 0


async def test_pod_security_counts_what_it_looked_at():
    clock = RealClock()
    settings = {"pod-security": {"exemptions": {"usernames": ["eve"]}}}
    server = compose(MemoryStore(clock), clock, random.Random(7), Options(admission_settings=settings))
    await server.start()
    levels = {"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"}
    labels = {f"pod-security.kubernetes.io/{k}": v for k, v in levels.items()}
    space = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "safe", "labels": labels}}
    await ask(server, "POST", "/api/v1/namespaces", orjson.dumps(space))
    account = b'{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"default"}}'
    for namespace in ("safe", "default"):
        await ask(server, "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    pod = (
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"%s"},"spec":{%b"containers":[{"name":"c","image":"i"}]}}'
    )
    eve = UserInfo("eve", groups=("system:masters",))
    for name, spec, namespace, user in (
        (b"good", b"", "safe", ROOT),
        (b"bad", b'"hostNetwork":true,', "safe", ROOT),
        (b"free", b'"hostNetwork":true,', "safe", eve),
        (b"any", b"", "default", ROOT),
    ):
        await ask(server, "POST", f"/api/v1/namespaces/{namespace}/pods", pod % (name, spec), user=user)
    found, _ = await scraped(server)
    where = {"request_operation": "create", "resource": "pod", "subresource": ""}
    name = "pod_security_evaluations_total"
    assert (
        total(found, name, mode="enforce", decision="allow", policy_level="baseline", policy_version="v1.30", **where)
        == 1
    )
    assert (
        total(found, name, mode="enforce", decision="deny", policy_level="baseline", policy_version="v1.30", **where)
        == 1
    )
    assert (
        total(found, name, mode="warn", decision="deny", policy_level="restricted", policy_version="latest", **where)
        == 1
    )
    assert (
        total(
            found, name, mode="enforce", decision="allow", policy_level="privileged", policy_version="latest", **where
        )
        == 1
    )
    assert total(found, "pod_security_exemptions_total", **where) == 1


async def test_cluster_addresses_are_counted_by_range(server):
    services = "/api/v1/namespaces/default/services"

    async def create(name, **spec):
        body = {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "spec": {"ports": [{"port": 80}], **spec},
        }
        return (await ask(server, "POST", services, orjson.dumps(body))).status

    before, _ = await scraped(server)
    assert await create("a") == 201
    assert await create("b", clusterIP="10.96.0.9") == 201
    assert await create("c", clusterIP="10.96.0.9") == 422
    found, _ = await scraped(server)
    prefix = "kube_apiserver_clusterip_allocator_allocation"

    def grown(metric, scope):
        labels = {"cidr": "10.96.0.0/12", "scope": scope}
        return total(found, metric, **labels) - total(before, metric, **labels)

    assert grown(f"{prefix}_total", "dynamic") == 1
    assert grown(f"{prefix}_total", "static") == 1
    assert grown(f"{prefix}_errors_total", "static") == 1
    assert grown(f"{prefix}_errors_total", "dynamic") == 0
