"""Which names a definition gets and which conditions it has. Pure; upstream has a controller for each of these.

Specified by the CustomResourceDefinition API reference (status.conditions, status.acceptedNames).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...api.errors import go_quote, invalid_value
from ...api.meta import Object
from ...api.validation.custom import APPROVAL as APPROVAL_ANNOTATION
from ...api.validation.custom import approval_state, is_protected_group
from ...api.validation.custom_schema import structural_errors
from ...api.validation.pem import certificates_problem
from .definition import (
    APPROVAL,
    ESTABLISHED,
    FINALIZER,
    NAMES_ACCEPTED,
    NON_STRUCTURAL,
    TERMINATING,
    condition,
    is_true,
)

Condition = dict[str, Any]


def make(kind: str, status: str, reason: str, message: str) -> Condition:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def with_condition(crd: Object, new: Condition, now: str) -> Object:
    """The definition with a condition set: its time is that of the last change of its status."""
    status = crd.get("status") or {}
    kept = list(status.get("conditions") or ())
    for at, old in enumerate(kept):
        if old.get("type") == new["type"]:
            if all(old.get(k) == v for k, v in new.items()):
                return crd
            same = old.get("status") == new["status"] and old.get("lastTransitionTime")
            kept[at] = _dated(new, old["lastTransitionTime"] if same else now, old)
            break
    else:
        kept.append(_dated(new, now, None))
    return {**crd, "status": {**status, "conditions": kept}}


def _dated(new: Condition, time: str, old: Mapping[str, Any] | None) -> Condition:
    found = {"type": new["type"], "status": new["status"], "lastTransitionTime": time}
    found |= {"reason": new["reason"], "message": new["message"]}
    if old is not None and old.get("observedGeneration") is not None:
        found["observedGeneration"] = old["observedGeneration"]
    return found


def without_condition(crd: Object, kind: str) -> Object:
    status = crd.get("status") or {}
    kept = [c for c in status.get("conditions") or () if c.get("type") != kind]
    return {**crd, "status": {**status, "conditions": kept}}


# -- names -----------------------------------------------------------------------------------------------------------


def taken_names(group: str, others: Iterable[Object]) -> tuple[set[str], set[str]]:
    """(resource names, kinds) that the definitions of a group have got."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for crd in others:
        if (crd.get("spec") or {}).get("group") == group:
            names = (crd.get("status") or {}).get("acceptedNames") or {}
            resources |= {names.get("plural") or "", names.get("singular") or "", *(names.get("shortNames") or ())}
            kinds |= {names.get("kind") or "", names.get("listKind") or ""}
    return resources, kinds


def _conflict(wanted: str, accepted: str, used: set[str]) -> str:
    return "" if wanted == accepted or wanted not in used else f"{go_quote(wanted)} is already in use"


def accept_names(crd: Object, all_definitions: Iterable[Object]) -> tuple[dict[str, Any], Condition, Condition]:
    """(accepted names, NamesAccepted, Established) as the wanted names and those of the others' have it."""
    spec = crd.get("spec") or {}
    wanted, accepted = spec.get("names") or {}, (crd.get("status") or {}).get("acceptedNames") or {}
    resources, kinds = taken_names(spec.get("group") or "", all_definitions)
    names, found = dict(accepted), make(NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found")
    for field, used in (("plural", resources), ("singular", resources), ("shortNames", resources), ("kind", kinds), ("listKind", kinds)):  # fmt: skip
        if field == "shortNames":
            problem = _short_names_conflict(wanted, accepted, used)
        else:
            problem = _conflict(wanted.get(field) or "", accepted.get(field) or "", used)
        if problem:
            reason = field[:1].upper() + field[1:] + "Conflict"
            found = make(NAMES_ACCEPTED, "False", reason, problem)
        else:
            _put(names, field, wanted.get(field))
    _put(names, "categories", wanted.get("categories"))
    established = make(ESTABLISHED, "False", "NotAccepted", "not all names are accepted")
    old = condition(crd, ESTABLISHED)
    if old is not None:
        established = make(ESTABLISHED, old.get("status") or "", old.get("reason") or "", old.get("message") or "")
    if established["status"] != "True" and found["status"] == "True":
        established = make(ESTABLISHED, "False", "Installing", "the initial names have been accepted")
    return names, found, established


def _put(names: dict[str, Any], field: str, value: Any) -> None:
    if value:
        names[field] = value
    elif field in ("plural", "kind"):
        names[field] = ""
    else:
        names.pop(field, None)


def _short_names_conflict(wanted: Mapping[str, Any], accepted: Mapping[str, Any], used: set[str]) -> str:
    mine = set(accepted.get("shortNames") or ())
    problems = [_conflict(name, "", used) for name in wanted.get("shortNames") or () if name not in mine]
    problems = list(dict.fromkeys(p for p in problems if p))
    return problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]" if problems else ""


def settle_names(crd: Object, all_definitions: Callable[[], Iterable[Object]], now: str) -> Object:
    status = crd.get("status") or {}
    wanted = {k: v for k, v in ((crd.get("spec") or {}).get("names") or {}).items() if v}
    if wanted == {k: v for k, v in (status.get("acceptedNames") or {}).items() if v}:
        return crd
    names, accepted, established = accept_names(crd, all_definitions())
    crd = {**crd, "status": {**status, "acceptedNames": names}}
    return with_condition(with_condition(crd, accepted, now), established, now)


# -- the other conditions --------------------------------------------------------------------------------------------


def structural(crd: Object) -> Condition | None:
    """NonStructuralSchema, None where there is nothing to say."""
    spec = crd.get("spec") or {}
    found = []
    if spec.get("preserveUnknownFields"):
        found.append(invalid_value("spec.preserveUnknownFields", True, "must be false"))
    for i, version in enumerate(spec.get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        # Without preserveUnknownFields none is stored that is not structural.
        if schema is not None and found:
            found += structural_errors(schema, f"spec.versions[{i}].schema.openAPIV3Schema")
    if not found:
        return None
    texts = list(dict.fromkeys(map(str, found)))
    return make(NON_STRUCTURAL, "True", "Violations", texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]")


_APPROVALS = {
    "invalid": ("False", "InvalidAnnotation"),
    "missing": ("False", "MissingAnnotation"),
    "approved": ("True", "ApprovedAnnotation"),
    "bypassed": ("False", "UnapprovedAnnotation"),
}


def approval(crd: Object) -> Condition | None:
    """KubernetesAPIApprovalPolicyConformant of groups that the community keeps for itself."""
    if not is_protected_group((crd.get("spec") or {}).get("group") or ""):
        return None
    state, words = approval_state(crd)
    given = ((crd.get("metadata") or {}).get("annotations") or {}).get(APPROVAL_ANNOTATION) or ""
    words = {"approved": f"approved in {given}", "bypassed": f"not approved: {go_quote(given)}"}.get(state, words)
    status, reason = _APPROVALS[state]
    return make(APPROVAL, status, reason, words)


def established(crd: Object) -> Condition:
    conversion = (crd.get("spec") or {}).get("conversion") or {}
    bundle = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("caBundle")
    if bundle and not _is_bundle(bundle):
        return make(ESTABLISHED, "False", "InvalidCABundle", "The conversion webhook CABundle is invalid")
    return make(ESTABLISHED, "True", "InitialNamesAccepted", "the initial names have been accepted")


def _is_bundle(text: str) -> bool:
    try:
        return not certificates_problem(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


def settle(crd: Object, all_definitions: Callable[[], Iterable[Object]], now: str) -> Object:
    """The definition with everything but establishment and termination said: those wait for what is served."""
    approved = approval(crd)
    if approved is not None:
        crd = with_condition(crd, approved, now)
    crd = settle_names(crd, all_definitions, now)
    found = structural(crd)
    if found is not None:
        crd = with_condition(crd, found, now)
    elif condition(crd, NON_STRUCTURAL) is not None:
        crd = without_condition(crd, NON_STRUCTURAL)
    return crd


def may_establish(crd: Object) -> bool:
    return is_true(crd, NAMES_ACCEPTED) and not is_true(crd, ESTABLISHED)


def mark_definition(crd: Object, now: str) -> Object:
    """A definition after the first request to delete it: its instances go first."""
    metadata = {**crd["metadata"], "deletionTimestamp": now}
    finalizers = metadata.get("finalizers") or []
    if FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, FINALIZER]
    words = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    return with_condition(
        {**crd, "metadata": metadata}, make(TERMINATING, "True", "InstanceDeletionPending", words), now
    )
