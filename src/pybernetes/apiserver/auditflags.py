"""The flags ``--audit-*`` of ``p8s apiserver``. Only ``command`` imports this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..concurrency.flags import DURATION, boolean
from .audit.options import FORMATS, MODES, AuditOptions

FLAGS: list[Any] = [
    click.option("--audit-policy-file", default="", help="Which requests are recorded (audit.k8s.io/v1 Policy)."),
    click.option("--audit-log-path", default="", help="Where they are recorded; - is standard output."),
    click.option("--audit-log-format", default="json", show_default=True, help=f"{' or '.join(FORMATS)} (one line of text)."),
    click.option("--audit-log-version", default="audit.k8s.io/v1", show_default=True, help="Version of the events."),
    click.option("--audit-log-maxsize", type=int, default=100, show_default=True, help="Megabytes before the log is put aside; 0: never."),
    click.option("--audit-log-maxbackup", type=int, default=100, show_default=True, help="How many old logs are kept; 0: all."),
    click.option("--audit-log-maxage", type=int, default=366, show_default=True, help="How many days old logs are kept; 0: for ever."),
    boolean("--audit-log-compress", default=False, help="Compress old logs."),
    click.option("--audit-log-mode", default="blocking", show_default=True, help=f"When a record is written: {', '.join(MODES)}."),
    click.option("--audit-log-batch-buffer-size", type=int, default=10_000, show_default=True, help="Records that may wait, in batch mode."),
    click.option("--audit-log-batch-max-size", type=int, default=1, show_default=True, help="Records that are written at a time, in batch mode [1: all that wait]."),
    click.option("--audit-log-batch-max-wait", type=DURATION, default="0s", help="How long they may wait for more [100ms]."),
    boolean("--audit-log-batch-throttle-enable", default=False, help="Limit the batches a second."),
    click.option("--audit-log-batch-throttle-qps", type=float, default=0.0, help="How many a second."),
    click.option("--audit-log-batch-throttle-burst", type=int, default=0, help="How many at once after a pause."),
    boolean("--audit-log-truncate-enabled", default=False, help="Leave the objects out of large records, and drop what is still too large."),
    click.option("--audit-log-truncate-max-event-size", type=int, default=102_400, show_default=True, help="Bytes of a record that is not too large."),
    click.option("--audit-log-truncate-max-batch-size", type=int, default=10_485_760, show_default=True, help="Taken; a file has no batches."),
]  # fmt: skip


def options_of(flags: Mapping[str, Any]) -> AuditOptions:
    return AuditOptions(
        policy_file=flags["audit_policy_file"],
        log_path=flags["audit_log_path"],
        log_max_megabytes=flags["audit_log_maxsize"],
        log_max_backups=flags["audit_log_maxbackup"],
        log_max_days=flags["audit_log_maxage"],
        log_compress=flags["audit_log_compress"],
        log_format=flags["audit_log_format"],
        log_version=flags["audit_log_version"],
        mode=flags["audit_log_mode"],
        buffer_size=flags["audit_log_batch_buffer_size"],
        batch_max_size=flags["audit_log_batch_max_size"],
        batch_max_wait=flags["audit_log_batch_max_wait"],
        throttle=flags["audit_log_batch_throttle_enable"],
        throttle_qps=flags["audit_log_batch_throttle_qps"],
        throttle_burst=flags["audit_log_batch_throttle_burst"],
        truncate=flags["audit_log_truncate_enabled"],
        truncate_max_event_size=flags["audit_log_truncate_max_event_size"],
        truncate_max_batch_size=flags["audit_log_truncate_max_batch_size"],
    )
