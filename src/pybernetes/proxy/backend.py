"""Where rules go: the contract between the proxy and what writes them, and the nftables one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from . import conntrack
from .model import Choice, HostPort, ServicePort
from .nft.kernel import Monitor, Netfilter, NftError
from .nft.tables import Table
from .nft.writer import TableWriter
from .service_rules import ServiceRules, ServiceUpdate
from .service_table import TableOptions, pack_number, pack_target, service_table

INLINE_ELEMENTS = 400
"""A transaction up to this size is written at once (well below a millisecond); a larger one by a thread."""


class RulesError(Exception):
    """Rules could not be written: the kernel holds something else than was thought, or refuses."""


class Update(Protocol):
    """What changed since rules were last written; false where nothing must be written."""

    @property
    def touches_udp(self) -> bool: ...

    def __bool__(self) -> bool: ...


class Rules(Protocol):
    """What the rules of one mode should be, told Service by Service and pod by pod."""

    def set_node_ips(self, addresses: Sequence[str]) -> None: ...

    def set_service(self, key: str, ports: Sequence[tuple[ServicePort, Choice]]) -> None: ...

    def set_host_ports(self, pod: str, ports: Iterable[HostPort]) -> None: ...

    def take_update(self) -> Any: ...


@runtime_checkable
class CountedRules(Protocol):
    """Rules of a mode where there are more of them the more Services there are."""

    def count(self) -> Mapping[str, int]:
        """By table."""
        ...


class Backend(Protocol):
    """Writes the rules of one mode. ``apply`` may assume that the last write succeeded; after any failure comes ``rebuild``.

    Another mode (IPVS, eBPF) is one more pair of ``Rules`` and ``Backend``.
    """

    async def apply(self, rules: Any, update: Any) -> None: ...

    async def rebuild(self, rules: Any) -> None: ...

    async def forget_stale_flows(self, rules: Any) -> int: ...

    async def watch(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` when somebody else touched the rules, until cancelled."""
        ...

    def close(self) -> None: ...


class NftablesBackend:
    """Writes table ``ip p8s_services``. To be made in the node's network namespace, where its sockets stay."""

    def __init__(self, options: TableOptions) -> None:
        self._netfilter = Netfilter()
        # Its own socket: flows are looked through in a thread while rules are written.
        self._flows = Netfilter()
        self._monitor = Monitor()
        self._table: Table = service_table(options)
        self._writer = TableWriter(self._netfilter, self._table)

    def close(self) -> None:
        self._netfilter.close()
        self._flows.close()
        self._monitor.close()

    def remove(self) -> None:
        """Takes the table away, and closes."""
        self._writer.remove()
        self.close()

    async def apply(self, rules: ServiceRules, update: ServiceUpdate) -> None:
        def write() -> None:
            self._writer.apply(update.changes, sets=update.sets, chains=update.chains, replaced=update.replaced)
            if update.departed:
                self._forget_clients(update)

        try:
            if len(update.changes) <= INLINE_ELEMENTS:
                write()
            else:
                await asyncio.to_thread(write)
        except (NftError, OSError) as failure:
            raise RulesError(str(failure)) from failure

    async def rebuild(self, rules: ServiceRules) -> None:
        def write() -> None:
            with self._monitor.not_listening():
                self._writer.rebuild(rules.contents, rules.sets, rules.chains)

        try:
            await asyncio.to_thread(write)
        except (NftError, OSError) as failure:
            raise RulesError(str(failure)) from failure

    def _forget_clients(self, update: ServiceUpdate) -> None:
        """Clients that were bound to an endpoint which is gone choose anew."""
        gone = {(pack_number(number), pack_target(*target)) for number, target in update.departed}
        for key, target in self._writer.present("affinity").items():
            if (key[:4], target) in gone:
                self._writer.delete_if_there("affinity", key)

    async def forget_stale_flows(self, rules: ServiceRules) -> int:
        targets = rules.flow_targets()
        try:
            return await asyncio.to_thread(conntrack.forget_stale, self._flows, targets.is_stale)
        except (NftError, OSError) as failure:
            raise RulesError(str(failure)) from failure

    async def watch(self, changed: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        own = {self._netfilter.port}

        def readable() -> None:
            found = self._monitor.foreign_changes(own)
            if found is None or self._table.name in found:
                changed()

        loop.add_reader(self._monitor.fileno(), readable)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._monitor.fileno())
