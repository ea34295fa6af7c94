"""``kube-system/extension-apiserver-authentication``: what servers behind this one need to believe it, and to know users themselves.

Specified by "Configure the Aggregation Layer", "Extension apiserver authorizes the request", and the cluster authentication trust
controller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson

from ...api.errors import StatusError
from ...api.resources import CONFIG_MAPS
from ...concurrency import Clock, logger
from ...hooks.admission import Requester
from ...hooks.reading import ObjectReader

log = logger("apiserver.aggregation")

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
CHECK_SECONDS = 60.0


def trust(
    client_ca: bytes,
    front_proxy_ca: bytes,
    allowed_names: Sequence[str],
    usernames: Sequence[str],
    groups: Sequence[str],
    extra_prefixes: Sequence[str],
) -> dict[str, str]:
    """The ConfigMap's data; what is not configured is not in it."""
    found = {}
    if client_ca:
        found["client-ca-file"] = client_ca.decode()
    if front_proxy_ca:
        found["requestheader-client-ca-file"] = front_proxy_ca.decode()
        for key, values in (
            ("allowed-names", allowed_names),
            ("username-headers", [n.title() for n in usernames]),
            ("group-headers", [n.title() for n in groups]),
            ("extra-headers-prefix", [n.title() for n in extra_prefixes]),
        ):
            found[f"requestheader-{key}"] = orjson.dumps(list(values)).decode()
    return found


class TrustPublisher:
    """Keeps the ConfigMap as it should be; what others put beside it stays."""

    def __init__(
        self, request: Requester, reader: ObjectReader, clock: Clock, data: Callable[[], Mapping[str, str]]
    ) -> None:
        self._request, self._reader, self._clock, self._data = request, reader, clock, data

    async def ensure(self) -> None:
        data = dict(self._data())
        if not data:
            return
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
        current = self._reader.get(CONFIG_MAPS, NAMESPACE, NAME)
        if current is None:
            body = {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data}
            await self._request("POST", path, {"apiVersion": "v1", "kind": "ConfigMap", **body})
            return
        merged = {**(current.get("data") or {}), **data}
        if merged != (current.get("data") or {}):
            await self._request("PUT", f"{path}/{NAME}", {**current, "data": merged})

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            try:
                await self.ensure()
            except StatusError as failure:
                log.info("extension-apiserver-authentication not written", error=failure.message)
