"""Endpoint slices."""

from __future__ import annotations

from ..errors import duplicate, invalid_value, not_supported, required, too_many
from ..ips import parse_ip_sloppy
from ..strategy.base import semantically_equal
from .containers import PROTOCOLS
from .errors import Errors, Obj, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, label_value_problems, qualified_name_problems
from .ip_formats import canonical_ip, endpoint_ip, legacy_ip
from .kube_meta import validate_meta
from .meta import immutable, subdomain_name, validate_labels

MAX_ADDRESSES = 100
MAX_PORTS = 20_000
MAX_ENDPOINTS = 1000
MAX_TOPOLOGY = 16
MAX_HINTS = 8
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")


def full_domain_name(name: str, path: str) -> Errors:
    """A name of at least two labels; a dot may end it."""
    if not name:
        return [required(path)]
    name = name.removesuffix(".")
    problems = dns_subdomain_problems(name)
    if problems:
        return [invalid_value(path, name, ",".join(problems))]
    labels = name.split(".")
    if len(labels) < 2:
        return [invalid_value(path, name, "should be a domain with at least two segments separated by dots")]
    for label in labels:
        problems = dns_label_problems(label)
        if problems:
            return [invalid_value(path, label, ",".join(problems))]
    return []


def _address(address: str, kind: str, path: str, i: int) -> Errors:
    here = f"{path}[{i}]"
    if kind == "FQDN":
        return full_domain_name(address, here)
    if kind not in ("IPv4", "IPv6"):
        return []
    found = legacy_ip(address, here) if kind == "IPv4" else canonical_ip(address, here)
    if found:
        return found
    parsed = parse_ip_sloppy(address)
    if parsed is not None and f"IPv{parsed.version}" != kind:
        found.append(invalid_value(path, address, f"must be an {kind} address"))
    return found + endpoint_ip(address, here)


def _endpoints(endpoints: list[Obj], kind: str) -> Errors:
    if len(endpoints) > MAX_ENDPOINTS:
        return [too_many("endpoints", len(endpoints), MAX_ENDPOINTS)]
    return [e for i, endpoint in enumerate(endpoints) for e in _endpoint(endpoint, kind, f"endpoints[{i}]")]


def _endpoint(endpoint: Obj, kind: str, path: str) -> Errors:
    addresses, here, found = endpoint.get("addresses") or [], f"{path}.addresses", Errors()
    if not addresses:
        found.append(required(here, "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        found.append(too_many(here, len(addresses), MAX_ADDRESSES))
    for i, address in enumerate(addresses):
        found += _address(address, kind, here, i)
    node, host, topology = endpoint.get("nodeName"), endpoint.get("hostname"), endpoint.get("deprecatedTopology") or {}
    if node is not None:
        found += invalid_each(f"{path}.nodeName", node, dns_subdomain_problems(node))
    if len(topology) > MAX_TOPOLOGY:
        found.append(too_many(f"{path}.deprecatedTopology", len(topology), MAX_TOPOLOGY))
    found += validate_labels(topology, f"{path}.deprecatedTopology")
    if host is not None:
        found += invalid_each(f"{path}.hostname", host, dns_label_problems(host))
    return found + _hints(endpoint.get("hints") or {}, f"{path}.hints")


def _hints(hints: Obj, path: str) -> Errors:
    found: Errors = []
    for field, check in (("forZones", label_value_problems), ("forNodes", dns_subdomain_problems)):
        entries, here = hints.get(field) or [], f"{path}.{field}"
        if len(entries) > MAX_HINTS:
            return [*found, too_many(here, len(entries), MAX_HINTS)]
        seen: set[str] = set()
        for i, entry in enumerate(entries):
            name = entry.get("name") or ""
            if name in seen:
                found.append(duplicate(f"{here}[{i}].name", name))
            seen.add(name)
            found += invalid_each(f"{here}[{i}].name", name, check(name))
    return found


def _ports(ports: list[Obj]) -> Errors:
    if len(ports) > MAX_PORTS:
        return [too_many("ports", len(ports), MAX_PORTS)]
    found: Errors = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name, protocol, application = port.get("name") or "", port.get("protocol"), port.get("appProtocol")
        if name:
            found += invalid_each(f"ports[{i}].name", name, dns_label_problems(name))
        if name in seen:
            found.append(duplicate(f"ports[{i}].name", name))
        seen.add(name)
        if protocol is None:
            found.append(required(f"ports[{i}].protocol"))
        elif protocol not in PROTOCOLS:
            found.append(not_supported(f"ports[{i}].protocol", protocol, PROTOCOLS))
        if application is not None:
            found += invalid_each(f"ports[{i}].appProtocol", application, qualified_name_problems(application))
    return found


def _slice(endpoint_slice: Obj, old: Obj | None) -> Errors:
    found = validate_meta(endpoint_slice.get("metadata") or {}, True, subdomain_name)
    kind, endpoints = endpoint_slice.get("addressType") or "", endpoint_slice.get("endpoints") or []
    if not kind:
        found.append(required("addressType"))
    elif kind not in _ADDRESS_TYPES:
        found.append(not_supported("addressType", kind, _ADDRESS_TYPES))
    found += _ports(endpoint_slice.get("ports") or [])
    if old is not None and semantically_equal(endpoints, old.get("endpoints") or []):
        return found
    return found + _endpoints(endpoints, kind)


def _slice_create(endpoint_slice: Obj) -> Errors:
    return _slice(endpoint_slice, None)


def _slice_update(new: Obj, old: Obj) -> Errors:
    return _slice(new, old) + immutable(new.get("addressType") or "", old.get("addressType") or "", "addressType")


CREATE = {("discovery.k8s.io", "endpointslices"): _slice_create}
UPDATE = {("discovery.k8s.io", "endpointslices", ""): _slice_update}
