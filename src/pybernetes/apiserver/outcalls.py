"""Questions to services of others (authorization, tokens) that a kubeconfig names: posted as JSON, asked again where a failure passes.

Specified by ``apiserver/pkg/util/webhook``: five times at most, half a second between the first two, half as much more each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ..api.errors import StatusError
from ..client.rest import Client
from ..client.transport import TransportError
from ..concurrency import Clock
from ..concurrency.backoff import Backoff

ATTEMPTS = 5
FIRST_DELAY, FACTOR, JITTER = 0.5, 1.5, 0.2
TIMEOUT = 30.0
FAILURES = (StatusError, TransportError, TimeoutError, ValueError)
"""What a call may raise."""
_PASSING = frozenset((429, 500, 504))


def _nobody_counts(result: str, seconds: float) -> None:
    """Nobody wants to know."""


def is_passing(failure: Exception) -> bool:
    """A connection that broke after it was made, or an answer that says so; not one that cannot be made, or is too slow."""
    if isinstance(failure, StatusError):
        return failure.code in _PASSING
    return isinstance(failure, TransportError) and failure.sent


class Outcall:
    """One service."""

    def __init__(
        self,
        client: Client,
        path: str,
        clock: Clock,
        rng: random.Random,
        *,
        timeout: float = TIMEOUT,
        first_delay: float = FIRST_DELAY,
        passing: Callable[[Exception], bool] = is_passing,
        count: Callable[[str, float], None] = _nobody_counts,
    ) -> None:
        """``count`` is told of each attempt: success, error or timeout, and how long it took."""
        self._client, self._path, self._clock, self._rng = client, path, clock, rng
        self._timeout, self._first_delay = timeout, first_delay
        self._passing, self._count = passing, count

    def close(self) -> None:
        self._client.transport.close()

    async def post(self, body: Any, check: Callable[[Any], Any], *, attempts: int = ATTEMPTS) -> Any:
        """What ``check`` makes of the answer; it raises ValueError for one that is none. Raises one of FAILURES."""
        delays = Backoff(self._first_delay, 600.0, FACTOR, JITTER, self._rng)
        for attempt in range(1, attempts + 1):
            began = self._clock.monotonic()
            try:
                found = check(await self._client.request("POST", self._path, body, timeout=self._timeout))
            except FAILURES as failure:
                self._count(result_of(failure), self._clock.monotonic() - began)
                if attempt == attempts or not self._passing(failure):
                    raise
            else:
                self._count("success", self._clock.monotonic() - began)
                return found
            await self._clock.sleep(delays.next())
        raise AssertionError("the last attempt answers or raises")

    def words(self, failure: Exception) -> str:
        """What went wrong, as Go's client says it."""
        if isinstance(failure, TimeoutError):
            return f'Post "{self._path}": context deadline exceeded'
        return failure.message if isinstance(failure, StatusError) else f'Post "{self._path}": {failure}'


def result_of(failure: Exception) -> str:
    late = isinstance(failure, TimeoutError) or (isinstance(failure, StatusError) and failure.code == 504)
    return "timeout" if late else "error"


def outcall_of(kubeconfig: str, clock: Clock, rng: random.Random, **options: Any) -> Outcall:
    """To the service that a kubeconfig names. Raises KubeconfigError or OSError."""
    from ..client.kubeconfig import client_from_kubeconfig, current_server

    path = urlsplit(current_server(kubeconfig)).path or "/"
    client = client_from_kubeconfig(kubeconfig, clock=clock, user_agent="kube-apiserver")
    return Outcall(client, path, clock, rng, **options)
