"""Volume mounts and block devices of a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import field_not_found, forbidden_field, invalid_value, not_supported, required
from .errors import Errors, Obj
from .paths import local_descending, no_backsteps

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")


def validate_mounts(container: Obj, volumes: Mapping[str, Any], path: str) -> Errors:
    devices = {d.get("name") or "": d.get("devicePath") or "" for d in container.get("volumeDevices") or ()}
    found: Errors = []
    taken: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        here, name, target = f"{path}[{i}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            found.append(required(f"{here}.name"))
        if name not in volumes:
            found.append(field_not_found(f"{here}.name", name))
        if not target:
            found.append(required(f"{here}.mountPath"))
        if target in taken:
            found.append(invalid_value(f"{here}.mountPath", target, "must be unique"))
        taken.add(target)
        if name in devices:
            found.append(invalid_value(f"{here}.name", name, "must not already exist in volumeDevices"))
        if target in devices.values():
            words = "must not already exist as a path in volumeDevices"
            found.append(invalid_value(f"{here}.mountPath", target, words))
        # From here on upstream's paths lack the index.
        sub, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
        if sub:
            found += local_descending(sub, f"{path}.subPath")
        if expression:
            if sub:
                words = "subPathExpr and subPath are mutually exclusive"
                found.append(invalid_value(f"{here}.subPathExpr", expression, words))
            found += local_descending(expression, f"{path}.subPathExpr")
        found += _propagation(mount, container, f"{path}.mountPropagation")
        found += _recursive_read_only(mount, f"{path}.recursiveReadOnly")
    return found


def _propagation(mount: Obj, container: Obj, path: str) -> Errors:
    mode = mount.get("mountPropagation")
    if mode is None:
        return []
    found = [] if mode in _PROPAGATIONS else [not_supported(path, mode, _PROPAGATIONS)]
    if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        words = "Bidirectional mount propagation is available only to privileged containers"
        found.append(forbidden_field(path, words))
    return found


def _recursive_read_only(mount: Obj, path: str) -> Errors:
    mode = mount.get("recursiveReadOnly")
    if mode is None or mode == "Disabled":
        return []
    if mode not in _RECURSIVE:
        return [not_supported(path, mode, _RECURSIVE)]
    found: Errors = []
    if not mount.get("readOnly"):
        found.append(forbidden_field(path, "may only be specified when readOnly is true"))
    if mount.get("mountPropagation") not in (None, "None"):
        words = "may only be specified when mountPropagation is None or not specified"
        found.append(forbidden_field(path, words))
    return found


def validate_devices(container: Obj, volumes: Mapping[str, Any], path: str) -> Errors:
    mounts = {m.get("name") or "": m.get("mountPath") or "" for m in container.get("volumeMounts") or ()}
    found: Errors = []
    names: set[str] = set()
    paths: set[str] = set()
    for i, device in enumerate(container.get("volumeDevices") or ()):
        here, name, target = f"{path}[{i}]", device.get("name") or "", device.get("devicePath") or ""
        volume = volumes.get(name)
        if not name:
            found.append(required(f"{here}.name"))
        if name in names:
            found.append(invalid_value(f"{here}.name", name, "must be unique"))
        if volume is None:
            found.append(field_not_found(f"{here}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            found.append(invalid_value(f"{here}.name", name, words))
        if not target:
            found.append(required(f"{here}.devicePath"))
        if target in paths:
            found.append(invalid_value(f"{here}.devicePath", target, "must be unique"))
        if no_backsteps(target, ""):
            found.append(invalid_value(f"{here}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mounts:
            found.append(invalid_value(f"{here}.name", name, "must not already exist in volumeMounts"))
        if target in mounts.values():
            words = "must not already exist as a path in volumeMounts"
            found.append(invalid_value(f"{here}.devicePath", target, words))
        if name:
            names.add(name)
    return found
