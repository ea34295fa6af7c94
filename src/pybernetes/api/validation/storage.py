"""The storage.k8s.io group: classes, CSI drivers and nodes, capacities, attachments."""

from __future__ import annotations

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from .amounts import nonnegative_amount
from .errors import Errors, Obj, go_struct, invalid_each, shown_selector, sorted_map
from .formats import dns_subdomain_problems, qualified_name_problems, range_words, size
from .kube_meta import validate_meta, validate_meta_update
from .meta import (
    has_invalid_label_value,
    immutable,
    nonnegative,
    subdomain_name,
    validate_label_name,
    validate_label_selector,
)
from .persistent_volumes import validate_volume_spec
from .volumes import validate_driver_name

MAX_PARAMETERS = 512
MAX_PARAMETER_BYTES = 256 * 1024
MAX_ERROR_BYTES = 1024
MAX_NODE_ID = 256


def _provisioner(name: str, path: str) -> Errors:
    if not name:
        return [required(path)]
    return invalid_each(path, name.lower(), qualified_name_problems(name.lower()))


def _parameters(parameters: Obj, *, may_be_empty: bool) -> Errors:
    path = "parameters"
    if len(parameters) > MAX_PARAMETERS:
        return [too_long(path, MAX_PARAMETERS)]
    found = [invalid_value(path, key, "field can not be empty.") for key in parameters if not key]
    if sum(size(key) + size(value or "") for key, value in parameters.items()) > MAX_PARAMETER_BYTES:
        found.append(too_long(path, MAX_PARAMETER_BYTES))
    if not parameters and not may_be_empty:
        found.append(required(path, "must contain at least one key/value pair"))
    return found


# Storage classes


def _topologies(terms: list[Obj]) -> Errors:
    found: Errors = []
    # Upstream compares with an empty term for each term there is, so empty ones are always repeated.
    seen: list[dict[str, set[str]]] = [{} for _ in terms]
    for i, term in enumerate(terms):
        path = f"allowedTopologies[{i}].matchLabelExpressions"
        expressions: dict[str, set[str]] = {}
        for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
            values, key = expression.get("values") or [], expression.get("key") or ""
            if not values:
                found.append(required(f"{path}[{j}].values"))
            for k, value in enumerate(values):
                if value in values[:k]:
                    found.append(duplicate(f"{path}[{j}].values[{k}]", value))
            found += validate_label_name(key, f"{path}[{j}].key")
            if key in expressions:
                found.append(duplicate(f"{path}[{j}].key", key))
            expressions[key] = set(values)
        found += [duplicate(path, "") for known in seen if known == expressions]
        seen.append(expressions)
    return found


def _storage_class(storage_class: Obj) -> Errors:
    found = validate_meta(storage_class.get("metadata") or {}, False, subdomain_name)
    found += _provisioner(storage_class.get("provisioner") or "", "provisioner")
    found += _parameters(storage_class.get("parameters") or {}, may_be_empty=True)
    policy, mode = storage_class.get("reclaimPolicy"), storage_class.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        found.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    known = ("Immediate", "WaitForFirstConsumer")
    if mode is None:
        found.append(required("volumeBindingMode"))
    elif mode not in known:
        found.append(not_supported("volumeBindingMode", mode, known))
    return found + _topologies(storage_class.get("allowedTopologies") or [])


def _storage_class_update(new: Obj, old: Obj) -> Errors:
    found = _storage_class(new) + validate_meta_update(new, old)
    found += immutable(sorted_map(new.get("parameters")), sorted_map(old.get("parameters")), "parameters")
    found += immutable(new.get("provisioner") or "", old.get("provisioner") or "", "provisioner")
    for field in ("reclaimPolicy", "volumeBindingMode"):
        found += immutable(new.get(field), old.get(field), field)
    return found


def _attributes_class(attributes_class: Obj) -> Errors:
    found = validate_meta(attributes_class.get("metadata") or {}, False, subdomain_name)
    found += _provisioner(attributes_class.get("driverName") or "", "driverName")
    return found + _parameters(attributes_class.get("parameters") or {}, may_be_empty=False)


def _attributes_class_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    if (new.get("driverName") or "") != (old.get("driverName") or ""):
        found.append(forbidden_field("driverName", "updates to driverName are forbidden."))
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        found.append(forbidden_field("parameters", "updates to parameters are forbidden."))
    return found + _attributes_class(new)


# Attachments


def _source(source: Obj, path: str) -> Errors:
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    words = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        return [required(path, words)]
    if inline is not None and name is not None:
        return [forbidden_field(path, words)]
    if inline is not None:
        return validate_volume_spec(inline, "", f"{path}.inlineVolumeSpec", inline=True)
    if not name:
        return [required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")]
    return []


def _volume_error(error: Obj | None, path: str) -> Errors:
    found: Errors = []
    if size((error or {}).get("message") or "") > MAX_ERROR_BYTES:
        # Upstream names another limit than the one it applies.
        found.append(too_long(f"{path}.message", MAX_PARAMETER_BYTES))
    code = (error or {}).get("errorCode")
    if code is not None and code < 0:
        found.append(invalid_value(f"{path}.errorCode", code, range_words(0, 2**31 - 1)))
    return found


def _attachment(attachment: Obj) -> Errors:
    found = validate_meta(attachment.get("metadata") or {}, False, subdomain_name)
    spec, status = attachment.get("spec") or {}, attachment.get("status") or {}
    source, node = spec.get("source") or {}, spec.get("nodeName") or ""
    found += validate_driver_name(spec.get("attacher") or "", "spec.attacher") + _source(source, "spec.source")
    found += invalid_each("spec.nodeName", node, dns_subdomain_problems(node))
    metadata = status.get("attachmentMetadata") or {}
    if sum(size(key) + size(value or "") for key, value in metadata.items()) > MAX_PARAMETER_BYTES:
        found.append(too_long("status.attachmentMetadata", MAX_PARAMETER_BYTES))
    for field in ("attachError", "detachError"):
        found += _volume_error(status.get(field), f"status.{field}")
    name = source.get("persistentVolumeName")
    if name is not None:
        found += invalid_each("spec.source.persistentVolumeName", name, dns_subdomain_problems(name))
    return found


def _attachment_update(new: Obj, old: Obj) -> Errors:
    return _attachment(new) + immutable(new.get("spec"), old.get("spec"), "spec", "storage.VolumeAttachmentSpec")


# CSI nodes, drivers and capacities


def _node_driver(driver: Obj, path: str, names: set[str]) -> Errors:
    name, node = driver.get("name") or "", driver.get("nodeID") or ""
    found = validate_driver_name(name, f"{path}.name")
    if not node:
        found.append(required(f"{path}.nodeID"))
    if size(node) > MAX_NODE_ID:
        found.append(invalid_value(f"{path}.nodeID", node, f"must be {MAX_NODE_ID} characters or less"))
    found += nonnegative((driver.get("allocatable") or {}).get("count") or 0, f"{path}.allocatable.count")
    if name in names:
        found.append(duplicate(f"{path}.name", name))
    names.add(name)
    keys: set[str] = set()
    for key in driver.get("topologyKeys") or ():
        if not key:
            found.append(required(path))
        if key in keys:
            found.append(duplicate(path, key))
        keys.add(key)
        found += invalid_each(path, key, qualified_name_problems(key))
    return found


def _drivers(node: Obj) -> list[Obj]:
    return (node.get("spec") or {}).get("drivers") or []


def _csi_node(node: Obj) -> Errors:
    found = validate_meta(node.get("metadata") or {}, False, subdomain_name)
    names: set[str] = set()
    for i, driver in enumerate(_drivers(node)):
        found += _node_driver(driver, f"spec.drivers[{i}]", names)
    return found


def _csi_node_update(new: Obj, old: Obj) -> Errors:
    found, fields = _csi_node(new), "name nodeID topologyKeys?"
    for before in _drivers(old):
        for driver in _drivers(new):
            if (driver.get("name") or "") == (before.get("name") or ""):
                # How many volumes fit may change, and is not looked at.
                shown, stored = ({**(go_struct(d, fields) or {}), "Allocatable": None} for d in (driver, before))
                found += immutable(shown, stored, "spec.drivers")
    return found


_FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_MODES = ("Persistent", "Ephemeral")


def _token_requests(requests: list[Obj], path: str) -> Errors:
    found: Errors = []
    audiences: set[str] = set()
    for i, request in enumerate(requests):
        audience, seconds, here = request.get("audience") or "", request.get("expirationSeconds"), f"{path}[{i}]"
        if audience in audiences:
            found.append(duplicate(f"{here}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < 600:
            words = "may not specify a duration less than 10 minutes"
            found.append(invalid_value(f"{here}.expirationSeconds", seconds, words))
        if seconds is not None and seconds > 1 << 32:
            words = "may not specify a duration larger than 2^32 seconds"
            found.append(invalid_value(f"{here}.expirationSeconds", seconds, words))
    return found


def _driver_spec(spec: Obj) -> Errors:
    found: Errors = []
    for field, named in (
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ):
        if spec.get(field) is None:
            found.append(required(f"spec.{named}"))
    policy, requests = spec.get("fsGroupPolicy"), spec.get("tokenRequests") or []
    if policy is not None and policy not in _FS_GROUP_POLICIES:
        found.append(not_supported("spec.fsGroupPolicy", policy, _FS_GROUP_POLICIES))
    found += _token_requests(requests, "spec.tokenRequests")
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _MODES:
            found.append(not_supported("spec.volumeLifecycleModes", mode, _MODES))
    if spec.get("seLinuxMount") is None:
        found.append(required("spec.seLinuxMount"))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        words = "must be greater than or equal to 10 seconds"
        found.append(invalid_value("spec.nodeAllocatableUpdatePeriodSeconds", period, words))
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not requests:
        words = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        found.append(invalid_value("spec.serviceAccountTokenInSecrets", in_secrets, words))
    return found


def _csi_driver(driver: Obj) -> Errors:
    return validate_meta(driver.get("metadata") or {}, False, subdomain_name) + _driver_spec(driver.get("spec") or {})


def _csi_driver_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = validate_meta_update(new, old) + _driver_spec(spec)
    found += immutable(spec.get("attachRequired"), before.get("attachRequired"), "spec.attachedRequired")
    modes, stored = spec.get("volumeLifecycleModes"), before.get("volumeLifecycleModes")
    return found + immutable(modes, stored, "spec.volumeLifecycleModes")


def _capacity(capacity: Obj, *, lax: bool = False) -> Errors:
    found = validate_meta(capacity.get("metadata") or {}, True, subdomain_name)
    name = capacity.get("storageClassName") or ""
    found += validate_label_selector(capacity.get("nodeTopology"), "nodeTopology", lax_values=lax)
    found += invalid_each("storageClassName", name, dns_subdomain_problems(name))
    if capacity.get("capacity") is not None:
        found += nonnegative_amount(capacity["capacity"], "capacity")
    return found


def _capacity_create(capacity: Obj) -> Errors:
    return _capacity(capacity)


def _capacity_update(new: Obj, old: Obj) -> Errors:
    found = _capacity(new, lax=has_invalid_label_value(old.get("nodeTopology"))) + validate_meta_update(new, old)
    found += immutable(shown_selector(new.get("nodeTopology")), shown_selector(old.get("nodeTopology")), "nodeTopology")
    return found + immutable(new.get("storageClassName") or "", old.get("storageClassName") or "", "storageClassName")


_GROUP = "storage.k8s.io"
CREATE = {
    (_GROUP, "storageclasses"): _storage_class,
    (_GROUP, "volumeattributesclasses"): _attributes_class,
    (_GROUP, "volumeattachments"): _attachment,
    (_GROUP, "csinodes"): _csi_node,
    (_GROUP, "csidrivers"): _csi_driver,
    (_GROUP, "csistoragecapacities"): _capacity_create,
}
UPDATE = {
    (_GROUP, "storageclasses", ""): _storage_class_update,
    (_GROUP, "volumeattributesclasses", ""): _attributes_class_update,
    (_GROUP, "volumeattachments", ""): _attachment_update,
    (_GROUP, "volumeattachments", "status"): _attachment_update,
    (_GROUP, "csinodes", ""): _csi_node_update,
    (_GROUP, "csidrivers", ""): _csi_driver_update,
    (_GROUP, "csistoragecapacities", ""): _capacity_update,
}
