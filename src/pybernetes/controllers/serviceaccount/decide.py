"""Which ServiceAccounts a namespace lacks. Semantics of upstream's ``serviceaccounts_controller``."""

from __future__ import annotations

from collections.abc import Container

from ...api.meta import Object, name_of
from ...api.resources import SERVICE_ACCOUNTS
from ..commands import Command, Create

ALWAYS = ("default",)


def decide(namespace: Object | None, present: Container[str]) -> list[Command]:
    if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
        return []
    return [
        Create(
            SERVICE_ACCOUNTS,
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": name_of(namespace)},
            },
            unless_exists=True,
        )
        for name in ALWAYS
        if name not in present
    ]
