"""Which names a cluster has: a table kept by Services and EndpointSlices, asked by name and type.

Specified by the Kubernetes DNS-Based Service Discovery specification 1.1.0; pods' names
(``10-0-0-1.default.pod.cluster.local``) are computed from the question.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..api.meta import Object, labels_of, name_of, namespace_of

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SPECIFICATION_VERSION = "1.1.0"

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 255


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; ``data`` is an address, a target name, or for SRV ``priority weight port target``."""

    kind: int
    data: str


@dataclass(frozen=True, slots=True)
class Answer:
    """``exists`` tells an empty answer (the name is there, without such records) from a name that is not there."""

    records: tuple[Record, ...] = ()
    exists: bool = True


NO_SUCH_NAME = Answer(exists=False)
EMPTY = Answer()


@dataclass(slots=True)
class _Entry:
    """What is known of one Service."""

    service: Object | None = None
    slices: dict[str, Object] = field(default_factory=dict)
    names: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    reverse: dict[str, tuple[Record, ...]] = field(default_factory=dict)


def reverse_name(address: str) -> str:
    """``1.0.0.10.in-addr.arpa`` of ``10.0.0.1``."""
    return ipaddress.ip_address(address).reverse_pointer


def address_kind(address: str) -> int:
    return AAAA if ":" in address else A


class Zone:
    """The names of one cluster domain. ``generation`` changes with every change: what was cached before it is void."""

    def __init__(self, domain: str = "cluster.local") -> None:
        self.domain = domain.rstrip(".").lower()
        self.generation = 0
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._names: dict[str, tuple[Record, ...]] = {}
        self._reverse: dict[str, dict[tuple[str, str], tuple[Record, ...]]] = {}
        self._namespaces: dict[str, int] = {}
        self._parents: dict[str, int] = {}

    # -- keeping ---------------------------------------------------------------------------------------------------

    def set_service(self, service: Object) -> None:
        key = (namespace_of(service), name_of(service))
        self._entry(key).service = service
        self._rebuild(key)

    def remove_service(self, namespace: str, name: str) -> None:
        key = (namespace, name)
        if key in self._entries:
            self._entries[key].service = None
            self._rebuild(key)

    def set_slice(self, endpoint_slice: Object) -> None:
        key = self._slice_key(endpoint_slice)
        if key is not None:
            self._entry(key).slices[name_of(endpoint_slice)] = endpoint_slice
            self._rebuild(key)

    def remove_slice(self, endpoint_slice: Object) -> None:
        key = self._slice_key(endpoint_slice)
        if key is not None and key in self._entries:
            self._entries[key].slices.pop(name_of(endpoint_slice), None)
            self._rebuild(key)

    @staticmethod
    def _slice_key(endpoint_slice: Object) -> tuple[str, str] | None:
        service = labels_of(endpoint_slice).get(SERVICE_NAME_LABEL)
        return (namespace_of(endpoint_slice), service) if service else None

    def _entry(self, key: tuple[str, str]) -> _Entry:
        return self._entries.setdefault(key, _Entry())

    def _rebuild(self, key: tuple[str, str]) -> None:
        entry = self._entries[key]
        names, reverse = records_of(entry.service, entry.slices.values(), self.domain)
        if names == entry.names and reverse == entry.reverse:
            if entry.service is None and not entry.slices:
                del self._entries[key]
            return
        self._withdraw(key, entry)
        entry.names, entry.reverse = names, reverse
        self._publish(key, entry)
        if entry.service is None and not entry.slices:
            del self._entries[key]
        self.generation += 1

    def _withdraw(self, key: tuple[str, str], entry: _Entry) -> None:
        for name in entry.names:
            self._names.pop(name, None)
            self._count_parents(name, -1)
        for name in entry.reverse:
            owners = self._reverse.get(name, {})
            owners.pop(key, None)
            if not owners:
                self._reverse.pop(name, None)

    def _publish(self, key: tuple[str, str], entry: _Entry) -> None:
        for name, records in entry.names.items():
            self._names[name] = records
            self._count_parents(name, 1)
        for name, records in entry.reverse.items():
            self._reverse.setdefault(name, {})[key] = records

    def _count_parents(self, name: str, step: int) -> None:
        """Names between a record and the domain exist without records (RFC 8020)."""
        parent = name.partition(".")[2]
        while len(parent) > len(self.domain):
            count = self._parents.get(parent, 0) + step
            if count:
                self._parents[parent] = count
            else:
                self._parents.pop(parent, None)
            parent = parent.partition(".")[2]

    # -- asking ----------------------------------------------------------------------------------------------------

    def covers(self, name: str) -> bool:
        """Whether this zone answers for the name (lower case, no trailing dot), reverse names of ours included."""
        return name == self.domain or name.endswith("." + self.domain) or name in self._reverse

    def lookup(self, name: str, kind: int) -> Answer:
        """``name`` in lower case without the trailing dot."""
        if name in self._reverse:
            # The same pod may stand behind several headless Services.
            owners = self._reverse[name].values()
            return _select(tuple(dict.fromkeys(r for records in owners for r in records)), kind)
        records = self._names.get(name)
        if records is not None:
            return _select(records, kind)
        if name == self.domain and kind == NS:
            return Answer((Record(NS, f"ns.dns.{self.domain}"),))
        if name == f"dns-version.{self.domain}":
            return _select((Record(TXT, SPECIFICATION_VERSION),), kind)
        if name.endswith(f".pod.{self.domain}"):
            return self._pod(name, kind)
        if name in self._parents or name in (self.domain, f"svc.{self.domain}", f"pod.{self.domain}"):
            return EMPTY
        return NO_SUCH_NAME

    def _pod(self, name: str, kind: int) -> Answer:
        """The address that the name itself spells. Whether a pod has it is not looked at, as CoreDNS does by default."""
        labels = name[: -len(f".pod.{self.domain}")].split(".")
        if len(labels) == 1:
            return EMPTY
        if len(labels) != 2:
            return NO_SUCH_NAME
        for text in (labels[0].replace("-", "."), labels[0].replace("-", ":")):
            try:
                address = str(ipaddress.ip_address(text))
            except ValueError:
                continue
            return _select((Record(address_kind(address), address),), kind)
        return NO_SUCH_NAME


def _select(records: tuple[Record, ...], kind: int) -> Answer:
    if kind == ANY:
        return Answer(records)
    if records and records[0].kind == CNAME:
        return Answer(records)
    return Answer(tuple(r for r in records if r.kind == kind))


Names = dict[str, tuple[Record, ...]]


def records_of(service: Object | None, slices: Iterable[Object], domain: str) -> tuple[Names, Names]:
    """(forward names, reverse names) of one Service."""
    if service is None:
        return {}, {}
    base = f"{name_of(service)}.{namespace_of(service)}.svc.{domain}".lower()
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        target = (spec.get("externalName") or "").rstrip(".").lower()
        return ({base: (Record(CNAME, target),)} if target else {}), {}
    cluster_ips = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]
    if cluster_ips:
        return _with_address(base, cluster_ips, spec.get("ports") or [])
    return _headless(base, list(slices), bool(spec.get("publishNotReadyAddresses")))


def _with_address(base: str, cluster_ips: list[str], ports: list[Object]) -> tuple[Names, Names]:
    names: Names = {base: tuple(Record(address_kind(ip), ip) for ip in cluster_ips)}
    for port in ports:
        if port.get("name"):
            service_name = f"_{port['name']}._{(port.get('protocol') or 'TCP')}.{base}".lower()
            names[service_name] = (Record(SRV, f"0 100 {port['port']} {base}"),)
    return names, {reverse_name(ip): (Record(PTR, base),) for ip in cluster_ips}


def _headless(base: str, slices: list[Object], publish_not_ready: bool) -> tuple[Names, Names]:
    forward: dict[str, dict[Record, None]] = {base: {}}
    reverse: dict[str, dict[Record, None]] = {}
    for ports, endpoint, address in _addresses(slices, publish_not_ready):
        record = Record(address_kind(address), address)
        forward[base][record] = None
        label = endpoint.get("hostname") or address.replace(".", "-").replace(":", "-")
        host = f"{label}.{base}".lower()
        forward.setdefault(host, {})[record] = None
        reverse.setdefault(reverse_name(address), {})[Record(PTR, host)] = None
        for port in ports:
            if port.get("name") and port.get("port"):
                service_name = f"_{port['name']}._{(port.get('protocol') or 'TCP')}.{base}".lower()
                forward.setdefault(service_name, {})[Record(SRV, f"0 100 {port['port']} {host}")] = None
    return ({n: tuple(r) for n, r in forward.items()}, {n: tuple(r) for n, r in reverse.items()})


def _addresses(slices: list[Object], publish_not_ready: bool) -> Iterator[tuple[list[Object], Mapping[str, Any], str]]:
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") not in ("IPv4", "IPv6"):
            continue
        for endpoint in endpoint_slice.get("endpoints") or []:
            # An absent condition means ready.
            if publish_not_ready or (endpoint.get("conditions") or {}).get("ready") is not False:
                for address in endpoint.get("addresses") or []:
                    yield endpoint_slice.get("ports") or [], endpoint, address
