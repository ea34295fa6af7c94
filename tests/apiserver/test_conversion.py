"""Conversion webhooks: asked over TLS, believed only as far as they may be."""

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR
from pybernetes.apiserver.custom import webhook as conversion
from pybernetes.apiserver.http import HttpServer

from .test_custom import established

V1, V2 = GVR("stable.example.com", "v1", "hosts"), GVR("stable.example.com", "v2", "hosts")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(path of key and certificate, the certificate in base64): for 127.0.0.1, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    file = tmp_path_factory.mktemp("webhook") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + pem)
    return str(file), base64.b64encode(pem).decode()


class Webhook:
    """Serves conversions between ``host``, ``port`` and ``hostPort``; ``answer`` replaces what it says."""

    def __init__(self):
        self.reviews = []
        self.answer = None
        self.url = ""

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                review = json.loads(await reader.readexactly(length))
                self.reviews.append(review)
                body = self.answer(review) if self.answer else self.converted(review)
                if asyncio.iscoroutine(body):
                    body = await body
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def converted(self, review):
        request = review["request"]
        objects = [self.convert(dict(obj), request["desiredAPIVersion"]) for obj in request["objects"]]
        return self.response(review, convertedObjects=objects, result={"status": "Success"})

    @staticmethod
    def response(review, **content):
        return {
            "kind": "ConversionReview",
            "apiVersion": review["apiVersion"],
            "response": {"uid": review["request"]["uid"], **content},
        }

    @staticmethod
    def convert(obj, wanted):
        obj["apiVersion"] = wanted
        if wanted.endswith("/v1"):
            obj["hostPort"] = f"{obj.pop('host', '')}:{obj.pop('port', '')}"
        else:
            obj["host"], _, obj["port"] = obj.pop("hostPort", "").partition(":")
        return obj


@asynccontextmanager
async def serving(certificate):
    found = Webhook()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=context)
    found.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/convert"
    try:
        yield found
    finally:
        server.close()


@pytest.fixture
async def webhook(certificate, client):
    """A webhook, and the definition that it converts for."""
    async with serving(certificate) as found:
        await established(client, definition(found.url, certificate[1]))
        yield found


def definition(url, bundle):
    def version(name, storage, **fields):
        properties = {field: {"type": "string", **more} for field, more in fields.items()}
        return {
            "name": name, "served": True, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
            "selectableFields": [{"jsonPath": f".{field}"} for field in fields],
        }  # fmt: skip

    return {
        "metadata": {"name": "hosts.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "hosts", "kind": "Host"},
            "versions": [version("v1", True, hostPort={}), version("v2", False, host={}, port={})],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {
                    "clientConfig": {"url": url, "caBundle": bundle}, "conversionReviewVersions": ["v1", "v1beta1"],
                },
            },
        },
    }  # fmt: skip


def host(name, version="v2", **content):
    api_version = f"stable.example.com/{version}"
    return {"apiVersion": api_version, "kind": "Host", "metadata": {"name": name, "namespace": "default"}, **content}


async def failing(call):
    with pytest.raises(StatusError) as failure:
        await call
    return failure.value.code, failure.value.message


async def test_every_verb_goes_through_the_webhook(client, webhook):
    made = await client.create(V2, host("a", host="h", port="80"))
    assert (made["apiVersion"], made["host"], made["port"]) == ("stable.example.com/v2", "h", "80")
    stored = await client.get(V1, "a", "default")
    assert stored["hostPort"] == "h:80" and "host" not in stored
    made["port"] = "81"
    assert (await client.update(V2, made))["port"] == "81"
    patched = await client.patch(V2, "a", {"host": "g"}, "default")
    assert (patched["host"], patched["port"]) == ("g", "81")
    assert (await client.get(V1, "a", "default"))["hostPort"] == "g:81"
    deleted = await client.request("DELETE", "/apis/stable.example.com/v2/namespaces/default/hosts/a")
    assert deleted["status"] == "Success"


async def test_lists_are_converted_in_one_review(client, webhook):
    for name in "abc":
        await client.create(V1, host(name, "v1", hostPort=f"{name}:1"))
    webhook.reviews.clear()
    found = await client.request("GET", "/apis/stable.example.com/v2/hosts")
    assert [(i["apiVersion"], i["host"]) for i in found["items"]] == [("stable.example.com/v2", n) for n in "abc"]
    assert [len(r["request"]["objects"]) for r in webhook.reviews] == [3]
    # What was converted once is not asked about again.
    found = await client.request("GET", "/apis/stable.example.com/v2/hosts", query={"fieldSelector": "host=b"})
    assert [i["metadata"]["name"] for i in found["items"]] == ["b"] and len(webhook.reviews) == 1
    found = await client.request("GET", "/apis/stable.example.com/v1/hosts", query={"fieldSelector": "hostPort=c:1"})
    assert [i["metadata"]["name"] for i in found["items"]] == ["c"]
    page = await client.request("GET", "/apis/stable.example.com/v2/hosts", query={"limit": "2"})
    rest = {"limit": "2", "continue": page["metadata"]["continue"]}
    page = await client.request("GET", "/apis/stable.example.com/v2/hosts", query=rest)
    assert [i["host"] for i in page["items"]] == ["c"]
    table = await client.request(
        "GET", "/apis/stable.example.com/v2/hosts", accept="application/json;as=Table;v=v1;g=meta.k8s.io"
    )
    assert [r["cells"][0] for r in table["rows"]] == ["a", "b", "c"]


async def test_watches_see_what_their_version_selects(client, webhook):
    made = await client.create(V1, host("a", "v1", hostPort="h1:80"))
    stream = client.watch(V2, resource_version=made["metadata"]["resourceVersion"], field_selector="host=h1")
    await client.create(V1, host("b", "v1", hostPort="h2:80"))
    await client.create(V1, host("c", "v1", hostPort="h1:90"))
    first = await anext(stream)
    assert (first.type, first.object["metadata"]["name"], first.object["port"]) == ("ADDED", "c", "90")
    await client.patch(V1, "c", {"hostPort": "h3:90"}, "default")
    second = await anext(stream)
    assert (second.type, second.object["host"]) == ("DELETED", "h1")
    await client.delete(V1, "a", "default")
    third = await anext(stream)
    assert (third.type, third.object["metadata"]["name"]) == ("DELETED", "a")
    await stream.aclose()


async def test_a_webhook_may_change_labels_and_annotations_and_no_identity(client, webhook):
    await client.create(V1, host("a", "v1", hostPort="h:1"))

    def with_labels(review):
        answer = webhook.converted(review)
        for obj in answer["response"]["convertedObjects"]:
            obj["metadata"] = {**obj["metadata"], "labels": {"by": "webhook"}, "finalizers": ["x.io/stolen"]}
        return answer

    webhook.answer = with_labels
    found = await client.get(V2, "a", "default")
    assert found["metadata"]["labels"] == {"by": "webhook"} and "finalizers" not in found["metadata"]


BEGIN = "conversion webhook for stable.example.com/v1, Kind=Host "


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: {}, "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got "),
        (lambda r: {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1"}, "failed: no response provided"),
        (lambda r: Webhook.response(r, uid="x", result={"status": "Success"}), 'failed: expected response.uid="'),
        (lambda r: Webhook.response(r, result={"status": "Failure", "message": "no!"}), "failed: no!"),
        (lambda r: Webhook.response(r, result={}), "failed: response.result.status was '', not 'Success'"),
        (lambda r: Webhook.response(r, result={"status": "Success"}), "returned 0 objects, expected 1"),
        (lambda r: altered(r, apiVersion="stable.example.com/v9"), "returned invalid object at index 0: invalid groupVersion (expected stable.example.com/v2, received stable.example.com/v9)"),
        (lambda r: altered(r, kind="Other"), "returned invalid object at index 0: invalid kind (expected Host, received Other)"),
        (lambda r: altered(r, metadata={"name": "z", "namespace": "default"}), "returned invalid object: must have the same name: a != z"),
        (lambda r: altered(r, metadata=[]), "returned invalid metadata: invalid metadata of type []interface {} in converted object"),
        (lambda r: altered_metadata(r, uid="u"), "returned invalid object: must have the same UID: "),
        (lambda r: altered_metadata(r, labels={"a": 1}), "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"),
        (lambda r: altered_metadata(r, labels={"-": "x"}), "returned invalid metadata: metadata.labels: Invalid value: "),
        (lambda r: b"garbage", "failed: couldn't get version/kind; json parse error"),
        (lambda r: [], "failed: "),
    ],
)  # fmt: skip
async def test_answers_that_are_none(client, webhook, change, words):
    await client.create(V1, host("a", "v1", hostPort="h:1"))
    webhook.answer = change
    code, message = await failing(client.get(V2, "a", "default"))
    assert code == 500 and message.startswith(BEGIN + words)
    assert (await failing(client.request("GET", "/apis/stable.example.com/v2/hosts")))[0] == 500
    # The stored version needs no conversion, and the next answer may be better.
    assert (await client.get(V1, "a", "default"))["hostPort"] == "h:1"
    webhook.answer = None
    assert (await client.get(V2, "a", "default"))["host"] == "h"


def altered(review, **changes):
    objects = [{**Webhook.convert(dict(o), "stable.example.com/v2"), **changes} for o in review["request"]["objects"]]
    return Webhook.response(review, convertedObjects=objects, result={"status": "Success"})


def altered_metadata(review, **changes):
    return altered(review, metadata={**review["request"]["objects"][0]["metadata"], **changes})


async def test_a_webhook_that_hangs_fails_in_time(client, webhook, monkeypatch):
    await client.create(V1, host("a", "v1", hostPort="h:1"))
    monkeypatch.setattr(conversion, "TIMEOUT", 0.05)

    async def hang():
        await asyncio.sleep(30)

    webhook.answer = lambda review: hang()
    code, message = await failing(client.get(V2, "a", "default"))
    assert code == 500 and message.startswith(BEGIN + 'failed: Post "https://127.0.0.1:')
    assert message.endswith("context deadline exceeded")


async def test_a_webhook_that_nobody_serves(client, certificate):
    await established(client, definition("https://127.0.0.1:1/convert", certificate[1]))
    await client.create(V1, host("a", "v1", hostPort="h:1"))
    code, message = await failing(client.get(V2, "a", "default"))
    assert code == 500
    assert message == BEGIN + (
        'failed: Post "https://127.0.0.1:1/convert?timeout=30s": dial tcp 127.0.0.1:1: connect: connection refused'
    )


async def test_a_watch_ends_with_the_error_of_its_conversion(client, webhook):
    made = await client.create(V1, host("a", "v1", hostPort="h:1"))
    stream = client.watch(V2, resource_version=made["metadata"]["resourceVersion"])
    webhook.answer = lambda review: {}
    await client.create(V1, host("b", "v1", hostPort="h:1"))
    with pytest.raises(StatusError) as failure:
        async for _ in stream:
            pass
    assert failure.value.message.startswith(BEGIN)


async def test_a_bundle_that_is_none_keeps_a_definition_from_being_established(client):
    crd = definition("https://127.0.0.1:1/convert", base64.b64encode(b"nonsense").decode())
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
    async for event in client.watch(
        CUSTOM_RESOURCE_DEFINITIONS, field_selector="metadata.name=hosts.stable.example.com"
    ):
        conditions = {c["type"]: c for c in event.object["status"].get("conditions") or ()}
        if "Established" in conditions:
            break
    assert (conditions["Established"]["status"], conditions["Established"]["reason"]) == ("False", "InvalidCABundle")


class Left(list):
    """Tells when what is in it has gone."""

    def __init__(self, items):
        super().__init__(items)
        self.empty = asyncio.Event()

    def remove(self, item):
        super().remove(item)
        self.empty.set()


async def test_a_watch_ends_with_its_connection(server, client, webhook):
    made = await client.create(V1, host("a", "v1", hostPort="h:1"))
    front, ready = HttpServer(server, server.clock), asyncio.Event()
    serving = asyncio.create_task(front.run("127.0.0.1", 0, started=ready))
    try:
        await ready.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        version = made["metadata"]["resourceVersion"]
        target = f"/apis/stable.example.com/v2/hosts?watch=1&resourceVersion={version}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" in head.lower() and b"gzip" not in head.lower()
        await client.create(V1, host("b", "v1", hostPort="g:1"))
        await reader.readline()
        assert json.loads(await reader.readline())["object"]["host"] == "g"
        dispatcher = server.definitions.served["hosts.stable.example.com"].dispatcher
        (told,) = dispatcher.closing
        dispatcher.closing = Left([told])
        writer.close()
        async with asyncio.timeout(5):
            await dispatcher.closing.empty.wait()
    finally:
        serving.cancel()
        await asyncio.wait([serving])
