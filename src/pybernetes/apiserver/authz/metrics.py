"""What authorization counts: decisions by authorizer, calls of webhooks, match conditions, reloads of the configuration file.

Names, labels and buckets are those of ``apiserver/pkg/authorization/metrics``, ``plugin/pkg/authorizer/webhook/metrics`` and
``server/options/authorizationconfig/metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..metrics import Counters, Histograms, counter_lines
from ..reloadmetrics import ReloadMetrics

DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONDITION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25)
WEBHOOK_TYPE = "Webhook"


class Tally:
    """The terminal decisions of one authorizer."""

    __slots__ = ("allowed", "denied", "name", "type")

    def __init__(self, type_: str, name: str) -> None:
        self.type, self.name = type_, name
        self.allowed = self.denied = 0


class AuthorizationMetrics:
    """The numbers of one server; they outlive a reload of its configuration."""

    def __init__(self, reloads: ReloadMetrics | None = None) -> None:
        self.reloads = reloads
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._calls = Counters(
            "apiserver_authorization_webhook_evaluations_total", "Round-trips to authorization webhooks."
        )
        self._durations = Histograms(
            "apiserver_authorization_webhook_duration_seconds", "Request latency in seconds.", DEFAULT_BUCKETS
        )
        self._opened = Counters(
            "apiserver_authorization_webhook_evaluations_fail_open_total",
            "NoOpinion results due to webhook timeout or error.",
        )
        prefix = "apiserver_authorization_match_condition_"
        self._failed = Counters(f"{prefix}evaluation_errors_total", "Match conditions that could not be evaluated.")
        self._excluded = Counters(f"{prefix}exclusions_total", "Webhooks skipped because of their match conditions.")
        self._evaluated = Histograms(
            f"{prefix}evaluation_seconds", "Time to evaluate an authorizer's match conditions.", CONDITION_BUCKETS
        )

    def tally(self, type_: str, name: str) -> Tally:
        return self._tallies.setdefault((type_, name), Tally(type_, name))

    def called(self, name: str, result: str, seconds: float) -> None:
        """``result`` is success, error, timeout or canceled."""
        labels = (("name", name), ("result", result))
        self._calls.add(labels)
        self._durations.observe(labels, seconds)

    def failed_open(self, name: str, result: str) -> None:
        self._opened.add((("name", name), ("result", result)))

    def conditions(self, name: str, seconds: float, *, excluded: bool, failed: bool) -> None:
        labels = (("type", WEBHOOK_TYPE), ("name", name))
        self._evaluated.observe(labels, seconds)
        if excluded:
            self._excluded.add(labels)
        if failed:
            self._failed.add(labels)

    def lines(self) -> Iterator[str]:
        yield from counter_lines(
            "apiserver_authorization_decisions_total",
            "Terminal decisions by authorizer type, name and decision.",
            (
                ({"type": t.type, "name": t.name, "decision": decision}, number)
                for t in self._tallies.values()
                for decision, number in (("allowed", t.allowed), ("denied", t.denied))
                if number
            ),
        )
        parts = (self._calls, self._durations, self._opened, self._failed, self._excluded, self._evaluated)
        for part in parts:
            yield from part.lines()
        if self.reloads is not None:
            yield from self.reloads.lines()
