"""Conditional requests: ETags of discovery and OpenAPI, URLs with a hash, and that both change with what is served."""

import calendar
import email.utils
import time

import orjson

from pybernetes.api.resources import CUSTOM_RESOURCE_DEFINITIONS
from pybernetes.client.rest import Client
from pybernetes.client.transport import HttpTransport

from .test_custom import definition, established
from .test_http import exchange, front  # noqa: F401

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
DOCUMENTS = [
    ("/openapi/v2", "application/json"),
    ("/openapi/v2", OPENAPI_V2),
    ("/openapi/v3/apis/apps/v1", "application/json"),
    ("/apis", AGGREGATED),
    ("/api", AGGREGATED),
]


async def ask(front, path, **headers):  # noqa: F811
    """(status, headers, body)"""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"Host": "x", **headers}.items()]
    text = f"GET {path} HTTP/1.1\r\n{''.join(lines)}Connection: close\r\n\r\n"
    head, _, body = (await exchange(front, text.encode())).partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in fields)]
    assert len(dict(pairs)) == len(pairs), f"a header comes twice: {pairs}"
    return int(first.split()[1]), dict(pairs), body


async def test_who_has_the_document_is_not_sent_it_again(front):  # noqa: F811
    tags = set()
    for path, accept in DOCUMENTS:
        status, headers, body = await ask(front, path, Accept=accept)
        etag = headers["etag"]
        assert status == 200 and body and headers["vary"] == "Accept"
        assert len(etag) == 130 and etag[0] == etag[-1] == '"' and etag == etag.upper()
        status, headers, body = await ask(front, path, Accept=accept, If_None_Match=etag)
        assert (status, body) == (304, b"") and headers["etag"] == etag and "content-type" not in headers
        status, _, body = await ask(front, path, Accept=accept, If_None_Match='"odd"')
        assert status == 200 and body
        tags.add(etag)
    assert len(tags) == len(DOCUMENTS)


async def test_discovery_may_be_kept_and_other_answers_may_not(front):  # noqa: F811
    assert (await ask(front, "/apis", Accept=AGGREGATED))[1]["cache-control"] == "public"
    assert (await ask(front, "/openapi/v3/apis/apps/v1"))[1]["cache-control"] == "no-cache, private"
    assert (await ask(front, "/apis"))[1]["cache-control"] == "no-cache, private"


async def index(front):  # noqa: F811
    paths = orjson.loads((await ask(front, "/openapi/v3"))[2])["paths"]
    return {path: entry["serverRelativeURL"] for path, entry in paths.items()}


async def test_a_url_with_a_hash_never_changes_what_it_names(front):  # noqa: F811
    url = (await index(front))["apis/apps/v1"]
    status, headers, body = await ask(front, url)
    assert status == 200 and "io.k8s.api.apps.v1.Deployment" in orjson.loads(body)["components"]["schemas"]
    assert headers["cache-control"] == "public, immutable"
    expires = calendar.timegm(email.utils.parsedate(headers["expires"]))
    assert abs(expires - time.time() - 365 * 24 * 3600) < 300
    assert headers["etag"] == f'"{url.partition("?hash=")[2]}"'
    status, headers, _ = await ask(front, "/openapi/v3/apis/apps/v1?hash=ODD")
    assert (status, headers["location"]) == (301, url)


async def test_what_is_no_form_of_the_document_is_not_acceptable(front):  # noqa: F811
    assert (await ask(front, "/openapi/v3/apis/apps/v1", Accept="text/html"))[0] == 406
    assert (await ask(front, "/openapi/v2", Accept="text/html"))[0] == 406


async def test_a_definition_changes_the_documents_that_it_is_in_and_no_others(front):  # noqa: F811
    client = Client(HttpTransport("127.0.0.1", front.port))
    before, tags = await index(front), [(await ask(front, p, Accept=a))[1]["etag"] for p, a in DOCUMENTS]
    crd = await established(client, definition())
    made, new_tags = await index(front), [(await ask(front, p, Accept=a))[1]["etag"] for p, a in DOCUMENTS]
    assert {p: u for p, u in made.items() if before.get(p) != u}.keys() == {"apis/example.com", "apis/example.com/v1"}
    assert [a == b for a, b in zip(tags, new_tags, strict=True)] == [False, False, True, False, True]
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["more"] = {"type": "string"}
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
    async for event in client.watch(CUSTOM_RESOURCE_DEFINITIONS, resource_version="0"):
        if event.object["spec"]["versions"][0]["schema"] == crd["spec"]["versions"][0]["schema"]:
            break
    changed = await index(front)
    assert [p for p, u in changed.items() if made[p] != u] == ["apis/example.com/v1"]
    status, headers, _ = await ask(front, made["apis/example.com/v1"])
    assert (status, headers["location"]) == (301, changed["apis/example.com/v1"])
