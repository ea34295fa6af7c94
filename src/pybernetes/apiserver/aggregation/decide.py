"""Which APIServices there should be, and whether one is available as far as objects tell. Pure.

Specified by ``apiregistration.k8s.io/v1`` and kube-aggregator; reasons and messages are upstream's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...api.errors import go_quote
from ...api.meta import Object, is_condition_true, is_deleting, labels_of, name_of
from ...api.versions import version_rank

AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY = 1000, 100
DEFAULT_PORT = 443
REGISTRATION_GROUP = "apiregistration.k8s.io"


class Verdict(NamedTuple):
    """The Available condition without its times."""

    status: str
    reason: str
    message: str


PASSED = Verdict("True", "Passed", "all checks passed")
LOCAL = Verdict("True", "Local", "Local APIServices are always available")


def group_version(service: Object) -> tuple[str, str]:
    spec = service.get("spec") or {}
    return spec.get("group") or "", spec.get("version") or ""


def reference(service: Object) -> tuple[str, str, int] | None:
    """(namespace, name, port) of the Service; None where this server serves the group version itself."""
    found = (service.get("spec") or {}).get("service")
    if found is None:
        return None
    return found.get("namespace") or "", found.get("name") or "", found.get("port") or DEFAULT_PORT


def obstacle(target: tuple[str, str, int], service: Object | None, slices: Sequence[Object]) -> Verdict | None:
    """Why nobody can be asked at all; None where somebody can."""
    namespace, name, port = target
    where = f"service/{name} in {go_quote(namespace)}"
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{where} is not present")
    spec = service.get("spec") or {}
    if (spec.get("type") or "ClusterIP") != "ClusterIP":
        return None
    entry = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if entry is None:
        return Verdict("False", "ServicePortError", f"{where} is not listening on port {port}")
    if not slices:
        return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {where}")
    port_name = entry.get("name") or ""
    if not any(_serves(s, port_name) for s in slices):
        words = f"endpointslices for {where} have no addresses with port name {go_quote(port_name)}"
        return Verdict("False", "MissingEndpoints", words)
    return None


def _serves(piece: Object, port_name: str) -> bool:
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in piece.get("endpoints") or ())
    return ready and any((p.get("name") or "") == port_name and p.get("port") for p in piece.get("ports") or ())


def with_condition(service: Object, verdict: Verdict, now: str) -> Object | None:
    """The APIService with this Available condition; None where it has it. The time changes with the status only."""
    status = service.get("status") or {}
    conditions = [dict(c) for c in status.get("conditions") or ()]
    old = next((c for c in conditions if c.get("type") == "Available"), None)
    made = {"type": "Available", "lastTransitionTime": now, **verdict._asdict()}
    if old is None:
        conditions.append(made)
    else:
        if old.get("status") == verdict.status:
            made["lastTransitionTime"] = old.get("lastTransitionTime") or now
        if old == made:
            return None
        old.clear()
        old.update(made)
    return {**service, "status": {**status, "conditions": conditions}}


def wanted_for(definitions: Iterable[Object]) -> dict[str, Object]:
    """The APIServices of custom resources, by name: one a served version of a group that is established."""
    found: dict[str, Object] = {}
    for crd in definitions:
        if not is_condition_true(crd, "Established") or is_deleting(crd):
            continue
        spec = crd.get("spec") or {}
        for version in spec.get("versions") or ():
            if version.get("served"):
                name = f"{version['name']}.{spec['group']}"
                found[name] = {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": name, "labels": {AUTOMANAGED: "true"}},
                    "spec": {
                        "group": spec["group"],
                        "version": version["name"],
                        "groupPriorityMinimum": CUSTOM_GROUP_PRIORITY,
                        "versionPriority": CUSTOM_VERSION_PRIORITY,
                    },
                }
    return found


def changes(
    wanted: Mapping[str, Object], existing: Iterable[Object]
) -> tuple[list[Object], list[Object], list[Object]]:
    """(to create, to update, to delete). What is not marked as ours is left alone."""
    present = {name_of(o): o for o in existing}
    create = [o for name, o in wanted.items() if name not in present]
    ours = {n: o for n, o in present.items() if labels_of(o).get(AUTOMANAGED) == "true"}
    update = [
        {**ours[n], "spec": {**ours[n]["spec"], **o["spec"]}}
        for n, o in wanted.items()
        if n in ours and any(ours[n]["spec"].get(k) != v for k, v in o["spec"].items())
    ]
    return create, update, [o for n, o in ours.items() if n not in wanted]


class Ranks:
    """In which order clients should see groups and versions: by the priorities of their APIServices."""

    def __init__(self, services: Iterable[Object]) -> None:
        # What registers the others is registered nowhere, and comes first.
        self._groups: dict[str, int] = {REGISTRATION_GROUP: 1 << 31}
        self._versions: dict[tuple[str, str], int] = {}
        for service in services:
            spec: Mapping[str, Any] = service.get("spec") or {}
            group, version = group_version(service)
            self._groups[group] = max(self._groups.get(group, 0), spec.get("groupPriorityMinimum") or 0)
            self._versions[group, version] = spec.get("versionPriority") or 0

    def groups(self, names: Iterable[str]) -> list[str]:
        """Those of one priority stay in the order that they come in."""
        return sorted(names, key=lambda g: -self._groups.get(g, CUSTOM_GROUP_PRIORITY))

    def versions(self, group: str, names: Iterable[str]) -> list[str]:
        default = CUSTOM_VERSION_PRIORITY
        return sorted(names, key=lambda v: (-self._versions.get((group, v), default), version_rank(v)))
