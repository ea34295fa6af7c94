"""What each built-in kind does to an object on its way into the store.

``strategy_for(gvr)`` gives the one Strategy of a resource: which parts the main endpoint and each subresource may touch,
generation, kind-specific rules, warnings, deletion, scale, and (through ``api.validation``) the checks. Specified by the
API conventions ("Spec and Status", "Metadata") and, where those are silent, by upstream's ``pkg/registry/*/strategy.go``.
"""

from __future__ import annotations

from functools import cache

from ..resources import GVR, builtin_by_gvr
from .base import BACKGROUND, ORPHAN, UNSUPPORTED, Strategy, StrategyFactory, semantically_equal

__all__ = ["BACKGROUND", "ORPHAN", "UNSUPPORTED", "Strategy", "semantically_equal", "strategy_for"]


@cache
def _factories() -> dict[tuple[str, str], StrategyFactory]:
    from . import core, others, pods, services, workloads

    found: dict[tuple[str, str], StrategyFactory] = {}
    for module in (pods, core, services, workloads, others):
        found.update(module.STRATEGIES)
    return found


@cache
def strategy_for(gvr: GVR) -> Strategy:
    """The strategy of a built-in resource. Raises KeyError for others."""
    info = builtin_by_gvr()[gvr]
    factory = _factories().get((gvr.group, gvr.resource), Strategy)
    return factory(info)
