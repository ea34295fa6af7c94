"""What plugins get from the scheduler (``hooks.scheduling.Handle``)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .model import Model
from .nodetable import NodeTable


@dataclass(slots=True)
class SchedulerHandle:
    """``client``, ``clock`` and ``events`` are None where plugins are only asked, never run."""

    model: Model
    objects: Any
    rng: random.Random = field(default_factory=random.Random)
    client: Any = None
    clock: Any = None
    profile: str = "default-scheduler"
    evaluator: Any = None
    """Of the profile that the plugin is part of; set when all its plugins are made."""
    event: Callable[..., None] = lambda *args, **kwargs: None
    run: Callable[[Any], None] | None = None
    """Runs a coroutine in the scheduler's task group."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> NodeTable:
        return self.model.table
