"""ControllerRevisions: the history of a StatefulSet's or DaemonSet's template, from which kubectl rolls back.

The pure part makes, compares and orders them; ``History`` stores them. Semantics of upstream's ``pkg/controller/history``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from ..api.errors import StatusError
from ..api.meta import Object, annotations_of, controller_of, metadata, name_of, namespace_of, uid_of
from ..api.resources import CONTROLLER_REVISIONS
from ..client.rest import STRATEGIC_MERGE_PATCH
from .claims import adoption_patch
from .runtime import Controller
from .values import fnv32a, safe_encode, semantic

HASH_LABEL = "controller.kubernetes.io/hash"
REVISION_LABEL = "controller-revision-hash"


def template_data(owner: Object) -> Object:
    """What a revision keeps: a strategic merge patch that puts the template in place of another.

    Its keys are sorted, as Go writes maps: clients find the revision of a template by comparing the bytes (kubectl's undo does).
    """
    template = {**((owner.get("spec") or {}).get("template") or {}), "$patch": "replace"}
    data: Object = orjson.loads(orjson.dumps({"spec": {"template": template}}, option=orjson.OPT_SORT_KEYS))
    return data


def template_in(revision: Object) -> Object:
    template = ((revision.get("data") or {}).get("spec") or {}).get("template") or {}
    return {k: v for k, v in template.items() if k != "$patch"}


def hash_of(data: Any, collisions: int) -> str:
    raw = orjson.dumps(semantic(data), option=orjson.OPT_SORT_KEYS)
    return safe_encode(str(fnv32a(raw + str(collisions).encode())))


def new_revision(
    owner: Object, reference: dict[str, Any], data: Object, number: int, collisions: int, *, label: str = HASH_LABEL
) -> Object:
    """``label`` gets the hash (for a DaemonSet it is the one that its pods carry)."""
    template_labels = metadata((owner.get("spec") or {}).get("template") or {}).get("labels") or {}
    suffix = hash_of(data, collisions)
    labels = {**template_labels, label: suffix}
    meta: dict[str, Any] = {
        "name": f"{name_of(owner)[:223]}-{suffix}",
        "namespace": namespace_of(owner),
        "labels": labels,
        "ownerReferences": [reference],
    }
    if annotations_of(owner):
        meta["annotations"] = dict(annotations_of(owner))
    kind = {"apiVersion": "apps/v1", "kind": "ControllerRevision"}
    return {**kind, "metadata": meta, "data": data, "revision": number}


def ordered(revisions: Iterable[Object]) -> list[Object]:
    return sorted(
        revisions, key=lambda r: (int(r.get("revision") or 0), metadata(r).get("creationTimestamp") or "", name_of(r))
    )


def same_data(one: Object, other: Object) -> bool:
    return bool(semantic(one.get("data")) == semantic(other.get("data")))


def equal_revisions(revisions: Iterable[Object], data: Object) -> list[Object]:
    wanted = semantic(data)
    return [r for r in revisions if semantic(r.get("data")) == wanted]


def surplus(revisions: Sequence[Object], live: Iterable[str], limit: int) -> list[Object]:
    """The oldest revisions beyond the limit that nobody uses."""
    kept = set(live)
    unused = [r for r in ordered(revisions) if name_of(r) not in kept]
    return unused[: max(0, len(unused) - limit)]


class History:
    """Stores revisions on behalf of a controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def adopt(self, owner: Object, reference: dict[str, Any], revisions: Sequence[Object]) -> list[Object]:
        """Takes on those that have no controller."""
        found = []
        for revision in revisions:
            if controller_of(revision) is None:
                revision = await self._controller.writer.patch(
                    CONTROLLER_REVISIONS,
                    name_of(revision),
                    adoption_patch(revision, reference),
                    namespace_of(revision),
                    patch_type=STRATEGIC_MERGE_PATCH,
                )
            found.append(revision)
        return found

    async def create(self, make: Any, data: Object, collisions: int) -> tuple[Object, int]:
        """``make(collisions)`` gives the revision; where another has its name, the count goes up.

        Gives what is stored, and the count.
        """
        while True:
            revision = make(collisions)
            try:
                return await self._controller.writer.create(CONTROLLER_REVISIONS, revision), collisions
            except StatusError as failure:
                if failure.reason != "AlreadyExists":
                    raise
            found = await self._controller.client.get(CONTROLLER_REVISIONS, name_of(revision), namespace_of(revision))
            if same_data(found, {"data": data}):
                self._controller.context.informers.observe(CONTROLLER_REVISIONS, found)
                return found, collisions
            collisions += 1

    async def renumber(self, revision: Object, number: int) -> Object:
        """An old template is the newest again."""
        return await self._controller.writer.update(CONTROLLER_REVISIONS, {**revision, "revision": number})

    def listed(self, owner: Object) -> list[Object]:
        """Those of the owner, and those of nobody in its namespace; from the copy."""
        informer = self._controller.by_owner(CONTROLLER_REVISIONS)
        own = informer.by_index("owner", uid_of(owner))
        return [*own, *informer.by_index("owner", f"orphan/{namespace_of(owner)}")]
