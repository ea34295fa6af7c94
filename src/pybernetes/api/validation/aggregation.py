"""API services."""

from __future__ import annotations

import base64
import binascii

from ..errors import go_quote, invalid_value, not_supported, required
from .errors import Errors, Obj, invalid_each
from .formats import dns_1035_label_problems, dns_subdomain_problems, path_segment_problems
from .meta import validate_object_meta, validate_object_meta_update
from .webhook_clients import port_problem


def _bundle_size(bundle: str | None) -> int:
    try:
        return len(base64.b64decode(bundle or ""))
    except (binascii.Error, ValueError):
        return 0


def _service(service: Obj) -> Errors:
    spec = service.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    needed = f"{version}.{group}"

    def rule(name: str, prefix: bool) -> list[str]:
        words = f'must be `spec.version+"."+spec.group`: {go_quote(needed)}'
        return path_segment_problems(name) or ([] if name == needed else [words])

    found = validate_object_meta(service.get("metadata") or {}, False, rule)
    if not group and version != "v1":
        words = "only v1 may have an empty group and it better be legacy kube"
        found.append(required("spec.group", words))
    if group:
        found += invalid_each("spec.group", group, dns_subdomain_problems(group))
    found += invalid_each("spec.version", version, dns_1035_label_problems(version))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            found.append(invalid_value(f"spec.{field}", value, f"must be positive and less than {most}"))
    return found + _backend(spec)


def _backend(spec: Obj) -> Errors:
    found: Errors = []
    backend, bundle, insecure = (
        spec.get("service"),
        _bundle_size(spec.get("caBundle")),
        spec.get("insecureSkipTLSVerify"),
    )
    if backend is None:
        if bundle:
            found.append(invalid_value("spec.caBundle", f"{bundle} bytes", "local APIServices may not have a caBundle"))
        if insecure:
            words = "local APIServices may not have insecureSkipTLSVerify"
            found.append(invalid_value("spec.insecureSkipTLSVerify", True, words))
        return found
    found += [required(f"spec.service.{field}") for field in ("namespace", "name") if not backend.get(field)]
    found += port_problem(backend.get("port") or 0, "spec.service.port")
    if insecure and bundle:
        found.append(invalid_value("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return found


def _update(new: Obj, old: Obj) -> Errors:
    return validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {}) + _service(new)


def _status(new: Obj, old: Obj) -> Errors:
    found = validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {})
    for i, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        if condition.get("status") not in ("True", "False", "Unknown"):
            path = f"status.conditions[{i}].status"
            found.append(not_supported(path, condition.get("status") or "", ("True", "False", "Unknown")))
    return found


_KEY = ("apiregistration.k8s.io", "apiservices")
CREATE = {_KEY: _service}
UPDATE = {(*_KEY, ""): _update, (*_KEY, "status"): _status}
