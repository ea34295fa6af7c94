"""The core group beside pods and services: namespaces, nodes, secrets, volumes, quotas, templates, events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import (
    UNSUPPORTED,
    Obj,
    Strategy,
    StrategyFactory,
    SubresourceStrategy,
    keep,
    section,
    semantically_equal,
)


class NamespaceStrategy(Strategy):
    has_status = True

    def __init__(self, info: Any) -> None:
        super().__init__(info)
        self.subresources["finalize"] = FinalizeStrategy(self)

    def empty_status(self, obj: Obj) -> Obj:
        return {"phase": "Active"}

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        spec = section(obj, "spec")
        finalizers = spec.get("finalizers") or []
        if "kubernetes" not in finalizers:
            spec["finalizers"] = [*finalizers, "kubernetes"]

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        keep(section(new, "spec"), old.get("spec") or {}, "finalizers")


class FinalizeStrategy(SubresourceStrategy):
    """``/finalize`` of a namespace: spec.finalizers change, status does not."""

    name = "finalize"

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        keep(new, old, "status")


class NodeStrategy(Strategy):
    has_status = True

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        # A node registers itself with its status in one call: status is not cleared.
        section(obj, "spec").pop("configSource", None)
        section(obj, "status").pop("config", None)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        if (old.get("spec") or {}).get("configSource") is None:
            section(new, "spec").pop("configSource", None)

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        if (old.get("status") or {}).get("config") is None:
            section(new, "status").pop("config", None)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import node_warnings

        return node_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class SecretStrategy(Strategy):
    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        if not new.get("type"):
            keep(new, old, "type")

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import secret_warnings

        return secret_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class ResourceQuotaStrategy(Strategy):
    has_status = True

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import quota_warnings

        return quota_warnings(obj)


class LimitRangeStrategy(Strategy):
    allow_create_on_update = True

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        metadata = section(obj, "metadata")
        if not metadata.get("name") and metadata.get("uid"):
            metadata["name"] = metadata["uid"]


class EndpointsStrategy(Strategy):
    allow_create_on_update = True
    deprecation_warning = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import endpoints_warnings

        return endpoints_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class ComponentStatusStrategy(Strategy):
    deprecation_warning = "v1 ComponentStatus is deprecated in v1.19+"


class EventStrategy(Strategy):
    allow_create_on_update = True
    default_garbage_collection_policy = UNSUPPORTED


class ServiceAccountStrategy(Strategy):
    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        _only_names(obj)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        _only_names(new)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import service_account_warnings

        return service_account_warnings(obj, None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import service_account_warnings

        return service_account_warnings(obj, old)


def _only_names(account: Obj) -> None:
    if account.get("secrets"):
        account["secrets"] = [{"name": s["name"]} if s.get("name") else {} for s in account["secrets"]]


class PersistentVolumeStrategy(Strategy):
    has_status = True

    def empty_status(self, obj: Obj) -> Obj:
        created = (obj.get("metadata") or {}).get("creationTimestamp")
        status = {"phase": "Pending"}
        if created:
            status["lastPhaseTransitionTime"] = created
        return status

    def prepare_status(self, new: Obj, old: Obj, now: str) -> None:
        status, before = section(new, "status"), old.get("status") or {}
        moment, previous = status.get("lastPhaseTransitionTime"), before.get("lastPhaseTransitionTime")
        if status.get("phase") == before.get("phase"):
            if moment is None and previous is not None:
                status["lastPhaseTransitionTime"] = previous
        elif (moment is None or moment == previous) and now:
            status["lastPhaseTransitionTime"] = now

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import volume_warnings

        return volume_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


class PersistentVolumeClaimStrategy(Strategy):
    has_status = True

    def empty_status(self, obj: Obj) -> Obj:
        return {"phase": "Pending"}

    def prepare_for_create(self, obj: Obj, *, user: Mapping[str, Any] | None = None) -> None:
        super().prepare_for_create(obj, user=user)
        _align_data_sources(section(obj, "spec"), None)

    def prepare_for_update(self, new: Obj, old: Obj, *, now: str = "") -> None:
        super().prepare_for_update(new, old, now=now)
        _align_data_sources(section(new, "spec"), old.get("spec") or {})

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import claim_warnings

        return claim_warnings(obj)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        return self.warnings_on_create(obj)


def _is_claim_or_snapshot(source: Mapping[str, Any] | None) -> bool:
    if source is None:
        return False
    group = source.get("apiGroup") or ""
    return (group, source.get("kind")) in (
        ("", "PersistentVolumeClaim"),
        ("snapshot.storage.k8s.io", "VolumeSnapshot"),
    )


def _align_data_sources(spec: Obj, old: Mapping[str, Any] | None) -> None:
    """dataSource and dataSourceRef say the same; the old field takes only the two kinds it always took."""
    if (spec.get("dataSourceRef") or {}).get("namespace") and not ((old or {}).get("dataSourceRef") or {}).get(
        "namespace"
    ):
        del spec["dataSourceRef"]  # sources in other namespaces are behind a gate that is off
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    in_use = old is not None and (old.get("dataSource") is not None or old.get("dataSourceRef") is not None)
    if source is not None and reference is None and not in_use and not _is_claim_or_snapshot(source):
        spec.pop("dataSource")
        return
    fields = ("apiGroup", "kind", "name")
    if source is not None and reference is None:
        spec["dataSourceRef"] = {f: source.get(f) for f in fields}
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {f: reference.get(f) for f in fields}


class PodTemplateStrategy(Strategy):
    tracks_generation = True
    generation_fields = ("template",)

    def warnings_on_create(self, obj: Obj) -> list[str]:
        from .warnings import template_warnings

        return template_warnings("template", obj.get("template") or {}, None)

    def warnings_on_update(self, obj: Obj, old: Obj) -> list[str]:
        from .warnings import template_warnings

        if semantically_equal(obj.get("template"), old.get("template")):
            return []
        return template_warnings("template", obj.get("template") or {}, old.get("template") or {})


STRATEGIES: dict[tuple[str, str], StrategyFactory] = {
    ("", "namespaces"): NamespaceStrategy,
    ("", "nodes"): NodeStrategy,
    ("", "secrets"): SecretStrategy,
    ("", "resourcequotas"): ResourceQuotaStrategy,
    ("", "limitranges"): LimitRangeStrategy,
    ("", "endpoints"): EndpointsStrategy,
    ("", "componentstatuses"): ComponentStatusStrategy,
    ("", "events"): EventStrategy,
    ("events.k8s.io", "events"): EventStrategy,
    ("", "serviceaccounts"): ServiceAccountStrategy,
    ("", "persistentvolumes"): PersistentVolumeStrategy,
    ("", "persistentvolumeclaims"): PersistentVolumeClaimStrategy,
    ("", "podtemplates"): PodTemplateStrategy,
}
