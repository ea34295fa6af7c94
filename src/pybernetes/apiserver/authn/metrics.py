"""What is counted of tokens and client certificates, under upstream's names.

Specified by ``apiserver/pkg/authentication/token/cache``, ``.../request/x509`` and ``pkg/serviceaccount``. A connection that
repeats its headers proves its identity once in ten seconds, not with every request: so often its token or certificate is
counted here.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..metrics import Histograms, counter_lines, gauge_lines

HIT, MISS = "hit", "miss"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_HOUR, _DAY = 3600.0, 86400.0
_REMAINING = (
    0.0, 0.5 * _HOUR, _HOUR, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY,
    180 * _DAY, 360 * _DAY,
)  # fmt: skip
SERVICE_ACCOUNTS = {
    "valid_tokens": "Bound tokens that were good.",
    "stale_tokens": "Bound tokens that should have been renewed.",
    "legacy_tokens": "Tokens of Secrets.",
    "legacy_auto_token_uses": "Tokens of Secrets that were made unasked.",
    "legacy_manual_token_uses": "Tokens of Secrets that somebody made.",
    "invalid_legacy_auto_token_uses": "Tokens of Secrets that are marked as invalid.",
}


class AuthenticationMetrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        self.fetching = 0
        self._fetches: dict[str, int] = {}
        self._accounts = dict.fromkeys(SERVICE_ACCOUNTS, 0)
        self._asked = Histograms(
            "authentication_token_cache_request_duration_seconds",
            "Time, in whole milliseconds, by hit or miss.",
            _SECONDS,
        )
        self._remaining = Histograms(
            "apiserver_client_certificate_expiration_seconds", "Time that clients' certificates have left.", _REMAINING
        )

    def looked_up(self, status: str, seconds: float = 0.0) -> None:
        self._asked.observe((("status", status),), int(seconds * 1000) / 1000)

    def fetched(self, *, good: bool) -> None:
        status = "ok" if good else "error"
        self._fetches[status] = self._fetches.get(status, 0) + 1

    def certificate(self, remaining: float) -> None:
        self._remaining.observe((), remaining)

    def account(self, what: str) -> None:
        self._accounts[what] += 1

    def lines(self) -> Iterator[str]:
        yield from self._asked.lines()
        asked = [(dict(labels), number) for labels, number in self._asked.counts()]
        prefix = "authentication_token_cache_"
        yield from counter_lines(f"{prefix}request_total", "Tokens that were looked up.", asked)
        fetches = [({"status": s}, n) for s, n in self._fetches.items()]
        yield from counter_lines(f"{prefix}fetch_total", "Tokens that had to be verified.", fetches)
        text = "Tokens that are being verified now."
        yield from gauge_lines(f"{prefix}active_fetch_count", text, [({"status": "in_flight"}, self.fetching)])
        yield from self._remaining.lines()
        for what, text in SERVICE_ACCOUNTS.items():
            yield from counter_lines(f"serviceaccount_{what}_total", text, [({}, self._accounts[what])])
