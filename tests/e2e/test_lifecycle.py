"""``p8s up`` and ``down`` as a user does them: what comes back, what is left, what survives a kill."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import RealCluster, make_web_image


def machine_state():
    """What a cluster could leave behind on the machine."""
    links = {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))}
    routes = {r["dst"] for r in json.loads(subprocess.check_output(["ip", "-json", "route"]))}
    tables = set(subprocess.check_output(["nft", "list", "tables"], text=True).splitlines())
    namespaces = {p.name for p in Path("/run/netns").glob("*")} if Path("/run/netns").exists() else set()
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
    cgroups = {str(p) for p in Path("/sys/fs/cgroup").glob("**/pybernetes-*")}
    sockets = {str(p) for p in Path("/run/pybernetes").glob("*")} if Path("/run/pybernetes").exists() else set()
    return {
        "links": links, "routes": routes, "tables": tables, "namespaces": namespaces,
        "mounts": mounts - {"/run/netns"}, "cgroups": cgroups, "sockets": sockets,
    }  # fmt: skip


def processes_below(directory):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            found.append(command)
    return found


@pytest.fixture
def fresh(tmp_path):
    made = RealCluster(tmp_path)
    yield made
    made.p8s("down", "--purge")


def test_up_again_says_so_and_down_leaves_nothing(fresh):
    before = machine_state()
    assert "Cluster is up" in fresh.up("--nodes", "2").stdout
    hostname = "jsonpath={.items[*].metadata.labels.kubernetes\\.io/hostname}"
    assert fresh.kubectl("get", "nodes", "-o", hostname) == "node-0 node-1"
    again = fresh.up()
    assert again.returncode == 0 and "already running" in again.stdout
    assert "apiserver" in fresh.p8s("status").stdout
    fresh.p8s("down", "--purge")
    assert machine_state() == before
    assert processes_below(fresh.data) == []
    assert not fresh.data.exists()


def test_objects_come_back_and_pods_run_again(fresh, tmp_path):
    fresh.up()
    fresh.p8s("image", "load", str(make_web_image(tmp_path, "web:1", "hello\n")))
    fresh.kubectl("create", "deployment", "web", "--image=web:1")
    fresh.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    uid = fresh.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.uid}")
    fresh.p8s("down")
    fresh.up()
    assert fresh.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.uid}") == uid
    fresh.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=60s")


def test_killed_processes_come_back_and_containers_run_on(fresh, tmp_path):
    fresh.up()
    fresh.p8s("image", "load", str(make_web_image(tmp_path, "web:1", "hello\n")))
    fresh.kubectl("create", "deployment", "web", "--image=web:1")
    fresh.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    started = "jsonpath={.items[0].status.containerStatuses[0].state.running.startedAt}"
    before = fresh.kubectl("get", "pods", "-l", "app=web", "-o", started)
    for name in ("apiserver", "controlplane", "node-0"):
        pid = next(int(line.split()[1]) for line in fresh.p8s("status").stdout.splitlines() if line.startswith(name))
        os.kill(pid, signal.SIGKILL)
    fresh.kubectl_eventually("get", "--raw", "/readyz")
    fresh.kubectl_eventually("create", "configmap", "after", "--from-literal=a=b")
    fresh.kubectl("wait", "--for=condition=Ready", "node/node-0", "--timeout=60s")
    assert fresh.kubectl("get", "pods", "-l", "app=web", "-o", started) == before
    restarts = "jsonpath={.items[0].status.containerStatuses[0].restartCount}"
    assert fresh.kubectl("get", "pods", "-l", "app=web", "-o", restarts) == "0"


def test_a_failing_start_leaves_nothing(tmp_path):
    before = machine_state()
    made = RealCluster(tmp_path)
    with subprocess.Popen(["busybox", "httpd", "-f", "-p", str(made.port)]) as squatter:
        try:
            time.sleep(0.3)
            failed = made.p8s("up", "--api-port", str(made.port), check=False)
        finally:
            squatter.terminate()
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1 and f"port {made.port} is in use" in failed.stderr
    assert machine_state() == before
