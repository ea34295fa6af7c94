"""The shell of the token controller. Idle where no ``--service-account-private-key-file`` is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...api.errors import StatusError
from ...api.meta import Object, key_of, name_of, namespace_of, uid_of
from ...api.resources import SECRETS, SERVICE_ACCOUNTS
from ..runtime import Controller
from . import decide, jwt


class ServiceAccountTokenController(Controller):
    name = "serviceaccount-token-controller"

    def setup(self) -> None:
        settings = self.context.settings
        if not settings.service_account_private_key_file:
            return
        self._key = jwt.load_key(Path(settings.service_account_private_key_file).read_bytes())
        self._root_ca = Path(settings.root_ca_file).read_bytes() if settings.root_ca_file else b""
        self.secrets = self.watch(SECRETS, self._of_secret)
        self.accounts = self.watch(SERVICE_ACCOUNTS, self._of_account)

    def _of_secret(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        if new is not None and kind != "DELETED" and decide.is_token(new):
            yield key_of(new)

    def _of_account(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        account = new or old or {}
        for secret in self.secrets.list(namespace_of(account)):
            if decide.is_token(secret) and decide.account_of(secret) == name_of(account):
                yield key_of(secret)

    async def sync(self, key: str) -> float | None:
        secret = self.secrets.get_key(key)
        if secret is None or not decide.is_token(secret) or not decide.account_of(secret):
            return None
        account = await self._account(secret)

        def token() -> str:
            assert account is not None
            claims = jwt.legacy_claims(namespace_of(secret), name_of(secret), name_of(account), uid_of(account))
            return jwt.sign(self._key, claims)

        await self.execute(decide.decide(secret, account, self._root_ca, token))
        return None

    async def _account(self, secret: Object) -> Object | None:
        """A Secret is deleted only where the server says that its account is gone."""
        name = decide.account_of(secret)
        account = self.accounts.get(namespace_of(secret), name)
        if account is not None and decide.belongs_to(secret, account):
            return account
        try:
            return await self.client.get(SERVICE_ACCOUNTS, name, namespace_of(secret))
        except StatusError as failure:
            if failure.reason == "NotFound":
                return None
            raise
