"""The scale subresource of deployments, replica sets, stateful sets and replication controllers."""

from __future__ import annotations

from collections.abc import Mapping

from ..resources import parse_api_version
from ..selectors import SelectorError, selector_from_map, selector_text
from .base import Obj, Strategy, section

_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def make_scale(obj: Mapping[str, object], replicas: int, current: int, selector: str) -> Obj:
    """An ``autoscaling/v1 Scale``."""
    metadata = obj.get("metadata") or {}
    assert isinstance(metadata, dict)
    status: Obj = {"replicas": current}
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {f: metadata[f] for f in _METADATA if metadata.get(f)},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


class Scalable(Strategy):
    """A strategy whose kind has ``/scale``."""

    def scale_of(self, obj: Obj) -> Obj:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        group, _ = parse_api_version(obj.get("apiVersion") or self.gvr.api_version)
        try:
            if group:
                selector = selector_text(spec.get("selector"))
            else:
                selector = str(selector_from_map(spec.get("selector")))
        except SelectorError:
            selector = ""
        return make_scale(obj, spec.get("replicas") or 0, status.get("replicas") or 0, selector)

    def apply_scale(self, obj: Obj, scale: Obj) -> None:
        section(obj, "spec")["replicas"] = (scale.get("spec") or {}).get("replicas") or 0
