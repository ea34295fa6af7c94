"""Setting up a pod's volumes, keeping their content current, and taking them down.

Everything lies under the pod's own directory (upstream's layout: ``volumes/<plugin>/<name>``, ``volume-subpaths``), so that what a
kubelet that died left behind is found and taken down by path alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, cast

from ...api.errors import StatusError
from ...api.meta import Object, labels_of, name_of, namespace_of, uid_of
from ...api.quantity import quantity_value
from ...api.resources import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from ...api.selectors import selector_from_object
from ...client.transport import TransportError
from ...concurrency import Clock
from .. import linux
from ..objects import ObjectCache
from ..pod.env import Place
from ..pod.qos import pod_resources
from ..settings import KubeletSettings
from . import subpath
from .image import ImageMounts
from .ownership import set_group
from .payload import Fetched, Payload, VolumeError, bundle_key, needs, payload_of, pem_blocks, token_key
from .sources import Mounted, empty_dir, host_path, mount_tmpfs, persistent_volume
from .tokens import TokenManager
from .writer import write_atomically

_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
    "local": "local-volume",
    "image": "image",
}
_WRITTEN = ("configMap", "secret", "downwardAPI", "projected")
_ON_DISK = ("configMap",)
OPERATION = 123.0
"""Seconds that a pod waits for its volumes before it says so: upstream's two minutes and three seconds."""
TRUST_BUNDLES = GVR("certificates.k8s.io", "v1beta1", "clustertrustbundles")


class MountFailed(Exception):
    """Some volume is not there (yet). ``failures``: volume name -> why."""

    def __init__(self, failures: Mapping[str, str]) -> None:
        super().__init__("; ".join(failures.values()))
        self.failures = failures


def is_live(pod: Object) -> bool:
    """Whether the pod has volumes whose content may change while it runs."""
    return any(k in v for v in pod["spec"].get("volumes") or () for k in _WRITTEN)


class VolumeManager:
    def __init__(
        self,
        settings: KubeletSettings,
        objects: ObjectCache,
        tokens: TokenManager,
        images: ImageMounts,
        clock: Clock,
        threads: Executor | None = None,
    ) -> None:
        """``threads`` is for what may hang; the loop's own where there is none."""
        self._images, self._threads = images, threads
        self._pending: dict[str, dict[str, asyncio.Future[Any]]] = {}
        """Pod -> what is under way for it, by volume: an operation that hangs is not begun a second time."""
        self._settings, self._objects, self._tokens, self._clock = settings, objects, tokens, clock

    def _directory(self, uid: str, source: str, name: str) -> Path:
        plugin = f"kubernetes.io~{_PLUGINS[source]}"
        return self._settings.pod_dir(uid) / "volumes" / plugin / name

    # -- setting up ------------------------------------------------------------------------------------------------

    async def mount(self, pod: Object, place: Place, *, fresh: bool) -> dict[str, Mounted]:
        """All volumes of the pod, made or brought up to date. Raises MountFailed with what failed and why."""
        volumes = pod["spec"].get("volumes") or []
        results = await asyncio.gather(*(self._one(pod, v, place, fresh) for v in volumes), return_exceptions=True)
        mounted: dict[str, Mounted] = {}
        failures: dict[str, str] = {}
        for volume, result in zip(volumes, results, strict=True):
            if isinstance(result, Mounted):
                mounted[volume["name"]] = result
            elif isinstance(result, VolumeError | OSError | StatusError | TransportError | TimeoutError):
                failures[volume["name"]] = str(result)
            elif isinstance(result, BaseException):
                raise result
        if failures:
            raise MountFailed(failures)
        return mounted

    async def _one(self, pod: Object, volume: Object, place: Place, fresh: bool) -> Mounted:
        uid, name = uid_of(pod), volume["name"]
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for source in _WRITTEN:
            if source in volume:
                payload = payload_of(volume, pod, await self._fetch(pod, volume, fresh), place)
                target = self._directory(uid, source, name)
                return await asyncio.to_thread(self._write, target, payload, group, source not in _ON_DISK)
        if "emptyDir" in volume:
            target = self._directory(uid, "emptyDir", name)
            limit = pod_resources(pod, "limits").get("memory", place.allocatable.get("memory", 0))
            return await asyncio.to_thread(
                self._empty, target, volume["emptyDir"] or {}, quantity_value(str(limit)), pod
            )
        if "hostPath" in volume:
            return cast(Mounted, await self._apart(uid, name, host_path, volume["hostPath"]))
        if "image" in volume:
            return Mounted(Path(), read_only=True, image=volume["image"].get("reference") or "")
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]
            return await self._claim(pod, claim.get("claimName", ""), bool(claim.get("readOnly")), None)
        if "ephemeral" in volume:
            return await self._claim(pod, f"{name_of(pod)}-{name}", False, pod)
        kinds = ", ".join(k for k in volume if k != "name")
        raise VolumeError(f'volumes of the type "{kinds}" are not supported by this kubelet')

    async def _apart(self, uid: str, key: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """Runs what a file system that does not answer may hold for ever. Who waits for it may stop waiting."""
        pending = self._pending.setdefault(uid, {})
        future = pending.get(key)
        if future is None:
            future = pending[key] = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
            future.add_done_callback(lambda done: self._ended(uid, key, done))
        return await asyncio.shield(future)

    def _ended(self, uid: str, key: str, future: asyncio.Future[Any]) -> None:
        pending = self._pending.get(uid, {})
        pending.pop(key, None)
        if not pending:
            self._pending.pop(uid, None)
        if not future.cancelled():
            future.exception()

    async def _fetch(self, pod: Object, volume: Object, fresh: bool) -> Fetched:
        maps, secrets, tokens, bundles = needs(volume)
        namespace = namespace_of(pod)
        found: dict[str, dict[str, Object | None]] = {"maps": {}, "secrets": {}}
        for name in maps:
            found["maps"][name] = await self._objects.config_map(namespace, name, fresh=fresh)
        for name in secrets:
            found["secrets"][name] = await self._objects.secret(namespace, name, fresh=fresh)
        given = {token_key(t): await self._tokens.get(pod, *token_key(t)) for t in tokens}
        trusted = {bundle_key(b): await self._bundle(b) for b in bundles}
        return Fetched(found["maps"], found["secrets"], given, trusted)

    async def _bundle(self, source: Object) -> str | None:
        if source.get("name"):
            found = await self._objects.get(TRUST_BUNDLES, "", source["name"])
            return None if found is None else str((found.get("spec") or {}).get("trustBundle") or "")
        # An absent selector matches nothing, an empty one everything of the signer.
        selector = source.get("labelSelector")
        listed = await self._objects.list_bundles(TRUST_BUNDLES, source.get("signerName") or "")
        chosen = [b for b in listed if selector_from_object(selector).matches(labels_of(b))]
        certificates = {c for b in chosen for c in pem_blocks((b.get("spec") or {}).get("trustBundle") or "")}
        return "".join(sorted(certificates)) if certificates else None

    def _write(self, target: Path, payload: Payload, group: int | None, in_memory: bool) -> Mounted:
        if not target.is_dir():
            target.mkdir(parents=True)
        if in_memory:
            mount_tmpfs(target, 0, mode=0o777)
        target.chmod(0o777)

        def prepare(fresh: Path) -> None:
            if group is not None:
                set_group(fresh, group, read_only=True)

        write_atomically(target, payload, self._clock.now(), prepare)
        # For the container too: what it could write here would be followed by whoever updates the files (CVE-2017-1002102).
        return Mounted(target, read_only=True, managed=True)

    def _empty(self, target: Path, source: Mapping[str, Any], limit: int, pod: Object) -> Mounted:
        # Upstream's mark (and place) of a volume that was made whole; what lies in memory is lost with the mount.
        mark = self._settings.pod_dir(uid_of(pod)) / "plugins/kubernetes.io~empty-dir" / target.name / "ready"
        if mark.exists() and target.is_dir() and (not source.get("medium") or linux.is_mount_point(target)):
            return Mounted(target, managed=True)
        mounted = empty_dir(target, source, limit)
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        if group is not None:
            set_group(target, group)
        mark.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        mark.touch()
        return mounted

    async def _claim(self, pod: Object, name: str, read_only: bool, owner: Object | None) -> Mounted:
        namespace = namespace_of(pod)
        claim = await self._objects.get(PERSISTENT_VOLUME_CLAIMS, namespace, name, fresh=True)
        if claim is None:
            raise VolumeError(f'persistentvolumeclaim "{name}" not found')
        owners = [r.get("uid") for r in claim["metadata"].get("ownerReferences") or ()]
        if owner is not None and uid_of(owner) not in owners:
            raise VolumeError(
                f"PVC {namespace}/{name} was not created for pod {namespace}/{name_of(owner)} (pod is not owner)"
            )
        volume_name = (claim.get("spec") or {}).get("volumeName")
        if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
            raise VolumeError(f"error processing PVC {namespace}/{name}: PVC is not bound")
        pv = await self._objects.get(PERSISTENT_VOLUMES, "", volume_name, fresh=True)
        if pv is None:
            raise VolumeError(f'persistentvolume "{volume_name}" not found')
        reference = (pv.get("spec") or {}).get("claimRef") or {}
        if reference.get("uid") != claim["metadata"].get("uid"):
            raise VolumeError(
                f"PersistentVolume {volume_name} is bound to another claim ({reference.get('namespace')}/{reference.get('name')})"
            )
        target = self._directory(uid_of(pod), "local", volume_name)
        context = pod["spec"].get("securityContext") or {}
        key = f"{volume_name} (mounting)"
        return cast(Mounted, await self._apart(uid_of(pod), key, self._persistent, pv, target, read_only, context))

    @staticmethod
    def _persistent(pv: Object, target: Path, read_only: bool, context: Mapping[str, Any]) -> Mounted:
        fresh = not linux.is_mount_point(target)
        mounted = persistent_volume(pv, target, read_only=read_only)
        group = context.get("fsGroup")
        if group is not None and mounted.managed and fresh and mounted.path.is_dir():
            lazy = context.get("fsGroupChangePolicy") == "OnRootMismatch"
            set_group(mounted.path, group, read_only=read_only, on_root_mismatch=lazy)
        return mounted

    async def mount_image(self, pod: Object, volume: str, reference: str) -> Mounted:
        """An image volume that the runtime cannot mount itself. Raises VolumeError."""
        target = self._directory(uid_of(pod), "image", volume)
        await self._images.mount(reference, target)
        return Mounted(target, read_only=True)

    # -- parts of volumes ------------------------------------------------------------------------------------------

    async def sub_path(self, pod: Object, container: str, index: int, volume: str, mounted: Mounted, path: str) -> Path:
        """A part of a volume, bind-mounted for one container. Raises VolumeError (without telling of the host's files)."""
        target = self._settings.pod_dir(uid_of(pod)) / "volume-subpaths" / volume / container / str(index)
        try:
            key = f"{volume}/{container}/{index} (mounting)"
            async with self._clock.timeout(OPERATION):
                await self._apart(uid_of(pod), key, subpath.bind, mounted.path, path, target)
        except (OSError, VolumeError, TimeoutError) as failure:
            if isinstance(failure, VolumeError) and "SubPath" in str(failure):
                raise
            text = f'failed to prepare subPath for volumeMount "{volume}" of container "{container}"'
            raise VolumeError(text) from failure
        return target

    # -- taking down -----------------------------------------------------------------------------------------------

    async def unmount(self, uid: str) -> None:
        """Takes down all volumes of a pod and removes what they held. Raises OSError where something is still in use."""
        directory = self._settings.pod_dir(uid)
        mounting = [key for key in self._pending.get(uid, ()) if key.endswith("(mounting)")]
        if mounting:
            # It may yet be mounted: what was taken down now would come back.
            raise OSError(f"volumes are still being mounted: {', '.join(mounting)}")
        views = directory / "volumes" / f"kubernetes.io~{_PLUGINS['image']}"
        names = sorted(views.iterdir()) if views.is_dir() else []
        await asyncio.to_thread(remove_pod_volumes, directory)
        await self._images.forget(names)
        self._tokens.forget(uid)


def remove_pod_volumes(directory: Path) -> None:
    """Unmounts everything under a pod's directory, then removes it; never descends into what is still mounted."""
    if not directory.exists():
        return
    linux.unmount_below(directory)
    left = [m.target for m in linux.mounts() if m.target.startswith(f"{directory}/")]
    if left:
        raise OSError(f"still mounted: {', '.join(left)}")

    def writable(function: Any, path: str, failure: Any) -> None:
        if not issubclass(failure[0], FileNotFoundError):
            raise failure[1]

    device = os.lstat(directory).st_dev
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            if entry.stat(follow_symlinks=False).st_dev != device:
                raise OSError(f"still mounted: {entry.path}")
            shutil.rmtree(entry.path, onerror=writable)
        else:
            os.unlink(entry.path)
    directory.rmdir()
