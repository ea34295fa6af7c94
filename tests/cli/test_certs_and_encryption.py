"""``p8s certs`` and ``p8s encryption`` as a person uses them; the exchange of keys against a real API server process."""

import asyncio
import base64
import contextlib
import socket
import subprocess
import sys
import time

import pytest
import yaml

from pybernetes.api.resources import SECRETS
from pybernetes.cli.main import main
from pybernetes.client import kubeconfig
from pybernetes.cluster import certificates
from pybernetes.cluster.components import apiserver_arguments
from pybernetes.cluster.layout import Layout, Settings

WORD = "the-plain-word-of-this-test"


def run(capsys, *arguments):
    """(exit code, standard output, standard error)"""
    code = 0
    try:
        main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path)
    layout.create()
    pki = certificates.ensure_pki(layout.pki, now=time.time(), sans=["localhost", "127.0.0.1"])
    certificates.ensure_kubeconfig(
        layout.admin_kubeconfig, pki, certificates.SUPER_ADMIN, "https://127.0.0.1:1", now=time.time()
    )
    return layout


def test_expiry_is_shown_and_renewed(layout, capsys):
    code, out, _ = run(capsys, "certs", "check-expiration", f"--data-dir={layout.data}")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [line[0] for line in lines if line] == [
        "CERTIFICATE", "apiserver", "apiserver-kubelet-client", "front-proxy-client", "kubeconfig", "CERTIFICATE", "ca",
        "front-proxy-ca",
    ]  # fmt: skip
    assert [line[-1] for line in lines[1:5]] == ["ca", "ca", "front-proxy-ca", "ca"]
    before = {p: p.read_bytes() for p in [*layout.pki.iterdir(), layout.admin_kubeconfig]}
    code, out, _ = run(capsys, "certs", "renew", "all", f"--data-dir={layout.data}")
    assert code == 0 and out.count("renewed") == 4
    changed = {p.name for p, old in before.items() if p.read_bytes() != old}
    assert changed == {
        "apiserver.crt", "apiserver.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key",
        "front-proxy-client.crt", "front-proxy-client.key", "kubeconfig",
    }  # fmt: skip


def test_errors_are_one_line(layout, tmp_path, capsys):
    code, _, err = run(capsys, "certs", "renew", "nonsense", f"--data-dir={layout.data}")
    assert (code, err.count("\n")) == (1, 1) and "no certificate 'nonsense'" in err
    code, _, err = run(capsys, "certs", "check-expiration", f"--data-dir={tmp_path / 'none'}")
    assert (code, err.count("\n")) == (1, 1) and "p8s up" in err
    code, _, err = run(capsys, "encryption", "rotate", f"--data-dir={layout.data}")
    assert (code, err.count("\n")) == (1, 1) and "encryption init" in err


@contextlib.contextmanager
def api_server(layout, settings):
    command = [sys.executable, "-m", "pybernetes.cli.main", *apiserver_arguments(layout, settings)]
    with (layout.logs / "apiserver.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", settings.api_port), 1):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_keys_are_exchanged_while_the_server_runs(layout, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = Settings(nodes=0, api_port=probe.getsockname()[1])
    document = kubeconfig.load(layout.admin_kubeconfig)
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{settings.api_port}"
    kubeconfig.write(layout.admin_kubeconfig, document)
    assert run(capsys, "encryption", "init", f"--data-dir={layout.data}")[0] == 0
    first = yaml.safe_load(layout.encryption_file.read_text())["resources"][0]["providers"][0]["secretbox"]["keys"]
    with api_server(layout, settings):
        _make_secret(layout)
        code, out, err = run(capsys, "encryption", "rotate", f"--data-dir={layout.data}")
        assert (code, err) == (0, ""), (layout.logs / "apiserver.log").read_text()
        assert out.startswith("Rewrote ") and not out.startswith("Rewrote 0")
        assert _read_secret(layout) == WORD
    providers = yaml.safe_load(layout.encryption_file.read_text())["resources"][0]["providers"]
    assert [k["name"] for k in providers[0]["secretbox"]["keys"]] == ["key2"] and len(providers) == 1
    assert providers[0]["secretbox"]["keys"][0]["secret"] != first[0]["secret"]
    with api_server(layout, settings):
        # A new process with nothing but the new key.
        assert _read_secret(layout) == WORD
    stored = b"".join(p.read_bytes() for p in layout.store.iterdir() if p.is_file())
    assert b"k8s:enc:secretbox:v1:key2:" in stored
    assert WORD.encode() not in stored and base64.b64encode(WORD.encode()) not in stored


def _with_client(layout, work):
    async def do():
        client = kubeconfig.client_from_kubeconfig(layout.admin_kubeconfig)
        try:
            return await work(client)
        finally:
            client.transport.close()

    return asyncio.run(do())


def _make_secret(layout):
    metadata = {"name": "s", "namespace": "kube-system"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"word": WORD}}
    _with_client(layout, lambda client: client.create(SECRETS, secret))


def _read_secret(layout):
    secret = _with_client(layout, lambda client: client.get(SECRETS, "s", "kube-system"))
    return base64.b64decode(secret["data"]["word"]).decode()
