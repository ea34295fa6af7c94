"""Names that a pod's processes see: host name, /etc/hosts, resolv.conf; and where its files lie on the node.

Rules of upstream's ``kubelet_pods.go`` and ``network/dns``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .model import Object, spec_of, uses_host_network

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HOSTNAME_LIMIT = 63
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_CHARACTERS = 3, 32, 2048
HOSTS_HEADER = "# Kubernetes-managed hosts file.\n"
HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network).\n"


class NamingError(ValueError):
    """A name that cannot be given to a pod; the message is upstream's."""


def _check_label(what: str, value: str) -> None:
    if len(value) > 63 or _LABEL.fullmatch(value) is None:
        raise NamingError(f'pod {what} "{value}" is not a valid DNS label')


def _cut(hostname: str) -> str:
    if len(hostname) <= _HOSTNAME_LIMIT:
        return hostname
    short = hostname[:_HOSTNAME_LIMIT].rstrip("-.")
    if not short:
        raise NamingError(f'hostname "{hostname}" is invalid')
    return short


def hostname_and_domain(pod: Mapping[str, Any], cluster_domain: str) -> tuple[str, str]:
    spec, meta = spec_of(pod), pod.get("metadata") or {}
    override = spec.get("hostnameOverride")
    if override is not None:
        return _cut(override), ""
    hostname = meta.get("name", "")
    if spec.get("hostname"):
        _check_label("Hostname", spec["hostname"])
        hostname = spec["hostname"]
    domain = ""
    if spec.get("subdomain"):
        _check_label("Subdomain", spec["subdomain"])
        domain = f"{spec['subdomain']}.{meta.get('namespace', '')}.svc.{cluster_domain}"
    return _cut(hostname), domain


def kernel_hostname(pod: Mapping[str, Any], hostname: str, domain: str) -> str:
    """What ``hostname`` prints in the pod. Raises NamingError where a full name is asked for that the kernel cannot hold."""
    if not spec_of(pod).get("setHostnameAsFQDN") or not domain:
        return hostname
    full = f"{hostname}.{domain}"
    if len(full) > 64:
        raise NamingError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"(64 characters is the max, {len(full)} characters requested)"
        )
    return full


def _aliases(pod: Mapping[str, Any]) -> str:
    aliases = spec_of(pod).get("hostAliases") or []
    if not aliases:
        return ""
    lines = [f"{a['ip']}\t" + "\t".join(a.get("hostnames") or ()) + "\n" for a in aliases]
    return "\n# Entries added by HostAliases.\n" + "".join(lines)


def hosts_file(pod: Mapping[str, Any], ips: Sequence[str], hostname: str, domain: str, node_hosts: str) -> str:
    """The content of the pod's /etc/hosts; ``node_hosts`` is the node's own, for pods on its network."""
    if uses_host_network(pod):
        return HOST_NETWORK_HEADER + node_hosts + _aliases(pod)
    fixed = (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
    )
    names = f"{hostname}.{domain}\t{hostname}" if domain else hostname
    return HOSTS_HEADER + fixed + "".join(f"{ip}\t{names}\n" for ip in ips) + _aliases(pod)


# -- DNS -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dns:
    """The content of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Dns:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] == "search":
            # A trailing dot means the same here, and would only be shown.
            searches = [w.removesuffix(".") or "." for w in words[1:]]
        elif words[0] == "options":
            options = words[1:]
    return Dns(tuple(servers), tuple(searches), tuple(options))


def _merge_options(first: Sequence[str], more: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    found = {o.partition(":")[0]: o for o in first}
    for option in more:
        value = option.get("value")
        found[option["name"]] = f"{option['name']}:{value}" if value else option["name"]
    return tuple(found.values())


def pod_dns(
    pod: Mapping[str, Any], node: Dns, cluster_servers: Sequence[str], cluster_domain: str
) -> tuple[Dns, list[str]]:
    """The pod's resolver configuration by its ``dnsPolicy`` and ``dnsConfig``, and warnings to tell as events."""
    spec = spec_of(pod)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    warnings: list[str] = []
    cluster_first = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not uses_host_network(pod))
    if policy == "None":
        found = Dns()
    elif cluster_first and cluster_servers:
        namespace = (pod.get("metadata") or {}).get("namespace", "")
        searches = (
            (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain) if cluster_domain else ()
        )
        found = Dns(tuple(cluster_servers), _unique((*searches, *node.searches)), ("ndots:5",))
    else:
        if cluster_first:
            warnings.append(
                'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
                'Falling back to "Default" policy.'
            )
        # Nobody answers at the loopback of a pod's own network: the node's list is passed on all the same.
        found = Dns(
            node.servers or ("127.0.0.1",) if uses_host_network(pod) else node.servers, node.searches, node.options
        )
    extra = spec.get("dnsConfig") or {}
    if extra:
        found = Dns(
            _unique((*found.servers, *(extra.get("nameservers") or ()))),
            _unique((*found.searches, *(extra.get("searches") or ()))),
            _merge_options(found.options, extra.get("options") or ()),
        )
    return _within_limits(found, warnings), warnings


def _unique(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _within_limits(dns: Dns, warnings: list[str]) -> Dns:
    servers, searches = dns.servers, dns.searches
    if len(servers) > MAX_NAMESERVERS:
        servers = servers[:MAX_NAMESERVERS]
        warnings.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
            + " ".join(servers)
        )
    kept = searches[:MAX_SEARCHES]
    while len(" ".join(kept)) > MAX_SEARCH_CHARACTERS:
        kept = kept[:-1]
    if kept != searches:
        warnings.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
            + " ".join(kept)
        )
    return Dns(servers, kept, dns.options)


# -- files ---------------------------------------------------------------------------------------------------------------


def pod_log_directory(root: str, pod: Object) -> str:
    meta = pod.get("metadata") or {}
    return f"{root}/{meta.get('namespace')}_{meta.get('name')}_{meta.get('uid')}"


def container_log_path(container: str, attempt: int) -> str:
    """Relative to the pod's log directory."""
    return f"{container}/{attempt}.log"


def legacy_log_name(pod: Object, container: str, container_id: str) -> str:
    """The name in ``/var/log/containers`` by which log collectors find a container."""
    meta = pod.get("metadata") or {}
    stem = f"{meta.get('name')}_{meta.get('namespace')}_{container}"
    return f"{stem[: 255 - len(container_id) - 5]}-{container_id}.log"
