"""What the proxy counts, under kube-proxy's names and labels so that existing dashboards read it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SYNC = [0.001 * 2**i for i in range(15)]
_PROGRAMMING = [0.25, 0.5, *range(1, 60), *range(60, 121, 5), *range(150, 301, 30)]
_FAMILY = "IPv4"


class ProxyMetrics:
    """One registry for one proxy of one address family."""

    def __init__(self, mode: str = "nftables") -> None:
        self._registry = CollectorRegistry()
        self.sync = self._histogram("sync_proxy_rules_duration_seconds", "Time of one write of rules", _SYNC)
        self.full_sync = self._histogram(
            "sync_full_proxy_rules_duration_seconds", "Time of a write of all rules", _SYNC
        )
        self.partial_sync = self._histogram(
            "sync_partial_proxy_rules_duration_seconds", "Time of a write of what changed", _SYNC
        )
        self.programming = self._histogram(
            "network_programming_duration_seconds", "From a change of endpoints to the kernel", [*_PROGRAMMING]
        )
        self.conntrack = self._histogram(
            "conntrack_reconciler_sync_duration_seconds", "Time of a search for stale flows", _SYNC
        )
        self.last_sync = self._gauge("sync_proxy_rules_last_timestamp_seconds", "When rules were last written")
        self.last_queued = self._gauge(
            "sync_proxy_rules_last_queued_timestamp_seconds", "When a write was last asked for"
        )
        self.endpoint_changes = self._counter("sync_proxy_rules_endpoint_changes", "Changes of endpoints seen")
        self.service_changes = self._counter("sync_proxy_rules_service_changes", "Changes of Services seen")
        self.endpoints_pending = self._plain_gauge(
            "sync_proxy_rules_endpoint_changes_pending", "Changes of endpoints that wait to be written"
        )
        self.services_pending = self._plain_gauge(
            "sync_proxy_rules_service_changes_pending", "Changes of Services that wait to be written"
        )
        self.forgotten = self._family_counter("conntrack_reconciler_deleted_entries", "Stale flows deleted")
        self.repairs = self._counter("foreign_changes", "Times that somebody else had changed the rules")
        self.no_local = self._gauges(
            "sync_proxy_rules_no_local_endpoints_total",
            "Services with a Local traffic policy and no endpoint on this node",
            "traffic_policy",
        )
        self.healthz = self._counters("proxy_healthz", "Answers of /healthz", "code")
        self.livez = self._counters("proxy_livez", "Answers of /livez", "code")
        self._of_mode(mode)

    def _of_mode(self, mode: str) -> None:
        self._in_all: Gauge | None = None
        if mode != "iptables":
            self.failures = self._family_counter("sync_proxy_rules_nftables_sync_failures", "Writes that were refused")
            self.partial_failures = self.failures
            return
        self.failures = self._family_counter("sync_proxy_rules_iptables_restore_failures", "Writes that were refused")
        self.partial_failures = self._family_counter(
            "sync_proxy_rules_iptables_partial_restore_failures", "Writes of what changed that were refused"
        )
        self._in_all = self._gauges("sync_proxy_rules_iptables_total", "Rules that are the proxy's", "table")
        self._written = self._gauges("sync_proxy_rules_iptables_last", "Rules that the last write wrote", "table")

    def count_rules(self, total: Mapping[str, int], written: Mapping[str, int]) -> None:
        """By table, where the mode has rules to count."""
        if self._in_all is not None:
            for gauge, counts in ((self._in_all, total), (self._written, written)):
                for table, number in counts.items():
                    gauge.labels(table, _FAMILY).set(number)

    def set_without_local(self, policy: str, services: int) -> None:
        self.no_local.labels(policy, _FAMILY).set(services)

    def _histogram(self, name: str, text: str, buckets: list[float]) -> Histogram:
        made = Histogram(f"kubeproxy_{name}", text, ["ip_family"], buckets=buckets, registry=self._registry)
        return made.labels(_FAMILY)

    def _plain_gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"kubeproxy_{name}", text, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"kubeproxy_{name}", text, ["ip_family"], registry=self._registry).labels(_FAMILY)

    def _gauges(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(f"kubeproxy_{name}", text, [label, "ip_family"], registry=self._registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"kubeproxy_{name}", text, registry=self._registry)

    def _counters(self, name: str, text: str, label: str) -> Counter:
        return Counter(f"kubeproxy_{name}", text, [label], registry=self._registry)

    def _family_counter(self, name: str, text: str) -> Counter:
        return Counter(f"kubeproxy_{name}", text, ["ip_family"], registry=self._registry).labels(_FAMILY)

    def render(self) -> bytes:
        return generate_latest(self._registry)
