"""The plugins of the default profile, on the contract of ``hooks.scheduling``, and the order and weights of upstream's."""

from __future__ import annotations

from collections.abc import Mapping

from ...hooks.scheduling import PluginFactory

DEFAULT_PLUGINS: tuple[tuple[str, int], ...] = (
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
    ("NodeDeclaredFeatures", 0),
)
"""Name and weight, in the order in which they run (weight 0: the default of 1 where a plugin scores)."""


def builtin_factories() -> Mapping[str, PluginFactory]:
    """Plugin name to factory."""
    from . import (
        affinity,
        binder,
        features,
        gates,
        images,
        limits,
        node,
        ports,
        preemption,
        resources,
        spread,
        volumes,
        zones,
    )

    return {
        "SchedulingGates": gates.SchedulingGates,
        "PrioritySort": gates.PrioritySort,
        "NodeUnschedulable": node.NodeUnschedulable,
        "NodeName": node.NodeName,
        "TaintToleration": node.TaintToleration,
        "NodeAffinity": node.NodeAffinity,
        "NodePorts": ports.NodePorts,
        "NodeResourcesFit": resources.NodeResourcesFit,
        "NodeResourcesBalancedAllocation": resources.NodeResourcesBalancedAllocation,
        "VolumeRestrictions": volumes.VolumeRestrictions,
        "NodeVolumeLimits": limits.NodeVolumeLimits,
        "VolumeBinding": volumes.VolumeBinding,
        "VolumeZone": zones.VolumeZone,
        "PodTopologySpread": spread.PodTopologySpread,
        "InterPodAffinity": affinity.InterPodAffinity,
        "DefaultPreemption": preemption.DefaultPreemption,
        "ImageLocality": images.ImageLocality,
        "DefaultBinder": binder.DefaultBinder,
        "NodeDeclaredFeatures": features.NodeDeclaredFeatures,
    }
