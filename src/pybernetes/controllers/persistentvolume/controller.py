"""The shell of the binder: keys are ``claim:<namespace>/<name>`` and ``volume:<name>``."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.errors import StatusError
from ...api.meta import Object, annotations_of, key_of, name_of, namespace_of, uid_of
from ...api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from ..commands import Emit
from ..pods import node_of
from ..runtime import Controller
from . import decide, matching

_CLAIM, _VOLUME = "claim:", "volume:"
_STEPS = 8
_RESYNC = 15.0


class PersistentVolumeBinder(Controller):
    name = "persistentvolume-binder-controller"
    component = "persistentvolume-controller"

    def setup(self) -> None:
        self.claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self.volumes = self.informer(PERSISTENT_VOLUMES)
        self.classes = self.informer(STORAGE_CLASSES)
        self.pods = self.informer(PODS)
        if "claim" not in self.pods.indexes:
            self.pods.add_index("claim", claims_used)
        self.watch(PERSISTENT_VOLUME_CLAIMS, self._of_claim)
        self.watch(PERSISTENT_VOLUMES, self._of_volume)
        self.watch(STORAGE_CLASSES, self._of_class)

    def _of_claim(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        claim = new or old or {}
        yield _CLAIM + key_of(claim)
        for obj in (old, new):
            if obj is not None and obj["spec"].get("volumeName"):
                yield _VOLUME + obj["spec"]["volumeName"]

    def _of_volume(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        volume = new or old or {}
        yield _VOLUME + name_of(volume)
        reference = volume["spec"].get("claimRef")
        if reference:
            yield f"{_CLAIM}{reference.get('namespace')}/{reference.get('name')}"
        elif kind != "DELETED":
            yield from self._pending(matching.class_of(volume))

    def _of_class(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        return [*self._pending(name_of(new or old or {})), *self._pending("")]

    def _pending(self, class_name: str) -> list[str]:
        return [
            _CLAIM + key_of(c)
            for c in self.claims.list()
            if matching.BIND_COMPLETED not in annotations_of(c) and matching.class_of(c) == class_name
        ]

    async def sync(self, key: str) -> float | None:
        """Goes on as long as there is a next step: every write is in the copy when it is answered."""
        for _ in range(_STEPS):
            if key.startswith(_CLAIM):
                commands = self._decide_claim(key.removeprefix(_CLAIM))
            else:
                commands = await self._decide_volume(key.removeprefix(_VOLUME))
            await self.execute(commands)
            if all(isinstance(c, Emit) for c in commands):
                # Words without deeds: said again while it lasts, so that whoever asks sees why.
                return _RESYNC if commands else None
        return 0.5

    def _decide_claim(self, key: str) -> list[decide.Command]:
        claim = self.claims.get_key(key)
        if claim is None:
            return []
        volumes = {name_of(v): v for v in self.volumes.list()}
        classes = {name_of(c): c for c in self.classes.list()}
        waiting = [name_of(p) for p in self.pods.by_index("claim", key) if not node_of(p)]
        return decide.decide_claim(decide.ClaimSnapshot(claim, volumes, classes, sorted(waiting)))

    async def _decide_volume(self, name: str) -> list[decide.Command]:
        volume = self.volumes.get_key(name)
        if volume is None:
            return []
        return decide.decide_volume(volume, await self._claim_of(volume))

    async def _claim_of(self, volume: Object) -> Object | None:
        """A volume is only released when the server says that the claim is gone."""
        reference = volume["spec"].get("claimRef") or {}
        if not reference.get("uid"):
            return None
        claim = self.claims.get(reference["namespace"], reference["name"])
        if claim is None or uid_of(claim) != reference["uid"]:
            try:
                claim = await self.client.get(PERSISTENT_VOLUME_CLAIMS, reference["name"], reference["namespace"])
            except StatusError as failure:
                if failure.reason != "NotFound":
                    raise
                return None
        return claim if uid_of(claim) == reference["uid"] else None


def claims_used(pod: Object) -> list[str]:
    """Keys of the claims that a pod uses, ephemeral ones too."""
    found = []
    for volume in (pod.get("spec") or {}).get("volumes") or []:
        if volume.get("persistentVolumeClaim"):
            found.append(f"{namespace_of(pod)}/{volume['persistentVolumeClaim'].get('claimName')}")
        elif volume.get("ephemeral"):
            found.append(f"{namespace_of(pod)}/{name_of(pod)}-{volume['name']}")
    return found
