"""Answers learned by sending the same requests to upstream's server (``bench/differential.py``), one test a lesson."""

import json

import pytest

from pybernetes.apiserver.command import options_of
from pybernetes.client.transport import ClientRequest

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"
LABELS = {"app": "x"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}}


@pytest.fixture
def send(client):
    async def call(method, path, body=None, content="application/json", **headers):
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
        sent = {"Content-Type": content, **{k.replace("_", "-"): v for k, v in headers.items()}}
        answer = await client.transport.send(ClientRequest(method, path, sent, payload))
        text = await answer.read()
        try:
            return answer, json.loads(text)
        except ValueError:
            return answer, text.decode()

    return call


def owned(obj, manager, subresource=""):
    """The top-level fields that a manager owns."""
    return {
        field
        for entry in obj["metadata"].get("managedFields") or ()
        if entry["manager"] == manager and entry.get("subresource", "") == subresource
        for field in entry["fieldsV1"]
    }


async def test_the_main_endpoint_gives_nobody_the_status(send):
    body = {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}},
    }
    path = "/api/v1/namespaces/default/persistentvolumeclaims?fieldManager=m"
    _, made = await send("POST", path, {**body, "status": {"phase": "Bound"}})
    assert owned(made, "m") == {"f:spec"}
    _, namespace = await send("POST", "/api/v1/namespaces?fieldManager=m", {"metadata": {"name": "new"}})
    assert owned(namespace, "m") == {"f:metadata"}


async def test_an_update_without_status_leaves_its_owner(send):
    await send("POST", f"{DEPLOYMENTS}?fieldManager=m", DEPLOYMENT)
    await send(
        "PATCH", f"{DEPLOYMENTS}/d/status?fieldManager=s", {"status": {"replicas": 3}, "spec": {"replicas": 9}}, MERGE
    )
    answer, after = await send("PUT", f"{DEPLOYMENTS}/d?fieldManager=m", DEPLOYMENT)
    assert answer.status == 200
    assert owned(after, "s", "status") == {"f:status"}
    assert after["status"]["replicas"] == 3
    assert after["spec"]["replicas"] == 1


async def test_a_status_patch_through_main_owns_nothing(send):
    await send("POST", f"{DEPLOYMENTS}?fieldManager=m", DEPLOYMENT)
    _, after = await send("PATCH", f"{DEPLOYMENTS}/d?fieldManager=p", {"status": {"replicas": 3}}, MERGE)
    assert owned(after, "p") == set()


@pytest.mark.parametrize("subresource", ["eviction", "binding"])
async def test_a_nameless_eviction_or_binding_is_refused(send, subresource):
    await send("POST", PODS, {"metadata": {"name": "p"}, "spec": TEMPLATE["spec"]})
    answer, status = await send("POST", f"{PODS}/p/{subresource}", {})
    assert answer.status == 400
    assert status["message"] == f"name in URL does not match name in {subresource.capitalize()} object"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_endpoints_are_deprecated_whatever_is_asked(send, method):
    answer, _ = await send(method, "/api/v1/namespaces/default/endpoints/none", {"metadata": {"name": "none"}})
    warning = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    assert answer.headers["warning"] == warning


async def test_yaml_quotes_what_old_readers_take_for_booleans(send):
    answer, text = await send(
        "POST", MAPS, {"metadata": {"name": "n"}, "data": {"k": "y", "l": "yet"}}, Accept="application/yaml"
    )
    assert answer.status == 201
    assert 'name: "n"' in text
    assert 'k: "y"' in text
    assert "l: yet" in text


async def test_not_acceptable_names_what_the_path_can_send(send):
    answer, status = await send("GET", f"{MAPS}/x", Accept="application/*")
    assert answer.status == 406
    types = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    assert status["message"] == f"406: Not Acceptable\n\nAvailable representations: {types}"
    _, status = await send("GET", f"{MAPS}/x", Accept="application/json;as=Odd;v=v1;g=meta.k8s.io")
    assert status["message"] == f"only the following media types are accepted: {types}"
    assert "details" not in status


async def test_create_beside_an_object_that_is_being_deleted(send):
    body = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await send("POST", MAPS, body)
    await send("DELETE", f"{MAPS}/held")
    answer, status = await send("POST", MAPS, body)
    assert answer.status == 409
    assert status["message"] == 'object is being deleted: configmaps "held" already exists'


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("n in 1", "unable to parse requirement: found '1' expected: '('"),
        ("n in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("n in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
    ],
)
async def test_words_for_broken_selectors(send, selector, words):
    answer, status = await send("GET", f"{MAPS}?labelSelector={selector.replace(' ', '%20')}")
    assert answer.status == 400
    assert words in status["message"]


async def test_a_manager_with_control_characters(send):
    answer, status = await send("POST", f"{MAPS}?fieldManager=a%07b", {"metadata": {"name": "q"}})
    assert answer.status == 422
    assert "invalid character U+0007 (at position 1)" in status["message"]


@pytest.mark.parametrize("path", ["/version", "/api", "/apis", "/openapi/v2"])
async def test_documents_are_only_read(send, path):
    answer, _ = await send("POST", path, {})
    assert answer.status == 405
    answer, _ = await send("GET", path)
    assert answer.status == 200


async def test_kinds_that_are_not_registered(send):
    _, status = await send("POST", MAPS, {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a"}})
    assert status["message"].endswith('in scheme "pkg/api/legacyscheme/scheme.go:30"')


def test_a_server_without_keys_makes_one_and_keeps_it(tmp_path):
    from click.testing import CliRunner

    from pybernetes.apiserver.command import apiserver

    flags = apiserver.make_context("apiserver", ["--data-dir", str(tmp_path)]).params
    first, second = options_of(flags), options_of(flags)
    assert first.signing_key
    assert first.signing_key == second.signing_key
    assert len(first.authentication.service_account_keys) == 1
    assert (tmp_path / "service-account.key").stat().st_mode & 0o077 == 0
    assert CliRunner().invoke(apiserver, ["--help"]).exit_code == 0


async def test_checks_have_upstreams_names(send):
    for path in ("readyz", "livez", "healthz"):
        answer, _ = await send("GET", f"/{path}/poststarthook/rbac/bootstrap-roles")
        assert answer.status == 200
        _, text = await send("GET", f"/{path}?verbose")
        assert "[+]poststarthook/start-kube-apiserver-identity-lease-controller ok\n" in text
        assert text.endswith(f"{path} check passed\n")


@pytest.mark.parametrize(
    "body",
    [{"metadata": "text"}, {"metadata": []}, {"deleteOptions": 5}, {"deleteOptions": {"gracePeriodSeconds": "x"}}],
)
async def test_an_eviction_of_the_wrong_types(send, body):
    await send("POST", PODS, {"metadata": {"name": "p"}, "spec": TEMPLATE["spec"]})
    answer, status = await send("POST", f"{PODS}/p/eviction", body)
    assert answer.status == 400
    assert status["reason"] == "BadRequest"


async def test_an_address_outside_of_the_services_network(send):
    body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}}
    answer, status = await send("POST", "/api/v1/namespaces/default/services", body)
    assert answer.status == 422
    assert status["message"] == (
        'Service "s" is invalid: spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: '
        "the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.96.0.0/12"
    )
