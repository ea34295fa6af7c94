"""A pod's sandbox and containers as the runtime wants them: CRI configurations out of the spec and what was prepared.

Rules of upstream's ``kuberuntime_sandbox.go``, ``kuberuntime_container*.go`` and ``security_context.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ...api.quantity import quantity_value
from . import model, qos
from .env import ConfigError
from .model import Object, containers_of, init_containers_of, is_privileged, is_sidecar, spec_of, uses_host_network
from .naming import Dns, container_log_path

MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the node adds to every configuration."""

    log_root: str
    seccomp_root: str
    memory_capacity: int
    cgroup2: bool = False
    cfs_quota: bool = True
    cfs_period: int = qos.QUOTA_PERIOD
    seccomp_default: bool = False
    huge_page_sizes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the shell prepared for one container."""

    restart_count: int
    image_ref: str
    image_uid: int | None = None
    image_user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    arguments: Sequence[str] = ()
    mounts: Sequence[Object] = ()
    target_id: str = ""
    devices: Sequence[Object] = ()


# -- namespaces, sandbox -------------------------------------------------------------------------------------------------


def namespaces(pod: Object, user_namespace: Object | None = None) -> Object:
    spec = spec_of(pod)
    options: Object = {
        "network": "NODE" if spec.get("hostNetwork") else "POD",
        "ipc": "NODE" if spec.get("hostIPC") else "POD",
        "pid": "NODE" if spec.get("hostPID") else "POD" if spec.get("shareProcessNamespace") else "CONTAINER",
    }
    if user_namespace is not None:
        options["userns_options"] = user_namespace
    return options


def port_mappings(pod: Object) -> list[Object]:
    """Host ports; on the node's own network there is nothing to map."""
    found = []
    sidecars = (c for c in init_containers_of(pod) if is_sidecar(c))
    for container in (*containers_of(pod), *sidecars):
        for port in container.get("ports") or ():
            mapping = {
                "protocol": port.get("protocol") or "TCP",
                "container_port": port.get("containerPort", 0),
                "host_port": port.get("hostPort", 0),
                "host_ip": port.get("hostIP", ""),
            }
            found.append(mapping)
    return found


def _identity(context: Mapping[str, Any]) -> Object:
    found: Object = {}
    for key, name in (("runAsUser", "run_as_user"), ("runAsGroup", "run_as_group")):
        if context.get(key) is not None:
            found[name] = {"value": int(context[key])}
    if context.get("seLinuxOptions"):
        found["selinux_options"] = {k: v for k, v in context["seLinuxOptions"].items() if v}
    return found


def _groups(context: Mapping[str, Any], extra: Sequence[int]) -> Object:
    groups = [context["fsGroup"]] if context.get("fsGroup") is not None else []
    found: Object = {"supplemental_groups": [*groups, *(context.get("supplementalGroups") or ()), *extra]}
    if context.get("supplementalGroupsPolicy"):
        found["supplemental_groups_policy"] = context["supplementalGroupsPolicy"]
    return found


def sandbox_config(
    pod: Object,
    attempt: int,
    *,
    hostname: str,
    dns: Dns,
    cgroup_parent: str,
    log_directory: str,
    settings: NodeSettings,
    extra_groups: Sequence[int] = (),
    user_namespace: Object | None = None,
) -> Object:
    meta, spec = pod.get("metadata") or {}, spec_of(pod)
    context = spec.get("securityContext") or {}
    requests = {k: str(v) for k, v in qos.pod_resources(pod, "requests", overhead=False).items()}
    limits = {k: str(v) for k, v in qos.pod_resources(pod, "limits", overhead=False).items()}
    config: Object = {
        "metadata": {
            "name": meta.get("name", ""),
            "uid": meta.get("uid", ""),
            "namespace": meta.get("namespace", ""),
            "attempt": attempt,
        },
        "hostname": "" if uses_host_network(pod) else hostname,
        "log_directory": log_directory,
        "dns_config": {"servers": dns.servers, "searches": dns.searches, "options": dns.options},
        "port_mappings": port_mappings(pod),
        "labels": {**(meta.get("labels") or {}), **_identifying(meta)},
        "annotations": dict(meta.get("annotations") or {}),
        "linux": {
            "cgroup_parent": cgroup_parent,
            "security_context": {
                "namespace_options": namespaces(pod, user_namespace),
                "privileged": any(is_privileged(c) for c in model.all_containers_of(pod)),
                "seccomp": {"profile_type": "RuntimeDefault"},
                **_identity(context),
                **_groups(context, extra_groups),
            },
            # The kernel's own separator: some runtimes know no other.
            "sysctls": {s["name"].replace("/", "."): s["value"] for s in context.get("sysctls") or ()},
            "resources": qos.linux_resources(
                requests, limits, cfs_quota=settings.cfs_quota, period=settings.cfs_period
            ),
        },
    }
    if spec.get("overhead"):
        config["linux"]["overhead"] = qos.linux_resources(spec["overhead"], spec["overhead"])
    return config


def _identifying(meta: Mapping[str, Any]) -> dict[str, str]:
    return {
        model.POD_NAME: meta.get("name", ""),
        model.POD_NAMESPACE: meta.get("namespace", ""),
        model.POD_UID: meta.get("uid", ""),
    }


# -- security ------------------------------------------------------------------------------------------------------------

_SHARED = ("runAsUser", "runAsGroup", "runAsNonRoot", "seLinuxOptions", "seccompProfile", "appArmorProfile")


def effective_context(pod: Object, container: Object) -> Object:
    """A container's security context, completed from the pod's."""
    whole = spec_of(pod).get("securityContext") or {}
    found = {k: whole[k] for k in _SHARED if whole.get(k) is not None}
    return found | {k: v for k, v in (container.get("securityContext") or {}).items() if v is not None}


def check_non_root(pod: Object, container: Object, uid: int | None, username: str) -> None:
    """Raises ConfigError where ``runAsNonRoot`` is asked for and the user would be (or might be) root."""
    context = effective_context(pod, container)
    if not context.get("runAsNonRoot"):
        return
    where = f'pod: "{model.full_name(pod)}", container: {container["name"]}'
    if context.get("runAsUser") is not None:
        if context["runAsUser"] == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy ({where})")
        return
    if uid is None and username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({username}), cannot verify user is non-root ({where})"
        )
    if uid == 0 or (uid is None and not username):
        raise ConfigError(f"container has runAsNonRoot and image will run as root ({where})")


def security_profile(profile: Mapping[str, Any] | None, default: str, root: str = "") -> Object:
    """A seccomp or AppArmor profile. ``root`` is where localhost seccomp profiles lie."""
    kind = (profile or {}).get("type") or default
    if kind != "Localhost":
        return {"profile_type": kind}
    name = (profile or {}).get("localhostProfile") or ""
    if root and not name:
        # An empty name would be the directory of profiles, and no profile at all (CVE-2023-2431).
        raise ConfigError("localhostProfile must be set if seccompProfile type is Localhost.")
    return {"profile_type": kind, "localhost_ref": f"{root}/{name}" if root else name}


def container_security(
    pod: Object,
    container: Object,
    prepared: Prepared,
    settings: NodeSettings,
    extra_groups: Sequence[int],
    user_namespace: Object | None,
) -> Object:
    context = effective_context(pod, container)
    privileged = bool(context.get("privileged"))
    options = namespaces(pod, user_namespace)
    if prepared.target_id and options["pid"] == "CONTAINER":
        options |= {"pid": "TARGET", "target_id": prepared.target_id}
    unmasked = context.get("procMount") == "Unmasked"
    capabilities = context.get("capabilities") or {}
    found: Object = {
        "capabilities": {
            "add_capabilities": list(capabilities.get("add") or ()),
            "drop_capabilities": list(capabilities.get("drop") or ()),
        },
        "privileged": privileged,
        "namespace_options": options,
        "readonly_rootfs": bool(context.get("readOnlyRootFilesystem")),
        "no_new_privs": context.get("allowPrivilegeEscalation") is False,
        "masked_paths": () if unmasked else MASKED,
        "readonly_paths": () if unmasked else READ_ONLY,
        **_identity(context),
        **_groups(spec_of(pod).get("securityContext") or {}, extra_groups),
    }
    if "run_as_user" not in found:
        if prepared.image_uid is not None:
            found["run_as_user"] = {"value": prepared.image_uid}
        found["run_as_username"] = prepared.image_user
    if not privileged:
        default = "RuntimeDefault" if settings.seccomp_default else "Unconfined"
        found["seccomp"] = security_profile(context.get("seccompProfile"), default, settings.seccomp_root)
        if context.get("appArmorProfile"):
            found["apparmor"] = security_profile(context["appArmorProfile"], "RuntimeDefault")
    else:
        found["seccomp"] = {"profile_type": "Unconfined"}
    return found


# -- containers ----------------------------------------------------------------------------------------------------------


def container_resources(pod: Object, container: Object, settings: NodeSettings) -> Object:
    limits = qos.effective_limits(pod, container)
    found = qos.linux_resources(
        qos.resources_of(container, "requests"), limits, cfs_quota=settings.cfs_quota, period=settings.cfs_period
    )
    found["oom_score_adj"] = qos.oom_score_adj(pod, container, settings.memory_capacity)
    if settings.huge_page_sizes:
        wanted = {_page_size(k): quantity_value(v) for k, v in limits.items() if k.startswith("hugepages-")}
        found["hugepage_limits"] = [
            {"page_size": size, "limit": wanted.get(size, 0)} for size in settings.huge_page_sizes
        ]
    return found


def _page_size(resource: str) -> str:
    """``2MB`` for ``hugepages-2Mi``: the kernel's way to write it."""
    return resource.removeprefix("hugepages-").replace("i", "") + "B"


def container_annotations(pod: Object, container: Object, restart_count: int) -> dict[str, str]:
    meta, spec = pod.get("metadata") or {}, spec_of(pod)
    found = {
        model.HASH: model.container_hash(container),
        model.RESTART_COUNT: str(restart_count),
        model.MESSAGE_PATH: container.get("terminationMessagePath") or "",
        model.MESSAGE_POLICY: container.get("terminationMessagePolicy") or "",
    }
    if meta.get("deletionGracePeriodSeconds") is not None:
        found[model.DELETION_GRACE] = str(meta["deletionGracePeriodSeconds"])
    if spec.get("terminationGracePeriodSeconds") is not None:
        found[model.TERMINATION_GRACE] = str(spec["terminationGracePeriodSeconds"])
    pre_stop = (container.get("lifecycle") or {}).get("preStop")
    if pre_stop:
        found[model.PRE_STOP] = orjson.dumps(pre_stop).decode()
    if container.get("ports"):
        found[model.PORTS] = orjson.dumps(container["ports"]).decode()
    return found


def container_config(
    pod: Object,
    container: Object,
    prepared: Prepared,
    settings: NodeSettings,
    *,
    extra_groups: Sequence[int] = (),
    user_namespace: Object | None = None,
) -> Object:
    meta = pod.get("metadata") or {}
    config: Object = {
        "metadata": {"name": container["name"], "attempt": prepared.restart_count},
        "image": {"image": prepared.image_ref, "user_specified_image": container.get("image", "")},
        "command": prepared.command,
        "args": prepared.arguments,
        "working_dir": container.get("workingDir") or "",
        "envs": [
            {"key": k, "value": v.encode("utf-8", "surrogateescape")} for k, v in sorted(prepared.environment.items())
        ],
        "mounts": prepared.mounts,
        "devices": prepared.devices,
        "labels": {**_identifying(meta), model.CONTAINER_NAME: container["name"]},
        "annotations": container_annotations(pod, container, prepared.restart_count),
        "log_path": container_log_path(container["name"], prepared.restart_count),
        "stdin": bool(container.get("stdin")),
        "stdin_once": bool(container.get("stdinOnce")),
        "tty": bool(container.get("tty")),
        "linux": {
            "resources": container_resources(pod, container, settings),
            "security_context": container_security(pod, container, prepared, settings, extra_groups, user_namespace),
        },
    }
    stop = (container.get("lifecycle") or {}).get("stopSignal")
    if stop:
        config["stop_signal"] = stop.replace("+", "PLUS").replace("-", "MINUS")
    return config
