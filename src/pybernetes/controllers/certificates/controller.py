"""The shells of the three certificate controllers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from ...api.resources import CERTIFICATE_SIGNING_REQUESTS, GVR
from ...client.signing import Authority, SigningError, load_authority
from ..runtime import Controller, bound, in_parallel
from . import decide

_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")
_CLEANING_PERIOD = 3600.0


class ApprovingController(Controller):
    name = "certificatesigningrequest-approving-controller"

    def setup(self) -> None:
        self.requests = self.watch(CERTIFICATE_SIGNING_REQUESTS)

    async def sync(self, key: str) -> float | None:
        request = self.requests.get_key(key)
        if request is None:
            return None
        try:
            candidates = decide.recognize(request, serving=self.context.settings.kubelet_serving_approval)
        except SigningError as failure:
            self.log.info("request cannot be read", request=key, error=str(failure))
            return None
        for candidate in candidates:
            if await self._may(request, candidate.subresource):
                changed = decide.approved(request, candidate.message, self.clock.now())
                await self.writer.update(CERTIFICATE_SIGNING_REQUESTS, changed, "approval")
                return None
        return None

    async def _may(self, request: dict[str, Any], subresource: str) -> bool:
        if not subresource:
            return True
        review = await self.client.create(_REVIEWS, decide.review_for(request, subresource))
        return bool((review.get("status") or {}).get("allowed"))


class SigningController(Controller):
    """Idle where no ``--cluster-signing-cert-file`` is given. The files are read anew when they change."""

    name = "certificatesigningrequest-signing-controller"

    def setup(self) -> None:
        settings = self.context.settings
        self._files = (Path(settings.cluster_signing_cert_file), Path(settings.cluster_signing_key_file))
        self._read: tuple[tuple[int, ...], Authority] | None = None
        if settings.cluster_signing_cert_file and settings.cluster_signing_key_file:
            self.requests = self.watch(CERTIFICATE_SIGNING_REQUESTS)

    def _authority(self) -> Authority:
        stamp = tuple(f.stat().st_mtime_ns for f in self._files)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, load_authority(*(f.read_bytes() for f in self._files)))
        return self._read[1]

    async def sync(self, key: str) -> float | None:
        request = self.requests.get_key(key)
        if request is None:
            return None
        maximum = self.context.settings.cluster_signing_duration
        try:
            changed = decide.sign(request, self._authority(), maximum, self.clock.now())
        except SigningError as failure:
            self.log.warning("request not signed", request=key, error=str(failure))
            return None
        if changed is not None:
            await self.writer.update(CERTIFICATE_SIGNING_REQUESTS, changed, "status")
        return None


class CleanerController(Controller):
    name = "certificatesigningrequest-cleaner-controller"
    workers = 1

    def setup(self) -> None:
        self.requests = self.informer(CERTIFICATE_SIGNING_REQUESTS)

    async def sync(self, key: str) -> float | None:
        return None

    def background(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        return (self._passes,)

    async def _passes(self) -> None:
        while True:
            old = [r for r in self.requests.list() if decide.is_outdated(r, self.clock.now())]
            jobs = [bound(self.writer.delete, CERTIFICATE_SIGNING_REQUESTS, r) for r in old]
            for failure in await in_parallel(jobs):
                self.log.info("request not deleted", error=str(failure))
            await self.clock.sleep(_CLEANING_PERIOD)
