"""The proxy's modes by name: the seam for further ones."""

from __future__ import annotations

from ..concurrency import Clock
from .backend import Backend, NftablesBackend, Rules, RulesError
from .service_rules import ServiceRules
from .service_table import TableOptions

MODES = ("nftables", "iptables")


def make_mode(
    mode: str, clock: Clock, cluster_cidr: str, service_cidr: str = "", masquerade_outbound: bool = True
) -> tuple[Rules, Backend]:
    """Rules and who writes them, into this thread's network namespace. What another mode of ours left there is removed.

    Raises RulesError where the machine lacks what the mode needs.
    """
    from .iptables.backend import IptablesBackend, remove_leftovers
    from .iptables.rules import IptablesOptions, IptablesRules

    if mode == "nftables":
        remove_leftovers()
        nftables = TableOptions(cluster_cidr, service_cidr, masquerade_outbound)
        return ServiceRules(), NftablesBackend(nftables)
    if mode == "iptables":
        NftablesBackend(TableOptions(cluster_cidr)).remove()
        return IptablesRules(IptablesOptions(cluster_cidr, service_cidr, masquerade_outbound)), IptablesBackend(clock)
    raise RulesError(f"unknown proxy mode {mode!r}: choose one of {', '.join(MODES)}")
