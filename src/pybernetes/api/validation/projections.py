"""Projected volumes and the downward API: what they take from where, into which file."""

from __future__ import annotations

from typing import Any

from ..errors import forbidden_field, invalid_value, not_supported, required
from .errors import Errors, Obj, at, invalid_each, missing
from .formats import dns_subdomain_problems, qualified_name_problems
from .meta import validate_label_selector
from .options import NEW_POD, PodOptions
from .paths import file_mode, local_not_reserved
from .signers import is_kubernetes_signer, signer_name, validate_user_annotations
from .volumes import MORE_THAN_ONE, key_to_path

_RESOURCE_FIELDS = tuple(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_HUGEPAGE_FIELDS = ("limits.hugepages-", "requests.hugepages-")
_VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_POD_FIELDS = {*_VOLUME_FIELDS, *ENV_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
_DIVISORS = {"1", *(f"1{unit}" for unit in "kMGTPE"), *(f"1{unit}i" for unit in "KMGTPE")}
_DIVISOR_WORDS = (
    "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {} resource"
)


def field_reference(reference: Obj, path: str, allowed: tuple[str, ...]) -> Errors:
    """A field of the pod: ``metadata.labels['key']``, ``status.podIP`` ..."""
    for field in ("apiVersion", "fieldPath"):
        if not reference.get(field):
            return [required(at(path, field))]
    version, text, where = reference["apiVersion"], reference["fieldPath"], at(path, "fieldPath")
    if version != "v1":
        words = f"error converting fieldPath: unsupported pod version: {version}"
        return [invalid_value(where, text, words)]
    base, bracket, rest = text.partition("['")
    if text.endswith("']") and bracket and base:
        key = rest[:-2]
        if base == "metadata.annotations":
            return invalid_each(path, key.lower(), qualified_name_problems(key.lower()))
        if base == "metadata.labels":
            return invalid_each(path, key, qualified_name_problems(key))
        words = f"error converting fieldPath: field label does not support subscript: {text}"
        return [invalid_value(where, text, words)]
    known = "spec.nodeName" if text == "spec.host" else text
    if known not in _POD_FIELDS:
        return [invalid_value(where, text, f"error converting fieldPath: field label not supported: {text}")]
    return [] if known in allowed else [not_supported(where, known, sorted(allowed))]


def resource_reference(reference: Obj, path: str, in_volume: bool) -> Errors:
    """An amount of a container's requests or limits."""
    found: Errors = []
    name = reference.get("resource") or ""
    if in_volume and not reference.get("containerName"):
        found.append(required(at(path, "containerName")))
    elif not name:
        found.append(required(at(path, "resource")))
    elif name not in _RESOURCE_FIELDS and not name.startswith(_HUGEPAGE_FIELDS):
        found.append(not_supported(at(path, "resource"), name, _RESOURCE_FIELDS))
    return found + _divisor(name, reference.get("divisor"), at(path, "divisor"))


def _divisor(name: str, divisor: Any, path: str) -> Errors:
    text = str(divisor or "0")
    if text == "0":
        return []
    if name in ("limits.cpu", "requests.cpu"):
        if text not in ("1m", "1"):
            words = "only divisor's values 1m and 1 are supported with the cpu resource"
            return [invalid_value(path, name, words)]
        return []
    kinds = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}
    kind = kinds.get(name.partition(".")[2]) if name in _RESOURCE_FIELDS else None
    if kind is None and name.startswith(_HUGEPAGE_FIELDS):
        kind = "hugepages"
    if kind is None or text in _DIVISORS:
        return []
    return [invalid_value(path, name, _DIVISOR_WORDS.format(kind))]


def downward_file(item: Obj, path: str) -> Errors:
    """One file of a downward API volume; errors stand at the volume, not at the item."""
    found = missing(item, path, "path") + local_not_reserved(item.get("path") or "", at(path, "path"))
    field, amount = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        found += field_reference(field, at(path, "fieldRef"), _VOLUME_FIELDS)
        if amount is not None:
            words = "fieldRef and resourceFieldRef can not be specified simultaneously"
            found.append(invalid_value(path, "resource", words))
    elif amount is not None:
        found += resource_reference(amount, at(path, "resourceFieldRef"), True)
    else:
        found.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return found + file_mode(item.get("mode"), at(path, "mode"))


class _Projection:
    """The sources of one projected volume; their files may not meet."""

    def __init__(self, path: str, options: PodOptions) -> None:
        self._path = path
        self._options = options
        self._taken: set[str] = set()

    def _take(self, target: str, shown: str) -> Errors:
        if target in self._taken:
            return [invalid_value(self._path, shown, "conflicting duplicate paths")]
        self._taken.add(target)
        return []

    def source(self, source: Obj, path: str) -> Errors:
        found: Errors = []
        kinds = (
            ("secret", self._keyed),
            ("configMap", self._keyed),
            ("downwardAPI", self._downward),
            ("serviceAccountToken", self._token),
            ("clusterTrustBundle", self._bundle),
            ("podCertificate", self._certificate),
        )
        given = [(kind, check) for kind, check in kinds if source.get(kind) is not None]
        for kind, check in given:
            found += check(source[kind], at(path, kind))
        if len(given) > 1:
            found.append(forbidden_field(path, MORE_THAN_ONE + " per source"))
        return found

    def _keyed(self, source: Obj, path: str) -> Errors:
        found = missing(source, path, "name")
        for i, item in enumerate(source.get("items") or ()):
            found += key_to_path(item, f"{at(path, 'items')}[{i}]")
            if item.get("path"):
                found += self._take(item["path"], source.get("name") or "")
        return found

    def _downward(self, source: Obj, path: str) -> Errors:
        found: Errors = []
        for item in source.get("items") or ():
            found += downward_file(item, path)
            if item.get("path"):
                found += self._take(item["path"], item["path"])
        return found

    def _token(self, source: Obj, path: str) -> Errors:
        found: Errors = []
        seconds, where = source.get("expirationSeconds") or 0, at(path, "expirationSeconds")
        if seconds < 600:
            found.append(invalid_value(where, seconds, "may not specify a duration less than 10 minutes"))
        if seconds > 1 << 32:
            found.append(invalid_value(where, seconds, "may not specify a duration larger than 2^32 seconds"))
        target = source.get("path") or ""
        if not target:
            found.append(required(at(self._path, "path")))
        elif not self._options.lax_token_paths:
            found += local_not_reserved(target, at(self._path, "path"))
        return found

    def _bundle(self, source: Obj, path: str) -> Errors:
        name, signer, selector = source.get("name"), source.get("signerName"), source.get("labelSelector")
        found: Errors = []
        if name is not None and signer is not None:
            found.append(invalid_value(path, source, "only one of name and signerName may be used"))
        elif name is not None:
            if not name:
                found.append(required(at(path, "name"), "must be a valid object name"))
            for problem in bundle_name_problems(name):
                words = f"not a valid clustertrustbundlename: {problem}"
                found.append(invalid_value(at(path, "name"), name, words))
            if selector is not None:
                words = "labelSelector must be unset if name is specified"
                found.append(invalid_value(at(path, "labelSelector"), selector, words))
        elif signer is not None:
            if not signer:
                found.append(required(at(path, "signerName"), "must be a valid signer name"))
            found += signer_name(signer, at(path, "signerName"))
            found += validate_label_selector(selector, at(path, "labelSelector"))
        else:
            found.append(required(path, "either name or signerName must be specified"))
        target = source.get("path") or ""
        found += missing(source, path, "path") + local_not_reserved(target, at(path, "path"))
        return found + self._take(target, target)

    def _certificate(self, source: Obj, path: str) -> Errors:
        signer = source.get("signerName") or ""
        found = signer_name(signer, at(path, "signerName"))
        if source.get("userAnnotations") is not None:
            found += validate_user_annotations(source["userAnnotations"], at(path, "userAnnotations"))
        kind = source.get("keyType") or ""
        if kind not in _KEY_TYPES:
            found.append(not_supported(at(path, "keyType"), kind, _KEY_TYPES))
        seconds, where = source.get("maxExpirationSeconds"), at(path, "maxExpirationSeconds")
        if seconds is not None:
            most = 86400 if is_kubernetes_signer(signer) else 91 * 86400
            if seconds < 3600:
                found.append(invalid_value(where, seconds, "if provided, maxExpirationSeconds must be >= 3600"))
            if seconds > most:
                words = f"if provided, maxExpirationSeconds must be <= {most}"
                found.append(invalid_value(where, seconds, words))
        targets = ("credentialBundlePath", "keyPath", "certificateChainPath")
        for field in targets:
            if source.get(field):
                found += local_not_reserved(source[field], at(path, field)) + self._take(source[field], source[field])
        if not any(source.get(field) for field in targets):
            words = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
            found.append(required(path, words))
        return found


_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")


def bundle_name_problems(name: str) -> list[str]:
    """The name of a ClusterTrustBundle: ``example.com:signer:name``, or a name without a signer."""
    return dns_subdomain_problems(name.rpartition(":")[2])


def validate_projected(source: Obj, path: str, options: PodOptions = NEW_POD) -> Errors:
    found = file_mode(source.get("defaultMode"), at(path, "defaultMode"))
    projection = _Projection(path, options)
    for i, entry in enumerate(source.get("sources") or ()):
        found += projection.source(entry, f"{at(path, 'sources')}[{i}]")
    return found
