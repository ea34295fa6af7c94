"""The public kubectl against the API server alone."""

import json
import shutil
import subprocess

import pytest

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl on the PATH"),
]


@pytest.fixture
def kubectl(apiserver):
    def run(*arguments, stdin="", fails=False):
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={apiserver.kubeconfig}", *arguments],
            input=stdin, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout + done.stderr if fails else done.stdout

    return run


MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: kc}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: kc}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: kc}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def test_apply_and_what_follows(kubectl):
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "deployment.apps/web unchanged" in kubectl("apply", "-f", "-", stdin=MANIFEST)
    changed = MANIFEST.replace("nginx", "nginx:2")
    assert "+      - image: nginx:2" in kubectl("diff", "-f", "-", stdin=changed, fails=True)
    assert "deployment.apps/web configured" in kubectl("apply", "-f", "-", stdin=changed)
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed.replace("replicas: 2", "replicas: 3")
    )
    rows = kubectl("get", "deploy", "-n", "kc", "-o", "wide").splitlines()
    assert rows[0].split()[:5] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert rows[1].split()[:2] == ["web", "0/3"]
    kubectl("scale", "deploy/web", "-n", "kc", "--replicas=4")
    assert kubectl("get", "deploy", "web", "-n", "kc", "-o", "jsonpath={.spec.replicas}") == "4"
    assert "4" in kubectl("get", "deploy", "web", "-n", "kc", "--subresource=scale")
    kubectl("set", "image", "deploy/web", "c=nginx:3", "-n", "kc")
    kubectl("label", "deploy/web", "tier=front", "-n", "kc")
    kubectl("annotate", "deploy/web", "note=hello", "-n", "kc")
    kubectl("patch", "deploy/web", "-n", "kc", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/tier"}]')
    kubectl("expose", "deploy/web", "--name=node", "--type=NodePort", "--port=80", "-n", "kc")
    service = json.loads(kubectl("get", "svc", "node", "-n", "kc", "-o", "json"))
    assert service["spec"]["ports"][0]["nodePort"] >= 30000
    assert "Image:         nginx:3" in kubectl("describe", "deploy", "web", "-n", "kc")
    assert kubectl("delete", "deploy,svc", "--all", "-n", "kc").count("deleted") == 3


def test_a_list_in_one_document(kubectl):
    """kubectl validates it with the OpenAPI v2 document, which it takes in protobuf."""
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "listed"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "listed"}, "data": {"a": "b"}},
    ]  # fmt: skip
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert kubectl("apply", "-f", "-", stdin=text) == "namespace/listed created\nconfigmap/one created\n"
    assert kubectl("get", "cm", "one", "-n", "listed", "-o", "jsonpath={.data.a}") == "b"


def test_errors_are_upstreams(kubectl):
    assert 'namespaces "nope" not found' in kubectl("create", "cm", "x", "-n", "nope", fails=True)
    assert kubectl("get", "pod", "nope", fails=True) == 'Error from server (NotFound): pods "nope" not found\n'
    bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nnope: 1\n"
    assert 'unknown field "nope"' in kubectl("apply", "-f", "-", stdin=bad, fails=True)
    assert "metadata.name: Invalid value" in kubectl("create", "ns", "Bad_Name", fails=True)


def test_discovery_and_explain(kubectl):
    assert "Server Version: v1.36" in kubectl("version")
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "leases.coordination.k8s.io"} <= set(names)
    assert "apps/v1" in kubectl("api-versions").split()
    assert "maxSurge\t<IntOrString>" in kubectl("explain", "deployment.spec.strategy.rollingUpdate", "--recursive")


def test_auth_and_raw(kubectl):
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert '"major"' in kubectl("get", "--raw", "/version")
    assert kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == "admin"
    assert kubectl("auth", "can-i", "create", "pods", "--as=nobody", fails=True) == "no\n"
    everything = kubectl("auth", "can-i", "--list").splitlines()
    assert any(line.split()[:1] == ["*.*"] and line.endswith("[*]") for line in everything)
    little = kubectl("auth", "can-i", "--list", "--as=nobody")
    assert "selfsubjectreviews.authentication.k8s.io" in little and "*.*" not in little
    jane = ("--as=jane", "--as-group=devs", "--as-group=ops", "--as-uid=7")
    shown = kubectl("auth", "whoami", *jane, "-o", "jsonpath={.status.userInfo}")
    assert json.loads(shown) == {"username": "jane", "uid": "7", "groups": ["devs", "ops", "system:authenticated"]}


def test_auth_reconcile(kubectl):
    role = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]
roleRef: {kind: Role, name: reader, apiGroup: rbac.authorization.k8s.io}
"""
    first = kubectl("auth", "reconcile", "-f", "-", stdin=role)
    assert "role.rbac.authorization.k8s.io/reader reconciled" in first
    assert "rolebinding.rbac.authorization.k8s.io/reader reconciled" in first
    assert kubectl("auth", "can-i", "get", "pods", "--as=jane") == "yes\n"
    more = role.replace("verbs: [get]", "verbs: [list]")
    assert "role.rbac.authorization.k8s.io/reader reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=more)
    for verb in ("get", "list"):  # what was there stays
        assert kubectl("auth", "can-i", verb, "pods", "--as=jane") == "yes\n"
    assert kubectl("auth", "can-i", "delete", "pods", "--as=jane", fails=True) == "no\n"


def test_watch_and_wait(kubectl):
    kubectl("create", "cm", "waited")
    kubectl("wait", "--for=jsonpath={.metadata.name}=waited", "cm/waited", "--timeout=10s")
    kubectl("create", "ns", "gone")
    kubectl("delete", "ns", "gone", "--wait=false")
    assert "Terminating" in kubectl("get", "ns", "gone")
