"""Pods: creation, what may change afterwards through which door, binding."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..errors import forbidden_field, go_quote, invalid_value, not_supported, required
from ..pod_resources import qos_class
from ..strategy.base import semantically_equal
from .affinity import REQUIRED, validate_tolerations
from .containers import trimmed_image
from .diffs import diff
from .errors import Errors, Obj, sorted_map
from .formats import range_words
from .go_values import go_value, same
from .kube_meta import validate_meta, validate_meta_update
from .meta import subdomain_name
from .options import NEW_POD, PodOptions
from .pod_annotations import MIRROR, annotation_changes, pod_annotations, profiles_match
from .pod_spec import MAX_INT32, options_for, validate_pod_spec
from .pod_status import validate_pod_status

_TERM = "core.NodeSelectorTerm"
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _annotations(pod: Mapping[str, Any]) -> dict[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _whole(pod: Obj, options: PodOptions) -> Errors:
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    found = validate_meta(metadata, True, subdomain_name)
    found += pod_annotations(_annotations(pod), spec, "metadata.annotations", options)
    found += validate_pod_spec(spec, metadata, "spec", options)
    if not spec.get("serviceAccountName"):
        for i, volume in enumerate(spec.get("volumes") or ()):
            for j, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    where = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                    words = "must not be specified when serviceAccountName is not set"
                    found.append(forbidden_field(where, words))
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            found += trimmed_image(container, f"spec.{field}[{i}]")
    return found


def validate_pod(pod: Obj) -> Errors:
    found = _whole(pod, NEW_POD)
    spec = pod.get("spec") or {}
    if spec.get("ephemeralContainers"):
        found.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        words = "cannot be set until all schedulingGates have been cleared"
        found.append(forbidden_field("spec.nodeName", words))
    return found + profiles_match(_annotations(pod), spec, "spec")


def _options(new: Obj, old: Obj) -> PodOptions:
    return options_for(new.get("spec") or {}, old.get("spec") or {}, _annotations(old), is_pod=True)


def _common_update(new: Obj, old: Obj) -> Errors:
    options = _options(new, old)
    found = validate_meta_update(new, old) + _whole(new, options)
    return found + _annotation_update(new, old, options)


def _annotation_update(new: Obj, old: Obj, options: PodOptions) -> Errors:
    path = "metadata.annotations"
    found = annotation_changes(_annotations(new), _annotations(old), path)
    return found + pod_annotations(_annotations(new), new.get("spec") or {}, path, options)


def _container_lists(new: list[Obj], old: list[Obj], path: str) -> tuple[Errors, bool]:
    if len(new) != len(old):
        return [forbidden_field(path, "pod updates may not add or remove containers")], True
    found: Errors = []
    for i, container in enumerate(new):
        if not container.get("image"):
            found.append(required(f"{path}[{i}].image"))
        found += trimmed_image(container, f"{path}[{i}]")
    return found, False


def validate_pod_update(new: Obj, old: Obj) -> Errors:
    """The main endpoint: images, a shorter deadline, more tolerations, fewer gates; nothing else of the spec."""
    found = _common_update(new, old)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        errors, stop = _container_lists(spec.get(field) or [], before.get(field) or [], f"spec.{field}")
        found += errors
        if stop:
            return found
    errors, stop = _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    found += errors
    if stop:
        return found
    found += _tolerations(spec, before, _options(new, old))
    found += _fewer_gates(spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    if same(spec, before, "core.PodSpec"):
        return found
    munged = _with_allowed_changes_undone(spec, before)
    if before.get("schedulingGates"):
        found += _gated_changes(munged, before)
    if not same(munged, before, "core.PodSpec"):
        words = f"pod updates may not change fields other than {_UPDATABLE}\n{diff(before, munged, 'core.PodSpec')}"
        found.append(forbidden_field("spec", words))
    return found


def _deadline(new: int | None, old: int | None) -> tuple[Errors, bool]:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        if old is None:
            return [], False
        return [invalid_value(path, None, "must not update from a positive integer to nil value")], False
    if not 0 <= new <= MAX_INT32:
        return [invalid_value(path, new, range_words(0, MAX_INT32))], True
    if old is not None and old < new:
        return [invalid_value(path, new, "must be less than or equal to previous value")], True
    return [], False


def _tolerations(spec: Obj, before: Obj, options: PodOptions) -> Errors:
    wanted = spec.get("tolerations") or []
    bare = [{k: v for k, v in t.items() if k != "tolerationSeconds"} for t in wanted]
    for toleration in before.get("tolerations") or ():
        if {k: v for k, v in toleration.items() if k != "tolerationSeconds"} not in bare:
            words = "existing toleration can not be modified except its tolerationSeconds"
            return [forbidden_field("spec.tolerations", words)]
    return validate_tolerations(wanted, "spec.tolerations", options.comparing_tolerations)


def _fewer_gates(new: list[Obj], old: list[Obj]) -> Errors:
    known = {gate.get("name") for gate in old}
    return [
        forbidden_field(
            f"spec.schedulingGates[{i}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name') or ''}'",
        )
        for i, gate in enumerate(new)
        if gate.get("name") not in known
    ]


def _with_allowed_changes_undone(spec: Obj, before: Obj) -> Obj:
    munged = copy.deepcopy(spec)
    for field in ("containers", "initContainers"):
        for container, stored in zip(munged.get(field) or (), before.get(field) or (), strict=True):
            _restore(container, stored, "image")
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _restore(munged, before, field)
    grace = before.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and munged.get("terminationGracePeriodSeconds") == 1:
        munged["terminationGracePeriodSeconds"] = grace
    return munged


def _restore(obj: Obj, stored: Mapping[str, Any], field: str) -> None:
    if stored.get(field) is None:
        obj.pop(field, None)
    else:
        obj[field] = stored[field]


def _gated_changes(munged: Obj, before: Obj) -> Errors:
    """A gated pod's node selector and required node affinity may become narrower. Undoes what is allowed."""
    found: Errors = []
    wanted, stored = munged.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if wanted != stored:
        if any(wanted.get(key) != value for key, value in stored.items()):
            words = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            found.append(invalid_value("spec.nodeSelector", sorted_map(munged.get("nodeSelector")), words))
        _restore(munged, before, "nodeSelector")
    affinity, old_affinity = munged.get("affinity"), before.get("affinity")
    nodes, old_nodes = (affinity or {}).get("nodeAffinity"), (old_affinity or {}).get("nodeAffinity")
    if not semantically_equal(nodes, old_nodes):
        found += _narrower(nodes, old_nodes)
        if affinity is None:
            munged["affinity"] = {"nodeAffinity": old_nodes}
        elif old_affinity is None and not any(affinity.get(k) for k in ("podAffinity", "podAntiAffinity")):
            munged.pop("affinity")
        else:
            _restore(affinity, {"nodeAffinity": old_nodes}, "nodeAffinity")
    return found


def _narrower(new: Obj | None, old: Obj | None) -> Errors:
    stored = (old or {}).get(REQUIRED)
    if stored is None:
        return []
    path = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    before = stored.get("nodeSelectorTerms") or []
    after = ((new or {}).get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if before and len(before) != len(after):
        words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid_value(path, [go_value(t, _TERM) for t in after] or None, words)]
    words = "only additions are allowed (no mutations or deletions)"
    return [
        invalid_value(f"{path}[{i}]", go_value(after[i], _TERM), words)
        for i, term in enumerate(before)
        if not _only_additions(after[i], term)
    ]


def _only_additions(new: Obj, old: Obj) -> bool:
    parts = ("matchExpressions", "matchFields")
    if not any(old.get(p) for p in parts):
        return not any(new.get(p) for p in parts)
    for part in parts:
        stored = old.get(part) or []
        if not semantically_equal((new.get(part) or [])[: len(stored)], stored):
            return False
    return True


def validate_pod_status_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old) + _annotation_update(new, old, _options(new, old))
    return found + validate_pod_status(new, old)


def validate_ephemeral_update(new: Obj, old: Obj) -> Errors:
    """``/ephemeralcontainers``: containers come, and never go or change."""
    found = _common_update(new, old)
    if MIRROR in _annotations(old):
        return [forbidden_field("", "static pods do not support ephemeral containers")]
    path = "spec.ephemeralContainers"
    wanted = {c.get("name") or "": c for c in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    for stored in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = stored.get("name") or ""
        if name not in wanted:
            words = f"existing ephemeral containers {go_quote(name)} may not be removed\n"
            found.append(forbidden_field(path, words))
        elif not semantically_equal(stored, wanted[name]):
            words = f"existing ephemeral containers {go_quote(name)} may not be changed\n"
            found.append(forbidden_field(path, words + diff(stored, wanted[name], "core.EphemeralContainer")))
    return found


def validate_resize(new: Obj, old: Obj) -> Errors:
    """``/resize``: CPU and memory of containers, sidecars and the pod, within the same quality of service."""
    found = _common_update(new, old)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if MIRROR in _annotations(old):
        return [forbidden_field("", "static pods cannot be resized")]
    if (before.get("os") or {}).get("name") == "windows":
        return [forbidden_field("", "windows pods cannot be resized")]
    stored_class = (old.get("status") or {}).get("qosClass") or qos_class(before)
    if stored_class != qos_class(spec):
        words = "Pod QOS Class may not change as a result of resizing"
        found.append(invalid_value("spec", (new.get("status") or {}).get("qosClass") or "", words))
    if not _node_resizes(old):
        found.append(forbidden_field("spec", "Pod running on node without support for resize"))
    munged = copy.deepcopy(spec)
    own = (spec.get("resources"), before.get("resources"))
    if any(r and (r.get("requests") or r.get("limits")) for r in own):
        found += _resize_pod_level(own[0], own[1], munged)
    if (old.get("status") or {}).get("nodeAllocatableResourceClaimStatuses"):
        found.append(forbidden_field("spec", "pods with node allocatable resource claims cannot be resized"))
    ordering = _same_containers(spec, before)
    if ordering:
        return found + ordering
    found += _removed_resources(spec, before) + _resized_containers(munged, spec, before)
    if not found and not semantically_equal(munged, before):
        found.append(forbidden_field("spec", "only cpu and memory resources are mutable"))
    return found


def _node_resizes(pod: Obj) -> bool:
    for entry in (pod.get("status") or {}).get("containerStatuses") or ():
        if (entry.get("state") or {}).get("running") is not None:
            return entry.get("resources") is not None
    return True


def _same_containers(spec: Obj, before: Obj) -> Errors:
    found: Errors = []
    for field in ("containers", "initContainers"):
        wanted, stored = spec.get(field) or [], before.get(field) or []
        if len(wanted) != len(stored):
            found.append(forbidden_field(f"spec.{field}", f"{field} may not be added or removed on resize"))
            continue
        for i, container in enumerate(stored):
            if wanted[i].get("name") != container.get("name"):
                words = f"{field} may not be renamed or reordered on resize"
                found.append(forbidden_field(f"spec.{field}[{i}].name", words))
    return found


def _lost(new: Obj | None, old: Obj | None, part: str) -> bool:
    wanted, stored = ((r or {}).get(part) or {} for r in (new, old))
    return any(name not in wanted for name in stored)


def _removed_resources(spec: Obj, before: Obj) -> Errors:
    found: Errors = []
    for field in ("initContainers", "containers"):
        for i, stored in enumerate(before.get(field) or ()):
            wanted = spec[field][i].get("resources")
            path = f"spec.{field}[{i}].resources"
            for part in ("requests", "limits"):
                if _lost(wanted, stored.get("resources"), part):
                    found.append(forbidden_field(f"{path}.{part}", f"resource {part} cannot be removed"))
    return found


def _undo_compute(resources: Obj, stored: Obj | None) -> Obj:
    """``resources`` with CPU and memory as stored."""
    restored: Obj = {k: v for k, v in resources.items() if k not in ("requests", "limits")}
    for part in ("limits", "requests"):
        values = {k: v for k, v in (resources.get(part) or {}).items() if k not in ("cpu", "memory")}
        known = (stored or {}).get(part) or {}
        values.update({k: known[k] for k in ("cpu", "memory") if k in known})
        if values:
            restored[part] = values
    return restored


def _resize_pod_level(wanted: Obj | None, stored: Obj | None, munged: Obj) -> Errors:
    if stored is not None and wanted is None:
        return [forbidden_field("spec.resources", "pod-level resources cannot be removed")]
    found: Errors = []
    for part in ("requests", "limits"):
        if stored is not None and _lost(wanted, stored, part):
            words = f"pod-level resource {part} cannot be removed"
            found.append(forbidden_field(f"spec.resources.{part}", words))
    _restore(munged, {"resources": _undo_compute(wanted or {}, stored) or stored}, "resources")
    if not semantically_equal(munged.get("resources"), stored):
        found.append(forbidden_field("spec", "only cpu and memory resources are mutable at pod-level"))
    return found


def _resized_containers(munged: Obj, spec: Obj, before: Obj) -> Errors:
    found: Errors = []
    for i, container in enumerate(munged.get("containers") or ()):
        stored = before["containers"][i]
        container["resources"] = _only_amounts(_undo_compute(container.get("resources") or {}, stored.get("resources")))
        if not semantically_equal(container, stored):
            found.append(forbidden_field("spec", "only cpu and memory resources are mutable"))
    for i, container in enumerate(munged.get("initContainers") or ()):
        stored = before["initContainers"][i]
        changed = not semantically_equal(container, stored)
        path = f"spec.initContainers[{i}]"
        container["resources"] = _only_amounts(_undo_compute(container.get("resources") or {}, stored.get("resources")))
        if not semantically_equal(container, stored):
            words = "only cpu and memory resources for init or sidecar containers are mutable"
            found.append(forbidden_field(path, words))
        if changed and container.get("restartPolicy") != "Always":
            words = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
            policies = container.get("resizePolicy") or ()
            found += [forbidden_field(path, words) for p in policies if p.get("restartPolicy") == "RestartContainer"]
    return found


def _only_amounts(resources: Obj) -> Obj:
    return {part: resources[part] for part in ("limits", "requests") if part in resources}


def validate_binding(binding: Obj) -> Errors:
    """What a scheduler posts to ``/binding``."""
    target = binding.get("target") or {}
    found: Errors = []
    if target.get("kind") not in (None, "", "Node"):
        found.append(not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        found.append(required("target.name"))
    return found


CREATE = {("", "pods"): validate_pod}
UPDATE = {
    ("", "pods", ""): validate_pod_update,
    ("", "pods", "status"): validate_pod_status_update,
    ("", "pods", "ephemeralcontainers"): validate_ephemeral_update,
    ("", "pods", "resize"): validate_resize,
}
