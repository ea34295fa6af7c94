"""Files of one volume that lie on or under each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import go_quote


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    source: str

    def __str__(self) -> str:
        return f"{go_quote(self.path)} ({self.source})" if self.source else go_quote(self.path)

    def collides(self, other: _File) -> bool:
        if not self.path or not other.path:
            return False
        mine, theirs = self.path + "/", other.path + "/"
        return mine.startswith(theirs) or theirs.startswith(mine)


def _overlaps(files: Iterable[_File], known: list[_File]) -> list[str]:
    found = []
    for given in files:
        file = _File(given.path.rstrip("/"), given.source)
        found += [f"{file} with {other}" for other in known if other.collides(file)]
        known.append(file)
    return found


def _files(items: Iterable[Mapping[str, Any]] | None, source: str) -> list[_File]:
    return [_File(item.get("path") or "", source) for item in items or ()]


def overlapping_path_warnings(volumes: Iterable[Mapping[str, Any]]) -> list[str]:
    found = []
    for volume in volumes:
        name = volume.get("name") or ""
        for field, describe in _PLAIN:
            source = volume.get(field)
            if source is not None:
                words = describe(source)
                for overlap in _overlaps(_files(source.get("items"), ""), []):
                    found.append(f"volume {go_quote(name)} ({words}): overlapping paths: {overlap}")
        if volume.get("projected") is not None:
            found += _projected(name, volume["projected"])
    return found


_PLAIN = (
    ("configMap", lambda s: f"ConfigMap {go_quote(s.get('name') or '')}"),
    ("secret", lambda s: f"Secret {go_quote(s.get('secretName') or '')}"),
    ("downwardAPI", lambda s: "DownwardAPI"),
)


def _projected(name: str, projected: Mapping[str, Any]) -> list[str]:
    found = []
    known: list[_File] = []
    for source in projected.get("sources") or ():
        if not any(value is not None for value in source.values()):
            found.append(f"volume {go_quote(name)} (Projected) has no sources provided")
            continue
        for overlap in _overlaps(_projection_files(source), known):
            found.append(f"volume {go_quote(name)} (Projected): overlapping paths: {overlap}")
    return found


def _projection_files(source: Mapping[str, Any]) -> list[_File]:
    for field, words in (("configMap", "ConfigMap"), ("secret", "Secret")):
        part = source.get(field)
        if part is not None and part.get("items") is not None:
            return _files(part["items"], f"{words} {go_quote(part.get('name') or '')}")
    if (source.get("downwardAPI") or {}).get("items") is not None:
        return _files(source["downwardAPI"]["items"], "DownwardAPI")
    if source.get("serviceAccountToken") is not None:
        return [_File(source["serviceAccountToken"].get("path") or "", "ServiceAccountToken")]
    if source.get("clusterTrustBundle") is not None:
        bundle = source["clusterTrustBundle"]
        own = bundle.get("name") or bundle.get("signerName") or ""
        return [_File(bundle.get("path") or "", f"ClusterTrustBundle {go_quote(own)}")]
    certificate = source.get("podCertificate") or {}
    parts = (
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    )
    return [_File(certificate[field], words) for field, words in parts if certificate.get(field)]
