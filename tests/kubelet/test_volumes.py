"""Volumes on a real file system: atomic updates, ownership, and subPaths that hostile links cannot lead outside."""

import contextlib
import ctypes
import os
import stat
import threading

import pytest

from pybernetes.kubelet import linux
from pybernetes.kubelet.pod.env import Place
from pybernetes.kubelet.pod.model import MESSAGE_PATH, Container
from pybernetes.kubelet.runtime_cache import termination_message
from pybernetes.kubelet.volumes import subpath
from pybernetes.kubelet.volumes.manager import remove_pod_volumes
from pybernetes.kubelet.volumes.ownership import set_group
from pybernetes.kubelet.volumes.payload import Fetched, File, VolumeError, check_path, fs_user, payload_of
from pybernetes.kubelet.volumes.sources import host_path
from pybernetes.kubelet.volumes.writer import write_atomically

from .builders import container, pod

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def write(target, payload, now=1_700_000_000.0):
    return write_atomically(target, payload, now, lambda path: None)


def test_files_appear_change_and_vanish_in_one_step(tmp_path):
    assert write(tmp_path, {"a": File(b"1"), "d/e/b": File(b"2", 0o600)})
    assert (tmp_path / "a").read_text() == "1" and (tmp_path / "d/e/b").read_text() == "2"
    assert stat.S_IMODE((tmp_path / "d/e/b").stat().st_mode) == 0o600
    assert os.readlink(tmp_path / "a") == "..data/a" and os.readlink(tmp_path / "d") == "..data/d"
    first = os.readlink(tmp_path / "..data")
    assert first.startswith("..2023_11_14_22_13_20.")
    assert not write(tmp_path, {"a": File(b"1"), "d/e/b": File(b"2", 0o600)})
    assert write(tmp_path, {"a": File(b"3")})
    assert (tmp_path / "a").read_text() == "3" and not (tmp_path / "d").is_symlink()
    assert sorted(os.listdir(tmp_path)) == sorted(["a", "..data", os.readlink(tmp_path / "..data")])
    assert not (tmp_path / first).exists()


def test_an_interrupted_write_is_mended(tmp_path):
    write(tmp_path, {"a": File(b"1"), "b": File(b"2")})
    (tmp_path / "b").unlink()
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    assert write(tmp_path, {"a": File(b"1"), "b": File(b"2")})
    assert (tmp_path / "b").read_text() == "2"


def test_an_open_directory_keeps_its_view(tmp_path):
    write(tmp_path, {"a": File(b"old"), "b": File(b"old")})
    view = os.open(tmp_path / "..data", os.O_PATH | os.O_DIRECTORY)
    held = os.open("a", os.O_RDONLY, dir_fd=view)
    write(tmp_path, {"a": File(b"new"), "b": File(b"new")})
    assert os.read(held, 10) == b"old"
    os.close(held)
    os.close(view)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"])
def test_paths_that_lead_outside_are_refused(path):
    with pytest.raises(VolumeError):
        check_path(path)


def fetched(**more):
    values = {"config_maps": {}, "secrets": {}, "tokens": {}, "bundles": {}}
    return Fetched(**(values | more))


def test_payloads():
    config = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AP8="}}
    secret = {"data": {"k": "czNj"}}
    p = pod(container("c", securityContext={"runAsUser": 7}), meta={"labels": {"l": "v"}})
    source = fetched(config_maps={"m": config}, secrets={"s": secret}, tokens={("", 3600): "jwt"})
    whole = payload_of({"configMap": {"name": "m", "defaultMode": 0o400}}, p, source, Place())
    assert whole == {"a": File(b"1", 0o400), "b": File(b"2", 0o400), "c": File(b"\x00\xff", 0o400)}
    chosen = {"secret": {"secretName": "s", "items": [{"key": "k", "path": "x/y", "mode": 0o444}]}}
    assert payload_of(chosen, p, source, Place()) == {"x/y": File(b"s3c", 0o444)}
    projected = {
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"configMap": {"name": "none", "optional": True}},
            ]
        }
    }
    found = payload_of(projected, p, fetched(tokens={("", 3600): "jwt"}, config_maps={"none": None}), Place())
    assert found == {"token": File(b"jwt", 0o600, 7), "labels": File(b'l="v"')}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}},
            "configmap references non-existent config key: z",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}},
            "secret references non-existent secret key: z",
        ),
    ],
)
def test_sources_that_are_not_there(volume, message):
    source = fetched(config_maps={"m": {"data": {}}, "none": None}, secrets={"s": {"data": {}}, "none": None})
    with pytest.raises(VolumeError, match=message):
        payload_of(volume, pod(), source, Place())


def test_whose_token_it_is():
    def user(n):
        return container(f"c{n}", securityContext={"runAsUser": n})

    assert fs_user(pod(user(1), user(1))) == 1
    assert fs_user(pod(user(1), user(2))) is None
    assert fs_user(pod(user(1), container("d"), securityContext={"runAsUser": 1})) == 1
    assert fs_user(pod()) is None


@needs_root
def test_fs_group(tmp_path):
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "d/f").chmod(0o600)
    outside = tmp_path.parent / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    (tmp_path / "link").symlink_to(outside)
    set_group(tmp_path, 4242)
    file, directory = (tmp_path / "d/f").stat(), (tmp_path / "d").stat()
    assert (file.st_gid, stat.S_IMODE(file.st_mode)) == (4242, 0o660)
    assert (directory.st_gid, stat.S_IMODE(directory.st_mode)) == (4242, 0o2770)
    assert outside.stat().st_gid == 0 and stat.S_IMODE(outside.stat().st_mode) == 0o600
    (tmp_path / "d/f").chmod(0o600)
    set_group(tmp_path, 4242, on_root_mismatch=True)
    assert stat.S_IMODE((tmp_path / "d/f").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("Directory", "f", "is not a directory"),
        ("File", "d", "is not a file"),
        ("Socket", "f", "is not a socket"),
        ("Directory", "none", "is not a directory"),
        ("CharDevice", "f", "is not a character device"),
    ],
)
def test_host_path_types(tmp_path, kind, name, message):
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    with pytest.raises(VolumeError, match=message):
        host_path({"path": str(tmp_path / name), "type": kind})


def test_host_paths_that_are_made(tmp_path):
    assert host_path({"path": str(tmp_path / "a/b"), "type": "DirectoryOrCreate"}).path.is_dir()
    assert host_path({"path": str(tmp_path / "f"), "type": "FileOrCreate"}).path.is_file()


# -- subPath -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path):
    root = tmp_path / "volume"
    (root / "dir/inner").mkdir(parents=True)
    (root / "file").write_text("x")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("k")
    return root


def reached(volume, path, **more):
    with subpath.opened(volume, path, **more) as descriptor:
        return os.readlink(f"/proc/self/fd/{descriptor}")


def test_what_is_inside(volume):
    assert reached(volume, "dir/inner") == f"{volume}/dir/inner"
    assert reached(volume, "./dir//inner/") == f"{volume}/dir/inner"
    assert reached(volume, "file") == f"{volume}/file"
    (volume / "link").symlink_to("dir/inner")
    (volume / "dir/up").symlink_to("../file")
    assert reached(volume, "link") == f"{volume}/dir/inner"
    assert reached(volume, "dir/up") == f"{volume}/file"


@pytest.mark.parametrize(
    "target",
    [
        "/etc",
        "../secret",
        "../../../../../../etc/passwd",
        "dir/../../secret",
        "/proc/self/root",
        "dir/inner/../../../secret/key",
    ],
)
def test_links_that_lead_outside(volume, target):
    (volume / "evil").symlink_to(target)
    with pytest.raises(VolumeError, match="outside of its volume"):
        reached(volume, "evil")
    with pytest.raises(VolumeError):
        reached(volume, "evil/x", create_mode=0o755)


def test_links_in_a_circle(volume):
    (volume / "a").symlink_to("b")
    (volume / "b").symlink_to("a")
    with pytest.raises(VolumeError, match="too many symbolic links"):
        reached(volume, "a")


def test_a_directory_is_made_with_the_mode_of_the_volume(volume):
    reached(volume, "new/one", create_mode=0o2770)
    assert stat.S_IMODE((volume / "new/one").stat().st_mode) == 0o2770
    with pytest.raises(FileNotFoundError):
        reached(volume, "absent")
    with pytest.raises(NotADirectoryError):
        reached(volume, "file/x")


def test_nothing_is_made_through_a_dangling_link(volume, tmp_path):
    (volume / "dangling").symlink_to("../made-outside")
    with pytest.raises(VolumeError):
        reached(volume, "dangling", create_mode=0o755)
    assert not (tmp_path / "made-outside").exists()


@pytest.mark.parametrize("path", ["/abs", "..", "a/../b", "../x"])
def test_sub_paths_that_are_refused_by_their_text(path):
    with pytest.raises(VolumeError):
        subpath.check(path)


@needs_root
def test_a_mounted_part_is_the_inode_that_was_checked(volume, tmp_path):
    """CVE-2021-25741: swapping the directory for a link after the check changes nothing."""
    target = tmp_path / "mounted"
    subpath.bind(volume, "dir/inner", target)
    try:
        (volume / "dir/inner").rmdir()
        (volume / "dir/inner").symlink_to(tmp_path / "secret")
        assert os.listdir(target) == []
        with pytest.raises(VolumeError):
            subpath.bind(volume, "dir/inner", tmp_path / "again")
    finally:
        remove_pod_volumes(tmp_path)


@needs_root
def test_a_file_can_be_mounted_and_all_is_taken_down(volume, tmp_path):
    own = tmp_path / "pods/u1"
    subpath.bind(volume, "file", own / "volume-subpaths/v/c/0")
    subpath.bind(volume, "file", own / "volume-subpaths/v/c/0")
    assert (own / "volume-subpaths/v/c/0").read_text() == "x"
    remove_pod_volumes(own)
    assert not own.exists() and (volume / "file").read_text() == "x"


# -- published attacks -----------------------------------------------------------------------------------------------------


@needs_root
def test_a_link_that_is_swapped_all_the_time_never_leads_outside(volume, tmp_path):
    """CVE-2021-25741 and CVE-2017-1002101 as a race: the part is now a directory, now a link to the host's files."""
    (volume / "part").mkdir()
    (volume / "link").symlink_to(tmp_path / "secret")
    over = threading.Event()

    def swap():
        while not over.is_set():
            linux_exchange(volume / "part", volume / "link")

    swapping = threading.Thread(target=swap)
    swapping.start()
    mounted = refused = 0
    target = tmp_path / "pods/u/volume-subpaths/v/c/0"
    try:
        while mounted < 50 or refused < 50:
            try:
                subpath.bind(volume, "part/inner" if (mounted + refused) % 2 else "part", target)
            except (VolumeError, OSError):
                refused += 1
                continue
            mounted += 1
            assert "key" not in os.listdir(target)
            linux.unmount(str(target), linux.MNT_DETACH)
    finally:
        over.set()
        swapping.join()
        remove_pod_volumes(tmp_path / "pods/u")
    assert os.listdir(tmp_path / "secret") == ["key"]


def linux_exchange(one, other):
    """renameat2 with RENAME_EXCHANGE: both names are there at every moment."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("evil", ["..", ".", "own", "..2023_11_14_22_13_20.7"])
def test_a_container_that_turns_the_data_link_does_not_have_files_removed(tmp_path, evil):
    """CVE-2017-1002102: what the link names is removed when the content changes."""
    volume, other = tmp_path / "volumes/v", tmp_path / "volumes/other"
    for directory in (volume / "own", other):
        directory.mkdir(parents=True)
        (directory / "file").write_text("x")
    (volume / evil).exists() or (volume / evil).symlink_to(other)
    (volume / "..data").symlink_to(evil)
    with contextlib.suppress(OSError):
        write(volume, {"a": File(b"2")})
    assert (volume / "own/file").exists() and (other / "file").exists()


@pytest.mark.parametrize("key", ["..", "../x", "/etc/passwd", "a/../../b", "..data/x"])
def test_keys_and_paths_that_lead_outside_of_their_volume(key):
    """The API refuses them; an object that was stored otherwise must not get further than here."""
    source = fetched(config_maps={"m": {"data": {"k": "v"}}})
    with pytest.raises(VolumeError):
        payload_of({"configMap": {"name": "m", "items": [{"key": "k", "path": key}]}}, pod(), source, Place())
    with pytest.raises(VolumeError):
        payload_of({"configMap": {"name": "m"}}, pod(), fetched(config_maps={"m": {"data": {key: "v"}}}), Place())


@pytest.mark.parametrize("kind", ["fifo", "directory", "link to a fifo"])
def test_a_termination_message_that_is_no_file(tmp_path, kind):
    """Whoever opens a FIFO waits for its writer: the kubelet must not."""
    path = tmp_path / "message"
    if kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to("fifo")
        path = tmp_path / "fifo" if kind == "fifo" else path
    status = {"mounts": [{"container_path": "/dev/termination-log", "host_path": str(path)}]}
    ended = Container("id", "c", "s", "exited", annotations={MESSAGE_PATH: "/dev/termination-log"})
    assert termination_message(status, ended).startswith("Error on reading termination log")
