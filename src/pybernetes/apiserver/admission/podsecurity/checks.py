"""The checks of the Pod Security Standards, each with the versions in which it changed, and what they say.

Specified by the "Pod Security Standards" page and ``k8s.io/pod-security-admission/policy``; reasons and details are upstream's.
A check takes the pod's annotations and spec, and gives (reason, detail) where it objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ....api.errors import go_quote

Annotations = Mapping[str, str]
PodSpec = Mapping[str, Any]
Finding = tuple[str, str]
CheckFunction = Callable[[Annotations, PodSpec], "Finding | None"]

NEWEST = 35
"""The minor version in which a check changed last: later policies are the same."""


def _containers(spec: PodSpec) -> Iterator[Mapping[str, Any]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _security(thing: Mapping[str, Any]) -> Mapping[str, Any]:
    return thing.get("securityContext") or {}


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{i}"' for i in items)


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def _named(containers: Sequence[str]) -> str:
    return f"{_plural('container', 'containers', len(containers))} {_quoted(containers)}"


def _in_user_namespace(spec: PodSpec) -> bool:
    return spec.get("hostUsers") is False


def _setters(pod: bool, containers: Sequence[str]) -> str:
    """``pod and containers "a", "b"``: who set what is forbidden."""
    return " and ".join([*(["pod"] if pod else []), *([_named(containers)] if containers else [])])


def _is_windows(spec: PodSpec) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _not_windows(check: CheckFunction) -> CheckFunction:
    """Since 1.25: what Windows has not, a Windows pod need not set."""

    def checked(annotations: Annotations, spec: PodSpec) -> Finding | None:
        return None if _is_windows(spec) else check(annotations, spec)

    return checked


def _unless_user_namespace(check: CheckFunction) -> CheckFunction:
    """Since 1.35: root in a user namespace of the pod's own is nobody outside."""

    def checked(annotations: Annotations, spec: PodSpec) -> Finding | None:
        return None if _in_user_namespace(spec) else check(annotations, spec)

    return checked


# -- baseline ----------------------------------------------------------------------------------------------------------


def app_armor(annotations: Annotations, spec: PodSpec) -> Finding | None:
    allowed = ("RuntimeDefault", "Localhost")
    values: set[str] = set()
    setters: list[str] = []
    profile = _security(spec).get("appArmorProfile")
    if profile is not None and profile.get("type") not in allowed:
        setters.append("pod")
        values.add(profile.get("type") or "")
    bad = []
    for c in _containers(spec):
        profile = _security(c).get("appArmorProfile")
        if profile is not None and profile.get("type") not in allowed:
            bad.append(c.get("name") or "")
            values.add(profile.get("type") or "")
    if bad:
        setters.append(_named(bad))
    prefix = "container.apparmor.security.beta.kubernetes.io/"
    forbidden = sorted(
        f"{k}={go_quote(v)}"
        for k, v in annotations.items()
        if k.startswith(prefix) and v and v != "runtime/default" and not v.startswith("localhost/")
    )
    listed = [*sorted(values), *forbidden]
    if forbidden:
        setters.append(_plural("annotation", "annotations", len(forbidden)))
    if not setters:
        return None
    reason = _plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(listed))
    return reason, f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(listed)}"


DEFAULT_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
        "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip


def capabilities_baseline(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad: list[str] = []
    found: set[str] = set()
    for c in _containers(spec):
        extra = set((_security(c).get("capabilities") or {}).get("add") or ()) - DEFAULT_CAPABILITIES
        if extra:
            bad.append(c.get("name") or "")
            found |= extra
    if not bad:
        return None
    detail = f"{_named(bad)} must not include {_quoted(sorted(found))} in securityContext.capabilities.add"
    return "non-default capabilities", detail


def host_namespaces(annotations: Annotations, spec: PodSpec) -> Finding | None:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(annotations: Annotations, spec: PodSpec) -> Finding | None:
    used = [v.get("name") or "" for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return ("hostPath volumes", f"{_plural('volume', 'volumes', len(used))} {_quoted(used)}") if used else None


def host_ports(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad: list[str] = []
    ports: set[str] = set()
    for c in _containers(spec):
        used = {str(p["hostPort"]) for p in c.get("ports") or () if p.get("hostPort")}
        if used:
            bad.append(c.get("name") or "")
            ports |= used
    if not bad:
        return None
    words = f"{_plural('uses', 'use', len(bad))} {_plural('hostPort', 'hostPorts', len(ports))}"
    return "hostPort", f"{_named(bad)} {words} {', '.join(sorted(ports))}"


def _handler_hosts(handler: Mapping[str, Any] | None) -> set[str]:
    return {h for f in ("httpGet", "tcpSocket") if (h := ((handler or {}).get(f) or {}).get("host"))}


def host_probes(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad: set[str] = set()
    hosts: set[str] = set()
    for c in _containers(spec):
        lifecycle = c.get("lifecycle") or {}
        handlers = [c.get(f) for f in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [lifecycle.get(f) for f in ("postStart", "preStop")]
        used = set().union(*(_handler_hosts(h) for h in handlers))
        if used:
            bad.add(c.get("name") or "")
            hosts |= used
    if not bad:
        return None
    what = _plural("probe or lifecycle host", "probe or lifecycle hosts", len(hosts))
    detail = f"{_named(sorted(bad))} {_plural('uses', 'use', len(bad))} {what} {_quoted(sorted(hosts))}"
    return "probe or lifecycle host", detail


def privileged(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad = [c.get("name") or "" for c in _containers(spec) if _security(c).get("privileged")]
    return ("privileged", f"{_named(bad)} must not set securityContext.privileged=true") if bad else None


def proc_mount(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad: list[str] = []
    types: set[str] = set()
    for c in _containers(spec):
        mount = _security(c).get("procMount")
        if mount is not None and mount != "Default":
            bad.append(c.get("name") or "")
            types.add(mount)
    if not bad:
        return None
    return "procMount", f"{_named(bad)} must not set securityContext.procMount to {_quoted(sorted(types))}"


def _selinux(extra: Iterable[str] = ()) -> CheckFunction:
    allowed = {"", "container_t", "container_init_t", "container_kvm_t", *extra}

    def check(annotations: Annotations, spec: PodSpec) -> Finding | None:
        types: set[str] = set()
        words: set[str] = set()

        def bad(thing: Mapping[str, Any]) -> bool:
            options = _security(thing).get("seLinuxOptions")
            if options is None:
                return False
            wrong = (options.get("type") or "") not in allowed
            if wrong:
                types.add(options["type"])
            fields = {f for f in ("user", "role") if options.get(f)}
            words.update(fields)
            return wrong or bool(fields)

        pod = bad(spec)
        containers = [c.get("name") or "" for c in _containers(spec) if bad(c)]
        if not pod and not containers:
            return None
        data = [f"{_plural('type', 'types', len(types))} {_quoted(sorted(types))}"] if types else []
        data += [f"{field} may not be set" for field in ("user", "role") if field in words]
        head = f"{_setters(pod, containers)} set forbidden securityContext.seLinuxOptions"
        return "seLinuxOptions", f"{head}: {'; '.join(data)}"

    return check


def seccomp_annotations(annotations: Annotations, spec: PodSpec) -> Finding | None:
    keys = ["seccomp.security.alpha.kubernetes.io/pod"]
    keys += [f"container.seccomp.security.alpha.kubernetes.io/{c.get('name')}" for c in _containers(spec)]

    def valid(value: str) -> bool:
        return value in ("runtime/default", "docker/default") or value.startswith("localhost/")

    bad = sorted({f"{k}={go_quote(annotations[k])}" for k in keys if k in annotations and not valid(annotations[k])})
    if not bad:
        return None
    return "seccompProfile", f"forbidden {_plural('annotation', 'annotations', len(bad))} {', '.join(bad)}"


_SECCOMP = ("RuntimeDefault", "Localhost")


def _seccomp(spec: PodSpec, *, required: bool) -> Finding | None:
    values: set[str] = set()
    profile: Mapping[str, Any] | None = _security(spec).get("seccompProfile")
    covered = profile is not None and profile.get("type") in _SECCOMP
    pod_bad = profile is not None and not covered
    if profile is not None and pod_bad:
        values.add(profile.get("type") or "")
    explicit: list[str] = []
    implicit: list[str] = []
    for c in _containers(spec):
        own = _security(c).get("seccompProfile")
        if own is None:
            if not covered:
                implicit.append(c.get("name") or "")
        elif own.get("type") not in _SECCOMP:
            explicit.append(c.get("name") or "")
            values.add(own.get("type") or "")
    if pod_bad or explicit:
        head = _setters(pod_bad, explicit)
        return "seccompProfile", f"{head} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}"
    if required and implicit:
        words = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        return "seccompProfile", f"pod or {_named(implicit)} {words}"
    return None


def seccomp_baseline(annotations: Annotations, spec: PodSpec) -> Finding | None:
    return _seccomp(spec, required=False)


_SYSCTLS_1_0 = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
)
_SYSCTLS_1_27 = (*_SYSCTLS_1_0, "net.ipv4.ip_local_reserved_ports")
_SYSCTLS_1_29 = (
    *_SYSCTLS_1_27,
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
)
_SYSCTLS_1_32 = (*_SYSCTLS_1_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")


def _sysctls(allowed: Sequence[str]) -> CheckFunction:
    def check(annotations: Annotations, spec: PodSpec) -> Finding | None:
        used = [s.get("name") or "" for s in _security(spec).get("sysctls") or () if s.get("name") not in allowed]
        return ("forbidden sysctls", ", ".join(used)) if used else None

    return check


def windows_host_process(annotations: Annotations, spec: PodSpec) -> Finding | None:
    def uses(thing: Mapping[str, Any]) -> bool:
        return bool((_security(thing).get("windowsOptions") or {}).get("hostProcess"))

    pod, bad = uses(spec), [c.get("name") or "" for c in _containers(spec) if uses(c)]
    if not pod and not bad:
        return None
    return "hostProcess", f"{_setters(pod, bad)} must not set securityContext.windowsOptions.hostProcess=true"


# -- restricted --------------------------------------------------------------------------------------------------------


def allow_privilege_escalation(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad = [c.get("name") or "" for c in _containers(spec) if _security(c).get("allowPrivilegeEscalation") is not False]
    if not bad:
        return None
    return "allowPrivilegeEscalation != false", f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"


def capabilities_restricted(annotations: Annotations, spec: PodSpec) -> Finding | None:
    missing: list[str] = []
    adding: list[str] = []
    added: set[str] = set()
    for c in _containers(spec):
        capabilities = _security(c).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            missing.append(c.get("name") or "")
        extra = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
        if extra:
            adding.append(c.get("name") or "")
            added |= extra
    details = []
    if missing:
        details.append(f'{_named(missing)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        words = f"must not include {_quoted(sorted(added))} in securityContext.capabilities.add"
        details.append(f"{_named(adding)} {words}")
    return ("unrestricted capabilities", "; ".join(details)) if details else None


_GOOD_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
)  # fmt: skip
_BAD_VOLUMES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd", "flexVolume", "cinder",
    "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "portworxVolume",
    "scaleIO", "storageos",
)  # fmt: skip


def restricted_volumes(annotations: Annotations, spec: PodSpec) -> Finding | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        if any(volume.get(t) is not None for t in _GOOD_VOLUMES):
            continue
        bad.append(volume.get("name") or "")
        types.add(next((t for t in _BAD_VOLUMES if volume.get(t) is not None), "unknown"))
    if not bad:
        return None
    what = _plural("restricted volume type", "restricted volume types", len(types))
    head = f"{_plural('volume', 'volumes', len(bad))} {_quoted(bad)} {_plural('uses', 'use', len(bad))}"
    return "restricted volume types", f"{head} {what} {_quoted(sorted(types))}"


def run_as_non_root(annotations: Annotations, spec: PodSpec) -> Finding | None:
    pod = _security(spec).get("runAsNonRoot")
    explicit: list[str] = []
    implicit: list[str] = []
    for c in _containers(spec):
        own = _security(c).get("runAsNonRoot")
        if own is False:
            explicit.append(c.get("name") or "")
        elif own is None and pod is not True:
            implicit.append(c.get("name") or "")
    if pod is False or explicit:
        setters = _setters(pod is False, explicit)
        return "runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false"
    if implicit:
        detail = f"pod or {_named(implicit)} must set securityContext.runAsNonRoot=true"
        return "runAsNonRoot != true", detail
    return None


def run_as_user(annotations: Annotations, spec: PodSpec) -> Finding | None:
    pod = _security(spec).get("runAsUser") == 0
    bad = [c.get("name") or "" for c in _containers(spec) if _security(c).get("runAsUser") == 0]
    return ("runAsUser=0", f"{_setters(pod, bad)} must not set runAsUser=0") if pod or bad else None


def seccomp_restricted(annotations: Annotations, spec: PodSpec) -> Finding | None:
    return _seccomp(spec, required=True)


# -- which check in which version --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """``versions`` are (minor version from which, function); ``overrides`` is the baseline check that it takes the place of."""

    id: str
    versions: tuple[tuple[int, CheckFunction], ...]
    overrides: str = ""

    def at(self, minor: int) -> CheckFunction | None:
        found = None
        for since, function in self.versions:
            if since <= minor:
                found = function
        return found


BASELINE = (
    Check("appArmorProfile", ((0, app_armor),)),
    Check("capabilities_baseline", ((0, capabilities_baseline),)),
    Check("hostNamespaces", ((0, host_namespaces),)),
    Check("hostPathVolumes", ((0, host_path_volumes),)),
    Check("hostPorts", ((0, host_ports),)),
    Check("hostProbesAndHostLifecycle", ((34, host_probes),)),
    Check("privileged", ((0, privileged),)),
    Check("procMount", ((0, proc_mount), (35, _unless_user_namespace(proc_mount)))),
    Check("seLinuxOptions", ((0, _selinux()), (31, _selinux(("container_engine_t",))))),
    Check("seccompProfile_baseline", ((0, seccomp_annotations), (19, seccomp_baseline))),
    Check(
        "sysctls",
        (
            (0, _sysctls(_SYSCTLS_1_0)),
            (27, _sysctls(_SYSCTLS_1_27)),
            (29, _sysctls(_SYSCTLS_1_29)),
            (32, _sysctls(_SYSCTLS_1_32)),
        ),
    ),
    Check("windowsHostProcess", ((0, windows_host_process),)),
)
RESTRICTED = (
    Check(
        "allowPrivilegeEscalation",
        ((8, allow_privilege_escalation), (25, _not_windows(allow_privilege_escalation))),
    ),
    Check(
        "capabilities_restricted",
        ((22, capabilities_restricted), (25, _not_windows(capabilities_restricted))),
        "capabilities_baseline",
    ),
    Check("procMount_restricted", ((35, proc_mount),), "procMount"),
    Check("restrictedVolumes", ((0, restricted_volumes),), "hostPathVolumes"),
    Check("runAsNonRoot", ((0, run_as_non_root), (35, _unless_user_namespace(run_as_non_root)))),
    Check("runAsUser", ((23, run_as_user), (35, _unless_user_namespace(run_as_user)))),
    Check(
        "seccompProfile_restricted",
        ((19, seccomp_restricted), (25, _not_windows(seccomp_restricted))),
        "seccompProfile_baseline",
    ),
)


@cache
def checks_for(level: str, minor: int) -> tuple[CheckFunction, ...]:
    """The checks of a level in a version, baseline ones first, each group by name."""
    if level == "privileged":
        return ()
    restricted = [c for c in RESTRICTED if c.at(minor)] if level == "restricted" else []
    overridden = {c.overrides for c in restricted}
    chosen = [c for c in BASELINE if c.id not in overridden] + restricted
    return tuple(f for c in chosen if (f := c.at(minor)) is not None)


def evaluate(level: str, minor: int, annotations: Annotations, spec: PodSpec) -> list[Finding]:
    """What the level in this version (an index of ``NEWEST`` and above is the newest) objects to."""
    findings = (check(annotations, spec) for check in checks_for(level, min(minor, NEWEST)))
    return [f for f in findings if f is not None]
