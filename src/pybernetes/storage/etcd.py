"""etcd, for a control plane of more than one machine: version 3.4 or newer, over gRPC, TLS by certificates.

Writes are transactions guarded by the key's revision. One watch of everything follows the cluster's log, so that a reader
knows how far it has come even where others write elsewhere. A call that finds its member gone or without a leader goes to
the next one until the call's time is up; a write whose answer was lost is settled by looking, never by writing twice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from ..concurrency import Clock, logger
from . import etcd_messages as messages
from .contract import (
    Cancel,
    Compacted,
    Deliver,
    Event,
    FutureRevision,
    KeyValue,
    Page,
    Progress,
    RevisionMismatch,
    StoreError,
    StoreUnavailable,
    prefix_end,
)

log = logger("storage.etcd")

CALL_SECONDS = 10.0
ATTEMPT_SECONDS = 1.0
"""The first attempt's time; each further one has as much more. A member that hangs is left soon, a slow one is borne with."""
RETRY_SECONDS = 0.1
PROBE_SECONDS = 0.5
PROBES = 3
"""Unanswered questions on a watch after which its member is taken for hung. TCP and gRPC would notice after 15 seconds."""
_LEADER = (("hasleader", "true"),)
"""A member without a leader ends the watch, where else it would only fall silent."""
MAX_MESSAGE = 64 << 20
LEASE_KEYS = 1000
_KV, _LEASE, _MAINTENANCE = "/etcdserverpb.KV/", "/etcdserverpb.Lease/", "/etcdserverpb.Maintenance/"
_WATCH = "/etcdserverpb.Watch/Watch"
_ALL = b"\0"
_ELSEWHERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@dataclass(slots=True)
class _Lease:
    """One lease for the keys that were written within a short time of each other."""

    id: int
    until: float
    keys: int = 0


@dataclass(slots=True)
class _Life:
    """What a watch knows of its member."""

    unanswered: int = 0
    over: bool = False


class EtcdStore:
    """A client of one etcd cluster. ``endpoints`` are URLs; files are PEM."""

    engine = "etcd"
    single_writer = False

    def __init__(
        self,
        endpoints: Sequence[str],
        clock: Clock,
        *,
        ca: str = "",
        certificate: str = "",
        key: str = "",
        prefix: str = "",
    ) -> None:
        """``prefix`` goes before every key (kube-apiserver's ``--etcd-prefix`` is part of the keys themselves)."""
        self._clock = clock
        self._endpoints = [_endpoint(e) for e in endpoints]
        if not self._endpoints:
            raise ValueError("no etcd endpoints are given")
        self._files = (ca, certificate, key)
        self._prefix = prefix.encode()
        self._channels: list[aio.Channel] = []
        self._current = 0
        self._leases: dict[int, _Lease] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: dict[int, Callable[[StoreError], None]] = {}
        self._next_watch = 0
        self._closed = True

    # -- opening and closing ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Raises StoreUnavailable where no member answers."""
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        ca, certificate, key = (_pem(f) for f in self._files)
        for address, secure in self._endpoints:
            if secure:
                credentials = grpc.ssl_channel_credentials(ca, key, certificate)
                self._channels.append(aio.secure_channel(address, credentials, options))
            else:
                self._channels.append(aio.insecure_channel(address, options))
        self._closed = False
        try:
            await self.current_revision()
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        self._closed = True
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        watches, self._watches = self._watches, {}
        for failed in watches.values():
            failed(StoreUnavailable("the store is closed"))

    # -- calls ------------------------------------------------------------------------------------------------------

    async def _call(self, method: str, request: bytes, *, again: bool = True) -> bytes:
        """The answer of the first member that gives one. ``again``: a call whose answer was lost may be repeated."""
        deadline = self._clock.monotonic() + CALL_SECONDS
        allowed = ATTEMPT_SECONDS
        while True:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            member = self._current
            try:
                answer: bytes = await self._channels[member].unary_unary(method)(request, timeout=allowed)
                return answer
            except aio.AioRpcError as failure:
                if failure.code() not in _ELSEWHERE:
                    raise
                self._leave(member)
                if self._clock.monotonic() >= deadline or not (again or _never_sent(failure)):
                    raise
            allowed += ATTEMPT_SECONDS
            await self._clock.sleep(RETRY_SECONDS)

    def _leave(self, member: int) -> None:
        """Later calls go to the next member. Of many calls that fail at one only the first moves on."""
        if member == self._current:
            self._current = (member + 1) % len(self._endpoints)

    async def _read(self, method: str, request: bytes) -> bytes:
        try:
            return await self._call(method, request)
        except aio.AioRpcError as failure:
            raise _translated(failure) from failure

    def _key(self, key: str) -> bytes:
        return self._prefix + key.encode()

    def _text(self, key: bytes) -> str:
        return key[len(self._prefix) :].decode("utf-8", "replace")

    # -- reading ----------------------------------------------------------------------------------------------------

    async def get(self, key: str) -> KeyValue | None:
        answer = messages.range_answer(await self._read(_KV + "Range", messages.range_request(self._key(key))))
        if not answer.pairs:
            return None
        return KeyValue(key, answer.pairs[0].value, answer.pairs[0].mod_revision)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        start = self._key(after) + b"\0" if after else self._key(prefix)
        request = messages.range_request(start, self._key(prefix_end(prefix)), limit=limit, revision=revision)
        try:
            data = await self._call(_KV + "Range", request)
        except aio.AioRpcError as failure:
            raise _translated(failure, revision) from failure
        answer = messages.range_answer(data)
        items = [KeyValue(self._text(p.key), p.value, p.mod_revision) for p in answer.pairs]
        return Page(items, revision or answer.revision, max(0, answer.count - len(items)))

    async def count(self, prefix: str) -> int:
        request = messages.range_request(self._key(prefix), self._key(prefix_end(prefix)), count_only=True)
        return messages.range_answer(await self._read(_KV + "Range", request)).count

    async def current_revision(self) -> int:
        """A linearizable read: the leader has confirmed it."""
        request = messages.range_request(self._prefix + b"/", count_only=True)
        return messages.range_answer(await self._read(_KV + "Range", request)).revision

    # -- writing ----------------------------------------------------------------------------------------------------

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, note: Any = None, ttl: float = 0
    ) -> int:
        lease = await self._lease(ttl) if ttl else 0
        if expected is None:
            return await self._put_any(key, value, lease)
        request = messages.guarded(self._key(key), expected, messages.put_op(self._key(key), value, lease))
        return await self._guarded(key, expected, request, value)

    async def _put_any(self, key: str, value: bytes, lease: int) -> int:
        request = messages.put_request(self._key(key), value, lease)
        return messages.header_revision(await self._read(_KV + "Put", request))

    async def delete(self, key: str, *, expected: int | None = None, note: Any = None) -> int:
        while True:
            revision = expected
            if revision is None:
                current = await self.get(key)
                if current is None:
                    raise RevisionMismatch(key, 0, 0)
                revision = current.revision
            request = messages.guarded(self._key(key), revision, messages.delete_op(self._key(key)))
            try:
                return await self._guarded(key, revision, request, None)
            except RevisionMismatch as mismatch:
                if expected is not None or not mismatch.actual:
                    raise

    async def _guarded(self, key: str, expected: int, request: bytes, value: bytes | None) -> int:
        if expected == 0 and value is None:
            raise RevisionMismatch(key, 0, 0)
        lost = False
        deadline = self._clock.monotonic() + CALL_SECONDS
        while True:
            try:
                answer = messages.transaction_answer(await self._call(_KV + "Txn", request, again=False))
            except aio.AioRpcError as failure:
                if failure.code() not in _ELSEWHERE or self._closed or self._clock.monotonic() >= deadline:
                    raise _translated(failure) from failure
                # The guard makes it safe to ask again: if the first one was done, it does not hold any more.
                lost = True
                await self._clock.sleep(RETRY_SECONDS)
                continue
            if answer.succeeded:
                return answer.revision
            current = answer.current
            if lost and _is_done(current, expected, value):
                return current.mod_revision if current is not None else answer.revision
            raise RevisionMismatch(key, expected, current.mod_revision if current is not None else 0)

    async def _lease(self, ttl: float) -> int:
        """A lease that lasts at least ``ttl`` seconds; writes of the same minute share one."""
        seconds = max(1, round(ttl))
        share = min(60.0, seconds * 0.05)
        now, lease = self._clock.monotonic(), self._leases.get(seconds)
        if lease is None or lease.until < now or lease.keys >= LEASE_KEYS:
            data = await self._read(_LEASE + "LeaseGrant", messages.lease_request(seconds + round(share)))
            lease = self._leases[seconds] = _Lease(messages.lease_answer(data), now + share)
        lease.keys += 1
        return lease.id

    # -- watching ---------------------------------------------------------------------------------------------------

    def watch(
        self,
        prefix: str,
        after: int,
        deliver: Deliver,
        failed: Callable[[StoreError], None],
        progress: Progress | None = None,
    ) -> Cancel:
        number = self._next_watch = self._next_watch + 1
        self._watches[number] = failed
        task = asyncio.get_running_loop().create_task(self._watch(number, self._key(prefix), after, deliver, progress))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            self._watches.pop(number, None)
            task.cancel()

        return cancel

    async def _watch(self, number: int, prefix: bytes, after: int, deliver: Deliver, progress: Progress | None) -> None:
        member = self._current
        failure: StoreError = StoreUnavailable("the watch ended")
        call = self._channels[member].stream_stream(_WATCH)(metadata=_LEADER)
        life = _Life()
        try:
            async with asyncio.TaskGroup() as group:
                prober = group.create_task(self._probe(call, life))
                try:
                    await call.write(messages.watch_request(_ALL, _ALL, after + 1))
                    async for answer in _answers(call):
                        life.unanswered = 0
                        if answer.canceled:
                            if answer.compacted:
                                failure = Compacted(after, answer.compacted)
                            elif answer.reason:
                                failure = StoreUnavailable(f"etcd: {answer.reason}")
                            break
                        self._spread(answer, prefix, deliver, progress)
                except aio.AioRpcError as broken:
                    failure = _translated(broken)
                except asyncio.CancelledError:
                    if not life.over:
                        raise
                    failure = StoreUnavailable(f"etcd: {self._endpoints[member][0]} does not answer")
                finally:
                    prober.cancel()
        finally:
            call.cancel()
        if not isinstance(failure, Compacted):
            self._leave(member)
        failed = self._watches.pop(number, None)
        if failed is not None:
            failed(failure)

    async def _probe(self, call: Any, life: _Life) -> None:
        """Asks the member again and again whether it is there, and gives it up where it says nothing."""
        while life.unanswered < PROBES:
            await self._clock.sleep(PROBE_SECONDS)
            life.unanswered += 1
            try:
                await call.write(messages.progress_request())
            except (aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream is over: its reader knows why
        life.over = True
        call.cancel()

    def _spread(self, answer: messages.WatchAnswer, prefix: bytes, deliver: Deliver, progress: Progress | None) -> None:
        events = [
            Event(
                pair.mod_revision,
                self._text(pair.key),
                None if deleted else pair.value,
                0 if pair.create_revision == pair.mod_revision else pair.create_revision or 1,
            )
            for deleted, pair in answer.events
            if pair.key.startswith(prefix)
        ]
        if events:
            deliver(events)
        # An answer to a question says how new the member is, not what it has delivered (etcd before 3.4.25 and 3.5.8).
        if progress is not None and not answer.created and not answer.asked:
            newest = answer.events[-1][1].mod_revision if answer.events else answer.revision
            progress(newest)

    # -- keeping small ----------------------------------------------------------------------------------------------

    async def compact(self, revision: int) -> None:
        try:
            await self._call(_KV + "Compact", messages.compaction_request(revision))
        except aio.AioRpcError as failure:
            if "has been compacted" not in (failure.details() or ""):
                raise _translated(failure, revision) from failure

    async def snapshot(self, path: Path) -> int:
        """etcd's own snapshot format, as ``etcdctl snapshot restore`` takes it."""
        if path.exists():
            raise StoreError(f"{path} exists already")
        revision = await self.current_revision()
        channel = self._channels[self._current]
        try:
            with path.open("wb") as file:
                async for data in channel.unary_stream(_MAINTENANCE + "Snapshot")(b""):
                    file.write(messages.snapshot_blob(data))
        except aio.AioRpcError as failure:
            path.unlink(missing_ok=True)
            raise _translated(failure) from failure
        return revision

    async def size(self) -> int:
        return messages.database_size(await self._read(_MAINTENANCE + "Status", b""))


async def _answers(call: Any) -> AsyncIterator[messages.WatchAnswer]:
    async for data in call:
        yield messages.watch_answer(data)


def _endpoint(url: str) -> tuple[str, bool]:
    """(host:port, whether TLS) of an endpoint's URL. Raises ValueError."""
    match = re.fullmatch(r"(https?)://([^/]+)/?", url.strip())
    if match is None:
        raise ValueError(f"etcd endpoint {url!r} is no http or https URL")
    return match[2] if ":" in match[2] else f"{match[2]}:2379", match[1] == "https"


def _pem(file: str) -> bytes | None:
    try:
        return Path(file).read_bytes() if file else None
    except OSError as failure:
        raise StoreUnavailable(f"etcd's TLS file {file} cannot be read: {failure.strerror}") from failure


def _never_sent(failure: aio.AioRpcError) -> bool:
    """Whether the call certainly reached nobody."""
    details = (failure.details() or "").lower()
    return "failed to connect" in details or "connection refused" in details


def _is_done(current: messages.Pair | None, expected: int, value: bytes | None) -> bool:
    """Whether a write whose answer was lost is what the key shows."""
    if value is None:
        return current is None
    return current is not None and current.value == value and current.mod_revision > expected


def _translated(failure: aio.AioRpcError, revision: int = 0) -> StoreError:
    details = failure.details() or str(failure.code())
    if failure.code() is grpc.StatusCode.OUT_OF_RANGE:
        if "compacted" in details:
            return Compacted(revision, 0)
        if "future" in details:
            return FutureRevision(revision, 0)
    return StoreUnavailable(f"etcd: {details}")
