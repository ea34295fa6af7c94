"""Status of pods: what kubelets and the scheduler may report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from .affinity import qualified
from .errors import Errors, Obj, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, size, user_id_problems
from .ip_formats import is_dual_stack, legacy_ip
from .meta import immutable

_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def validate_pod_status(new: Obj, old: Obj) -> Errors:
    status, before = new.get("status") or {}, old.get("status") or {}
    spec, stored_spec = new.get("spec") or {}, old.get("spec") or {}
    found = _conditions(status.get("conditions") or [])
    if spec.get("nodeName") != stored_spec.get("nodeName"):
        found.append(forbidden_field("status.nodeName", "may not be changed directly"))
    found += _nominated(status.get("nominatedNodeName") or "", before.get("nominatedNodeName") or "", stored_spec)
    generation = status.get("observedGeneration") or 0
    if generation < 0:
        found.append(invalid_value("status.observedGeneration", generation, "must be a non-negative integer"))
    found += immutable(status.get("qosClass") or "", before.get("qosClass") or "", "status.qosClass")
    found += _transitions(status, before, stored_spec)
    found += _claim_statuses(status.get("resourceClaimStatuses") or [], spec)
    found += _extended_claim(status.get("extendedResourceClaimStatus"), spec)
    found += _pod_ips(status, before) + _host_ips(status, before)
    os_name = (spec.get("os") or {}).get("name") or "linux"
    for field in _LISTS:
        found += _users(status.get(field) or [], f"status.{field}", os_name)
    found += _allocated(status, spec, "containerStatuses", "containers")
    found += _allocated(status, spec, "initContainerStatuses", "initContainers")
    for i, entry in enumerate(status.get("ephemeralContainerStatuses") or ()):
        if entry.get("allocatedResourcesStatus"):
            where = f"status.ephemeralContainerStatuses[{i}].allocatedResourcesStatus"
            found.append(forbidden_field(where, "must not be specified in container status"))
    return found


def _conditions(conditions: list[Obj]) -> Errors:
    found: Errors = []
    for i, condition in enumerate(conditions):
        generation, kind = condition.get("observedGeneration") or 0, condition.get("type") or ""
        here = f"status.conditions[{i}]"
        if generation < 0:
            found.append(invalid_value(f"{here}.observedGeneration", generation, "must be a non-negative integer"))
        if kind not in _SYSTEM_CONDITIONS:
            found += qualified(kind, f"{here}.Type")
    return found


def _nominated(name: str, before: str, spec: Obj) -> Errors:
    if not name or name == before:
        return []
    path = "status.nominatedNodeName"
    found = invalid_each(path, name, dns_subdomain_problems(name))
    if spec.get("nodeName"):
        found.append(forbidden_field(path, "may not be set on pods that are already bound to a node"))
    return found


def _restarts_everything(spec: Mapping[str, Any]) -> bool:
    """Whether some container's rules may restart the whole pod."""
    return any(
        rule.get("action") == "RestartAllContainers"
        for field in ("containers", "initContainers")
        for container in spec.get(field) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _rule_action(container: Mapping[str, Any], code: int) -> str:
    """What the first rule that matches an exit code does."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes")
        if codes is not None and codes.get("operator") in ("In", "NotIn"):
            if (code in (codes.get("values") or ())) == (codes["operator"] == "In"):
                return rule.get("action") or ""
    return ""


def _restarts(container: Mapping[str, Any], spec: Mapping[str, Any], code: int) -> bool:
    """Whether a container that ended with this code runs again: its rules, its policy, the pod's policy."""
    policy = container.get("restartPolicy")
    if policy is not None and _rule_action(container, code) in ("Restart", "RestartAllContainers"):
        return True
    policy = policy or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _transitions(status: Obj, before: Obj, spec: Obj) -> Errors:
    """A container that has ended stays ended, unless its restart policy says otherwise."""
    found: Errors = []
    everything = _restarts_everything(spec)
    for field, containers in zip(_LISTS, ("containers", "initContainers", ""), strict=True):
        if everything and containers:
            continue
        running = {e.get("name") for e in status.get(field) or () if (e.get("state") or {}).get("terminated") is None}
        specs = {c.get("name"): c for c in spec.get(containers) or ()}
        for i, entry in enumerate(before.get(field) or ()):
            ended = (entry.get("state") or {}).get("terminated")
            name = entry.get("name")
            if ended is None or name not in running:
                continue
            container = specs.get(name)
            if container is not None and _restarts(container, spec, ended.get("exitCode") or 0):
                continue
            words = "may not be transitioned to non-terminated state"
            found.append(forbidden_field(f"status.{field}[{i}].state", words))
    return found


def _claim_statuses(statuses: list[Obj], spec: Obj) -> Errors:
    known = {c.get("name") for c in spec.get("resourceClaims") or ()}
    found: Errors = []
    seen: set[str] = set()
    for i, entry in enumerate(statuses):
        here, name, claim = (
            f"status.resourceClaimStatuses[{i}]",
            entry.get("name") or "",
            entry.get("resourceClaimName"),
        )
        if name not in known:
            words = "must match the name of an entry in `spec.resourceClaims`"
            found.append(invalid_value(f"{here}.name", name, words))
        if name in seen:
            found.append(duplicate(f"{here}.name", name))
        seen.add(name)
        if claim is not None:
            found += invalid_each(f"{here}.resourceClaimName", claim, dns_subdomain_problems(claim))
    return found


def _extended_claim(status: Obj | None, spec: Obj) -> Errors:
    if status is None:
        return []
    path = "status.extendedResourceClaimStatus"
    containers = {c.get("name") or "": c for f in ("initContainers", "containers") for c in spec.get(f) or ()}
    mappings = status.get("requestMappings") or []
    found = [] if mappings else [required(f"{path}.requestMappings", "at least one request mapping is required")]
    seen: set[tuple[str, ...]] = set()
    for i, mapping in enumerate(mappings):
        here = f"{path}.requestMappings[{i}]"
        fields = ("containerName", "resourceName", "requestName")
        container, resource, request = key = tuple(mapping.get(f) or "" for f in fields)
        if container not in containers:
            words = "must match the name of an entry in spec.initContainers.name or spec.containers.name"
            found.append(invalid_value(f"{here}.containerName", container, words))
        elif resource not in ((containers[container].get("resources") or {}).get("requests") or {}):
            words = (
                "must match the extended resource name of an entry in spec.initContainers.resources.requests or "
                "spec.containers.resources.requests"
            )
            found.append(invalid_value(f"{here}.resourceName", resource, words))
        found += invalid_each(f"{path}.requestName", request, dns_label_problems(request))
        if key in seen:
            found += [duplicate(f"{here}.{field}", value) for field, value in zip(fields, key, strict=True)]
        seen.add(key)
    name = status.get("resourceClaimName") or ""
    if not name:
        return [*found, required(f"{path}.resourceClaimName")]
    return found + invalid_each(f"{path}.resourceClaimName", name, dns_subdomain_problems(name))


def _addresses(entries: list[Obj], before: list[Obj], path: str) -> Errors:
    known = [e.get("ip") or "" for e in before]
    addresses = [e.get("ip") or "" for e in entries]
    found: Errors = []
    for i, address in enumerate(addresses):
        found += legacy_ip(address, f"{path}[{i}]", known)
    if len(addresses) > 1 and (not is_dual_stack(addresses) or len(addresses) > 2):
        shown = [{"IP": a} for a in addresses]
        found.append(invalid_value(path, shown, "may specify no more than one IP for each IP family"))
    return found


def _pod_ips(status: Obj, before: Obj) -> Errors:
    return _addresses(status.get("podIPs") or [], before.get("podIPs") or [], "status.podIPs")


def _host_ips(status: Obj, before: Obj) -> Errors:
    entries = status.get("hostIPs") or []
    if not entries:
        return []
    first = entries[0].get("ip") or ""
    found: Errors = []
    if (status.get("hostIP") or "") != first:
        found.append(invalid_value("status.hostIPs[0].ip", first, "must be equal to `hostIP`"))
    return found + _addresses(entries, before.get("hostIPs") or [], "status.hostIPs")


def _users(statuses: list[Obj], path: str, os_name: str) -> Errors:
    found: Errors = []
    for i, entry in enumerate(statuses):
        linux = (entry.get("user") or {}).get("linux")
        here = f"{path}[{i}].user.linux"
        if linux is None:
            continue
        if os_name == "windows":
            found.append(forbidden_field(here, "cannot be set for a windows pod"))
        elif os_name == "linux":
            for field in ("uid", "gid"):
                number = linux.get(field) or 0
                found += invalid_each(f"{here}.{field}", number, user_id_problems(number))
            for j, number in enumerate(linux.get("supplementalGroups") or ()):
                found += invalid_each(f"{here}.supplementalGroups[{j}]", number, user_id_problems(number))
    return found


_HEALTH = ("Healthy", "Unhealthy", "Unknown")


def _allocated(status: Obj, spec: Obj, field: str, containers: str) -> Errors:
    specs = {c.get("name"): c.get("resources") or {} for c in spec.get(containers) or ()}
    found: Errors = []
    for i, entry in enumerate(status.get(field) or ()):
        for j, allocated in enumerate(entry.get("allocatedResourcesStatus") or ()):
            path = f"status.{field}[{i}].allocatedResourcesStatus[{j}]"
            if entry.get("name") in specs:
                found += _known_resource(allocated.get("name") or "", specs[entry.get("name")], path)
            found += _resource_health(allocated.get("resources") or [], path)
    return found


def _known_resource(name: str, resources: Obj, path: str) -> Errors:
    if name.startswith("claim:"):
        claims = resources.get("claims") or ()
        known = {f"claim:{c.get('name') or ''}" + (f"/{c['request']}" if c.get("request") else "") for c in claims}
        words = (
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or "
            "'claim:<claimName>' if request is empty"
        )
    else:
        known = set(resources.get("requests") or ())
        words = "must match one of the container's resource requests"
    return [] if name in known else [invalid_value(f"{path}.name", name, words)]


def _resource_health(resources: list[Obj], path: str) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for k, resource in enumerate(resources):
        here, message = f"{path}.resources[{k}]", resource.get("message")
        if resource.get("health") not in _HEALTH:
            found.append(not_supported(f"{here}.health", resource.get("health") or "", _HEALTH))
        if message is not None:
            if not message:
                found.append(required(f"{here}.message", "must be non-empty if specified"))
            elif size(message) > 1024:
                found.append(too_long(f"{here}.message", 1024))
        key = resource.get("resourceID") or ""
        if key in seen:
            found.append(duplicate(f"{here}.resourceID", key))
        seen.add(key)
    return found
