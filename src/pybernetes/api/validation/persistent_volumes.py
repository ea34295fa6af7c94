"""PersistentVolumes, and volume specs inlined in attachments. Specified by "Persistent Volumes"."""

from __future__ import annotations

import copy
import posixpath

from ..errors import forbidden_field, invalid_value, not_supported, required
from ..strategy.base import semantically_equal
from .affinity import has_invalid_values, node_selector
from .amounts import basic_amount, positive_amount
from .claims import (
    VOLUME_MODES,
    access_modes,
    validate_claim,
    validate_claim_status,
    validate_claim_update,
)
from .diffs import diff
from .errors import Errors, Obj, at, invalid_each, missing, sorted_map
from .formats import IMMUTABLE_WORDS, dns_label_problems, dns_subdomain_problems, size
from .go_values import go_value
from .kube_meta import validate_meta, validate_meta_update
from .meta import immutable, subdomain_name
from .paths import no_backsteps
from .volumes import (
    ISCSI_TOO_LONG,
    MORE_THAN_ONE,
    Check,
    iscsi_common,
    iscsi_initiator,
    secret_reference,
    storage_os,
    validate_aws_store,
    validate_azure_disk,
    validate_driver_name,
    validate_fc,
    validate_flex,
    validate_flocker,
    validate_gce_disk,
    validate_host_path,
    validate_nfs,
    validate_quobyte,
)

_RECLAIM = ("Delete", "Recycle", "Retain")
_INLINE = "in the context of inline volumes"


def _requires(*fields: str) -> Check:
    return lambda source, path: missing(source, path, *fields)


def _glusterfs(source: Obj, path: str) -> Errors:
    found = missing(source, path, "endpoints", "path")
    namespace, where = source.get("endpointsNamespace"), at(path, "endpointsNamespace")
    if namespace is None:
        return found
    if not namespace:
        words = "if the endpointnamespace is set, it must be a valid namespace name"
        return [*found, invalid_value(where, namespace, words)]
    return found + invalid_each(where, namespace, dns_label_problems(namespace))


def _cinder(source: Obj, path: str) -> Errors:
    return missing(source, path, "volumeID") + secret_reference(source, path, "name", "namespace")


def _azure_file(source: Obj, path: str) -> Errors:
    found = missing(source, path, "secretName", "shareName")
    if source.get("secretNamespace") == "":
        found.append(required(at(path, "secretNamespace")))
    return found


_CSI_SECRETS = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)


def _csi(source: Obj, path: str) -> Errors:
    found = validate_driver_name(source.get("driver") or "", at(path, "driver"))
    found += missing(source, path, "volumeHandle")
    for field in _CSI_SECRETS:
        reference = source.get(field)
        if reference is not None:
            for part, check in (("name", dns_subdomain_problems), ("namespace", dns_label_problems)):
                value, where = reference.get(part) or "", at(path, field, part)
                found += invalid_each(where, value, check(value)) if value else [required(where)]
    return found


def _local(source: Obj, path: str) -> Errors:
    if not source.get("path"):
        return [required(at(path, "path"))]
    return no_backsteps(source["path"], at(path, "path"))


_SOURCES: tuple[tuple[str, str, str, Check], ...] = (
    ("hostPath", "hostPath", "hostPath", validate_host_path),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", validate_gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", validate_aws_store),
    ("glusterfs", "glusterfs", "glusterfs", _glusterfs),
    ("flocker", "flocker", "flocker", validate_flocker),
    ("nfs", "nfs", "nfs", validate_nfs),
    ("rbd", "rbd", "rbd", _requires("monitors", "image")),
    ("quobyte", "quobyte", "quobyte", validate_quobyte),
    ("cephfs", "cephFS", "cephfs", _requires("monitors")),
    ("iscsi", "iscsi", "iscsi", lambda source, path: []),
    ("cinder", "cinder", "cinder", _cinder),
    ("fc", "fc", "fc", validate_fc),
    ("flexVolume", "", "flexVolume", validate_flex),
    ("azureFile", "azureFile", "azureFile", _azure_file),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", _requires("volumePath")),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", _requires("pdID")),
    ("portworxVolume", "portworxVolume", "portworxVolume", _requires("volumeID")),
    ("azureDisk", "azureDisk", "azureDisk", validate_azure_disk),
    ("scaleIO", "scaleIO", "scaleIO", _requires("gateway", "system", "volumeName")),
    ("local", "local", "local", _local),
    ("storageos", "storageos", "storageos", lambda source, path: storage_os(source, path, "name", "namespace")),
    ("csi", "csi", "csi", _csi),
)
SOURCE_FIELDS = tuple(field for field, *_ in _SOURCES)


def _iscsi(source: Obj, name: str, path: str) -> Errors:
    words = "must be valid format"
    found = missing(source, path, "targetPortal")
    portal = source.get("targetPortal") or ""
    if source.get("initiatorName") is not None and size(f"{name}:{portal}") > 64:
        found.append(invalid_value(at(path, "targetportal"), portal, ISCSI_TOO_LONG))
    found += iscsi_common(source, path, words) + secret_reference(source, path, "name")
    return found + iscsi_initiator(source, path, words)


def validate_volume_spec(
    spec: Obj, name: str, path: str, *, inline: bool = False, lax_affinity: bool = False
) -> Errors:
    """A PersistentVolumeSpec; ``inline`` is that of a VolumeAttachment."""
    found = _inline_refusals(spec, path) if inline else []
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(required(at(path, "accessModes")))
    found += access_modes(modes, at(path, "accessModes"))
    if not inline:
        found += _capacity(spec.get("capacity"), at(path, "capacity"))
    found += _reclaim_policy(spec.get("persistentVolumeReclaimPolicy") or "", path, inline)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        here = at(path, "nodeAffinity")
        if inline:
            found.append(forbidden_field(here, f"may not be specified {_INLINE}"))
        elif affinity.get("required") is None:
            found.append(required(at(here, "required"), "must specify required node constraints"))
        else:
            found += node_selector(affinity["required"], at(here, "required"), lax_affinity)
    found += _sources(spec, name, path, affinity is not None and not inline)
    if posixpath.normpath((spec.get("hostPath") or {}).get("path") or ".") == "/":
        if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            words = "may not be 'recycle' for a hostPath mount of '/'"
            found.append(forbidden_field(at(path, "persistentVolumeReclaimPolicy"), words))
    return found + _classes_and_mode(spec, path, inline)


def _inline_refusals(spec: Obj, path: str) -> Errors:
    found: Errors = []
    for field in ("claimRef", "capacity"):
        if spec.get(field) is not None and (field == "claimRef" or spec[field]):
            found.append(forbidden_field(at(path, field), f"may not be specified {_INLINE}"))
    if spec.get("csi") is None:
        found.append(required(at(path, "csi"), f"has to be specified {_INLINE}"))
    return found


def _capacity(given: Obj | None, path: str) -> Errors:
    found: Errors = []
    capacity = given or {}
    if not capacity:
        found.append(required(path))
    if "storage" not in capacity or len(capacity) > 1:
        found.append(not_supported(path, sorted_map(given), ["storage"]))
    for name, value in capacity.items():
        found += basic_amount(value, f"{path}[{name}]") + positive_amount(value, f"{path}[{name}]")
    return found


def _reclaim_policy(policy: str, path: str, inline: bool) -> Errors:
    where = at(path, "persistentVolumeReclaimPolicy")
    if inline:
        return [forbidden_field(where, f"may only be Retain {_INLINE}")] if policy not in ("", "Retain") else []
    return [not_supported(where, policy, _RECLAIM)] if policy and policy not in _RECLAIM else []


def _sources(spec: Obj, name: str, path: str, has_affinity: bool) -> Errors:
    found: Errors = []
    count = 0
    for field, taken, own, check in _SOURCES:
        source = spec.get(field)
        if source is None:
            continue
        if count and taken:
            found.append(forbidden_field(at(path, taken), MORE_THAN_ONE))
            continue
        count += 1
        found += _iscsi(source, name, at(path, own)) if field == "iscsi" else check(source, at(path, own))
        if field == "local" and not has_affinity:
            found.append(required(at(path, "nodeAffinity"), "Local volume requires node affinity"))
    return found if count else [*found, required(path, "must specify a volume type")]


def _classes_and_mode(spec: Obj, path: str, inline: bool) -> Errors:
    found: Errors = []
    name, mode, attributes = (spec.get(f) for f in ("storageClassName", "volumeMode", "volumeAttributesClassName"))
    if name:
        where = at(path, "storageClassName")
        if inline:
            found.append(forbidden_field(where, f"may not be specified {_INLINE}"))
        else:
            found += invalid_each(where, name, dns_subdomain_problems(name))
    if mode is not None:
        where = at(path, "volumeMode")
        if inline and mode != "Filesystem":
            found.append(forbidden_field(where, f"may not specify volumeMode other than Filesystem {_INLINE}"))
        elif not inline and mode not in VOLUME_MODES:
            found.append(not_supported(where, mode, VOLUME_MODES))
    if attributes is not None:
        where = at(path, "volumeAttributesClassName")
        if not attributes:
            found.append(required(where, "an empty string is disallowed"))
        else:
            found += invalid_each(where, attributes, dns_subdomain_problems(attributes))
        if spec.get("csi") is None:
            words = "has to be specified when using volumeAttributesClassName"
            found.append(required(at(path, "csi"), words))
    return found


def validate_volume(volume: Obj, *, lax_affinity: bool = False) -> Errors:
    metadata = volume.get("metadata") or {}
    found = validate_meta(metadata, False, subdomain_name)
    name = metadata.get("name") or ""
    return found + validate_volume_spec(volume.get("spec") or {}, name, "spec", lax_affinity=lax_affinity)


_GA_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def validate_volume_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    lax = has_invalid_values((before.get("nodeAffinity") or {}).get("required"))
    # Upstream checks the whole volume twice, and says everything twice.
    found = validate_volume(new, lax_affinity=lax) + validate_volume(new, lax_affinity=lax)
    sources = [{f: s[f] for f in SOURCE_FIELDS if s.get(f) is not None} for s in (spec, before)]
    csi, old_csi = (s.get("csi") for s in sources)
    if csi is not None and old_csi is not None and old_csi.get("controllerExpandSecretRef") is None:
        sources[0]["csi"] = {k: v for k, v in csi.items() if k != "controllerExpandSecretRef"}
    if not semantically_equal(*sources):
        words = f"spec.persistentvolumesource is immutable after creation\n{diff(sources[1], sources[0], 'core.PersistentVolumeSource')}"
        found.append(forbidden_field("spec.persistentvolumesource", words))
    found += immutable(spec.get("volumeMode"), before.get("volumeMode"), "volumeMode")
    if before.get("nodeAffinity") is not None:
        if not _same_but_for_new_labels(spec.get("nodeAffinity"), before["nodeAffinity"]):
            words = f"{IMMUTABLE_WORDS}, except for updating from beta label to GA"
            found.append(
                invalid_value("nodeAffinity", go_value(spec.get("nodeAffinity"), "core.VolumeNodeAffinity"), words)
            )
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        words = "update from non-nil value to nil is forbidden"
        found.append(forbidden_field("spec.volumeAttributesClassName", words))
    return found


def _same_but_for_new_labels(new: Obj | None, old: Obj) -> bool:
    """Labels of nodes may be renamed from their beta names."""
    if new is None:
        return False
    renamed = copy.deepcopy(old)
    terms = ((n.get("required") or {}).get("nodeSelectorTerms") or [] for n in (new, renamed))
    for wanted, stored in zip(*terms, strict=False):
        pairs = (t.get("matchExpressions") or [] for t in (wanted, stored))
        for requirement, known in zip(*pairs, strict=False):
            if _GA_LABELS.get(known.get("key") or "") == requirement.get("key"):
                known["key"] = requirement.get("key")
    return semantically_equal(new, renamed)


def validate_volume_status(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    if not (new.get("metadata") or {}).get("resourceVersion"):
        found.append(required("resourceVersion"))
    return found


CREATE = {("", "persistentvolumes"): validate_volume, ("", "persistentvolumeclaims"): validate_claim}
UPDATE = {
    ("", "persistentvolumes", ""): validate_volume_update,
    ("", "persistentvolumes", "status"): validate_volume_status,
    ("", "persistentvolumeclaims", ""): validate_claim_update,
    ("", "persistentvolumeclaims", "status"): validate_claim_status,
}
