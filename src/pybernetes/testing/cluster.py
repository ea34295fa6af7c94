"""A cluster in one event loop: the real API server, controllers and scheduler, with nodes whose pods need no containers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..api.errors import StatusError
from ..api.meta import Object, is_condition_true, resource_version_of
from ..api.resources import GVK, GVR, NODES, SERVICE_ACCOUNTS, parse_api_version
from ..apiserver.authn import AuthenticationOptions
from ..apiserver.authn.jwt import load_verification_keys
from ..apiserver.authn.tokens import AudienceAgnostic, StaticTokens
from ..apiserver.composition import Options, compose
from ..apiserver.http import HttpServer
from ..apiserver.inprocess import InProcessTransport
from ..apiserver.server import ApiServer
from ..client import kubeconfig, signing
from ..client.informer import InformerFactory
from ..client.rest import Client
from ..cluster.simulated.nodes import SimulatedNodes
from ..cluster.simulated.stages import DEFAULT_STAGES, Stage
from ..concurrency import Clock, RealClock, VirtualClock, virtual_event_loop
from ..controllers.manager import ControllerManager
from ..controllers.settings import Settings
from ..hooks.identity import AUTHENTICATED, LOOPBACK, SYSTEM_MASTERS, UserInfo
from ..scheduler.scheduler import Scheduler
from ..storage.memory import MemoryStore

T = TypeVar("T")
CENTURY = 100 * 365 * 86400.0


class Cluster:
    """A running cluster. ``client`` acts as an administrator."""

    def __init__(self, server: ApiServer, clock: Clock, token: str) -> None:
        self.server, self.clock = server, clock
        self.token = token
        """An administrator's bearer token, for clients over HTTP."""
        self.client = self.client_as(LOOPBACK)
        self.url = ""
        """Where other clients reach it, if ``http`` was asked for."""
        self.front: HttpServer | None = None
        self.ca = b""
        """The authority of its certificate, PEM."""

    def client_as(self, user: UserInfo | str, groups: Sequence[str] = ()) -> Client:
        """A client that the server takes for this user."""
        if isinstance(user, str):
            user = UserInfo(user, groups=(*groups, AUTHENTICATED))
        return Client(InProcessTransport(self.server, user), clock=self.clock, user_agent="pybernetes-testing")

    def write_kubeconfig(self, path: str | Path) -> Path:
        """For clients outside this process' objects: kubectl, other libraries. Needs ``http``."""
        if not self.url:
            raise RuntimeError("this cluster has no HTTP address: start it with http=True")
        kubeconfig.write(path, kubeconfig.document_for(self.url, self.ca, user="admin", token=self.token))
        return Path(path)

    async def apply(self, manifest: str | Object) -> list[Object]:
        """Server-side applies a manifest: YAML text of one or more documents, or one object."""
        documents = list(yaml.safe_load_all(manifest)) if isinstance(manifest, str) else [manifest]
        return [await self._apply(d) for d in documents if d]

    async def _apply(self, document: Object) -> Object:
        group, version = parse_api_version(document["apiVersion"])
        gvk = GVK(group, version, document["kind"])
        resource = self.server.registry.by_kind(gvk)
        if resource is None:
            raise KeyError(f"{gvk} is not served")
        info = resource.info
        if info.namespaced and not document.get("metadata", {}).get("namespace"):
            document = {**document, "metadata": {**document["metadata"], "namespace": "default"}}
        return await self.client.apply(info.gvr, document, field_manager="pybernetes-testing", force=True)

    async def wait_for(
        self, gvr: GVR, name: str, condition: Callable[[Object], bool], namespace: str = "", *, timeout: float = 30.0
    ) -> Object:
        """The object as soon as ``condition`` holds of it (it need not exist yet). Watches, does not poll. TimeoutError."""
        last: Object | None = None
        try:
            async with self.clock.timeout(timeout):
                while True:
                    listed = await self.client.list(gvr, namespace, field_selector=f"metadata.name={name}")
                    for last in listed["items"]:
                        if condition(last):
                            return last
                    stream = self.client.watch(
                        gvr,
                        namespace,
                        field_selector=f"metadata.name={name}",
                        resource_version=listed["metadata"]["resourceVersion"],
                    )
                    async with aclosing(stream) as events:
                        async for event in events:
                            if event.type in ("ADDED", "MODIFIED"):
                                last = event.object
                                if condition(last):
                                    return last
        except TimeoutError:
            raise TimeoutError(
                f"{gvr} {name} did not come to the wanted state in {timeout} s; last seen: {last}"
            ) from None

    async def wait_gone(self, gvr: GVR, name: str, namespace: str = "", *, timeout: float = 30.0) -> None:
        """Returns when the object does not exist (any more)."""
        async with self.clock.timeout(timeout):
            while True:
                try:
                    found = await self.client.get(gvr, name, namespace)
                except StatusError as failure:
                    if failure.code == 404:
                        return
                    raise
                stream = self.client.watch(
                    gvr,
                    namespace,
                    field_selector=f"metadata.name={name}",
                    resource_version=str(resource_version_of(found)),
                )
                async with aclosing(stream) as events:
                    async for event in events:
                        if event.type == "DELETED":
                            break


@asynccontextmanager
async def start_cluster(
    *,
    nodes: int = 1,
    clock: Clock | None = None,
    seed: int | None = None,
    http: bool = False,
    port: int = 0,
    controllers: Sequence[str] = ("*",),
    schedule: bool = True,
    stages: Sequence[Stage] = DEFAULT_STAGES,
    options: Options | None = None,
) -> AsyncIterator[Cluster]:
    """Starts a cluster in this event loop and stops it at the end of the block, leaving no task behind.

    ``nodes`` simulated nodes run pods by ``stages``; ``controllers`` as in ``--controllers``; ``http`` serves on the loopback too, on
    ``port`` (0: a free one). A ``seed`` makes every random choice repeatable. ``options`` replace the API server's (RBAC, the
    default admission plugins).
    """
    clock = clock or RealClock()
    rng = random.Random(seed)
    token = f"{rng.getrandbits(128):032x}"
    server = compose(MemoryStore(clock), clock, rng, options or default_options(token))
    await server.start()
    cluster = Cluster(server, clock, token)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.run())]
        if http:
            front, started = HttpServer(server, clock), asyncio.Event()
            cluster.front = front
            tls, cluster.ca = _serving_tls()
            tasks.append(group.create_task(front.run("127.0.0.1", port, tls=tls, started=started)))
            await started.wait()
            cluster.url = f"https://127.0.0.1:{front.port}"
        tasks += [group.create_task(run) for run in _components(cluster, nodes, controllers, schedule, stages, rng)]
        try:
            await _wait_usable(cluster, nodes, controllers)
            yield cluster
        except Exception as error:  # noqa: BLE001 - the test's own: raised again below, not wrapped in a group
            failure = error
        finally:
            for task in reversed(tasks):
                task.cancel()
    if failure is not None:
        raise failure


def default_options(token: str) -> Options:
    """RBAC and the default admission plugins, as ``p8s up`` has them; ``token`` is an administrator's."""
    key = signing.key_to_pem(signing.new_key())
    admin = UserInfo("admin", groups=(SYSTEM_MASTERS,))
    authentication = AuthenticationOptions(service_account_keys=load_verification_keys(key))
    authentication.extra_tokens = (AudienceAgnostic(StaticTokens({token: admin}), authentication.audiences),)
    return Options(authentication=authentication, signing_key=key)


def _serving_tls() -> tuple[ssl.SSLContext, bytes]:
    """A context with a certificate of its own authority for the loopback, and the authority. Valid in any virtual time."""
    authority = signing.new_authority("pybernetes-testing", now=0.0, lifetime=CENTURY)
    subject = signing.Subject("kube-apiserver", (), ("127.0.0.1", "localhost"))
    certificate, key = signing.issue(authority, subject, signing.SERVER_USAGES, now=0.0, lifetime=CENTURY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    kubeconfig.load_certificate(context, certificate, key)
    return context, authority.pem


def _components(
    cluster: Cluster,
    nodes: int,
    controllers: Sequence[str],
    schedule: bool,
    stages: Sequence[Stage],
    rng: random.Random,
) -> list[Coroutine[Any, Any, None]]:
    clock = cluster.clock
    runs: list[Coroutine[Any, Any, None]] = []
    if controllers:
        manager = ControllerManager(
            cluster.client_as(LOOPBACK), clock, settings=Settings(), controllers=controllers, rng=rng
        )
        runs.append(manager.run())
    if schedule:
        client = cluster.client_as(LOOPBACK)
        factory = InformerFactory(client, clock, rng)
        runs += [Scheduler(client, factory, clock, rng=rng).run(), factory.run()]
    if nodes:
        runs.append(SimulatedNodes(cluster.client_as(LOOPBACK), clock, nodes, stages=stages, rng=rng).run())
    return runs


async def _wait_usable(cluster: Cluster, nodes: int, controllers: Sequence[str]) -> None:
    if nodes:
        await cluster.wait_for(NODES, f"sim-{nodes - 1}", lambda n: is_condition_true(n, "Ready"))
    if "*" in controllers or "serviceaccount" in controllers:
        await cluster.wait_for(SERVICE_ACCOUNTS, "default", lambda sa: True, "default")


def run_virtually(main: Callable[[VirtualClock], Awaitable[T]]) -> T:
    """Runs ``main(clock)`` in an event loop of its own on a clock that jumps whenever nothing can run."""
    clock = VirtualClock()
    loop = virtual_event_loop(clock)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(_call(main, clock))


async def _call(main: Callable[[VirtualClock], Awaitable[T]], clock: VirtualClock) -> T:
    return await main(clock)


class ClusterThread:
    """A cluster in a thread of its own, for tests that are not asynchronous: ``with ClusterThread() as c: c.kubeconfig``."""

    def __init__(self, **options: object) -> None:
        self._options = {"http": True, **options}
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="pybernetes", daemon=True)
        self._directory = tempfile.TemporaryDirectory(prefix="pybernetes-")
        self.kubeconfig = Path(self._directory.name) / "kubeconfig"
        self.url = ""

    def __enter__(self) -> ClusterThread:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *exception: object) -> None:
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._directory.cleanup()
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits for us
            self._failure = failure
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with start_cluster(**self._options) as cluster:  # type: ignore[arg-type]
            self.url = cluster.url
            cluster.write_kubeconfig(self.kubeconfig)
            self._ready.set()
            await self._stop.wait()
