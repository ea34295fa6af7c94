"""Services, Endpoints and load balancer status. Specified by "Service" and the Service API reference."""

from __future__ import annotations

from typing import Any

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required
from ..ips import is_ipv6, parse_ip_sloppy
from ..strategy.services import is_externally_accessible, needs_health_check_port
from .affinity import qualified
from .containers import PROTOCOLS, port_or_name
from .errors import Errors, Obj, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, port_number_problems
from .ip_formats import endpoint_ip, is_dual_stack, legacy_cidr, legacy_ip
from .kube_meta import validate_meta, validate_meta_update
from .meta import label_name, subdomain_name, validate_labels

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_TRAFFIC = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_HINTS = "service.kubernetes.io/topology-aware-hints"
_MODE = "service.kubernetes.io/topology-mode"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"
_MAX_AFFINITY = 86400


def _headless(spec: Obj) -> bool:
    return spec.get("clusterIPs") == ["None"]


def _one_of(value: str, path: str, known: tuple[str, ...]) -> Errors:
    if value in known:
        return []
    return [not_supported(path, value, known) if value else required(path)]


def validate_service(service: Obj) -> Errors:
    return validate_meta(service.get("metadata") or {}, True, label_name) + _service(service, None)


def _service(service: Obj, old: Obj | None) -> Errors:
    spec: Obj = service.get("spec") or {}
    before: Obj = (old or {}).get("spec") or {}
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    found: Errors = []
    if _MODE in annotations and _HINTS in annotations and annotations[_MODE] != annotations[_HINTS]:
        words = f"must match annotations[{_HINTS}] when both are specified"
        found.append(invalid_value(f"metadata.annotations[{_MODE}]", annotations[_MODE], words))
    found += _by_type(spec)
    found += _ports(spec)
    found += validate_labels(spec.get("selector"), "spec.selector")
    found += _affinity(spec)
    found += _cluster_ips(spec, before.get("clusterIPs") or [])
    for i, address in enumerate(spec.get("externalIPs") or ()):
        here = f"spec.externalIPs[{i}]"
        found += legacy_ip(address, here, before.get("externalIPs") or []) or endpoint_ip(address, here)
    found += _one_of(spec.get("type") or "", "spec.type", _TYPES)
    found += _repeated_ports(spec)
    found += _source_ranges(spec, before, annotations, old)
    found += _load_balancer(spec)
    return found + _traffic(spec)


def _by_type(spec: Obj) -> Errors:
    kind, found = spec.get("type"), Errors()
    if not spec.get("ports") and not _headless(spec) and kind != "ExternalName":
        found.append(required("spec.ports"))
    if kind in ("LoadBalancer", "NodePort") and _headless(spec):
        found.append(invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        words = "may not be set for ExternalName services"
        for field in ("clusterIPs", "ipFamilies"):
            if spec.get(field):
                found.append(forbidden_field(f"spec.{field}", words))
        if spec.get("ipFamilyPolicy") is not None:
            found.append(forbidden_field("spec.ipFamilyPolicy", words))
        name = (spec.get("externalName") or "").removesuffix(".")
        if name:
            found += invalid_each("spec.externalName", name, dns_subdomain_problems(name))
        else:
            found.append(required("spec.externalName"))
    return found


def _ports(spec: Obj) -> Errors:
    found: Errors = []
    ports = spec.get("ports") or []
    names: set[str] = set()
    for i, port in enumerate(ports):
        here, name, number = f"spec.ports[{i}]", port.get("name") or "", port.get("port") or 0
        if not name:
            if len(ports) > 1:
                found.append(required(f"{here}.name"))
        else:
            found += invalid_each(f"{here}.name", name, dns_label_problems(name))
            if name in names:
                found.append(duplicate(f"{here}.name", name))
            names.add(name)
        found += invalid_each(f"{here}.port", number, port_number_problems(number))
        found += _one_of(port.get("protocol") or "", f"{here}.protocol", PROTOCOLS)
        found += port_or_name(port.get("targetPort"), f"{here}.targetPort")
        if port.get("appProtocol") is not None:
            found += qualified(port["appProtocol"], f"{here}.appProtocol")
    return found


def _affinity(spec: Obj) -> Errors:
    kind, config = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig")
    found = _one_of(kind, "spec.sessionAffinity", _AFFINITIES)
    path = "spec.sessionAffinityConfig"
    if kind == "None" and config is not None:
        found.append(forbidden_field(path, "must not be set when session affinity is None"))
    if kind != "ClientIP":
        return found
    words = "when session affinity type is ClientIP"
    if config is None:
        return [*found, required(path, words)]
    if config.get("clientIP") is None:
        return [*found, required(f"{path}.clientIP", words)]
    seconds = config["clientIP"].get("timeoutSeconds")
    if seconds is None:
        return [*found, required(f"{path}.clientIP.timeoutSeconds", words)]
    if not 0 < seconds <= _MAX_AFFINITY:
        words = f"must be greater than 0 and less than {_MAX_AFFINITY}"
        found.append(invalid_value(f"{path}.clientIP.timeoutSeconds", seconds, words))
    return found


def _cluster_ips(spec: Obj, known: list[str]) -> Errors:
    if spec.get("type") == "ExternalName":
        return []
    path = "spec.clusterIPs"
    single, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    found: Errors = []
    if single and not addresses:
        found.append(required(path))
    elif single and addresses[0] != single:
        found.append(invalid_value(path, addresses, "first value must match `clusterIP`"))
    elif not single and addresses:
        found.append(invalid_value(path, addresses, "must be empty when `clusterIP` is not specified"))
    for i, family in enumerate(families):
        if family not in _FAMILIES:
            found.append(not_supported(f"spec.ipFamilies[{i}]", family, _FAMILIES))
        if family in families[:i]:
            found.append(duplicate(f"spec.ipFamilies[{i}]", family))
    if policy is not None and policy not in _FAMILY_POLICIES:
        found.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    bad = False
    for i, address in enumerate(addresses):
        if i == 0 and address == "None":
            if len(addresses) > 1:
                bad = True
                found.append(invalid_value(path, addresses, "'None' must be the first and only value"))
            continue
        errors = legacy_ip(address, f"{path}[{i}]", known)
        bad = bad or bool(errors)
        found += errors
    if len(addresses) > 2:
        found.append(invalid_value(path, addresses, "may only hold up to 2 values"))
    return found if bad else found + _families_match(addresses, families, path)


def _families_match(addresses: list[str], families: list[str], path: str) -> Errors:
    found: Errors = []
    if len(addresses) > 1 and not is_dual_stack(addresses):
        found.append(invalid_value(path, addresses, "may specify no more than one IP for each IP family"))
    if addresses == ["None"]:
        return found
    for i, (address, family) in enumerate(zip(addresses, families, strict=False)):
        if family in _FAMILIES and (family == "IPv6") != is_ipv6(address):
            words = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
            found.append(invalid_value(f"{path}[{i}]", address, words))
    return found


def _repeated_ports(spec: Obj) -> Errors:
    found: Errors = []
    ports = spec.get("ports") or []
    if spec.get("type") == "ClusterIP":
        words = "may not be used when `type` is 'ClusterIP'"
        found += [forbidden_field(f"spec.ports[{i}].nodePort", words) for i, p in enumerate(ports) if p.get("nodePort")]
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol") or "", port.get("nodePort") or 0)
        if key[1] and key in seen:
            found.append(duplicate(f"spec.ports[{i}].nodePort", key[1]))
        seen.add(key)
    seen = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol") or "", port.get("port") or 0)
        if key in seen:
            found.append(duplicate(f"spec.ports[{i}]", _go_port(*key)))
        seen.add(key)
    return found


def _go_port(protocol: str, port: int) -> Obj:
    """A ServicePort with these two fields as upstream prints its internal type."""
    shown: Obj = {"Name": "", "Protocol": protocol, "AppProtocol": None, "Port": port, "TargetPort": 0, "NodePort": 0}
    return shown


def _source_ranges(spec: Obj, before: Obj, annotations: Obj, old: Obj | None) -> Errors:
    found: Errors = []
    ranges, balancer = spec.get("loadBalancerSourceRanges") or [], spec.get("type") == "LoadBalancer"
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if not balancer:
            found.append(forbidden_field(path, _BALANCER_ONLY))
        known = [r.strip() for r in before.get("loadBalancerSourceRanges") or ()]
        for i, cidr in enumerate(ranges):
            found += legacy_cidr(cidr.strip(), f"{path}[{i}]", known)
    elif _RANGES in annotations:
        path, text = f"metadata.annotations[{_RANGES}]", annotations[_RANGES]
        if not balancer:
            found.append(forbidden_field(path, _BALANCER_ONLY))
        earlier = ((old or {}).get("metadata") or {}).get("annotations") or {}
        if old is None or earlier.get(_RANGES, "") != text:
            if text.strip():
                for cidr in text.strip().split(","):
                    found += legacy_cidr(cidr.strip(), path)
    return found


def _load_balancer(spec: Obj) -> Errors:
    found: Errors = []
    balancer = spec.get("type") == "LoadBalancer"
    if spec.get("allocateLoadBalancerNodePorts") is not None:
        if not balancer:
            found.append(forbidden_field("spec.allocateLoadBalancerNodePorts", _BALANCER_ONLY))
    elif balancer:
        found.append(required("allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if balancer:
            found += qualified(name, "spec.loadBalancerClass")
        else:
            found.append(forbidden_field("spec.loadBalancerClass", _BALANCER_ONLY))
    return found


def _traffic(spec: Obj) -> Errors:
    found: Errors = []
    external, internal = spec.get("externalTrafficPolicy") or "", spec.get("internalTrafficPolicy")
    port, distribution = spec.get("healthCheckNodePort") or 0, spec.get("trafficDistribution")
    if is_externally_accessible(spec):
        found += _one_of(external, "spec.externalTrafficPolicy", _TRAFFIC)
    elif external:
        words = "may only be set for externally-accessible services"
        found.append(invalid_value("spec.externalTrafficPolicy", external, words))
    path = "spec.healthCheckNodePort"
    if not needs_health_check_port(spec):
        if port:
            words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(invalid_value(path, port, words))
    elif not port:
        found.append(required(path))
    else:
        found += invalid_each(path, port, port_number_problems(port))
    if internal is None:
        if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
            found.append(required("spec.internalTrafficPolicy"))
    elif internal not in _TRAFFIC:
        found.append(not_supported("spec.internalTrafficPolicy", internal, _TRAFFIC))
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        found.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return found


def validate_service_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = validate_meta_update(new, old)
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        found += _cluster_ip_changes(spec, before) + _family_changes(spec, before)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            found.append(invalid_value("spec.loadBalancerClass", name, "may not change once set"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if spec.get("type") == "LoadBalancer":
            found += qualified(name, "spec.loadBalancerClass")
        else:
            found.append(forbidden_field("spec.loadBalancerClass", _BALANCER_ONLY))
    if needs_health_check_port(before) and needs_health_check_port(spec):
        if (spec.get("healthCheckNodePort") or 0) != (before.get("healthCheckNodePort") or 0):
            found.append(forbidden_field("spec.healthCheckNodePort", "field is immutable"))
    return found + _service(new, old)


_ONCE = "may not change once set"


def _shrinks_to_single(spec: Obj, what: str) -> Errors:
    policy = spec.get("ipFamilyPolicy")
    if policy == "SingleStack":
        return []
    words = f"must be set to 'SingleStack' when releasing the secondary {what}"
    return [invalid_value("spec.ipFamilyPolicy", policy, words)]


def _cluster_ip_changes(spec: Obj, before: Obj) -> Errors:
    new, old = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    if _headless(spec) and _headless(before):
        return []
    shown: Any = new or None
    found: Errors = []
    if len(old) == len(new):
        for i, address in enumerate(old):
            if address != new[i]:
                found.append(invalid_value(f"spec.clusterIPs[{i}]", shown, _ONCE))
    elif len(old) > len(new):
        if not new:
            found.append(invalid_value("spec.clusterIPs[0]", shown, "primary clusterIP can not be unset"))
        elif new[0] != old[0]:
            found.append(invalid_value("spec.clusterIPs[0]", shown, _ONCE))
        if len(new) == 1:
            found += _shrinks_to_single(spec, "clusterIP")
    elif old and new[0] != old[0]:
        found.append(invalid_value("spec.clusterIPs[0]", shown, _ONCE))
    return found


def _family_changes(spec: Obj, before: Obj) -> Errors:
    new, old = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    if _headless(spec) or _headless(before):
        return []
    addresses: Any = spec.get("clusterIPs") or None
    path, found = "spec.ipFamilies[0]", Errors()
    if len(old) == len(new):
        found += [invalid_value(path, new, _ONCE) for a, b in zip(old, new, strict=True) if a != b]
    elif len(old) > len(new):
        if not addresses:
            found.append(invalid_value(path, new or None, "primary ipFamily can not be unset"))
        if new and new[0] != old[0]:
            found.append(invalid_value(path, addresses, _ONCE))
        if len(new) == 1:
            found += _shrinks_to_single(spec, "ipFamily")
    elif old and new[0] != old[0]:
        found.append(invalid_value(path, addresses, _ONCE))
    return found


def validate_service_status(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    ingress = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    before = ((old.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if (new.get("spec") or {}).get("type") != "LoadBalancer":
        if ingress:
            words = "may only be used when `spec.type` is 'LoadBalancer'"
            found.append(forbidden_field("status.loadBalancer.ingress", words))
        return found
    known = [e["ip"] for e in before if e.get("ip")]
    for i, entry in enumerate(ingress):
        here, address, mode = f"status.loadBalancer.ingress[{i}]", entry.get("ip") or "", entry.get("ipMode")
        if address:
            found += legacy_ip(address, f"{here}.ip", known)
        if mode is None:
            if address:
                found.append(required(f"{here}.ipMode", "must be specified when `ip` is set"))
        elif not address:
            found.append(forbidden_field(f"{here}.ipMode", "may not be specified when `ip` is not set"))
        elif mode not in ("Proxy", "VIP"):
            found.append(not_supported(f"{here}.ipMode", mode, ("Proxy", "VIP")))
        found += balancer_hostname(entry.get("hostname") or "", f"{here}.hostname")
    return found


def balancer_hostname(name: str, path: str) -> Errors:
    if not name:
        return []
    found = invalid_each(path, name, dns_subdomain_problems(name))
    if parse_ip_sloppy(name) is not None:
        found.append(invalid_value(path, name, "must be a DNS name, not an IP address"))
    return found


def validate_endpoints(endpoints: Obj) -> Errors:
    return _endpoints(endpoints, None)


def _endpoints(endpoints: Obj, old: Obj | None) -> Errors:
    found = validate_meta(endpoints.get("metadata") or {}, True, subdomain_name)
    subsets = endpoints.get("subsets") or []
    if old is not None and subsets == (old.get("subsets") or []):
        return found
    for i, subset in enumerate(subsets):
        here = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(required(here, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                found += _endpoint_address(address, f"{here}.{field}[{j}]")
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            found += _endpoint_port(port, f"{here}.ports[{j}]", len(ports) > 1)
    return found


def _endpoint_address(address: Obj, path: str) -> Errors:
    text, host, node = address.get("ip") or "", address.get("hostname") or "", address.get("nodeName")
    found = legacy_ip(text, f"{path}.ip")
    if host:
        found += invalid_each(f"{path}.hostname", host, dns_label_problems(host))
    if node is not None:
        found += invalid_each(f"{path}.nodeName", node, dns_subdomain_problems(node))
    return found + endpoint_ip(text, f"{path}.ip")


def _endpoint_port(port: Obj, path: str, needs_name: bool) -> Errors:
    name, number, found = port.get("name") or "", port.get("port") or 0, Errors()
    if name:
        found += invalid_each(f"{path}.name", name, dns_label_problems(name))
    elif needs_name:
        found.append(required(f"{path}.name"))
    found += invalid_each(f"{path}.port", number, port_number_problems(number))
    found += _one_of(port.get("protocol") or "", f"{path}.protocol", PROTOCOLS)
    if port.get("appProtocol") is not None:
        found += qualified(port["appProtocol"], f"{path}.appProtocol")
    return found


def validate_endpoints_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _endpoints(new, old)


CREATE = {("", "services"): validate_service, ("", "endpoints"): validate_endpoints}
UPDATE = {
    ("", "services", ""): validate_service_update,
    ("", "services", "status"): validate_service_status,
    ("", "endpoints", ""): validate_endpoints_update,
}
