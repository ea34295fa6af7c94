"""One ``p8s apiserver`` in a process of its own, for clients that know nothing of us."""

import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from pybernetes.client import kubeconfig


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory):
    directory = tmp_path_factory.mktemp("apiserver")
    (directory / "tokens.csv").write_text('secret,admin,1,"system:masters"\n')
    log = (directory / "log").open("wb")
    port = _free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from pybernetes.cli.main import main; main()", "apiserver",
            f"--secure-port={port}", "--bind-address=127.0.0.1", f"--data-dir={directory / 'data'}",
            f"--token-auth-file={directory / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdout=log, stderr=log,
    )  # fmt: skip
    url = f"https://127.0.0.1:{port}"
    try:
        _wait_ready(url, process, directory / "log")
        document = kubeconfig.document_for(url, b"", user="admin")
        cluster = document["clusters"][0]["cluster"]
        cluster.pop("certificate-authority-data", None)
        cluster["insecure-skip-tls-verify"] = True
        document["users"][0]["user"] = {"token": "secret"}
        file = directory / "kubeconfig"
        kubeconfig.write(file, document)
        yield SimpleNamespace(url=url, token="secret", kubeconfig=file)
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15)


def _free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def _wait_ready(url, process, log: Path):
    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": "Bearer secret"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(request, context=context, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("not ready: " + log.read_text())
