"""Field selectors: which fields a resource offers for selection, and their values.

``supported_fields`` and ``check_field`` say what may stand in a ``fieldSelector``; ``field_value`` reads one field of an
object as text. Specified by "Field Selectors"; the errors are upstream's, which has one wording a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from .resources import GVR, builtin_by_gvr
from .selectors import SelectorError

Read = Callable[[Mapping[str, Any]], str]

METADATA_FIELDS = frozenset(("metadata.name", "metadata.namespace"))


def _text(*path: str) -> Read:
    def read(obj: Mapping[str, Any]) -> str:
        value: Any = obj
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return "" if value is None else str(value)

    return read


def _number(*path: str) -> Read:
    text = _text(*path)
    return lambda obj: text(obj) or "0"


def _flag(*path: str) -> Read:
    text = _text(*path)
    return lambda obj: "true" if text(obj) == "True" else "false"


def _first_ip(obj: Mapping[str, Any]) -> str:
    status = obj.get("status") or {}
    addresses = status.get("podIPs") or [{}]
    return addresses[0].get("ip") or status.get("podIP") or ""


def _event_source(obj: Mapping[str, Any]) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    return source.get("component") or _event_reporter(obj)


def _event_reporter(obj: Mapping[str, Any]) -> str:
    return obj.get("reportingComponent") or obj.get("reportingController") or ""


def _involved(field: str) -> Read:
    def read(obj: Mapping[str, Any]) -> str:
        involved = obj.get("involvedObject") or obj.get("regarding") or {}
        return involved.get(field) or ""

    return read


_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

_READERS: dict[tuple[str, str], dict[str, Read]] = {
    ("", "pods"): {
        "spec.nodeName": _text("spec", "nodeName"),
        "spec.host": _text("spec", "nodeName"),
        "spec.restartPolicy": _text("spec", "restartPolicy"),
        "spec.schedulerName": _text("spec", "schedulerName"),
        "spec.serviceAccountName": _text("spec", "serviceAccountName"),
        "spec.hostNetwork": _flag("spec", "hostNetwork"),
        "status.phase": _text("status", "phase"),
        "status.podIP": _first_ip,
        "status.podIPs": lambda obj: "",  # accepted and never set: upstream has no such value
        "status.nominatedNodeName": _text("status", "nominatedNodeName"),
    },
    ("", "events"): {
        **{f"involvedObject.{f}": _involved(f) for f in _INVOLVED},
        "reason": _text("reason"),
        "reportingComponent": _event_reporter,
        "source": _event_source,
        "type": _text("type"),
    },
    ("events.k8s.io", "events"): {
        **{f"regarding.{f}": _involved(f) for f in _INVOLVED},
        "reason": _text("reason"),
        "reportingController": _event_reporter,
        "type": _text("type"),
    },
    ("", "nodes"): {"spec.unschedulable": _flag("spec", "unschedulable")},
    ("", "namespaces"): {"status.phase": _text("status", "phase")},
    ("", "secrets"): {"type": _text("type")},
    ("", "services"): {"spec.clusterIP": _text("spec", "clusterIP"), "spec.type": _text("spec", "type")},
    ("", "replicationcontrollers"): {"status.replicas": _number("status", "replicas")},
    ("batch", "jobs"): {"status.successful": _number("status", "succeeded")},
    ("certificates.k8s.io", "certificatesigningrequests"): {"spec.signerName": _text("spec", "signerName")},
    ("resource.k8s.io", "resourceslices"): {
        "spec.nodeName": _text("spec", "nodeName"),
        "spec.driver": _text("spec", "driver"),
    },
}

# Cluster-scoped kinds with a rule of their own take no metadata.namespace.
_NAME_ONLY = {
    ("", "nodes"),
    ("", "namespaces"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("resource.k8s.io", "resourceslices"),
}

_METADATA_READERS: dict[str, Read] = {
    "metadata.name": _text("metadata", "name"),
    "metadata.namespace": _text("metadata", "namespace"),
}


@cache
def supported_fields(gvr: GVR) -> frozenset[str]:
    """Every field label that a selector on this resource may name."""
    key = (gvr.group, gvr.resource)
    own = frozenset(_READERS.get(key, ()))
    return own | (frozenset(("metadata.name",)) if key in _NAME_ONLY else METADATA_FIELDS)


def check_field(gvr: GVR, field: str) -> None:
    """Raises SelectorError with upstream's message where the resource does not offer this field."""
    if field in supported_fields(gvr):
        return
    key = (gvr.group, gvr.resource)
    if key == ("batch", "jobs"):
        raise SelectorError(f'field label "{field}" not supported for Job')
    if key == ("resource.k8s.io", "resourceslices"):
        kind = builtin_by_gvr()[gvr].gvk
        raise SelectorError(f"field label not supported for {kind}: {field}")
    if key in _READERS:
        raise SelectorError(f"field label not supported: {field}")
    raise SelectorError(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def field_value(gvr: GVR, obj: Mapping[str, Any], field: str) -> str:
    """The text of a selectable field, '' where it is unset. Raises SelectorError for a field that is not offered."""
    reader = _METADATA_READERS.get(field) or _READERS.get((gvr.group, gvr.resource), {}).get(field)
    if reader is None:
        check_field(gvr, field)
        return ""
    return reader(obj)
