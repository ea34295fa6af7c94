"""Runs ``iptables-restore`` and ``iptables-save``, of whichever variant (nft or legacy) the machine has."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ...concurrency import Clock, logger
from .. import conntrack
from ..backend import RulesError
from ..nft.kernel import Monitor, Netfilter, NftError
from . import text
from .layout import NAT
from .rules import IptablesOptions, IptablesRules, IptablesUpdate

log = logger("proxy.iptables")

CHECK_SECONDS = 30.0
"""How often the canaries are looked for; kube-proxy's sync period."""
QUIET_SECONDS = 1.0
"""Between two looks at all rules, which cost seconds where there are many."""
LARGE = 1000
"""Chains of Services from which on the legacy tables are compared no more on suspicion: reading them takes seconds."""
_ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}


def program(name: str, variant: str = "") -> str:
    """``iptables-restore`` of a variant; "" is the machine's own choice."""
    return name.replace("iptables", f"iptables-{variant}", 1) if variant else name


def run(*argv: str, stdin: str | None = None) -> str:
    """Raises RulesError with the program's own words."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=_ENVIRONMENT, check=False)
    except OSError as failure:
        raise RulesError(f"{argv[0]}: {failure.strerror}") from failure
    if done.returncode:
        raise RulesError(f"{argv[0]}: {done.stderr.strip()[:500]}")
    return done.stdout


def remove_leftovers(variants: tuple[str, ...] = ("nft", "legacy")) -> None:
    """Takes away what this program wrote, in whichever variant; kube-proxy's own rules, which lack our chain, stay."""
    for variant in variants:
        save = program("iptables-save", variant)
        if shutil.which(save, path=_ENVIRONMENT["PATH"]) is None or not _may_hold_rules(variant):
            continue
        present = text.parse(run(save))
        if (NAT, text.OURS_ALONE) in present:
            fixed = IptablesRules(IptablesOptions("10.244.0.0/16")).chains()
            run(program("iptables-restore", variant), "--noflush", "--wait", "5", stdin=text.removal(present, fixed))


def _may_hold_rules(variant: str) -> bool:
    """Looking at the legacy tables makes them, so only where they are."""
    if variant != "legacy":
        return True
    try:
        return "nat" in Path("/proc/net/ip_tables_names").read_text().split()
    except OSError:
        return False


class IptablesBackend:
    """Writes into the network namespace of the threads of this process."""

    def __init__(self, clock: Clock, variant: str = "") -> None:
        """``variant`` is ``nft`` or ``legacy``, else what ``iptables`` is on this machine. Raises RulesError without it."""
        self._clock, self._variant = clock, variant
        if shutil.which(program("iptables-restore", variant), path=_ENVIRONMENT["PATH"]) is None:
            raise RulesError(f"{program('iptables-restore', variant)} is missing: apt-get install iptables")
        self._on_nftables = "nf_tables" in run(program("iptables", variant), "--version")
        self._netfilter = Netfilter()
        self._monitor = Monitor() if self._on_nftables else None
        self._busy = asyncio.Lock()
        self._rules: IptablesRules | None = None

    def close(self) -> None:
        self._netfilter.close()
        if self._monitor is not None:
            self._monitor.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    async def apply(self, rules: IptablesRules, update: IptablesUpdate) -> None:
        self._rules = rules
        if update:
            await self._write(lambda: text.partial(update))

    async def rebuild(self, rules: IptablesRules) -> None:
        self._rules = rules
        wanted = rules.chains()
        await self._write(lambda: text.whole(wanted, self.present()))

    async def _write(self, make: Callable[[], str]) -> None:
        def write() -> None:
            if self._monitor is None:
                self.restore(make())
                return
            with self._monitor.not_listening():
                self.restore(make())

        async with self._busy:
            await asyncio.to_thread(write)

    def restore(self, lines: str) -> None:
        run(program("iptables-restore", self._variant), "--noflush", "--wait", "5", stdin=lines)

    def present(self) -> text.Chains:
        return text.parse(run(program("iptables-save", self._variant)))

    async def forget_stale_flows(self, rules: IptablesRules) -> int:
        targets = rules.flow_targets()
        try:
            return await asyncio.to_thread(conntrack.forget_stale, self._netfilter, targets.is_stale)
        except (NftError, OSError) as failure:
            raise RulesError(str(failure)) from failure

    # -- watching --------------------------------------------------------------------------------------------------

    async def watch(self, changed: Callable[[], None]) -> None:
        """The kernel tells of changes in its nftables; the legacy tables are looked at from time to time."""
        touched = asyncio.Event()
        loop = asyncio.get_running_loop()
        monitor = self._monitor
        if monitor is not None:

            def readable() -> None:
                found = monitor.foreign_changes(())
                if found is None or not found.isdisjoint(text.TABLES):
                    touched.set()

            loop.add_reader(monitor.fileno(), readable)
        try:
            while True:
                try:
                    async with self._clock.timeout(CHECK_SECONDS):
                        await touched.wait()
                except TimeoutError:
                    pass
                everything = touched.is_set() or (monitor is None and self._few())
                touched.clear()
                if await self._somebody_changed(everything):
                    changed()
                await self._clock.sleep(QUIET_SECONDS)
        finally:
            if monitor is not None:
                loop.remove_reader(monitor.fileno())

    async def _somebody_changed(self, everything: bool) -> bool:
        async with self._busy:
            if self._rules is None:
                return False
            try:
                if not everything:
                    return not await asyncio.to_thread(self._canaries_live)
                wanted, present = self._rules.chains(), await asyncio.to_thread(self.present)
            except RulesError as failure:
                log.warning("rules not looked at", error=str(failure))
                return False
            found = text.differs(wanted, present)
        if found:
            log.info("a chain is not as it should be", chain=found)
        return bool(found)

    def _few(self) -> bool:
        return self._rules is not None and len(self._rules) < LARGE

    def _canaries_live(self) -> bool:
        found: text.Chains = {}
        for table in text.TABLES:
            try:
                listed = run(program("iptables", self._variant), "-w", "5", "-t", table, "-S", text.CANARY)
            except RulesError:
                return False
            found.update(text.parse(f"*{table}\n{listed}"))
        return text.has_canaries(found)
