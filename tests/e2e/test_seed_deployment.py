"""The deployment flow of the introduction that users bring along, command by command as it is printed there."""

import subprocess
import time
import urllib.request

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx-deployment
spec:
  replicas: 3
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
      - name: nginx
        image: nginx:1.19
        ports:
        - containerPort: 80
        livenessProbe:
          httpGet:
            path: /
            port: 80
          initialDelaySeconds: 1
          periodSeconds: 10
        readinessProbe:
          httpGet:
            path: /
            port: 80
          initialDelaySeconds: 1
          periodSeconds: 1
"""

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: nginx-pod
  labels:
    app: nginx-pod
spec:
  containers:
  - name: nginx-container
    image: nginx:1.19
    ports:
    - containerPort: 80
    env:
    - name: ENV_VAR
      value: "production"
    resources:
      requests:
        memory: "64Mi"
        cpu: "250m"
      limits:
        memory: "128Mi"
        cpu: "500m"
"""


def test_namespace_and_deployment(kubectl):
    assert (
        kubectl("apply", "-f", "-", stdin="apiVersion: v1\nkind: Namespace\nmetadata:\n  name: my-app\n")
        == "namespace/my-app created\n"
    )
    created = kubectl("apply", "-f", "-", "-n", "my-app", stdin=MANIFEST)
    assert created == "deployment.apps/nginx-deployment created\n"
    kubectl("rollout", "status", "deployment", "nginx-deployment", "-n", "my-app", "--timeout=60s")
    lines = kubectl("get", "pods", "-n", "my-app").splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [line.split()[1:4] for line in lines[1:]] == [["1/1", "Running", "0"]] * 3


def test_apply_again_changes_nothing(kubectl):
    assert kubectl("apply", "-f", "-", "-n", "my-app", stdin=MANIFEST) == "deployment.apps/nginx-deployment unchanged\n"


def test_expose_and_reach(kubectl):
    kubectl("expose", "deployment", "nginx-deployment", "--port=80", "--type=LoadBalancer", "-n", "my-app")
    columns = kubectl("get", "services", "-n", "my-app").splitlines()[1].split()
    assert columns[:2] == ["nginx-deployment", "LoadBalancer"]
    with urllib.request.urlopen(f"http://{columns[2]}/", timeout=10) as answer:
        assert answer.read() == b"version 1.19\n"


def test_describe_shows_conditions_and_events(kubectl):
    shown = kubectl("describe", "deployment", "nginx-deployment", "-n", "my-app")
    assert "3 desired | 3 updated | 3 total | 3 available | 0 unavailable" in shown
    assert "Available      True    MinimumReplicasAvailable" in shown
    assert "ScalingReplicaSet" in shown


def test_scale(kubectl):
    kubectl("scale", "deployment", "nginx-deployment", "--replicas=5", "-n", "my-app")
    kubectl("rollout", "status", "deployment/nginx-deployment", "-n", "my-app", "--timeout=60s")
    assert len(kubectl("get", "pods", "-n", "my-app", "-o", "name").split()) == 5


def test_rolling_update_history_and_undo(kubectl):
    kubectl("set", "image", "deployment", "nginx-deployment", "nginx=nginx:1.20", "-n", "my-app")
    rolled = kubectl("rollout", "status", "deployment", "nginx-deployment", "-n", "my-app", "--timeout=90s")
    assert "successfully rolled out" in rolled
    address = kubectl("get", "service", "nginx-deployment", "-n", "my-app", "-o", "jsonpath={.spec.clusterIP}")
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        assert answer.read() == b"version 1.20\n"
    history = kubectl("rollout", "history", "deployment", "nginx-deployment", "-n", "my-app")
    assert [line.split()[0] for line in history.splitlines()[2:4]] == ["1", "2"]
    undone = kubectl("rollout", "undo", "deployment", "nginx-deployment", "-n", "my-app")
    assert undone == "deployment.apps/nginx-deployment rolled back\n"
    kubectl("rollout", "status", "deployment", "nginx-deployment", "-n", "my-app", "--timeout=90s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deployment", "nginx-deployment", "-n", "my-app", "-o", image) == "nginx:1.19"


def test_a_pod_with_environment_resources_logs_and_exec(kubectl):
    kubectl("apply", "-f", "-", "-n", "my-app", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/nginx-pod", "-n", "my-app", "--timeout=60s")
    assert kubectl("exec", "nginx-pod", "-n", "my-app", "--", "sh", "-c", "echo $ENV_VAR") == "production\n"
    assert kubectl("exec", "-i", "nginx-pod", "-n", "my-app", "--", "cat", stdin="through stdin\n") == "through stdin\n"
    failed = kubectl("exec", "nginx-pod", "-n", "my-app", "--", "sh", "-c", "exit 7", check=False)
    assert failed.returncode == 7
    described = kubectl("describe", "pod", "nginx-pod", "-n", "my-app")
    assert "cpu:     250m" in described and "QoS Class:" in described and "Started" in described
    assert kubectl("logs", "nginx-pod", "-n", "my-app") == ""


def test_port_forward(cluster, kubectl):
    command = [
        "kubectl",
        "--kubeconfig",
        str(cluster.data / "kubeconfig"),
        "port-forward",
        "nginx-pod",
        ":80",
        "-n",
        "my-app",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        try:
            port = forwarding.stdout.readline().split(":")[1].split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                assert answer.read() == b"version 1.19\n"
        finally:
            forwarding.terminate()


def test_config_map_secret_labels_and_events(kubectl):
    kubectl("create", "configmap", "app-config", "--from-literal=LOGGING_LEVEL=INFO", "-n", "my-app")
    kubectl("create", "secret", "generic", "db-secret", "--from-literal=password=password", "-n", "my-app")
    secret = kubectl("get", "secret", "db-secret", "-n", "my-app", "-o", "jsonpath={.data.password}")
    assert secret == "cGFzc3dvcmQ="
    kubectl("label", "pod", "nginx-pod", "tier=front", "-n", "my-app")
    kubectl("annotate", "pod", "nginx-pod", "note=hello", "-n", "my-app")
    assert kubectl("get", "pods", "-l", "tier=front", "-n", "my-app", "-o", "name") == "pod/nginx-pod\n"
    events = kubectl("get", "events", "-n", "my-app", "--sort-by=.metadata.creationTimestamp")
    assert "Successfully assigned my-app/" in events


def test_a_claim_is_bound_and_its_data_outlives_the_pod(kubectl):
    claim = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: my-pvc}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 10Gi}}
"""
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: app-with-storage}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: nginx
    imagePullPolicy: IfNotPresent
    volumeMounts: [{name: storage, mountPath: /data}]
  volumes: [{name: storage, persistentVolumeClaim: {claimName: my-pvc}}]
"""
    kubectl("apply", "-f", "-", "-n", "my-app", stdin=claim)
    for expected in ("", "kept\n"):
        kubectl("apply", "-f", "-", "-n", "my-app", stdin=pod)
        kubectl("wait", "--for=condition=Ready", "pod/app-with-storage", "-n", "my-app", "--timeout=60s")
        read = kubectl("exec", "app-with-storage", "-n", "my-app", "--", "sh", "-c", "cat /data/f 2>/dev/null || true")
        assert read == expected
        kubectl("exec", "app-with-storage", "-n", "my-app", "--", "sh", "-c", "echo kept > /data/f")
        kubectl("delete", "pod", "app-with-storage", "-n", "my-app", "--timeout=60s")


def test_what_is_wrong_is_said_in_upstreams_words(kubectl):
    unknown = kubectl(
        "apply", "-f", "-", "-n", "my-app", stdin=POD.replace("  containers:", "  contaners:", 1), check=False
    )
    assert unknown.returncode == 1
    assert 'unknown field "spec.contaners"' in unknown.stderr
    wrong = POD.replace("containerPort: 80", "containerPort: eighty").replace("nginx-pod", "other")
    mistyped = kubectl("apply", "-f", "-", "-n", "my-app", stdin=wrong, check=False)
    assert mistyped.returncode == 1 and "cannot unmarshal string into Go struct field" in mistyped.stderr
    twice = kubectl("create", "namespace", "my-app", check=False)
    assert 'namespaces "my-app" already exists' in twice.stderr
    missing = POD.replace("nginx:1.19", "nowhere/nothing:1").replace("nginx-pod", "lost")
    kubectl("apply", "-f", "-", "-n", "my-app", stdin=missing)
    deadline = time.monotonic() + 30
    while (
        "ErrImagePull" not in (shown := kubectl("get", "pod", "lost", "-n", "my-app"))
        and "ImagePullBackOff" not in shown
    ):
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)


def test_deleting_the_namespace_ends(kubectl):
    kubectl("delete", "namespace", "my-app", "--timeout=120s", timeout=150)
    assert kubectl("get", "namespace", "my-app", check=False).returncode == 1
