"""Writing image archives: an OCI image layout in a tar file, which ``docker load`` understands as well.

The same content always gives the same bytes. Specified by the OCI image-spec (layout, manifest, config) and, for the
``manifest.json`` beside them, by the docker image format v1.2.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

_OCI = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def go_architecture(machine: str) -> str:
    """``amd64`` for ``x86_64``: image configs name machines as Go does."""
    return _ARCHITECTURES.get(machine, machine)


class Layer:
    """One layer of an image's file system, built file by file; parents are made as needed."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._names: set[str] = set()

    def _info(self, path: str, mode: int, kind: bytes) -> tarfile.TarInfo:
        name = str(PurePosixPath(path.lstrip("/")))
        for parent in reversed(PurePosixPath(name).parents):
            if str(parent) not in (".", "") and str(parent) not in self._names:
                self.directory(str(parent))
        info = tarfile.TarInfo(name)
        info.mode, info.type = mode, kind
        self._names.add(name)
        return info

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._tar.addfile(self._info(path, mode, tarfile.DIRTYPE))

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        info = self._info(path, mode, tarfile.REGTYPE)
        info.size = len(content)
        self._tar.addfile(info, io.BytesIO(content))

    def symlink(self, path: str, target: str) -> None:
        info = self._info(path, 0o777, tarfile.SYMTYPE)
        info.linkname = target
        self._tar.addfile(info)

    def copy(self, source: str | Path, path: str = "") -> None:
        """A file or a whole directory of this machine, under its own path where none is given."""
        source = Path(source)
        target = path or str(source)
        mode = source.lstat().st_mode
        if stat.S_ISLNK(mode):
            self.symlink(target, os.readlink(source))
        elif stat.S_ISDIR(mode):
            self.directory(target, stat.S_IMODE(mode))
            for child in sorted(source.iterdir()):
                self.copy(child, f"{target}/{child.name}")
        elif stat.S_ISREG(mode):
            self.file(target, source.read_bytes(), stat.S_IMODE(mode))

    def finish(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def _blob(blobs: dict[str, bytes], media_type: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def build(name: str, layers: Sequence[bytes], config: Mapping[str, Any], *, machine: str) -> bytes:
    """An archive with one image. ``name`` is complete (``registry/repository:tag``), ``config`` is the OCI config's inner
    ``config`` (``Entrypoint``, ``Cmd``, ``Env``, ``User``, ``WorkingDir`` ...)."""
    blobs: dict[str, bytes] = {}
    layer_blobs = [_blob(blobs, f"{_OCI}.layer.v1.tar", layer) for layer in layers]
    image = {
        "architecture": go_architecture(machine),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [b["digest"] for b in layer_blobs]},
    }
    config_blob = _blob(blobs, f"{_OCI}.config.v1+json", orjson.dumps(image, option=orjson.OPT_SORT_KEYS))
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": config_blob,
        "layers": layer_blobs,
    }
    manifest_blob = _blob(blobs, f"{_OCI}.manifest.v1+json", orjson.dumps(manifest))
    manifest_blob["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [manifest_blob]}
    docker = {
        "Config": _path(config_blob),
        "RepoTags": [name],
        "Layers": [_path(b) for b in layer_blobs],
    }
    whole = Layer()
    whole.file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    whole.file("index.json", orjson.dumps(index))
    whole.file("manifest.json", orjson.dumps([docker]))
    for digest, content in sorted(blobs.items()):
        whole.file(f"blobs/sha256/{digest}", content)
    return whole.finish()


def _path(blob: Mapping[str, Any]) -> str:
    return "blobs/sha256/" + str(blob["digest"]).removeprefix("sha256:")
