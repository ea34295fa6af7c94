"""GET, LIST and WATCH, answered from the watch cache.

Semantics of resourceVersion, resourceVersionMatch, limit and continue: "Kubernetes API Concepts", "Resource versions" and
"Retrieving large results sets in chunks".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import orjson

from ..api.errors import StatusError, bad_request, expired, method_not_supported, not_found
from ..api.selectors import FieldSelector
from ..storage.contract import Compacted, FutureRevision, Page
from .cache import ResourceCache
from .encoding import Entry
from .hub import Hub, too_large_resource_version
from .options import EXACT, ListOptions, list_options, parse_revision
from .registry import Resource
from .request import Request, RequestInfo, Response
from .storagemetrics import LIST
from .views import View
from .watching import Scope, Watcher
from .watching_converted import ConvertedWatch

CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with "
    "the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class _Token:
    """Where a chunked list goes on: after which key, as of which revision (0: as it is now)."""

    after: str
    revision: int


class ExpiredContinue(StatusError):
    """410 for a continue token; the Status carries one that goes on inconsistently."""

    def __init__(self, proceed: str) -> None:
        super().__init__(410, "Expired", CONTINUE_EXPIRED)
        self.proceed = proceed

    def to_status(self) -> dict[str, Any]:
        return {**super().to_status(), "metadata": {"continue": self.proceed}}


class Reader:
    """Answers reads of one server."""

    # Joined lists are kept while nothing changes; beyond this many bytes they are made anew each time.
    KEEP_JOINED = 24 << 20
    STREAMED = 5000
    """Lists of more objects than this are written in slices."""
    SLICE = 500
    """Objects that a list looks at before others get their turn."""

    def __init__(self, hub: Hub, rng: random.Random, secret: bytes = b"", *, least_watch_seconds: int = 1800) -> None:
        self._least_watch_seconds = least_watch_seconds
        self._hub = hub
        self._rng = rng
        # Tokens are sealed so that nobody builds on what is inside; servers of one cluster share the key.
        self._secret = secret or b"pybernetes continue token"
        self._turn = asyncio.Lock()
        """Who has it works on one slice of a long list: of all such lists together one slice a turn of the loop, so that a
        flood of them holds nobody else up for longer."""

    # -- get --------------------------------------------------------------------------------------------------------

    async def get(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        entry = await resource.seen(await self.entry(request, info, resource))
        return Response(200, view.item(entry), view.content_type)

    async def entry(self, request: Request, info: RequestInfo, resource: Resource) -> Entry:
        """The object that a request names. Raises StatusError 404."""
        revision = request.param("resourceVersion") if request.raw_query else ""
        if not revision:
            await self._hub.consistent()
        elif revision != "0":
            await self._hub.wait_for(parse_revision(revision))
        entry = resource.cache.get(info.namespace, info.name)
        if entry is None:
            raise not_found(resource.gvr.group, resource.gvr.resource, info.name)
        return entry

    # -- list -------------------------------------------------------------------------------------------------------

    async def list(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        options = self.checked(resource, list_options(request))
        cache = resource.cache
        token = self._open(options, cache, info.namespace) if options.proceed else None
        exact = await self._freshen(options, token)
        if exact and exact < self._hub.compacted:
            raise self._expired(token, info.namespace)
        if exact and (exact < cache.changed or exact > self._hub.revision):
            return await self._list_old(resource, view, info, options, token, exact)
        revision = exact or self._hub.revision
        scope = Scope(info.namespace, "", options.labels, options.fields)
        self._hub.metrics.from_cache(cache.gvr, _index_of(cache, scope))
        if resource.versioning is not None and resource.versioning.asks:
            return await self._list_converted(resource, view, scope, options, token, revision)
        after = token.after if token is not None else ""
        whole = (
            not after and not options.limit and not scope.filtered and "yaml" not in request.headers.get("accept", "")
        )
        if whole and view.streams and cache.size(info.namespace) > self.STREAMED:
            everything = tuple(cache.select(info.namespace))
            return Response(200, self._stream(view, revision, everything), view.content_type)
        if not after and not options.limit:
            if cache.size(info.namespace) > self.SLICE:
                items = await self._joined_in_slices(cache, scope, view)
            else:
                items = self._joined(cache, scope, view)
            return _answer(view, revision, "", None, items)
        entries = self._matching(cache, scope, after)
        if not options.limit:
            return _answer(view, revision, "", None, view.items(entries))
        page = list(islice(entries, options.limit + 1))
        proceed, remaining = "", None
        if len(page) > options.limit:
            page.pop()
            last = page[-1]
            key = f"{last.namespace}/{last.name}" if cache.namespaced else last.name
            proceed = self._seal(_Token(key, revision), info.namespace)
            if not scope.filtered:
                remaining = cache.remaining(info.namespace, key)
        return _answer(view, revision, proceed, remaining, view.items(page))

    async def _list_converted(
        self,
        resource: Resource,
        view: View,
        scope: Scope,
        options: ListOptions,
        token: _Token | None,
        revision: int,
    ) -> Response:
        """A list that a webhook converts, all of it at once: it may be asked for by fields that only exist afterwards."""
        assert resource.versioning is not None
        cache = resource.cache
        stored = list(cache.select(scope.namespace, token.after if token is not None else ""))
        if options.limit and not scope.filtered:
            stored = stored[: options.limit + 1]
        page = [e for e in await resource.versioning.convert(stored) if scope.matches(e)]
        proceed, remaining = "", None
        if options.limit and len(page) > options.limit:
            page = page[: options.limit]
            last = page[-1]
            key = f"{last.namespace}/{last.name}" if cache.namespaced else last.name
            proceed = self._seal(_Token(key, revision), scope.namespace)
            if not scope.filtered:
                remaining = cache.remaining(scope.namespace, key)
        return _answer(view, revision, proceed, remaining, view.items(page))

    async def _stream(self, view: View, revision: int, entries: tuple[Entry, ...]) -> AsyncIterator[bytes]:
        """A list that is too large to be made in one go: other requests get their turn in between."""
        head, _, tail = view.list(revision, "", None, b"")
        yield head
        for start in range(0, len(entries), self.SLICE):
            async with self._turn:
                part = view.items(entries[start : start + self.SLICE])
                await self._hub.clock.sleep(0)
            yield b"," + part if start else part
        yield tail

    async def _freshen(self, options: ListOptions, token: _Token | None) -> int:
        """Waits until the cache is as new as asked; returns the exact revision that is wanted, 0 where any newer will do."""
        if token is not None:
            if options.revision not in ("", "0"):
                raise bad_request("specifying resource version is not allowed when using continue")
            if token.revision == 0:
                await self._hub.consistent()
            return token.revision
        if not options.revision:
            await self._hub.consistent()
            return 0
        revision = parse_revision(options.revision)
        if options.match == EXACT:
            if revision > self._hub.revision:
                await self._hub.consistent()
            return revision
        await self._hub.wait_for(revision)
        return 0

    def _joined(self, cache: ResourceCache, scope: Scope, view: View) -> bytes:
        key = (view.key, *scope.key)
        if view.cacheable:
            kept = cache.joined.get(key)
            if kept is not None:
                return kept[1]
        items = view.items(self._matching(cache, scope, ""))
        if view.cacheable and self._room(cache, items):
            cache.joined[key] = (len(items), items)
        return items

    async def _joined_in_slices(self, cache: ResourceCache, scope: Scope, view: View) -> bytes:
        """The same for a list that takes long: as the cache is now, whatever changes meanwhile."""
        key, changed = (view.key, *scope.key), cache.changed
        kept = cache.joined.get(key) if view.cacheable else None
        if kept is not None:
            return kept[1]
        narrow = any(r.field in ("metadata.name", cache.indexed) for r in scope.fields.requirements)
        if narrow:
            return self._joined(cache, scope, view)
        everything, parts = list(cache.select(scope.namespace)), []
        for start in range(0, len(everything), self.SLICE):
            async with self._turn:
                found = everything[start : start + self.SLICE]
                if scope.filtered:
                    found = [e for e in found if scope.matches(e)]
                if found:
                    parts.append(view.items(found))
                await self._hub.clock.sleep(0)
        items = (b"," if view.streams else b"").join(parts)
        if view.cacheable and cache.changed == changed and self._room(cache, items):
            cache.joined[key] = (len(items), items)
        return items

    def _room(self, cache: ResourceCache, items: bytes) -> bool:
        return sum(size for size, _ in cache.joined.values()) + len(items) <= self.KEEP_JOINED

    @staticmethod
    def _matching(cache: ResourceCache, scope: Scope, after: str) -> Iterable[Entry]:
        if scope.filtered:
            for requirement in scope.fields.requirements:
                if requirement.field == "metadata.name" and not requirement.negated and scope.namespace:
                    entry = cache.get(scope.namespace, requirement.value)
                    return iter([entry] if entry is not None and scope.matches(entry) and not after else [])
                if requirement.field == cache.indexed and not requirement.negated and not after:
                    found = cache.by_index(requirement.value)
                    if scope.only(requirement):
                        return found
                    return (e for e in found if scope.covers(e) and scope.matches(e))
            return (e for e in cache.select(scope.namespace, after) if scope.matches(e))
        return cache.select(scope.namespace, after)

    async def _list_old(
        self,
        resource: Resource,
        view: View,
        info: RequestInfo,
        options: ListOptions,
        token: _Token | None,
        revision: int,
    ) -> Response:
        """A list as it was at an older revision, from the store's history."""
        cache = resource.cache
        prefix = cache.prefix + (f"{info.namespace}/" if info.namespace and cache.namespaced else "")
        after = cache.prefix + token.after if token is not None and token.after else ""
        scope = Scope(info.namespace, "", options.labels, options.fields)
        found: list[Entry] = []
        looked_at = 0
        while True:
            limit = options.limit - len(found) if options.limit else 0
            try:
                read = self._hub.store.list(prefix, after=after, limit=limit, revision=revision)
                page: Page = await self._hub.metrics.call(LIST, cache.gvr, read)
            except Compacted:
                raise self._expired(token, info.namespace) from None
            except FutureRevision as failure:
                raise too_large_resource_version(failure.requested, failure.current) from None
            looked_at += len(page.items)
            entries = [cache.entry_for(kv.key, kv.value, kv.revision) for kv in page.items]
            if resource.versioning is not None and resource.versioning.asks:
                entries = await resource.versioning.convert(entries)
            found += [e for e in entries if scope.matches(e)]
            if not page.remaining or (options.limit and len(found) >= options.limit):
                break
            after = page.items[-1].key
        self._hub.metrics.listed(cache.gvr, looked_at, len(found))
        proceed, remaining = "", None
        if page.remaining:
            proceed = self._seal(_Token(page.items[-1].key[len(cache.prefix) :], revision), info.namespace)
            remaining = None if scope.filtered else page.remaining
        return _answer(view, revision, proceed, remaining, view.items(found))

    def _expired(self, token: _Token | None, namespace: str) -> StatusError:
        if token is None:
            return expired("The resourceVersion for the provided list is too old.")
        return ExpiredContinue(self._seal(_Token(token.after, 0), namespace))

    # -- continue tokens --------------------------------------------------------------------------------------------

    def _seal(self, token: _Token, namespace: str) -> str:
        body = orjson.dumps([token.after, token.revision])
        return base64.urlsafe_b64encode(self._mac(body, namespace) + body).decode().rstrip("=")

    def _mac(self, body: bytes, namespace: str) -> bytes:
        return hmac.new(self._secret, namespace.encode() + b"\0" + body, hashlib.sha256).digest()[:12]

    def _open(self, options: ListOptions, cache: ResourceCache, namespace: str) -> _Token:
        try:
            text = options.proceed
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            mac, body = raw[:12], raw[12:]
            if not hmac.compare_digest(mac, self._mac(body, namespace)):
                raise ValueError("seal")
            after, revision = orjson.loads(body)
        except (ValueError, binascii.Error):
            raise bad_request("invalid continue token: continue key is not valid") from None
        return _Token(after, revision)

    # -- watch ------------------------------------------------------------------------------------------------------

    async def watch(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        options = self.checked(resource, list_options(request))
        if "watch" not in resource.info.verbs or resource.dispatcher is None:
            raise method_not_supported(resource.gvr.group, resource.gvr.resource, "watch")
        scope = Scope(info.namespace, info.name, options.labels, options.fields)
        cache, hub = resource.cache, self._hub
        initial: list[Entry] | None = None
        revision = parse_revision(options.revision)
        position = cache.base + len(cache.log)
        if options.initial or (revision == 0 and options.initial is None):
            if options.revision != "0":
                await hub.consistent()
            await hub.wait_for(revision)
            initial = [e for e in self._matching(cache, scope, "") if scope.covers(e)]
            position = cache.base + len(cache.log)
        elif revision:
            # A client may have read it from a server that is ahead of this one: what led to it would come as new.
            await hub.reach(revision)
            position = cache.since(revision)
        if resource.versioning is not None and resource.versioning.asks:
            watch = ConvertedWatch(
                resource.dispatcher,
                resource.versioning,
                scope,
                view,
                position=position,
                initial=list(cache.select(scope.namespace)) if initial is not None else None,
                initial_revision=hub.revision,
                announce_initial=bool(options.initial and options.bookmarks),
                bookmarks=options.bookmarks,
                timeout=self._timeout(options),
                revision=lambda: hub.revision,
            )
            return Response(200, watch.frames(), view.stream_type, live=True)
        watcher = Watcher(
            resource.dispatcher,
            scope,
            view,
            position=position,
            initial=initial,
            initial_revision=hub.revision,
            announce_initial=bool(options.initial and options.bookmarks),
            bookmarks=options.bookmarks,
            timeout=self._timeout(options),
            revision=lambda: hub.revision,
            gvr=resource.gvr,
            streamed=hub.metrics.streamed,
        )
        return Response(200, b"", view.stream_type, stream=watcher)

    def _timeout(self, options: ListOptions) -> float:
        if options.timeout > 0:
            return float(options.timeout)
        return self._least_watch_seconds * (1.0 + self._rng.random())

    @staticmethod
    def checked(resource: Resource, options: ListOptions) -> ListOptions:
        """The options with fields as they are stored. Only those that the resource offers: StatusError 400 for others."""
        requirements = options.fields.requirements
        for requirement in requirements:
            resource.kind.check_field(requirement.field)
        if not requirements or resource.conversion is None or not resource.conversion.fields:
            return options
        stored = resource.conversion.fields
        named = (replace(r, field=stored.get(r.field, r.field)) for r in requirements)
        return replace(options, fields=FieldSelector(tuple(named)))


def _index_of(cache: ResourceCache, scope: Scope) -> str:
    """By which field the objects of a list are found, as upstream writes it; nothing where all are looked at."""
    indexed = any(r.field == cache.indexed and not r.negated for r in scope.fields.requirements)
    return f"f:{cache.indexed}" if indexed else ""


def _answer(view: View, revision: int, proceed: str, remaining: int | None, items: bytes) -> Response:
    return Response(200, view.list(revision, proceed, remaining, items), view.content_type)
