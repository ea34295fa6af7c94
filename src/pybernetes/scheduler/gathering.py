"""A model of a cluster from its API, as far as the caller may list: what ``p8s why`` asks where no scheduler answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object
from ..api.resources import GVR, NAMESPACES, NODES, PODS
from ..client.rest import Client
from .explain import World
from .handle import SchedulerHandle
from .model import StaticObjects, model_of
from .objects import USED
from .profiles import default_evaluator

PAGE = 2000


@dataclass(slots=True)
class Gathered:
    """Lists of the cluster's objects, and what could not be seen."""

    lists: dict[GVR, list[Object]] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)

    @property
    def pods(self) -> list[Object]:
        return self.lists.get(PODS, [])

    def note(self) -> str:
        return f"Not taken into account, for you may not list them: {', '.join(self.unseen)}."


async def listed(client: Client, gvr: GVR) -> list[Object]:
    """All objects of a resource, in pages."""
    found: list[Object] = []
    token = ""
    while True:
        page = await client.list(gvr, limit=PAGE, continue_token=token)
        found += page.get("items") or []
        token = (page.get("metadata") or {}).get("continue") or ""
        if not token:
            return found


async def gather(client: Client) -> Gathered:
    """Nodes and pods must be visible; of the rest what is. Raises StatusError."""
    found = Gathered({NODES: await listed(client, NODES), PODS: await listed(client, PODS)})
    for gvr in USED:
        try:
            found.lists[gvr] = await listed(client, gvr)
        except StatusError as failure:
            if failure.code not in (403, 404):
                raise
            if failure.code == 403:
                found.unseen.append(gvr.resource)
    return found


def world_of(lists: Mapping[GVR, Iterable[Object]], config: Mapping[str, Any] | None = None, seed: int = 0) -> World:
    """The default profile, or the given one, over lists of objects."""
    objects = StaticObjects({gvr: items for gvr, items in lists.items() if gvr not in (NODES, PODS)})
    # Namespaces that may not be listed are at least known by their pods.
    known = {o["metadata"]["name"] for o in objects.list(NAMESPACES)}
    model = model_of(objects, lists.get(NODES, ()), ())
    for pod in lists.get(PODS, ()):
        info = model.put_pod(pod)
        if not info.node_name and info.nominated_node:
            model.table.nominations.put(info, info.nominated_node)
        if info.namespace not in known:
            model.set_namespace(info.namespace, {"kubernetes.io/metadata.name": info.namespace})
            known.add(info.namespace)
    evaluator = default_evaluator(SchedulerHandle(model, objects, rng=random.Random(seed)), config)
    return World(model, evaluator)
