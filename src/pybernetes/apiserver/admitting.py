"""The admission chain as the pipeline calls it: which plugins look at a write is found once a (operation, resource)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..api.errors import StatusError
from ..api.resources import GVR
from ..hooks.admission import AdmissionAttributes, AdmissionPlugin
from .admission.base import Plugin
from .admission.metrics import ADMIT, VALIDATE, AdmissionMetrics, Timed
from .hub import Unconfirmed
from .request import Request


class AdmissionChain:
    """Mutating first, in order, then validating, in order."""

    def __init__(self, plugins: Sequence[AdmissionPlugin] = (), monotonic: Callable[[], float] = lambda: 0.0) -> None:
        self._plugins = tuple(plugins)
        self._monotonic = monotonic
        self._relevant: dict[tuple[str, GVR, str], tuple[AdmissionPlugin, ...]] = {}
        self._steps: dict[tuple[str, GVR, str], _Steps] = {}
        self.metrics = AdmissionMetrics()

    def replace(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self._plugins = tuple(plugins)
        self._relevant.clear()
        self._steps.clear()

    def relevant(self, operation: str, gvr: GVR, subresource: str) -> tuple[AdmissionPlugin, ...]:
        key = (operation, gvr, subresource)
        found = self._relevant.get(key)
        if found is None:
            found = tuple(p for p in self._plugins if p.handles(operation, gvr, subresource))
            self._relevant[key] = found
        return found

    def _steps_of(self, attributes: AdmissionAttributes) -> _Steps:
        key = (attributes.operation, attributes.gvr, attributes.subresource)
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = _Steps(self.relevant(*key), attributes.operation, self.metrics)
        return found

    async def admit(self, attributes: AdmissionAttributes) -> None:
        steps = self._steps_of(attributes)
        await self._run(steps.admit, attributes, steps.admitted)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        steps = self._steps_of(attributes)
        await self._run(steps.validate, attributes, steps.validated)

    async def _run(self, steps: Sequence[_Step], attributes: AdmissionAttributes, whole: Timed) -> None:
        """Each step is timed from the end of the one before: a look at the clock a step."""
        began = last = self._monotonic()
        for ask, timed in steps:
            try:
                await ask(attributes)
            except StatusError:
                now = self._monotonic()
                timed.refused(now - last)
                whole.refused(now - began)
                raise
            now = self._monotonic()
            timed.passed(now - last)
            last = now
        whole.passed(last - began)


_Step = tuple[Callable[[AdmissionAttributes], Awaitable[None]], Timed]


class _Steps:
    """What a kind of write goes through. Plugins that do nothing in one of the two phases are left out of it."""

    def __init__(self, plugins: Sequence[AdmissionPlugin], operation: str, metrics: AdmissionMetrics) -> None:
        self.admitted, self.validated = (metrics.step(operation, kind) for kind in (ADMIT, VALIDATE))
        self.admit: tuple[_Step, ...] = tuple(
            (p.admit, metrics.controller(p.name, operation, ADMIT))
            for p in plugins
            if getattr(type(p), "admit", None) is not Plugin.admit
        )
        self.validate: tuple[_Step, ...] = tuple(
            (p.validate, metrics.controller(p.name, operation, VALIDATE))
            for p in plugins
            if getattr(type(p), "validate", None) is not Plugin.validate
        )


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
    request.waited += attributes.waited
    if attributes.audit_annotations:
        request.audit.setdefault("annotations", {}).update(attributes.audit_annotations)
