"""LimitRanger: defaults and bounds for what containers, pods and claims ask for. Specified by the "Limit Ranges" page.

The annotation and the messages are those of ``plugin/pkg/admission/limitranger``.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ...api.meta import Object, is_deleting
from ...api.pod_resources import pod_limits, pod_requests
from ...api.quantity import QuantityError, canonical_quantity, format_quantity, parse_quantity
from ...api.resources import GVR, LIMIT_RANGES
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes
from .base import Plugin, is_pod, refuse

ANNOTATION = "kubernetes.io/limit-ranger"


class _Amounts:
    """A ResourceList of which the numbers and the texts are needed."""

    def __init__(self, texts: Mapping[str, Any] | None = None, numbers: Mapping[str, Decimal] | None = None) -> None:
        self._texts = texts or {}
        self._numbers = numbers

    def number(self, name: str) -> Decimal | None:
        if self._numbers is not None:
            return self._numbers.get(name)
        value = self._texts.get(name)
        try:
            return parse_quantity(value) if value is not None else None
        except QuantityError:
            return None

    def text(self, name: str) -> str:
        if self._numbers is not None:
            form = "BinarySI" if name not in ("cpu", "pods") else "DecimalSI"
            return format_quantity(self._numbers[name], form)
        return canonical_quantity(self._texts[name])


_NOTHING = _Amounts()


def _minimum(kind: str, name: str, bound: str, request: _Amounts, limit: _Amounts) -> str:
    enforced, asked, limited = parse_quantity(bound), request.number(name), limit.number(name)
    head = f"minimum {name} usage per {kind} is {canonical_quantity(bound)}"
    if asked is None:
        return f"{head}.  No request is specified"
    if asked < enforced:
        return f"{head}, but request is {request.text(name)}"
    if limited is not None and limited < enforced:
        return f"{head}, but limit is {limit.text(name)}"
    return ""


def _maximum_request(kind: str, name: str, bound: str, request: _Amounts) -> str:
    asked = request.number(name)
    head = f"maximum {name} usage per {kind} is {canonical_quantity(bound)}"
    if asked is None:
        return f"{head}.  No request is specified"
    return f"{head}, but request is {request.text(name)}" if asked > parse_quantity(bound) else ""


def _maximum(kind: str, name: str, bound: str, request: _Amounts, limit: _Amounts) -> str:
    enforced, asked, limited = parse_quantity(bound), request.number(name), limit.number(name)
    head = f"maximum {name} usage per {kind} is {canonical_quantity(bound)}"
    if limited is None:
        return f"{head}.  No limit is specified"
    if limited > enforced:
        return f"{head}, but limit is {limit.text(name)}"
    if asked is not None and asked > enforced:
        return f"{head}, but request is {request.text(name)}"
    return ""


def _ratio(kind: str, name: str, bound: str, request: _Amounts, limit: _Amounts) -> str:
    asked, limited = request.number(name), limit.number(name)
    head = f"{name} max limit to request ratio per {kind} is {canonical_quantity(bound)}"
    if not asked:
        return f"{head}, but no request is specified or request is 0"
    if not limited:
        return f"{head}, but no limit is specified or limit is 0"
    ratio = limited / asked
    return f"{head}, but provided ratio is {float(ratio):.6f}" if ratio > parse_quantity(bound) else ""


def _check(limit: Mapping[str, Any], kind: str, request: _Amounts, limits: _Amounts) -> list[str]:
    problems = []
    for field, check in (("min", _minimum), ("max", _maximum), ("maxLimitRequestRatio", _ratio)):
        for name, bound in sorted((limit.get(field) or {}).items()):
            problems.append(check(kind, name, bound, request, limits))
    return [p for p in problems if p]


def pod_problems(limit_range: Object, pod: Object) -> list[str]:
    """What of the pod is outside the bounds."""
    spec = pod.get("spec") or {}
    problems: list[str] = []
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        kind = limit.get("type")
        if kind == "Container":
            for field in ("containers", "initContainers"):
                for container in spec.get(field) or ():
                    resources = container.get("resources") or {}
                    request, limits = _Amounts(resources.get("requests")), _Amounts(resources.get("limits"))
                    problems += _check(limit, kind, request, limits)
        elif kind == "Pod":
            request, limits = _Amounts(numbers=pod_requests(spec)), _Amounts(numbers=pod_limits(spec))
            problems += _check(limit, kind, request, limits)
    return problems


def claim_problems(limit_range: Object, claim: Object) -> list[str]:
    requests = _Amounts(((claim.get("spec") or {}).get("resources") or {}).get("requests"))
    problems: list[str] = []
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        kind = limit.get("type")
        if kind == "PersistentVolumeClaim":
            problems += [_minimum(kind, n, b, requests, _NOTHING) for n, b in sorted((limit.get("min") or {}).items())]
            problems += [_maximum_request(kind, n, b, requests) for n, b in sorted((limit.get("max") or {}).items())]
    return [p for p in problems if p]


def _fill(container: dict[str, Any], field: str, defaults: Mapping[str, str]) -> list[str]:
    resources = container.get("resources") or {}
    present = resources.get(field) or {}
    added = sorted(k for k in defaults if k not in present)
    if added:
        resources[field] = {**present, **{k: defaults[k] for k in added}}
        container["resources"] = resources
    return added


def set_defaults(limit_range: Object, pod: Object) -> None:
    """Fills in what containers leave open, and notes on the pod what was set."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        if limit.get("type") == "Container":
            requests.update(limit.get("defaultRequest") or {})
            limits.update(limit.get("default") or {})
    if not requests and not limits:
        return
    notes = []
    for field, word in (("containers", "container"), ("initContainers", "init container")):
        for container in (pod.get("spec") or {}).get(field) or ():
            set_limits = _fill(container, "limits", limits)
            set_requests = _fill(container, "requests", requests)
            name = container.get("name")
            if set_requests:
                notes.append(f"{', '.join(set_requests)} request for {word} {name}")
            if set_limits:
                notes.append(f"{', '.join(set_limits)} limit for {word} {name}")
    if notes:
        meta = pod.setdefault("metadata", {})
        text = "LimitRanger plugin set: " + "; ".join(notes)
        meta["annotations"] = {**(meta.get("annotations") or {}), ANNOTATION: text}


class LimitRanger(Plugin):
    name = "LimitRanger"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if is_pod(gvr):
            return (operation == CREATE and not subresource) or (operation == UPDATE and subresource == "resize")
        return (
            gvr.resource == "persistentvolumeclaims"
            and not gvr.group
            and not subresource
            and operation in (CREATE, UPDATE)
        )

    async def admit(self, attributes: AdmissionAttributes) -> None:
        if not is_pod(attributes.gvr) or attributes.object is None or is_deleting(attributes.old_object or {}):
            return
        for limit_range in self.reader.list(LIMIT_RANGES, attributes.namespace):
            set_defaults(limit_range, attributes.object)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        obj = attributes.object
        if obj is None or is_deleting(attributes.old_object or {}):
            return
        check = pod_problems if is_pod(attributes.gvr) else claim_problems
        for limit_range in self.reader.list(LIMIT_RANGES, attributes.namespace):
            problems = list(dict.fromkeys(check(limit_range, obj)))
            if problems:
                raise refuse(attributes, problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]")
