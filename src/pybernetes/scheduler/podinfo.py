"""A pod as the scheduler reads it: parsed once a template, shared by all pods of equal specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..api.meta import Object, is_deleting, labels_of, name_of, namespace_of, uid_of
from .nodeaffinity import NodeSelection, PreferredTerms
from .requests import NON_ZERO, Amounts, HostPort, host_ports, non_zero_requests, pod_requests, resized_statuses
from .terms import Terms, terms_of

_MEANINGLESS_VOLUMES = {"projected", "configMap", "secret", "emptyDir", "downwardAPI", "hostPath", "name", "nfs"}
"""Kinds of volumes that say nothing about nodes (and the volume's own name)."""
_LIMIT = 20_000


@dataclass(slots=True, eq=False)
class Facts:
    """What a pod's specification says to the scheduler. Compared by identity: equal specifications share one."""

    signature: bytes
    requests: Amounts
    non_zero: tuple[int, int]
    assumed: Amounts
    """Requests with the defaults of containers that do not say, for scores."""
    ports: frozenset[HostPort]
    selection: NodeSelection
    preferred: PreferredTerms
    tolerations: tuple[Mapping[str, Any], ...]
    images: tuple[str, ...]
    containers: int
    volumes: tuple[Mapping[str, Any], ...]
    spread: tuple[Mapping[str, Any], ...]
    affinity: Mapping[str, Any]
    _terms: dict[str, Terms] = field(default_factory=dict)

    def terms(self, namespace: str) -> Terms:
        found = self._terms.get(namespace)
        if found is None:
            found = self._terms[namespace] = terms_of(self.affinity, namespace)
        return found

    @property
    def claims(self) -> bool:
        """Whether the pod uses claims."""
        return any("persistentVolumeClaim" in v or "ephemeral" in v for v in self.volumes)


def _container_parts(containers: list[Object] | None) -> list[Any] | None:
    if not containers:
        return None
    return [
        (c.get("image"), c.get("resources"), c.get("ports"), c.get("restartPolicy"), c.get("name")) for c in containers
    ]


def _relevant_volumes(spec: Object) -> list[Object] | None:
    return [v for v in spec.get("volumes") or () if v.keys() - _MEANINGLESS_VOLUMES] or None


class FactsCache:
    """Facts by specification."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._facts: dict[bytes, Facts] = {}

    def of(self, pod: Object) -> Facts:
        spec = pod.get("spec") or {}
        volumes = _relevant_volumes(spec)
        state = pod.get("status") or {}
        resized = resized_statuses(pod) if "containerStatuses" in state or "resources" in state else None
        parts = (
            _container_parts(spec.get("containers")),
            _container_parts(spec.get("initContainers")),
            spec.get("nodeSelector"),
            spec.get("affinity"),
            spec.get("tolerations"),
            spec.get("topologySpreadConstraints"),
            spec.get("overhead"),
            spec.get("resources"),
            volumes,
            None
            if resized is None
            else [
                (n, s.get("resources"), s.get("allocatedResources"), s.get("infeasible")) for n, s in resized.items()
            ],
        )
        signature = orjson.dumps(parts)
        found = self._facts.get(signature)
        if found is None:
            if len(self._facts) >= self._limit:
                self._facts.clear()
            found = self._facts[signature] = _parse(signature, pod, volumes or [], resized or {})
        return found


def _parse(signature: bytes, pod: Object, volumes: list[Object], resized: dict[str, Mapping[str, Any]]) -> Facts:
    spec = pod.get("spec") or {}
    asked = pod_requests(pod, status=resized)
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    affinity = spec.get("affinity") or {}
    node_affinity = affinity.get("nodeAffinity") or {}
    return Facts(
        signature=signature,
        requests=asked,
        non_zero=non_zero_requests(pod, asked, resized),
        assumed=pod_requests(pod, missing=NON_ZERO),
        ports=host_ports(pod),
        selection=NodeSelection.of(
            spec.get("nodeSelector"), node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        ),
        preferred=PreferredTerms.of(node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution")),
        tolerations=tuple(spec.get("tolerations") or ()),
        images=(
            *(c.get("image") or "" for c in containers),
            *(v["image"].get("reference") or "" for v in volumes if v.get("image")),
        ),
        containers=len(containers),
        volumes=tuple(volumes),
        spread=tuple(spec.get("topologySpreadConstraints") or ()),
        affinity=affinity,
    )


class PodInfo:
    """One pod. ``row`` is the node table's row it is placed (or assumed) on, -1 where none."""

    __slots__ = ("facts", "key", "label_set", "object", "priority", "row", "uid")

    def __init__(self, pod: Object, facts: Facts) -> None:
        self.object = pod
        namespace = namespace_of(pod)
        self.key = f"{namespace}/{name_of(pod)}"
        self.uid = uid_of(pod) or self.key
        self.priority: int = (pod.get("spec") or {}).get("priority") or 0
        self.facts = facts
        self.row = -1
        self.label_set: Any = None

    @property
    def namespace(self) -> str:
        return namespace_of(self.object)

    @property
    def name(self) -> str:
        return name_of(self.object)

    @property
    def labels(self) -> Mapping[str, str]:
        return labels_of(self.object)

    @property
    def requests(self) -> Mapping[str, int]:
        return self.facts.requests

    @property
    def terminating(self) -> bool:
        return is_deleting(self.object)

    @property
    def node_name(self) -> str:
        return (self.object.get("spec") or {}).get("nodeName") or ""

    requested_node = node_name
    """A pod that is asked about and names its node goes nowhere else."""

    @property
    def nominated_node(self) -> str:
        return (self.object.get("status") or {}).get("nominatedNodeName") or ""

    @property
    def terms(self) -> Terms:
        return self.facts.terms(self.namespace)

    def __repr__(self) -> str:
        return f"PodInfo({self.key})"
