"""docs/extending.md's plugin, installed as a package is, in a server."""

import asyncio
import random
import re
import sys
from pathlib import Path

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import PODS
from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK
from pybernetes.storage.memory import MemoryStore

PAGE = (Path(__file__).parents[2] / "docs/extending.md").read_text()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package of the page: its module, and the entry point as an installer writes it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (toml,) = re.findall(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)```", PAGE, re.S)
    group, line = toml
    (tmp_path / "acme_admission.py").write_text(code)
    metadata = tmp_path / "acme_admission-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-admission\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("acme_admission", None)


async def create(options, image):
    """The pod as it was stored."""
    clock = RealClock()
    server = compose(MemoryStore(clock), clock, random.Random(1), options)
    await server.start()
    task = asyncio.get_running_loop().create_task(server.run())
    try:
        client = Client(InProcessTransport(server, LOOPBACK))
        spec = {"containers": [{"name": "c", "image": image}], "automountServiceAccountToken": False}
        await client.request("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        return await client.create(PODS, {"metadata": {"name": "x", "namespace": "default"}, "spec": spec})
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_an_installed_plugin_changes_and_refuses(package):
    pod = await create(Options(), "registry.example.com/app:1")
    assert pod["metadata"]["labels"] == {"example.com/checked": "true"}
    with pytest.raises(StatusError) as refused:
        await create(Options(), "docker.io/nginx")
    assert refused.value.message == 'pods "x" is forbidden: image docker.io/nginx is of no known registry'
    assert f"Error from server (Forbidden): {refused.value.message}" in PAGE


async def test_it_can_be_switched_off(package):
    pod = await create(Options(disable_admission=["ImageRegistry"]), "docker.io/nginx")
    assert "labels" not in pod["metadata"]
    await create(Options(enable_admission=["ImageRegistry", "NodeRestriction"]), "registry.k8s.io/x")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"enable_admission": ["Nonsense"]}, 'enable-admission-plugins plugin "Nonsense" is unknown'),
        ({"disable_admission": ["ImageRegistry"]}, 'disable-admission-plugins plugin "ImageRegistry" is unknown'),
        ({"enable_admission": ["Priority"], "disable_admission": ["Priority"]}, "overlapped"),
        (
            {"enable_admission": ["ImagePolicyWebhook"]},
            "ImagePolicyWebhook is a plugin of Kubernetes that is not available",
        ),
    ],
)
async def test_names_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        await create(Options(**options), "x")
