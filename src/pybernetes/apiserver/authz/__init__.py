"""Authorization: RBAC, the node authorizer, ABAC, webhooks, and the words of a refusal.

``build`` makes the chain that a file or the flags describe, and makes it anew when the file changes. Specified by the
"Authorization" page.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .configuration import MODES, AuthorizationOptions, AuthorizerSettings

if TYPE_CHECKING:
    from ...concurrency import Clock
    from ...hooks.authorization import Authorizer
    from ...hooks.reading import ObjectReader
    from .metrics import AuthorizationMetrics
    from .rbac import RbacAuthorizer
    from .union import Union

GRACE = 60.0
"""Seconds for which a webhook that is configured no more may answer what it was asked."""

__all__ = ["MODES", "AuthorizationOptions", "AuthorizationStack", "AuthorizerSettings", "build"]


@dataclass(slots=True)
class AuthorizationStack:
    """The authorizer, and RBAC by itself: the escalation checks ask it even where it is not a mode."""

    authorizer: Union
    rbac: RbacAuthorizer
    metrics: AuthorizationMetrics
    reload: Callable[[bytes], None] | None = None
    """Takes the configuration file's new content. Raises ValueError or OSError for one that cannot be used."""

    def prepare(self) -> None:
        """Builds the indexes, which the first question would do otherwise. To be called when the reader is filled."""
        self.authorizer.prepare()
        _ = self.rbac.index


@dataclass(slots=True)
class _Maker:
    """Makes authorizers. What rests on the cluster's objects is made once and kept over reloads."""

    options: AuthorizationOptions
    reader: ObjectReader
    clock: Clock
    rbac: RbacAuthorizer
    metrics: AuthorizationMetrics
    rng: random.Random
    kept: dict[str, Authorizer] = field(default_factory=dict)

    def chain(self, settings: Sequence[AuthorizerSettings]) -> list[tuple[Authorizer, Any]]:
        made = [(self._make(s), self.metrics.tally(s.type, s.name)) for s in settings]
        return made + [(e, None) for e in self.options.extra]

    def _make(self, settings: AuthorizerSettings) -> Authorizer:
        if settings.webhook is not None:
            from .webhook import webhook_of

            return webhook_of(settings.webhook, settings.name, self.clock, self.metrics, self.rng)
        if settings.type not in self.kept:
            self.kept[settings.type] = self._local(settings.type)
        return self.kept[settings.type]

    def _local(self, mode: str) -> Authorizer:
        if mode == "RBAC":
            return self.rbac
        if mode == "Node":
            from .bootstrap import node_rules
            from .node import NodeAuthorizer

            return NodeAuthorizer(self.reader, node_rules())
        if mode == "ABAC":
            from .abac import AbacAuthorizer

            if not self.options.policy_file:
                raise ValueError("invalid authorization config: open : no such file or directory")
            return AbacAuthorizer.from_file(self.options.policy_file)
        from .union import AlwaysAllow, AlwaysDeny

        return AlwaysAllow() if mode == "AlwaysAllow" else AlwaysDeny()


def build(
    options: AuthorizationOptions,
    reader: ObjectReader,
    clock: Clock,
    rng: random.Random | None = None,
    identity: str = "",
) -> AuthorizationStack:
    """Raises ValueError or OSError for a configuration that cannot be used."""
    from ..reloadmetrics import ReloadMetrics
    from . import configuration
    from .metrics import AuthorizationMetrics
    from .rbac import RbacAuthorizer
    from .union import Union

    metrics = AuthorizationMetrics()
    content = b""
    if options.config_file:
        content = Path(options.config_file).read_bytes()
        settings = configuration.parse(content)
        metrics.reloads = ReloadMetrics("authorization", identity, content)
    else:
        settings = configuration.from_flags(options)
    rbac = RbacAuthorizer(reader)
    maker = _Maker(options, reader, clock, rbac, metrics, rng or random.Random())
    stack = AuthorizationStack(Union(maker.chain(settings)), rbac, metrics)
    if options.config_file:
        stack.reload = _reload(maker, stack, settings, content)
    return stack


def _reload(
    maker: _Maker, stack: AuthorizationStack, settings: tuple[AuthorizerSettings, ...], content: bytes
) -> Callable[[bytes], None]:
    from . import configuration

    needed = {s.type for s in settings if s.webhook is None}
    known = [settings, content]

    def take(data: bytes) -> None:
        if data == known[1]:
            return
        known[1] = data
        reloads = stack.metrics.reloads
        assert reloads is not None
        try:
            new = configuration.parse(data, needed)
            if new == known[0]:
                return
            _only_as_at_start(new, needed)
            chain = maker.chain(new)
        except (ValueError, OSError):
            reloads.failure(maker.clock.now())
            raise
        known[0] = new
        for gone in stack.authorizer.exchange(chain):
            close = getattr(gone, "close", None)
            if close is not None:
                maker.clock.call_later(GRACE, close)
        reloads.success(maker.clock.now(), data)

    return take


def _only_as_at_start(settings: Sequence[AuthorizerSettings], needed: set[str]) -> None:
    """Authorizers that keep something about the cluster's objects cannot come in later."""
    for s in settings:
        if s.type in ("Node", "RBAC", "ABAC") and s.type not in needed:
            raise ValueError(f"authorizer type {s.type} is not allowed if it was not enabled at initial server startup")
