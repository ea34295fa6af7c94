"""No plaintext of a Secret stands in the store's files: SQLite's with its log, and etcd's; not of what was changed or deleted either."""

import asyncio
import base64
import random
import shutil

import orjson
import pytest

from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.request import Request
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK, Credentials
from pybernetes.storage.sqlite import SqliteStore

from .test_etcd import Members

SECRETS = "/api/v1/namespaces/default/secrets"
WORDS = [f"correct-horse-battery-{n}" for n in range(4)]
KEY = base64.b64encode(bytes(range(32))).decode()
PROVIDERS = {
    "aescbc": {"aescbc": {"keys": [{"name": "k", "secret": KEY}]}},
    "aesgcm": {"aesgcm": {"keys": [{"name": "k", "secret": KEY}]}},
    "secretbox": {"secretbox": {"keys": [{"name": "k", "secret": KEY}]}},
}


def configuration(tmp_path, provider):
    file = tmp_path / "encryption.yaml"
    resources = [{"resources": ["secrets"], "providers": [PROVIDERS[provider], {"identity": {}}]}]
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
    file.write_bytes(orjson.dumps(head | {"resources": resources}))
    return str(file)


async def call(server, method, path, body=None):
    headers = {"content-type": "application/json"}
    payload = orjson.dumps(body) if body is not None else b""
    response = await server.handle(Request(method, path, "", headers, payload, Credentials(headers), user=LOOPBACK))
    assert response.status < 400, response.whole
    return orjson.loads(response.whole)


def secret(name, word):
    return {"metadata": {"name": name, "annotations": {"note": word}}, "stringData": {"password": word}}


def forms(word):
    """A word as it is, and as base64 has it at each of the three places where it may begin."""
    yield word.encode()
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + word.encode())
        yield encoded[4 if shift else 0 : -4]


async def write_and_read(store, tmp_path, provider):
    """Secrets that stay, that change and that go, written through a whole API server, which is stopped at the end."""
    clock = RealClock()
    server = compose(store, clock, random.Random(1), Options(encryption_file=configuration(tmp_path, provider)))
    await server.start()
    running = asyncio.ensure_future(server.run())
    for name, word in (("stays", WORDS[0]), ("changes", WORDS[1]), ("goes", WORDS[3])):
        await call(server, "POST", SECRETS, secret(name, word))
    await call(server, "PUT", f"{SECRETS}/changes", secret("changes", WORDS[2]))
    await call(server, "DELETE", f"{SECRETS}/goes")
    openly = {"metadata": {"name": "openly"}, "data": {"k": "said-openly-to-all"}}
    await call(server, "POST", "/api/v1/namespaces/default/configmaps", openly)
    read = await call(server, "GET", f"{SECRETS}/changes")
    assert base64.b64decode(read["data"]["password"]).decode() == WORDS[2]
    return running


def assert_hidden(directory, provider):
    files = {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    assert any(b"said-openly-to-all" in data for data in files.values()), "the look must see what is there"
    assert any(f"k8s:enc:{provider}:v1:k:".encode() in data for data in files.values())
    for name, data in files.items():
        for word in WORDS:
            assert not any(form in data for form in forms(word)), (name, word)
    return files


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_sqlite_and_its_log(tmp_path, provider):
    directory = tmp_path / "store"
    directory.mkdir()
    store = SqliteStore(directory / "state.db", RealClock())
    running = await write_and_read(store, tmp_path, provider)
    files = assert_hidden(directory, provider)
    assert files["state.db-wal"], "while it runs, what is new is in the log"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
    assert_hidden(directory, provider)


async def test_the_look_would_find_what_is_not_hidden(tmp_path):
    PROVIDERS["identity"] = {"identity": {}}
    directory = tmp_path / "store"
    directory.mkdir()
    store = SqliteStore(directory / "state.db", RealClock())
    try:
        running = await write_and_read(store, tmp_path, "identity")
    finally:
        del PROVIDERS["identity"]
    data = b"".join(p.read_bytes() for p in directory.iterdir())
    for word in WORDS:
        assert sum(form in data for form in forms(word)) >= 2, "as an annotation, and in base64"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()


@pytest.mark.etcd
@pytest.mark.skipif(shutil.which("etcd") is None, reason="needs an etcd binary on the PATH")
@pytest.mark.parametrize("provider", ["aescbc", "secretbox"])
async def test_etcd(tmp_path, provider):
    from pybernetes.storage.etcd import EtcdStore

    directory = tmp_path / "members"
    directory.mkdir()
    members = Members(directory, 1)
    try:
        store = EtcdStore(members.urls, RealClock())
        running = await write_and_read(store, tmp_path, provider)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
    finally:
        members.stop()
    files = assert_hidden(directory, provider)
    assert any(name.endswith(".wal") for name in files) and any(name.endswith("/db") for name in files)
