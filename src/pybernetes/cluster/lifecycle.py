"""Starting, finding and ending the cluster on this machine: the work behind ``p8s up``, ``down`` and ``status``."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object, is_condition_true, name_of
from ..api.resources import NODES
from ..client.kubeconfig import client_from_kubeconfig
from ..client.rest import Client
from ..client.transport import TransportError
from ..concurrency import Clock
from . import cleanup
from .layout import RUN_ROOT, ClusterError, Layout, Settings
from .machine import NETNS_DIRECTORY, Machine, pick_free_networks
from .preflight import check_all
from .supervisor import ask

READY_SECONDS = 60.0
CONTAINER_GRACE_SECONDS = 2.0
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """What ``up`` found or made."""

    layout: Layout
    settings: Settings
    was_running: bool


def settings_for(layout: Layout, wanted: dict[str, Any]) -> Settings:
    """The settings of an earlier ``up`` changed by what is asked for now (None: not asked for)."""
    earlier = Settings.load(layout)
    asked = {k: v for k, v in wanted.items() if v is not None}
    if earlier is not None:
        fixed = [k for k in ("pod_cidr", "service_cidr", "node_cidr") if k in asked and asked[k] != getattr(earlier, k)]
        if fixed:
            raise ClusterError(
                f"the cluster in {layout.data} was made with other networks ({', '.join(fixed)})",
                "`p8s down --purge` first",
            )
        return Settings(**{**{f: getattr(earlier, f) for f in Settings.__slots__}, **asked})
    free = pick_free_networks(Settings())
    return Settings(**{**{f: getattr(free, f) for f in Settings.__slots__}, **asked})


async def running(layout: Layout) -> dict[str, Any] | None:
    return await ask(layout.control_socket, "status")


async def up(layout: Layout, wanted: dict[str, Any], clock: Clock, progress: Progress) -> Running:
    """Brings the cluster up and returns when its nodes are Ready. On failure nothing is left running."""
    if await running(layout) is not None:
        return Running(layout, Settings.load(layout) or Settings(), True)
    settings = prepare(layout, wanted, clock, progress)
    await start(layout, settings, clock, progress)
    return Running(layout, settings, False)


async def start(layout: Layout, settings: Settings, clock: Clock, progress: Progress) -> None:
    try:
        start_supervisor(layout)
        await wait_ready(layout, settings, clock, progress)
    except BaseException:
        # Whatever stopped us, Ctrl-C included: a cluster that is half there helps nobody.
        await down(layout, clock, purge=False, progress=lambda line: None)
        raise


def prepare(layout: Layout, wanted: dict[str, Any], clock: Clock, progress: Progress) -> Settings:
    """Everything before the first process: checks, directories, certificates, kubeconfigs, the machine's network."""
    layout.check_version()
    with alone_on_machine():
        return _prepare(layout, wanted, clock, progress)


@contextmanager
def alone_on_machine() -> Iterator[None]:
    """Networks are chosen by what is there: two clusters that come up at once must not choose the same.

    Who is not root makes none, and needs not wait.
    """
    if os.geteuid() != 0:
        yield
        return
    RUN_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory = os.open(RUN_ROOT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _prepare(layout: Layout, wanted: dict[str, Any], clock: Clock, progress: Progress) -> Settings:
    settings = settings_for(layout, wanted)
    check_all(layout, settings)
    layout.create()
    settings.save(layout)
    from .credentials import write_credentials  # cryptography is heavy, and `status` and `down` do without

    if not settings.joined_node:
        write_credentials(layout, settings, clock)
        progress("certificates and kubeconfigs are there")
    Machine(layout, settings).create()
    layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.nodes:
        progress(f"network for {settings.nodes} node{'s' if settings.nodes > 1 else ''} is there")
    return settings


def start_supervisor(layout: Layout) -> None:
    with (layout.logs / "supervisor.log").open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "pybernetes.cluster.run_supervisor", str(layout.data)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )


async def wait_ready(layout: Layout, settings: Settings, clock: Clock, progress: Progress) -> None:
    try:
        async with clock.timeout(READY_SECONDS):
            file = layout.node(settings.joined_node) / "kubelet.conf"
            client = client_from_kubeconfig(file if settings.joined_node else layout.admin_kubeconfig, clock=clock)
            try:
                await _wait_api(client, layout, clock)
                if not settings.joined_node:
                    progress("API server is ready")
                await _wait_nodes(client, layout, settings, clock, progress)
            finally:
                client.transport.close()
    except TimeoutError:
        raise ClusterError(
            f"the cluster was not ready after {READY_SECONDS:.0f} s ({await _last_words(layout)})",
            f"see {layout.logs}",
        ) from None


async def _wait_api(client: Client, layout: Layout, clock: Clock) -> None:
    seen = False
    while True:
        state = await running(layout)
        seen = seen or state is not None
        _fail_if_dying(layout, state)
        try:
            await client.request("GET", "/readyz")
            return
        except (TransportError, StatusError):
            await clock.sleep(0.05)


def _fail_if_dying(layout: Layout, state: dict[str, Any] | None) -> None:
    """A component that keeps dying will not get better by waiting."""
    for component in (state or {}).get("components", []):
        if component["restarts"] >= 3:
            words = last_line(layout.logs / f"{component['name']}.log")
            raise ClusterError(f"{component['name']} does not start: {words}", f"see {layout.logs}")


async def _wait_nodes(client: Client, layout: Layout, settings: Settings, clock: Clock, progress: Progress) -> None:
    told: set[str] = set()
    wanted = {*settings.node_names}
    while True:
        _fail_if_dying(layout, await running(layout))
        nodes = await _own_node(client, settings) if settings.joined_node else (await client.list(NODES))["items"]
        ready = {name_of(n) for n in nodes if is_condition_true(n, "Ready")}
        # A plugin's configuration needs the node's network, which the cluster gives after the registration.
        with_network = {name_of(n) for n in nodes if (n.get("spec") or {}).get("podCIDR")}
        if settings.network == "none" and wanted <= with_network:
            progress(f"nodes are registered; they get Ready with a CNI plugin of yours ({layout.data}/nodes/*/cni)")
            return
        for name in sorted(ready - told):
            if name in settings.node_names:
                progress(f"node {name} is Ready")
        told |= ready
        if wanted <= ready and len(ready) >= len(wanted) + settings.simulated_nodes:
            return
        await clock.sleep(0.05)


async def _own_node(client: Client, settings: Settings) -> list[Object]:
    """A node may read itself; the others only once the cluster has seen it."""
    try:
        return [await client.get(NODES, settings.joined_node)]
    except StatusError as failure:
        if failure.code != 404:
            raise
        return []


async def _last_words(layout: Layout) -> str:
    state = await running(layout)
    if state is None:
        return f"the supervisor does not run: {last_line(layout.logs / 'supervisor.log')}"
    dead = [c["name"] for c in state["components"] if not c["pid"]]
    return f"not running: {', '.join(dead)}" if dead else "all processes run"


def last_line(path: Path) -> str:
    """The last line that says something, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "no log")


async def down(layout: Layout, clock: Clock, *, purge: bool, progress: Progress) -> bool:
    """Stops the cluster and removes all it left on the machine. Says whether there was anything to stop."""
    settings = Settings.load(layout) or Settings()
    state = await ask(layout.control_socket, "stop")
    if state is not None:
        await _wait_ended(int(state["pid"]), clock)
        progress("processes have stopped")
    if os.geteuid() == 0:
        namespaces = [*NETNS_DIRECTORY.glob(f"p8s-{layout.tag}-*")] if NETNS_DIRECTORY.exists() else []
        if (layout.run / "mnt").exists():
            namespaces += (layout.run / "mnt").iterdir()
        await cleanup.end_processes(
            lambda: cleanup.processes_of(layout.tag, namespaces), clock, CONTAINER_GRACE_SECONDS
        )
        cleanup.remove_cgroups(layout.tag)
        await asyncio.to_thread(Machine(layout, settings).remove)
        if settings.joined_node:
            from ..proxy.command import cleanup as remove_rules

            await remove_rules()
        progress("containers, network and cgroups are gone")
    if purge and layout.data.exists():
        layout.check_version()
        await asyncio.to_thread(remove_data, layout.data)
        progress(f"{layout.data} is removed")
    return state is not None


async def _wait_ended(pid: int, clock: Clock) -> None:
    while _runs(pid):
        await clock.sleep(0.02)


def _runs(pid: int) -> bool:
    """A zombie does not: where ``up`` gives up, the supervisor is its own child that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def remove_data(path: Path) -> None:
    """Removes a data directory, immutable or odd files included; mounts in it are gone by now."""
    done = subprocess.run(["rm", "-rf", "--one-file-system", str(path)], capture_output=True, text=True, check=False)
    if path.exists():
        raise ClusterError(f"cannot remove {path}: {done.stderr.strip()}", "look for mounts below it")
