"""The shells of token cleaner and bootstrap signer."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, name_of, namespace_of
from ...api.resources import CONFIG_MAPS, SECRETS
from ..runtime import Controller
from . import decide

_INFO_NAMESPACE, _INFO_NAME = "kube-public", "cluster-info"


def _tokens_only(kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
    secret = new or old or {}
    if namespace_of(secret) == decide.NAMESPACE and secret.get("type") == decide.TYPE:
        yield f"{decide.NAMESPACE}/{name_of(secret)}"


class TokenCleanerController(Controller):
    name = "token-cleaner-controller"
    workers = 1

    def setup(self) -> None:
        self.secrets = self.watch(SECRETS, _tokens_only)

    async def sync(self, key: str) -> float | None:
        secret = self.secrets.get_key(key)
        due = decide.expires_at(secret) if secret is not None else None
        if secret is None or due is None:
            return None
        now = self.clock.now()
        if due > now:
            return due - now
        await self.writer.delete(SECRETS, secret)
        return None


class BootstrapSignerController(Controller):
    name = "bootstrap-signer-controller"
    workers = 1

    def setup(self) -> None:
        self.secrets = self.informer(SECRETS)
        self.config_maps = self.watch(CONFIG_MAPS, self._of_config_map)
        self.watch(SECRETS, lambda kind, old, new: [_INFO_NAME] if any(_tokens_only(kind, old, new)) else [])

    def _of_config_map(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        obj = new or old or {}
        if (namespace_of(obj), name_of(obj)) == (_INFO_NAMESPACE, _INFO_NAME):
            yield _INFO_NAME

    async def sync(self, key: str) -> float | None:
        info = self.config_maps.get(_INFO_NAMESPACE, _INFO_NAME)
        if info is None:
            return None
        changed = decide.signed(info, self.secrets.list(decide.NAMESPACE), self.clock.now())
        if changed is not None:
            await self.writer.update(CONFIG_MAPS, changed)
        return None
