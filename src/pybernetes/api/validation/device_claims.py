"""Claims for devices, their templates, and classes of devices: resource.k8s.io (``pkg/apis/resource/validation``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..errors import forbidden_field, invalid_value, not_supported, required, too_long, too_many
from .affinity import node_selector
from .amounts import is_extended
from .device_parts import (
    MAX_DRIVER_CONFIG,
    device_name,
    fully_qualified_name,
    label_value,
    list_of,
    pool_name,
    raw_object,
    set_of,
    share_id,
    validate_binding_conditions,
)
from .errors import Errors, Obj, go_struct, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, size
from .go_values import go_value
from .ip_formats import interface_address
from .kube_meta import validate_meta, validate_meta_update
from .meta import (
    immutable,
    subdomain_name,
    validate_annotations,
    validate_conditions,
    validate_label_name,
    validate_labels,
)
from .volumes import validate_driver_name

MAX_REQUESTS = 32
MAX_CONSTRAINTS = 32
MAX_CONFIGS = 32
MAX_SELECTORS = 32
MAX_ALTERNATIVES = 8
MAX_CONSUMERS = 256
MAX_STATUS_CONDITIONS = 8
MAX_STATUS_IPS = 16
MAX_EXPRESSION = 10 * 1024
_MODES = ("All", "ExactCount")
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
Requests = dict[str, set[str]]
"""Names of a claim's requests, with those of their alternatives."""


# -- requests ----------------------------------------------------------------------------------------------------------


def _request_names(devices: Obj) -> Requests:
    return {
        r.get("name") or "": {s.get("name") or "" for s in r.get("firstAvailable") or ()}
        for r in devices.get("requests") or ()
    }


def _has(names: Requests, reference: str) -> bool:
    first, *rest = reference.split("/")
    return first in names and (not rest or (len(rest) == 1 and rest[0] in names[first]))


def _label(name: str, path: str) -> Errors:
    return invalid_each(path, name, dns_label_problems(name))


def _reference(names: Requests) -> Callable[[str, str], Errors]:
    def check(name: str, path: str) -> Errors:
        segments = name.split("/")
        if len(segments) > 2:
            return [invalid_value(path, name, _REFERENCE)]
        found = [e for segment in segments for e in _label(segment, path)]
        return found if _has(names, name) else [*found, invalid_value(path, name, _REFERENCE)]

    return check


def _request(request: Obj, path: str) -> Errors:
    found = _label(request.get("name") or "", f"{path}.name")
    alternatives, exactly = request.get("firstAvailable"), request.get("exactly")
    if alternatives and exactly is not None:
        words = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        return [*found, invalid_value(path, None, words)]
    if alternatives:
        where = f"{path}.firstAvailable"
        return found + set_of(alternatives, MAX_ALTERNATIVES, _alternative, where, key=lambda r: r.get("name") or "")
    if exactly is not None:
        return found + _wanted(exactly, f"{path}.exactly")
    return [*found, required(path, "exactly one of `exactly` or `firstAvailable` is required")]


def _alternative(request: Obj, path: str) -> Errors:
    return _label(request.get("name") or "", f"{path}.name") + _wanted(request, path)


def _wanted(request: Obj, path: str) -> Errors:
    name, where = request.get("deviceClassName") or "", f"{path}.deviceClassName"
    found = invalid_each(where, name, dns_subdomain_problems(name)) if name else [required(where)]
    found += list_of(request.get("selectors"), MAX_SELECTORS, validate_selector, f"{path}.selectors")
    found += _mode(request.get("allocationMode") or "", request.get("count") or 0, path)
    return found + list_of(request.get("tolerations"), -1, _toleration, f"{path}.tolerations")


def _mode(mode: str, count: int, path: str) -> Errors:
    if mode == "All":
        words = f"must not be specified when allocationMode is '{mode}'"
        return [invalid_value(f"{path}.count", count, words)] if count else []
    if mode == "ExactCount":
        return [] if count > 0 else [invalid_value(f"{path}.count", count, "must be greater than zero")]
    return [not_supported(f"{path}.allocationMode", mode, _MODES)]


def validate_selector(selector: Obj, path: str) -> Errors:
    cel = selector.get("cel")
    if cel is None:
        return [required(f"{path}.cel")]
    expression, where = cel.get("expression") or "", f"{path}.cel.expression"
    if size(expression) > MAX_EXPRESSION:
        return [too_long(where, MAX_EXPRESSION)]
    from ..cel.devices import SelectorError, TooComplex, compile_selector

    try:
        compile_selector(expression)
    except TooComplex as failure:
        return [forbidden_field(where, str(failure))]
    except SelectorError as failure:
        return [invalid_value(where, expression, str(failure))]
    return []


def _toleration(toleration: Obj, path: str) -> Errors:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    found = validate_label_name(key, f"{path}.key") if key else []
    if operator == "Exists":
        if value:
            found.append(invalid_value(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        found += label_value(value, f"{path}.value")
    elif not operator:
        found.append(required(f"{path}.operator"))
    else:
        found.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in _EFFECTS:
        found.append(not_supported(f"{path}.effect", effect, _EFFECTS))
    return found


# -- constraints and configuration --------------------------------------------------------------------------------------


def _references(names: Iterable[str] | None, requests: Requests, path: str) -> Errors:
    return set_of(names, MAX_REQUESTS, _reference(requests), f"{path}.requests")


def _constraint(requests: Requests) -> Callable[[Obj, str], Errors]:
    def check(constraint: Obj, path: str) -> Errors:
        found = _references(constraint.get("requests"), requests, path)
        for field in ("matchAttribute", "distinctAttribute"):
            if constraint.get(field) is not None:
                return found + fully_qualified_name(constraint[field], f"{path}.{field}")
        # Upstream's words, though no field is set.
        words = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        return [*found, required(path, words)]

    return check


def _configuration(config: Obj, path: str, *, stored: bool = False) -> Errors:
    opaque, where = config.get("opaque"), f"{path}.opaque"
    if opaque is None:
        return [required(where)]
    found = validate_driver_name(opaque.get("driver") or "", f"{where}.driver")
    limit = None if stored else MAX_DRIVER_CONFIG
    return found + raw_object(opaque.get("parameters"), f"{where}.parameters", limit)


def _claim_configuration(requests: Requests) -> Callable[[Obj, str], Errors]:
    def check(config: Obj, path: str) -> Errors:
        return _references(config.get("requests"), requests, path) + _configuration(config, path)

    return check


def _claim_spec(spec: Obj, path: str) -> Errors:
    devices, where = spec.get("devices") or {}, f"{path}.devices"
    requests = _request_names(devices)
    found = set_of(
        devices.get("requests"), MAX_REQUESTS, _request, f"{where}.requests", key=lambda r: r.get("name") or ""
    )
    found += list_of(devices.get("constraints"), MAX_CONSTRAINTS, _constraint(requests), f"{where}.constraints")
    return found + list_of(devices.get("config"), MAX_CONFIGS, _claim_configuration(requests), f"{where}.config")


# -- claims and templates ----------------------------------------------------------------------------------------------


def _claim(claim: Obj) -> Errors:
    found = validate_meta(claim.get("metadata") or {}, True, subdomain_name)
    return found + _claim_spec(claim.get("spec") or {}, "spec")


def _claim_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta(new.get("metadata") or {}, True, subdomain_name) + validate_meta_update(new, old)
    return found + immutable(new.get("spec"), old.get("spec"), "spec", "resource.ResourceClaimSpec")


def _template(template: Obj) -> Errors:
    found = validate_meta(template.get("metadata") or {}, True, subdomain_name)
    spec = template.get("spec") or {}
    metadata = spec.get("metadata") or {}
    found += validate_annotations(metadata.get("annotations"), "spec.metadata.annotations")
    found += validate_labels(metadata.get("labels"), "spec.metadata.labels")
    return found + _claim_spec(spec.get("spec") or {}, "spec.spec")


def _template_update(new: Obj, old: Obj) -> Errors:
    return (
        _template(new)
        + validate_meta_update(new, old)
        + immutable(new.get("spec"), old.get("spec"), "spec", "resource.ResourceClaimTemplateSpec")
    )


# -- status ------------------------------------------------------------------------------------------------------------


def _consumer(reference: Obj, path: str) -> Errors:
    return [required(f"{path}.{field}") for field in ("resource", "name", "uid") if not reference.get(field)]


def _device_key(device: Obj) -> str:
    key = "/".join(device.get(f) or "" for f in ("driver", "pool", "device"))
    share = device.get("shareID")
    return f"{key}/{share}" if share is not None else key


def _device_status(allocated: set[str]) -> Callable[[Obj, str], Errors]:
    def check(device: Obj, path: str) -> Errors:
        found = validate_driver_name(device.get("driver") or "", f"{path}.driver")
        found += pool_name(device.get("pool") or "", f"{path}.pool")
        found += device_name(device.get("device") or "", f"{path}.device")
        if device.get("shareID") is not None:
            found += share_id(device["shareID"], f"{path}.shareID")
        if _device_key(device) not in allocated:
            shown = go_struct(device, "driver pool device shareID") or {}
            found.append(invalid_value(path, shown, "must be an allocated device in the claim"))
        conditions = device.get("conditions") or []
        if len(conditions) > MAX_STATUS_CONDITIONS:
            found.append(too_many(f"{path}.conditions", len(conditions), MAX_STATUS_CONDITIONS))
        found += validate_conditions(conditions, f"{path}.conditions")
        if device.get("data") is not None:
            found += raw_object(device["data"], f"{path}.data", MAX_DRIVER_CONFIG)
        return found + _network_data(device.get("networkData") or {}, f"{path}.networkData")

    return check


def _network_data(data: Obj, path: str) -> Errors:
    limits = (("interfaceName", 256), ("hardwareAddress", 128))
    found = [too_long(f"{path}.{field}", most) for field, most in limits if size(data.get(field) or "") > most]
    return found + set_of(data.get("ips"), MAX_STATUS_IPS, interface_address, f"{path}.ips")


def _result(requests: Requests) -> Callable[[Obj, str], Errors]:
    def check(result: Obj, path: str) -> Errors:
        found = _reference(requests)(result.get("request") or "", f"{path}.request")
        found += validate_driver_name(result.get("driver") or "", f"{path}.driver")
        found += pool_name(result.get("pool") or "", f"{path}.pool")
        found += device_name(result.get("device") or "", f"{path}.device")
        found += validate_binding_conditions(result, path)
        return found + (share_id(result["shareID"], f"{path}.shareID") if result.get("shareID") is not None else [])

    return check


def _allocation_configuration(requests: Requests) -> Callable[[Obj, str], Errors]:
    def check(config: Obj, path: str) -> Errors:
        source, where = config.get("source") or "", f"{path}.source"
        known = ("FromClaim", "FromClass")
        found = [required(where)] if not source else []
        if source and source not in known:
            found.append(not_supported(where, source, known))
        return found + _references(config.get("requests"), requests, path) + _configuration(config, path)

    return check


def _allocation(allocation: Obj, requests: Requests, path: str) -> Errors:
    devices, where = allocation.get("devices") or {}, f"{path}.devices"
    found = list_of(devices.get("results"), MAX_REQUESTS, _result(requests), f"{where}.results")
    config = _allocation_configuration(requests)
    found += list_of(devices.get("config"), 2 * MAX_CONFIGS, config, f"{where}.config")
    selector = allocation.get("nodeSelector")
    return found + (node_selector(selector, f"{path}.nodeSelector") if selector is not None else [])


def _claim_status(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    requests = _request_names((new.get("spec") or {}).get("devices") or {})
    status, before = new.get("status") or {}, old.get("status") or {}
    allocation, consumers = status.get("allocation"), status.get("reservedFor") or []
    where = "status.reservedFor"
    found += set_of(consumers, MAX_CONSUMERS, _consumer, where, key=lambda c: c.get("uid") or "")
    allocated = {_device_key(r) for r in ((allocation or {}).get("devices") or {}).get("results") or ()}
    found += set_of(status.get("devices"), -1, _device_status(allocated), "status.devices", key=_device_key)
    if consumers and allocation is None:
        found.append(forbidden_field(where, "may not be specified when `allocated` is not set"))
    elif consumers and (new.get("metadata") or {}).get("deletionTimestamp"):
        earlier = before.get("reservedFor") or []
        if any(c not in earlier for c in consumers):
            words = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            found.append(forbidden_field(where, words))
    if allocation is not None and before.get("allocation") is not None:
        if allocation != before["allocation"]:
            found += immutable(go_value(allocation, "resource.AllocationResult"), None, "status.allocation")
    elif allocation is not None:
        found += _allocation(allocation, requests, "status.allocation")
    return found


# -- classes -----------------------------------------------------------------------------------------------------------


def _class(device_class: Obj, old: Obj | None = None) -> Errors:
    found = validate_meta(device_class.get("metadata") or {}, False, subdomain_name)
    if old is not None:
        found += validate_meta_update(device_class, old)
    spec, before = device_class.get("spec") or {}, (old or {}).get("spec") or {}
    found += list_of(spec.get("selectors"), MAX_SELECTORS, validate_selector, "spec.selectors")
    stored = old is not None and spec.get("config") == before.get("config")

    def config(item: Obj, path: str) -> Errors:
        return _configuration(item, path, stored=stored)

    found += list_of(spec.get("config"), MAX_CONFIGS, config, "spec.config")
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        found.append(invalid_value("spec.extendedResourceName", name, "must be a valid extended resource name"))
    return found


_GROUP = "resource.k8s.io"
CREATE = {
    (_GROUP, "resourceclaims"): _claim,
    (_GROUP, "resourceclaimtemplates"): _template,
    (_GROUP, "deviceclasses"): _class,
}
UPDATE = {
    (_GROUP, "resourceclaims", ""): _claim_update,
    (_GROUP, "resourceclaims", "status"): _claim_status,
    (_GROUP, "resourceclaimtemplates", ""): _template_update,
    (_GROUP, "deviceclasses", ""): _class,
}
