"""The public kubectl on custom resources: large and odd definitions accepted, explained, applied, printed."""

import json
import shutil
import subprocess

import pytest

from .odd_definitions import ALL

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl on the PATH"),
]


@pytest.fixture(scope="module")
def kubectl(apiserver):
    def run(*arguments, stdin="", fails=False):
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={apiserver.kubeconfig}", *arguments],
            input=stdin, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module", autouse=True)
def defined(kubectl):
    for made in ALL.values():
        kubectl("create", "-f", "-", stdin=json.dumps(made()))
    names = [f"crd/{made()['metadata']['name']}" for made in ALL.values()]
    kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    yield
    kubectl("delete", "--wait=true", "--timeout=60s", *names)


@pytest.mark.parametrize(("plural", "lines"), [("flows", 2000), ("certs", 80), ("portals", 20), ("monitors", 500)])
def test_explained_to_the_bottom(kubectl, plural, lines):
    text = kubectl("explain", f"{plural}.{plural}.example.com", "--recursive")
    assert text.startswith("GROUP:") and len(text.splitlines()) > lines
    assert "A sentence about this field" in kubectl("explain", f"{plural}.{plural}.example.com")


def test_listed_with_their_names(kubectl):
    rows = [row.split() for row in kubectl("api-resources", "--categories=odd", "--no-headers").splitlines()]
    assert sorted((row[0], row[-1]) for row in rows) == [
        ("certs", "Cert"), ("flows", "Flow"), ("monitors", "Monitor"), ("portals", "Portal"),
    ]  # fmt: skip


CERT = """
apiVersion: certs.example.com/v1
kind: Cert
metadata: {name: web}
spec:
  secretName: web-tls
  issuer: {name: letters}
  keystores: {pem: {secret: a}}
"""


def test_applied_printed_and_selected(kubectl):
    assert "cert.certs.example.com/web created" in kubectl("apply", "-f", "-", stdin=CERT)
    assert "cert.certs.example.com/web unchanged" in kubectl("apply", "-f", "-", stdin=CERT)
    changed = CERT.replace("letters", "words")
    assert "cert.certs.example.com/web configured" in kubectl("apply", "-f", "-", stdin=changed)
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    kubectl("patch", "crt", "web", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    rows = kubectl("get", "crt", "-o", "wide").splitlines()
    assert rows[0].split() == ["NAME", "READY", "SECRET", "ISSUER", "AGE"]
    assert rows[1].split()[:4] == ["web", "True", "web-tls", "words"]
    assert "web" in kubectl("get", "certs", "--field-selector=spec.issuer.name=words")
    assert "No resources found" in kubectl("get", "certs", "--field-selector=spec.issuer.name=letters")
    assert "cert.certs.example.com/web" in kubectl("get", "odd", "-o", "name")
    assert "spec.secretName: Required value" in kubectl(
        "apply", "-f", "-", stdin=CERT.replace("  secretName: web-tls\n", ""), fails=True
    )
    both = CERT.replace("{pem: {secret: a}}", "{pem: {secret: a}, jks: {secret: b}}")
    assert "must validate one and only one schema (oneOf). Found 2 valid alternatives" in kubectl(
        "apply", "-f", "-", stdin=both, fails=True
    )
    assert 'strict decoding error: unknown field "spec.extra"' in kubectl(
        "apply", "-f", "-", stdin=CERT + "  extra: 1\n", fails=True
    )


PORTAL = """
apiVersion: portals.example.com/v1
kind: Portal
metadata: {name: front}
spec:
  listeners:
  - {name: a, port: 80}
  - {name: b, port: 443, protocol: HTTPS, tls: {mode: Terminate}}
"""


def test_rules_are_obeyed_in_every_version(kubectl):
    assert "created" in kubectl("apply", "-f", "-", stdin=PORTAL)
    twice = PORTAL.replace("port: 443, protocol: HTTPS, tls: {mode: Terminate}", "port: 80")
    assert "Combination of port, protocol and hostname must be unique" in kubectl(
        "apply", "-f", "-", stdin=twice, fails=True
    )
    plain = PORTAL.replace("protocol: HTTPS", "protocol: TCP")
    assert "tls must not be specified for protocols" in kubectl("apply", "-f", "-", stdin=plain, fails=True)
    old = kubectl("get", "portals.v1alpha2.portals.example.com", "front", "-o", "json")
    assert "Warning: v1alpha2 goes away soon" in old
    assert json.loads(old[: old.rindex("}") + 1])["apiVersion"] == "portals.example.com/v1alpha2"
    words = "Warning: portals.example.com/v1alpha1 Portal is deprecated; use portals.example.com/v1 Portal"
    assert words in kubectl("get", "portals.v1alpha1.portals.example.com", "front")


def test_scaled(kubectl):
    made = {
        "apiVersion": "monitors.example.com/v1", "kind": "Monitor", "metadata": {"name": "m"}, "spec": {"replicas": 1},
    }  # fmt: skip
    kubectl("create", "-f", "-", stdin=json.dumps(made))
    assert "monitor.monitors.example.com/m scaled" in kubectl("scale", "monitors/m", "--replicas=4")
    assert kubectl("get", "monitors", "m", "-o", "jsonpath={.spec.replicas}") == "4"
