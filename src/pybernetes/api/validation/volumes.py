"""Volume sources: those of pods, and the parts that PersistentVolumes share with them. Specified by "Volumes"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from ..quantity import QuantityError, parse_quantity
from .errors import Errors, Obj, at, invalid_each, missing
from .formats import dns_label_problems, dns_subdomain_problems, range_words, size
from .options import PodOptions
from .paths import file_mode, local_descending, local_not_reserved, no_backsteps

_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9\-.]+)(:[^,;*&$|\s]+)$", re.ASCII)
_EUI = re.compile(r"^eui.[a-zA-Z0-9]{16}$")
_NAA = re.compile(r"^naa.[a-zA-Z0-9]{32}$")
_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
MORE_THAN_ONE = "may not specify more than 1 volume type"

Check = Callable[[Obj, str], Errors]


def validate_host_path(source: Obj, path: str) -> Errors:
    if not source.get("path"):
        return [required(at(path, "path"))]
    found = no_backsteps(source["path"], at(path, "path"))
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        found.append(not_supported(at(path, "type"), kind, _HOST_PATH_TYPES))
    return found


def _git_repo(source: Obj, path: str) -> Errors:
    return missing(source, path, "repository") + local_descending(source.get("directory") or "", at(path, "directory"))


def iscsi_name(name: str, path: str, words: str) -> Errors:
    """An iSCSI qualified name; ``words`` is what an unknown beginning is told."""
    if not name.startswith(("iqn", "eui", "naa")):
        return [invalid_value(path, name, words)]
    pattern = {"iqn": _IQN, "eui": _EUI, "naa": _NAA}[name[:3]]
    return [] if pattern.search(name) else [invalid_value(path, name, "must be valid format")]


ISCSI_BEGINNING = "must be valid format starting with iqn, eui, or naa"
ISCSI_TOO_LONG = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."


def iscsi_common(source: Obj, path: str, words: str) -> Errors:
    """What both kinds of iSCSI source check after the portal."""
    found: Errors = []
    name = source.get("iqn") or ""
    if not name:
        found.append(required(at(path, "iqn")))
    else:
        found += iscsi_name(name, at(path, "iqn"), words)
    lun = source.get("lun") or 0
    if not 0 <= lun <= 255:
        found.append(invalid_value(at(path, "lun"), lun, range_words(0, 255)))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        found.append(required(at(path, "secretRef")))
    return found


def iscsi_initiator(source: Obj, path: str, words: str) -> Errors:
    name = source.get("initiatorName")
    return [] if name is None else iscsi_name(name, at(path, "initiatorname"), words)


def _iscsi(source: Obj, path: str) -> Errors:
    found = missing(source, path, "targetPortal") + iscsi_common(source, path, ISCSI_BEGINNING)
    return found + iscsi_initiator(source, path, ISCSI_BEGINNING)


def validate_fc(source: Obj, path: str) -> Errors:
    targets, ids, found = source.get("targetWWNs") or [], source.get("wwids") or [], Errors()
    if not targets and not ids:
        found.append(required(at(path, "targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
    if targets and ids:
        words = "targetWWNs and wwids can not be specified simultaneously"
        found.append(invalid_value(at(path, "targetWWNs"), targets, words))
    if targets:
        lun = source.get("lun")
        if lun is None:
            found.append(required(at(path, "lun"), "lun is required if targetWWNs is specified"))
        elif not 0 <= lun <= 255:
            found.append(invalid_value(at(path, "lun"), lun, range_words(0, 255)))
    return found


def _partition(source: Obj, path: str) -> Errors:
    number = source.get("partition") or 0
    return [] if 0 <= number <= 255 else [invalid_value(at(path, "partition"), number, range_words(1, 255))]


def validate_gce_disk(source: Obj, path: str) -> Errors:
    return missing(source, path, "pdName") + _partition(source, path)


def validate_aws_store(source: Obj, path: str) -> Errors:
    return missing(source, path, "volumeID") + _partition(source, path)


def key_to_path(item: Obj, path: str) -> Errors:
    found = missing(item, path, "key", "path")
    found += local_not_reserved(item.get("path") or "", at(path, "path"))
    return found + file_mode(item.get("mode"), at(path, "mode"))


def _keyed(name: str) -> Check:
    def check(source: Obj, path: str) -> Errors:
        found = missing(source, path, name) + file_mode(source.get("defaultMode"), at(path, "defaultMode"))
        for i, item in enumerate(source.get("items") or ()):
            found += key_to_path(item, f"{at(path, 'items')}[{i}]")
        return found

    return check


def validate_nfs(source: Obj, path: str) -> Errors:
    found = missing(source, path, "server", "path")
    target = source.get("path") or ""
    if not target.startswith("/"):
        found.append(invalid_value(at(path, "path"), target, "must be an absolute path"))
    return found


def _is_host_port(text: str) -> bool:
    """What Go's ``net.SplitHostPort`` takes apart."""
    host, colon, _ = text.rpartition(":")
    if not colon:
        return False
    if host.startswith("["):
        return host.endswith("]") and not set("[]") & set(host[1:-1])
    return not set(":[]") & set(host)


def validate_quobyte(source: Obj, path: str) -> Errors:
    found: Errors = []
    registry, tenant = source.get("registry") or "", source.get("tenant") or ""
    words = "must be a host:port pair or multiple pairs separated by commas"
    if not registry:
        found.append(required(at(path, "registry"), words))
    elif size(tenant) >= 65:
        words = "must be a UUID and may not exceed a length of 64 characters"
        found.append(required(at(path, "tenant"), words))
    else:
        bad = [pair for pair in registry.split(",") if not _is_host_port(pair)]
        found += [invalid_value(at(path, "registry"), registry, words) for _ in bad]
    return found + missing(source, path, "volume")


def validate_flocker(source: Obj, path: str) -> Errors:
    name, uuid, found = source.get("datasetName") or "", source.get("datasetUUID") or "", Errors()
    if not name and not uuid:
        found.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        words = "datasetName and datasetUUID can not be specified simultaneously"
        found.append(invalid_value(path, "resource", words))
    if "/" in name:
        found.append(invalid_value(at(path, "datasetName"), name, "must not contain '/'"))
    return found


def _requires(*fields: str) -> Check:
    return lambda source, path: missing(source, path, *fields)


def secret_reference(source: Obj, path: str, *fields: str) -> Errors:
    """``secretRef`` where it is set."""
    reference = source.get("secretRef")
    return [] if reference is None else missing(reference, at(path, "secretRef"), *fields)


def _cinder(source: Obj, path: str) -> Errors:
    return missing(source, path, "volumeID") + secret_reference(source, path, "name")


def validate_flex(source: Obj, path: str) -> Errors:
    found = missing(source, path, "driver")
    for key in source.get("options") or ():
        namespace = "." + key.split("/", 1)[0].lower()
        if namespace.endswith((".kubernetes.io", ".k8s.io")):
            words = "kubernetes.io and k8s.io namespaces are reserved"
            found.append(invalid_value(f"{at(path, 'options')}[{key}]", key, words))
    return found


_CACHING_MODES = ("None", "ReadOnly", "ReadWrite")
_DISK_KINDS = ("Dedicated", "Managed", "Shared")
_MANAGED_URI = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB_URI = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def validate_azure_disk(source: Obj, path: str) -> Errors:
    found = missing(source, path, "diskName", "diskURI")
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI") or ""
    if caching is not None and caching not in _CACHING_MODES:
        found.append(not_supported(at(path, "cachingMode"), caching, _CACHING_MODES))
    if kind is not None and kind not in _DISK_KINDS:
        found.append(not_supported(at(path, "kind"), kind, _DISK_KINDS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        found.append(not_supported(at(path, "diskURI"), uri, [_MANAGED_URI]))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        found.append(not_supported(at(path, "diskURI"), uri, [_BLOB_URI]))
    return found


def storage_os(source: Obj, path: str, *reference_fields: str) -> Errors:
    name, namespace = source.get("volumeName") or "", source.get("volumeNamespace") or ""
    if not name:
        found = [required(at(path, "volumeName"))]
    else:
        found = invalid_each(at(path, "volumeName"), name, dns_label_problems(name))
    if namespace:
        found += invalid_each(at(path, "volumeNamespace"), namespace, dns_label_problems(namespace))
    return found + secret_reference(source, path, *reference_fields)


def validate_driver_name(name: str, path: str) -> Errors:
    """The name of a CSI driver."""
    if not name:
        return [required(path)]
    found = [too_long(path, 63)] if size(name) > 63 else []
    return found + invalid_each(path, name, dns_subdomain_problems(name.lower()))


def _csi(source: Obj, path: str) -> Errors:
    found = validate_driver_name(source.get("driver") or "", at(path, "driver"))
    reference = source.get("nodePublishSecretRef")
    if reference is not None:
        name = reference.get("name") or ""
        if not name:
            found.append(required(at(path, "nodePublishSecretRef", "name")))
        else:
            found += invalid_each(at(path, "name"), name, dns_subdomain_problems(name))
    return found


def _image(source: Obj, path: str, options: PodOptions) -> Errors:
    found = missing(source, path, "reference") if options.is_pod else []
    return found + image_pull_policy(source.get("pullPolicy") or "", at(path, "pullPolicy"))


_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def image_pull_policy(policy: str, path: str) -> Errors:
    if policy in _PULL_POLICIES:
        return []
    return [not_supported(path, policy, _PULL_POLICIES) if policy else required(path)]


def _empty_dir(source: Obj, path: str) -> Errors:
    limit = source.get("sizeLimit")
    try:
        if limit is None or parse_quantity(limit) >= 0:
            return []
    except QuantityError:
        pass
    return [forbidden_field(at(path, "sizeLimit"), "SizeLimit field must be a valid resource quantity")]


def _ephemeral(source: Obj, path: str) -> Errors:
    from .claims import validate_claim_template

    template = source.get("volumeClaimTemplate")
    if template is None:
        return [required(at(path, "volumeClaimTemplate"))]
    return validate_claim_template(template, at(path, "volumeClaimTemplate"))


def _downward(source: Obj, path: str) -> Errors:
    from .projections import downward_file

    found = file_mode(source.get("defaultMode"), at(path, "defaultMode"))
    for item in source.get("items") or ():
        found += downward_file(item, path)
    return found


def _projected(source: Obj, path: str, options: PodOptions) -> Errors:
    from .projections import validate_projected

    return validate_projected(source, path, options)


_WITH_OPTIONS = {"projected": _projected, "image": _image}

# (field, path that a second source is refused at, path of its own errors, check), in the order that errors come.
_SOURCES: tuple[tuple[str, str, str, Check | None], ...] = (
    ("hostPath", "hostPath", "hostPath", validate_host_path),
    ("gitRepo", "gitRepo", "gitRepo", _git_repo),
    ("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", validate_gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", validate_aws_store),
    ("secret", "secret", "secret", _keyed("secretName")),
    ("nfs", "nfs", "nfs", validate_nfs),
    ("iscsi", "iscsi", "iscsi", _iscsi),
    ("glusterfs", "glusterfs", "glusterfs", _requires("endpoints", "path")),
    ("flocker", "flocker", "flocker", validate_flocker),
    ("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", _requires("claimName")),
    ("rbd", "rbd", "rbd", _requires("monitors", "image")),
    ("cinder", "cinder", "cinder", _cinder),
    ("cephfs", "cephFS", "cephfs", _requires("monitors")),
    ("quobyte", "quobyte", "quobyte", validate_quobyte),
    ("downwardAPI", "downwarAPI", "downwardAPI", _downward),
    ("fc", "fc", "fc", validate_fc),
    ("flexVolume", "flexVolume", "flexVolume", validate_flex),
    ("configMap", "configMap", "configMap", _keyed("name")),
    ("azureFile", "azureFile", "azureFile", _requires("secretName", "shareName")),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", _requires("volumePath")),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", _requires("pdID")),
    ("portworxVolume", "portworxVolume", "portworxVolume", _requires("volumeID")),
    ("azureDisk", "azureDisk", "azureDisk", validate_azure_disk),
    ("storageos", "storageos", "storageos", lambda source, path: storage_os(source, path, "name")),
    ("projected", "projected", "projected", None),
    ("scaleIO", "scaleIO", "scaleIO", _requires("gateway", "system", "volumeName")),
    ("csi", "csi", "csi", _csi),
    ("ephemeral", "ephemeral", "ephemeral", _ephemeral),
    ("image", "image", "image", None),
)


def _validate_source(volume: Obj, path: str, pod_name: str, options: PodOptions) -> Errors:
    found: Errors = []
    name, count = volume.get("name") or "", 0
    if volume.get("emptyDir") is not None:
        count = 1
        found += _empty_dir(volume["emptyDir"], at(path, "emptyDir"))
    for field, taken, own, check in _SOURCES:
        source = volume.get(field)
        if source is None:
            continue
        if count:
            found.append(forbidden_field(at(path, taken), MORE_THAN_ONE))
        else:
            count = 1
            if check is not None:
                found += check(source, at(path, own))
            else:
                found += _WITH_OPTIONS[field](source, at(path, own), options)
            if field == "ephemeral" and pod_name and name:
                claim = f"{pod_name}-{name}"
                for problem in dns_subdomain_problems(claim):
                    found.append(invalid_value(at(path, "name"), name, f'PVC name "{claim}": {problem}'))
        if field == "iscsi" and source.get("initiatorName") is not None:
            if size(f"{name}:{source.get('targetPortal') or ''}") > 64:
                found.append(invalid_value(at(path, "name"), name, ISCSI_TOO_LONG))
    if not count:
        found.append(required(path, "must specify a volume type"))
    return found


def validate_volumes(
    volumes: list[Obj], pod_name: str, path: str, options: PodOptions
) -> tuple[Mapping[str, Any], Errors]:
    """(the volumes that are fit to be mounted, by name, the errors)."""
    found: Errors = []
    good: dict[str, Any] = {}
    created = {f"{pod_name}-{v.get('name') or ''}" for v in volumes if pod_name and v.get("ephemeral") is not None}
    for i, volume in enumerate(volumes):
        here, name = f"{path}[{i}]", volume.get("name") or ""
        errors = _validate_source(volume, here, pod_name, options)
        if not name:
            errors.append(required(f"{here}.name"))
        else:
            errors += invalid_each(f"{here}.name", name, dns_label_problems(name))
        if name in good:
            errors.append(duplicate(f"{here}.name", name))
        if not errors:
            good[name] = volume
        found += errors
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        if volume.get("persistentVolumeClaim") is not None and claim in created:
            words = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(invalid_value(f"{here}.persistentVolumeClaim.claimName", claim, words))
    return good, found
