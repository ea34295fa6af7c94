"""Ingresses and their classes, network policies, IP addresses, service CIDRs."""

from __future__ import annotations

from ..errors import forbidden_field, invalid_value, not_supported, required, too_long
from ..ips import parse_ip_sloppy
from .errors import Errors, Obj, go_struct, invalid_each
from .formats import (
    IMMUTABLE_WORDS,
    dns_label_problems,
    dns_subdomain_problems,
    path_segment_problems,
    port_name_problems,
    port_number_problems,
    size,
    wildcard_subdomain_problems,
)
from .ip_formats import canonical_cidr, canonical_ip, cidr_network, legacy_cidr, legacy_ip
from .kube_meta import validate_meta, validate_meta_update
from .meta import immutable, subdomain_name, validate_label_selector
from .prefixed import domain_prefixed_path
from .services import balancer_hostname

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
MAX_CONTROLLER = 250
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BANNED_IN_PATH = ("//", "/./", "/../", "%2f", "%2F")
_BANNED_AT_END = ("/..", "/.")


def _segment(obj: Obj, path: str, *fields: str) -> Errors:
    """Fields that must be there and can stand in a URL path."""
    found: Errors = []
    for field in fields:
        value, here = obj.get(field) or "", f"{path}.{field}"
        found += invalid_each(here, value, path_segment_problems(value)) if value else [required(here)]
    return found


def _object_reference(reference: Obj, path: str) -> Errors:
    group = reference.get("apiGroup")
    found = [] if group is None else invalid_each(f"{path}.apiGroup", group, dns_subdomain_problems(group))
    return found + _segment(reference, path, "kind", "name")


# Ingresses


def _host_problems(host: str) -> list[str]:
    return wildcard_subdomain_problems(host) if "*" in host else dns_subdomain_problems(host)


def _backend(backend: Obj, path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _object_reference(resource, f"{path}.resource")
    if service is None:
        return [invalid_value(path, "", "resource or service backend is required")]
    name, port, here = service.get("name") or "", service.get("port") or {}, f"{path}.service.name"
    found = invalid_each(here, name, dns_label_problems(name)) if name else [required(here)]
    port_name, number = port.get("name") or "", port.get("number") or 0
    if port_name and number:
        found.append(invalid_value(path, "", "cannot set both port name & port number"))
    elif port_name:
        found += invalid_each(f"{path}.service.port.name", port_name, port_name_problems(port_name))
    elif number:
        found += invalid_each(f"{path}.service.port.number", number, port_number_problems(number))
    else:
        found.append(required(path, "port name or number is required"))
    return found


def _http_path(entry: Obj, path: str) -> Errors:
    kind, target, here = entry.get("pathType"), entry.get("path") or "", f"{path}.path"
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    found: Errors = []
    if kind not in _PATH_TYPES:
        found.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif not target.startswith("/") and (target or kind != "ImplementationSpecific"):
        found.append(invalid_value(here, target, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        found += [
            invalid_value(here, target, f"must not contain '{part}'") for part in _BANNED_IN_PATH if part in target
        ]
        found += [
            invalid_value(here, target, f"cannot end with '{part}'") for part in _BANNED_AT_END if target.endswith(part)
        ]
    return found + _backend(entry.get("backend") or {}, f"{path}.backend")


def _rule_value(rule: Obj, path: str) -> Errors:
    if rule.get("http") is None:
        return []
    paths = rule["http"].get("paths") or []
    if not paths:
        return [required(f"{path}.http.paths")]
    return [e for i, entry in enumerate(paths) for e in _http_path(entry, f"{path}.http.paths[{i}]")]


def _rules(rules: list[Obj], lax_wildcards: bool) -> Errors:
    found: Errors = []
    for i, rule in enumerate(rules):
        host, path = rule.get("host") or "", f"spec.rules[{i}]"
        if host:
            if parse_ip_sloppy(host) is not None:
                found.append(invalid_value(f"{path}.host", host, "must be a DNS name, not an IP address"))
            found += invalid_each(f"{path}.host", host, _host_problems(host))
        if not (lax_wildcards and "*" in host):
            found += _rule_value(rule, path)
    return found


def _secret_problems(entry: Obj) -> list[str]:
    name = entry.get("secretName") or ""
    return dns_subdomain_problems(name) if name else []


def _tls(entries: list[Obj], lax_secrets: bool) -> Errors:
    found: Errors = []
    for i, entry in enumerate(entries):
        for j, host in enumerate(entry.get("hosts") or ()):
            found += invalid_each(f"spec.tls[{i}].hosts[{j}]", host, _host_problems(host))
        if not lax_secrets:
            found += invalid_each(f"spec.tls[{i}].secretName", entry.get("secretName") or "", _secret_problems(entry))
    return found


def _ingress(ingress: Obj, old: Obj | None) -> Errors:
    found = validate_meta(ingress.get("metadata") or {}, True, subdomain_name)
    spec, before = ingress.get("spec") or {}, (old or {}).get("spec") or {}
    rules, default = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and default is None:
        words = "either `defaultBackend` or `rules` must be specified"
        found.append(invalid_value("spec", spec.get("rules"), words))
    if default is not None:
        found += _backend(default, "spec.defaultBackend")
    stored = before.get("rules") or []
    lax_wildcards = any("*" in (rule.get("host") or "") and _rule_value(rule, "") for rule in stored)
    found += _rules(rules, lax_wildcards)
    lax_secrets = any(_secret_problems(entry) for entry in before.get("tls") or ())
    found += _tls(spec.get("tls") or [], lax_secrets)
    name = spec.get("ingressClassName")
    if name is not None:
        found += invalid_each("spec.ingressClassName", name, dns_subdomain_problems(name))
    return found


def _ingress_create(ingress: Obj) -> Errors:
    found = _ingress(ingress, None)
    annotation = ((ingress.get("metadata") or {}).get("annotations") or {}).get(CLASS_ANNOTATION)
    name = (ingress.get("spec") or {}).get("ingressClassName")
    if None not in (annotation, name) and annotation != name:
        words = "must match `ingressClassName` when both are specified"
        found.append(invalid_value(f"annotations.{CLASS_ANNOTATION}", annotation, words))
    return found


def _ingress_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _ingress(new, old)


def _balancers(obj: Obj) -> list[Obj]:
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def _ingress_status(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    known = [entry["ip"] for entry in _balancers(old) if entry.get("ip")]
    for i, entry in enumerate(_balancers(new)):
        path = f"status.loadBalancer.ingress[{i}]"
        if entry.get("ip"):
            found += legacy_ip(entry["ip"], f"{path}.ip", known)
        found += balancer_hostname(entry.get("hostname") or "", f"{path}.hostname")
    return found


# Ingress classes


def _class(ingress_class: Obj) -> Errors:
    found = validate_meta(ingress_class.get("metadata") or {}, False, subdomain_name)
    spec = ingress_class.get("spec") or {}
    controller = spec.get("controller") or ""
    if size(controller) > MAX_CONTROLLER:
        found.append(too_long("spec.controller", MAX_CONTROLLER))
    found += domain_prefixed_path(controller, "spec.controller")
    return found + _parameters(spec.get("parameters"), "spec.parameters")


def _parameters(parameters: Obj | None, path: str) -> Errors:
    if parameters is None:
        return []
    found = _object_reference(parameters, path)
    scope, namespace, here = parameters.get("scope"), parameters.get("namespace"), f"{path}.namespace"
    if scope is None:
        found.append(required(f"{path}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        found.append(not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Cluster" and namespace is not None:
        found.append(forbidden_field(here, "`parameters.scope` is set to 'Cluster'"))
    elif scope == "Namespace" and namespace is None:
        found.append(required(here, "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Namespace":
        found += invalid_each(here, namespace, dns_label_problems(namespace or ""))
    return found


def _class_update(new: Obj, old: Obj) -> Errors:
    wanted, stored = ((o.get("spec") or {}).get("controller") or "" for o in (new, old))
    return validate_meta_update(new, old) + immutable(wanted, stored, "spec.controller") + _class(new)


# Network policies


def _policy_port(port: Obj, path: str) -> Errors:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    known, here = ("TCP", "UDP", "SCTP"), f"{path}.endPort"
    found = [] if protocol in (None, *known) else [not_supported(f"{path}.protocol", protocol, known)]
    if number is None:
        if end is not None:
            found.append(invalid_value(here, end, "may not be specified when `port` is not specified"))
    elif isinstance(number, int):
        found += invalid_each(f"{path}.port", number, port_number_problems(number))
        if end is not None:
            if end < number:
                found.append(invalid_value(here, number, "must be greater than or equal to `port`"))
            found += invalid_each(here, end, port_number_problems(end))
    else:
        if end is not None:
            found.append(invalid_value(here, end, "may not be specified when `port` is non-numeric"))
        found += invalid_each(f"{path}.port", number, port_name_problems(number))
    return found


def _peer(peer: Obj, path: str, lax: bool, known: list[str]) -> Errors:
    found: Errors = []
    selectors = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    for field in selectors:
        found += validate_label_selector(peer[field], f"{path}.{field}", lax_values=lax)
    block = peer.get("ipBlock")
    if block is not None:
        found += _ip_block(block, f"{path}.ipBlock", known)
        if selectors:
            found.append(forbidden_field(path, "may not specify both ipBlock and another peer"))
    elif not selectors:
        found.append(required(path, "must specify a peer"))
    return found


def _ip_block(block: Obj, path: str, known: list[str]) -> Errors:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [required(f"{path}.cidr")]
    found, network = legacy_cidr(cidr, f"{path}.cidr", known), cidr_network(cidr)
    if network is None:
        return found
    for i, exception in enumerate(block.get("except") or ()):
        here, inner = f"{path}.except[{i}]", cidr_network(exception)
        found += legacy_cidr(exception, here, known)
        if inner is None:
            continue
        inside = inner.version == network.version and inner.network_address in network
        if not inside or network.prefixlen >= inner.prefixlen:
            found.append(invalid_value(here, exception, "must be a strict subset of `cidr`"))
    return found


_DIRECTIONS = (("ingress", "from"), ("egress", "to"))


def _stored_cidrs(spec: Obj) -> list[str]:
    found: list[str] = []
    for direction, peers in _DIRECTIONS:
        for rule in spec.get(direction) or ():
            for peer in rule.get(peers) or ():
                block = peer.get("ipBlock") or {}
                found += [block.get("cidr") or "", *(block.get("except") or ())]
    return found


def _policy_spec(spec: Obj, before: Obj | None) -> Errors:
    lax = bool(validate_label_selector((before or {}).get("podSelector"), ""))
    known = _stored_cidrs(before or {})
    found = validate_label_selector(spec.get("podSelector"), "spec.podSelector", lax_values=lax)
    for direction, peers in _DIRECTIONS:
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                found += _policy_port(port, f"{path}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers) or ()):
                found += _peer(peer, f"{path}.{peers}[{j}]", lax, known)
    types, allowed = spec.get("policyTypes") or [], ("Ingress", "Egress")
    if len(types) > len(allowed):
        return [*found, invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes")]
    for i, kind in enumerate(types):
        if kind not in allowed:
            found.append(not_supported(f"spec.policyTypes[{i}]", kind, allowed))
    return found


def _policy(policy: Obj) -> Errors:
    return validate_meta(policy.get("metadata") or {}, True, subdomain_name) + _policy_spec(
        policy.get("spec") or {}, None
    )


def _policy_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _policy_spec(new.get("spec") or {}, old.get("spec") or {})


# Addresses and ranges of services


def _address_name(name: str, prefix: bool) -> list[str]:
    # The bodies read 'Invalid value: "x": words'; a name rule gives the words.
    return [error.body.split('": ', 1)[1] for error in canonical_ip(name, "")]


def _address(address: Obj) -> Errors:
    found = validate_meta(address.get("metadata") or {}, False, _address_name)
    parent, path = (address.get("spec") or {}).get("parentRef"), "spec.parentRef"
    if parent is None:
        return [*found, required(path)]
    group, namespace = parent.get("group") or "", parent.get("namespace") or ""
    if group:
        found += invalid_each(f"{path}.group", group, dns_subdomain_problems(group))
    found += _segment(parent, path, "resource", "name")
    if namespace:
        found += invalid_each(f"{path}.namespace", namespace, path_segment_problems(namespace))
    return found


def _address_update(new: Obj, old: Obj) -> Errors:
    fields = "group resource namespace name"
    wanted, stored = (go_struct((o.get("spec") or {}).get("parentRef"), fields) for o in (new, old))
    return _address(new) + validate_meta_update(new, old) + immutable(wanted, stored, "spec.parentRef")


def _cidrs(spec: Obj) -> Errors:
    cidrs, path = spec.get("cidrs") or [], "spec.cidrs"
    if not cidrs:
        return [required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [invalid_value(path, {"CIDRs": cidrs}, "may only hold up to 2 values")]
    found = [e for i, cidr in enumerate(cidrs) for e in canonical_cidr(cidr, f"{path}[{i}]")]
    networks = [cidr_network(cidr) for cidr in cidrs]
    versions = [network.version for network in networks if network is not None]
    if len(versions) == 2 and versions[0] == versions[1]:
        words = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        found.append(invalid_value(path, cidrs, words))
    return found


def _service_cidr(service_cidr: Obj) -> Errors:
    found = validate_meta(service_cidr.get("metadata") or {}, False, subdomain_name)
    return found + _cidrs(service_cidr.get("spec") or {})


def _service_cidr_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    spec, path = new.get("spec") or {}, "spec.cidrs"
    cidrs, before = spec.get("cidrs") or [], (old.get("spec") or {}).get("cidrs") or []
    widening = len(before) == 1 and len(cidrs) == 2
    if len(before) != len(cidrs) and not widening:
        return [*found, invalid_value(path, spec.get("cidrs"), IMMUTABLE_WORDS)]
    for i, (cidr, stored) in enumerate(zip(cidrs, before, strict=False)):
        if cidr != stored:
            found.append(invalid_value(f"{path}[{i}]", cidr, IMMUTABLE_WORDS))
    return found + (_cidrs(spec) if widening else [])


_GROUP = "networking.k8s.io"
CREATE = {
    (_GROUP, "ingresses"): _ingress_create,
    (_GROUP, "ingressclasses"): _class,
    (_GROUP, "networkpolicies"): _policy,
    (_GROUP, "ipaddresses"): _address,
    (_GROUP, "servicecidrs"): _service_cidr,
}
UPDATE = {
    (_GROUP, "ingresses", ""): _ingress_update,
    (_GROUP, "ingresses", "status"): _ingress_status,
    (_GROUP, "ingressclasses", ""): _class_update,
    (_GROUP, "networkpolicies", ""): _policy_update,
    (_GROUP, "ipaddresses", ""): _address_update,
    (_GROUP, "servicecidrs", ""): _service_cidr_update,
    (_GROUP, "servicecidrs", "status"): validate_meta_update,
}
