"""Watches: groups of watchers that want the same thing, and the flush that sends each group's new frames once encoded.

Watchers with the same resource, scope, selectors and view form a group. A change is offered to the groups that can want it
(found by namespace, name or an equality on a selectable field, so that a thousand nodes' watches cost a pod one look-up),
encoded once a group, and written to every watcher of the group as one piece with what else came since the last flush.
A watcher whose connection is full leaves its group and reads on from the window by itself when there is room again; where
the window has gone past it, the stream ends with 410 and the client lists anew. Nothing is buffered for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..api.errors import StatusError, too_old_resource_version
from ..api.resources import GVR
from ..api.selectors import EVERYTHING, FieldRequirement, FieldSelector, LabelSelector
from ..concurrency import Clock, TimerHandle
from .cache import ADDED, DELETED, MODIFIED, Change, ResourceCache
from .encoding import Entry, chunk
from .request import Sink
from .storagemetrics import Sent
from .views import View

Streamed = Callable[[GVR, str, float], None]


class Payload:
    """Frames that several watchers get: raw, and as one HTTP chunk, made once."""

    __slots__ = ("_chunked", "frames")

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames
        self._chunked: bytes | None = None

    @property
    def raw(self) -> bytes:
        return b"".join(self.frames)

    @property
    def chunked(self) -> bytes:
        if self._chunked is None:
            self._chunked = chunk(b"".join(self.frames))
        return self._chunked


LABEL = "label:"
"""Marks a bucket's trigger as a label's key; fields have no colon in their names."""
MISSING = "\0"
FEW_VALUES = 16
"""Values of a label up to which a watcher waits for each of them, instead of looking at everything."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a watcher wants to see."""

    namespace: str = ""
    name: str = ""
    labels: LabelSelector = EVERYTHING
    fields: FieldSelector = FieldSelector()

    @property
    def key(self) -> tuple[str, ...]:
        return (self.namespace, self.name, str(self.labels), str(self.fields))

    @property
    def kind(self) -> str:
        """As metrics call it."""
        return "resource" if self.name else "namespace" if self.namespace else "cluster"

    @property
    def filtered(self) -> bool:
        return not (self.labels.everything and self.fields.everything)

    def only(self, requirement: FieldRequirement) -> bool:
        """Whether everything that meets this requirement is wanted."""
        return (
            self.fields.requirements == (requirement,) and self.labels.everything and not (self.namespace or self.name)
        )

    def matches(self, entry: Entry) -> bool:
        """By selectors only."""
        return self.labels.matches(entry.labels) and self.fields.matches(entry.field)

    def covers(self, entry: Entry) -> bool:
        """By namespace and name."""
        return (not self.namespace or self.namespace == entry.namespace) and (not self.name or self.name == entry.name)

    def buckets(self) -> list[tuple[str, str]]:
        """The rarest thing of which every wanted object has one: changes are offered only where it fits."""
        for requirement in self.fields.requirements:
            if not requirement.negated and requirement.field not in ("metadata.name", "metadata.namespace"):
                return [(requirement.field, requirement.value)]
        if self.name:
            return [("metadata.name", self.name)]
        for requirement in self.fields.requirements:
            if not requirement.negated and requirement.field == "metadata.name":
                return [("metadata.name", requirement.value)]
        named = [r for r in self.labels.requirements if r.operator == "In" and len(r.values) <= FEW_VALUES]
        if named:
            fewest = min(named, key=lambda r: len(r.values))
            return [(LABEL + fewest.key, value) for value in fewest.values]
        return [("metadata.namespace", self.namespace) if self.namespace else ("", "")]

    def seen(self, change: Change) -> str:
        """How a change looks from here: ADDED, MODIFIED, DELETED, or '' where it is out of sight."""
        if not self.filtered:
            return change.kind
        after = not change.deleted and self.matches(change.entry)
        before = change.previous is not None and self.matches(change.previous)
        if after:
            return MODIFIED if before else ADDED
        return DELETED if before else ""


class Group:
    """The live watchers of one scope and view: each has got everything before ``pending``."""

    __slots__ = ("key", "pending", "scope", "sent", "view", "watchers")

    def __init__(self, key: tuple[str, ...], scope: Scope, view: View, sent: Sent) -> None:
        self.sent = sent
        self.key = key
        self.scope = scope
        self.view = view
        self.watchers: dict[Watcher, None] = {}
        self.pending: list[tuple[str, Change]] = []

    def payload(self) -> Payload:
        pending, self.pending = self.pending, []
        return Payload([frame_of(self.view, kind, change) for kind, change in pending])


def _value(entry: Entry, trigger: str) -> str:
    """What an object has where a bucket looks; no bucket waits for a label that is missing."""
    if trigger.startswith(LABEL):
        return entry.labels.get(trigger[len(LABEL) :], MISSING)
    return entry.field(trigger)


def frame_of(view: View, kind: str, change: Change) -> bytes:
    """The frame, from the change's own cache where another group has made it in this flush."""
    frames = change.frames
    if frames is None:
        frames = change.frames = {}
    frame = frames.get((view.key, kind))
    if frame is None:
        entry = change.entry
        if kind == DELETED and not change.deleted and change.previous is not None:
            # It only left the selection: clients get its last state inside, with the revision of its leaving.
            entry = change.previous.tombstone(change.revision)
        frame = frames[view.key, kind] = view.frame(kind, entry)
    return frame


class Dispatcher:
    """Offers the changes of one cache to the groups, and flushes them."""

    # A flush to many watchers takes milliseconds. The dispatcher rests after it, so that writes go on and what they change
    # is sent together: a record for ten changes costs little more than one for one. Up to PATIENCE it rests ten times as
    # long as it worked; beyond that, where thousands watch, at least twice as long.
    SHARE, LEAST_SHARE = 10.0, 2.0
    PATIENCE = 0.02
    COST = 12e-6
    FEW = 8

    def __init__(self, cache: ResourceCache, clock: Clock, schedule: Callable[[Callable[[], None]], None]) -> None:
        self.cache = cache
        self.clock = clock
        self.sent: dict[GVR, Sent] = {}
        self.terminated = 0
        """Watches whose clients read too slowly."""
        self._schedule = schedule
        self._groups: dict[tuple[str, ...], Group] = {}
        self._buckets: dict[tuple[str, str], list[Group]] = {}
        self._triggers: dict[str, int] = {}
        self._dirty: dict[Group, None] = {}
        self._touched: list[Change] = []
        self._armed = False
        self._resting_until = 0.0
        self._timer: TimerHandle | None = None
        cache.on_change = self._offer
        self.closed = 0
        """How often all watches were ended."""
        self.closing: list[Callable[[], None]] = []
        """Told when they are, beside the watchers in groups."""

    @property
    def watching(self) -> int:
        return sum(len(g.watchers) for g in self._groups.values())

    def groups(self) -> list[Group]:
        return list(self._groups.values())

    # -- changes in -------------------------------------------------------------------------------------------------

    def _offer(self, change: Change) -> None:
        if not self._groups:
            return
        wanted = False
        for group in self._interested(change):
            if group.pending and group.pending[-1][1] is change:
                continue  # it waits for the value before and for the one after
            kind = group.scope.seen(change)
            if kind and group.scope.covers(change.entry):
                group.pending.append((kind, change))
                self._dirty[group] = None
                wanted = True
        if wanted:
            self._touched.append(change)  # what nobody wants must not be held until somebody wants something
        if self._dirty and not self._armed:
            self._arm()

    def _interested(self, change: Change) -> Iterator[Group]:
        buckets, entry, previous = self._buckets, change.entry, change.previous
        for trigger in self._triggers:
            if not trigger:
                yield from buckets.get(("", ""), ())
                continue
            value = _value(entry, trigger)
            yield from buckets.get((trigger, value), ())
            if previous is not None and (before := _value(previous, trigger)) != value:
                yield from buckets.get((trigger, before), ())

    def _arm(self) -> None:
        self._armed = True
        wait = self._resting_until - self.clock.monotonic() if self._resting_until else 0.0
        if wait > 0:
            self._timer = self.clock.call_later(wait, self.flush)
        else:
            self._schedule(self.flush)

    # -- frames out -------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Sends what is pending to all live watchers."""
        self._armed = False
        self._timer = None
        dirty, self._dirty = self._dirty, {}
        written = 0
        for group in dirty:
            written += self.flush_group(group)
        for change in self._touched:
            change.frames = None
        self._touched.clear()
        self._resting_until = self.clock.monotonic() + self._rest(written) if written > self.FEW else 0.0

    def _rest(self, written: int) -> float:
        cost = written * self.COST
        return max(self.LEAST_SHARE * cost, min(self.SHARE * cost, self.PATIENCE))

    def flush_group(self, group: Group) -> int:
        if not group.pending:
            return 0
        payload = group.payload()
        watchers = list(group.watchers)
        group.sent.note(payload.frames, len(watchers))
        for watcher in watchers:
            watcher.take(payload)
        return len(watchers)

    def sent_of(self, gvr: GVR) -> Sent:
        """What is counted for watchers of a resource in one version."""
        found = self.sent.get(gvr)
        if found is None:
            found = self.sent[gvr] = Sent()
        return found

    # -- membership -------------------------------------------------------------------------------------------------

    def join(self, watcher: Watcher) -> Group:
        """The watcher has seen all changes of the cache; it gets the later ones with its group."""
        key = (watcher.view.key, *watcher.scope.key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, watcher.scope, watcher.view, watcher.sent)
            for bucket in watcher.scope.buckets():
                self._buckets.setdefault(bucket, []).append(group)
                self._triggers[bucket[0]] = self._triggers.get(bucket[0], 0) + 1
        elif group.pending:
            self.flush_group(group)
        group.watchers[watcher] = None
        return group

    def leave(self, watcher: Watcher, group: Group) -> None:
        group.watchers.pop(watcher, None)
        if group.watchers or self._groups.pop(group.key, None) is None:
            return
        self._dirty.pop(group, None)
        for bucket in group.scope.buckets():
            self._buckets[bucket].remove(group)
            if not self._buckets[bucket]:
                del self._buckets[bucket]
            self._triggers[bucket[0]] -= 1
            if not self._triggers[bucket[0]]:
                del self._triggers[bucket[0]]

    def bookmark(self, revision: int) -> None:
        """Tells every watcher that asked how far the cache has come."""
        self.flush()
        for group in list(self._groups.values()):
            payload = Payload([group.view.bookmark(revision, False)])
            for watcher in list(group.watchers):
                if watcher.bookmarks:
                    group.sent.note(payload.frames, 1)
                    watcher.take(payload)

    def close(self) -> None:
        """Ends all watches, after what has happened until now."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush()
        self.closed += 1
        for tell in list(self.closing):
            tell()
        for group in list(self._groups.values()):
            for watcher in list(group.watchers):
                watcher.finish()


class Watcher:
    """One watch. ``start`` it with a sink; it pumps initial objects, then the window, then joins its group."""

    SLICE = 128

    def __init__(
        self,
        dispatcher: Dispatcher,
        scope: Scope,
        view: View,
        *,
        position: int,
        initial: list[Entry] | None = None,
        initial_revision: int = 0,
        announce_initial: bool = False,
        bookmarks: bool = False,
        timeout: float = 0,
        revision: Callable[[], int],
        gvr: GVR | None = None,
        streamed: Streamed | None = None,
    ) -> None:
        """``gvr``: as it was asked for, where that is not how it is stored. ``streamed`` is told when a streaming list is
        complete."""
        self._dispatcher = dispatcher
        self._gvr = gvr or dispatcher.cache.gvr
        self.sent = dispatcher.sent_of(self._gvr)
        self._streamed = streamed
        self._began = 0.0
        self.scope = scope
        self.view = view
        self.bookmarks = bookmarks
        self._position = position
        self._initial = initial
        self._at = 0
        self._initial_revision = initial_revision
        self._announce = announce_initial
        self._timeout = timeout
        self._revision = revision
        self._sink: Sink | None = None
        self._lagged = False
        """Its connection was full once."""
        self._group: Group | None = None
        self._timer: TimerHandle | None = None
        self.content_type = view.stream_type
        self.on_end: Callable[[], None] | None = None

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._began = self._dispatcher.clock.monotonic()
        if self._timeout:
            self._timer = self._dispatcher.clock.call_later(self._timeout, self._expire)
        self.resume()

    def take(self, payload: Payload) -> None:
        """A group's frames, while live."""
        if self._sink is not None and not self._sink.write(payload):
            self._lag()

    def _lag(self) -> None:
        """The connection is full: everything up to now is written, the rest is read from the window later."""
        if self._group is not None:
            # Joining and leaving happen between flushes of a group, so what is pending there was not written to us.
            cache = self._dispatcher.cache
            self._position = cache.base + len(cache.log) - self._unsent(self._group)
            self._dispatcher.leave(self, self._group)
            self._group = None
            self._lagged = True

    def _unsent(self, group: Group) -> int:
        """How many of the newest changes the group has not sent yet."""
        if not group.pending:
            return 0
        first, log = group.pending[0][1], self._dispatcher.cache.log
        return next((i + 1 for i, change in enumerate(reversed(log)) if change is first), len(log))

    def resume(self) -> None:
        """Writes as much as the sink takes; at the end of the window goes live."""
        sink = self._sink
        if sink is None or self._group is not None:
            return
        while self._initial is not None:
            if not self._send_initial(sink):
                return
        cache = self._dispatcher.cache
        while (offset := self._position - cache.base) < len(cache.log):
            if offset < 0:
                self._dispatcher.terminated += self._lagged
                self._fail(too_old_resource_version(0, cache.horizon))
                return
            part = cache.log[offset : offset + self.SLICE]
            self._position += len(part)
            frames = self._frames(part)
            self.sent.note(frames, 1)
            if frames and not sink.write(Payload(frames)):
                return
        if self._sink is not None:
            self._group = self._dispatcher.join(self)

    def _frames(self, changes: list[Change]) -> list[bytes]:
        frames = []
        for change in changes:
            if self.scope.covers(change.entry) and (kind := self.scope.seen(change)):
                kept = change.frames
                frames.append(frame_of(self.view, kind, change))
                change.frames = kept
        return frames

    def _send_initial(self, sink: Sink) -> bool:
        assert self._initial is not None
        part = self._initial[self._at : self._at + self.SLICE]
        self._at += len(part)
        frames = [self.view.frame(ADDED, e) for e in part]
        if self._at >= len(self._initial):
            self._initial = None
            if self._announce:
                frames.append(self.view.bookmark(self._initial_revision, True))
                if self._streamed is not None:
                    seconds = self._dispatcher.clock.monotonic() - self._began
                    self._streamed(self._gvr, self.scope.kind, seconds)
        self.sent.note(frames, 1)
        return sink.write(Payload(frames)) if frames else True

    def _fail(self, failure: StatusError) -> None:
        if self._sink is not None:
            self._sink.write(Payload([self.view.status(failure.to_status())]))
        self.finish()

    def _expire(self) -> None:
        """The watch's time is over: a last bookmark spares the client that comes back from what it has seen."""
        self._timer = None
        if self._group is not None:
            self._dispatcher.flush_group(self._group)
        if self.bookmarks and self._group is not None and self._sink is not None:
            self._sink.write(Payload([self.view.bookmark(self._revision(), False)]))
        self.finish()

    def finish(self) -> None:
        """Ends the stream from this side."""
        sink = self._sink
        self.stop()
        if sink is not None:
            sink.end()

    def stop(self) -> None:
        """The sink is gone."""
        self._sink = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._group is not None:
            self._dispatcher.leave(self, self._group)
            self._group = None
        if self.on_end is not None:
            ended, self.on_end = self.on_end, None
            ended()
