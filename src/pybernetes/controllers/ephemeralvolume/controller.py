"""The shell of the ephemeral volume controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.errors import StatusError
from ...api.meta import Object, key_of, name_of, namespace_of
from ...api.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from ...client.events import WARNING
from ..runtime import API_ERRORS, Controller
from . import decide


class EphemeralVolumeController(Controller):
    name = "ephemeral-volume-controller"
    component = "ephemeral_volume"

    def setup(self) -> None:
        self.claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self.pods = self.watch(PODS, self._of_pod)
        self.watch_owned(PERSISTENT_VOLUME_CLAIMS, "Pod")

    def _of_pod(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        if kind != "DELETED" and new is not None:
            if any(v.get("ephemeral") for v in (new.get("spec") or {}).get("volumes") or []):
                yield key_of(new)

    async def sync(self, key: str) -> float | None:
        pod = self.pods.get_key(key)
        if pod is None:
            return None
        for claim in decide.claims_for(pod):
            found = self.claims.get(namespace_of(claim), name_of(claim))
            if found is None:
                try:
                    await self.writer.create(PERSISTENT_VOLUME_CLAIMS, claim)
                except API_ERRORS as failure:
                    text = f"ephemeral volume claim {name_of(claim)}: {failure}"
                    self.event(pod, WARNING, "FailedBinding", text)
                    raise
                continue
            why = decide.conflict(found, pod)
            if why is not None:
                self.event(pod, WARNING, "FailedBinding", f"ephemeral volume claim {name_of(claim)}: {why}")
                raise StatusError(500, "", why)
        return None
