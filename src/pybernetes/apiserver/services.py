"""Where a Service is reached from the API server: webhooks and aggregated API servers are named by Service.

The API server goes to the endpoints themselves, as upstream's does with ``--enable-aggregator-routing``: it need not run where
cluster addresses are translated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..api.errors import go_quote
from ..api.meta import Object, labels_of, name_of, namespace_of
from ..api.resources import ENDPOINT_SLICES, SERVICES
from ..hooks.reading import ObjectReader

SERVICE_NAME = "kubernetes.io/service-name"


class Unresolvable(LookupError):
    """The Service is not there, or nobody answers for it; the message is upstream's."""


class Address(NamedTuple):
    host: str
    port: int


class ServiceResolver:
    """Endpoints by Service, kept as new as the reader."""

    def __init__(self, reader: ObjectReader, rng: random.Random) -> None:
        self._reader, self._rng = reader, rng
        self._slices: dict[tuple[str, str], dict[str, Object]] | None = None

    def _index(self) -> dict[tuple[str, str], dict[str, Object]]:
        if self._slices is None:
            self._slices = {}
            self._reader.subscribe(ENDPOINT_SLICES, self._changed)
            for obj in self._reader.each(ENDPOINT_SLICES):
                self._changed("ADDED", None, obj)
        return self._slices

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        assert self._slices is not None
        for obj, present in ((old, False), (new, kind != "DELETED")):
            service = labels_of(obj).get(SERVICE_NAME) if obj is not None else None
            if obj is None or not service:
                continue
            key = (namespace_of(obj), service)
            if present:
                self._slices.setdefault(key, {})[name_of(obj)] = obj
            else:
                self._slices.get(key, {}).pop(name_of(obj), None)
                if not self._slices.get(key):
                    self._slices.pop(key, None)

    def resolve(self, namespace: str, name: str, port: int) -> Address:
        """An address of the Service's port; of several endpoints any. Raises Unresolvable."""
        service = self._reader.get(SERVICES, namespace, name)
        if service is None:
            raise Unresolvable(f"service {go_quote(name)} not found")
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return Address(spec.get("externalName") or "", port)
        entry = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
        if entry is None:
            raise Unresolvable(f"no service port {port} found for service {go_quote(name)}")
        addresses = list(self._addresses(namespace, name, entry))
        if not addresses:
            raise Unresolvable(f"no endpoints available for service {go_quote(name)}")
        return self._rng.choice(addresses)

    def _addresses(self, namespace: str, name: str, entry: Mapping[str, Any]) -> Iterator[Address]:
        for obj in self._index().get((namespace, name), {}).values():
            ports = obj.get("ports") or ()
            number = next((p.get("port") for p in ports if (p.get("name") or "") == (entry.get("name") or "")), None)
            if number is None:
                continue
            for endpoint in obj.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    for address in endpoint.get("addresses") or ():
                        yield Address(address, number)
