"""The flags ``--audit-*`` of ``p8s apiserver``. Only ``command`` imports this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..concurrency.flags import DURATION, boolean
from .audit.options import FORMATS, MODES, AuditOptions, Batching, WebhookOptions


def _batching(plugin: str, default: Batching, soon: str) -> list[Any]:
    """The flags that both ways of recording have."""

    def flag(name: str, value: Any, help: str, **more: Any) -> Any:
        return click.option(f"--audit-{plugin}-{name}", default=value, show_default=True, help=help, **more)

    wait = f"{default.batch_max_wait:g}s"
    return [
        flag("mode", default.mode, f"When a record goes out: {', '.join(MODES)}."),
        flag("version", default.version, "Version of the events."),
        flag("batch-buffer-size", default.buffer_size, "Records that may wait, in batch mode.", type=int),
        flag(
            "batch-max-size", default.batch_max_size, f"Records that go out at a time, in batch mode{soon}.", type=int
        ),
        flag("batch-max-wait", wait, "How long they may wait for more.", type=DURATION),
        boolean(
            f"--audit-{plugin}-batch-throttle-enable", default=default.throttle, help="Limit the batches a second."
        ),
        flag("batch-throttle-qps", default.throttle_qps, "How many a second.", type=float),
        flag("batch-throttle-burst", default.throttle_burst, "How many at once after a pause.", type=int),
        boolean(
            f"--audit-{plugin}-truncate-enabled",
            default=False,
            help="Leave the objects out of large records, and drop what is still too large.",
        ),
        flag("truncate-max-event-size", 102_400, "Bytes of a record that is not too large.", type=int),
        flag("truncate-max-batch-size", 10_485_760, "Bytes of a batch that is not too large.", type=int),
    ]


FLAGS: list[Any] = [
    click.option("--audit-policy-file", default="", help="Which requests are recorded (audit.k8s.io/v1 Policy)."),
    click.option("--audit-log-path", default="", help="Where they are recorded; - is standard output."),
    click.option("--audit-log-format", default="json", show_default=True, help=f"{' or '.join(FORMATS)} (one line of text)."),
    click.option("--audit-log-maxsize", type=int, default=100, show_default=True, help="Megabytes before the log is put aside; 0: never."),
    click.option("--audit-log-maxbackup", type=int, default=100, show_default=True, help="How many old logs are kept; 0: all."),
    click.option("--audit-log-maxage", type=int, default=366, show_default=True, help="How many days old logs are kept; 0: for ever."),
    boolean("--audit-log-compress", default=False, help="Compress old logs."),
    *_batching("log", AuditOptions(), " [1: all that wait, ten times a second]"),
    click.option("--audit-webhook-config-file", default="", help="Kubeconfig of a service that takes the records too."),
    click.option("--audit-webhook-initial-backoff", type=DURATION, default="10s", show_default=True, help="Before a batch is sent again."),
    *_batching("webhook", WebhookOptions(), ""),
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
        webhook=WebhookOptions(
            config_file=flags["audit_webhook_config_file"],
            initial_backoff=flags["audit_webhook_initial_backoff"],
            **_batching_of(flags, "webhook"),
        ),
        **_batching_of(flags, "log"),
    )


def _batching_of(flags: Mapping[str, Any], plugin: str) -> dict[str, Any]:
    names = {
        "mode": "mode",
        "version": "version",
        "buffer_size": "batch_buffer_size",
        "batch_max_size": "batch_max_size",
        "batch_max_wait": "batch_max_wait",
        "throttle": "batch_throttle_enable",
        "throttle_qps": "batch_throttle_qps",
        "throttle_burst": "batch_throttle_burst",
        "truncate": "truncate_enabled",
        "truncate_max_event_size": "truncate_max_event_size",
        "truncate_max_batch_size": "truncate_max_batch_size",
    }
    return {field: flags[f"audit_{plugin}_{flag}"] for field, flag in names.items()}
