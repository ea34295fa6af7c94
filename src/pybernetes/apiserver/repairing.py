"""Looks every three minutes whether what Services use is what they have claimed, and mends what is not.

A crash between a claim and the write of its Service leaves a claim of nobody; a deleted key, an older program or a restored
store leave Services without. Node ports are keys of the store (``nodeports``), cluster addresses are ``IPAddress`` objects
(``allocation``). Every server of a cluster does this: each correction is guarded by the revision of what it corrects.
Reasons, words and metrics are those of upstream's port and address repair controllers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import orjson

from ..api.errors import StatusError
from ..api.ips import parse_ip_sloppy
from ..api.meta import Object, key_of, labels_of, metadata, name_of, namespace_of, uid_of
from ..api.resources import GVR, IP_ADDRESSES, SERVICES
from ..api.times import parse_time, to_micro_time
from ..concurrency import logger
from ..hooks.admission import Requester
from ..hooks.reading import ObjectReader
from ..storage.contract import KeyValue, RevisionMismatch, StoreError
from .allocation import FAMILY_LABEL, MANAGED_LABEL, MANAGER, ServiceAllocator, addresses_of, family_of, ip_address
from .hub import Hub, storage_prefix
from .metrics import counter_lines
from .nodeports import CLAIMS, ports_of

log = logger("apiserver.repairing")

INTERVAL = 180.0
LEAK_ROUNDS = 3
"""Looks that must have found a port unused before it is taken back: a Service may be about to be written."""
GRACE = 60.0
"""As long as a write may take: younger addresses are not looked at."""
TURN = 50
"""Objects looked at before others get the event loop."""
PORTS, ADDRESSES = "portallocator-repair-controller", "ipallocator-repair-controller"
EVENTS = GVR("events.k8s.io", "v1", "events")


class ServiceRepair:
    """The background work of one API server."""

    def __init__(
        self, allocator: ServiceAllocator, objects: ObjectReader, request: Requester, hub: Hub, rng: random.Random
    ) -> None:
        self._allocator, self._ports = allocator, allocator.ports
        self._objects, self._request, self._hub, self._rng = objects, request, hub, rng
        self.looked = asyncio.Event()
        """Set after the first look."""
        self._leaks: dict[int, tuple[int, int]] = {}
        """Claims that nobody uses: their revision, and how many more looks they have."""
        self._said: set[tuple[str, str]] = set()
        self._saying: set[tuple[str, str]] = set()
        self._counts: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.once()
            self.looked.set()
            await self._hub.clock.sleep(INTERVAL)

    async def once(self) -> None:
        """One look."""
        self._saying = set()
        for what, look in (("nodeport", self._look_at_ports), ("clusterip", self._look_at_addresses)):
            try:
                await look()
            except (StatusError, StoreError) as failure:
                self._count(what, "")
                log.warning("repairing failed", what=what, error=str(failure))
        self._said = self._saying

    def lines(self) -> Iterator[str]:
        """Upstream's metrics, and the allocator's."""
        yield from self._ports.lines()
        yield from self._allocator.lines()
        for what, noun in (("nodeport", "port"), ("clusterip", "ip")):
            found = [({"type": kind}, n) for (w, kind), n in self._counts.items() if w == what and kind]
            name = f"apiserver_{what}_repair_"
            yield from counter_lines(f"{name}{noun}_errors_total", "What repairing found, by kind.", found)
            failed = self._counts.get((what, ""), 0)
            yield from counter_lines(f"{name}reconcile_errors_total", "Repairs that failed.", [({}, failed)])

    def _count(self, what: str, kind: str) -> None:
        self._counts[what, kind] = self._counts.get((what, kind), 0) + 1

    async def _each(self, gvr: GVR) -> AsyncIterator[Object]:
        """The objects that are there now, as they are when their turn comes."""
        cache = self._hub.dispatchers[storage_prefix(gvr)].cache
        for number, entry in enumerate(list(cache.select(""))):
            if number % TURN == TURN - 1:
                await self._hub.clock.sleep(0)
            current = cache.get(entry.namespace, entry.name)
            if current is not None:
                yield current.peek()

    # -- node ports -------------------------------------------------------------------------------------------------

    async def _look_at_ports(self) -> None:
        claims, holders = await self._claims(), self._ports.holders
        used: set[int] = set()
        async for service in self._each(SERVICES):
            for number in sorted(ports_of(service)):
                if number in used:
                    note = f"Port {number} was assigned to multiple services; please recreate service"
                    await self._port(service, "duplicate", "PortAlreadyAllocated", note)
                    continue
                used.add(number)
                if not self._ports.low <= number <= self._ports.high:
                    bounds = f"{self._ports.low}-{self._ports.high}"
                    note = f"Port {number} is not within the port range {bounds}; please recreate service"
                    await self._port(service, "outOfRange", "PortOutOfRange", note)
                elif number not in claims:
                    if uid_of(service) in holders.get(number, ()) and await self._ports.claim(number, service):
                        note = f"Port {number} is not allocated; repairing"
                        await self._port(service, "repair", "PortNotAllocated", note)
                else:
                    await self._hand_over(claims[number], service)
        await self._free({n: claim for n, claim in claims.items() if n not in used})

    async def _claims(self) -> dict[int, KeyValue]:
        """All claims at one revision; the caches have reached it."""
        found: dict[int, KeyValue] = {}
        after, revision = "", 0
        while True:
            page = await self._hub.store.list(CLAIMS, after=after, limit=Hub.PAGE, revision=revision)
            revision = page.revision
            found.update((int(n), kv) for kv in page.items if (n := kv.key.removeprefix(CLAIMS)).isdigit())
            if not page.remaining:
                break
            after = page.items[-1].key
        await self._hub.consistent()
        return found

    async def _hand_over(self, claim: KeyValue, service: Object) -> None:
        """A claim that names another Service than the one that uses the port."""
        if orjson.loads(claim.value).get("uid") == uid_of(service):
            return
        try:
            await self._hub.store.put(claim.key, self._ports.claim_of(service), expected=claim.revision)
        except RevisionMismatch:
            log.info("another writer was faster", claim=claim.key)

    async def _free(self, unused: dict[int, KeyValue]) -> None:
        before, self._leaks = self._leaks, {}
        for number, claim in unused.items():
            revision, left = before.get(number, (0, 0))
            if revision != claim.revision:
                left = LEAK_ROUNDS
                log.info("a node port may have leaked: flagged for later", port=number)
            if left > 1:
                self._leaks[number] = (claim.revision, left - 1)
                continue
            try:
                await self._hub.store.delete(claim.key, expected=claim.revision)
            except RevisionMismatch:
                continue
            self._count("nodeport", "leak")
            log.warning("a node port appears to have leaked: given back", port=number)

    async def _port(self, service: Object, kind: str, reason: str, note: str) -> None:
        self._count("nodeport", kind)
        await self._say(service, "Service", PORTS, "PortAllocation", reason, note)

    # -- cluster addresses ------------------------------------------------------------------------------------------

    async def _look_at_addresses(self) -> None:
        networks = self._allocator.networks()
        async for service in self._each(SERVICES):
            for text in addresses_of(service):
                address = parse_ip_sloppy(text)
                if address is None:
                    note = f"Cluster IP {text} is not a valid IP; please recreate Service"
                    await self._address(service, "invalid", "ClusterIPNotValid", note, "ClusterIPValidation")
                elif not any(address in n for n in networks):
                    shown = f"Cluster IP [{family_of(text)}]: {text}"
                    note = f"{shown} is not within any configured Service CIDR; please recreate service"
                    await self._address(service, "outOfRange", "ClusterIPOutOfRange", note)
                else:
                    await self._service_address(service, str(address))
        async for found in self._each(IP_ADDRESSES):
            if labels_of(found).get(MANAGED_LABEL) == MANAGER:
                await self._ip_address(found)

    async def _service_address(self, service: Object, address: str) -> None:
        current = self._objects.get(SERVICES, namespace_of(service), name_of(service))
        if current is None or uid_of(current) != uid_of(service) or address not in _plain(current):
            return  # while we looked at others it changed
        found = self._objects.get(IP_ADDRESSES, "", address)
        family, whose = family_of(address), f"for Service {key_of(service)}"
        if found is None:
            note = f"Cluster IP [{family}]: {address} is not allocated; repairing"
            await self._make(service, address)
            await self._address(service, "repair", "ClusterIPNotAllocated", note)
            return
        parent = (found.get("spec") or {}).get("parentRef") or {}
        other = None
        if not parent.get("group") and parent.get("resource") == "services":
            other = self._objects.get(SERVICES, parent.get("namespace") or "", parent.get("name") or "")
        if other is None:
            note = f"the ClusterIP [{family}]: {address} {whose} has a wrong reference; repairing"
            await self._recreate(found, service, address)
            await self._address(service, "repair", "ClusterIPNotAllocated", note)
        elif uid_of(other) != uid_of(service):
            if address in _plain(other):
                note = f"Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
                await self._address(service, "duplicate", "ClusterIPAlreadyAllocated", note)
        elif labels_of(found).get(FAMILY_LABEL) != family or labels_of(found).get(MANAGED_LABEL) != MANAGER:
            await self._recreate(found, service, address)

    async def _ip_address(self, found: Object) -> None:
        """Deletes an address of ours that belongs to nobody."""
        if self._hub.clock.now() - parse_time(metadata(found)["creationTimestamp"]) < GRACE:
            return
        name, parent = name_of(found), (found.get("spec") or {}).get("parentRef") or {}
        whose = f"{parent.get('namespace') or ''}/{parent.get('name') or ''}"
        service = self._objects.get(SERVICES, parent.get("namespace") or "", parent.get("name") or "")
        reason = "IPAddressNotAllocated"
        if parent.get("group") or parent.get("resource") != "services":
            kind, note = "modified", f"IPAddress {name} appears to have been modified, not referencing a Service"
            note += f" {orjson.dumps(parent).decode()}: cleaning up"
        elif service is None:
            kind, note = "leak", f"IPAddress: {name} for Service {whose} appears to have leaked: cleaning up"
        elif name in _plain(service):
            return
        else:
            kind, note = "leak", f"IPAddress: {name} for Service {whose} has a wrong reference; cleaning up"
            reason = "IPAddressWrongReference"
        await self._delete(found)
        self._count("clusterip", kind)
        await self._say(found, "IPAddress", ADDRESSES, "IPAddressAllocation", reason, note)

    async def _make(self, service: Object, address: str) -> None:
        try:
            await self._request("POST", f"{IP_ADDRESSES.path}/{IP_ADDRESSES.resource}", ip_address(address, service))
        except StatusError as failure:
            if failure.reason != "AlreadyExists":
                raise

    async def _delete(self, found: Object) -> None:
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid_of(found)}}
        try:
            path = f"{IP_ADDRESSES.path}/{IP_ADDRESSES.resource}/{name_of(found)}"
            await self._request("DELETE", path, options)
        except StatusError as failure:
            if failure.code not in (404, 409):
                raise

    async def _recreate(self, found: Object, service: Object, address: str) -> None:
        await self._delete(found)
        await self._make(service, address)

    async def _address(
        self, service: Object, kind: str, reason: str, note: str, action: str = "ClusterIPAllocation"
    ) -> None:
        self._count("clusterip", kind)
        await self._say(service, "Service", ADDRESSES, action, reason, note)

    # -- telling ----------------------------------------------------------------------------------------------------

    async def _say(self, obj: Object, kind: str, controller: str, action: str, reason: str, note: str) -> None:
        """A Warning event; what the last look found too is not said again."""
        log.warning(note, reason=reason, object=key_of(obj))
        self._saying.add((uid_of(obj), note))
        if (uid_of(obj), note) in self._said:
            return
        namespace = namespace_of(obj) or "default"
        api_version = "v1" if kind == "Service" else IP_ADDRESSES.api_version
        regarding = {"kind": kind, "apiVersion": api_version, "name": name_of(obj), "uid": uid_of(obj)}
        if namespace_of(obj):
            regarding["namespace"] = namespace
        name = name_of(obj).replace(":", "-")
        event = {
            "kind": "Event",
            "apiVersion": EVENTS.api_version,
            "metadata": {"name": f"{name}.{self._rng.getrandbits(64):016x}", "namespace": namespace},
            "eventTime": to_micro_time(self._hub.clock.now()),
            "reportingController": controller,
            "reportingInstance": f"{controller}-apiserver",
            "action": action,
            "reason": reason,
            "regarding": regarding,
            "note": note,
            "type": "Warning",
        }
        try:
            await self._request("POST", f"{EVENTS.path}/namespaces/{namespace}/events", event)
        except StatusError as failure:
            log.info("event not written", reason=reason, error=failure.message)


def _plain(service: Object) -> set[str]:
    """A Service's addresses as IPAddress objects are named."""
    parsed = (parse_ip_sloppy(a) for a in addresses_of(service))
    return {str(a) for a in parsed if a is not None}
