"""What ``iptables-restore`` reads and ``iptables-save`` prints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .layout import CANARY, FILTER, MANGLE, NAT, OUTBOUND, OWN_PREFIXES, Place
from .rules import JUMPS, IptablesUpdate

Chains = dict[Place, list[str]]
TABLES = (FILTER, NAT, MANGLE)
OURS_ALONE = OUTBOUND
"""A chain that kube-proxy does not have: where it is, the rules are this program's."""


def parse(saved: str) -> Chains:
    """Chains and their rules (without the leading ``-A CHAIN``) of what ``iptables-save`` printed, of all tables."""
    found: Chains = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found[table, line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            _, chain, *rule = line.split(" ", 2)
            found.setdefault((table, chain), []).append(rule[0] if rule else "")
    return found


def own_chain(name: str) -> bool:
    """Whether a chain belongs to one Service or pod."""
    return name.startswith(OWN_PREFIXES)


def differs(wanted: Mapping[Place, Sequence[str]], present: Mapping[Place, Sequence[str]]) -> str:
    """The first chain that is not as it should be, "" where all are."""
    for place, rules in wanted.items():
        if list(rules) != list(present.get(place, ("missing",))):
            return " ".join(place)
    for place, jumps in JUMPS.items():
        if any(jump not in present.get(place, ()) for jump in jumps):
            return " ".join(place)
    stale = next((place for place in present if own_chain(place[1]) and place not in wanted), None)
    return " ".join(stale) if stale else ""


def whole(wanted: Mapping[Place, Sequence[str]], present: Mapping[Place, Sequence[str]]) -> str:
    """Input that makes all chains as wanted, jumps to them included, and takes away those of Services that are gone."""
    stale = [chain for table, chain in present if table == NAT and own_chain(chain) and (NAT, chain) not in wanted]
    lines: list[str] = []
    for table in TABLES:
        mine = {chain: rules for (t, chain), rules in wanted.items() if t == table}
        lines += _table(table, mine, stale if table == NAT else (), list(_missing_jumps(table, present)))
    return "\n".join(lines) + "\n"


def partial(update: IptablesUpdate) -> str:
    """Input for what changed."""
    lines: list[str] = []
    for table in (FILTER, NAT):
        mine = {chain: rules for (t, chain), rules in update.shared.items() if t == table}
        if table == NAT:
            mine.update(update.chains)
        removed = update.removed if table == NAT else ()
        if mine or removed:
            lines += _table(table, mine, removed, ())
    return "\n".join(lines) + "\n"


def removal(present: Mapping[Place, Sequence[str]], fixed: Mapping[Place, Sequence[str]]) -> str:
    """Input that takes away all of ours; "" where there is nothing."""
    lines: list[str] = []
    for table in TABLES:
        chains = [c for t, c in present if t == table and (own_chain(c) or (t, c) in fixed)]
        jumps = [
            f"-D {place[1]} {jump}"
            for place, found in JUMPS.items()
            if place[0] == table
            for jump in found
            for _ in range(list(present.get(place, ())).count(jump))
        ]
        if chains or jumps:
            # Emptied first, so that none is in use when it goes.
            lines += [f"*{table}", *(f":{c} - [0:0]" for c in chains), *jumps, *(f"-X {c}" for c in chains), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def has_canaries(present: Mapping[Place, Sequence[str]]) -> bool:
    return all(present.get((table, CANARY)) for table in TABLES)


def _table(
    table: str, chains: Mapping[str, Sequence[str]], removed: Sequence[str], first: Sequence[str]
) -> Iterator[str]:
    yield f"*{table}"
    for chain in (*chains, *removed):
        yield f":{chain} - [0:0]"  # makes it, or empties it
    for chain, rules in chains.items():
        for rule in rules:
            yield f"-A {chain} {rule}"
    for chain in removed:
        yield f"-X {chain}"
    yield from first
    yield "COMMIT"


def _missing_jumps(table: str, present: Mapping[Place, Sequence[str]]) -> Iterator[str]:
    for place, jumps in JUMPS.items():
        if place[0] == table:
            found = present.get(place, ())
            # Each goes to the front, so the last one first.
            yield from (f"-I {place[1]} {jump}" for jump in reversed(jumps) if jump not in found)
