"""PersistentVolumeClaims and their templates. Specified by "Persistent Volumes"."""

from __future__ import annotations

from typing import Any

from ..errors import forbidden_field, invalid_value, not_supported, required
from ..pod_resources import is_native
from ..strategy.base import semantically_equal
from .amounts import amount, basic_amount, positive_amount, validate_amount
from .diffs import diff
from .errors import Errors, Obj, at, invalid_each
from .formats import IMMUTABLE_WORDS, dns_label_problems, dns_subdomain_problems, qualified_name_problems
from .kube_meta import validate_meta, validate_meta_update
from .meta import immutable, subdomain_name, validate_annotations, validate_label_selector, validate_labels

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def access_modes(modes: list[str], path: str) -> Errors:
    found = [not_supported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        found.append(forbidden_field(path, "may not use ReadWriteOncePod with other access modes"))
    return found


def validate_claim_spec(spec: Obj, path: str, *, lax_selector: bool = False, lax_group: bool = False) -> Errors:
    found: Errors = []
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(required(at(path, "accessModes"), "at least 1 access mode is required"))
    found += validate_label_selector(spec.get("selector"), at(path, "selector"), lax_values=lax_selector)
    found += access_modes(modes, at(path, "accessModes"))
    requests, where = (spec.get("resources") or {}).get("requests") or {}, f"{at(path, 'resources')}[storage]"
    if "storage" not in requests:
        found.append(required(where))
    else:
        found += positive_amount(requests["storage"], where) or validate_amount("storage", requests["storage"], where)
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        found += invalid_each(at(path, "storageClassName"), name, dns_subdomain_problems(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        found.append(not_supported(at(path, "volumeMode"), mode, VOLUME_MODES))
    found += _data_sources(spec, path, lax_group)
    if spec.get("volumeAttributesClassName"):
        name = spec["volumeAttributesClassName"]
        found += invalid_each(at(path, "volumeAttributesClassName"), name, dns_subdomain_problems(name))
    return found


def _data_sources(spec: Obj, path: str, lax_group: bool) -> Errors:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    found: Errors = []
    if source is not None:
        found += _data_source(source, at(path, "dataSource"), lax_group)
    if reference is not None:
        found += _data_source(reference, at(path, "dataSourceRef"), lax_group)
        namespace = reference.get("namespace") or ""
        if namespace:
            where = at(path, "dataSourceRef", "namespace")
            found += invalid_each(where, namespace, dns_label_problems(namespace))
            if source is not None:
                words = "may not be specified when dataSourceRef.namespace is specified"
                found.append(invalid_value(path, {}, words))
        elif source is not None and any(source.get(f) != reference.get(f) for f in ("apiGroup", "kind", "name")):
            found.append(invalid_value(path, {}, "must match dataSourceRef"))
    return found


def _data_source(source: Obj, path: str, lax_group: bool) -> Errors:
    found = [required(at(path, field)) for field in ("name", "kind") if not source.get(field)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        words = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        found.append(invalid_value(path, kind, words))
    if group and not lax_group:
        found += invalid_each(at(path, "apiGroup"), group, dns_subdomain_problems(group))
    return found


_TEMPLATE_METADATA = ("annotations", "labels")


def validate_claim_template(template: Obj, path: str) -> Errors:
    """The claim that an ephemeral volume makes for each pod."""
    metadata, here = template.get("metadata") or {}, at(path, "metadata")
    found = validate_annotations(metadata.get("annotations"), at(here, "annotations"))
    found += validate_labels(metadata.get("labels"), at(here, "labels"))
    extra = (f for f in METADATA_FIELDS if f not in _TEMPLATE_METADATA and metadata.get(f))
    found += [forbidden_field(at(here, field), "cannot be set") for field in extra]
    return found + validate_claim_spec(template.get("spec") or {}, at(path, "spec"))


METADATA_FIELDS = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def validate_claim(claim: Obj) -> Errors:
    return _claim(claim, None)


def _claim(claim: Obj, old: Obj | None) -> Errors:
    before = (old or {}).get("spec") or {}
    sources = (before.get("dataSource") or {}, before.get("dataSourceRef") or {})
    found = validate_meta(claim.get("metadata") or {}, True, subdomain_name)
    return found + validate_claim_spec(
        claim.get("spec") or {},
        "spec",
        lax_selector=bool(validate_label_selector(before.get("selector"), "")),
        lax_group=any(s.get("apiGroup") is not None for s in sources),
    )


def validate_claim_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old) + _claim(new, old)
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    bound = (new.get("status") or {}).get("phase") == "Bound"
    if not before.get("volumeName") and spec.get("volumeName"):
        before["volumeName"] = spec["volumeName"]
    found += _storage_class(new, old, spec, before)
    requests = (spec.get("resources") or {}).get("requests")
    old_requests = (before.get("resources") or {}).get("requests") or {}
    if bound:
        if requests is not None:
            size = {"storage": old_requests["storage"]} if "storage" in old_requests else {}
            others = {k: v for k, v in requests.items() if k != "storage"}
            spec["resources"] = {**(spec.get("resources") or {}), "requests": {**others, **size}}
        _put(spec, "volumeAttributesClassName", before.get("volumeAttributesClassName"))
    if not semantically_equal(spec, before):
        words = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
            f"{diff(before, spec, 'core.PersistentVolumeClaimSpec')}"
        )
        found.append(forbidden_field("spec", words))
    wanted, stored = (requests or {}).get("storage", 0), old_requests.get("storage", 0)
    if amount(wanted) < amount(stored):
        capacity = ((new.get("status") or {}).get("capacity") or {}).get("storage", 0)
        capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage", capacity)
        if amount(wanted) <= amount(capacity):
            where = "spec.resources.requests.storage"
            found.append(forbidden_field(where, "field can not be less than status.capacity"))
    modes = ((o.get("spec") or {}).get("volumeMode") for o in (new, old))
    found += immutable(next(modes), next(modes), "volumeMode")
    return found + _attributes_class(new, old)


def _put(spec: Obj, field: str, value: Any) -> None:
    if value is None:
        spec.pop(field, None)
    else:
        spec[field] = value


def _storage_class(new: Obj, old: Obj, spec: Obj, before: Obj) -> Errors:
    """A class may move from the old annotation to its field, and may be given once."""
    annotations = [(o.get("metadata") or {}).get("annotations") or {} for o in (new, old)]
    now, earlier = (a.get(CLASS_ANNOTATION) for a in annotations)
    name, stored = spec.get("storageClassName"), before.get("storageClassName")
    if earlier is not None and stored is None and name == earlier and now in (None, earlier):
        spec.pop("storageClassName", None)
        return []
    found: Errors = []
    if (now or "") != (earlier or ""):
        where = f"metadata.annotations.{CLASS_ANNOTATION}"
        found.append(invalid_value(where, now or "", IMMUTABLE_WORDS))
    if name is not None and stored is None and earlier in (None, name):
        spec.pop("storageClassName", None)
    return found


def _attributes_class(new: Obj, old: Obj) -> Errors:
    name = (new.get("spec") or {}).get("volumeAttributesClassName")
    if name == (old.get("spec") or {}).get("volumeAttributesClassName"):
        return []
    if (old.get("status") or {}).get("currentVolumeAttributesClassName") is None:
        return []
    where, tail = (
        "spec.volumeAttributesClassName",
        "is forbidden when status.currentVolumeAttributesClassName is not nil",
    )
    if name is None:
        return [forbidden_field(where, f"update to nil {tail}")]
    return [] if name else [forbidden_field(where, f"update to empty string {tail}")]


_RESIZE_STATES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)


def validate_claim_status(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    if not (new.get("metadata") or {}).get("resourceVersion"):
        found.append(required("resourceVersion"))
    if not (new.get("spec") or {}).get("accessModes"):
        found.append(required("Spec.accessModes"))
    status = new.get("status") or {}
    for name, value in (status.get("capacity") or {}).items():
        found += basic_amount(value, f"status.capacity[{name}]")
    path = "status.allocatedResourceStatuses"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        found += _resource_key(name, path)
        if state not in _RESIZE_STATES:
            found.append(not_supported(path, name, sorted(_RESIZE_STATES)))
    path = "status.allocatedResources"
    for name, value in (status.get("allocatedResources") or {}).items():
        errors = _resource_key(name, path) or basic_amount(value, f"{path}[{name}]")
        found += errors or validate_amount("storage", value, f"{path}[{name}]")
    return found


def _resource_key(name: str, path: str) -> Errors:
    found = invalid_each(path, name, qualified_name_problems(name))
    if not found and is_native(name) and name != "storage":
        found.append(not_supported(path, name, ["storage"]))
    return found
