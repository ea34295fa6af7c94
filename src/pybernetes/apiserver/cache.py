"""The watch cache: the newest state of one resource, the window of its latest changes, and who watches them.

Reads and watches are answered from here and never from the store (but for lists of an older revision). The hub feeds each
cache with the store's committed writes in order; for a single-writer store the cache has seen a write before its writer is
told that it succeeded, so every read is current.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import orjson

from ..api.errors import too_old_resource_version
from ..api.meta import Object
from ..api.resources import GVR
from ..storage.contract import Event, KeyValue
from .encoding import NO_FIELDS, NO_LABELS, Entry, encode_for_store, with_revision

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
Fields = Callable[[Object], Mapping[str, str]]
"""The selectable fields of an object beside name and namespace."""
Listener = Callable[[str, Object | None, Object | None], None]


class Change:
    """One change in the window: ``entry`` is the state after it (a tombstone for a deletion)."""

    __slots__ = ("deleted", "entry", "frames", "previous", "revision")

    def __init__(self, revision: int, entry: Entry, previous: Entry | None, deleted: bool) -> None:
        self.revision = revision
        self.entry = entry
        self.previous = previous
        self.deleted = deleted
        self.frames: dict[tuple[str, str], bytes] | None = None

    @property
    def kind(self) -> str:
        return DELETED if self.deleted else MODIFIED if self.previous is not None else ADDED


class Space:
    """The objects of one namespace (or all of a cluster-scoped resource) in the order of their names."""

    __slots__ = ("entries", "names")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.names: list[str] = []


class ResourceCache:
    """The objects of one resource by namespace and name."""

    # The window: enough that a client which reconnects within a minute of heavy change resumes, bounded in events and bytes.
    WINDOW_EVENTS = 8192
    WINDOW_BYTES = 16 << 20
    WINDOW_MINIMUM = 128
    # What is older than so many calls of ``age`` leaves the window (but for the minimum): who is that far behind lists anew.
    WINDOW_AGES = 3
    ALIKE = 4096
    """Sets of labels and of fields that are remembered for the next object that has the same."""

    def __init__(
        self, gvr: GVR, namespaced: bool, prefix: str, fields: Fields | None = None, indexed: str = ""
    ) -> None:
        """``indexed`` is a selectable field by which objects can be found without looking at all of them."""
        self.gvr = gvr
        self.namespaced = namespaced
        self.prefix = prefix
        self.fields = fields
        self.spaces: dict[str, Space] = {}
        self._order: list[str] = []
        self.log: list[Change] = []
        self.base = 0
        """The sequence number of ``log[0]``: how many changes have left the window."""
        self._log_bytes = 0
        self._marks: deque[int] = deque(maxlen=self.WINDOW_AGES)
        """The sequence numbers at which the window stood at the latest calls of ``age``."""
        self.horizon = 0
        """Every change with a greater revision is in the window."""
        self.count = 0
        self.bytes = 0
        """Of all objects as they are served."""
        self.fillings = 0
        """How often it was filled from the store."""
        self.changed = 0
        """The revision of the newest change."""
        self.listeners: list[Listener] = []
        self.on_change: Callable[[Change], None] | None = None
        """Set by the watch dispatcher."""
        self.indexed = indexed
        self._index: dict[str, dict[Entry, None]] = {}
        self._alike: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self.joined: dict[tuple[str, ...], tuple[int, bytes]] = {}
        self.coerce: Callable[[Object], None] | None = None
        """What has to be done to an object that was stored under an older schema (custom resources)."""

    @property
    def seen(self) -> int:
        """How many changes came until now."""
        return self.base + len(self.log)

    # -- filling ----------------------------------------------------------------------------------------------------

    def split(self, key: str) -> tuple[str, str]:
        """(namespace, name) of a store key."""
        namespace, _, name = key[len(self.prefix) :].rpartition("/")
        return namespace, name

    def entry_for(self, key: str, value: bytes, revision: int, obj: Object | None = None) -> Entry:
        """``obj`` is the decoded value where the writer is in this process."""
        namespace, name = self.split(key)
        decoded = obj if obj is not None else orjson.loads(value)
        if obj is None and self.coerce is not None:
            self.coerce(decoded)
            value = encode_for_store(decoded)
        labels = decoded["metadata"].get("labels")
        fields = self.fields(decoded) if self.fields is not None else None
        data = with_revision(value, revision)
        return Entry(
            namespace,
            name,
            revision,
            data,
            self._shared(labels) if labels else NO_LABELS,
            self._shared(fields) if fields else NO_FIELDS,
        )

    def _shared(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        """One mapping for all objects that have the same: pods of a template their labels, pods of a node their fields. With
        100,000 pods these would be a quarter of what is kept."""
        key = tuple(texts.items())
        try:
            known = self._alike.get(key)
        except TypeError:
            return texts  # no texts: something else wrote this to the store
        if known is None:
            if len(self._alike) >= self.ALIKE:
                self._alike.clear()
            known = self._alike[key] = texts
        return known

    def unversioned(self, key: str, value: bytes, obj: Object) -> Entry:
        """The entry of what a dry run would have created: without a resourceVersion."""
        namespace, name = self.split(key)
        return Entry(namespace, name, 0, value, obj["metadata"].get("labels") or NO_LABELS, NO_FIELDS)

    def load(self, items: Iterable[KeyValue], revision: int) -> None:
        """Takes the state at ``revision`` as the beginning."""
        for item in items:
            self._insert(self.entry_for(item.key, item.value, item.revision))
            self.changed = max(self.changed, item.revision)
        self.horizon = revision

    def reload(self, items: Sequence[KeyValue], revision: int) -> None:
        """Takes a newer state where the changes up to it were missed: watchers before it must begin anew."""
        keep = {item.key: item for item in items}
        for entry in list(self):
            if self.prefix + (f"{entry.namespace}/" if self.namespaced else "") + entry.name not in keep:
                self._change(Change(revision, entry.tombstone(revision), entry, True))
        for item in items:
            old = self.get(*self.split(item.key))
            if old is None or old.revision != item.revision:
                entry = self.entry_for(item.key, item.value, item.revision)
                self._change(Change(item.revision, entry, old, False))
        self.base += len(self.log)
        self.log.clear()
        self._log_bytes = 0
        self.horizon = revision

    def renew(self, items: Sequence[KeyValue], revision: int) -> None:
        """Reads everything anew, since how objects are read has changed; nobody watches meanwhile."""
        self.spaces.clear()
        self._order.clear()
        self._index.clear()
        self._alike.clear()
        self.joined.clear()
        self.count = self.bytes = 0
        self.base += len(self.log)
        self.log.clear()
        self._log_bytes = 0
        self.load(items, revision)

    def apply(self, event: Event) -> None:
        """One committed write."""
        namespace, name = self.split(event.key)
        space = self.spaces.get(namespace)
        previous = space.entries.get(name) if space is not None else None
        if event.value is None:
            if previous is not None:
                self._change(Change(event.revision, previous.tombstone(event.revision), previous, True))
            return
        entry = self.entry_for(event.key, event.value, event.revision, event.note)
        self._change(Change(event.revision, entry, previous, False), event.note)

    def _change(self, change: Change, obj: Object | None = None) -> None:
        """``obj`` is the decoded new state where it is at hand."""
        if change.deleted:
            self._remove(change.entry)
        else:
            self._insert(change.entry)
        self.changed = change.revision
        self.log.append(change)
        self._log_bytes += len(change.entry.data)
        if len(self.log) > self.WINDOW_MINIMUM:
            self._trim()
        if self.joined:
            self.joined.clear()
        if self.listeners:
            self._tell(change, obj)
        if self.on_change is not None:
            self.on_change(change)

    def _tell(self, change: Change, obj: Object | None) -> None:
        """Decoded for the moment only: what listeners want of a pod is little, and decoded objects are large."""
        old = change.previous.peek() if change.previous is not None else None
        new = obj if obj is not None else change.entry.peek()
        kind = change.kind
        for listener in self.listeners:
            listener(kind, old, new)

    def _trim(self) -> None:
        excess = len(self.log) - self.WINDOW_EVENTS
        # In steps of an eighth, so that cutting the list's head costs little a change.
        if excess < self.WINDOW_EVENTS >> 3 and self._log_bytes < self.WINDOW_BYTES + (self.WINDOW_BYTES >> 3):
            return
        cut = max(0, excess)
        freed = sum(len(c.entry.data) for c in self.log[:cut])
        while self._log_bytes - freed > self.WINDOW_BYTES and len(self.log) - cut > self.WINDOW_MINIMUM:
            freed += len(self.log[cut].entry.data)
            cut += 1
        self._cut(cut, freed)

    def _cut(self, cut: int, freed: int) -> None:
        if cut:
            self.horizon = self.log[cut - 1].revision
            del self.log[:cut]
            self.base += cut
            self._log_bytes -= freed

    def age(self) -> int:
        """Called from time to time: lets go of what nobody has asked for in a while; how many bytes of changes went.

        The window then covers ``WINDOW_AGES`` such times, as upstream's covers 75 seconds, and not the busiest hour of the day.
        """
        cut = 0
        if len(self._marks) == self.WINDOW_AGES:
            cut = max(0, min(self._marks[0] - self.base, len(self.log) - self.WINDOW_MINIMUM))
        freed = sum(len(c.entry.data) for c in self.log[:cut])
        self._cut(cut, freed)
        if self.log:
            self._marks.append(self.base + len(self.log))
        self.joined.clear()
        return freed

    def _insert(self, entry: Entry) -> None:
        space = self.spaces.get(entry.namespace)
        if space is None:
            space = self.spaces[entry.namespace] = Space()
            bisect.insort(self._order, entry.namespace + "/")
        replaced = space.entries.get(entry.name)
        self.bytes += len(entry.data) - (len(replaced.data) if replaced is not None else 0)
        if replaced is None:
            names = space.names
            if names and names[-1] > entry.name:
                bisect.insort(names, entry.name)
            else:
                names.append(entry.name)
            self.count += 1
        if self.indexed:
            self._reindex(replaced, entry)
        space.entries[entry.name] = entry

    def _reindex(self, old: Entry | None, new: Entry | None) -> None:
        if old is not None:
            value = old.field(self.indexed)
            bucket = self._index.get(value)
            if bucket is not None:
                bucket.pop(old, None)
                if not bucket:
                    del self._index[value]
        if new is not None:
            self._index.setdefault(new.field(self.indexed), {})[new] = None

    def _remove(self, entry: Entry) -> None:
        space = self.spaces.get(entry.namespace)
        gone = space.entries.pop(entry.name, None) if space is not None else None
        if space is None or gone is None:
            return
        if self.indexed:
            self._reindex(gone, None)
        self.count -= 1
        self.bytes -= len(gone.data)
        del space.names[bisect.bisect_left(space.names, entry.name)]
        if not space.entries:
            del self.spaces[entry.namespace]
            del self._order[bisect.bisect_left(self._order, entry.namespace + "/")]

    # -- reading ----------------------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Entry | None:
        space = self.spaces.get(namespace)
        return space.entries.get(name) if space is not None else None

    def __iter__(self) -> Iterator[Entry]:
        """In the order of store keys."""
        for prefix in self._order:
            space = self.spaces[prefix[:-1]]
            entries = space.entries
            for name in space.names:
                yield entries[name]

    def select(self, namespace: str = "", after: str = "") -> Iterator[Entry]:
        """The entries of a namespace (all: '') in key order, those after the key suffix ``after`` only."""
        if namespace or not self.namespaced:
            space = self.spaces.get(namespace)
            if space is None:
                return
            name = after.rpartition("/")[2]
            start = bisect.bisect_right(space.names, name) if after else 0
            names = space.names
            for at in range(start, len(names)):
                yield space.entries[names[at]]
            return
        if not after:
            yield from self
            return
        first, _, name = after.rpartition("/")
        for prefix in self._order[bisect.bisect_left(self._order, first + "/") :]:
            yield from self.select(prefix[:-1], after if prefix[:-1] == first else "")

    def by_index(self, value: str) -> list[Entry]:
        """The entries whose indexed field has this value, in key order."""
        return sorted(self._index.get(value, ()), key=lambda e: (e.namespace + "/", e.name))

    def remaining(self, namespace: str, after: str) -> int:
        """How many entries ``select`` would give after a key suffix."""
        first, _, name = after.rpartition("/")
        space = self.spaces.get(namespace or first)
        left = len(space.names) - bisect.bisect_right(space.names, name) if space is not None else 0
        if namespace or not self.namespaced:
            return left
        later = self._order[bisect.bisect_right(self._order, first + "/") :]
        return left + sum(len(self.spaces[n[:-1]].names) for n in later)

    def size(self, namespace: str = "") -> int:
        if namespace or not self.namespaced:
            space = self.spaces.get(namespace)
            return len(space.names) if space is not None else 0
        return self.count

    def since(self, revision: int) -> int:
        """The sequence number of the first change after ``revision``. Raises StatusError 410."""
        if revision < self.horizon:
            raise too_old_resource_version(revision, self.horizon)
        return self.base + bisect.bisect_right(self.log, revision, key=lambda c: c.revision)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)

        def cancel() -> None:
            if listener in self.listeners:
                self.listeners.remove(listener)

        return cancel

    def validate_state(self) -> None:
        """Raises AssertionError where the parts do not agree."""
        assert self.count == sum(len(s.entries) for s in self.spaces.values())
        assert self.bytes == sum(len(e.data) for s in self.spaces.values() for e in s.entries.values())
        assert self._order == sorted(f"{n}/" for n in self.spaces)
        for space in self.spaces.values():
            assert space.names == sorted(space.entries)
        if self.indexed:
            assert sum(len(b) for b in self._index.values()) == self.count
            assert all(e.field(self.indexed) == v for v, b in self._index.items() for e in b)
        assert all(a.revision <= b.revision for a, b in zip(self.log, self.log[1:], strict=False))
        assert not self.log or self.log[0].revision > self.horizon
        assert self._log_bytes == sum(len(c.entry.data) for c in self.log)
        assert all(a <= b for a, b in zip(self._marks, list(self._marks)[1:], strict=False))
        assert not self._marks or self._marks[-1] <= self.base + len(self.log)
