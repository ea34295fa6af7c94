"""Volumes and nodes: which nodes a pod's claims allow, and the binding of claims that wait for their first consumer.

Specified by "Volume Binding Mode" and "Node Affinity" of the storage pages. Reasons and messages are upstream's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ..api.meta import Object, annotations_of, key_of, name_of, namespace_of
from ..api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from ..client.informer import InformerFactory
from ..client.rest import Client
from ..concurrency import Clock
from .filters import Refusal, matches_term

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_SECONDS = 600.0
PLUGIN = "VolumeBinding"


class VolumesNotBound(Exception):
    """The claims were not bound in time: the pod goes back to the queue."""


def claim_names(pod: Object) -> Iterator[str]:
    """The claims of a pod; an ephemeral volume's is named after pod and volume."""
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        claim = volume.get("persistentVolumeClaim")
        if claim:
            yield claim["claimName"]
        elif volume.get("ephemeral") is not None:
            yield f"{name_of(pod)}-{volume['name']}"


def is_bound(claim: Object) -> bool:
    return bool((claim.get("spec") or {}).get("volumeName")) and (
        annotations_of(claim).get("pv.kubernetes.io/bind-completed") == "yes"
    )


def volume_allows(volume: Object, node: Object) -> bool:
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return required is None or any(matches_term(t, node) for t in required.get("nodeSelectorTerms") or [])


class VolumeBinder:
    """Asks and changes claims for the scheduler."""

    def __init__(self, client: Client, factory: InformerFactory, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._claims = factory.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = factory.informer(PERSISTENT_VOLUMES)
        self._classes = factory.informer(STORAGE_CLASSES)
        self._changed: dict[str, asyncio.Event] = {}
        self._claims.add_handler(self._on_claim)

    def _on_claim(self, kind: str, old: Object | None, new: Object | None) -> None:
        event = self._changed.get(key_of(new)) if new is not None else None
        if event is not None:
            event.set()

    async def wait_synced(self) -> None:
        for informer in (self._claims, self._volumes, self._classes):
            await informer.wait_synced()

    def claims_of(self, pod: Object) -> list[tuple[str, Object | None]]:
        namespace = namespace_of(pod)
        return [(name, self._claims.get(namespace, name)) for name in claim_names(pod)]

    def refuse_everywhere(self, claims: list[tuple[str, Object | None]]) -> str:
        """Why no node at all can take a pod with these claims; empty where some may."""
        for name, claim in claims:
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if (claim.get("metadata") or {}).get("deletionTimestamp") is not None:
                return f'persistentvolumeclaim "{name}" is being deleted'
        if any(c is not None and not is_bound(c) and not self._waits(c) for _, c in claims):
            return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _waits(self, claim: Object) -> bool:
        """Whether the claim's class binds only when a pod wants it."""
        storage_class = self._classes.get("", (claim.get("spec") or {}).get("storageClassName") or "")
        return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"

    def refuse(self, claims: list[tuple[str, Object | None]], node: Object) -> Refusal | None:
        """What the bound claims' volumes say of a node."""
        for _, claim in claims:
            if claim is None or not is_bound(claim):
                continue
            volume = self._volumes.get("", claim["spec"]["volumeName"])
            if volume is not None and not volume_allows(volume, node):
                return Refusal(PLUGIN, ("node(s) didn't match PersistentVolume's node affinity",))
        return None

    async def bind(self, pod: Object, node: str) -> None:
        """Tells the binder which node was chosen, and waits until all claims are bound. Raises VolumesNotBound."""
        waiting = [claim for _, claim in self.claims_of(pod) if claim is not None and not is_bound(claim)]
        for claim in waiting:
            if annotations_of(claim).get(SELECTED_NODE) != node:
                patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name_of(claim), patch, namespace_of(claim))
        try:
            async with self._clock.timeout(BIND_SECONDS):
                for claim in waiting:
                    await self._wait_bound(key_of(claim))
        except TimeoutError:
            raise VolumesNotBound("binding volumes: context deadline exceeded") from None

    async def _wait_bound(self, key: str) -> None:
        event = self._changed.setdefault(key, asyncio.Event())
        try:
            while True:
                claim = self._claims.get_key(key)
                if claim is None:
                    raise VolumesNotBound(f'persistentvolumeclaim "{key}" not found')
                if is_bound(claim):
                    return
                event.clear()
                await event.wait()
        finally:
            self._changed.pop(key, None)
