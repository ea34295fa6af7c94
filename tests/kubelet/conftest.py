"""Shared helpers: what a test of real containers needs, a private containerd, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pybernetes.concurrency import RealClock
from pybernetes.kubelet import cgroups, cni, linux
from pybernetes.kubelet.containerd import Containerd, ContainerdError, ContainerdSettings, find_cni_bin_dir, shims_of
from pybernetes.kubelet.cri import CRIClient
from pybernetes.kubelet.runtime import images
from pybernetes.kubelet.runtime.archive import Layer, build


def missing_for_containers() -> str:
    """Why no container can run here ('' where one can)."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("containerd", "ctr", "runc"):
        if shutil.which(program) is None:
            return f"needs {program}"
    try:
        find_cni_bin_dir()
    except ContainerdError as failure:
        return str(failure)
    if not Path("/bin/busybox").exists():
        return "needs /bin/busybox (apt-get install busybox-static or busybox)"
    return ""


def pytest_collection_modifyitems(items):
    why = missing_for_containers() if any(i.get_closest_marker("containers") for i in items) else ""
    if why:
        for item in items:
            if item.get_closest_marker("containers"):
                item.add_marker(pytest.mark.skip(reason=why))


BUSYBOX = "pybernetes.local/busybox:test"


def busybox_archive() -> bytes:
    """An image of this machine's busybox, with its shared libraries where it has any."""

    layer = Layer()
    layer.copy("/bin/busybox")
    listed = subprocess.run(["ldd", "/bin/busybox"], capture_output=True, text=True, check=False).stdout
    for word in listed.split():
        if word.startswith("/") and os.path.exists(word):
            layer.copy(os.path.realpath(word), word)
    for name in (
        "sh",
        "cat",
        "echo",
        "sleep",
        "id",
        "ls",
        "mount",
        "wget",
        "httpd",
        "nc",
        "true",
        "false",
        "env",
        "stat",
        "touch",
        "dd",
        "ln",
        "mkfifo",
        "mkdir",
        "rm",
    ):
        layer.symlink(f"bin/{name}", "busybox")
    for directory in ("tmp", "etc", "proc", "sys", "dev"):
        layer.directory(directory, 0o1777 if directory == "tmp" else 0o755)
    layer.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    layer.file("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:50000:user\n")
    return build(BUSYBOX, [layer.finish()], {"Cmd": ["sh"], "Env": ["PATH=/bin"]}, machine=os.uname().machine)


FAULTY_PLUGIN = """\
#!/usr/bin/env python3
import json, os, sys
command, config = os.environ["CNI_COMMAND"], json.load(sys.stdin)
broken = open(config["broken"]).read().split() if os.path.exists(config["broken"]) else []
if command in broken:
    print(json.dumps({"cniVersion": config["cniVersion"], "code": 100, "msg": "no network today"}))
    sys.exit(1)
if command == "ADD":
    print(json.dumps({**config["prevResult"], "cniVersion": config["cniVersion"]}))
"""


def add_faulty_plugin(base: Path, config: dict) -> Path:
    """A directory of the machine's plugins and one more, which fails the commands that ``<base>/broken`` names."""
    directory = base / "cni-bin"
    directory.mkdir()
    for plugin in Path(find_cni_bin_dir()).iterdir():
        (directory / plugin.name).symlink_to(plugin)
    (directory / "faulty").write_text(FAULTY_PLUGIN)
    (directory / "faulty").chmod(0o755)
    config["plugins"].append({"type": "faulty", "broken": str(base / "broken")})
    return directory


class Node:
    """A private containerd with one network; ``base`` holds everything that it writes."""

    def __init__(self, base: Path, name: str, settings: ContainerdSettings, containerd: Containerd, cri: CRIClient):
        self.base, self.name, self.settings, self.containerd, self.cri = base, name, settings, containerd, cri


@asynccontextmanager
async def running_node(tmp_path: Path, *, subnet: str = "10.211.77.0/24", faulty_cni: bool = False):
    clock = RealClock()
    name = f"p8st{os.getpid() % 100000}"
    state = Path("/run") / name
    settings = ContainerdSettings(
        tmp_path / "containerd",
        state,
        tmp_path / "cni",
        images.PAUSE_IMAGE,
        shared_directories=[tmp_path / "kubelet"],
        registry_config_path=str(tmp_path / "registries"),
    )
    config = cni.configuration([subnet], state=state / "cni", bridge=name)
    if faulty_cni:
        settings.cni_bin_dir = str(add_faulty_plugin(tmp_path, config))
    cni.write(settings.cni_conf_dir, config)
    containerd = Containerd(settings, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(containerd.run())
        cri = CRIClient(settings.endpoint)
        try:
            async with clock.timeout(60):
                await containerd.ready.wait()
            await images.ensure_pause(cri, settings.socket, clock)
            archive = tmp_path / "busybox.tar"
            archive.write_bytes(busybox_archive())
            await images.load(settings.socket, [archive])
            while await cri.image_status(BUSYBOX) is None:
                await clock.sleep(0.02)
            yield Node(tmp_path, name, settings, containerd, cri)
        finally:
            task.cancel()
            await cri.close()
            await containerd.purge(keep_images=False)
            for tree in cgroups.ROOT.iterdir():
                if (tree / name).is_dir():
                    await asyncio.to_thread(cgroups.remove_tree, tree / name)
            if Path(f"/sys/class/net/{name}").exists():
                await asyncio.to_thread(subprocess.run, ["ip", "link", "delete", name], check=True)
            await asyncio.to_thread(remove_cgroups, name)
    assert_nothing_left(tmp_path, settings)


def remove_cgroups(name: str) -> None:
    """Those that a kubelet of the test has made: empty by now, in every hierarchy."""
    for top in (*Path("/sys/fs/cgroup").glob(f"*/{name}"), *Path("/sys/fs/cgroup").glob(name)):
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)


def assert_nothing_left(base: Path, settings: ContainerdSettings) -> None:
    assert shims_of(str(settings.socket)) == []
    assert [m.target for m in linux.mounts() if m.target.startswith((str(base), str(settings.state)))] == []
    assert not settings.state.exists()
    assert list(cgroups.ROOT.glob(f"*/{settings.state.name}")) == []


@pytest.fixture
async def node(tmp_path):
    async with running_node(tmp_path) as running:
        yield running


@pytest.fixture
def play(tmp_path, monkeypatch):
    """``play(test)`` runs ``test(node)`` with a kubelet on a virtual clock."""
    from .node_in_memory import in_memory

    def run(test, script=None, **settings):
        in_memory(test, tmp_path, monkeypatch, script, **settings)

    return run
