"""The shell of the local provisioner.

A kubelet makes the directory when it first mounts it. The directory is removed from here, so the manager must see the nodes'
file systems where they run on its machine; elsewhere the composition gives another ``remove_local_volume``.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from ...api.meta import Object, annotations_of, key_of, name_of
from ...api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from ...client.events import NORMAL, WARNING
from ..commands import Create
from ..persistentvolume.matching import SELECTED_NODE, class_of
from ..runtime import API_ERRORS, Controller
from . import decide

_VOLUME = "volume:"
_TRY_AGAIN = 60.0
Remover = Callable[[Object, str], Awaitable[None]]
"""(PersistentVolume, path)."""


class LocalProvisioner(Controller):
    name = "local-volume-provisioner-controller"
    component = decide.NAME
    workers = 4

    def setup(self) -> None:
        self.claims = self.watch(PERSISTENT_VOLUME_CLAIMS)
        self.classes = self.informer(STORAGE_CLASSES)
        self.nodes = self.informer(NODES)
        self.volumes = self.watch(PERSISTENT_VOLUMES, lambda kind, old, new: [_VOLUME + name_of(new or old or {})])
        self._directory = self.context.settings.local_volume_directory.rstrip("/")
        self._remove: Remover = self.context.extra.get("remove_local_volume") or self._remove_here

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._ensure_class,) if self.context.settings.provision_default_storage_class else ()

    async def _ensure_class(self) -> None:
        while True:
            try:
                if self.classes.get("", decide.CLASS_NAME) is None:
                    await self.execute([Create(STORAGE_CLASSES, decide.storage_class(), unless_exists=True)])
                return
            except API_ERRORS as failure:
                self.log.info("StorageClass not made yet", error=str(failure))
                await self.clock.sleep(1.0)

    async def sync(self, key: str) -> float | None:
        if key.startswith(_VOLUME):
            volume = self.volumes.get_key(key.removeprefix(_VOLUME))
            if volume is not None and decide.is_to_be_removed(volume):
                return await self._take_away(volume)
            return None
        claim = self.claims.get_key(key)
        found = self.classes.get("", class_of(claim)) if claim is not None else None
        if claim is not None and found is not None and decide.wants_volume(claim, found):
            return await self._provision(claim, found)
        return None

    async def _provision(self, claim: Object, found: Object) -> float | None:
        why = decide.refusal(claim)
        node = self._node_for(claim)
        if why is None and node is None:
            why = "no node for the volume"
        if why is not None or node is None:
            text = f'failed to provision volume with StorageClass "{name_of(found)}": {why}'
            self.event(claim, WARNING, "ProvisioningFailed", text)
            return 15.0
        text = f'External provisioner is provisioning volume for claim "{key_of(claim)}"'
        self.event(claim, NORMAL, "Provisioning", text)
        volume = decide.volume_for(claim, found, node, self._directory)
        await self.execute([Create(PERSISTENT_VOLUMES, volume, unless_exists=True)])
        text = f"Successfully provisioned volume {decide.volume_name(claim)}"
        self.event(claim, NORMAL, "ProvisioningSucceeded", text)
        return None

    def _node_for(self, claim: Object) -> Object | None:
        """The one that the scheduler chose; with Immediate binding the first."""
        chosen = annotations_of(claim).get(SELECTED_NODE)
        if chosen is not None:
            return self.nodes.get("", chosen)
        return min(self.nodes.list(), key=name_of, default=None)

    async def _take_away(self, volume: Object) -> float | None:
        path = (volume["spec"].get("hostPath") or {}).get("path") or ""
        try:
            await self._remove(volume, path)
        except OSError as failure:
            self.event(volume, WARNING, "VolumeFailedDelete", str(failure))
            return _TRY_AGAIN
        await self.writer.delete(PERSISTENT_VOLUMES, volume)
        return None

    async def _remove_here(self, volume: Object, path: str) -> None:
        """Only below our own directory: the path is what somebody may have written into the API."""
        home, target = Path(self._directory).resolve(), Path(path)
        if target.parent.resolve() != home or target.is_symlink():
            raise PermissionError(f"{path} is not a directory in {home}")
        await asyncio.to_thread(shutil.rmtree, target, ignore_errors=False, onerror=_unless_missing)


def _unless_missing(function: Any, path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
