"""Image volumes for runtimes that cannot mount images themselves (containerd before 2.1): a read-only view of the image's layers,
made by containerd's snapshot service and mounted by us.

Specified by KEP-4639 for what the volume is, and by containerd's ``api/services/snapshots/v1/snapshots.proto``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import grpc.aio
import orjson

from .. import linux
from ..cri import CRIClient, CRIError
from ..cri.client import error_of, open_channel
from ..cri.codec import Message, Schema
from .payload import VolumeError

_TABLE = """\
ViewRequest snapshotter=1 key=2 parent=3 labels=4:{}
MountsRequest snapshotter=1 key=2
RemoveRequest snapshotter=1 key=2
Mount type=1 source=2 target=3 options=4:*
Answer mounts=1:Mount*
"""
_NAMESPACE = (("containerd-namespace", "k8s.io"),)
_FLAGS = {"ro": linux.MS_RDONLY, "rbind": linux.MS_BIND | linux.MS_REC, "bind": linux.MS_BIND}


@cache
def _schema() -> Schema:
    return Schema(_TABLE)


def mounts_images(name: str, version: str) -> bool:
    """Whether a runtime mounts images itself: containerd since 2.1, CRI-O since 1.31."""
    numbers = [int(n) for n in version.removeprefix("v").split("~")[0].split("-")[0].split(".")[:2] if n.isdigit()]
    since = {"containerd": [2, 1], "cri-o": [1, 31]}.get(name)
    return since is not None and len(numbers) == 2 and numbers >= since


class ImageMounts:
    def __init__(self, cri: CRIClient) -> None:
        self._cri = cri
        self._snapshotter = ""

    async def _call(self, method: str, request: Message) -> Message:
        table = _schema()
        channel = open_channel(self._cri.endpoint)
        call = channel.unary_unary(
            f"/containerd.services.snapshots.v1.Snapshots/{method}",
            request_serializer=lambda message: table.encode(f"{method}Request", message),
            response_deserializer=lambda data: table.decode("Answer", data),
        )
        try:
            answer: Message = await call(request, metadata=_NAMESPACE, timeout=60)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        finally:
            await channel.close()
        return answer

    async def _default_snapshotter(self) -> str:
        if not self._snapshotter:
            info = (await self._cri.status(verbose=True)).get("info") or {}
            config = orjson.loads(info.get("config") or b"{}")
            self._snapshotter = (config.get("containerd") or {}).get("snapshotter") or "overlayfs"
        return self._snapshotter

    async def mount(self, image: str, target: Path) -> None:
        """Mounts the image read-only at ``target``. Raises VolumeError."""
        if target.is_dir() and linux.is_mount_point(target):
            return
        try:
            answer = await self._cri.call("ImageStatus", {"image": {"image": image}, "verbose": True})
            chain = orjson.loads((answer.get("info") or {}).get("info") or b"{}").get("chainID")
            if not chain:
                raise VolumeError(f"image volumes are not supported by this runtime (no layers known of {image})")
            snapshotter = await self._default_snapshotter()
            # The view must outlive containerd's garbage collector as long as the pod does.
            labels = {"containerd.io/gc.root": "pybernetes-image-volume"}
            key = {"snapshotter": snapshotter, "key": str(target)}
            try:
                view = await self._call("View", {**key, "parent": chain, "labels": labels})
            except CRIError as failure:
                if failure.code != "AlreadyExists":
                    raise
                view = await self._call("Mounts", key)
        except CRIError as failure:
            raise VolumeError(f"image volume of {image}: {failure.detail}") from failure
        await asyncio.to_thread(_mount, view.get("mounts", []), target)

    async def forget(self, targets: Sequence[Path]) -> None:
        """Removes the views that were mounted at ``targets``. Raises CRIError."""
        for target in targets:
            try:
                snapshotter = await self._default_snapshotter()
                await self._call("Remove", {"snapshotter": snapshotter, "key": str(target)})
            except CRIError as failure:
                if not failure.not_found:
                    raise


def _mount(mounts: list[Message], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in mounts:
        options = entry.get("options", [])
        flags = linux.MS_RDONLY | linux.MS_NOEXEC
        for option in options:
            flags |= _FLAGS.get(option, 0)
        data = ",".join(o for o in options if o not in _FLAGS)
        kind = entry.get("type", "")
        if kind in ("bind", ""):
            linux.mount(entry.get("source", ""), str(target), flags=linux.MS_BIND | linux.MS_REC)
            linux.mount("", str(target), flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOEXEC)
        else:
            linux.mount(entry.get("source", ""), str(target), kind, flags, data)
