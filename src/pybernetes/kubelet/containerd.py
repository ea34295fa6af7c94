"""Starting containerd for one node: its own root, state, socket and CNI configuration, under the agent's supervision.

containerd and the pods outlive the agent: an agent that comes back finds the process by its pid file and adopts it. ``purge``
ends everything of the node and leaves no process, mount or file, also where nobody runs any more.

crun is taken in place of runc where it is present, because it starts a container in half the time. It refuses a cgroup2
hierarchy that is mounted beside cgroup v1 ones, so containerd then runs in a mount namespace without that mount; the namespace
is pinned to a file, because a restarted containerd has to find the mounts of the pods that are still running.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..concurrency import Backoff, Clock, logger
from . import linux
from .cri import CRIClient, CRIError

log = logger("kubelet.containerd")

_CNI_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
# sun_path holds 108 bytes with the final zero, and containerd adds ".ttrpc" for its second socket.
_SOCKET_LIMIT = 101


class ContainerdError(RuntimeError):
    """containerd cannot run here; the message says why and what to do."""


@dataclass(slots=True)
class ContainerdSettings:
    """``root`` lives as long as the node, ``state`` as long as the boot."""

    root: Path
    state: Path
    cni_conf_dir: Path
    sandbox_image: str
    binary: str = ""
    oci_runtime: str = ""
    """``crun`` or ``runc``; empty takes the faster one that works."""
    snapshotter: str = ""
    """Empty takes overlayfs where the file system allows it, else native."""
    cni_bin_dir: str = ""
    registry_config_path: str = ""
    shared_directories: list[Path] = field(default_factory=list)
    """Directories whose mounts containers must see (the kubelet's root directory)."""

    @property
    def socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def config_file(self) -> Path:
        return self.root / "config.toml"

    @property
    def log_file(self) -> Path:
        return self.root / "containerd.log"

    @property
    def pid_file(self) -> Path:
        return self.state / "containerd.pid"

    @property
    def namespace_file(self) -> Path:
        return self.state / "ns" / "mnt"


def _find(name: str, hint: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise ContainerdError(f"{name} not found: install it ({hint})")
    return found


def find_cni_bin_dir() -> str:
    for directory in _CNI_DIRECTORIES:
        if os.path.exists(os.path.join(directory, "loopback")):
            return directory
    raise ContainerdError("no CNI plugins found: install them (apt-get install containernetworking-plugins)")


_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
# containerd since 1.7 writes bundles of OCI runtime-spec 1.1 and later, which crun before 1.8.5 takes for an unknown version.
_NEWER_SPEC_SINCE, _CRUN_SINCE = (1, 7, 0), (1, 8, 5)


def parse_version(text: str) -> tuple[int, int, int]:
    """The first version number in what a program says of itself; zeros where there is none."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


def crun_understands(crun: str, containerd: str) -> bool:
    """By what the two print for ``--version``."""
    return parse_version(containerd) < _NEWER_SPEC_SINCE or parse_version(crun) >= _CRUN_SINCE


def _version_of(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout


def find_oci_runtime(wanted: str, containerd: str) -> str:
    """The path of crun where it is there and understands this containerd, else of runc."""
    if wanted:
        return _find(wanted, f"apt-get install {wanted}")
    try:
        crun = _find("crun", "")
    except ContainerdError:
        crun = ""
    if crun and crun_understands(_version_of(crun), _version_of(containerd)):
        return crun
    return _find("runc", "apt-get install runc")


def overlay_works(directory: Path) -> bool:
    """Whether an overlay can be mounted with its upper layer in ``directory`` (not on another overlay, for one)."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".overlay-") as scratch:
        parts = {name: os.path.join(scratch, name) for name in ("lower", "upper", "work", "merged")}
        for path in parts.values():
            os.mkdir(path)
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        try:
            linux.mount("overlay", parts["merged"], "overlay", 0, options)
        except OSError:
            return False
        linux.unmount(parts["merged"])
        return True


def _quote(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def render_config(settings: ContainerdSettings, *, runtime: str, snapshotter: str, cni_bin_dir: str) -> str:
    """containerd's configuration, version 2: what 1.6 and newer read (2.x converts it)."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    registry = (
        f"""
  [{cri}.registry]
    config_path = {_quote(settings.registry_config_path)}
"""
        if settings.registry_config_path
        else ""
    )
    return f"""version = 2
root = {_quote(settings.root)}
state = {_quote(settings.state)}
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
  address = {_quote(settings.socket)}
[{cri}]
  sandbox_image = {_quote(settings.sandbox_image)}
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [{cri}.containerd]
    snapshotter = {_quote(snapshotter)}
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        BinaryName = {_quote(runtime)}
        Root = {_quote(settings.state / "oci")}
        SystemdCgroup = false
  [{cri}.cni]
    bin_dir = {_quote(cni_bin_dir)}
    conf_dir = {_quote(settings.cni_conf_dir)}
    max_conf_num = 1
{registry}"""


class Containerd:
    """Supervises one containerd: ``run`` keeps it alive until cancelled, and leaves it running then."""

    def __init__(self, settings: ContainerdSettings, clock: Clock) -> None:
        self.settings, self._clock = settings, clock
        self.ready = asyncio.Event()
        self._log_position = 0

    # -- starting --------------------------------------------------------------------------------------------------

    def _prepare(self) -> list[str]:
        """Directories, configuration and mount namespace; returns the command line."""
        settings = self.settings
        if len(str(settings.socket)) > _SOCKET_LIMIT:
            raise ContainerdError(
                f"socket path {settings.socket} is longer than {_SOCKET_LIMIT} bytes: choose a shorter one"
            )
        for directory in (settings.root, settings.state, settings.cni_conf_dir, *settings.shared_directories):
            directory.mkdir(parents=True, exist_ok=True)
        settings.state.chmod(0o711)
        binary = settings.binary or _find("containerd", "apt-get install containerd")
        runtime = find_oci_runtime(settings.oci_runtime, binary)
        snapshotter = settings.snapshotter or ("overlayfs" if overlay_works(settings.root) else "native")
        cni = settings.cni_bin_dir or find_cni_bin_dir()
        settings.config_file.write_text(
            render_config(settings, runtime=runtime, snapshotter=snapshotter, cni_bin_dir=cni)
        )
        for directory in settings.shared_directories:
            linux.make_shared(directory)
        command = [binary, "--config", str(settings.config_file)]
        hybrid = linux.hybrid_cgroup2_mounts()
        if os.path.basename(runtime) == "crun" and hybrid:
            return self._in_namespace(hybrid, command)
        return command

    def _in_namespace(self, hybrid: list[str], command: list[str]) -> list[str]:
        pinned = self.settings.namespace_file
        if not (pinned.exists() and linux.is_mount_point(pinned)):
            pinned.parent.mkdir(exist_ok=True)
            # A namespace can only be pinned under a mount that does not travel into it.
            if not linux.is_mount_point(pinned.parent):
                linux.mount(str(pinned.parent), str(pinned.parent), flags=linux.MS_BIND)
                linux.mount("", str(pinned.parent), flags=linux.MS_PRIVATE)
            pinned.touch()
            parents = {os.path.dirname(m) for m in hybrid}
            script = "".join(
                [
                    *(f"mount --make-rprivate {_quote(p)} 2>/dev/null; " for p in sorted(parents)),
                    *(f"umount {_quote(m)} && " for m in hybrid),
                    "true",
                ]
            )
            arguments = [
                _find("unshare", "apt-get install util-linux"),
                f"--mount={pinned}",
                "--propagation",
                "unchanged",
            ]
            status = os.spawnv(os.P_WAIT, arguments[0], [*arguments, "sh", "-c", script])
            if status != 0:
                raise ContainerdError(
                    f"no mount namespace without {' '.join(hybrid)} could be made: set the OCI runtime to runc"
                )
        return [_find("nsenter", "apt-get install util-linux"), f"--mount={pinned}", *command]

    async def _start(self) -> int:
        command = await asyncio.get_running_loop().run_in_executor(None, self._prepare)
        settings = self.settings
        if settings.log_file.exists() and settings.log_file.stat().st_size > 10 << 20:
            settings.log_file.replace(settings.log_file.with_suffix(".log.1"))
        self._log_position = settings.log_file.stat().st_size if settings.log_file.exists() else 0
        settings.socket.unlink(missing_ok=True)
        with settings.log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Its own session: a signal to the agent's group must not reach containerd.
                start_new_session=True,
                cwd="/",
            )
        settings.pid_file.write_text(f"{process.pid}\n")
        log.info("started", pid=process.pid, socket=str(settings.socket))
        return process.pid

    def running_pid(self) -> int | None:
        """The containerd of this node that runs now, ours or one that an earlier agent started."""
        try:
            pid = int(self.settings.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.settings.config_file).encode() in command.split(b"\0") else None

    # -- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keeps containerd running until cancelled. Raises ContainerdError where it cannot be started at all."""
        backoff = Backoff(0.5, 30.0)
        first = True
        while True:
            pid, survivors = self.running_pid(), {}
            if pid is None:
                survivors = shims_by_id(str(self.settings.socket))
                pid = await self._start()
            started = self._clock.monotonic()
            if await self._serves(pid):
                first = False
                await self._end_unknown(survivors)
                self.ready.set()
                await _exit_of(pid)
                self.ready.clear()
                log.error("containerd ended", pid=pid, log=str(self.settings.log_file))
            elif first:
                raise ContainerdError(f"containerd does not start: {self._last_words()}")
            if self._clock.monotonic() - started > 60:
                backoff.reset()
            await self._clock.sleep(backoff.next())

    async def _end_unknown(self, survivors: Mapping[str, int]) -> None:
        """Ends shims of which a restarted containerd knows nothing: it was killed between starting and noting them.

        They outlived the former one, so none of them belongs to a pod that is being started now.
        """
        if not survivors:
            return
        client = CRIClient(self.settings.endpoint)
        try:
            known = {s["id"] for s in await client.list_pod_sandboxes()}
        except CRIError as failure:
            log.warning("pods not listed", error=str(failure))
            return
        finally:
            await client.close()
        for identity, pid in survivors.items():
            if identity not in known:
                log.warning("ending a shim that nobody knows", id=identity, pid=pid)
                for process in (*_children_of(pid), pid):
                    await _end_now(process, self._clock)

    async def _serves(self, pid: int) -> bool:
        """Waits until the CRI answers; False where the process ends before (or does not answer within a minute)."""
        exited = asyncio.get_running_loop().create_task(_exit_of(pid))
        client = CRIClient(self.settings.endpoint)
        try:
            async with self._clock.timeout(60):
                while not exited.done():
                    if self.settings.socket.exists():
                        try:
                            await client.version()
                            return True
                        except CRIError as failure:
                            if failure.code not in ("Unavailable", "Unimplemented", "Unknown"):
                                raise
                    await self._clock.sleep(0.02)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
        finally:
            exited.cancel()
            await client.close()
        return False

    def _last_words(self) -> str:
        try:
            with self.settings.log_file.open("rb") as file:
                file.seek(self._log_position)
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        telling = [
            line for line in lines if "level=fatal" in line or "level=error" in line or line.startswith("containerd:")
        ]
        return (telling or lines or ["it said nothing"])[-1] + f" (see {self.settings.log_file})"

    # -- stopping --------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Ends containerd; pods go on under their shims."""
        pid = self.running_pid()
        if pid is not None:
            await _end(pid, self._clock, 10)
        self.settings.pid_file.unlink(missing_ok=True)

    async def purge(self, *, keep_images: bool = True) -> None:
        """Ends the node's pods and containerd, and removes mounts, state and sockets; ``root`` too without ``keep_images``."""
        if self.running_pid() is not None:
            await self._remove_pods()
        await self.stop()
        await _kill_shims(str(self.settings.socket), self._clock)
        for directory in (self.settings.state, self.settings.root, *self.settings.shared_directories):
            if directory.exists():
                linux.unmount_below(directory)
        await asyncio.to_thread(shutil.rmtree, self.settings.state, ignore_errors=True)
        if not keep_images:
            await asyncio.to_thread(shutil.rmtree, self.settings.root, ignore_errors=True)

    async def _remove_pods(self) -> None:
        client = CRIClient(self.settings.endpoint)
        try:
            async with self._clock.timeout(60):
                sandboxes = await client.list_pod_sandboxes()
                async with asyncio.TaskGroup() as group:
                    for sandbox in sandboxes:
                        group.create_task(self._remove_pod(client, sandbox["id"]))
        except TimeoutError:
            log.warning("pods not removed in time: their processes are killed")
        except CRIError as failure:
            log.warning("pods not listed", error=str(failure))
        finally:
            await client.close()

    async def _remove_pod(self, client: CRIClient, sandbox: str) -> None:
        try:
            await client.stop_pod_sandbox(sandbox)
            await client.remove_pod_sandbox(sandbox)
        except CRIError as failure:
            log.warning("pod not removed", sandbox=sandbox, error=str(failure))


async def _exit_of(pid: int) -> None:
    """Returns when the process has ended, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _end(pid: int, clock: Clock, grace: float) -> None:
    """SIGTERM, then SIGKILL after ``grace`` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            async with clock.timeout(grace):
                await _exit_of(pid)
            return
        except ProcessLookupError:
            return
        except TimeoutError:
            continue


def shims_by_id(socket: str) -> dict[str, int]:
    """The shims that serve the containerd behind ``socket``: id of the sandbox -> pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in os.path.basename(words[0]) and socket.encode() in words and b"-id" in words[:-1]:
                found[words[words.index(b"-id") + 1].decode()] = int(entry.name)
    return found


def shims_of(socket: str) -> list[int]:
    """The pids of the shims that serve the containerd behind ``socket``."""
    return list(shims_by_id(socket).values())


def _children_of(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


async def _kill_shims(socket: str, clock: Clock) -> None:
    """Kills shims that outlived their containerd, and the containers under them (a shim is their subreaper)."""
    for shim in shims_of(socket):
        for pid in (*_children_of(shim), shim):
            await _end_now(pid, clock)


async def _end_now(pid: int, clock: Clock) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        async with clock.timeout(5):
            await _exit_of(pid)
    except (ProcessLookupError, TimeoutError):
        return
