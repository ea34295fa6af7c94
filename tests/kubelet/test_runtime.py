"""The runtime: our pause program, archives, and a private containerd that leaves nothing behind."""

import io
import platform
import signal
import subprocess
import tarfile

import orjson
import pytest

from pybernetes.kubelet.containerd import ContainerdSettings, crun_understands, render_config
from pybernetes.kubelet.runtime import images
from pybernetes.kubelet.runtime.archive import Layer, build
from pybernetes.kubelet.runtime.pause import pause_binary

from .conftest import BUSYBOX


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no pause program for this machine")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_pause_waits_for_a_signal(tmp_path, number):
    program = tmp_path / "pause"
    program.write_bytes(pause_binary(platform.machine()))
    program.chmod(0o755)
    with subprocess.Popen([program]) as process:
        process.send_signal(signal.SIGCHLD)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.send_signal(number)
        assert process.wait(5) == 0


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_pause_is_a_small_elf(machine):
    binary = pause_binary(machine)
    assert binary.startswith(b"\x7fELF\x02\x01") and len(binary) < 300


def test_no_pause_program_for_an_unknown_machine():
    with pytest.raises(ValueError, match="no pause program for s390x"):
        pause_binary("s390x")


def test_archive_is_reproducible_and_complete(tmp_path):
    def make():
        layer = Layer()
        layer.file("a/b/c", b"x", 0o755)
        layer.symlink("a/l", "b/c")
        return build("example.org/x:1", [layer.finish()], {"Cmd": ["/a/b/c"]}, machine="x86_64")

    archive = make()
    assert archive == make()
    whole = tarfile.open(fileobj=io.BytesIO(archive))  # noqa: SIM115
    index = orjson.loads(whole.extractfile("index.json").read())
    entry = index["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "example.org/x:1"
    path = "blobs/sha256/" + entry["digest"].removeprefix("sha256:")
    manifest = orjson.loads(whole.extractfile(path).read())
    layer_path = "blobs/sha256/" + manifest["layers"][0]["digest"].removeprefix("sha256:")
    with tarfile.open(fileobj=whole.extractfile(layer_path)) as inner:
        names = inner.getnames()
    assert names == ["a", "a/b", "a/b/c", "a/l"]


def test_config_quotes_what_it_is_given(tmp_path):
    settings = ContainerdSettings(tmp_path / 'a"b', tmp_path, tmp_path, "pause:1")
    text = render_config(settings, runtime="/usr/bin/crun", snapshotter="native", cni_bin_dir="/opt/cni/bin")
    assert f'root = "{tmp_path}/a\\"b"' in text and 'BinaryName = "/usr/bin/crun"' in text


@pytest.mark.parametrize(
    ("crun", "containerd", "fits"),
    [
        ("crun version 1.8.1\ncommit: x", "containerd github.com/containerd/containerd 1.6.20~ds1", True),
        ("crun version 1.8.1\ncommit: x", "containerd github.com/containerd/containerd/v2 v2.3.7", False),
        ("crun version 1.14.1", "containerd github.com/containerd/containerd 1.7.12", True),
        ("crun version 1.21", "containerd github.com/containerd/containerd/v2 v2.1.0", True),
    ],
)
def test_crun_must_understand_the_bundles_of_containerd(crun, containerd, fits):
    assert crun_understands(crun, containerd) is fits


async def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(images.ImageError, match="no such file"):
        await images.load("/nowhere.sock", [tmp_path / "absent.tar"], ctr="/bin/true")


@pytest.mark.containers
async def test_a_container_runs_in_a_private_containerd(node):
    config = {
        "metadata": {"name": "p", "uid": "u", "namespace": "default"},
        "log_directory": str(node.base / "logs"),
        "linux": {"cgroup_parent": f"/{node.name}"},
    }
    sandbox = await node.cri.run_pod_sandbox(config)
    container = {
        "metadata": {"name": "c"},
        "image": {"image": BUSYBOX},
        "command": ["sh", "-c", "echo hello; trap 'exit 3' TERM; while true; do sleep 0.05; done"],
        "log_path": "c.log",
    }
    identity = await node.cri.create_container(sandbox, container, config)
    await node.cri.start_container(identity)
    assert (await node.cri.exec_sync(identity, ["sh", "-c", "id -u; exit 4"])).exit_code == 4
    with pytest.raises(TimeoutError):
        await node.cri.exec_sync(identity, ["sleep", "60"], timeout=1)
    await node.cri.stop_container(identity, 5)
    status = (await node.cri.container_status(identity))["status"]
    assert (status["state"], status["exit_code"]) == ("CONTAINER_EXITED", 3)
    assert " stdout F hello\n" in (node.base / "logs" / "c.log").read_text()
