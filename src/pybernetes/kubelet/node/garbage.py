"""Removing what nobody needs any more: ended containers and sandboxes, logs, images. Choosing is pure; the rest is in ``cleaning``.

Rules of upstream's ``kuberuntime_gc.go`` and ``images/image_gc_manager.go``: of every container one ended instance is kept for its
logs, images go when the disk is fuller than the high threshold, the least recently used first, down to the low one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..pod.model import EXITED, UNKNOWN, Container, RuntimePod

KEEP_DEAD = 1


def dead_containers(pod: RuntimePod, *, wanted: bool) -> list[Container]:
    """Ended containers that can go: all of a pod that is not ``wanted`` any more, else all but the newest of every name."""
    seen: dict[str, int] = {}
    found = []
    for container in pod.containers:
        if container.state not in (EXITED, UNKNOWN):
            continue
        count = seen[container.name] = seen.get(container.name, 0) + 1
        if not wanted or count > KEEP_DEAD:
            found.append(container)
    return found


def dead_sandboxes(pod: RuntimePod, removed: Iterable[str], *, wanted: bool) -> list[str]:
    """Sandboxes that are not ready and hold no container but those just ``removed``; the newest of a wanted pod stays."""
    gone = set(removed)
    used = {c.sandbox_id for c in pod.containers if c.id not in gone}
    newest = pod.sandboxes[0].id if pod.sandboxes else ""
    return [s.id for s in pod.sandboxes if not s.ready and s.id not in used and (not wanted or s.id != newest)]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image as the collector knows it. ``pinned`` ones (the runtime's own) never go."""

    id: str
    size: int
    first_seen: float
    last_used: float
    pinned: bool = False


def images_to_free(
    images: Iterable[ImageRecord], in_use: Iterable[str], need: int, now: float, *, minimum_age: float
) -> list[ImageRecord]:
    """Unused images, the least recently used first, until ``need`` bytes are free; young ones are left alone."""
    used = set(in_use)
    freed, found = 0, []
    candidates = (i for i in images if i.id not in used and not i.pinned)
    for image in sorted(candidates, key=lambda i: (i.last_used, i.first_seen)):
        if freed >= need:
            break
        if now - image.first_seen < minimum_age:
            continue
        found.append(image)
        freed += image.size
    return found


def images_too_old(
    images: Iterable[ImageRecord], in_use: Iterable[str], now: float, *, maximum_age: float
) -> list[ImageRecord]:
    """Unused for longer than ``maximum_age`` (0: never)."""
    if maximum_age <= 0:
        return []
    used = set(in_use)
    return [i for i in images if i.id not in used and not i.pinned and now - i.last_used > maximum_age]


def bytes_to_free(available: int, capacity: int, *, high: int, low: int) -> int:
    """How much has to go so that usage is at the low threshold; 0 below the high one (percent)."""
    if capacity <= 0:
        return 0
    usage = 100 - available * 100 // capacity
    return 0 if usage < high else max(0, capacity * (100 - low) // 100 - available)


def stray_log_directories(names: Iterable[str], known: Mapping[str, object]) -> list[str]:
    """Directories ``NAMESPACE_NAME_UID`` of pods that are known neither to the kubelet nor to the runtime."""
    return [n for n in names if n.count("_") == 2 and n.rpartition("_")[2] not in known]
