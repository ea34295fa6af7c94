"""Events, old (core/v1) and new (events.k8s.io/v1): one object, two sets of field names and rules."""

from __future__ import annotations

from typing import Any

from ..errors import invalid_value, required
from .affinity import qualified
from .errors import Errors, Obj, invalid_each
from .formats import dns_subdomain_problems, size
from .kube_meta import validate_meta, validate_meta_update
from .meta import immutable, subdomain_name

_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def _read(event: Obj, field: str, new: bool) -> Any:
    """A field by its core/v1 name, from either form."""
    return event.get(_NEW_NAMES.get(field, field) if new else field)


def _legacy(event: Obj, new: bool) -> Errors:
    namespace = (event.get("metadata") or {}).get("namespace") or ""
    involved = (_read(event, "involvedObject", new) or {}).get("namespace") or ""
    reporter = _read(event, "reportingComponent", new) or ""
    found: Errors = []
    mismatch = invalid_value("involvedObject.namespace", involved, "does not match event.namespace")
    if not event.get("eventTime"):
        if namespace not in ("", "default") if not involved else namespace != involved:
            found.append(mismatch)
    else:
        if not involved and namespace not in ("default", "kube-system"):
            found.append(mismatch)
        where = "reportingController" if new else "reportingComponent"
        if not reporter:
            found.append(required(where))
        found += qualified(reporter, where)
        limits = (("reportingInstance", 128), ("action", 128), ("reason", 128))
        for field, limit in limits:
            value = event.get(field) or ""
            if not value:
                found.append(required(field))
            if size(value) > limit:
                found.append(invalid_value(field, "", f"can have at most {limit} characters"))
        if size(_read(event, "message", new) or "") > 1024:
            found.append(invalid_value("message", "", "can have at most 1024 characters"))
    return found + invalid_each("namespace", namespace, dns_subdomain_problems(namespace))


def _series(event: Obj) -> Errors:
    series = event.get("series")
    if series is None:
        return []
    found: Errors = []
    if (series.get("count") or 0) < 2:
        found.append(invalid_value("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        found.append(required("series.lastObservedTime"))
    return found


def _create(event: Obj) -> Errors:
    return _legacy(event, False)


def _create_new(event: Obj) -> Errors:
    found = _legacy(event, True) + validate_meta(event.get("metadata") or {}, True, subdomain_name) + _series(event)
    if not event.get("eventTime"):
        found.append(required("eventTime"))
    kind = event.get("type") or ""
    if kind not in ("Normal", "Warning"):
        found.append(invalid_value("type", "", f"has invalid value: {kind}"))
    source = _read(event, "source", True) or {}
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if _read(event, field, True):
            found.append(invalid_value(field, "", "needs to be unset"))
    if source.get("component") or source.get("host"):
        found.append(invalid_value("source", "", "needs to be unset"))
    return found


def _update(new: Obj, old: Obj) -> Errors:
    return _legacy(new, False)


_KEPT = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)


_STRUCTS = {
    "involvedObject": "core.ObjectReference",
    "related": "core.ObjectReference",
    "source": "core.EventSource",
}
_EMPTY: dict[str, Obj] = {"involvedObject": {}, "source": {}}
"""What is a struct, where the others are pointers."""


def _update_new(new: Obj, old: Obj) -> Errors:
    found = _legacy(new, True) + validate_meta_update(new, old)
    if new.get("series") != old.get("series"):
        found += _series(new)
    for field in _KEPT:
        where = "reportingController" if field == "reportingComponent" else field
        wanted, stored = _read(new, field, True), _read(old, field, True)
        if field in _STRUCTS:
            found += immutable(wanted or _EMPTY.get(field), stored or _EMPTY.get(field), where, _STRUCTS[field])
            continue
        unset = 0 if field == "count" else None if field.lower().endswith("time") or "Timestamp" in field else ""
        found += immutable(wanted or unset, stored or unset, where)
    return found


CREATE = {("", "events"): _create, ("events.k8s.io", "events"): _create_new}
UPDATE = {("", "events", ""): _update, ("events.k8s.io", "events", ""): _update_new}
