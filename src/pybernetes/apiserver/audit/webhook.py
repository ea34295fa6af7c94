"""Audit events to a service of others: ``EventList``s, posted in batches (``--audit-webhook-*``).

Specified by "Webhook backend" of "Auditing". A request never waits for the service: where it does not keep up, what finds no place any
more is counted and said. A batch that fails is sent again, whatever the failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import orjson

from ...concurrency import Clock, logger
from ..outcalls import FAILURES, Outcall
from .log import BatchingLog, BlockingLog, Entry, TokenBucket, encoded

log = logger("apiserver.audit")

_HEAD, _TAIL = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[', b"]}"
MAX_SENDING = 64
"""Batches on their way; more wait in the buffer."""
LAST_WORDS = 5.0
"""Seconds that an orderly stop waits for the service."""
TRUNCATED = "audit.k8s.io/truncated"


class WebhookLog:
    """Takes lines at once and sends them when there are enough, or the first has waited for long enough."""

    def __init__(
        self,
        service: Outcall,
        clock: Clock,
        *,
        interval: float = 30.0,
        max_pending: int = 10_000,
        max_size: int = 400,
        throttle: TokenBucket | None = None,
        max_event: int = 0,
        max_batch: int = 0,
    ) -> None:
        """``max_event`` and ``max_batch`` are bytes; 0 is any number."""
        self._service, self._clock = service, clock
        self._interval, self._max_pending, self._max_size = interval, max_pending, max_size
        self._throttle, self._max_event, self._max_batch = throttle, max_event, max_batch
        self._pending: list[Entry] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._wake, self._full = asyncio.Event(), asyncio.Event()
        self._places = asyncio.Semaphore(MAX_SENDING)
        self.dropped = self.too_large = 0

    def add(self, entry: Entry) -> None:
        if len(self._pending) >= self._max_pending:
            self.dropped += 1
            return
        self._pending.append(entry)
        self._wake.set()
        if len(self._pending) >= self._max_size:
            self._full.set()

    def flush(self) -> None:
        """Nothing can be sent without waiting."""

    def lost(self) -> dict[str, int]:
        return {"webhook": self.dropped, "truncate": self.too_large}

    async def run(self) -> None:
        """Sends until cancelled, and then what is left, where the service answers soon."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    await self._wake.wait()
                    await self._gather()
                    if self._throttle is not None:
                        await self._throttle.take()
                    await self._places.acquire()
                    task = group.create_task(self._send(self._take()))
                    self._sending.add(task)
                    task.add_done_callback(self._sent)
            finally:
                await self._end()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._places.release()

    async def _gather(self) -> None:
        try:
            async with self._clock.timeout(self._interval):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> list[bytes]:
        taken, self._pending = self._pending[: self._max_size], self._pending[self._max_size :]
        if not self._pending:
            self._wake.clear()
        if len(self._pending) < self._max_size:
            self._full.clear()
        return b"".join(encoded(taken)).splitlines()

    async def _end(self) -> None:
        try:
            async with self._clock.timeout(LAST_WORDS):
                while self._pending:
                    await self._send(self._take(), attempts=1)
                if self._sending:
                    await asyncio.wait(self._sending)
        except TimeoutError:
            log.warning("the audit webhook did not take the last events", lost=len(self._pending))
        self._service.close()

    async def _send(self, lines: Sequence[bytes], attempts: int = 5) -> None:
        for batch in self._batches(lines):
            try:
                await self._service.post(_HEAD + b",".join(batch) + _TAIL, lambda answer: None, attempts=attempts)
            except FAILURES as failure:
                self.dropped += len(batch)
                log.error("cannot send audit events", error=self._service.words(failure), lost=len(batch))

    def _batches(self, lines: Sequence[bytes]) -> Iterator[list[bytes]]:
        """In pieces that are not too large, and without what is too large by itself."""
        batch: list[bytes] = []
        size = 0
        for given in lines:
            line = self._fitting(given)
            if line is None:
                continue
            if batch and self._max_batch and size + len(line) > self._max_batch:
                yield batch
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield batch

    def _fitting(self, line: bytes) -> bytes | None:
        if not self._max_event or len(line) <= self._max_event:
            return line
        event = orjson.loads(line)
        for name in ("requestObject", "responseObject"):
            event.pop(name, None)
        event["annotations"] = {**(event.get("annotations") or {}), TRUNCATED: "true"}
        shorter = orjson.dumps(event)
        if len(shorter) <= self._max_event:
            return shorter
        self.too_large += 1
        return None


class Both:
    """A file and a webhook. Notes are made into lines once."""

    def __init__(self, first: BatchingLog | BlockingLog, second: WebhookLog) -> None:
        self._first, self._second = first, second
        self.strict = bool(getattr(first, "strict", False))

    @property
    def dropped(self) -> int:
        return self._first.dropped

    def add(self, entry: Entry) -> None:
        lines = entry if type(entry) is bytes else entry[0].lines((entry,))  # type: ignore[union-attr]
        self._first.add(lines)
        self._second.add(lines)

    def flush(self) -> None:
        self._first.flush()

    def lost(self) -> dict[str, int]:
        return self._first.lost() | self._second.lost()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._first.run())
            group.create_task(self._second.run())
