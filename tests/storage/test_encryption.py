"""Encryption at rest: formats, keys, rotation, and that nothing secret is in the store's files."""

import asyncio
import base64
import random

import orjson
import pytest

from pybernetes.apiserver.composition import REWRITE_PATH, Options, compose
from pybernetes.apiserver.reloading import FileWatcher
from pybernetes.apiserver.request import Request
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK, Credentials
from pybernetes.storage.contract import StoreDamaged
from pybernetes.storage.encryption import (
    EncryptingStore,
    EncryptionError,
    Undecryptable,
    parse,
    parse_text,
)
from pybernetes.storage.memory import MemoryStore
from pybernetes.storage.sqlite import SqliteStore
from pybernetes.testing.store_suite import StoreSuite

K16, K32, L32 = (base64.b64encode(bytes([n]) * size).decode() for n, size in ((1, 16), (2, 32), (3, 32)))


def document(*entries):
    return {"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1", "resources": list(entries)}


def entry(*providers, resources=("secrets",)):
    return {"resources": list(resources), "providers": list(providers)}


def keys(kind, *pairs):
    return {kind: {"keys": [{"name": n, "secret": s} for n, s in pairs]}}


IDENTITY = {"identity": {}}
CBC, GCM, BOX = keys("aescbc", ("key1", K32)), keys("aesgcm", ("key1", K16)), keys("secretbox", ("key1", K32))


def classify(key):
    return ("", key.split("/")[2])


class TestSuiteEncrypted(StoreSuite):
    """An encrypting store is a store."""

    def make(self, directory, clock):
        encryption = parse(document(entry(GCM, resources=["*.*"])))
        return EncryptingStore(MemoryStore(clock), encryption, lambda key: ("", "anything"))


# -- formats -----------------------------------------------------------------------------------------------------------


def transformer(*providers):
    return parse(document(entry(*providers))).transformer_for("", "secrets")


@pytest.mark.parametrize(("provider", "kind"), [(CBC, "aescbc"), (GCM, "aesgcm"), (BOX, "secretbox")])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
def test_round_trip(provider, kind, size):
    t, data = transformer(provider), b"x" * size
    sealed = t.seal(data, "/registry/secrets/a/b")
    assert sealed.startswith(b"k8s:enc:%b:v1:key1:" % kind.encode())
    assert t.open(sealed, "/registry/secrets/a/b") == data
    assert t.seal(data, "k") != t.seal(data, "k"), "the same value never looks the same"
    for cut in (len(sealed) // 2, len(b"k8s:enc:aescbc:v1:key1:") + 3):
        with pytest.raises(Undecryptable):
            t.open(sealed[:cut], "/registry/secrets/a/b")


def test_what_upstream_has_written():
    """Made with Go's crypto/aes, cipher and nacl/secretbox: key of 32 twos, IV and nonce of sevens, data ``hello``."""
    t = transformer(CBC)
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    iv = b"\x07" * 16
    encryptor = Cipher(algorithms.AES(b"\x02" * 32), modes.CBC(iv)).encryptor()
    sealed = b"k8s:enc:aescbc:v1:key1:" + iv + encryptor.update(b"hello" + b"\x0b" * 11) + encryptor.finalize()
    assert t.open(sealed, "any") == b"hello"


@pytest.mark.parametrize("provider", [GCM, BOX])
def test_changed_data_is_noticed(provider):
    t = transformer(provider)
    sealed = bytearray(t.seal(b"hello", "k"))
    sealed[-1] ^= 1
    with pytest.raises(Undecryptable):
        t.open(bytes(sealed), "k")


def test_gcm_binds_a_value_to_its_key():
    t = transformer(GCM)
    with pytest.raises(Undecryptable):
        t.open(t.seal(b"hello", "/registry/secrets/a/mine"), "/registry/secrets/a/yours")


def test_the_first_provider_writes_and_all_read():
    old, new = transformer(CBC, IDENTITY), transformer(keys("aescbc", ("key2", L32), ("key1", K32)), IDENTITY)
    sealed = old.seal(b"hello", "k")
    assert new.open(sealed, "k") == b"hello" and not new.is_current(sealed)
    assert new.seal(b"hello", "k").startswith(b"k8s:enc:aescbc:v1:key2:")
    assert new.open(b"plain", "k") == b"plain" and not new.is_current(b"plain")
    with pytest.raises(Undecryptable, match="no matching prefix found"):
        transformer(CBC).open(b"plain", "k")
    with pytest.raises(Undecryptable, match="identity transformer tried to read encrypted data"):
        transformer(IDENTITY).open(sealed, "k")


# -- configuration -----------------------------------------------------------------------------------------------------


def test_which_resources():
    encryption = parse(
        document(
            entry(CBC, resources=["secrets", "deployments.apps"]),
            entry(GCM, resources=["*.apps"]),
            entry(BOX, resources=["*."]),
        )
    )

    def first(group, resource):
        t = encryption.transformer_for(group, resource)
        return t.providers[0].prefix.split(b":")[2] if t else None

    assert first("", "secrets") == b"aescbc" and first("apps", "deployments") == b"aescbc"
    assert first("apps", "statefulsets") == b"aesgcm" and first("", "configmaps") == b"secretbox"
    assert first("batch", "jobs") is None
    assert parse(document(entry(CBC, resources=["*.*"]))).transformer_for("batch", "jobs")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "got unexpected config type"),
        (document(), "at least one resources is required"),
        (document(entry()), "providers is required"),
        (document(entry(CBC, resources=[])), "resources is required"),
        (document(entry({})), "does not contain any of the expected providers"),
        (document(entry({**CBC, **GCM})), "more than one provider specified in a single element"),
        (document(entry(keys("aescbc"))), "at least one keys is required"),
        (document(entry(keys("aescbc", ("", K32)))), "name is a mandatory field for a key"),
        (document(entry(keys("aescbc", ("a", "")))), "secret is a mandatory field for a key"),
        (document(entry(keys("aescbc", ("a", "!!")))), "secrets must be base64 encoded"),
        (document(entry(keys("secretbox", ("a", K16)))), r"got 16, expected one of \[32\]"),
        (document(entry(CBC, resources=["*"])), "to encrypt all the resources from core API group"),
        (document(entry(CBC, resources=["Secrets"])), "should not contain capital letters"),
        (document(entry(CBC, resources=["secrets.*"])), "across groups is not supported"),
        (document(entry(CBC, resources=["a", "a"])), "cannot be specified multiple times"),
        (document(entry({"kms": {"name": "x"}})), "KMSv1 is deprecated and not supported here, use KMSv2 instead"),
    ],
)
def test_configurations_that_make_no_sense(config, message):
    with pytest.raises(EncryptionError, match=message):
        parse(config)


def test_text_that_is_no_yaml():
    with pytest.raises(EncryptionError):
        parse_text(b"{")


# -- the store ---------------------------------------------------------------------------------------------------------


async def test_only_what_is_configured_is_encrypted():
    inner = MemoryStore(RealClock())
    store = EncryptingStore(inner, parse(document(entry(CBC))), classify)
    await store.open()
    await store.put("/registry/secrets/ns/s", b"hidden")
    await store.put("/registry/pods/ns/p", b"shown")
    assert (await inner.get("/registry/secrets/ns/s")).value.startswith(b"k8s:enc:aescbc:v1:key1:")
    assert (await inner.get("/registry/pods/ns/p")).value == b"shown"
    assert (await store.get("/registry/secrets/ns/s")).value == b"hidden"
    assert [i.value for i in (await store.list("/registry/secrets/")).items] == [b"hidden"]
    store.configure(parse(document(entry(keys("aescbc", ("key1", L32))))))
    with pytest.raises(StoreDamaged, match='unable to transform key "/registry/secrets/ns/s"'):
        await store.get("/registry/secrets/ns/s")
    store.configure(parse(document(entry(CBC, resources=["configmaps"]))))
    with pytest.raises(StoreDamaged, match="the configuration names no key for it"):
        await store.list("/registry/secrets/")
    await store.close()


async def test_rotation_and_rewriting():
    inner = MemoryStore(RealClock())
    store = EncryptingStore(inner, parse(document(entry(IDENTITY))), classify)
    await store.open()
    for i in range(3):
        await store.put(f"/registry/secrets/ns/{i}", b"hidden%d" % i)
    await store.put("/registry/pods/ns/p", b"shown")
    prefixes = ["/registry/secrets/", "/registry/pods/"]
    for provider, prefix in (
        (CBC, b"k8s:enc:aescbc:v1:key1:"),
        (keys("secretbox", ("n", L32)), b"k8s:enc:secretbox:v1:n:"),
    ):
        store.configure(parse(document(entry(provider, CBC, IDENTITY))))
        assert await store.rewrite(prefixes) == 3
        assert await store.rewrite(prefixes) == 0
        assert all(i.value.startswith(prefix) for i in (await inner.list("/registry/secrets/")).items)
        assert [i.value for i in (await store.list("/registry/secrets/")).items] == [b"hidden0", b"hidden1", b"hidden2"]
    store.configure(parse(document(entry(IDENTITY, keys("secretbox", ("n", L32))))))
    assert await store.rewrite(prefixes) == 3
    assert (await inner.get("/registry/secrets/ns/0")).value == b"hidden0"
    await store.close()


async def test_watchers_get_plain_values():
    inner = MemoryStore(RealClock())
    store = EncryptingStore(inner, parse(document(entry(GCM))), classify)
    await store.open()
    seen = []
    store.watch("/registry/", 0, seen.extend, lambda failure: seen.append(failure))
    await store.put("/registry/secrets/ns/s", b"mine", note="note")
    other = EncryptingStore(inner, parse(document(entry(GCM))), classify)
    await other.put("/registry/secrets/ns/s", b"theirs")
    await inner.put("/registry/secrets/ns/s", b"garbage")
    assert [(e.value, e.note) for e in seen[:1]] == [(b"mine", "note")]
    assert seen[1].value == b"theirs"
    assert isinstance(seen[2], StoreDamaged)
    await store.close()


# -- through the API server --------------------------------------------------------------------------------------------


async def call(server, method, path, body=None):
    headers = {"content-type": "application/json"}
    payload = orjson.dumps(body) if body is not None else b""
    response = await server.handle(Request(method, path, "", headers, payload, Credentials(headers), user=LOOPBACK))
    assert response.status < 400, response.whole
    return orjson.loads(response.whole)


async def test_no_plaintext_in_the_stores_files(tmp_path):
    file = tmp_path / "encryption.yaml"
    file.write_bytes(orjson.dumps(document(entry(CBC, IDENTITY))))
    clock = RealClock()
    store = SqliteStore(tmp_path / "store" / "state.db", clock)
    (tmp_path / "store").mkdir()
    server = compose(store, clock, random.Random(1), Options(encryption_file=str(file)))
    await server.start()
    run = asyncio.ensure_future(server.run())
    hidden = base64.b64encode(b"correct horse battery staple").decode()
    secret = {"metadata": {"name": "s"}, "data": {"password": hidden}}
    await call(server, "POST", "/api/v1/namespaces/default/secrets", secret)
    secret["data"]["password"] = hidden[::-1].replace("=", "A")
    await call(
        server, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}, "data": {"k": "openly"}}
    )
    answer = await call(server, "GET", "/api/v1/namespaces/default/secrets/s")
    assert answer["data"] == {"password": hidden}
    await store.snapshot(tmp_path / "store" / "copy.db")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    files = {p.name: p.read_bytes() for p in (tmp_path / "store").iterdir() if p.is_file()}
    assert any(b"openly" in data for data in files.values())
    assert any(b"k8s:enc:aescbc:v1:key1:" in data for data in files.values())
    for name, data in files.items():
        assert hidden.encode() not in data and b"correct horse" not in data, name


async def test_a_changed_file_and_the_rewrite_command(tmp_path):
    file = tmp_path / "encryption.yaml"
    file.write_bytes(orjson.dumps(document(entry(IDENTITY))))
    clock = RealClock()
    inner = MemoryStore(clock)
    server = compose(inner, clock, random.Random(1), Options(encryption_file=str(file)))
    await server.start()
    await call(server, "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "data": {"a": "YQ=="}})
    assert (await inner.get("/registry/secrets/default/s")).value.startswith(b"{")
    store = server.store
    store.configure(parse(document(entry(BOX, IDENTITY))))
    assert await call(server, "POST", REWRITE_PATH) == {"rewritten": 1}
    assert (await inner.get("/registry/secrets/default/s")).value.startswith(b"k8s:enc:secretbox:")
    assert (await call(server, "GET", "/api/v1/namespaces/default/secrets/s"))["data"] == {"a": "YQ=="}
    await store.close()


def test_the_watcher_takes_what_is_good_and_leaves_what_is_not(tmp_path):
    file, seen = tmp_path / "f", []

    def take(data):
        if data == b"bad":
            raise ValueError("no")
        seen.append(data)

    file.write_bytes(b"1")
    watcher = FileWatcher(RealClock())
    watcher.add(str(file), take)
    watcher.look()
    assert seen == []
    for content in (b"22", b"bad", b"4444"):
        file.write_bytes(content)
        watcher.look()
        watcher.look()
    assert seen == [b"22", b"4444"]
    file.unlink()
    watcher.look()
    file.write_bytes(b"55555")
    watcher.look()
    assert seen[-1] == b"55555"
