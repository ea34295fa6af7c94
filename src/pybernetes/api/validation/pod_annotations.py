"""Annotations of pods that mean something to the server: profiles, deletion cost, mirror pods."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import FieldError, forbidden_field, go_quote, invalid_value
from .errors import Errors, Obj, at
from .options import PodOptions
from .paths import local_descending
from .security import APPARMOR_CONTAINER, SECCOMP_CONTAINER, SECCOMP_POD, containers_with_paths

MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def deletion_cost_problem(annotations: Mapping[str, str]) -> bool:
    """Whether the pod's deletion cost is no 32-bit integer in plain form."""
    text = annotations.get(DELETION_COST)
    if text is None:
        return False
    if not re.fullmatch(r"-[0-9]+|0|[1-9][0-9]*", text):
        return True
    return not -(2**31) <= int(text) < 2**31


def pod_annotations(annotations: Mapping[str, str], spec: Obj, path: str, options: PodOptions) -> Errors:
    found: Errors = []
    if MIRROR in annotations and not spec.get("nodeName"):
        words = "must set spec.nodeName if mirror pod annotation is set"
        found.append(invalid_value(f"{path}[{MIRROR}]", annotations[MIRROR], words))
    if not options.lax_deletion_cost and deletion_cost_problem(annotations):
        value = annotations[DELETION_COST]
        found.append(invalid_value(f"{path}[{DELETION_COST}]", value, "must be a 32bit integer"))
    if SECCOMP_POD in annotations:
        found += _seccomp(annotations[SECCOMP_POD], at(path, SECCOMP_POD))
    for key, value in annotations.items():
        if key.startswith(SECCOMP_CONTAINER):
            found += _seccomp(value, at(path, key))
    return found + _app_armor(annotations, spec, path)


def _seccomp(profile: str, path: str) -> Errors:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return []
    if profile.startswith("localhost/"):
        return local_descending(profile.removeprefix("localhost/"), path)
    return [invalid_value(path, profile, "must be a valid seccomp profile")]


def _app_armor(annotations: Mapping[str, str], spec: Obj, path: str) -> Errors:
    found: Errors = []
    names: set[str] | None = None
    for key, profile in annotations.items():
        if not key.startswith(APPARMOR_CONTAINER):
            continue
        if names is None:
            names = {c.get("name") or "" for c, _ in containers_with_paths(spec, "")}
        name = key.removeprefix(APPARMOR_CONTAINER)
        if name not in names:
            found.append(invalid_value(f"{path}[{key}]", name, "container not found"))
        if profile not in ("", "runtime/default", "unconfined") and not profile.startswith("localhost/"):
            words = f"invalid AppArmor profile name: {go_quote(profile)}"
            found.append(invalid_value(f"{path}[{key}]", profile, words))
    return found


def annotation_changes(new: Mapping[str, str], old: Mapping[str, str], path: str) -> Errors:
    """Annotations that stay as they were when the pod was made."""
    found: Errors = []
    for key, value in old.items():
        if new.get(key) != value:
            if key.startswith(APPARMOR_CONTAINER):
                found.append(forbidden_field(f"{path}[{key}]", "may not remove or update AppArmor annotations"))
            if key == MIRROR:
                found.append(forbidden_field(f"{path}[{key}]", "may not remove or update mirror pod annotation"))
    for key in new:
        if key not in old:
            if key.startswith(APPARMOR_CONTAINER):
                found.append(forbidden_field(f"{path}[{key}]", "may not add AppArmor annotations"))
            if key == MIRROR:
                found.append(forbidden_field(f"{path}[{key}]", "may not add mirror pod annotation"))
    return found


def profiles_match(annotations: Mapping[str, str], spec: Obj, path: str) -> Errors:
    """Old annotations and the fields that replace them must not contradict each other."""
    if not annotations:
        return []
    found: Errors = []
    context = spec.get("securityContext") or {}
    here = at(path, "securityContext", "seccompProfile")
    found += _same_seccomp(annotations.get(SECCOMP_POD), context.get("seccompProfile"), here)
    for container, where in containers_with_paths(spec, path):
        own = container.get("securityContext") or {}
        annotation = annotations.get(SECCOMP_CONTAINER + (container.get("name") or ""))
        found += _same_seccomp(annotation, own.get("seccompProfile"), f"{where}.securityContext.seccompProfile")
    if (spec.get("os") or {}).get("name") == "windows":
        return found
    for container, where in containers_with_paths(spec, path):
        profile = (container.get("securityContext") or {}).get("appArmorProfile") or context.get("appArmorProfile")
        annotation = annotations.get(APPARMOR_CONTAINER + (container.get("name") or ""))
        if profile is not None and annotation is not None:
            found += _same(annotation, profile, f"{where}.securityContext.appArmorProfile", "apparmor")
    return found


def _same_seccomp(annotation: str | None, profile: Obj | None, path: str) -> Errors:
    if annotation is None or profile is None:
        return []
    if annotation == "docker/default":
        annotation = "runtime/default"
    return _same(annotation, profile, path, "seccomp")


def _same(annotation: str, profile: Obj, path: str, word: str) -> list[FieldError]:
    kind = profile.get("type")
    wrong_type = forbidden_field(f"{path}.type", f"{word} type in annotation and field must match")
    if kind == "Localhost":
        if not annotation.startswith("localhost/"):
            return [wrong_type]
        if annotation.removeprefix("localhost/") != profile.get("localhostProfile"):
            words = f"{word} profile in annotation and field must match"
            return [forbidden_field(f"{path}.localhostProfile", words)]
        return []
    wanted = {"Unconfined": "unconfined", "RuntimeDefault": "runtime/default"}.get(kind or "")
    return [wrong_type] if wanted is not None and annotation != wanted else []
