"""The collectors' shell: containers every minute, images every five minutes, logs rotated every ten seconds."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ...api.meta import Object
from ...client.events import WARNING
from ...concurrency import logger
from ..context import Context
from ..cri import CRIError
from ..images import ImageManager
from ..pod.model import RUNNING, Container
from ..runtime_cache import RuntimeCache
from .garbage import (
    ImageRecord,
    bytes_to_free,
    dead_containers,
    dead_sandboxes,
    images_to_free,
    images_too_old,
    stray_log_directories,
)

log = logger("kubelet.cleaning")

CONTAINERS_EVERY, IMAGES_EVERY, LOGS_EVERY = 60.0, 300.0, 10.0


class Cleaner:
    """``wanted(uid)`` says whether the kubelet still works on a pod."""

    def __init__(
        self, context: Context, cache: RuntimeCache, images: ImageManager, wanted: Callable[[str], bool], pause: str
    ) -> None:
        self._context, self._cache, self._images, self._wanted, self._pause = context, cache, images, wanted, pause
        self._first_seen: dict[str, float] = {}
        self._clock = context.clock

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(CONTAINERS_EVERY, self.containers))
            group.create_task(self._every(IMAGES_EVERY, self.images))
            group.create_task(self._every(LOGS_EVERY, self.logs))

    async def _every(self, seconds: float, work: Callable[[], object]) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await work()  # type: ignore[misc]
            except (CRIError, OSError) as failure:
                log.warning("not cleaned", work=getattr(work, "__name__", ""), error=str(failure))

    # -- containers ------------------------------------------------------------------------------------------------

    async def containers(self) -> None:
        cri = self._context.cri
        for uid, pod in list(self._cache.pods.items()):
            wanted = self._wanted(uid)
            dead = dead_containers(pod, wanted=wanted)
            for container in dead:
                await cri.remove_container(container.id)
                self._cache.container_removed(uid, container.id)
                await asyncio.to_thread(remove_logs, container)
            sandboxes = dead_sandboxes(pod, [c.id for c in dead], wanted=wanted)
            for sandbox in sandboxes:
                await cri.remove_pod_sandbox(sandbox)
            if dead or sandboxes:
                await self._cache.refresh(uid)
        await asyncio.to_thread(self._stray_logs)

    def _stray_logs(self) -> None:
        root = self._context.settings.pod_logs_dir
        names = [e.name for e in os.scandir(root)] if root.is_dir() else []
        known = {name.rpartition("_")[2]: None for name in names if self._wanted(name.rpartition("_")[2])}
        for name in stray_log_directories(names, {**self._cache.pods, **known}):
            shutil.rmtree(root / name, ignore_errors=True)
        links = self._context.settings.container_logs_dir
        for entry in os.scandir(links) if links is not None and links.is_dir() else ():
            if entry.is_symlink() and not os.path.exists(entry.path):
                os.unlink(entry.path)

    # -- images ----------------------------------------------------------------------------------------------------

    async def records(self) -> list[ImageRecord]:
        now, found = self._clock.monotonic(), []
        for image in await self._context.cri.list_images():
            identity = image["id"]
            seen = self._first_seen.setdefault(identity, now)
            pinned = image.get("pinned", False) or self._pause in image.get("repo_tags", ())
            used = self._images.last_used.get(identity, seen)
            found.append(ImageRecord(identity, image.get("size", 0), seen, used, pinned))
        ids = {i.id for i in found}
        self._first_seen = {k: v for k, v in self._first_seen.items() if k in ids}
        return found

    def _in_use(self) -> set[str]:
        used = {c.image_ref for p in self._cache.pods.values() for c in p.containers}
        now = self._clock.monotonic()
        for identity in used:
            self._images.last_used[identity] = now
        return used

    async def images(self) -> None:
        settings = self._context.settings
        records, used, now = await self.records(), self._in_use(), self._clock.monotonic()
        await self._remove(images_too_old(records, used, now, maximum_age=settings.image_maximum_gc_age))
        available, capacity = await self.image_disk()
        high, low = settings.image_gc_high_threshold, settings.image_gc_low_threshold
        need = bytes_to_free(available, capacity, high=high, low=low)
        if need <= 0:
            return
        chosen = images_to_free(records, used, need, now, minimum_age=settings.image_minimum_gc_age)
        freed = sum(i.size for i in chosen)
        await self._remove(chosen)
        if freed < need:
            self._tell_full(need, freed)

    async def free_all(self) -> None:
        """Removes every image that is not in use (under disk pressure)."""
        records, used = await self.records(), self._in_use()
        await self._remove(images_to_free(records, used, 1 << 62, self._clock.monotonic(), minimum_age=0))

    async def _remove(self, chosen: list[ImageRecord]) -> None:
        for image in chosen:
            log.info("removing an image", image=image.id, size=image.size)
            await self._context.cri.remove_image(image.id)

    async def image_disk(self) -> tuple[int, int]:
        """(available, capacity) in bytes of the file system that holds the images."""
        status = await self.image_file_system()
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    async def image_file_system(self) -> os.statvfs_result:
        info = await self._context.cri.image_fs_info()
        usage = info.get("image_filesystems") or [{}]
        path = (usage[0].get("fs_id") or {}).get("mountpoint") or str(self._context.settings.root_dir)
        return os.statvfs(path if os.path.exists(path) else self._context.settings.root_dir)

    def _tell_full(self, need: int, freed: int) -> None:
        if self._context.recorder is None:
            return
        name = self._context.settings.node_name
        node: Object = {"kind": "Node", "name": name, "uid": name}
        text = f"Failed to garbage collect required amount of images. Attempted to free {need} bytes, but only found {freed} bytes eligible to free."
        self._context.recorder.event(node, WARNING, "FreeDiskSpaceFailed", text)

    # -- logs ------------------------------------------------------------------------------------------------------

    async def logs(self) -> None:
        """Rotates the logs of running containers that have grown over the limit."""
        settings = self._context.settings
        if settings.container_log_max_size <= 0:
            return
        for pod in list(self._cache.pods.values()):
            for container in pod.containers:
                if container.state == RUNNING and container.log_path:
                    await self._rotate(container)

    async def _rotate(self, container: Container) -> None:
        settings, path = self._context.settings, Path(container.log_path)
        try:
            if path.stat().st_size < settings.container_log_max_size:
                return
        except FileNotFoundError:
            return
        await asyncio.to_thread(make_room, path, settings.container_log_max_files)
        stamp = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%d-%H%M%S")
        rotated = path.with_name(f"{path.name}.{stamp}")
        path.rename(rotated)
        try:
            await self._context.cri.reopen_container_log(container.id)
        except CRIError:
            # The runtime goes on writing the old file: it must keep its name.
            rotated.rename(path)
            raise


def rotated_logs(path: Path) -> list[Path]:
    """The rotated files of a log, the oldest first (their names end in the time)."""
    return sorted(p for p in path.parent.glob(f"{path.name}.*") if not p.name.endswith(".tmp"))


def make_room(path: Path, max_files: int) -> None:
    """Removes the oldest rotated files so that the live one and one more fit, and compresses all but the newest."""
    for leftover in path.parent.glob(f"{path.name}.*.tmp"):
        leftover.unlink()
    rotated = rotated_logs(path)
    keep = max(0, max_files - 2)
    for old in rotated[: len(rotated) - keep] if len(rotated) > keep else []:
        old.unlink()
    for file in rotated_logs(path):
        if not file.name.endswith(".gz"):
            temporary = file.with_name(file.name + ".tmp")
            with file.open("rb") as source, gzip.open(temporary, "wb") as target:
                shutil.copyfileobj(source, target)
            temporary.rename(file.with_name(file.name + ".gz"))
            file.unlink()


def remove_logs(container: Container) -> None:
    """Removes a removed container's log and what was rotated from it."""
    if container.log_path:
        path = Path(container.log_path)
        for file in (*rotated_logs(path), path):
            file.unlink(missing_ok=True)
