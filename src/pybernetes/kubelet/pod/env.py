"""A container's environment: $(VAR) expansion, variables of services, and the downward API's fields.

Specified by the API reference of ``EnvVar`` and by upstream's ``third_party/forked/golang/expansion``, ``envvars`` and
``fieldpath`` packages. What has to be fetched (config maps, secrets) is given as data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any

from ...api.quantity import parse_quantity
from .model import Object, container_spec
from .qos import effective_limits, resources_of


class ConfigError(Exception):
    """The container cannot be configured: becomes CreateContainerConfigError with this message."""


# -- expansion -----------------------------------------------------------------------------------------------------------


def expand(text: str, *sources: Mapping[str, str]) -> str:
    """Replaces ``$(NAME)`` by the first source that has it, ``$$`` by ``$``; what nobody has stays as it is."""
    if "$" not in text:
        return text
    out: list[str] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] != "$" or at + 1 == end:
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(":
            close = text.find(")", at + 2)
            if close < 0:
                # Unclosed: the opening is taken literally.
                out.append("$(")
                at += 2
                continue
            name = text[at + 2 : close]
            out.append(next((s[name] for s in sources if name in s), f"$({name})"))
            at = close + 1
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)


_REFERENCE = re.compile(r"\$\(([^)]+)\)")


def expand_strictly(text: str, values: Mapping[str, str]) -> str:
    """For subPathExpr: a reference to what is not there is an error."""
    missing = [n for n in _REFERENCE.findall(text.replace("$$", "")) if n not in values]
    if missing:
        raise ConfigError(f"missing value for {missing[0]!r}".replace("'", '"'))
    return expand(text, values)


# -- services ------------------------------------------------------------------------------------------------------------


def service_variables(services: Iterable[Object], namespace: str, links: bool) -> dict[str, str]:
    """``X_SERVICE_HOST`` and its companions: of all services of the namespace, or only of the API server's own."""
    found: dict[str, str] = {}
    chosen: dict[str, Object] = {}
    for service in services:
        meta, spec = service.get("metadata") or {}, service.get("spec") or {}
        if not spec.get("ports") or spec.get("clusterIP") in (None, "", "None"):
            continue
        name = meta.get("name", "")
        if meta.get("namespace") == "default" and name == "kubernetes":
            chosen.setdefault(name, service)
        if meta.get("namespace") == namespace and links:
            chosen[name] = service
    for name, service in chosen.items():
        found |= _of_service(name, service["spec"])
    return found


def _of_service(service: str, spec: Mapping[str, Any]) -> dict[str, str]:
    prefix = service.replace("-", "_").upper()
    address, ports = spec["clusterIP"], spec["ports"]
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        number, protocol = port["port"], port.get("protocol") or "TCP"
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{port['name'].replace('-', '_').upper()}"] = str(number)
        url = f"{protocol.lower()}://{host}:{number}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found |= {
            stem: url,
            f"{stem}_PROTO": protocol.lower(),
            f"{stem}_PORT": str(number),
            f"{stem}_ADDR": address,
        }
    return found


# -- the downward API ----------------------------------------------------------------------------------------------------


_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def _go_map(values: Mapping[str, str]) -> str:
    """Sorted ``key="value"`` lines, quoted as Go does."""
    return "\n".join(f"{k}={_go_string(v)}" for k, v in sorted(values.items()))


def _go_string(text: str) -> str:
    escapes = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f"}
    out = [escapes.get(c) or (c if c.isprintable() else _go_escape(c)) for c in text]
    return '"' + "".join(out) + '"'


def _go_escape(char: str) -> str:
    code = ord(char)
    if char == "\v":
        return "\\v"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pod is: what fields and resources are filled in from."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, Any] = field(default_factory=dict)


def field_value(pod: Object, path: str, place: Place) -> str:
    """The text of a ``fieldRef``. Raises ConfigError for a path that is not offered."""
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    known: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: str(meta.get("name", "")),
        "metadata.namespace": lambda: str(meta.get("namespace", "")),
        "metadata.uid": lambda: str(meta.get("uid", "")),
        "metadata.labels": lambda: _go_map(meta.get("labels") or {}),
        "metadata.annotations": lambda: _go_map(meta.get("annotations") or {}),
        "spec.nodeName": lambda: str(spec.get("nodeName", "")),
        "spec.serviceAccountName": lambda: str(spec.get("serviceAccountName", "")),
        "status.hostIP": lambda: place.host_ips[0] if place.host_ips else "",
        "status.hostIPs": lambda: ",".join(place.host_ips),
        "status.podIP": lambda: place.pod_ips[0] if place.pod_ips else "",
        "status.podIPs": lambda: ",".join(place.pod_ips),
    }
    if path in known:
        return known[path]()
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript is not None:
        return str((meta.get(subscript[1]) or {}).get(subscript[2], ""))
    raise ConfigError(f"unsupported fieldPath: {path}")


def resource_value(pod: Object, container: Object, reference: Mapping[str, Any], place: Place) -> str:
    """The number of a ``resourceFieldRef``: a limit that is not set is what the node can give."""
    name = reference.get("containerName")
    if name:
        found = container_spec(pod, name)
        if found is None:
            raise ConfigError(f"container {name} not found")
        container = found
    kind, _, resource = str(reference.get("resource", "")).partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise ConfigError(f"unsupported container resource : {reference.get('resource')}")
    values = resources_of(container, kind)
    if kind == "limits":
        values = {k: v for k, v in place.allocatable.items() if k in ("cpu", "memory", "ephemeral-storage")}
        values |= effective_limits(pod, container)
    amount = parse_quantity(values.get(resource, 0))
    divisor = parse_quantity(reference.get("divisor") or 0) or Decimal(1)
    if resource == "cpu":
        # In thousandths, rounded up, then in units of the divisor.
        amount, divisor = amount * 1000, divisor * 1000
        return str(math.ceil(math.ceil(amount) / math.ceil(divisor)))
    return str(int((amount / divisor).to_integral_value(rounding=ROUND_CEILING)))


# -- the whole environment -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sources:
    """Fetched config maps and secrets by name; None where one is not there."""

    config_maps: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, bytes] | None] = field(default_factory=dict)
    files: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """Parsed env files by (volume, path)."""


def referenced(container: Object) -> tuple[set[str], set[str]]:
    """The names of the config maps and secrets that the environment of a container needs."""
    maps, secrets = set(), set()
    for source in container.get("envFrom") or ():
        if source.get("configMapRef"):
            maps.add(source["configMapRef"].get("name", ""))
        if source.get("secretRef"):
            secrets.add(source["secretRef"].get("name", ""))
    for variable in container.get("env") or ():
        chosen = variable.get("valueFrom") or {}
        if chosen.get("configMapKeyRef"):
            maps.add(chosen["configMapKeyRef"].get("name", ""))
        if chosen.get("secretKeyRef"):
            secrets.add(chosen["secretKeyRef"].get("name", ""))
    return maps, secrets


def environment(
    pod: Object, container: Object, sources: Sources, services: Mapping[str, str], place: Place
) -> dict[str, str]:
    """All variables of a container. Raises ConfigError where a reference cannot be resolved."""
    namespace = (pod.get("metadata") or {}).get("namespace", "")
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        values |= _from(source, sources, namespace)
    for variable in container.get("env") or ():
        text = variable.get("value") or ""
        if text:
            text = expand(text, values, services)
        elif variable.get("valueFrom"):
            found = _value_from(pod, container, variable["valueFrom"], sources, namespace, place)
            if found is None:
                continue
            text = found
        values[variable["name"]] = text
    return {**values, **{k: v for k, v in services.items() if k not in values}}


def _from(source: Object, sources: Sources, namespace: str) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    data: Mapping[str, Any] | None
    if source.get("configMapRef"):
        reference, kind = source["configMapRef"], "configmap"
        data = sources.config_maps.get(reference.get("name", ""))
    elif source.get("secretRef"):
        reference, kind = source["secretRef"], "secret"
        data = sources.secrets.get(reference.get("name", ""))
    else:
        return {}
    if data is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference.get("name", "")}" not found')
    return {prefix + k: _text(v) for k, v in data.items()}


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _value_from(
    pod: Object, container: Object, chosen: Object, sources: Sources, namespace: str, place: Place
) -> str | None:
    """None where an optional source is not there."""
    if chosen.get("fieldRef"):
        return field_value(pod, chosen["fieldRef"].get("fieldPath", ""), place)
    if chosen.get("resourceFieldRef"):
        return resource_value(pod, container, chosen["resourceFieldRef"], place)
    if chosen.get("fileKeyRef"):
        return _from_file(chosen["fileKeyRef"], sources)
    data: Mapping[str, Any] | None
    if chosen.get("configMapKeyRef"):
        reference, kind = chosen["configMapKeyRef"], "ConfigMap"
        data = sources.config_maps.get(reference.get("name", ""))
    elif chosen.get("secretKeyRef"):
        reference, kind = chosen["secretKeyRef"], "Secret"
        data = sources.secrets.get(reference.get("name", ""))
    else:
        return ""
    name, key = reference.get("name", ""), reference.get("key", "")
    if data is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    if key not in data:
        if reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return _text(data[key])


def _from_file(reference: Object, sources: Sources) -> str | None:
    name, path, key = (reference.get(k, "") for k in ("volumeName", "path", "key"))
    found = sources.files.get((name, path), {}).get(key, "")
    if found:
        return found
    if reference.get("optional"):
        return None
    raise ConfigError(f'environment variable key "{key}" not found in file "{path}"')


def command_and_arguments(container: Object, values: Mapping[str, str]) -> tuple[list[str], list[str]]:
    command = [expand(word, values) for word in container.get("command") or ()]
    return command, [expand(word, values) for word in container.get("args") or ()]
