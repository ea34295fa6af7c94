"""Clock, back-off, work queue and logging: what every active component stands on."""

from .backoff import Backoff, ItemBackoff
from .clock import Clock, RealClock, TimerHandle, VirtualClock, virtual_event_loop
from .log import Logger, logger
from .randomness import PooledRandom
from .workqueue import QueueClosed, QueueMetrics, WorkQueue, run_workers

__all__ = [
    "Backoff",
    "Clock",
    "ItemBackoff",
    "Logger",
    "PooledRandom",
    "QueueClosed",
    "QueueMetrics",
    "RealClock",
    "TimerHandle",
    "VirtualClock",
    "WorkQueue",
    "logger",
    "run_workers",
    "virtual_event_loop",
]
