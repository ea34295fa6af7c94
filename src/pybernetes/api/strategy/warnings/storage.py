"""Warnings about volumes, claims and classes, and about labels of nodes that have other names now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import go_quote
from ...quantity import QuantityError, parse_quantity
from ..base import Obj

_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
STORAGE_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

VOLUME_DEPRECATIONS = (
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
_PV_ORDER = ("cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd")


def field_in_words(field: str) -> str:
    """Upstream's warnings spell one field differently from its name on the wire."""
    return "storageOS" if field == "storageos" else field


def node_label_message(label: str) -> str | None:
    return _NODE_LABELS.get(label)


def selector_term_warnings(path: str, term: Mapping[str, Any], check_values: bool) -> list[str]:
    from ...validation.formats import label_value_problems

    found = []
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key") or ""
        message = node_label_message(key)
        if message:
            found.append(f"{path}.matchExpressions[{i}].key: {key} is {message}")
        if check_values:
            for j, value in enumerate(expression.get("values") or ()):
                for problem in label_value_problems(value):
                    found.append(f"{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {problem}")
    return found


def fractional_warning(path: str, resources: Mapping[str, Any] | None, name: str) -> list[str]:
    """Bytes come whole."""
    value = (resources or {}).get(name)
    if value is None:
        return []
    try:
        milli = parse_quantity(value) * 1000
    except QuantityError:
        return []
    if milli.to_integral_value(rounding="ROUND_CEILING") % 1000 == 0:
        return []
    return [f"{path}[{name}]: fractional byte value {go_quote(str(value))} is invalid, must be an integer"]


def claim_spec_warnings(path: str, spec: Mapping[str, Any]) -> list[str]:
    resources = spec.get("resources") or {}
    return [
        w
        for field in ("requests", "limits")
        for w in fractional_warning(f"{path}.resources.{field}", resources.get(field), "storage")
    ]


def claim_warnings(obj: Obj) -> list[str]:
    found = []
    if STORAGE_CLASS_ANNOTATION in ((obj.get("metadata") or {}).get("annotations") or {}):
        found.append(
            f"metadata.annotations[{STORAGE_CLASS_ANNOTATION}]: deprecated since v1.8; "
            'use "storageClassName" attribute instead'
        )
    return found + claim_spec_warnings("spec", obj.get("spec") or {})


_PV_ANNOTATIONS = (
    (STORAGE_CLASS_ANNOTATION, 'deprecated since v1.8; use "storageClassName" attribute instead'),
    (
        "volume.beta.kubernetes.io/mount-options",
        'deprecated since v1.31; use "mountOptions" attribute instead',
    ),
)


def volume_warnings(obj: Obj) -> list[str]:
    spec = obj.get("spec") or {}
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    found = [f"metadata.annotations[{key}]: {words}" for key, words in _PV_ANNOTATIONS if key in annotations]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning."
        )
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    for i, term in enumerate(required.get("nodeSelectorTerms") or ()):
        found += selector_term_warnings(f"spec.nodeAffinity.required.nodeSelectorTerms[{i}]", term, False)
    words = dict(VOLUME_DEPRECATIONS)
    found += [f"spec.{field_in_words(f)}: {words[f]}" for f in _PV_ORDER if spec.get(f) is not None]
    return found


def storage_class_warnings(obj: Obj) -> list[str]:
    found = []
    for i, topology in enumerate(obj.get("allowedTopologies") or ()):
        for j, expression in enumerate(topology.get("matchLabelExpressions") or ()):
            message = node_label_message(expression.get("key") or "")
            if message:
                found.append(f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {message}")
    return found


def storage_capacity_warnings(obj: Obj) -> list[str]:
    selector = obj.get("nodeTopology")
    if selector is None:
        return []
    found = []
    for i, expression in enumerate(selector.get("matchExpressions") or ()):
        key = expression.get("key") or ""
        if node_label_message(key):
            found.append(f"nodeTopology.matchExpressions[{i}].key: {key} is {node_label_message(key)}")
    for label in selector.get("matchLabels") or ():
        if node_label_message(label):
            found.append(f"nodeTopology.matchLabels.{label}: {node_label_message(label)}")
    return found
