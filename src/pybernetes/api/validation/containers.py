"""Containers: environment, ports, mounts, devices, probes, hooks, restart rules. Specified by "Containers"."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import duplicate, field_not_found, forbidden_field, invalid_value, not_supported, required, too_many
from .amounts import container_resource_name, validate_requirements
from .env import validate_env, validate_env_from
from .errors import Errors, Obj, invalid_each
from .formats import NEGATIVE_WORDS, dns_label_problems, header_name_problems, port_name_problems, port_number_problems
from .mounts import validate_devices, validate_mounts
from .options import PodOptions
from .security import container_context
from .volumes import image_pull_policy

PROTOCOLS = ("SCTP", "TCP", "UDP")


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the checks of a container need to know of its pod."""

    volumes: Mapping[str, Any]
    claims: Collection[str]
    restart_policy: str
    grace_period: int | None
    operating_system: Obj | None
    host_users: bool
    options: PodOptions


def port_or_name(port: Any, path: str) -> Errors:
    """An IntOrString port."""
    if isinstance(port, str):
        return invalid_each(path, port, port_name_problems(port))
    number = port or 0
    return invalid_each(path, number, port_number_problems(number))


def _ports(ports: list[Obj], path: str) -> Errors:
    found: Errors = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        here, name, protocol = f"{path}[{i}]", port.get("name") or "", port.get("protocol") or ""
        if name:
            problems = port_name_problems(name)
            if problems:
                found += invalid_each(f"{here}.name", name, problems)
            elif name in names:
                found.append(duplicate(f"{here}.name", name))
            else:
                names.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            found.append(required(f"{here}.containerPort"))
        else:
            found += invalid_each(f"{here}.containerPort", number, port_number_problems(number))
        if host:
            found += invalid_each(f"{here}.hostPort", host, port_number_problems(host))
        if not protocol:
            found.append(required(f"{here}.protocol"))
        elif protocol not in PROTOCOLS:
            found.append(not_supported(f"{here}.protocol", protocol, PROTOCOLS))
    return found


def host_port_conflicts(containers: list[Obj], path: str) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if key in seen:
                found.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", key))
            seen.add(key)
    return found


_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")


def validate_common(container: Obj, path: str, pod: PodFacts) -> Errors:
    """What every container is checked for, be it initial, main or ephemeral."""
    name, policy = container.get("name") or "", container.get("terminationMessagePolicy") or ""
    found = invalid_each(f"{path}.name", name, dns_label_problems(name)) if name else [required(f"{path}.name")]
    if not container.get("image"):
        found.append(required(f"{path}.image"))
    if not policy:
        found.append(required(f"{path}.terminationMessagePolicy"))
    elif policy not in _MESSAGE_POLICIES:
        found.append(not_supported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES))
    found += _ports(container.get("ports") or [], f"{path}.ports")
    found += validate_env(container.get("env") or [], f"{path}.env")
    found += validate_env_from(container.get("envFrom") or [], f"{path}.envFrom")
    found += validate_mounts(container, pod.volumes, f"{path}.volumeMounts")
    found += validate_devices(container, pod.volumes, f"{path}.volumeDevices")
    found += image_pull_policy(container.get("imagePullPolicy") or "", f"{path}.imagePullPolicy")
    resources = container.get("resources")
    if resources:
        found += validate_requirements(
            resources,
            f"{path}.resources",
            pod.claims,
            container_resource_name,
            lax_hugepages=pod.options.lax_hugepages,
        )
    found += _resize_policy(container.get("resizePolicy") or [], f"{path}.resizePolicy", pod.restart_policy)
    return found + container_context(container.get("securityContext"), f"{path}.securityContext", pod.host_users)


_RESIZED, _RESIZE_POLICIES = ("cpu", "memory"), ("NotRequired", "RestartContainer")


def _resize_policy(policies: list[Obj], path: str, restart_policy: str) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        name, action = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if name in seen:
            found.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)
        for value, known in ((name, _RESIZED), (action, _RESIZE_POLICIES)):
            if not value:
                found.append(required(path))
            elif value not in known:
                found.append(not_supported(path, value, known))
        if restart_policy == "Never" and action != "NotRequired":
            words = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            found.append(invalid_value(path, action, words))
    return found


def _handler(handler: Obj, path: str, pod: PodFacts, *, probe: bool) -> Errors:
    found: Errors = []
    last = ("grpc", _grpc) if probe else ("sleep", _sleep)
    count = 0
    for field, check in (("exec", _exec), ("httpGet", _http_get), ("tcpSocket", _tcp_socket), last):
        action = handler.get(field)
        if action is None:
            continue
        if count:
            found.append(forbidden_field(f"{path}.{field}", "may not specify more than 1 handler type"))
        else:
            count = 1
            found += check(action, f"{path}.{field}", pod)
    return found if count else [required(path, "must specify a handler type")]


def _exec(action: Obj, path: str, pod: PodFacts) -> Errors:
    return [] if action.get("command") else [required(f"{path}.command")]


def _http_get(action: Obj, path: str, pod: PodFacts) -> Errors:
    found = [] if action.get("path") else [required(f"{path}.path")]
    found += port_or_name(action.get("port"), f"{path}.port")
    scheme = action.get("scheme") or ""
    if scheme not in ("HTTP", "HTTPS"):
        found.append(not_supported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        found += invalid_each(f"{path}.httpHeaders", name, header_name_problems(name))
    return found


def _tcp_socket(action: Obj, path: str, pod: PodFacts) -> Errors:
    return port_or_name(action.get("port"), f"{path}.port")


def _grpc(action: Obj, path: str, pod: PodFacts) -> Errors:
    return port_or_name(action.get("port") or 0, f"{path}.port")


def _sleep(action: Obj, path: str, pod: PodFacts) -> Errors:
    seconds, grace = action.get("seconds") or 0, pod.grace_period
    if grace is None or 0 <= seconds <= grace:
        return []
    return [invalid_value(path, seconds, f"must be non-negative and less than terminationGracePeriodSeconds ({grace})")]


_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def _probe(probe: Obj, path: str, pod: PodFacts, kind: str) -> Errors:
    found = _handler(probe, path, pod, probe=True)
    for field in _PROBE_NUMBERS:
        number = probe.get(field) or 0
        if number < 0:
            found.append(invalid_value(f"{path}.{field}", number, NEGATIVE_WORDS))
    grace, where = probe.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds"
    if grace is not None and grace <= 0:
        found.append(invalid_value(where, grace, "must be greater than 0"))
    successes = probe.get("successThreshold") or 0
    if kind == "readinessProbe":
        if grace is not None:
            found.append(invalid_value(where, grace, "must not be set for readinessProbes"))
    elif successes != 1:
        found.append(invalid_value(f"{path}.successThreshold", successes, "must be 1"))
    return found


_SIGNAL_NAMES = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT STOP SYS "
    "TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
)
_LINUX_SIGNALS = sorted(
    [f"SIG{name}" for name in _SIGNAL_NAMES.split()]
    + [f"SIGRTMIN+{i}" for i in range(1, 16)]
    + [f"SIGRTMAX-{i}" for i in range(1, 15)]
)
_WINDOWS_SIGNALS = ["SIGKILL", "SIGTERM"]


def _lifecycle(lifecycle: Obj, path: str, pod: PodFacts) -> Errors:
    found: Errors = []
    for field in ("postStart", "preStop"):
        if lifecycle.get(field) is not None:
            found += _handler(lifecycle[field], f"{path}.{field}", pod, probe=False)
    signal = lifecycle.get("stopSignal")
    if signal is not None:
        if pod.operating_system is None:
            words = "may not be set for containers with empty `spec.os.name`"
            found.append(forbidden_field(f"{path}.stopSignal", words))
        else:
            name = pod.operating_system.get("name")
            known = {"linux": _LINUX_SIGNALS, "windows": _WINDOWS_SIGNALS}.get(name or "")
            if known is not None and signal not in known:
                found.append(not_supported(f"{path}.stopSignal", signal, known))
    return found


def _hooks_and_probes(container: Obj, path: str, pod: PodFacts) -> Errors:
    found: Errors = []
    if container.get("lifecycle") is not None:
        found += _lifecycle(container["lifecycle"], f"{path}.lifecycle", pod)
    for kind in _PROBES:
        if container.get(kind) is not None:
            found += _probe(container[kind], f"{path}.{kind}", pod, kind)
    return found


_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RULE_ACTIONS = ("Restart", "RestartAllContainers")


def _restart_policy(container: Obj, path: str) -> Errors:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    found: Errors = []
    if policy is None:
        if not rules:
            return found
        found.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    elif policy not in _RESTART_POLICIES:
        found.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if len(rules) > 20:
        found.append(too_many(f"{path}.restartPolicyRules", len(rules), 20))
    for i, rule in enumerate(rules):
        here, codes = f"{path}.restartPolicyRules[{i}]", rule.get("exitCodes")
        if rule.get("action") not in _RULE_ACTIONS:
            found.append(not_supported(f"{here}.action", rule.get("action") or "", _RULE_ACTIONS))
        if codes is None:
            found.append(required(f"{here}.exitCodes", "must be specified"))
            continue
        if codes.get("operator") not in ("In", "NotIn"):
            found.append(not_supported(f"{here}.exitCodes.operator", codes.get("operator") or "", ("In", "NotIn")))
        if len(codes.get("values") or ()) > 255:
            found.append(too_many(f"{here}.exitCodes.values", len(codes["values"]), 255))
    return found


def validate_containers(containers: list[Obj], path: str, pod: PodFacts) -> Errors:
    if not containers:
        return [required(path)]
    found: Errors = []
    names: set[str] = set()
    for i, container in enumerate(containers):
        here, name = f"{path}[{i}]", container.get("name") or ""
        found += validate_common(container, here, pod)
        if name in names:
            found.append(duplicate(f"{here}.name", name))
        names.add(name)
        found += _hooks_and_probes(container, here, pod)
        found += _restart_policy(container, here)
    return found + host_port_conflicts(containers, path)


def validate_init_containers(containers: list[Obj], path: str, others: Collection[str], pod: PodFacts) -> Errors:
    found: Errors = []
    names = set(others)
    for i, container in enumerate(containers):
        here, name = f"{path}[{i}]", container.get("name") or ""
        found += validate_common(container, here, pod)
        policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules")
        if policy is not None or rules:
            found += _init_restart_policy(container, here)
        if name in names:
            found.append(duplicate(f"{here}.name", name))
        elif name:
            names.add(name)
        found += host_port_conflicts([container], path)
        if policy == "Always":
            found += _hooks_and_probes(container, here, pod)
        else:
            words = "may not be set for init containers without restartPolicy=Always"
            fields = ("lifecycle", *_PROBES)
            found += [forbidden_field(f"{here}.{f}", words) for f in fields if container.get(f) is not None]
        if policy != "Always" and not pod.options.lax_init_resize:
            for j, rule in enumerate(container.get("resizePolicy") or ()):
                if rule.get("restartPolicy") == "RestartContainer":
                    words = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                    where = f"{here}.resizePolicy[{j}].restartPolicy"
                    found.append(invalid_value(where, "RestartContainer", words))
    return found


def _init_restart_policy(container: Obj, path: str) -> Errors:
    if container.get("restartPolicy") is None:
        return [required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")]
    return _restart_policy(container, path)


_NOT_EPHEMERAL = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


def _is_set(field: str, value: Any) -> bool:
    """A pointer to an empty struct is one; an empty list is none, and resources are always there."""
    return value is not None if isinstance(value, dict) and field != "resources" else bool(value)


def validate_ephemeral_containers(containers: list[Obj], path: str, others: Collection[str], pod: PodFacts) -> Errors:
    found: Errors = []
    names = set(others)
    for i, container in enumerate(containers):
        here, name = f"{path}[{i}]", container.get("name") or ""
        found += validate_common(container, here, pod) + trimmed_image(container, here)
        if name in names:
            found.append(duplicate(f"{here}.name", name))
        names.add(name)
        target = container.get("targetContainerName") or ""
        if target and target not in others:
            found.append(field_not_found(f"{here}.targetContainerName", target))
        words = "cannot be set for an Ephemeral Container"
        found += [forbidden_field(f"{here}.{f}", words) for f in _NOT_EPHEMERAL if _is_set(f, container.get(f))]
        for j, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    found.append(forbidden_field(f"{here}.volumeMounts[{j}].{field}", words))
    return found


def trimmed_image(container: Obj, path: str) -> Errors:
    image = container.get("image") or ""
    if image == image.strip():
        return []
    return [invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace")]
