"""Node ports of Services: each number in use is claimed by a key of its own in the store.

A claim is a put that must be the first of its key, so that of any number of API servers on one store exactly one gets a
port. It is made before the Service is written and given back after the Service has let go of it; what a crash leaves
between the two, ``repairing`` mends. Ports of all protocols share the numbers, as upstream's; a Service may use one number
for several protocols. Specified by "Service", "Choosing your own port", and KEP-3668.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from ..api.errors import internal_error, invalid, invalid_value
from ..api.meta import Object, key_of, uid_of
from ..api.resources import SERVICES
from ..api.strategy.services import needs_health_check_port, needs_node_port
from ..concurrency import logger
from ..hooks.admission import AdmissionAttributes
from ..hooks.reading import ObjectReader
from ..storage.contract import RevisionMismatch, Store, StoreUnavailable
from .hub import unavailable
from .metrics import counter_lines, gauge_lines

log = logger("apiserver.nodeports")

CLAIMS = "/registry/ranges/servicenodeports/"
"""Below the key of upstream's bitmap, which is another one."""
TYPES = ("NodePort", "LoadBalancer")
GUESSES = 16
"""Numbers tried before all free ones are laid out."""
STATIC, DYNAMIC = "static", "dynamic"


def ports_of(service: Mapping[str, Any]) -> set[int]:
    """The numbers that a Service holds."""
    spec = service.get("spec") or {}
    numbers = {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
    if spec.get("healthCheckNodePort"):
        numbers.add(spec["healthCheckNodePort"])
    return numbers


class NodePorts:
    """Allocates for one API server."""

    def __init__(self, objects: ObjectReader, store: Store, rng: random.Random, bounds: tuple[int, int]) -> None:
        self._objects, self._store, self._rng = objects, store, rng
        self.low, self.high = bounds
        self._holders: dict[int, set[str]] | None = None
        """UIDs of the Services that use a number, as this server has seen them: a hint of what is worth trying."""
        self._counts: dict[tuple[str, str], int] = {}

    # -- what is in use ---------------------------------------------------------------------------------------------

    @property
    def holders(self) -> dict[int, set[str]]:
        if self._holders is None:
            self._holders = {}
            self._objects.subscribe(SERVICES, self._changed)
            for service in self._objects.each(SERVICES):
                self._changed("ADDED", None, service)
        return self._holders

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert self._holders is not None
        for number in ports_of(old) if old is not None else ():
            left = self._holders.get(number, set())
            left.discard(uid_of(old or {}))
            if not left:
                self._holders.pop(number, None)
        if new is not None and kind != "DELETED":
            for number in ports_of(new):
                self._holders.setdefault(number, set()).add(uid_of(new))

    def lines(self) -> Iterator[str]:
        """Upstream's metrics."""
        used = sum(self.low <= n <= self.high for n in self._holders or ())
        name = "kube_apiserver_nodeport_allocator_"
        yield from gauge_lines(f"{name}allocated_ports", "Node ports in use.", [({}, used)])
        yield from gauge_lines(f"{name}available_ports", "Node ports left.", [({}, self.high - self.low + 1 - used)])
        for what, text in (("allocation", "Node ports given out."), ("allocation_errors", "Node ports refused.")):
            found = [({"scope": scope}, n) for (kind, scope), n in self._counts.items() if kind == what]
            yield from counter_lines(f"{name}{what}_total", text, found)

    def _count(self, what: str, scope: str) -> None:
        self._counts[what, scope] = self._counts.get((what, scope), 0) + 1

    # -- claims -----------------------------------------------------------------------------------------------------

    @staticmethod
    def claim_of(service: Object) -> bytes:
        return orjson.dumps({"kind": "NodePortClaim", "service": key_of(service), "uid": uid_of(service)})

    async def claim(self, number: int, service: Object) -> bool:
        """Whether nobody else has it. Raises StatusError where the store does not answer."""
        try:
            await self._store.put(f"{CLAIMS}{number}", self.claim_of(service), expected=0)
        except RevisionMismatch:
            return False
        except StoreUnavailable as failure:
            raise unavailable(failure) from failure
        return True

    async def claimed(self, number: int) -> bool:
        """Raises StatusError where the store does not answer."""
        try:
            return await self._store.get(f"{CLAIMS}{number}") is not None
        except StoreUnavailable as failure:
            raise unavailable(failure) from failure

    async def release(self, numbers: set[int], service: Object) -> None:
        """Gives back what this Service has claimed. What fails here is left to the repairing."""
        for number in sorted(numbers):
            key = f"{CLAIMS}{number}"
            try:
                found = await self._store.get(key)
                if found is not None and orjson.loads(found.value).get("uid") == uid_of(service):
                    await self._store.delete(key, expected=found.revision)
            except RevisionMismatch:
                continue
            except StoreUnavailable as failure:
                log.warning("node port not released", port=number, service=key_of(service), error=str(failure))

    # -- a Service's ports ------------------------------------------------------------------------------------------

    async def allocate(self, service: Object, old: Object | None, attributes: AdmissionAttributes) -> None:
        """Fills in what is wanted and claims it. Raises StatusError; what was claimed until then is in the rollbacks."""
        spec = service["spec"]
        taking = _Taking(self, service, ports_of(old or {}), attributes)
        if spec.get("type") in TYPES:
            if old is None:
                await self._fill_new(spec, taking)
            else:
                await self._fill_changed(spec, taking)
        if needs_health_check_port(spec):
            number = spec.get("healthCheckNodePort")
            if not number:
                spec["healthCheckNodePort"] = await taking.any()
            elif number not in taking.had:
                await taking.one(number, "spec.healthCheckNodePort")

    @staticmethod
    async def _fill_new(spec: dict[str, Any], taking: _Taking) -> None:
        """Ports of one number and several protocols (DNS and its like) get one node port."""
        ports = spec.get("ports") or ()
        given: dict[Any, int] = {}
        for index, port in enumerate(ports):
            number, path = port.get("nodePort") or 0, f"spec.ports[{index}].nodePort"
            if not number and not needs_node_port(spec):
                continue
            same = given.get(port.get("port"))
            if same is None:
                asked = (p["nodePort"] for p in ports if p.get("port") == port.get("port") and p.get("nodePort"))
                number = next(asked, 0)
                if number:
                    await taking.one(number, path)
                else:
                    number = await taking.any()
                port["nodePort"] = given[port.get("port")] = number
            elif not number:
                port["nodePort"] = same
            elif number != same:
                await taking.one(number, path)

    @staticmethod
    async def _fill_changed(spec: dict[str, Any], taking: _Taking) -> None:
        for index, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort") or 0
            if number:
                if number not in taking.had and number not in taking.taken:
                    await taking.one(number, f"spec.ports[{index}].nodePort")
            elif needs_node_port(spec):
                port["nodePort"] = await taking.any()

    def order(self, taken: set[int]) -> Iterator[int]:
        """Numbers that look free, at random; those at the beginning of the range are left to people who choose."""
        count = self.high - self.low + 1
        band = min(max(16, count // 32), 128) if count >= 32 else 0
        for _ in range(GUESSES):
            number = self._rng.randint(self.low + band, self.high)
            if number not in taken and number not in self.holders:
                yield number
        for first, end in ((self.low + band, self.high + 1), (self.low, self.low + band)):
            free = [n for n in range(first, end) if n not in taken and n not in self.holders]
            self._rng.shuffle(free)
            yield from free


class _Taking:
    """What one write takes."""

    def __init__(self, ports: NodePorts, service: Object, had: set[int], attributes: AdmissionAttributes) -> None:
        self._ports, self._service, self._attributes = ports, service, attributes
        self.had = had
        self._asked = ports_of(service)
        self.taken: set[int] = set()

    async def _take(self, number: int) -> bool:
        ports = self._ports
        if number in self.taken or number in self.had:
            return False
        if self._attributes.dry_run:
            free = number not in ports.holders and not await ports.claimed(number)
            if free:
                self.taken.add(number)
            return free
        if not await ports.claim(number, self._service):
            return False
        if not self.taken:
            self._attributes.rollbacks.append(self._give_back)
        self.taken.add(number)
        return True

    async def _give_back(self) -> None:
        await self._ports.release(self.taken, self._service)

    async def one(self, number: int, path: str) -> None:
        """Raises StatusError where it cannot be had."""
        ports, why = self._ports, "provided port is already allocated"
        if not ports.low <= number <= ports.high:
            why = f"provided port is not in the valid range. The range of valid ports is {ports.low}-{ports.high}"
        elif await self._take(number):
            ports._count("allocation", STATIC)
            return
        ports._count("allocation_errors", STATIC)
        name = self._service["metadata"].get("name") or ""
        raise invalid("", "Service", name, [invalid_value(path, number, why)])

    async def any(self) -> int:
        ports = self._ports
        for number in ports.order(self.taken | self.had | self._asked):
            if await self._take(number):
                ports._count("allocation", DYNAMIC)
                return number
        ports._count("allocation_errors", DYNAMIC)
        raise internal_error("failed to allocate a nodePort: range is full")
