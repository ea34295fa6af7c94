"""The admission chain as the pipeline calls it: which plugins look at a write is found once a (operation, resource)."""

from __future__ import annotations

from collections.abc import Sequence

from ..api.errors import StatusError
from ..api.resources import GVR
from ..hooks.admission import AdmissionAttributes, AdmissionPlugin
from .hub import Unconfirmed
from .request import Request


class AdmissionChain:
    """Mutating first, in order, then validating, in order."""

    def __init__(self, plugins: Sequence[AdmissionPlugin] = ()) -> None:
        self._plugins = tuple(plugins)
        self._relevant: dict[tuple[str, GVR, str], tuple[AdmissionPlugin, ...]] = {}

    def replace(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self._plugins = tuple(plugins)
        self._relevant.clear()

    def relevant(self, operation: str, gvr: GVR, subresource: str) -> tuple[AdmissionPlugin, ...]:
        key = (operation, gvr, subresource)
        found = self._relevant.get(key)
        if found is None:
            found = tuple(p for p in self._plugins if p.handles(operation, gvr, subresource))
            self._relevant[key] = found
        return found

    async def admit(self, attributes: AdmissionAttributes) -> None:
        for plugin in self.relevant(attributes.operation, attributes.gvr, attributes.subresource):
            await plugin.admit(attributes)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        for plugin in self.relevant(attributes.operation, attributes.gvr, attributes.subresource):
            await plugin.validate(attributes)


async def roll_back(attributes: AdmissionAttributes, failure: StatusError | None = None) -> None:
    """A later step refused the write: what admission had reserved for it is given back, newest first.

    Where the write may have happened it stays reserved: giving what is in use to others would be worse than a leak, which
    quota's controller and the repairing of Services find.
    """
    rollbacks, attributes.rollbacks = attributes.rollbacks, []
    if isinstance(failure, Unconfirmed):
        return
    for rollback in reversed(rollbacks):
        await rollback()


def note(request: Request, attributes: AdmissionAttributes) -> None:
    """What plugins want the client and the audit log to know."""
    request.warnings += attributes.warnings
    if attributes.audit_annotations:
        request.audit.setdefault("annotations", {}).update(attributes.audit_annotations)
