"""A profile: the plugins of one scheduler name, by extension point, with their weights.

Specified by the "Scheduling Framework" page and KubeSchedulerConfiguration's ``profiles``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..hooks.scheduling import (
    MAX_NODE_SCORE,
    Code,
    CycleState,
    Diagnosis,
    Plugin,
    PluginFactory,
    PodView,
    PostFilterResult,
    Rows,
    Scope,
    Status,
    Verdicts,
    takes_part,
)
from .columns import Array
from .nodetable import NodeTable

POINTS: Mapping[str, tuple[str, ...]] = {
    "preEnqueue": ("pre_enqueue",),
    "queueSort": ("sort_key",),
    "preFilter": ("pre_filter",),
    "filter": ("filter", "filter_node"),
    "postFilter": ("post_filter",),
    "preScore": ("pre_score",),
    "score": ("score", "score_node"),
    "reserve": ("reserve", "unreserve"),
    "permit": ("permit",),
    "preBind": ("pre_bind",),
    "bind": ("bind",),
    "postBind": ("post_bind",),
}
"""Extension point, as configuration names it, to the methods of which a plugin overrides at least one."""


class PluginFailure(Exception):
    """A plugin raised, or answered what it may not."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A plugin's place in a point's order."""

    plugin: Plugin
    weight: int = 1
    cached: bool = False
    """Its results may be kept by specification and row."""


@dataclass(slots=True)
class PluginChoice:
    """What configuration says of a profile's plugins: names and weights in order, per extension point."""

    points: dict[str, list[tuple[str, int]]] = field(default_factory=dict)


class Profile:
    """The plugins of one scheduler name."""

    def __init__(
        self, name: str, plugins: Mapping[str, Plugin], points: Mapping[str, Sequence[tuple[str, int]]]
    ) -> None:
        self.name = name
        self.plugins = dict(plugins)
        self._points = {
            point: [
                Selected(plugins[n], weight, plugins[n].scope in (Scope.NODE, Scope.USAGE))
                for n, weight in chosen
                if takes_part(plugins[n], *POINTS[point])
            ]
            for point, chosen in points.items()
        }
        self._uncached = {point: [s for s in chosen if not s.cached] for point, chosen in self._points.items()}
        self.percentage_of_nodes_to_score: int | None = None

    def at(self, point: str) -> Sequence[Selected]:
        return self._points.get(point, ())

    def uncached_at(self, point: str) -> Sequence[Selected]:
        """Those whose results depend on the whole cluster: asked anew for every pod."""
        return self._uncached.get(point, ())


def build_plugins(
    names: Sequence[str], factories: Mapping[str, PluginFactory], args: Mapping[str, Mapping[str, Any]], handle: Any
) -> dict[str, Plugin]:
    """One instance a name. Raises KeyError for a name without a factory."""
    found = {}
    for name in dict.fromkeys(names):
        plugin = factories[name](args.get(name, {}), handle)
        plugin.name = plugin.name or name
        found[name] = plugin
    return found


# -- calling plugins -----------------------------------------------------------------------------------------------


def run_filter(plugin: Plugin, state: CycleState, pod: PodView, rows: Rows, table: NodeTable) -> Verdicts:
    """A plugin's verdicts on rows, whichever shape of Filter it has; of a single one by ``filter_node`` if there is one."""
    one = len(rows) == 1 if not isinstance(rows, slice) else False
    if takes_part(plugin, "filter") and not (one and takes_part(plugin, "filter_node")):
        return plugin.filter(state, pod, rows)
    indices = table.indices(rows)
    codes = np.zeros(len(indices), dtype=np.int16)
    known: dict[Status, int] = {}
    for at, row in enumerate(indices.tolist()):
        if not table.valid[row]:
            continue
        status = plugin.filter_node(state, pod, table.view(row))
        if status is None or status.code == Code.SUCCESS:
            continue
        if not status.rejected:
            raise PluginFailure(status.message or f"plugin {plugin.name} failed")
        named = status if status.plugin else Status(status.code, status.reasons, plugin.name)
        codes[at] = known.setdefault(named, len(known) + 1)
    return Verdicts(codes, list(known))


def run_score(plugin: Plugin, state: CycleState, pod: PodView, rows: Rows, table: NodeTable) -> Array:
    """A plugin's raw scores of rows."""
    one = len(rows) == 1 if not isinstance(rows, slice) else False
    if takes_part(plugin, "score") and not (one and takes_part(plugin, "score_node")):
        return plugin.score(state, pod, rows)
    indices = table.indices(rows)
    return np.fromiter(
        (plugin.score_node(state, pod, table.view(row)) if table.valid[row] else 0 for row in indices.tolist()),
        dtype=np.int64,
        count=len(indices),
    )


def normalized(plugin: Plugin, state: CycleState, pod: PodView, scores: Array) -> Array:
    """0..100. Raises PluginFailure where a plugin's scores are not."""
    if takes_part(plugin, "normalize"):
        scores = plugin.normalize(state, pod, scores)
    if len(scores) and (int(scores.min()) < 0 or int(scores.max()) > MAX_NODE_SCORE):
        wrong = int(scores.min()) if int(scores.min()) < 0 else int(scores.max())
        raise PluginFailure(
            f'plugin "{plugin.name}" returns an invalid score {wrong}, it should in the range of [0, {MAX_NODE_SCORE}] '
            "after normalizing"
        )
    return scores


__all__ = ["Diagnosis", "PostFilterResult", "Profile", "build_plugins", "run_filter", "run_score"]
