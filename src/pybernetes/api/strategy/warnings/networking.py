"""Warnings about addresses, services, endpoints, ingresses and network policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address

from ...errors import go_quote
from ...ips import is_mapped, parse_cidr_sloppy, parse_cidr_strict, parse_ip_sloppy, parse_ip_strict
from ..base import Obj


def ip_warnings(path: str, text: str) -> list[str]:
    """An address that strict parsers refuse, or that is not in canonical form."""
    known = parse_ip_sloppy(text)
    if known is None:
        return []
    strict = parse_ip_strict(text)
    if strict is None or is_mapped(strict):
        return [f"{path}: non-standard IP address {go_quote(text)} is invalid: use {go_quote(str(known))}"]
    if isinstance(strict, IPv6Address) and str(strict) != text:
        canonical = go_quote(str(strict))
        return [f"{path}: IPv6 address {go_quote(text)} should be in RFC 5952 canonical format ({canonical})"]
    return []


def cidr_warnings(path: str, text: str) -> list[str]:
    known = parse_cidr_sloppy(text)
    if known is None:
        return []
    address, network = known
    value, whole = go_quote(text), go_quote(str(network))
    found = []
    if address != network.network_address:
        single = go_quote(f"{address}/{address.max_prefixlen}")
        found.append(f"{path}: CIDR value {value} is ambiguous in this context (should be {whole} or {single}?)")
    strict = parse_cidr_strict(text)
    if strict is None or is_mapped(strict[0]):
        found.append(f"{path}: non-standard CIDR value {value} is invalid: use {whole}")
    elif not found and isinstance(strict[0], IPv6Address):
        canonical = f"{strict[0]}/{strict[1].prefixlen}"
        if canonical != text:
            form = go_quote(canonical)
            found.append(f"{path}: IPv6 CIDR value {value} should be in RFC 5952 canonical format ({form})")
    return found


def _each(path: str, addresses: Iterable[str]) -> list[str]:
    return [w for i, a in enumerate(addresses) for w in ip_warnings(f"{path}[{i}]", a)]


def _labels(obj: Obj) -> Mapping[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def service_warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj.get("spec") or {}
    found = []
    if "service.kubernetes.io/topology-aware-hints" in ((obj.get("metadata") or {}).get("annotations") or {}):
        found.append(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use "
            "service.kubernetes.io/topology-mode instead"
        )
    kind, cluster_ip, external = spec.get("type"), spec.get("clusterIP") or "", spec.get("externalIPs") or []
    headless = kind == "ClusterIP" and cluster_ip == "None"
    if cluster_ip not in ("", "None"):
        found += _each("spec.clusterIPs", spec.get("clusterIPs") or ())
    if headless:
        if spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            found.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    found += _each("spec.externalIPs", external)
    if external and not headless and kind != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        found += ip_warnings("spec.loadBalancerIP", spec["loadBalancerIP"])
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += cidr_warnings(f"spec.loadBalancerSourceRanges[{i}]", cidr)
    if kind == "ExternalName" and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def load_balancer_warnings(obj: Obj) -> list[str]:
    ingress = (((obj.get("status") or {}).get("loadBalancer")) or {}).get("ingress") or ()
    path = "status.loadBalancer.ingress"
    return [w for i, e in enumerate(ingress) if e.get("ip") for w in ip_warnings(f"{path}[{i}]", e["ip"])]


def endpoints_warnings(obj: Obj) -> list[str]:
    if _labels(obj).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return []
    found = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field) or ()):
                found += ip_warnings(f"subsets[{i}].{field}[{j}].ip", address.get("ip") or "")
    return found


_SLICE_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")


def endpoint_slice_warnings(obj: Obj, *, created: bool) -> list[str]:
    found = []
    if created and obj.get("addressType") == "FQDN":
        found.append("spec.addressType: FQDN endpoints are deprecated")
    if _labels(obj).get("endpointslice.kubernetes.io/managed-by") not in _SLICE_CONTROLLERS:
        for i, endpoint in enumerate(obj.get("endpoints") or ()):
            found += _each(f"endpoints[{i}].addresses", endpoint.get("addresses") or ())
    return found


def ingress_warnings(obj: Obj) -> list[str]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if "kubernetes.io/ingress.class" in annotations and (obj.get("spec") or {}).get("ingressClassName") is None:
        return ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"]
    return []


def network_policy_warnings(obj: Obj) -> list[str]:
    spec = obj.get("spec") or {}
    found = []
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            for j, peer in enumerate(rule.get(peers) or ()):
                block = peer.get("ipBlock")
                if block is None:
                    continue
                path = f"spec.{direction}[{i}].{peers}[{j}].ipBlock"
                found += cidr_warnings(f"{path}.cidr", block.get("cidr") or "")
                for k, excluded in enumerate(block.get("except") or ()):
                    found += cidr_warnings(f"{path}.except[{k}]", excluded)
    return found
