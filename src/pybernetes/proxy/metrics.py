"""What the proxy counts, under kube-proxy's names so that existing dashboards read it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SYNC = [0.001 * 2**i for i in range(15)]
_PROGRAMMING = [0.25, 0.5, *range(1, 60), *range(60, 121, 5), *range(150, 301, 30)]


class ProxyMetrics:
    """One registry for one proxy."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()

        def histogram(name: str, text: str, buckets: list[float]) -> Histogram:
            return Histogram(f"kubeproxy_{name}", text, buckets=buckets, registry=registry)

        self.sync = histogram("sync_proxy_rules_duration_seconds", "Time of one write of rules, in seconds", _SYNC)
        self.full_sync = histogram("sync_full_proxy_rules_duration_seconds", "Time of a write of all rules", _SYNC)
        self.partial_sync = histogram(
            "sync_partial_proxy_rules_duration_seconds", "Time of a write of what changed", _SYNC
        )
        self.programming = histogram(
            "network_programming_duration_seconds", "From a change of endpoints to the kernel", [*_PROGRAMMING]
        )
        self.conntrack = histogram(
            "conntrack_reconciler_sync_duration_seconds", "Time of a search for stale flows", _SYNC
        )
        self.last_sync = Gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When rules were last written", registry=registry
        )
        self.last_queued = Gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a write was last asked for",
            registry=registry,
        )
        self.endpoint_changes = self._counter("sync_proxy_rules_endpoint_changes", "Changes of endpoints seen")
        self.service_changes = self._counter("sync_proxy_rules_service_changes", "Changes of Services seen")
        self.failures = self._counter("sync_proxy_rules_nftables_sync_failures", "Writes that the kernel refused")
        self.forgotten = self._counter("conntrack_reconciler_deleted_entries", "Stale flows deleted")
        self.repairs = self._counter("foreign_changes", "Times that somebody else had changed the rules")
        self.no_local = Gauge(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Services with a Local traffic policy and no endpoint on this node",
            ["traffic_policy"],
            registry=registry,
        )
        self.healthz = Counter("kubeproxy_proxy_healthz", "Answers of /healthz", ["code"], registry=registry)
        self.livez = Counter("kubeproxy_proxy_livez", "Answers of /livez", ["code"], registry=registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"kubeproxy_{name}", text, registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)
