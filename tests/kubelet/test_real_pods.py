"""Real containers under the real kubelet and API server: what a user sees, and what is left after faults."""

import asyncio
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from pybernetes.api.meta import uid_of
from pybernetes.api.resources import CONFIG_MAPS, PODS
from pybernetes.kubelet import linux
from pybernetes.kubelet.runtime.archive import Layer, build

from .builders import pod
from .real_node import FOREVER, ready, real_node, shell

pytestmark = pytest.mark.containers


@pytest.fixture
async def node(tmp_path):
    async with real_node(tmp_path) as real:
        yield real


async def test_what_a_container_finds(node):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"k": "from the map"}}
    await node.client.create(CONFIG_MAPS, config, "default")
    script = (
        "cat /conf/k /etc/hosts /etc/resolv.conf; echo; echo $WHO $(hostname) $(id -u):$(id -g); id -G; cat /mem/x; "
        + FOREVER
    )
    c = shell(
        script,
        env=[{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        volumeMounts=[
            {"name": "conf", "mountPath": "/conf"},
            {"name": "mem", "mountPath": "/mem"},
            {"name": "token", "mountPath": "/token"},
        ],
        securityContext={"runAsUser": 1000, "runAsGroup": 1000},
        resources={"requests": {"cpu": "50m"}, "limits": {"memory": "64Mi"}},
    )
    init = shell("echo written by init > /mem/x", "init", volumeMounts=[{"name": "mem", "mountPath": "/mem"}])
    volumes = [{"name": "conf", "configMap": {"name": "conf"}}, {"name": "mem", "emptyDir": {"medium": "Memory"}}]
    context = {"fsGroup": 4242}
    p = pod(c, init=(init,), volumes=volumes, securityContext=context, hostname="named", dnsPolicy="Default")
    token = {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    p["spec"]["volumes"].append(token)
    created = await node.create(p)
    running = await node.until(ready, timeout=30)
    text = await node.until_logged(created, "written by init")
    assert "from the map" in text
    assert f"{running['status']['podIP']}\tnamed" in text and "p named 1000:1000" in text and "4242" in text
    read = await node.execute(created, "cat /token/token | head -c 20")
    assert read.stdout.startswith(b"eyJ") and read.exit_code == 0
    tried = await node.execute(created, "touch /conf/x /token/x; cat /conf/k")
    assert tried.stderr.count(b"Read-only file system") == 2 and tried.stdout == b"from the map"
    limit = Path(
        f"/sys/fs/cgroup/memory/{node.node.name}/kubepods/burstable/pod{uid_of(created)}/memory.limit_in_bytes"
    )
    if limit.exists():
        assert int(limit.read_text()) == 64 << 20


async def test_probes_and_restarts_of_a_real_server(node):
    c = shell(
        "mkdir /w; echo ok > /w/ok; httpd -p 8080 -h /w; " + FOREVER,
        ports=[{"name": "web", "containerPort": 8080}],
        readinessProbe={"httpGet": {"path": "/ok", "port": "web"}, "periodSeconds": 1},
        livenessProbe={
            "httpGet": {"path": "/live", "port": 8080},
            "periodSeconds": 1,
            "initialDelaySeconds": 2,
            "failureThreshold": 1,
        },
        startupProbe={"tcpSocket": {"port": "web"}, "periodSeconds": 1},
    )
    await node.create(pod(c, terminationGracePeriodSeconds=2))
    await node.until(ready, timeout=30)
    await node.until(lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1, timeout=30)
    assert "Liveness probe failed: HTTP probe failed with statuscode: 404" in await node.events("Unhealthy")


async def test_how_containers_end(node):
    await node.create(
        pod(
            shell("echo why > /dev/termination-log; exit 3", "a"),
            shell("echo last words; exit 4", "b", terminationMessagePolicy="FallbackToLogsOnError"),
            shell("x=a; while true; do x=$x$x; done", "oom", resources={"limits": {"memory": "16Mi"}}),
            restartPolicy="Never",
        )
    )
    ended = await node.until_phase("Failed", timeout=60)
    states = {s["name"]: s["state"]["terminated"] for s in ended["status"]["containerStatuses"]}
    assert (states["a"]["exitCode"], states["a"]["message"]) == (3, "why\n")
    assert (states["b"]["exitCode"], states["b"]["message"]) == (4, "last words\n")
    assert (states["oom"]["exitCode"], states["oom"]["reason"]) == (137, "OOMKilled")


async def test_a_container_that_ignores_sigterm(node):
    await node.create(pod(shell("trap '' TERM; while true; do sleep 0.1; done"), terminationGracePeriodSeconds=2))
    await node.until(ready, timeout=30)
    begun = node.clock.monotonic()
    await node.client.delete(PODS, "p", "default")
    await node.until_gone(timeout=30)
    assert 1.5 <= node.clock.monotonic() - begun < 15


async def test_a_hostile_sub_path_does_not_escape(node):
    """CVE-2017-1002101: a link that one container makes must not give another the host's files."""
    volume = {"name": "v", "emptyDir": {}}
    attack = shell(
        "ln -s / /v/root; ln -s ../../../../../.. /v/up", "attack", volumeMounts=[{"name": "v", "mountPath": "/v"}]
    )
    for name, path in (("one", "root"), ("two", "up/etc")):
        mount = {"name": "v", "mountPath": "/host", "subPath": path}
        victim = shell("ls /host", volumeMounts=[mount])
        await node.create(pod(victim, init=(attack,), volumes=[volume], meta={"name": name}))
        failed = await node.until(lambda p: "CreateContainerConfigError" in str(p.get("status")), name, timeout=30)
        message = failed["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
        assert message == 'failed to prepare subPath for volumeMount "v" of container "c"'


class Registry:
    """As much of the distribution API as a pull asks for, over one OCI archive."""

    def __init__(self, archive: bytes):
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
        self.blobs = {k.replace("blobs/sha256/", "sha256:"): v for k, v in files.items() if k.startswith("blobs/")}
        self.manifest = json.loads(files["index.json"])["manifests"][0]
        self.asked = []

    async def answer(self, reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, path, _ = head.decode().split(" ", 2)
            self.asked.append(f"{method} {path.partition('?')[0]}")
            name = path.partition("?")[0].rpartition("/")[2]
            digest = name if name.startswith("sha256:") else self.manifest["digest"]
            body = self.blobs[digest]
            kind = self.manifest["mediaType"] if "/manifests/" in path else "application/octet-stream"
            fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nDocker-Content-Digest: {digest}\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode() + (body if method == "GET" else b""))
            await writer.drain()


async def test_an_image_as_a_volume_is_pulled_and_read_only(node):
    """containerd 1.6 cannot mount images: the kubelet does. Where a registry is reached is said as containerd says it."""
    layer = Layer()
    layer.file("data.txt", b"of the image")
    layer.file("etc/deep/er", b"deep")
    name = "registry.example.com/some/data:1"
    registry = Registry(build(name, [layer.finish()], {}, machine=os.uname().machine))
    server = await asyncio.start_server(registry.answer, "127.0.0.1", 0)
    hosts = node.node.base / "registries" / "registry.example.com"
    hosts.mkdir(parents=True)
    port = server.sockets[0].getsockname()[1]
    hosts.joinpath("hosts.toml").write_text(f'[host."http://127.0.0.1:{port}"]\ncapabilities = ["pull", "resolve"]\n')
    volume = {"name": "v", "image": {"reference": name, "pullPolicy": "Always"}}
    mounts = [{"name": "v", "mountPath": "/whole"}, {"name": "v", "mountPath": "/part", "subPath": "etc/deep"}]
    for _ in range(2):
        created = await node.create(pod(shell(FOREVER, volumeMounts=mounts), volumes=[volume]))
        await node.until(ready, timeout=30)
        read = await node.execute(created, "cat /whole/data.txt /part/er; touch /whole/x || echo refused")
        assert read.stdout.split(b"\n")[0] == b"of the imagedeeprefused"
        directory = node.kubelet.settings.pod_dir(uid_of(created))
        await node.client.delete(PODS, "p", "default", grace_period_seconds=0)
        await node.until_gone("p", timeout=30)
        async with node.clock.timeout(30):
            while directory.exists():
                await node.clock.sleep(0.05)
        assert not [m for m in linux.mounts() if m.target.startswith(str(directory))]
    # The second time its layers are there, but the tag is asked about again.
    assert [a for a in registry.asked if a.endswith("/manifests/1")] == ["HEAD /v2/some/data/manifests/1"] * 2
    server.close()
