"""Authorization: RBAC, the node authorizer, ABAC, webhook, and the words of a refusal.

``build`` makes the chain of the configured modes. Specified by the "Authorization" page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...concurrency import Clock
    from ...hooks.authorization import Authorizer
    from ...hooks.reading import ObjectReader
    from .rbac import RbacAuthorizer
    from .union import Union

MODES = ("Node", "RBAC", "ABAC", "Webhook", "AlwaysAllow", "AlwaysDeny")


@dataclass(slots=True)
class AuthorizationOptions:
    """``--authorization-mode`` and the files that the modes need."""

    modes: Sequence[str] = ("Node", "RBAC")
    policy_file: str = ""
    webhook_kubeconfig: str = ""
    extra: Sequence[Authorizer] = ()
    """Authorizers of other packages (entry points), asked last."""


@dataclass(slots=True)
class AuthorizationStack:
    """The authorizer, and RBAC by itself: the escalation checks ask it even where it is not a mode."""

    authorizer: Union
    rbac: RbacAuthorizer

    def prepare(self) -> None:
        """Builds the indexes, which the first question would do otherwise. To be called when the reader is filled."""
        self.authorizer.prepare()
        _ = self.rbac.index


def build(options: AuthorizationOptions, reader: ObjectReader, clock: Clock) -> AuthorizationStack:
    """Raises ValueError or OSError for a mode that is unknown or files that cannot be used."""
    from .rbac import RbacAuthorizer
    from .union import Union

    rbac = RbacAuthorizer(reader)
    chain = [_mode(name, options, reader, clock, rbac) for name in options.modes]
    return AuthorizationStack(Union([*chain, *options.extra]), rbac)


def _mode(
    name: str, options: AuthorizationOptions, reader: ObjectReader, clock: Clock, rbac: RbacAuthorizer
) -> Authorizer:
    if name == "RBAC":
        return rbac
    if name == "Node":
        from .bootstrap import node_rules
        from .node import NodeAuthorizer

        return NodeAuthorizer(reader, node_rules())
    if name == "ABAC":
        from .abac import AbacAuthorizer

        if not options.policy_file:
            raise ValueError("authorization-mode ABAC's authorization policy file not passed")
        return AbacAuthorizer.from_file(options.policy_file)
    if name == "Webhook":
        if not options.webhook_kubeconfig:
            raise ValueError("authorization-mode Webhook's authorization config file not passed")
        return _webhook(options.webhook_kubeconfig, clock)
    if name in ("AlwaysAllow", "AlwaysDeny"):
        from .union import AlwaysAllow, AlwaysDeny

        return AlwaysAllow() if name == "AlwaysAllow" else AlwaysDeny()
    raise ValueError(f'authorization-mode "{name}" is not a valid mode')


def _webhook(kubeconfig: str, clock: Clock) -> Authorizer:
    from urllib.parse import urlsplit

    from ...client.kubeconfig import client_from_kubeconfig, load
    from .webhook import WebhookAuthorizer

    server = load(kubeconfig)["clusters"][0]["cluster"]["server"]
    return WebhookAuthorizer(client_from_kubeconfig(kubeconfig, clock=clock), clock, path=urlsplit(server).path or "/")
