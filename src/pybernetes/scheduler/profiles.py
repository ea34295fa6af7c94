"""From KubeSchedulerConfiguration's profiles to plugins, in upstream's way of merging: defaults, multiPoint, points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..hooks.installed import entry_points
from ..hooks.scheduling import ENTRY_POINT_GROUP, PluginFactory
from .evaluation import Evaluator
from .framework import POINTS, Profile, build_plugins
from .handle import SchedulerHandle
from .plugins import DEFAULT_PLUGINS, builtin_factories

DEFAULT_SCHEDULER = "default-scheduler"
Chosen = Sequence[tuple[str, int]]
"""(name, weight) in order; weight 0 where none is given."""


class ProfileError(ValueError):
    """A configuration that cannot be made into profiles."""


def plugin_factories() -> dict[str, PluginFactory]:
    """The built-in plugins, and those that installed packages announce. Raises ProfileError for a name taken twice."""
    found = dict(builtin_factories())
    for entry in entry_points(ENTRY_POINT_GROUP):
        if entry.name in found:
            raise ProfileError(f'a plugin named {entry.name} already exists (announced again by "{entry.value}")')
        found[entry.name] = entry.load()
    return found


def _listed(plugins: Iterable[Mapping[str, Any]] | None) -> list[tuple[str, int]]:
    return [(p["name"], int(p.get("weight") or 0)) for p in plugins or ()]


def merge_default(default: Chosen, custom: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The default plugins of one set, less the disabled, with those that are named again renewed in place, then the rest."""
    disabled = {p["name"] for p in custom.get("disabled") or ()}
    enabled = _listed(custom.get("enabled"))
    again = dict(enabled)
    kept = [] if "*" in disabled else [(n, again.get(n, w)) for n, w in default if n not in disabled]
    names = {n for n, _ in kept}
    return [*kept, *((n, w) for n, w in enabled if n not in names)]


def expand(multi: Chosen, point: Mapping[str, Any], implements: Mapping[str, bool], kind: str) -> list[tuple[str, int]]:
    """One extension point: plugins that it names and multiPoint has, then the rest of multiPoint, then what else it names."""
    disabled = {p["name"] for p in point.get("disabled") or ()}
    named = _listed(point.get("enabled"))
    for name, _ in named:
        if not implements.get(name, False):
            raise ProfileError(f'plugin "{name}" does not extend {kind} plugin')
    if "*" in disabled:
        return named
    order = [n for n, _ in named]
    if len(set(order)) != len(order):
        raise ProfileError(f'plugin "{next(n for n in order if order.count(n) > 1)}" already registered as "{kind}"')
    multi_names = {n for n, _ in multi}
    first = [(n, w) for n, w in named if n in multi_names]
    middle = [(n, w) for n, w in multi if implements[n] and n not in disabled and n not in order]
    last = [(n, w) for n, w in named if n not in multi_names]
    return [*first, *middle, *last]


def plugin_args(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {c["name"]: c.get("args") or {} for c in profile.get("pluginConfig") or ()}


def build_profile(
    config: Mapping[str, Any], handle: SchedulerHandle, factories: Mapping[str, PluginFactory]
) -> Profile:
    """One profile of a configuration. Raises ProfileError."""
    plugins = config.get("plugins") or {}
    multi = merge_default(DEFAULT_PLUGINS, plugins.get("multiPoint") or {})
    names = [n for n, _ in multi]
    for point in POINTS:
        names += [p["name"] for p in (plugins.get(point) or {}).get("enabled") or ()]
    unknown = next((n for n in names if n not in factories), None)
    if unknown is not None:
        raise ProfileError(f'plugin "{unknown}" does not exist')
    if len({n for n, _ in multi}) != len(multi):
        twice = next(n for n, _ in multi if [m for m, _ in multi].count(n) > 1)
        raise ProfileError(f'plugin "{twice}" already registered')
    made = build_plugins(names, factories, plugin_args(config), handle)
    from ..hooks.scheduling import takes_part

    points: dict[str, list[tuple[str, int]]] = {}
    multi_weights = dict(multi)
    for point, methods in POINTS.items():
        implements = {n: takes_part(p, *methods) for n, p in made.items()}
        chosen = expand(multi, plugins.get(point) or {}, implements, _KINDS[point])
        points[point] = [(n, w or multi_weights.get(n, 0) or 1) for n, w in chosen]
    name = config.get("schedulerName") or DEFAULT_SCHEDULER
    profile = Profile(name, made, points)
    percentage = config.get("percentageOfNodesToScore")
    profile.percentage_of_nodes_to_score = None if percentage is None else int(percentage)
    if len(profile.at("queueSort")) != 1:
        count = len(profile.at("queueSort"))
        words = "at least one queue sort plugin is needed" if not count else "only one queue sort plugin can be enabled"
        raise ProfileError(f"{words} for profile with scheduler name {name!r}".replace("'", '"'))
    if not profile.at("bind"):
        raise ProfileError(f'at least one bind plugin is needed for profile with scheduler name "{name}"')
    handle.evaluator = Evaluator(profile, handle.nodes)
    return profile


_KINDS = {point: f"{point[0].upper()}{point[1:]}Plugin" for point in POINTS}


def default_evaluator(handle: SchedulerHandle, config: Mapping[str, Any] | None = None) -> Evaluator:
    """An evaluator of the default profile, or of the given one, to ask questions."""
    build_profile(config or {}, handle, builtin_factories())
    evaluator: Evaluator = handle.evaluator
    return evaluator
