"""The ConfigMap of a namespace. Semantics of upstream's ``rootcacertpublisher``."""

from __future__ import annotations

from ...api.meta import Object, annotations_of, name_of
from ...api.resources import CONFIG_MAPS
from ..commands import Command, Create, Update
from ..values import with_metadata

NAME = "kube-root-ca.crt"
DESCRIPTION_KEY = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


def decide(namespace: Object | None, existing: Object | None, certificate: str) -> list[Command]:
    if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
        return []
    data = {"ca.crt": certificate}
    if existing is None:
        meta = {
            "name": NAME,
            "namespace": name_of(namespace),
            "annotations": {DESCRIPTION_KEY: DESCRIPTION},
        }
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        return [Create(CONFIG_MAPS, config_map, unless_exists=True)]
    annotations = annotations_of(existing)
    if existing.get("data") == data and annotations.get(DESCRIPTION_KEY):
        return []
    changed = with_metadata(existing, annotations={**annotations, DESCRIPTION_KEY: DESCRIPTION})
    return [Update(CONFIG_MAPS, {**changed, "data": data})]
