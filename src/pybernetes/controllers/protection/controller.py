"""The shells of the three protection controllers."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, finalizers_of, is_deleting, namespace_of
from ...api.quota import attributes_classes
from ...api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES
from ..persistentvolume.controller import claims_used
from ..pods import is_terminal
from ..runtime import Controller
from . import decide


class ClaimProtectionController(Controller):
    name = "persistentvolumeclaim-protection-controller"
    workers = 1

    def setup(self) -> None:
        self.pods = self.informer(PODS)
        if "claim" not in self.pods.indexes:
            self.pods.add_index("claim", claims_used)
        self.claims = self.watch(PERSISTENT_VOLUME_CLAIMS)
        self.watch(PODS, self._of_pod)

    def _of_pod(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        pod = new or old or {}
        if kind == "DELETED" or is_terminal(pod):
            yield from claims_used(pod)

    async def sync(self, key: str) -> float | None:
        claim = self.claims.get_key(key)
        if claim is None:
            return None
        if not is_deleting(claim):
            await self.execute(decide.with_finalizer(PERSISTENT_VOLUME_CLAIMS, claim, decide.CLAIM_FINALIZER))
        elif decide.CLAIM_FINALIZER in finalizers_of(claim):
            if decide.is_used(claim, self.pods.by_index("claim", key)):
                return None
            # The copy may not have the newest pod: the server's word counts before data may go.
            live = (await self.client.list(PODS, namespace_of(claim))).get("items") or []
            if not decide.is_used(claim, live):
                await self.execute(decide.without_finalizer(PERSISTENT_VOLUME_CLAIMS, claim, decide.CLAIM_FINALIZER))
        return None


class VolumeProtectionController(Controller):
    name = "persistentvolume-protection-controller"
    workers = 1

    def setup(self) -> None:
        self.volumes = self.watch(PERSISTENT_VOLUMES)

    async def sync(self, key: str) -> float | None:
        volume = self.volumes.get_key(key)
        if volume is None:
            return None
        if not is_deleting(volume):
            await self.execute(decide.with_finalizer(PERSISTENT_VOLUMES, volume, decide.VOLUME_FINALIZER))
        elif (volume.get("status") or {}).get("phase") != "Bound":
            await self.execute(decide.without_finalizer(PERSISTENT_VOLUMES, volume, decide.VOLUME_FINALIZER))
        return None


class AttributesClassProtectionController(Controller):
    name = "volumeattributesclass-protection-controller"
    workers = 1

    def setup(self) -> None:
        self.classes = self.watch(VOLUME_ATTRIBUTES_CLASSES)
        self.claims = self.watch(PERSISTENT_VOLUME_CLAIMS, _let_go)
        self.volumes = self.watch(PERSISTENT_VOLUMES, _let_go)
        for informer in (self.claims, self.volumes):
            if "attributes" not in informer.indexes:
                informer.add_index("attributes", attributes_classes)

    async def sync(self, key: str) -> float | None:
        found = self.classes.get_key(key)
        if found is None:
            return None
        if not is_deleting(found):
            commands = decide.with_finalizer(VOLUME_ATTRIBUTES_CLASSES, found, decide.CLASS_FINALIZER)
        elif any(informer.by_index("attributes", key) for informer in (self.claims, self.volumes)):
            return None
        else:
            commands = decide.without_finalizer(VOLUME_ATTRIBUTES_CLASSES, found, decide.CLASS_FINALIZER)
        await self.execute(commands)
        return None


def _let_go(kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
    """The classes that a claim or volume named and names no more."""
    if kind == "DELETED":
        return attributes_classes(old or new or {})
    return attributes_classes(old or {}) - attributes_classes(new or {})
