"""``--audit-*``: what the flags say, what of it cannot be, and the auditor that comes of it. Specified by "Auditing"."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...concurrency import Clock
from ..configfiles import ConfigurationError, aggregate

if TYPE_CHECKING:
    from .log import BatchingLog, BlockingLog
    from .records import Auditor, Log
    from .webhook import WebhookLog

BATCH, BLOCKING, STRICT = "batch", "blocking", "blocking-strict"
MODES = (BATCH, BLOCKING, STRICT)
LEGACY, JSON = "legacy", "json"
FORMATS = (LEGACY, JSON)
VERSION = "audit.k8s.io/v1"
SOON = 0.1
"""Seconds between two batches where ``--audit-log-batch-max-wait`` is not given: one write for all that has come meanwhile."""


@dataclass(slots=True)
class Batching:
    """When events go out, and how large they may be: ``--audit-log-*`` and ``--audit-webhook-*`` have these alike."""

    mode: str = BLOCKING
    version: str = VERSION
    buffer_size: int = 10_000
    batch_max_size: int = 1
    batch_max_wait: float = 0.0
    throttle: bool = False
    throttle_qps: float = 0.0
    throttle_burst: int = 0
    truncate: bool = False
    truncate_max_batch_size: int = 10 << 20
    truncate_max_event_size: int = 100 << 10


@dataclass(slots=True)
class AuditOptions(Batching):
    """Without a policy nothing is recorded. Defaults are upstream's."""

    policy_file: str = ""
    log_path: str = ""
    """``-`` is standard output."""
    log_max_megabytes: int = 100
    log_max_backups: int = 100
    log_max_days: int = 366
    log_compress: bool = False
    log_format: str = JSON
    webhook: WebhookOptions = field(default_factory=lambda: WebhookOptions())


@dataclass(slots=True)
class WebhookOptions(Batching):
    """``--audit-webhook-*``."""

    mode: str = BATCH
    batch_max_size: int = 400
    batch_max_wait: float = 30.0
    throttle: bool = True
    throttle_qps: float = 10.0
    throttle_burst: int = 15
    config_file: str = ""
    """Kubeconfig of the service."""
    initial_backoff: float = 10.0


def check(options: AuditOptions) -> None:
    """Raises ConfigurationError."""
    problems: list[str] = []
    if options.log_path:
        problems += _batching_problems(options, "log")
        if options.log_format not in FORMATS:
            problems.append(f'invalid audit log format {options.log_format}, allowed formats are "{",".join(FORMATS)}"')
        for flag, value in (
            ("maxage", options.log_max_days),
            ("maxbackup", options.log_max_backups),
            ("maxsize", options.log_max_megabytes),
        ):
            if value < 0:
                problems.append(f"--audit-log-{flag} {value} can't be a negative number")
    if options.webhook.config_file:
        problems += _batching_problems(options.webhook, "webhook")
        if options.webhook.mode in (BLOCKING, STRICT):
            problems.append(f"--audit-webhook-mode {options.webhook.mode} is not available here, use {BATCH}")
    if problems:
        raise ConfigurationError(aggregate(problems))


def _batching_problems(options: Batching, plugin: str) -> list[str]:
    problems = [p for p in (_batch_problem(options, plugin), _truncate_problem(options, plugin)) if p]
    if options.version != VERSION:
        problems.append(f'invalid group version, allowed versions are ["{VERSION}"]')
    return problems


def _batch_problem(options: Batching, plugin: str) -> str:
    if options.mode not in MODES:
        return f'invalid audit {plugin} mode {options.mode}, allowed modes are "{",".join(MODES)}"'
    if options.mode != BATCH:
        return ""
    wanted: list[tuple[str, float]] = [("buffer size", options.buffer_size), ("max batch size", options.batch_max_size)]
    if options.throttle:
        wanted += [("throttle QPS", options.throttle_qps), ("throttle burst", options.throttle_burst)]
    for name, value in wanted:
        if value <= 0:
            return f"invalid audit batch {plugin} {name} {value:g}, must be a positive number"
    return ""


def _truncate_problem(options: Batching, plugin: str) -> str:
    event, batch = options.truncate_max_event_size, options.truncate_max_batch_size
    if event <= 0:
        return f"invalid audit truncate {plugin} max event size {event}, must be a positive number"
    if batch < event:
        words = f"must be greater than max event size ({event})"
        return f"invalid audit truncate {plugin} max batch size {batch}, {words}"
    return ""


def auditor_of(options: AuditOptions, clock: Clock, rng: random.Random | None = None) -> Auditor | None:
    """Raises ValueError or OSError for what cannot be used."""
    check(options)
    if not options.policy_file:
        return None
    from . import policy
    from .records import Auditor

    try:
        rules = policy.load(options.policy_file)
    except (OSError, policy.PolicyError) as failure:
        raise ConfigurationError(f"loading audit policy file: {failure}") from failure
    if not options.log_path and not options.webhook.config_file:
        return None
    limit = options.truncate_max_event_size if options.truncate else 0
    return Auditor(rules, _logs(options, clock, rng or random.Random()), clock, max_event=limit)


def _logs(options: AuditOptions, clock: Clock, rng: random.Random) -> Log:
    if not options.webhook.config_file:
        return _log(options, clock)
    from .webhook import Both

    webhook = _webhook(options.webhook, clock, rng)
    return Both(_log(options, clock), webhook) if options.log_path else webhook


def _webhook(options: WebhookOptions, clock: Clock, rng: random.Random) -> WebhookLog:
    from ..outcalls import outcall_of
    from .log import TokenBucket
    from .webhook import WebhookLog

    try:
        service = outcall_of(
            options.config_file, clock, rng, first_delay=options.initial_backoff, passing=lambda failure: True
        )
    except (ValueError, OSError) as failure:
        raise ConfigurationError(f"initializing audit webhook: {failure}") from failure
    return WebhookLog(
        service,
        clock,
        interval=options.batch_max_wait,
        max_pending=options.buffer_size,
        max_size=options.batch_max_size,
        throttle=TokenBucket(options.throttle_qps, options.throttle_burst, clock) if options.throttle else None,
        max_event=options.truncate_max_event_size if options.truncate else 0,
        max_batch=options.truncate_max_batch_size if options.truncate else 0,
    )


def _log(options: AuditOptions, clock: Clock) -> BatchingLog | BlockingLog:
    from .log import DAY, BatchingLog, BlockingLog, RotatingFile, TokenBucket

    translate = None
    if options.log_format == LEGACY:
        from .legacy import legacy_lines

        translate = legacy_lines
    file = RotatingFile(
        options.log_path,
        clock,
        max_bytes=options.log_max_megabytes << 20,
        max_backups=options.log_max_backups,
        max_age=options.log_max_days * DAY,
        compress=options.log_compress,
        translate=translate,
    )
    if options.log_path != "-":
        file.write(())  # a file that cannot be written is told at the start
    if options.mode != BATCH:
        return BlockingLog(file, strict=options.mode == STRICT)
    throttle = TokenBucket(options.throttle_qps, options.throttle_burst, clock) if options.throttle else None
    return BatchingLog(
        file,
        clock,
        interval=options.batch_max_wait or SOON,
        max_pending=options.buffer_size,
        max_size=options.batch_max_size if options.batch_max_size > 1 else 0,
        throttle=throttle,
    )
