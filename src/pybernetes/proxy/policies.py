"""NetworkPolicies of one node: watches policies, namespaces and pods, and keeps the kernel's policy table true.

Pods of the whole cluster are watched only while there is a policy, and of each no more is kept than policies look at.

The kubelet says by ``isolate`` which address a new pod got before it starts the pod's containers, so that a pod which a policy
selects never runs unprotected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..api.meta import Object, key_of, labels_of, name_of
from ..api.resources import NAMESPACES, NETWORK_POLICIES, PODS
from ..client.informer import DELETED, Informer, InformerFactory
from ..client.rest import Client
from ..concurrency import Backoff, Clock, logger
from .backend import INLINE_ELEMENTS, RulesError
from .nft.kernel import Monitor, Netfilter, NftError
from .nft.tables import Chain, Set
from .nft.writer import TableWriter
from .policy_model import policy_of, policy_pod
from .policy_rules import PolicyRules, PolicyUpdate
from .policy_table import policy_table

log = logger("proxy.policies")

SETTLE_SECONDS = 0.003


def what_policies_see(pod: Object) -> Object:
    """The few fields of a pod that matter here: of 100,000 pods each is kept."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}

    def ports(containers: Any) -> list[Object]:
        found = []
        for container in containers or ():
            named = [p for p in container.get("ports") or () if p.get("name")]
            if named:
                kept: Object = {"ports": named}
                if container.get("restartPolicy"):
                    kept["restartPolicy"] = container["restartPolicy"]
                found.append(kept)
        return found

    return {
        "metadata": {
            k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion", "labels") if k in metadata
        },
        "spec": {
            "nodeName": spec.get("nodeName"),
            "hostNetwork": spec.get("hostNetwork"),
            "containers": ports(spec.get("containers")),
            "initContainers": ports(spec.get("initContainers")),
        },
        "status": {k: status[k] for k in ("phase", "podIP", "podIPs") if k in status},
    }


class PolicyProxy:
    """Runs in the node's network namespace, where its sockets are made with it. The rules stay when it ends."""

    def __init__(self, client: Client, factory: InformerFactory, clock: Clock, *, node_name: str) -> None:
        self._client, self._clock = client, clock
        self.rules = PolicyRules(node_name)
        self._policies = factory.informer(NETWORK_POLICIES)
        self._namespaces: Informer | None = None
        self._pods: Informer | None = None
        self._factory = factory
        self._early: dict[str, str] = {}
        self._todo: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._changed = asyncio.Event()
        self._written = asyncio.Condition()
        self._version, self._written_version = 0, -1
        self._whole = True
        self._backoff = Backoff(0.1, 10.0)
        self._netfilter, self._monitor = Netfilter(), Monitor()
        self._writer = TableWriter(self._netfilter, policy_table())

    async def run(self) -> None:
        self._policies.add_handler(self._on_policy)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._monitor.fileno(), self._on_notification)
        try:
            async with asyncio.TaskGroup() as group:
                await self._policies.wait_synced()
                while not len(self._policies):
                    # Rules of an earlier agent, of policies that are gone by now, must go too.
                    self._changed.clear()
                    await self._write_all()
                    await self._changed.wait()
                await self._start_watching(group)
                await self._keep()
        finally:
            loop.remove_reader(self._monitor.fileno())
            self._policies.remove_handler(self._on_policy)
            self._netfilter.close()
            self._monitor.close()

    async def _start_watching(self, group: asyncio.TaskGroup) -> None:
        self._pods = Informer(self._client, PODS, clock=self._clock, transform=what_policies_see)
        self._namespaces = self._factory.metadata_informer(NAMESPACES)
        self._namespaces.add_handler(self._on_namespace)
        self._pods.add_handler(self._on_pod)
        group.create_task(self._pods.run())
        await self._namespaces.wait_synced()
        await self._pods.wait_synced()

    async def isolate(self, pod: Object, address: str) -> None:
        """Returns when the policies that select this pod, which got this address, are in the kernel."""
        await self._policies.wait_synced()
        if not len(self._policies):
            return
        key = key_of(pod)
        self._early[key] = address
        self._note(self.rules.set_pod, key, policy_pod(pod, address))
        wanted = self._version
        async with self._written:
            await self._written.wait_for(lambda: self._written_version >= wanted)

    def _note(self, change: Callable[..., None] | None = None, *arguments: Any) -> None:
        """Changes wait until the writer is between two writes: one in a thread reads what they change."""
        if change is not None:
            self._todo.append((change, arguments))
        self._version += 1
        self._changed.set()

    # -- events ----------------------------------------------------------------------------------------------------

    def _on_policy(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        self._note(self.rules.set_policy, key_of(new), None if kind == DELETED else policy_of(new))

    def _on_namespace(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        self._note(self.rules.set_namespace, name_of(new), None if kind == DELETED else labels_of(new))

    def _on_pod(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert new is not None
        key = key_of(new)
        if kind == DELETED:
            self._early.pop(key, None)
            self._note(self.rules.set_pod, key, None)
        else:
            found = policy_pod(new)
            if found is not None:
                self._early.pop(key, None)
            elif key in self._early:
                found = policy_pod(new, self._early[key])
            self._note(self.rules.set_pod, key, found)

    def _on_notification(self) -> None:
        found = self._monitor.foreign_changes((self._netfilter.port,))
        if found is None or self._writer.name in found:
            log.warning("the policy rules were changed by somebody else: mending them")
            self._whole = True
            self._note()

    # -- work ------------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            await self._write_all()
            await self._changed.wait()
            await self._clock.sleep(SETTLE_SECONDS)

    async def _write_all(self) -> None:
        """Writes what changed, again and again until the kernel has taken it."""
        while True:
            version = self._version
            todo, self._todo = self._todo, []
            for change, arguments in todo:
                change(*arguments)
            update = self.rules.take_update()
            self._whole = self._whole or update.whole
            try:
                await self._write(update)
                self._backoff.reset()
                break
            except RulesError as failure:
                log.error("policy rules not written", error=str(failure))
                self._whole = True
                await self._clock.sleep(self._backoff.next())
        async with self._written:
            self._written_version = version
            self._written.notify_all()

    async def _write(self, update: PolicyUpdate) -> None:
        whole, self._whole = self._whole, False
        rules = self.rules
        try:
            if whole:
                await asyncio.to_thread(self._rebuild, rules.sets, rules.chains)
            elif len(update.changes) > INLINE_ELEMENTS:
                await asyncio.to_thread(self._writer.apply, update.changes, chains=update.chains)
            elif update:
                self._writer.apply(update.changes, chains=update.chains)
        except (NftError, OSError) as failure:
            raise RulesError(str(failure)) from failure

    def _rebuild(self, sets: Sequence[Set], chains: Sequence[Chain]) -> None:
        with self._monitor.not_listening():
            self._writer.rebuild(self.rules.contents, sets, chains)
