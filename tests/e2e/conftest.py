"""A real cluster for end-to-end tests: ``p8s up`` with containers, driven by the real kubectl. Root and containerd needed."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pybernetes.cluster.preflight import missing_packages

P8S = [sys.executable, "-m", "pybernetes.cli.main"]


def lack() -> str:
    """Why these tests cannot run here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root"
    if missing_packages():
        return f"needs the packages {', '.join(missing_packages())}"
    if not Path("/bin/busybox").exists():
        return "needs the package busybox-static"
    return ""


def pytest_collection_modifyitems(items):
    reason = lack()
    for item in items:
        if "tests/e2e" in str(item.path):
            item.add_marker(pytest.mark.containers)
            item.add_marker(pytest.mark.timeout(300))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class RealCluster:
    """``p8s`` and ``kubectl`` for one data directory."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.port = free_port()

    def p8s(self, *arguments, check=True, path="", stdin=None):
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
        done = subprocess.run(
            [*P8S, *arguments, "--data-dir", str(self.data)],
            capture_output=True, text=True, timeout=180, env=environment, input=stdin,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"p8s {' '.join(arguments)}: {done.stdout}{done.stderr}{self.last_words()}"
        return done

    def last_words(self):
        logs = sorted((self.data / "logs").glob("*.log"))
        return "".join(f"\n--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def up(self, *arguments):
        return self.p8s("up", "--api-port", str(self.port), *arguments)

    def kubectl(self, *arguments, stdin=None, check=True, timeout=90):
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.data / "kubeconfig"), *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout if check else done

    def kubectl_eventually(self, *arguments, timeout=30):
        """For what must work again soon: a process of ours was killed."""
        deadline = time.monotonic() + timeout
        while (done := self.kubectl(*arguments, check=False)).returncode != 0:
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.1)
        return done.stdout


def make_web_image(directory: Path, tag: str, page: str) -> Path:
    """busybox' httpd on port 80 with one page, under any name: no registry is asked."""
    root = directory / f"root-{tag.replace('/', '-').replace(':', '-')}"
    (root / "bin").mkdir(parents=True)
    (root / "www").mkdir()
    (root / "tmp").mkdir()
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in ("sh", "bash", "httpd", "cat", "ls", "wget", "sleep", "env", "hostname", "nslookup", "tar", "id"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "www" / "index.html").write_text(page)
    archive = directory / f"{root.name}.tar"
    subprocess.run(
        [*P8S, "image", "build", "--tag", tag, "--output", str(archive), str(root), "--",
         "/bin/httpd", "-f", "-p", "80", "-h", "/www"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return archive


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of one node with the images nginx:1.19, nginx:1.20 and nginx, gone without a trace afterwards."""
    directory = tmp_path_factory.mktemp("cluster")
    made = RealCluster(directory)
    made.up()
    try:
        images = [make_web_image(directory, f"nginx:{v}", f"version {v}\n") for v in ("1.19", "1.20", "latest")]
        made.p8s("image", "load", *map(str, images))
        yield made
    finally:
        made.p8s("down", "--purge")


@pytest.fixture(scope="session")
def kubectl_there():
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")


@pytest.fixture
def kubectl(cluster, kubectl_there):
    return cluster.kubectl
