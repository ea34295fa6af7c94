"""Security contexts of pods and containers. Specified by "Configure a Security Context for a Pod or Container"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from .errors import Errors, Obj, at, invalid_each
from .formats import dns_subdomain_problems, size, user_id_problems
from .options import PodOptions
from .paths import local_descending

_PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APPARMOR_CONTAINER = "container.apparmor.security.beta.kubernetes.io/"


def containers_with_paths(spec: Obj, path: str) -> Iterator[tuple[Obj, str]]:
    """Every container of a pod spec with its path, in the order that checks visit them."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            yield container, f"{at(path, field)}[{i}]"


def seccomp_profile(profile: Obj | None, path: str) -> Errors:
    if profile is None:
        return []
    found: Errors = []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        found.append(required(at(path, "type"), "type is required when seccompProfile is set"))
    elif kind not in _PROFILE_TYPES:
        found.append(not_supported(at(path, "type"), kind, _PROFILE_TYPES))
    where = at(path, "localhostProfile")
    if kind == "Localhost":
        if local is None:
            found.append(required(where, "must be set when seccomp type is Localhost"))
        else:
            found += local_descending(local, where)
    elif local is not None:
        shown = {"Type": kind, "LocalhostProfile": local}
        found.append(invalid_value(where, shown, "can only be set when seccomp type is Localhost"))
    return found


def app_armor_profile(profile: Obj | None, path: str) -> Errors:
    if profile is None:
        return []
    kind, local, where = profile.get("type") or "", profile.get("localhostProfile"), at(path, "localhostProfile")
    found: Errors = []
    words = "must be set when AppArmor type is Localhost"
    if kind == "Localhost":
        if local is None:
            found.append(required(where, words))
        else:
            if local.strip() != local:
                found.append(invalid_value(where, local, "must not be padded with whitespace"))
            elif not local:
                found.append(required(where, words))
            if size(local) > 4095:
                found.append(too_long(where, 4095))
    elif kind in _PROFILE_TYPES:
        if local is not None:
            found.append(invalid_value(where, local, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        found.append(required(at(path, "type"), "type is required when appArmorProfile is set"))
    else:
        found.append(not_supported(at(path, "type"), kind, _PROFILE_TYPES))
    return found


def container_context(context: Obj | None, path: str, host_users: bool) -> Errors:
    """A container's securityContext."""
    if context is None:
        return []
    found: Errors = []
    for field in ("runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None:
            found += invalid_each(at(path, field), number, user_id_problems(number))
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            found.append(not_supported(at(path, "procMount"), mount, ("Default", "Unmasked")))
        if host_users and mount == "Unmasked":
            words = "`hostUsers` must be false to use `Unmasked`"
            found.append(invalid_value(at(path, "procMount"), mount, words))
    found += seccomp_profile(context.get("seccompProfile"), at(path, "seccompProfile"))
    if context.get("allowPrivilegeEscalation") is False:
        words = "cannot set `allowPrivilegeEscalation` to false and "
        if context.get("privileged"):
            found.append(invalid_value(path, _go_context(context), words + "`privileged` to true"))
        for capability in (context.get("capabilities") or {}).get("add") or ():
            if capability == "CAP_SYS_ADMIN":
                found.append(invalid_value(path, _go_context(context), words + "`capabilities.Add` CAP_SYS_ADMIN"))
    found += windows_options(context.get("windowsOptions"), at(path, "windowsOptions"))
    return found + app_armor_profile(context.get("appArmorProfile"), at(path, "appArmorProfile"))


_CONTEXT_FIELDS = (
    ("Capabilities", "capabilities"),
    ("Privileged", "privileged"),
    ("SELinuxOptions", "seLinuxOptions"),
    ("WindowsOptions", "windowsOptions"),
    ("RunAsUser", "runAsUser"),
    ("RunAsGroup", "runAsGroup"),
    ("RunAsNonRoot", "runAsNonRoot"),
    ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
    ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
    ("ProcMount", "procMount"),
    ("SeccompProfile", "seccompProfile"),
    ("AppArmorProfile", "appArmorProfile"),
)


def _go_context(context: Obj) -> Obj:
    """The value as upstream prints it: its internal type has Go's field names and every field."""
    shown: Obj = {go: context.get(field) for go, field in _CONTEXT_FIELDS}
    if shown["Capabilities"] is not None:
        capabilities = shown["Capabilities"]
        shown["Capabilities"] = {"Add": capabilities.get("add"), "Drop": capabilities.get("drop")}
    return shown


_SYSCTL_WORDS = (
    "must have at most 253 characters and match regex "
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
)


def _is_sysctl(name: str) -> bool:
    if size(name) > 253:
        return False
    # Segment by segment: the pattern as a whole takes exponential time on some inputs.
    segment = re.compile("[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
    return all(segment.fullmatch(part) for part in re.split(r"[./]", name))


_IPC_SYSCTLS = {
    "kernel.sem",
    *(f"kernel.shm{end}" for end in ("", "all", "max", "mni", "_rmid_forced")),
    *(f"kernel.msg{end}" for end in ("", "max", "mnb", "mni")),
}


def host_sysctl(name: str, spec: Obj, path: str) -> FieldError | None:
    """A sysctl of a namespace that the pod shares with its host."""
    separators = [i for i in (name.find("."), name.find("/")) if i >= 0]
    slashed = bool(separators) and name[min(separators)] == "/"
    known = (name.translate(str.maketrans("./", "/.")) if slashed else name).partition("*")[0]
    if spec.get("hostNetwork") and known.startswith("net."):
        return invalid_value(path, name, "may not be specified when 'hostNetwork' is true")
    if spec.get("hostIPC") and (known in _IPC_SYSCTLS or known.startswith("fs.mqueue.")):
        return invalid_value(path, name, "may not be specified when 'hostIPC' is true")
    return None


def _sysctls(spec: Obj, sysctls: list[Obj], path: str, options: PodOptions) -> Errors:
    found: Errors = []
    seen: set[str] = set()
    for i, entry in enumerate(sysctls):
        name, here = entry.get("name") or "", f"{path}[{i}].name"
        if not name:
            found.append(required(here))
        elif not _is_sysctl(name):
            found.append(invalid_value(here, name, _SYSCTL_WORDS))
        elif name in seen:
            found.append(duplicate(here, name))
        if not options.lax_host_sysctls:
            error = host_sysctl(name, spec, here)
            if error is not None:
                found.append(error)
        seen.add(name)
    return found


_CHANGE_POLICIES = ("Always", "OnRootMismatch")
_GROUP_POLICIES = ("Merge", "Strict")


def pod_context(spec: Obj, path: str, options: PodOptions) -> Errors:
    """The pod's securityContext."""
    context = spec.get("securityContext")
    if context is None:
        return []
    found: Errors = []
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None:
            found += invalid_each(at(path, field), number, user_id_problems(number))
    for i, number in enumerate(context.get("supplementalGroups") or ()):
        found += invalid_each(f"{at(path, 'supplementalGroups')}[{i}]", number, user_id_problems(number))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        words = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(invalid_value(at(path, "shareProcessNamespace"), True, words))
    if context.get("sysctls"):
        found += _sysctls(spec, context["sysctls"], at(path, "sysctls"), options)
    policy = context.get("fsGroupChangePolicy")
    if policy is not None and policy not in _CHANGE_POLICIES:
        found.append(not_supported(at(path, "fsGroupChangePolicy"), policy, _CHANGE_POLICIES))
    found += seccomp_profile(context.get("seccompProfile"), at(path, "seccompProfile"))
    found += windows_options(context.get("windowsOptions"), at(path, "windowsOptions"))
    found += app_armor_profile(context.get("appArmorProfile"), at(path, "appArmorProfile"))
    policy = context.get("supplementalGroupsPolicy")
    if policy is not None and policy not in _GROUP_POLICIES:
        found.append(not_supported(at(path, "supplementalGroupsPolicy"), policy, _GROUP_POLICIES))
    policy = context.get("seLinuxChangePolicy")
    if policy is not None:
        allowed = ("MountOption", "Recursive") if options.any_selinux_change_policy else ("Recursive",)
        if policy not in allowed:
            found.append(not_supported(at(path, "seLinuxChangePolicy"), policy, allowed))
    return found


_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DOMAIN_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*")
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
_ONLY_DOTS = re.compile(r"[. ]+")


def windows_options(options: Obj | None, path: str) -> Errors:
    if options is None:
        return []
    found: Errors = []
    name, spec, user = (options.get(f) for f in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        found += invalid_each(at(path, "gmsaCredentialSpecName"), name, dns_subdomain_problems(name))
    if spec is not None:
        where = at(path, "gmsaCredentialSpec")
        if not spec:
            found.append(invalid_value(where, spec, "gmsaCredentialSpec cannot be an empty string"))
        elif size(spec) > 64 * 1024:
            found.append(invalid_value(where, spec, "gmsaCredentialSpec size must be under 64 KiB"))
    if user is not None:
        where = at(path, "runAsUserName")
        found += [invalid_value(where, user, f"runAsUserName{words}") for words in _user_name_problems(user)]
    return found


def _user_name_problems(text: str) -> list[str]:
    if not text:
        return [" cannot be an empty string"]
    if any(c < " " or c == "\x7f" for c in text):
        return [" cannot contain control characters"]
    parts = text.split("\\")
    if len(parts) > 2:
        return [" cannot contain more than one backslash"]
    domain, user = (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])
    found = []
    if size(domain) >= 256:
        found.append("'s Domain length must be under 256 characters")
    if len(parts) == 2 and not _NETBIOS.fullmatch(domain) and not _DOMAIN.fullmatch(domain):
        found.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        found.append("'s User cannot be empty")
    elif size(user) > 104:
        found.append("'s User length must not be longer than 104 characters")
    if _ONLY_DOTS.fullmatch(user):
        found.append("'s User cannot contain only periods or spaces")
    if _BAD_USER.search(user):
        found.append("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return found


def host_process(spec: Obj, path: str) -> Errors:
    """Windows HostProcess containers: all or none, on the host's network."""
    own = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    found: Errors = []
    total = count = 0
    for container, here in containers_with_paths(spec, path):
        total += 1
        value = ((container.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
        if own is not None and value is not None and own != value:
            shown = "true" if own else "false"
            words = f"pod hostProcess value must be identical if both are specified, was {shown}"
            found.append(invalid_value(f"{here}.securityContext.windowsOptions.hostProcess", value, words))
        if value or (value is None and own):
            count += 1
    if count:
        if count != total:
            words = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
            found.append(invalid_value(path, "", words))
        if not spec.get("hostNetwork"):
            words = "hostNetwork must be true if pod contains any hostProcess containers"
            found.append(invalid_value(at(path, "hostNetwork"), False, words))
    return found


# (where the field is on the wire, path of the error)
_POD_NOT_WINDOWS = (
    ("securityContext", "appArmorProfile"),
    ("securityContext", "seLinuxOptions"),
    ("", "hostUsers"),
    ("", "hostPID"),
    ("", "hostIPC"),
    ("securityContext", "seccompProfile"),
    ("securityContext", "fsGroup"),
    ("securityContext", "fsGroupChangePolicy"),
    ("securityContext", "sysctls"),
    ("", "shareProcessNamespace"),
    ("securityContext", "runAsUser"),
    ("securityContext", "runAsGroup"),
    ("securityContext", "supplementalGroups"),
    ("securityContext", "supplementalGroupsPolicy"),
    ("securityContext", "seLinuxChangePolicy"),
)
_CONTAINER_NOT_WINDOWS = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)
_UNSET_IF_FALSE = ("hostPID", "hostIPC", "sysctls")


def operating_system(spec: Obj, path: str) -> Errors:
    """spec.os, and what the named system cannot have."""
    if spec.get("os") is None:
        return []
    name, own = spec["os"].get("name") or "", at(path, "os")
    if not name:
        return [required(at(own, "name"))]
    if name not in ("linux", "windows"):
        return [not_supported(own, name, ("linux", "windows"))]
    return _linux(spec, path) if name == "linux" else _windows(spec, path)


def _linux(spec: Obj, path: str) -> Errors:
    words = "windows options cannot be set for a linux pod"
    found: Errors = []
    if (spec.get("securityContext") or {}).get("windowsOptions") is not None:
        found.append(forbidden_field(at(path, "securityContext", "windowsOptions"), words))
    for container, here in containers_with_paths(spec, path):
        if (container.get("securityContext") or {}).get("windowsOptions") is not None:
            found.append(forbidden_field(f"{here}.securityContext.windowsOptions", words))
    return found


def _windows(spec: Obj, path: str) -> Errors:
    words = "cannot be set for a windows pod"
    found: Errors = []
    if spec.get("securityContext") is not None:
        for owner, field in _POD_NOT_WINDOWS:
            value = (spec[owner] if owner else spec).get(field)
            if value is not None and (value or field not in _UNSET_IF_FALSE):
                where = at(path, owner, field) if owner else at(path, field)
                found.append(forbidden_field(where, words))
    for container, here in containers_with_paths(spec, path):
        context = container.get("securityContext") or {}
        for field in _CONTAINER_NOT_WINDOWS:
            if context.get(field) is not None:
                found.append(forbidden_field(f"{here}.securityContext.{field}", words))
    return found
