"""The resource registry: every built-in resource of v1.36 with its kind, scope, names, verbs and subresources.

The table (``data/resources.json``) is the aggregated discovery of a default v1.36 server, in discovery order.
Custom resources are described by the same ``ResourceInfo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import NamedTuple

import orjson


class GVK(NamedTuple):
    """Group, version and kind. ``str()`` gives ``apps/v1, Kind=Deployment`` as upstream prints it."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.kind}"


class GVR(NamedTuple):
    """Group, version and resource (the plural, lower-case name in URLs)."""

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """``/api/v1`` or ``/apis/apps/v1``: the URL prefix of the group version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True, slots=True)
class SubresourceInfo:
    """One subresource. ``kind`` is what it answers with; an empty group and version mean the parent's."""

    name: str
    kind: GVK
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """What discovery says of one resource, built-in or custom."""

    gvr: GVR
    kind: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, SubresourceInfo] = field(default_factory=dict)
    list_name: str = ""
    """The kind of lists, where it is not ``kind`` with "List" behind it."""

    @property
    def gvk(self) -> GVK:
        return GVK(self.gvr.group, self.gvr.version, self.kind)

    @property
    def list_kind(self) -> str:
        return self.list_name or self.kind + "List"


def parse_api_version(api_version: str) -> tuple[str, str]:
    """(group, version) of ``apps/v1`` or ``v1``."""
    group, _, version = api_version.rpartition("/")
    return group, version


@cache
def builtin_resources() -> tuple[ResourceInfo, ...]:
    """All built-in resources in discovery order."""
    rows = orjson.loads(resources.files("pybernetes.api").joinpath("data/resources.json").read_bytes())
    infos = []
    for row in rows:
        group, version = row["group"], row["version"]
        subs = {
            name: SubresourceInfo(
                name,
                GVK(s["group"] or ("" if s["version"] else group), s["version"] or version, s["kind"]),
                tuple(s["verbs"]),
            )
            for name, s in row.get("subresources", {}).items()
        }
        infos.append(
            ResourceInfo(
                GVR(group, version, row["resource"]),
                row["kind"],
                row["singular"],
                row["namespaced"],
                tuple(row["verbs"]),
                tuple(row.get("shortNames", ())),
                tuple(row.get("categories", ())),
                subs,
            )
        )
    return tuple(infos)


@cache
def builtin_by_gvr() -> Mapping[GVR, ResourceInfo]:
    return {info.gvr: info for info in builtin_resources()}


@cache
def builtin_by_gvk() -> Mapping[GVK, ResourceInfo]:
    return {info.gvk: info for info in builtin_resources()}


PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
NAMESPACES = GVR("", "v1", "namespaces")
SERVICES = GVR("", "v1", "services")
ENDPOINTS = GVR("", "v1", "endpoints")
EVENTS = GVR("", "v1", "events")
SECRETS = GVR("", "v1", "secrets")
CONFIG_MAPS = GVR("", "v1", "configmaps")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
PERSISTENT_VOLUMES = GVR("", "v1", "persistentvolumes")
PERSISTENT_VOLUME_CLAIMS = GVR("", "v1", "persistentvolumeclaims")
REPLICATION_CONTROLLERS = GVR("", "v1", "replicationcontrollers")
RESOURCE_QUOTAS = GVR("", "v1", "resourcequotas")
LIMIT_RANGES = GVR("", "v1", "limitranges")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICA_SETS = GVR("apps", "v1", "replicasets")
STATEFUL_SETS = GVR("apps", "v1", "statefulsets")
DAEMON_SETS = GVR("apps", "v1", "daemonsets")
CONTROLLER_REVISIONS = GVR("apps", "v1", "controllerrevisions")
JOBS = GVR("batch", "v1", "jobs")
CRON_JOBS = GVR("batch", "v1", "cronjobs")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
ENDPOINT_SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")
NETWORK_POLICIES = GVR("networking.k8s.io", "v1", "networkpolicies")
SERVICE_CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs")
IP_ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses")
POD_DISRUPTION_BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
VOLUME_ATTRIBUTES_CLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses")
CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes")
RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
CERTIFICATE_SIGNING_REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
CUSTOM_RESOURCE_DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
API_SERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices")
