"""A pod reaches the API with nothing but what it finds in itself, and may do what its account may; certificates are renewed under it."""

import json
import os
import shutil
import subprocess
import time

import pytest

from .conftest import P8S

KUBECTL = os.path.realpath(shutil.which("kubectl") or "/nonexistent")

RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""


@pytest.fixture(scope="module")
def image(cluster, tmp_path_factory):
    """kubectl, and nothing else: no kubeconfig, no certificates."""
    directory = tmp_path_factory.mktemp("image")
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(KUBECTL, root / "bin" / "kubectl")
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    archive = directory / "kubectl.tar"
    build = [*P8S, "image", "build", "--tag", "kubectl:test", "--output", str(archive), str(root), "--", "/bin/kubectl"]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    cluster.p8s("image", "load", str(archive))
    cluster.kubectl("create", "namespace", "inside")
    cluster.kubectl("apply", "-n", "inside", "-f", "-", stdin=RIGHTS)
    return "kubectl:test"


def run_inside(cluster, image, name, *arguments, account="reader"):
    """(exit code, log) of a pod that runs kubectl."""
    container = {"name": "c", "image": image, "imagePullPolicy": "Never", "args": list(arguments)}
    spec = {"serviceAccountName": account, "restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "inside"}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    deadline = time.monotonic() + 60
    while True:
        status = json.loads(cluster.kubectl("get", "pod", name, "-n", "inside", "-o", "json"))["status"]
        if status.get("phase") in ("Succeeded", "Failed"):
            break
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    code = status["containerStatuses"][0]["state"]["terminated"]["exitCode"]
    return code, cluster.kubectl("logs", name, "-n", "inside")


def test_a_pod_is_who_its_account_is_and_may_what_that_may(cluster, image):
    code, log = run_inside(cluster, image, "whoami", "auth", "whoami", "-o", "json")
    assert code == 0, log
    user = json.loads(log)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:inside:reader"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["whoami"]
    assert "system:serviceaccounts:inside" in user["groups"]
    code, log = run_inside(cluster, image, "lists", "get", "pods", "-n", "inside", "-o", "name")
    assert (code, "pod/lists" in log.splitlines()) == (0, True), log
    code, log = run_inside(cluster, image, "curious", "get", "secrets", "-n", "inside")
    words = 'User "system:serviceaccount:inside:reader" cannot list resource "secrets" in API group "" in the namespace "inside"'
    assert (code, words in log) == (1, True), log
    code, log = run_inside(cluster, image, "stranger", "get", "pods", "-n", "inside", account="default")
    assert (code, 'User "system:serviceaccount:inside:default" cannot list resource "pods"' in log) == (1, True), log


def test_the_name_of_the_service_is_in_its_certificate(cluster, image):
    """By name, with the authority that the pod was given and no other."""
    mount = "/var/run/secrets/kubernetes.io/serviceaccount"
    reach = ["--server=https://kubernetes.default.svc", f"--certificate-authority={mount}/ca.crt"]
    # With flags that say where, kubectl takes no token from the pod but asks for a user. The version is told to whoever asks.
    code, log = run_inside(cluster, image, "named", *reach, "--username=x", "--password=x", "get", "--raw", "/version")
    assert (code, "gitVersion" in log) == (0, True), log


def test_renewed_certificates_are_taken_and_pods_go_on(cluster, image):
    shown = cluster.p8s("certs", "check-expiration").stdout
    assert "apiserver " in shown and "controller-manager.conf" in shown
    before = cluster.kubectl("config", "view", "--raw", "-o", "jsonpath={.users[0].user.client-certificate-data}")
    assert "renewed" in cluster.p8s("certs", "renew", "all").stdout
    after = cluster.kubectl("config", "view", "--raw", "-o", "jsonpath={.users[0].user.client-certificate-data}")
    assert before != after
    assert cluster.kubectl("auth", "can-i", "delete", "nodes") == "yes\n"
    code, log = run_inside(cluster, image, "after", "auth", "can-i", "list", "pods", "-n", "inside")
    assert (code, log) == (0, "yes\n")
