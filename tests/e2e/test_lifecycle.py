"""``p8s up`` and ``down`` as a user does them: what comes back, what is left, what survives a kill."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pybernetes.cluster.layout import Layout

from .conftest import RealCluster, make_web_image


def left_on_the_machine(data):
    """What carries this cluster's tag or lies below its data: nothing, after ``down``. Other clusters may come and go."""
    tag = Layout.of(data).tag
    links = [link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))]
    routes = [
        r["dst"] for r in json.loads(subprocess.check_output(["ip", "-json", "route"])) if tag in r.get("dev", "")
    ]
    tables = subprocess.check_output(["nft", "list", "tables"], text=True).splitlines()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    # Groups of other clusters may vanish while one looks: ``os.walk`` passes over them.
    groups = [f"{at}/{name}" for at, names, _ in os.walk("/sys/fs/cgroup") for name in names]
    cgroups = [group for group in groups if group.rpartition("/")[2].startswith(f"pybernetes-{tag}")]
    files = [str(p) for d in ("/run/netns", "/run/pybernetes") for p in Path(d).glob(f"*{tag}*")]
    named = [*links, *tables, *mounts]
    return [n for n in named if tag in n or str(data) in n] + routes + cgroups + files + processes_below(data)


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
    assert "Cluster is up" in fresh.up("--nodes", "2").stdout
    hostname = "jsonpath={.items[*].metadata.labels.kubernetes\\.io/hostname}"
    assert fresh.kubectl("get", "nodes", "-o", hostname) == "node-0 node-1"
    again = fresh.up()
    assert again.returncode == 0 and "already running" in again.stdout
    assert "apiserver" in fresh.p8s("status").stdout
    assert left_on_the_machine(fresh.data) != [], "the look itself must see a running cluster"
    fresh.p8s("down", "--purge")
    assert left_on_the_machine(fresh.data) == []
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
    made = RealCluster(tmp_path)
    with subprocess.Popen(["busybox", "httpd", "-f", "-p", str(made.port)]) as squatter:
        try:
            time.sleep(0.3)
            failed = made.p8s("up", "--api-port", str(made.port), check=False)
        finally:
            squatter.terminate()
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1 and f"port {made.port} is in use" in failed.stderr
    assert left_on_the_machine(made.data) == []


def test_a_runtime_that_does_not_start_is_named_and_nothing_is_left(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "containerd").write_text("#!/bin/sh\necho 'containerd: this one is broken' >&2\nexit 1\n")
    (programs / "containerd").chmod(0o755)
    made = RealCluster(tmp_path)
    failed = made.p8s("up", "--api-port", str(made.port), check=False, path=str(programs))
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "node-0 does not start" in failed.stderr and "this one is broken" in failed.stderr
    assert left_on_the_machine(made.data) == []
    made.p8s("down", "--purge")
