"""Flags of kube-apiserver that say how the process is run and reached, and those that have no effect here. Only ``command``
imports this."""

from __future__ import annotations

from typing import Any

import click

from ..concurrency import flags
from ..concurrency.flags import DURATION, boolean, ignored, logging_format, version_flag

NONE = "none"

IGNORED = {
    **flags.IGNORED,
    "--debug-socket-path": "Go's profiles have no place in Python",
    "--delete-collection-workers": "one event loop deletes",
    "--enable-garbage-collector": "the controllers collect garbage",
    "--enable-logs-handler": "upstream has taken away what it switched",
    "--encryption-provider-config-automatic-reload": "the file is always read again when it changes",
    "--etcd-count-metric-poll-period": "metrics are counted when somebody asks",
    "--etcd-db-metric-poll-interval": "metrics are counted when somebody asks",
    "--goaway-chance": "it speaks HTTP/1.1 only",
    "--lease-reuse-duration-seconds": "events that expire together share no lease",
    "--service-account-lookup": "accounts and Secrets behind a token are always looked up",
    "--storage-media-type": "objects rest as JSON",
    "--watch-cache": "reads are always answered from it",
    "--watch-cache-sizes": "it sizes itself",
}
NOT_HERE = frozenset(
    [
        "--admission-control",
        "--aggregator-reject-forwarding-redirect",
        "--allow-metric-labels",
        "--allow-metric-labels-manifest",
        "--coordinated-leadership-lease-duration",
        "--coordinated-leadership-renew-deadline",
        "--coordinated-leadership-retry-period",
        "--egress-selector-config-file",
        "--emulated-version",
        "--emulation-forward-compatible",
        "--enable-aggregator-routing",
        "--etcd-healthcheck-timeout",
        "--etcd-prefix",
        "--etcd-readycheck-timeout",
        "--etcd-servers-overrides",
        "--kubelet-timeout",
        "--livez-grace-period",
        "--max-connection-bytes-per-sec",
        "--min-compatibility-version",
        "--peer-advertise-ip",
        "--peer-advertise-port",
        "--peer-ca-file",
        "--permit-address-sharing",
        "--request-timeout",
        "--runtime-config",
        "--runtime-config-emulation-forward-compatible",
        "--send-retry-after-while-not-ready-once",
        "--service-account-signing-endpoint",
        "--shutdown-send-retry-after",
        "--shutdown-watch-termination-grace-period",
        "--storage-initialization-timeout",
        "--strict-transport-security-directives",
        "--tls-curve-preferences",
        "--tls-sni-cert-key",
        "--tracing-config-file",
        "--vmodule",
    ]
)
"""Upstream's others: a manifest that relies on them shall not start as if they worked."""


def _split(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(v.strip() for v in value.split(",") if v.strip())


FLAGS: list[Any] = [
    click.option("--requestheader-uid-headers", default="X-Remote-Uid", callback=_split, help="Headers with the user's uid."),
    click.option("--service-account-jwks-uri", default="", help="Where others find the keys (https) [this server]."),
    click.option("--external-hostname", default="", help="Host in addresses for outsiders [the advertise address]."),
    click.option("--min-request-timeout", type=click.IntRange(1), default=1800, show_default=True, help="Seconds after which watches end at the earliest; each ends by chance within twice that."),
    click.option("--etcd-compaction-interval", type=DURATION, default="5m0s", show_default=True, help="History of the store that is kept; 0: all."),
    click.option("--storage-backend", type=click.Choice(["", "etcd3"]), default="", expose_value=False, help="Only etcd3."),
    click.option("--kubernetes-service-node-port", type=click.IntRange(0, 65535), default=0, help="Make the Service kubernetes a NodePort one with this port."),
    click.option("--endpoint-reconciler-type", type=click.Choice(["", "lease", "master-count", NONE]), default="lease", show_default=True, help="Whether this server is written into the endpoints of the Service kubernetes; none: not."),
    boolean("--permit-port-sharing", default=False, help="Listen with SO_REUSEPORT."),
    click.option("--shutdown-delay-duration", type=DURATION, default="0s", show_default=True, help="How long it goes on after it was told to stop, with /readyz failing."),
    click.option("--cors-allowed-origins", default="", callback=_split, help="Expressions for the origins whose scripts may read answers in a browser."),
    click.option("--disabled-metrics", default="", callback=_split, help="Names of metrics that are not shown."),
    logging_format(),
    version_flag(),
    *ignored(IGNORED),
]  # fmt: skip
