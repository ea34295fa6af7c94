"""An explanation as text: the answer first, nodes that are alike in one line, numbers where they help."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .answers import Change, Explanation, NodeAnswer, Preemption

NODES, BEST = 5, 8
"""How many nodes are named in a group, and of the best ones."""


_CORDON_TAINT = "taint node.kubernetes.io/unschedulable:NoSchedule"


def told(answer: Explanation) -> str:
    """Lines for a person."""
    return "\n".join(_lines(answer)) + "\n"


def _lines(answer: Explanation) -> Iterable[str]:
    yield from _headline(answer)
    yield from answer.notes
    if answer.rejection is not None:
        yield ""
        yield f"Whatever the node, {answer.rejection.plugin} refuses it: {', '.join(answer.rejection.reasons)}"
        yield from (f"  {d}" for d in answer.rejection.details)
    if answer.fitting:
        yield ""
        yield from _scores(answer)
    if answer.refused:
        yield ""
        yield from _refusals(answer.refused)
    if answer.changes:
        yield ""
        yield from _changes(answer.changes, bool(answer.fitting))
    if answer.preemption is not None:
        yield ""
        yield _preemption(answer.preemption)


def _headline(answer: Explanation) -> Iterable[str]:
    name, fitting = answer.pod, answer.fitting
    total = len(answer.nodes)
    if answer.placed_on:
        yield f"{name} is on {answer.placed_on}. Asked again as if it were still to come, with the cluster as it is now:"
        yield _place(answer, fitting)
        return
    subject = f"A pod like {name}" if answer.hypothetical else name
    if not fitting:
        yield f"{subject} fits on no node." if total or answer.rejection else f"{subject} cannot be placed."
        if answer.message:
            yield answer.message
        return
    equal = sum(1 for n in fitting if n.total == fitting[0].total)
    where = f"{fitting[0].node} is the best" if equal == 1 else f"{equal} are equally good"
    where = where if len(fitting) > 1 else f"only {fitting[0].node} can take it"
    yield f"{subject} fits on {len(fitting)} of {_count(total, 'node')}: {where}."


def _place(answer: Explanation, fitting: Sequence[NodeAnswer]) -> str:
    place = next((at for at, n in enumerate(fitting, 1) if n.node == answer.placed_on), None)
    if place is None:
        refusing = next((n for n in answer.refused if n.node == answer.placed_on), None)
        if refusing is None:
            return f"{answer.placed_on} is not among the nodes any more."
        return f"{answer.placed_on} would not be chosen now: {', '.join(refusing.refusals[0].reasons)}."
    best = fitting[0]
    chosen = fitting[place - 1]
    if len(fitting) == 1:
        return f"{chosen.node} is the only node that can take it."
    if chosen.total == best.total:
        others = sum(1 for n in fitting if n.total == best.total) - 1
        equal = f", as good as {_count(others, 'other')}" if others else ""
        return f"{chosen.node} is the best of {_count(len(fitting), 'node')} that can take it{equal}."
    return f"{chosen.node} is number {place} of {len(fitting)} that can take it ({chosen.total}; {best.node} has {best.total})."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# -- scores --------------------------------------------------------------------------------------------------------


def _scores(answer: Explanation) -> Iterable[str]:
    fitting = answer.fitting
    shown = fitting[:BEST]
    if answer.placed_on and all(n.node != answer.placed_on for n in shown):
        shown += [n for n in fitting if n.node == answer.placed_on]
    plugins = [
        p for p in dict.fromkeys(p for n in shown for p in n.scores) if len({n.scores.get(p) for n in fitting}) > 1
    ]
    rows = [["NODE", "TOTAL", *plugins]]
    for node in shown:
        rows.append([node.node, str(node.total), *(str(node.scores.get(p, 0)) for p in plugins)])
    yield "Scores (weighted, the highest wins" + ("):" if plugins else "; every plugin finds all of them equal):")
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if len(fitting) > len(shown):
        yield f"  and {len(fitting) - len(shown)} more"


# -- refusals ------------------------------------------------------------------------------------------------------


def _refusals(refused: Sequence[NodeAnswer]) -> Iterable[str]:
    groups: dict[tuple[str, tuple[str, ...]], list[NodeAnswer]] = {}
    for node in refused:
        first = node.refusals[0]
        groups.setdefault((first.plugin, first.reasons), []).append(node)
    yield f"Refused ({_count(len(refused), 'node')}):"
    for (plugin, reasons), nodes in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        yield f"  {_count(len(nodes), 'node')}: {', '.join(reasons)}" + (f" [{plugin}]" if plugin else "")
        for details, alike in _by_details(nodes)[:NODES]:
            names = ", ".join(alike[:NODES]) + (f" and {len(alike) - NODES} more" if len(alike) > NODES else "")
            yield f"    {names}: {'; '.join(details)}" if details else f"    {names}"
        left = sum(len(alike) for _, alike in _by_details(nodes)[NODES:])
        if left:
            yield f"    and {_count(left, 'node')} more"


def _by_details(nodes: Sequence[NodeAnswer]) -> list[tuple[tuple[str, ...], list[str]]]:
    found: dict[tuple[str, ...], list[str]] = {}
    for node in nodes:
        first, *others = node.refusals
        also = [r.details[0] if r.details else ", ".join(r.reasons) for r in others]
        # Cordoning sets this taint; once is enough.
        details = (*first.details, *(f"also {a}" for a in also if a != _CORDON_TAINT))
        found.setdefault(details, []).append(node.node)
    return sorted(found.items(), key=lambda item: -len(item[1]))


# -- what would help -----------------------------------------------------------------------------------------------


def _changes(changes: Sequence[Change], fits_somewhere: bool) -> Iterable[str]:
    yield "What would open more nodes:" if fits_somewhere else "What would help:"
    for change in changes:
        names = ", ".join(change.nodes[:NODES])
        more = len(change.nodes) - NODES
        tail = f" and {more} more" if more > 0 else ""
        similar = f" ({_count(change.more, 'more node')} refused for the same reasons)" if change.more else ""
        yield f"  - {change.text}: then {names}{tail} can take it{similar}"


def _preemption(answer: Preemption) -> str:
    if not answer.node:
        return f"Preemption would not help: {answer.why_not.rstrip('.')}."
    victims = ", ".join(f"{name} (priority {priority})" for name, priority in answer.victims)
    broken = f", against {_count(answer.violations, 'disruption budget')}" if answer.violations else ""
    return f"Preemption would make room on {answer.node} by removing {victims}{broken}."
