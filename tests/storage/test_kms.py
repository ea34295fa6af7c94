"""KMS v2 against a plugin behind a real socket: seeds, rotation, a plugin that is down or lies, and upstream's format."""

import asyncio
import base64
import random
from concurrent.futures import ThreadPoolExecutor

import grpc
import orjson
import pytest

from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.request import Request
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK, Credentials
from pybernetes.storage.contract import StoreUnavailable
from pybernetes.storage.encryption import EncryptingStore, EncryptionError, parse
from pybernetes.storage.kms import KmsCipher, KmsError, KmsUnreachable, Source, decode_object, encode_object
from pybernetes.storage.memory import MemoryStore
from pybernetes.wire.protobuf.varint import delimited, fields, tag

KEY = "/registry/secrets/ns/s"


def texts(data):
    return {n: v for n, _, v in fields(data) if isinstance(v, bytes)}


def message(**parts):
    names = {"one": 1, "two": 2, "three": 3}
    return b"".join(delimited(tag(names[n], 2), v) for n, v in parts.items())


class Plugin:
    """Encrypts by turning bytes around, under a key that has a name. Speaks to ``grpc`` and, without a socket, to a cipher."""

    def __init__(self):
        self.key, self.health, self.version, self.asked, self.down = "key-1", "ok", "v2", [], False
        self.annotations = {"plugin.example.com": b"note"}

    def __call__(self, method, request):
        self.asked.append(method)
        if self.down:
            raise KmsUnreachable("rpc error: code = UNAVAILABLE desc = down")
        found = texts(request)
        if method == "Status":
            return message(one=self.version.encode(), two=self.health.encode(), three=self.key.encode())
        if method == "Encrypt":
            notes = b"".join(
                delimited(tag(3, 2), delimited(tag(1, 2), k.encode()) + delimited(tag(2, 2), v))
                for k, v in self.annotations.items()
            )
            return message(one=self.key.encode() + b":" + found[1][::-1], two=self.key.encode()) + notes
        name, _, turned = found[1].partition(b":")
        assert name == found[3], "the key that is named is the one that encrypted"
        assert found[4] == message(one=b"plugin.example.com", two=b"note")
        return message(one=turned[::-1])


class Ticking:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def plugin():
    return Plugin()


def cipher(plugin, clock=None):
    return KmsCipher("p", plugin, clock or Ticking())


def test_a_seed_serves_many_values_and_is_asked_for_once(plugin):
    one = cipher(plugin)
    sealed = [one.seal(f"value {n}".encode(), KEY.encode()) for n in range(5)]
    assert plugin.asked == ["Status", "Encrypt"]
    assert len(set(sealed)) == 5
    assert [one.open(s, KEY.encode()) for s in sealed] == [f"value {n}".encode() for n in range(5)]
    assert plugin.asked == ["Status", "Encrypt"]
    another = cipher(plugin)
    assert [another.open(s, KEY.encode()) for s in sealed][4] == b"value 4"
    assert plugin.asked[2:] == ["Decrypt"]
    with pytest.raises(KmsError, match="message authentication failed"):
        one.open(sealed[0], b"/registry/secrets/ns/other")
    for at in (10, len(sealed[0]) - 1):
        broken = bytearray(sealed[0])
        broken[at] ^= 1
        with pytest.raises(KmsError):
            one.open(bytes(broken), KEY.encode())


def test_another_key_makes_another_seed_and_what_was_written_is_no_longer_current(plugin):
    clock = Ticking()
    one = cipher(plugin, clock)
    old = one.seal(b"old", b"")
    assert one.is_current(old)
    one.poll()
    assert plugin.asked == ["Status", "Encrypt", "Status"]
    plugin.key = "key-2"
    one.poll()
    assert not one.is_current(old) and one.open(old, b"") == b"old"
    new = one.seal(b"new", b"")
    assert decode_object(new)[0].key_id == "key-2" and one.is_current(new)
    assert not one.is_current(b"\xff\xff")


def test_a_plugin_that_is_down_is_read_without_and_written_for_three_minutes(plugin):
    clock = Ticking()
    one = cipher(plugin, clock)
    sealed = one.seal(b"x", b"")
    plugin.down = True
    clock.time = 170.0
    assert one.open(one.seal(b"y", b""), b"") == b"y"
    clock.time = 181.0
    with pytest.raises(KmsUnreachable):
        one.seal(b"z", b"")
    assert one.open(sealed, b"") == b"x"
    with pytest.raises(KmsUnreachable, match="failed to decrypt DEK"):
        cipher(plugin).open(sealed, b"")
    plugin.down = False
    assert one.open(one.seal(b"z", b""), b"") == b"z"


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"health": "sick"}, "got unexpected healthz status: sick"),
        ({"version": "v1"}, "expected KMSv2 API version v2, got v1"),
        ({"key": ""}, "keyID is empty"),
        ({"key": "k" * 1025}, "exceeds the max size of 1024"),
        ({"annotations": {"a": b"x" * 33_000}}, "total size of annotations"),
    ],
)
def test_a_plugin_that_lies(plugin, lie, words):
    for name, value in lie.items():
        setattr(plugin, name, value)
    with pytest.raises(KmsError, match=words):
        cipher(plugin).seal(b"x", b"")


@pytest.mark.parametrize("answer", [b"\xff", b"\x08", b""])
def test_answers_that_are_none(answer):
    with pytest.raises(KmsError):
        KmsCipher("p", lambda method, request: answer, Ticking()).seal(b"x", b"")


def test_the_format_is_upstreams():
    """Field by field as ``kmsv2/v2/api.proto`` numbers them."""
    source = Source("key", b"encrypted", (("a.example.com", b"1"),))
    encoded = encode_object(source, b"data")
    assert encoded == (
        b"\x0a\x04data" b"\x12\x03key" b"\x1a\x09encrypted" b"\x22\x12\x0a\x0da.example.com\x12\x011" b"\x28\x01"
    )  # fmt: skip
    assert decode_object(encoded) == (source, b"data")
    for broken in (b"", b"\x0a\x04data", b"\x12\x03key\x1a\x01x", encoded[:-1] + b"\x07", b"\xff", encoded[:5]):
        with pytest.raises(KmsError):
            decode_object(broken)


def document(*providers):
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
    return head | {"resources": [{"resources": ["secrets"], "providers": list(providers)}]}


def kms(**fields_):
    return {"kms": {"apiVersion": "v2", "name": "p", "endpoint": "unix:///nonexistent.sock"} | fields_}


@pytest.mark.parametrize(
    ("fields_", "words"),
    [
        ({"name": ""}, "kms.name: Required value: name is a mandatory field for a provider"),
        ({"name": "a:b"}, "invalid KMS provider name a:b, must not contain ':'"),
        ({"apiVersion": "v3"}, "only v1 and v2 are supported"),
        ({"apiVersion": "v1"}, "KMSv1 is deprecated"),
        ({"endpoint": ""}, "kms.endpoint: Invalid value: \"\": endpoint is a mandatory field for a kms"),
        ({"endpoint": "http://x"}, 'unsupported scheme "http" for KMS provider, only unix is supported'),
        ({"timeout": "0s"}, "timeout should be a positive value"),
        ({"timeout": "x"}, "invalid duration"),
        ({"cachesize": 5}, "cachesize is not supported in v2"),
        ({"foo": 5}, 'unknown field "resources\\[0\\].providers\\[0\\].kms.foo"'),
    ],
)  # fmt: skip
def test_configurations_that_make_no_sense(fields_, words):
    with pytest.raises(EncryptionError, match=words.replace("(", "\\(")):
        parse(document(kms(**fields_)))
    with pytest.raises(EncryptionError, match="duplicate KMS provider name p, names must be unique"):
        parse(document(kms(), kms()))


# -- behind a socket ---------------------------------------------------------------------------------------------------


@pytest.fixture
def socket(plugin, tmp_path):
    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            name = details.method.removeprefix("/v2.KeyManagementService/")
            return grpc.unary_unary_rpc_method_handler(lambda request, context: plugin(name, request))

    server = grpc.server(ThreadPoolExecutor(2), handlers=(Handler(),))
    endpoint = f"unix://{tmp_path}/kms.sock"
    server.add_insecure_port(endpoint)
    server.start()
    yield endpoint
    server.stop(0)


async def call(server, method, path, body=None):
    headers = {"content-type": "application/json"}
    payload = orjson.dumps(body) if body is not None else b""
    response = await server.handle(Request(method, path, "", headers, payload, Credentials(headers), user=LOOPBACK))
    return response.status, orjson.loads(response.whole)


async def test_a_server_with_a_plugin(plugin, socket, tmp_path):
    file = tmp_path / "encryption.yaml"
    file.write_bytes(orjson.dumps(document(kms(endpoint=socket), {"identity": {}})))
    inner = MemoryStore(RealClock())
    server = compose(inner, RealClock(), random.Random(1), Options(encryption_file=str(file)))
    await server.start()
    running = asyncio.ensure_future(server.run())
    secrets = "/api/v1/namespaces/default/secrets"
    status, _ = await call(server, "POST", secrets, {"metadata": {"name": "s"}, "stringData": {"k": "correct horse"}})
    assert status == 201
    stored = (await inner.get("/registry/secrets/default/s")).value
    assert stored.startswith(b"k8s:enc:kms:v2:p:\x0a") and base64.b64encode(b"correct horse") not in stored
    _, read = await call(server, "GET", f"{secrets}/s")
    assert base64.b64decode(read["data"]["k"]) == b"correct horse"
    health = {}
    for well, plugin.health in ((False, "sick"), (True, "ok")):
        await server.store._poll()
        for path in ("/healthz", "/livez/kms-providers", "/readyz"):
            request = Request("GET", path, "", {}, b"", Credentials({}), user=LOOPBACK)
            health[well, path] = await server.handle(request)
    assert [r.status for r in health.values()] == [500, 500, 500, 200, 200, 200]
    assert b"[-]kms-providers failed" in health[False, "/healthz"].whole
    assert b"got unexpected healthz status: sick" in health[False, "/livez/kms-providers"].whole
    plugin.key = "key-2"
    await asyncio.to_thread(server.store._encryption.kms[0].poll)
    assert (await call(server, "POST", "/storage/rewrite"))[1] == {"rewritten": 1}
    assert b"key-2" in (await inner.get("/registry/secrets/default/s")).value
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    # Another server, which knows no seed: what is stored is enough, with the plugin.
    again = compose(inner, RealClock(), random.Random(1), Options(encryption_file=str(file)))
    await again.start()
    _, read = await call(again, "GET", f"{secrets}/s")
    assert base64.b64decode(read["data"]["k"]) == b"correct horse"
    assert plugin.asked.count("Decrypt") == 1


async def test_without_its_plugin_nothing_is_written_in_plain(tmp_path):
    store = EncryptingStore(
        MemoryStore(RealClock()),
        parse(document(kms(endpoint=f"unix://{tmp_path}/nobody.sock", timeout="100ms"), {"identity": {}}), RealClock()),
        lambda key: ("", "secrets"),
    )
    await store.open()
    with pytest.raises(StoreUnavailable, match="rpc error: code = "):
        await store.put(KEY, b"x")
    assert await store.get(KEY) is None
    await store.close()
