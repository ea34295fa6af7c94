"""Slices of a driver's devices: resource.k8s.io ResourceSlice (``pkg/apis/resource/validation``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from ..errors import (
    field_not_found,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from ..pod_resources import is_native
from ..quantity import canonical_quantity, parse_quantity, quantity_value
from .affinity import node_selector
from .device_parts import (
    Check,
    device_name,
    label_value,
    list_of,
    pool_name,
    qualified_name,
    set_of,
    validate_binding_conditions,
)
from .errors import Errors, Obj, go_struct, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, size
from .go_values import go_value
from .kube_meta import validate_meta, validate_meta_update
from .meta import immutable, subdomain_name, validate_label_name
from .volumes import validate_driver_name

MAX_DEVICES, MAX_ADVANCED_DEVICES = 128, 64
MAX_COUNTER_SETS = 8
MAX_COUNTERS = 32
MAX_CONSUMPTIONS = 2
MAX_ENTRIES, MAX_VALUES = 32, 48
MAX_VALUE_BYTES = 64
MAX_TAINTS = 16
MAX_OPTIONS = 10
_LONGEST_NAME = 63 + 1 + 32
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_LISTS = ("bools", "ints", "strings", "versions")
_NUMBER = r"(0|[1-9][0-9]*)"
_RELEASE = r"(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_RELEASE}(\.{_RELEASE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)


def map_of(items: Mapping[str, Any] | None, most: int, longest: int, key: Check, value: Check, path: str) -> Errors:
    """A map with a limit; keys longer than ``longest`` are shown shortened in the middle."""
    if 0 <= most < len(items or {}):
        return [too_many(path, len(items or {}), most)]
    found: Errors = []
    for name, item in sorted((items or {}).items()):
        found += key(name, path) + value(item, f"{path}[{_shortened(name, longest)}]")
    return found


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    left = longest - 3
    return text[: (left + 1) // 2] + "..." + text[len(text) - left // 2 :]


def _label(name: str, path: str) -> Errors:
    return invalid_each(path, name, dns_label_problems(name))


def _anything(_: Any, __: str) -> Errors:
    return []


# -- where devices are ---------------------------------------------------------------------------------------------------


def _node_name(name: str, path: str) -> Errors:
    return invalid_each(path, name, dns_subdomain_problems(name))


def _places(holder: Obj, path: str, fields: Iterable[str], *, empty: str, one_term: bool) -> tuple[list[str], Errors]:
    """Which of the fields that say where devices are is set, and what is wrong with them."""
    chosen: list[str] = []
    found: Errors = []
    for field in fields:
        value, where = holder.get(field), f"{path}.{field}"
        if value is None:
            continue
        if field == "nodeSelector":
            found += node_selector(value, where)
            terms = value.get("nodeSelectorTerms")
            if one_term and len(terms or ()) != 1:
                words = "must have exactly one node selector term"
                shown = [go_struct(t, "matchExpressions? matchFields?") for t in terms or ()]
                found.append(invalid_value(f"{where}.nodeSelectorTerms", shown, words))
        elif field == "nodeName":
            found += _node_name(value, where) if value else [invalid_value(where, value, empty)]
        elif not value:
            found.append(invalid_value(where, value, "must be either unset or set to true"))
        if value:
            chosen.append(f"`{field}`")
        elif field == "nodeSelector":
            chosen.append("`nodeSelector`")
    return chosen, found


def _slice_places(spec: Obj) -> Errors:
    fields = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
    empty = "must be either unset or set to a non-empty string"
    chosen, found = _places(spec, "spec", fields, empty=empty, one_term=True)
    words = f"exactly one of {', '.join(f'`{f}`' for f in fields)} is required"
    if not chosen:
        found.append(required("spec", words))
    elif len(chosen) > 1:
        found.append(invalid_value("spec", "{" + ", ".join(chosen) + "}", f"{words}, but multiple fields are set"))
    return found


def _device_places(device: Obj, path: str, own: bool) -> Errors:
    fields = ("nodeName", "nodeSelector", "allNodes")
    if not own:
        words = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
            "ResourceSlice spec"
        )
        return [invalid_value(path, None, words)] if any(device.get(f) is not None for f in fields) else []
    chosen, found = _places(device, path, fields, empty="must not be empty", one_term=False)
    words = (
        "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
        "in the ResourceSlice spec"
    )
    if not chosen:
        found.append(required(path, words))
    elif len(chosen) > 1:
        found.append(invalid_value(path, "{" + ", ".join(chosen) + "}", words))
    return found


# -- attributes and capacity ---------------------------------------------------------------------------------------------


def _string(value: str, path: str) -> Errors:
    return [too_long(path, MAX_VALUE_BYTES)] if size(value) > MAX_VALUE_BYTES else []


def _version(value: str, path: str) -> Errors:
    words = "must be a string compatible with semver.org spec 2.0.0"
    found = [] if _SEMVER.fullmatch(value) else [invalid_value(path, value, words)]
    return found + _string(value, path)


_SCALARS: dict[str, Check] = {"bool": _anything, "int": _anything, "string": _string, "version": _version}


def _attribute(attribute: Obj, path: str) -> Errors:
    chosen = 0
    found: Errors = []
    for field, check in _SCALARS.items():
        if attribute.get(field) is not None:
            chosen += 1
            found += check(attribute[field], f"{path}.{field}")
    for field, check in zip(_LISTS, _SCALARS.values(), strict=True):
        items = attribute.get(field)
        if items is not None:
            chosen += 1
            if not items:
                found.append(invalid_value(f"{path}.{field}", items, "must not be empty if specified"))
            found += list_of(items, -1, check, f"{path}.{field}")
    if chosen == 0:
        found.append(invalid_value(path, "", "exactly one value must be specified"))
    elif chosen > 1:
        found.append(
            invalid_value(path, go_value(attribute, "resource.DeviceAttribute"), "exactly one value must be specified")
        )
    return found


def _values(device: Obj) -> int:
    attributes = (device.get("attributes") or {}).values()
    return sum(sum(len(a.get(f) or ()) for f in _LISTS) or 1 for a in attributes)


def _single_capacity(capacity: Obj, path: str) -> Errors:
    if capacity.get("requestPolicy") is None:
        return []
    return [forbidden_field(f"{path}.requestPolicy", "allowMultipleAllocations must be true")]


def _shared_capacity(capacity: Obj, path: str) -> Errors:
    policy, where = capacity.get("requestPolicy"), f"{path}.requestPolicy"
    if policy is None:
        return []
    values, span, default = policy.get("validValues"), policy.get("validRange"), policy.get("default")
    if values and span is not None:
        words = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [forbidden_field(where, words)]
    chosen = "validValues" if values else "validRange"
    if not values and span is None:
        return []
    if default is None:
        return [required(f"{where}.default", f"required when {chosen} is defined")]
    most = capacity.get("value") or "0"
    if values:
        return _valid_values(default, most, values, f"{where}.validValues")
    return _valid_range(default, most, span or {}, f"{where}.validRange")


def _valid_values(default: Any, most: Any, values: list[Any], path: str) -> Errors:
    numbers = [parse_quantity(v) for v in values]
    words = "values must be sorted in ascending order"
    found = [
        invalid_value(f"{path}[{i}]", canonical_quantity(values[i]), words)
        for i in range(1, len(values))
        if numbers[i - 1] > numbers[i]
    ]

    def option(value: Any, where: str) -> Errors:
        if parse_quantity(value) <= parse_quantity(most):
            return []
        words = f"option is larger than capacity value: {canonical_quantity(most)}"
        return [invalid_value(where, canonical_quantity(value), words)]

    found += set_of(values, MAX_OPTIONS, option, path, key=lambda v: str(quantity_value(v)))
    # Beyond the limit upstream does not look at the values, and so does not find the default among them.
    if len(values) > MAX_OPTIONS or parse_quantity(default) not in numbers:
        words = "default value is not valid according to the requestPolicy"
        found.append(invalid_value(path, canonical_quantity(default), words))
    return found


def _valid_range(default: Any, most: Any, span: Obj, path: str) -> Errors:
    least, highest, step = span.get("min"), span.get("max"), span.get("step")
    if least is None:
        return [required(f"{path}.min", "required when validRange is defined")]
    found: Errors = []

    def compare(field: str, value: Any, bad: bool, words: str) -> None:
        if bad:
            found.append(invalid_value(f"{path}.{field}", canonical_quantity(value), words))

    number = parse_quantity
    limit = f"capacity value: {canonical_quantity(most)}"
    compare("min", least, number(least) > number(most), f"min is larger than {limit}")
    compare("min", default, number(default) < number(least), f"default is less than min: {canonical_quantity(least)}")
    if highest is not None:
        shown = canonical_quantity(highest)
        compare("max", least, number(least) > number(highest), f"min is larger than max: {shown}")
        compare("max", highest, number(highest) > number(most), f"max is larger than {limit}")
        compare("max", default, number(default) > number(highest), f"default is more than max: {shown}")
    if step is not None:
        added = number(least) + number(step)
        words = f"one step {_sum(least, added)} is larger than {limit}"
        compare("step", step, added > number(most), words)
        for value in (default, *([highest] if highest is not None else ())):
            found += _step(value, least, step, f"{path}.step")
    return found


def _sum(least: Any, added: Decimal) -> str:
    from ..quantity import format_quantity, quantity_form

    return format_quantity(added, quantity_form(least))


def _step(value: Any, least: Any, step: Any, path: str) -> Errors:
    size_of_step = quantity_value(step)
    # Upstream divides by a step of zero and ends the request; nothing is a multiple of it.
    if size_of_step and (quantity_value(value) - quantity_value(least)) % size_of_step == 0:
        return []
    words = f"value is not a multiple of a given step ({canonical_quantity(step)}) from ({canonical_quantity(least)})"
    return [invalid_value(path, canonical_quantity(value), words)]


def _mappings(mappings: Mapping[str, Obj], capacity: Mapping[str, Any], path: str) -> Errors:
    found: Errors = []
    for name, mapping in sorted(mappings.items()):
        where = f"{path}[{name}]"
        if not is_native(name):
            found.append(invalid_value(where, name, "must be a node allocatable resource name"))
        multiplier, key = mapping.get("allocationMultiplier"), mapping.get("capacityKey")
        if multiplier is None and key is None:
            found.append(invalid_value(where, "", "at least one of allocationMultiplier or capacityKey must be set"))
        if multiplier is not None and parse_quantity(multiplier) <= 0:
            shown = canonical_quantity(multiplier)
            found.append(invalid_value(f"{where}.allocationMultiplier", shown, "must be positive"))
        if key == "":
            found.append(invalid_value(f"{where}.capacityKey", "", "capacityKey must not be an empty string"))
        elif key is not None and key not in capacity:
            found.append(field_not_found(f"{where}.capacityKey", key))
    return found


# -- devices ---------------------------------------------------------------------------------------------------------------


def validate_taint(taint: Obj, path: str) -> Errors:
    found = validate_label_name(taint.get("key") or "", f"{path}.key")
    if taint.get("value"):
        found += label_value(taint["value"], f"{path}.value")
    effect = taint.get("effect") or ""
    if not effect:
        found.append(required(f"{path}.effect"))
    elif effect not in _EFFECTS:
        found.append(not_supported(f"{path}.effect", effect, _EFFECTS))
    return found


def _counters(holder: Obj, name: str, path: str) -> Errors:
    text, where = holder.get(name) or "", f"{path}.{name}"
    found = _label(text, where) if text else [required(where)]
    counters = holder.get("counters")
    if not counters:
        return [*found, required(f"{path}.counters")]
    return found + map_of(counters, MAX_COUNTERS, 63, _label, _anything, f"{path}.counters")


def _counter_set(counters: Obj, path: str) -> Errors:
    return _counters(counters, "name", path)


def _consumption(consumption: Obj, path: str) -> Errors:
    return _counters(consumption, "counterSet", path)


def _device(old: Mapping[str, Obj], own_places: bool) -> Callable[[Obj, str], Errors]:
    def check(device: Obj, path: str) -> Errors:
        found = device_name(device.get("name") or "", f"{path}.name")
        attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
        entries, values = len(attributes) + len(capacity), _values(device)
        if entries > MAX_ENTRIES:
            words = f"the total number of attributes and capacities must not exceed {MAX_ENTRIES}"
            found.append(invalid_value(path, entries, words))
        if values > MAX_VALUES:
            words = f"the total number of attribute values must not exceed {MAX_VALUES}"
            found.append(invalid_value(path, values, words))
        found += map_of(attributes, -1, _LONGEST_NAME, qualified_name, _attribute, f"{path}.attributes")
        policy = _shared_capacity if device.get("allowMultipleAllocations") else _single_capacity
        found += map_of(capacity, -1, _LONGEST_NAME, qualified_name, policy, f"{path}.capacity")
        before = old.get(device.get("name") or "")
        if before is None or before.get("taints") != device.get("taints"):
            found += list_of(device.get("taints"), MAX_TAINTS, validate_taint, f"{path}.taints")
        consumptions = device.get("consumesCounters")
        where = f"{path}.consumesCounters"
        found += set_of(consumptions, MAX_CONSUMPTIONS, _consumption, where, key=lambda c: c.get("counterSet") or "")
        found += _device_places(device, path, own_places)
        found += validate_binding_conditions(device, path)
        mappings = device.get("nodeAllocatableResourceMappings") or {}
        return found + _mappings(mappings, capacity, f"{path}.nodeAllocatableResourceMappings")

    return check


# -- slices ----------------------------------------------------------------------------------------------------------------


def _pool(pool: Obj) -> Errors:
    found = pool_name(pool.get("name") or "", "spec.pool.name")
    count, generation = pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    if count <= 0:
        found.append(invalid_value("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        found.append(invalid_value("spec.pool.generation", generation, "must be greater than or equal to zero"))
    return found


def _is_advanced(device: Obj) -> bool:
    listed = any(a.get(f) is not None for a in (device.get("attributes") or {}).values() for f in _LISTS)
    return bool(device.get("taints") or device.get("consumesCounters") or listed)


def _spec(spec: Obj, before: Obj | None) -> Errors:
    pool = spec.get("pool") or {}
    found = validate_driver_name(spec.get("driver") or "", "spec.driver") + _pool(pool)
    if before is not None:
        earlier = before.get("pool") or {}
        found += immutable(pool.get("name") or "", earlier.get("name") or "", "spec.pool.name")
        found += immutable(spec.get("driver") or "", before.get("driver") or "", "spec.driver")
        found += immutable(spec.get("nodeName"), before.get("nodeName"), "spec.nodeName")
    found += _slice_places(spec)
    devices, counters = spec.get("devices"), spec.get("sharedCounters")
    if devices is not None and counters is not None:
        found.append(invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    most = MAX_ADVANCED_DEVICES if any(map(_is_advanced, devices or ())) else MAX_DEVICES
    known = {d.get("name") or "": d for d in (before or {}).get("devices") or ()}
    check = _device(known, bool(spec.get("perDeviceNodeSelection")))
    found += set_of(devices, most, check, "spec.devices", key=lambda d: d.get("name") or "")
    where = "spec.sharedCounters"
    return found + set_of(counters, MAX_COUNTER_SETS, _counter_set, where, key=lambda c: c.get("name") or "")


def _slice(resource_slice: Obj) -> Errors:
    found = validate_meta(resource_slice.get("metadata") or {}, False, subdomain_name)
    return found + _spec(resource_slice.get("spec") or {}, None)


def _slice_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _spec(new.get("spec") or {}, old.get("spec") or {})


_GROUP = "resource.k8s.io"
CREATE = {(_GROUP, "resourceslices"): _slice}
UPDATE = {(_GROUP, "resourceslices", ""): _slice_update}
