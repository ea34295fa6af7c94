"""``--audit-*``: what the flags say, what of it cannot be, and the auditor that comes of it. Specified by "Auditing"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...concurrency import Clock
from ..configfiles import ConfigurationError, aggregate

if TYPE_CHECKING:
    from .records import Auditor, Log

BATCH, BLOCKING, STRICT = "batch", "blocking", "blocking-strict"
MODES = (BATCH, BLOCKING, STRICT)
LEGACY, JSON = "legacy", "json"
FORMATS = (LEGACY, JSON)
VERSION = "audit.k8s.io/v1"
SOON = 0.1
"""Seconds between two batches where ``--audit-log-batch-max-wait`` is not given: one write for all that has come meanwhile."""


@dataclass(slots=True)
class AuditOptions:
    """Without a policy nothing is recorded. Defaults are upstream's."""

    policy_file: str = ""
    log_path: str = ""
    """``-`` is standard output."""
    log_max_megabytes: int = 100
    log_max_backups: int = 100
    log_max_days: int = 366
    log_compress: bool = False
    log_format: str = JSON
    log_version: str = VERSION
    mode: str = BLOCKING
    buffer_size: int = 10_000
    batch_max_size: int = 1
    batch_max_wait: float = 0.0
    throttle: bool = False
    throttle_qps: float = 0.0
    throttle_burst: int = 0
    truncate: bool = False
    truncate_max_batch_size: int = 10 << 20
    truncate_max_event_size: int = 100 << 10


def check(options: AuditOptions) -> None:
    """Raises ConfigurationError."""
    if not options.log_path:
        return
    problems = [p for p in (_batch_problem(options), _truncate_problem(options)) if p]
    if options.log_version != VERSION:
        problems.append(f'invalid group version, allowed versions are ["{VERSION}"]')
    if options.log_format not in FORMATS:
        problems.append(f'invalid audit log format {options.log_format}, allowed formats are "{",".join(FORMATS)}"')
    for flag, value in (
        ("maxage", options.log_max_days),
        ("maxbackup", options.log_max_backups),
        ("maxsize", options.log_max_megabytes),
    ):
        if value < 0:
            problems.append(f"--audit-log-{flag} {value} can't be a negative number")
    if problems:
        raise ConfigurationError(aggregate(problems))


def _batch_problem(options: AuditOptions) -> str:
    if options.mode not in MODES:
        return f'invalid audit log mode {options.mode}, allowed modes are "{",".join(MODES)}"'
    if options.mode != BATCH:
        return ""
    wanted: list[tuple[str, float]] = [("buffer size", options.buffer_size), ("max batch size", options.batch_max_size)]
    if options.throttle:
        wanted += [("throttle QPS", options.throttle_qps), ("throttle burst", options.throttle_burst)]
    for name, value in wanted:
        if value <= 0:
            return f"invalid audit batch log {name} {value:g}, must be a positive number"
    return ""


def _truncate_problem(options: AuditOptions) -> str:
    event, batch = options.truncate_max_event_size, options.truncate_max_batch_size
    if event <= 0:
        return f"invalid audit truncate log max event size {event}, must be a positive number"
    if batch < event:
        return f"invalid audit truncate log max batch size {batch}, must be greater than max event size ({event})"
    return ""


def auditor_of(options: AuditOptions, clock: Clock) -> Auditor | None:
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
    if not options.log_path:
        return None
    limit = options.truncate_max_event_size if options.truncate else 0
    return Auditor(rules, _log(options, clock), clock, max_event=limit)


def _log(options: AuditOptions, clock: Clock) -> Log:
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
