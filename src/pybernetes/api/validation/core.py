"""The core group's plain kinds: namespaces, config maps, secrets, accounts, nodes, templates, replication controllers."""

from __future__ import annotations

import base64
import binascii
import re

import orjson

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from ..selectors import selector_from_map
from .affinity import validate_taints
from .amounts import validate_amount
from .errors import Errors, Obj, invalid_each, sorted_map
from .formats import config_key_problems, dns_label_problems, dns_subdomain_problems, size
from .ip_formats import is_dual_stack, legacy_cidr
from .kube_meta import finalizer_name, validate_meta, validate_meta_update
from .meta import NameRule, immutable, label_name, nonnegative, subdomain_name
from .pod_spec import template_options, validate_pod_template

MAX_DATA = 1024 * 1024
_IMMUTABLE = "field is immutable when `immutable` is set"


# Namespaces


def _namespace(namespace: Obj) -> Errors:
    found = validate_meta(namespace.get("metadata") or {}, False, label_name)
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or ():
        found += finalizer_name(finalizer, "spec.finalizers")
    return found


def _namespace_status(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    phase = (new.get("status") or {}).get("phase") or ""
    deleted = (new.get("metadata") or {}).get("deletionTimestamp") is not None
    if not deleted and phase != "Active":
        words = "may only be 'Active' if `deletionTimestamp` is empty"
        found.append(invalid_value("status.Phase", phase, words))
    if deleted and phase != "Terminating":
        words = "may only be 'Terminating' if `deletionTimestamp` is not empty"
        found.append(invalid_value("status.Phase", phase, words))
    return found


def _namespace_finalize(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    for i, finalizer in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        found += finalizer_name(finalizer, f"spec.finalizers[{i}]")
    return found


# ConfigMaps and Secrets


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "")
    except (binascii.Error, ValueError):
        return b""


def _config_map(config: Obj) -> Errors:
    found = validate_meta(config.get("metadata") or {}, True, subdomain_name)
    data, binary = config.get("data") or {}, config.get("binaryData") or {}
    total = 0
    for key, value in data.items():
        found += invalid_each(f"data[{key}]", key, config_key_problems(key))
        if key in binary:
            found.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
        total += size(value or "")
    for key, value in binary.items():
        found += invalid_each(f"binaryData[{key}]", key, config_key_problems(key))
        total += len(_decoded(value))
    if total > MAX_DATA:
        found.append(too_long("", MAX_DATA))
    return found


def _kept(new: Obj, old: Obj, *fields: str) -> Errors:
    """What an immutable ConfigMap or Secret keeps."""
    if not old.get("immutable"):
        return []
    found = [] if new.get("immutable") else [forbidden_field("immutable", _IMMUTABLE)]
    return found + [forbidden_field(f, _IMMUTABLE) for f in fields if new.get(f) != old.get(f)]


def _config_map_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _kept(new, old, "data", "binaryData") + _config_map(new)


_SECRET_KEYS = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def _secret(secret: Obj) -> Errors:
    metadata, data = secret.get("metadata") or {}, secret.get("data") or {}
    found = validate_meta(metadata, True, subdomain_name)
    for key in data:
        found += invalid_each(f"data[{key}]", key, config_key_problems(key))
    if sum(len(_decoded(value)) for value in data.values()) > MAX_DATA:
        found.append(too_long("data", MAX_DATA))
    kind = secret.get("type") or ""
    if kind == "kubernetes.io/service-account-token":
        if not (metadata.get("annotations") or {}).get(_ACCOUNT_NAME):
            found.append(required(f"metadata.annotations[{_ACCOUNT_NAME}]"))
    elif kind in _SECRET_KEYS:
        found += _docker_config(data, _SECRET_KEYS[kind])
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            found += [required("data[username]"), required("data[password]")]
    elif kind == "kubernetes.io/ssh-auth":
        if not _decoded(data.get("ssh-privatekey")):
            found.append(required("data[ssh-privatekey]"))
    elif kind == "kubernetes.io/tls":
        found += [required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
    return found


def _docker_config(data: Obj, key: str) -> Errors:
    if key not in data:
        return [required(f"data[{key}]")]
    words = _json_problem(_decoded(data[key]))
    return [invalid_value(f"data[{key}]", "<secret contents redacted>", words)] if words else []


def _json_problem(content: bytes) -> str:
    """What Go's decoder says of content that is no JSON object; the commonest cases word for word."""
    if not content.strip():
        return "unexpected end of JSON input"
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as failure:
        if failure.pos >= len(content):
            return "unexpected end of JSON input"
        char = content[failure.pos : failure.pos + 1].decode("latin-1")
        return f"invalid character '{char}' looking for beginning of value"
    if value is None or isinstance(value, dict):
        return ""
    kinds = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}
    return f"json: cannot unmarshal {kinds[type(value)]} into Go value of type map[string]interface {{}}"


def _secret_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old) + immutable(new.get("type") or "", old.get("type") or "", "type")
    return found + _kept(new, old, "data") + _secret(new)


# Service accounts


def _account(account: Obj) -> Errors:
    return validate_meta(account.get("metadata") or {}, True, subdomain_name)


def _account_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _account(new)


# Nodes

_FEATURE = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*")


def _declared_features(features: list[str]) -> Errors:
    found: Errors = []
    for i, feature in enumerate(features):
        here = f"status.declaredFeatures[{i}]"
        name = f'invalid feature name "{feature}": '
        if size(feature) > 253:
            found.append(invalid_value(here, feature, f"{name}must be no more than 253 characters"))
        elif not _FEATURE.fullmatch(feature):
            words = (
                "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature "
                "or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            )
            found.append(invalid_value(here, feature, name + words))
        if i + 1 < len(features):
            later, where = features[i + 1], f"status.declaredFeatures[{i + 1}]"
            if feature == later:
                found.append(duplicate(where, later))
            elif feature > later:
                found.append(invalid_value(where, later, "list must be sorted alphabetically"))
    return found


def _node_amounts(status: Obj) -> Errors:
    found: Errors = []
    for field in ("capacity", "allocatable"):
        for name, value in (status.get(field) or {}).items():
            found += validate_amount(name, value, f"status.{field}.{name}")
    return found


def _node(node: Obj) -> Errors:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    found = validate_meta(node.get("metadata") or {}, False, subdomain_name)
    found += validate_taints(spec.get("taints") or [], "metadata.taints")
    found += _node_amounts(status)
    capacity = ((status.get("nodeInfo") or {}).get("swap") or {}).get("capacity")
    if capacity is not None and capacity <= 0:
        words = "must be greater than zero"
        found.append(invalid_value("metadata.nodeSwapStatus.capacity", capacity, words))
    found += _declared_features(status.get("declaredFeatures") or [])
    cidrs = spec.get("podCIDRs") or []
    for i, cidr in enumerate(cidrs):
        found += legacy_cidr(cidr, f"spec.podCIDRs[{i}]")
    if len(cidrs) > 1 and (not is_dual_stack(cidrs) or len(cidrs) > 2):
        found.append(invalid_value("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"))
    return found


def _node_update(new: Obj, old: Obj) -> Errors:
    """Upstream says twice what both its checks look at."""
    return _node(new) + _node_change(new, old)


def _node_change(new: Obj, old: Obj) -> Errors:
    spec, before, status = new.get("spec") or {}, old.get("spec") or {}, new.get("status") or {}
    found = validate_meta_update(new, old) + _node_amounts(status)
    found += _declared_features(status.get("declaredFeatures") or [])
    seen: list[tuple[str, str]] = []
    for i, address in enumerate(status.get("addresses") or ()):
        key = (address.get("type") or "", address.get("address") or "")
        if key in seen:
            found.append(duplicate(f"status.addresses[{i}]", {"Type": key[0], "Address": key[1]}))
        seen.append(key)
    stored, wanted = before.get("podCIDRs") or [], spec.get("podCIDRs") or []
    if stored:
        words = 'node updates may not change podCIDR except from "" to valid'
        count = 1 if len(stored) != len(wanted) else sum(a != b for a, b in zip(stored, wanted, strict=True))
        found += [forbidden_field("spec.podCIDRs", words)] * count
    if before.get("providerID") and before["providerID"] != (spec.get("providerID") or ""):
        words = 'node updates may not change providerID except from "" to valid'
        found.append(forbidden_field("spec.providerID", words))
    if spec.get("configSource") is not None:
        found += _config_source(spec["configSource"], "spec.configSource", in_status=False)
    for field in ("assigned", "active", "lastKnownGood"):
        source = (status.get("config") or {}).get(field)
        if source is not None:
            found += _config_source(source, f"status.config.{field}", in_status=True)
    found += validate_taints(spec.get("taints") or [], "metadata.taints")
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        found.append(forbidden_field("spec.externalID", "may not be updated"))
    return found


def _config_source(source: Obj, path: str, *, in_status: bool) -> Errors:
    reference = source.get("configMap")
    if reference is None:
        words = "exactly one reference subfield must be non-nil"
        return [invalid_value(path, {"ConfigMap": None}, words)]
    here, found = f"{path}.configMap", Errors()
    for field in ("uid", "resourceVersion"):
        if in_status and not reference.get(field):
            found.append(required(f"{here}.{field}"))
        if not in_status and reference.get(field):
            found.append(forbidden_field(f"{here}.{field}", f"{field} must not be set in spec"))
    rules = (
        ("namespace", dns_label_problems),
        ("name", dns_subdomain_problems),
        ("kubeletConfigKey", config_key_problems),
    )
    for field, check in rules:
        value = reference.get(field) or ""
        found += invalid_each(f"{here}.{field}", value, check(value)) if value else [required(f"{here}.{field}")]
    return found


# Pod templates and replication controllers


def _pod_template(template: Obj) -> Errors:
    found = validate_meta(template.get("metadata") or {}, True, subdomain_name)
    inner = template.get("template") or {}
    return found + validate_pod_template(inner, "template", template_options(inner, None))


def _pod_template_update(new: Obj, old: Obj) -> Errors:
    inner, before = new.get("template") or {}, old.get("template") or {}
    found = validate_meta_update(new, old)
    return found + validate_pod_template(inner, "template", template_options(inner, before))


def _long_name(rule: NameRule) -> NameRule:
    """Kinds with declarative name checks do not look at generateName."""
    return lambda name, prefix: [] if prefix else rule(name, prefix)


def _controller(controller: Obj) -> Errors:
    found = validate_meta(controller.get("metadata") or {}, True, _long_name(subdomain_name))
    return found + _controller_spec(controller.get("spec") or {}, None)


def _controller_spec(spec: Obj, old: Obj | None) -> Errors:
    found = nonnegative(spec.get("minReadySeconds") or 0, "spec.minReadySeconds")
    selector = spec.get("selector") or {}
    if not selector:
        found.append(required("spec.selector"))
    if spec.get("replicas") is None:
        found.append(required("spec.replicas"))
    else:
        found += nonnegative(spec["replicas"], "spec.replicas")
    template, path = spec.get("template"), "spec.template"
    if template is None:
        return [*found, required(path)]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and not selector_from_map(selector).matches(labels):
        words = "`selector` does not match template `labels`"
        found.append(invalid_value(f"{path}.metadata.labels", sorted_map(labels) or None, words))
    found += validate_pod_template(template, path, template_options(template, (old or {}).get("template")))
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        found.append(not_supported(f"{path}.spec.restartPolicy", pod.get("restartPolicy") or "", ["Always"]))
    if pod.get("activeDeadlineSeconds") is not None:
        words = "activeDeadlineSeconds in ReplicationController is not Supported"
        found.append(forbidden_field(f"{path}.spec.activeDeadlineSeconds", words))
    return found


def _controller_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _controller_spec(new.get("spec") or {}, old.get("spec") or {})


def _controller_status(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + replica_status(new.get("status") or {})


def replica_status(status: Obj) -> Errors:
    """Counts of a ReplicationController or ReplicaSet."""
    found: Errors = []
    fields = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    for field in (*fields, "observedGeneration"):
        found += nonnegative(status.get(field) or 0, f"status.{field}")
    total = status.get("replicas") or 0
    for field in fields[1:]:
        if (status.get(field) or 0) > total:
            found.append(
                invalid_value(f"status.{field}", status.get(field) or 0, "cannot be greater than status.replicas")
            )
    available = status.get("availableReplicas") or 0
    if available > (status.get("readyReplicas") or 0):
        found.append(invalid_value("status.availableReplicas", available, "cannot be greater than readyReplicas"))
    return found


CREATE = {
    ("", "namespaces"): _namespace,
    ("", "configmaps"): _config_map,
    ("", "secrets"): _secret,
    ("", "serviceaccounts"): _account,
    ("", "nodes"): _node,
    ("", "podtemplates"): _pod_template,
    ("", "replicationcontrollers"): _controller,
}
UPDATE = {
    ("", "namespaces", ""): validate_meta_update,
    ("", "namespaces", "status"): _namespace_status,
    ("", "namespaces", "finalize"): _namespace_finalize,
    ("", "configmaps", ""): _config_map_update,
    ("", "secrets", ""): _secret_update,
    ("", "serviceaccounts", ""): _account_update,
    ("", "nodes", ""): _node_update,
    ("", "nodes", "status"): _node_change,
    ("", "podtemplates", ""): _pod_template_update,
    ("", "replicationcontrollers", ""): _controller_update,
    ("", "replicationcontrollers", "status"): _controller_status,
}
