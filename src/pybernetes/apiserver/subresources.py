"""Subresources that are no plain updates of the object: scale, binding, eviction.

Specified by the API reference of Scale, Binding and Eviction; eviction obeys PodDisruptionBudgets ("Disruptions").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ..api.errors import (
    StatusError,
    bad_request,
    conflict,
    forbidden,
    go_quote,
    invalid,
    invalid_value,
    not_supported,
    required,
    timeout,
    too_many_requests,
)
from ..api.meta import Object, get_condition, is_condition_true
from ..api.resources import GVK, POD_DISRUPTION_BUDGETS, parse_api_version
from ..api.selectors import SelectorError, selector_from_object
from ..api.times import to_time
from ..hooks.admission import CREATE, AdmissionAttributes
from .admitting import roll_back
from .body import cannot_be_handled, decode_fields, parse
from .committing import Committer
from .deleting import DeleteOptions, Deleter, checked_delete_options
from .encoding import Entry
from .options import WriteOptions, write_options
from .patching import APPLY, invalid_patch, patch_plain, patch_type
from .registry import Registry, Resource
from .rendering import Renderer
from .request import Request, RequestInfo, Response
from .writing import Writer, options_object

SCALE = GVK("autoscaling", "v1", "Scale")
SUCCESS = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}\n'
_CUSTOM_SCALE_COLUMNS = {
    "additionalPrinterColumns": [
        {
            "name": "Desired",
            "type": "integer",
            "description": "Number of desired replicas",
            "jsonPath": ".spec.replicas",
        },
        {
            "name": "Available",
            "type": "integer",
            "description": "Number of actual replicas",
            "jsonPath": ".status.replicas",
        },
        {"name": "Age", "type": "date", "description": "", "jsonPath": ".metadata.creationTimestamp"},
    ]
}
EVICTION_ATTEMPTS = 20
MAX_DISRUPTED = 2000


class Subresources:
    """Answers the special subresources of one server."""

    def __init__(self, registry: Registry, writer: Writer, deleter: Deleter, renderer: Renderer) -> None:
        self._registry = registry
        self._renderer = renderer
        self._writer = writer
        self._deleter = deleter
        self._committer: Committer = writer.committer
        self.clock = writer.clock

    # -- scale ------------------------------------------------------------------------------------------------------

    async def scale(self, request: Request, info: RequestInfo, resource: Resource) -> Response:
        if info.verb == "get":
            entry = await self._deleter.reader.entry(request, info, resource)
            return await self._scale_answer(request, resource, entry)
        kind = "UpdateOptions" if info.verb == "update" else "PatchOptions"
        options = write_options(request, kind)
        wanted = self._wanted_scale(request, options) if info.verb == "update" else None
        patch = self._scale_patch(request) if info.verb == "patch" else None

        async def make(old: Object) -> Object:
            before = resource.kind.scale_of(old)
            scale = wanted if patch is None else patched_scale(before, *patch)
            assert scale is not None
            self._check_scale(scale, info, resource)
            replicas = (scale.get("spec") or {}).get("replicas") or 0
            new = {**old, "metadata": {**old["metadata"]}}
            if resource.kind.builtin:
                new["spec"] = dict(old.get("spec") or {})
            version = (scale.get("metadata") or {}).get("resourceVersion")
            if version:
                new["metadata"]["resourceVersion"] = version
            else:
                new["metadata"].pop("resourceVersion", None)
            uid = (scale.get("metadata") or {}).get("uid")
            if uid:
                new["metadata"]["uid"] = uid
            resource.kind.apply_scale(new, {"spec": {"replicas": replicas}})
            return new

        entry = await self._writer.change(request, info, resource, make, options, versioned=False)
        return await self._scale_answer(request, resource, entry)

    async def _scale_answer(self, request: Request, resource: Resource, entry: Entry) -> Response:
        scale = resource.kind.scale_of(await self._committer.from_entry(resource, entry))
        if not resource.kind.builtin and not scale["spec"]:
            where = go_quote(resource.kind.replicas_path)
            raise bad_request(f"the spec replicas field {where} does not exist")
        columns = None if resource.kind.builtin else _CUSTOM_SCALE_COLUMNS
        return Response(200, self._renderer.made_up(self._renderer.media(request), SCALE, scale, columns))

    def _wanted_scale(self, request: Request, options: WriteOptions) -> Object:
        scale, _ = parse(request.body, request.headers.get("content-type", ""), "Scale")
        return decode_fields(scale, SCALE)

    @staticmethod
    def _scale_patch(request: Request) -> tuple[str, Any]:
        form = patch_type(request.headers.get("content-type", ""), custom=False)
        if form == APPLY:
            value, _ = parse(request.body, "application/yaml", "Scale")
        else:
            value, _ = parse(request.body, "application/json", "Scale")
        return form, value

    @staticmethod
    def _check_scale(scale: Object, info: RequestInfo, resource: Resource) -> None:
        spec = scale.get("spec")
        replicas = spec.get("replicas", 0) if isinstance(spec, dict) else 0
        name = (scale.get("metadata") or {}).get("name")
        if name and name != info.name:
            raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({info.name})")
        # Of a custom resource the object itself is checked: its path is named.
        if replicas < 0 and resource.kind.builtin:
            error = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid("autoscaling", "Scale", info.name, [error])

    # -- binding ----------------------------------------------------------------------------------------------------

    async def bind(self, request: Request, info: RequestInfo, resource: Resource, name: str = "") -> Response:
        """POST of a Binding to ``pods/NAME/binding`` or to ``bindings``."""
        options = write_options(request, "CreateOptions")
        binding, _ = parse(request.body, request.headers.get("content-type", ""), "Binding")
        binding = decode_fields(binding, GVK("", "v1", "Binding"))
        metadata = binding.get("metadata") or {}
        pod_name = info.name or metadata.get("name") or ""
        if metadata.get("name") != pod_name:
            raise bad_request("name in URL does not match name in Binding object")
        target = binding.get("target") or {}
        self._check_target(target)
        attributes = AdmissionAttributes(
            CREATE, resource.gvr, GVK("", "v1", "Binding"), "binding", info.namespace, pod_name, binding, None,
            request.user, options_object(CREATE, options), options.dry_run,
        )  # fmt: skip
        try:
            await self._writer.admission.admit(attributes)
            await self._writer.admission.validate(attributes)
            await self._assign(info, resource, pod_name, binding, target["name"], options)
        except StatusError as failure:
            await roll_back(attributes, failure)
            raise
        return Response(201, SUCCESS)

    @staticmethod
    def _check_target(target: Mapping[str, Any]) -> None:
        errors = []
        if target.get("kind") not in (None, "", "Node"):
            errors.append(not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
        if not target.get("name"):
            errors.append(required("target.name"))
        if errors:
            raise invalid("", "Binding", "", errors)

    async def _assign(
        self, info: RequestInfo, resource: Resource, name: str, binding: Object, node: str, options: WriteOptions
    ) -> None:
        metadata = binding.get("metadata") or {}
        now = to_time(self.clock.now())

        async def attempt(old: Object) -> Object:
            stored = old["metadata"]
            for field in ("uid", "resourceVersion"):
                given = metadata.get(field)
                if given and given != stored.get(field):
                    label = "UID" if field == "uid" else "ResourceVersion"
                    why = f"Precondition failed: {label} in precondition: {given}, {label} in object meta: {stored.get(field)}"
                    raise conflict("", "pods", name, why)
            return bound(old, binding, node, now)

        await self._committer.update(resource, info.namespace, name, attempt, dry_run=options.dry_run)

    # -- eviction ---------------------------------------------------------------------------------------------------

    async def evict(self, request: Request, info: RequestInfo, resource: Resource) -> Response:
        options = write_options(request, "CreateOptions")
        eviction, _ = parse(request.body, request.headers.get("content-type", ""), "Eviction")
        if not isinstance(eviction, dict):
            raise bad_request("not a Eviction object")
        api_version, kind = str(eviction.get("apiVersion") or "policy/v1"), str(eviction.get("kind") or "Eviction")
        group, version = parse_api_version(api_version)
        if group != "policy" or version not in ("v1", "v1beta1") or kind != "Eviction":
            why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
            raise bad_request(cannot_be_handled(kind, version, "Eviction", why))
        # The old version has the same fields.
        eviction = decode_fields({**eviction, "apiVersion": "policy/v1", "kind": kind}, GVK("policy", "v1", "Eviction"))
        metadata = eviction.get("metadata") or {}
        if metadata.get("name") != info.name:
            raise bad_request("name in URL does not match name in Eviction object")
        wanted = checked_delete_options(eviction.get("deleteOptions") or {})
        wanted.dry_run = wanted.dry_run or options.dry_run
        attributes = AdmissionAttributes(
            CREATE, resource.gvr, GVK("policy", "v1", "Eviction"), "eviction", info.namespace, info.name, eviction, None,
            request.user, options_object(CREATE, options), wanted.dry_run,
        )  # fmt: skip
        await self._writer.admission.admit(attributes)
        await self._writer.admission.validate(attributes)
        await self._evict(request, info, resource, wanted)
        return Response(201, SUCCESS)

    async def _evict(self, request: Request, info: RequestInfo, resource: Resource, wanted: DeleteOptions) -> None:
        given_version = wanted.version
        for _ in range(EVICTION_ATTEMPTS):
            entry = await self._deleter.reader.entry(request, info, resource)
            pod = entry.decode()
            enforce, budget = self._budget(pod)
            if budget is not None:
                await self._charge(pod, budget, wanted.dry_run)
            if enforce and given_version is None:
                wanted.version = pod["metadata"]["resourceVersion"]
            try:
                await self._condemn(request, info, resource, wanted)
                return
            except StatusError as failure:
                if failure.reason != "Conflict" or given_version is not None:
                    raise
                if budget is not None:
                    raise _still_processed(budget) from None
        raise timeout(f"couldn't evict pod {info.name} due to conflicts", 10)

    def _budget(self, pod: Object) -> tuple[bool, Object | None]:
        """(whether the pod must still be in this state when it goes, the budget that must be charged).

        Raises StatusError where several budgets hold the pod.
        """
        status, metadata = pod.get("status") or {}, pod["metadata"]
        phase = status.get("phase")
        ended = phase in ("Succeeded", "Failed") or metadata.get("deletionTimestamp") is not None
        if ended or phase == "Pending":
            return not ended, None
        budgets = self._budgets(pod)
        if len(budgets) > 1:
            message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise StatusError(500, "", message)
        if not budgets:
            return False, None
        budget = budgets[0]
        if not is_condition_true(pod, "Ready"):
            if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
                return True, None
            counts = budget.get("status") or {}
            desired = counts.get("desiredHealthy") or 0
            if desired > 0 and (counts.get("currentHealthy") or 0) >= desired:
                return True, None
        return False, budget

    def _budgets(self, pod: Object) -> list[Object]:
        resource = self._registry.by_gvr(POD_DISRUPTION_BUDGETS)
        if resource is None:
            return []
        labels = pod["metadata"].get("labels") or {}
        found = []
        for entry in resource.cache.select(pod["metadata"].get("namespace", "")):
            try:
                selector = selector_from_object((entry.object.get("spec") or {}).get("selector"))
            except SelectorError:
                continue
            if selector.matches(labels):
                found.append(entry.object)
        return found

    async def _charge(self, pod: Object, budget: Object, dry_run: bool) -> None:
        """Takes one disruption from the budget. Raises StatusError 429 where there is none."""
        resource = self._registry.by_gvr(POD_DISRUPTION_BUDGETS)
        assert resource is not None
        now, name = to_time(self.clock.now()), pod["metadata"]["name"]

        async def attempt(old: Object) -> Object:
            check_budget(old)
            status = dict(old["status"])
            status["disruptionsAllowed"] -= 1
            status["disruptedPods"] = {**(status.get("disruptedPods") or {}), name: now}
            if status["disruptionsAllowed"] == 0:
                status["conditions"] = _no_disruptions(old, now)
            return {**old, "status": status}

        metadata = budget["metadata"]
        await self._committer.update(resource, metadata["namespace"], metadata["name"], attempt, dry_run=dry_run)

    async def _condemn(self, request: Request, info: RequestInfo, resource: Resource, wanted: DeleteOptions) -> None:
        """Says in the pod's status why it goes, and deletes it."""
        if not wanted.dry_run:
            now = to_time(self.clock.now())

            async def attempt(old: Object) -> Object:
                self._deleter.check_preconditions(resource, old, wanted)
                condition = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting",
                }
                return with_condition(old, condition, now)

            entry = await self._committer.update(resource, info.namespace, info.name, attempt)
            if wanted.version is not None:
                wanted.version = str(entry.revision)
        await self._deleter.remove(request, info, resource, info.name, wanted, admit=False)


def patched_scale(scale: Object, form: str, patch: Any) -> Object:
    """The Scale after a patch, its types checked. Raises StatusError 422."""
    new = patch_plain(scale, form, patch)
    try:
        return decode_fields(new, SCALE)
    except StatusError as failure:
        raise invalid_patch(new, failure.message) from None


def bound(pod: Object, binding: Object, node: str, now: str) -> Object:
    """The pod as assigned to a node. Raises StatusError Conflict where it cannot be."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    name, why = metadata["name"], ""
    if metadata.get("deletionTimestamp") is not None:
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise conflict("", "pods/binding", name, why)
    given = binding.get("metadata") or {}
    metadata = dict(metadata)
    for field in ("annotations", "labels"):
        if given.get(field):
            metadata[field] = {**(metadata.get(field) or {}), **given[field]}
    new = {**pod, "metadata": metadata, "spec": {**spec, "nodeName": node}}
    new = with_condition(new, {"type": "PodScheduled", "status": "True"}, now)
    new["status"].pop("nominatedNodeName", None)
    return new


def with_condition(obj: Object, condition: dict[str, Any], now: str) -> Object:
    """The object with this condition; its transition time moves only where its status changes."""
    status = dict(obj.get("status") or {})
    conditions = list(status.get("conditions") or [])
    old = next((c for c in conditions if c.get("type") == condition["type"]), None)
    changed = old is None or old.get("status") != condition["status"]
    moment = now if changed else (old or {}).get("lastTransitionTime")
    new = {
        "type": condition["type"],
        "status": condition["status"],
        "lastProbeTime": None,
        "lastTransitionTime": moment,
    }
    new.update({k: v for k, v in condition.items() if k not in new})
    if old is None:
        conditions.append(new)
    else:
        conditions[conditions.index(old)] = new
    status["conditions"] = conditions
    return {**obj, "status": status}


def check_budget(budget: Object) -> None:
    """Raises StatusError 429 or 403 where the budget allows no disruption now."""
    metadata, status = budget["metadata"], budget.get("status") or {}
    name = metadata["name"]
    if (status.get("observedGeneration") or 0) < (metadata.get("generation") or 0):
        raise _still_processed(budget)
    allowed = status.get("disruptionsAllowed") or 0
    if allowed < 0:
        raise forbidden("policy", "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MAX_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise forbidden("policy", "poddisruptionbudget", name, why)
    if allowed == 0:
        raise _violation(_why_not(budget), 0)


def _why_not(budget: Object) -> str:
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    condition = get_condition(budget, "DisruptionAllowed") or {}
    refused = condition.get("status") == "False" and bool(condition.get("message"))
    current, desired = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
    if refused and condition.get("reason") == "SyncFailed":
        return (
            f"The disruption budget {name} does not allow evicting pods currently because it failed sync: "
            f"{condition['message']}"
        )
    if current <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {current} currently"
    if refused:
        reason, message = condition.get("reason"), condition["message"]
        return f"The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
    return f"The disruption budget {name} does not allow evicting pods currently"


def _violation(cause: str, retry_after: int) -> StatusError:
    failure = too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", retry_after)
    failure.details = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if not retry_after:
        failure.retry_after = None
    return failure


def _still_processed(budget: Object) -> StatusError:
    return _violation(f"The disruption budget {budget['metadata']['name']} is still being processed by the server.", 10)


def _no_disruptions(budget: Object, now: str) -> list[Any]:
    """The budget's conditions when its last disruption was taken."""
    conditions = [dict(c) for c in (budget.get("status") or {}).get("conditions") or []]
    old = next((c for c in conditions if c.get("type") == "DisruptionAllowed"), None)
    if old is None:
        conditions.append(old := {"type": "DisruptionAllowed"})
    moment = old.get("lastTransitionTime") if old.get("status") == "False" else now
    old.update(
        status="False",
        reason="InsufficientPods",
        message="",
        lastTransitionTime=moment,
        observedGeneration=(budget.get("status") or {}).get("observedGeneration") or 0,
    )
    return conditions


def _json(status: int, obj: Object) -> Response:
    return Response(status, orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE))
