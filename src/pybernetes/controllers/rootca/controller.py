"""The shell of the root CA publisher. Idle where no ``--root-ca-file`` is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...api.meta import Object, name_of, namespace_of
from ...api.resources import CONFIG_MAPS, NAMESPACES
from ..runtime import API_ERRORS, Controller, is_namespace_terminating, is_status
from . import decide


class RootCACertificatePublisher(Controller):
    name = "root-ca-certificate-publisher-controller"

    def setup(self) -> None:
        path = self.context.settings.root_ca_file
        self._certificate = Path(path).read_text() if path else ""
        if not self._certificate:
            return
        self.namespaces = self.watch(NAMESPACES)
        self.config_maps = self.watch(CONFIG_MAPS, self._of_config_map)

    def _of_config_map(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        obj = new or old or {}
        if name_of(obj) == decide.NAME and kind != "ADDED":
            yield namespace_of(obj)

    async def sync(self, key: str) -> float | None:
        existing = self.config_maps.get(key, decide.NAME)
        try:
            await self.execute(decide.decide(self.namespaces.get_key(key), existing, self._certificate))
        except API_ERRORS as failure:
            if not is_namespace_terminating(failure) and not is_status(failure, "NotFound"):
                raise
        return None
