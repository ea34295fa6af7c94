"""Warnings about pods and pod templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import go_quote
from ..base import Obj, semantically_equal
from .networking import ip_warnings
from .paths import overlapping_path_warnings
from .storage import (
    VOLUME_DEPRECATIONS,
    claim_spec_warnings,
    field_in_words,
    fractional_warning,
    node_label_message,
    selector_term_warnings,
)

_ANNOTATIONS = (
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        'non-functional in v1.16+; use the "priorityClassName" field instead',
    ),
    ("security.alpha.kubernetes.io/sysctls", 'non-functional in v1.11+; use the "sysctls" field instead'),
    ("security.alpha.kubernetes.io/unsafe-sysctls", 'non-functional in v1.11+; use the "sysctls" field instead'),
)
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_WORDS = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_NULL_SELECTOR = "a null labelSelector results in matching no pod"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def pod_create_warnings(pod: Obj) -> list[str]:
    from ...validation.formats import dns_label_problems

    found = []
    problems = dns_label_problems((pod.get("metadata") or {}).get("name") or "")
    if problems:
        found.append(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(problems)}]"
        )
    return found + _PodWarnings("", pod).all()


def template_warnings(path: str, template: Obj | None, old: Obj | None) -> list[str]:
    """``old`` is accepted for the sake of warnings that hang on a change; there are none in v1.36."""
    return [] if template is None else _PodWarnings(path, template).all()


class _PodWarnings:
    def __init__(self, path: str, pod: Mapping[str, Any]) -> None:
        self._template = bool(path)
        self._root = f"{path}." if path else ""
        self._spec: Mapping[str, Any] = pod.get("spec") or {}
        self._annotations: Mapping[str, str] = (pod.get("metadata") or {}).get("annotations") or {}

    def all(self) -> list[str]:
        spec = self._spec
        found = self._scheduling()
        found += [self._annotation(key, words) for key, words in _ANNOTATIONS if key in self._annotations]
        found += self._volumes()
        found += self._repeated()
        for name in ("memory", "ephemeral-storage"):
            found += fractional_warning(f"{self._root}spec.overhead", spec.get("overhead"), name)
        if (spec.get("securityContext") or {}).get("seccompProfile") is None and _SECCOMP_POD in self._annotations:
            found.append(self._annotation(_SECCOMP_POD, _SECCOMP_WORDS))
        for path, container in self._containers():
            found += self._container(path, container)
        found += self._ports() + self._port_names()
        if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
            found.append(
                f"{self._root}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will "
                "be treated as 1"
            )
        return found + self._pod_affinity() + self._addresses()

    def _annotation(self, key: str, words: str) -> str:
        return f"{self._root}metadata.annotations[{key}]: {words}"

    def _containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for field in ("initContainers", "containers", "ephemeralContainers"):
            for i, container in enumerate(self._spec.get(field) or ()):
                yield f"{self._root}spec.{field}[{i}]", container

    def _scheduling(self) -> list[str]:
        spec, root = self._spec, self._root
        found = []
        for key in spec.get("nodeSelector") or ():
            message = node_label_message(key)
            if message:
                found.append(f"{root}spec.nodeSelector[{key}]: {message}")
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        path = f"{root}spec.affinity.nodeAffinity"
        for i, term in enumerate((affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
            found += selector_term_warnings(f"{path}.{_REQUIRED}.nodeSelectorTerms[{i}]", term, False)
        for i, term in enumerate(affinity.get(_PREFERRED) or ()):
            found += selector_term_warnings(f"{path}.{_PREFERRED}[{i}].preference", term.get("preference") or {}, True)
        for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
            path = f"{root}spec.topologySpreadConstraints[{i}]"
            key = constraint.get("topologyKey") or ""
            if node_label_message(key):
                found.append(f"{path}.topologyKey: {key} is {node_label_message(key)}")
            if constraint.get("labelSelector") is None:
                found.append(f"{path}.labelSelector: {_NULL_SELECTOR}")
        return found

    def _volumes(self) -> list[str]:
        volumes = self._spec.get("volumes") or ()
        found = []
        for i, volume in enumerate(volumes):
            path = f"{self._root}spec.volumes[{i}]"
            for field, words in VOLUME_DEPRECATIONS:
                if field == "cephfs":
                    template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
                    if template is not None:
                        where = f"{path}.ephemeral.volumeClaimTemplate.spec"
                        found += claim_spec_warnings(where, template.get("spec") or {})
                if volume.get(field) is not None:
                    found.append(f"{path}.{field_in_words(field)}: {words}")
        return found + overlapping_path_warnings(volumes)

    def _repeated(self) -> list[str]:
        found = []
        for field, key, word in (("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")):
            seen: set[str] = set()
            items = self._spec.get(field) or ()
            for i, item in enumerate(items):
                value = item.get(key) or ""
                if value in seen:
                    found.append(f"{self._root}spec.{field}[{i}].{key}: duplicate {word} {go_quote(value)}")
                seen.add(value)
        for i, item in enumerate(self._spec.get("imagePullSecrets") or ()):
            if not item.get("name"):
                found.append(f'{self._root}spec.imagePullSecrets[{i}].name: invalid empty name ""')
        return found

    def _container(self, path: str, container: Mapping[str, Any]) -> list[str]:
        name, security = container.get("name") or "", container.get("securityContext") or {}
        found = []
        if security.get("seccompProfile") is None and _SECCOMP_CONTAINER + name in self._annotations:
            found.append(self._annotation(_SECCOMP_CONTAINER + name, _SECCOMP_WORDS))
        if security.get("appArmorProfile") is None and self._app_armor_outdated(name):
            words = 'deprecated since v1.30; use the "appArmorProfile" field instead'
            found.append(self._annotation(_APPARMOR + name, words))
        resources = container.get("resources") or {}
        for resource in ("memory", "ephemeral-storage"):
            for field in ("limits", "requests"):
                found += fractional_warning(f"{path}.resources.{field}", resources.get(field), resource)
        seen: set[str] = set()
        for i, entry in enumerate(container.get("env") or ()):
            variable, value = entry.get("name") or "", entry.get("value") or ""
            reference = f"$({variable})"
            hides = entry.get("valueFrom") is not None or value == reference or reference not in value
            if variable in seen and hides:
                found.append(
                    f"{path}.env[{i}]: hides previous definition of {go_quote(variable)}, "
                    "which may be dropped when using apply"
                )
            seen.add(variable)
        return found

    def _app_armor_outdated(self, container: str) -> bool:
        """A deprecated annotation says something that the pod's own profile does not say."""
        from ..pods import apparmor_field

        annotation = self._annotations.get(_APPARMOR + container)
        if annotation is None:
            return False
        profile = (self._spec.get("securityContext") or {}).get("appArmorProfile")
        meant = apparmor_field(annotation)
        if self._template:
            return profile is None or not semantically_equal(profile, meant)
        return meant is None  # a pod's annotation that means something has become the container's field

    def _ports(self) -> list[str]:
        found = []
        known: dict[tuple[Any, Any], list[tuple[str, str, int]]] = {}
        for path, container in self._containers():
            for i, port in enumerate(container.get("ports") or ()):
                here = f"{path}.ports[{i}]"
                host_ip, host_port = port.get("hostIP") or "", port.get("hostPort") or 0
                if host_ip and not host_port:
                    found.append(f"{here}: hostIP set without hostPort: {_go_port(port)}")
                others = known.setdefault((port.get("containerPort") or 0, port.get("protocol") or ""), [])
                for other, other_ip, other_port in others:
                    if (host_ip, host_port) == (other_ip, other_port):
                        found.append(f"{here}: duplicate port definition with {other}")
                    elif not host_port or not other_port:
                        found.append(f"{here}: overlapping port definition with {other}")
                    elif host_port == other_port and (not host_ip or not other_ip):
                        found.append(f"{here}: dangerously ambiguous port definition with {other}")
                others.append((here, host_ip, host_port))
        return found

    def _port_names(self) -> list[str]:
        found, names = [], dict[str, str]()
        for path, container in self._containers():
            for i, port in enumerate(container.get("ports") or ()):
                name, here = port.get("name") or "", f"{path}.ports[{i}]"
                other = names.get(name)
                if name and other is not None:
                    found.append(
                        f"{here}: duplicate port name {go_quote(name)} with {other}, services and probes that select "
                        f"ports by name will use {other}"
                    )
                names.setdefault(name, here)
        return found

    def _pod_affinity(self) -> list[str]:
        found = []
        for kind in ("podAffinity", "podAntiAffinity"):
            rules = (self._spec.get("affinity") or {}).get(kind) or {}
            path = f"{self._root}spec.affinity.{kind}"
            for i, term in enumerate(rules.get(_REQUIRED) or ()):
                if term.get("labelSelector") is None:
                    found.append(f"{path}.{_REQUIRED}[{i}].labelSelector: {_NULL_SELECTOR}")
            for i, weighted in enumerate(rules.get(_PREFERRED) or ()):
                if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                    found.append(f"{path}.{_PREFERRED}[{i}].podAffinityTerm.labelSelector: {_NULL_SELECTOR}")
        return found

    def _addresses(self) -> list[str]:
        found = []
        for i, server in enumerate((self._spec.get("dnsConfig") or {}).get("nameservers") or ()):
            found += ip_warnings(f"{self._root}spec.dnsConfig.nameservers[{i}]", server)
        for i, alias in enumerate(self._spec.get("hostAliases") or ()):
            found += ip_warnings(f"{self._root}spec.hostAliases[{i}].ip", alias.get("ip") or "")
        return found


def _go_port(port: Mapping[str, Any]) -> str:
    """A ContainerPort as Go's ``%+v`` prints it."""
    fields = (("Name", "name"), ("HostPort", "hostPort"), ("ContainerPort", "containerPort"))
    parts = [f"{go}:{port.get(key) or (0 if 'Port' in go else '')}" for go, key in fields]
    return (
        "{" + " ".join([*parts, f"Protocol:{port.get('protocol') or ''}", f"HostIP:{port.get('hostIP') or ''}"]) + "}"
    )
