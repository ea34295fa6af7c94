"""Keeps APIServices true: those of custom resources are made and removed, servers behind are asked whether they answer, and what
they serve goes into discovery and OpenAPI.

Specified by kube-aggregator's status, autoregister and discovery controllers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ...api.errors import StatusError
from ...api.meta import Object, labels_of, name_of, namespace_of
from ...api.resources import API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, ENDPOINT_SLICES, SERVICES
from ...api.times import to_time
from ...concurrency import Clock, WorkQueue, logger, run_workers
from ...hooks.admission import Requester
from ...hooks.reading import ObjectReader
from ..services import SERVICE_NAME
from . import decide, merging
from .remotes import Remote, Remotes, Unreachable

log = logger("apiserver.aggregation")

RESYNC_SECONDS = 30.0
ATTEMPTS = 5
WORKERS = 5
_PATH = f"{API_SERVICES.path}/{API_SERVICES.resource}"
_AGGREGATED = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={v};as=APIGroupDiscoveryList" for v in merging.GROUP_KINDS
)
_GROUP = "\0"
"""Begins the queue's keys for the APIServices of a group of custom resources; no object has such a name."""


class Aggregation:
    """Background work on the APIServices of one server."""

    def __init__(self, reader: ObjectReader, request: Requester, clock: Clock, remotes: Remotes) -> None:
        self._reader, self._request, self._clock, self.remotes = reader, request, clock, remotes
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._definitions: dict[str, dict[str, Object]] = {}
        """By group and name."""
        self._managed: dict[str, set[str]] = {}
        """The APIServices that were made for custom resources, by group."""
        self.unavailable: dict[tuple[str, str], int] = {}
        """(APIService, reason) to how often it became unavailable."""

    def start(self) -> None:
        """Takes what there is: from now on requests are passed on."""
        self._reader.subscribe(API_SERVICES, self._service_changed)
        self._reader.subscribe(SERVICES, self._target_changed)
        self._reader.subscribe(ENDPOINT_SLICES, self._slice_changed)
        self._reader.subscribe(CUSTOM_RESOURCE_DEFINITIONS, self._definition_changed)
        for service in self._reader.list(API_SERVICES):
            self._service_changed("ADDED", None, service)
        for definition in self._reader.list(CUSTOM_RESOURCE_DEFINITIONS):
            self._definition_changed("ADDED", None, definition)
        for group in self._managed:
            self._queue.add(_GROUP + group)

    async def run(self) -> None:
        """Until cancelled."""
        await run_workers(self._queue, WORKERS, self._sync, self._failed)

    @staticmethod
    def _failed(key: str, failure: Exception) -> None:
        log.info("APIService not brought up to date", key=key, error=str(failure))

    # -- events -----------------------------------------------------------------------------------------------------

    def _service_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._note_managed(old, new if kind != "DELETED" else None)
        if new is None or kind == "DELETED":
            if old is not None or new is not None:
                self.remotes.drop(old or new or {})
            return
        self.remotes.take(new)
        same = old is not None and old.get("spec") == new.get("spec")
        if not same or not (new.get("status") or {}).get("conditions"):
            self._queue.add(name_of(new))

    def _target_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        for service in (old, new):
            if service is not None:
                self._wake(namespace_of(service), name_of(service))

    def _slice_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        for piece in (old, new):
            if piece is not None and SERVICE_NAME in labels_of(piece):
                self._wake(namespace_of(piece), labels_of(piece)[SERVICE_NAME])

    def _wake(self, namespace: str, name: str) -> None:
        for remote in self.remotes.served.values():
            if remote.target[:2] == (namespace, name):
                self._queue.add(remote.name)

    def _note_managed(self, old: Object | None, new: Object | None) -> None:
        """Where one of them was removed or changed by somebody, its group is looked at."""
        for service, present in ((old, False), (new, True)):
            if service is None or labels_of(service).get(decide.AUTOMANAGED) != "true":
                continue
            group = decide.group_version(service)[0]
            names = self._managed.setdefault(group, set())
            if present:
                names.add(name_of(service))
            else:
                names.discard(name_of(service))
                self._queue.add(_GROUP + group)

    def _definition_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        crd = new if new is not None else old
        if crd is None:
            return
        group = (crd.get("spec") or {}).get("group") or ""
        known = self._definitions.setdefault(group, {})
        if new is None or kind == "DELETED":
            known.pop(name_of(crd), None)
        else:
            known[name_of(crd)] = crd
        self._queue.add(_GROUP + group)

    # -- work -------------------------------------------------------------------------------------------------------

    async def _sync(self, key: str) -> float | None:
        if key.startswith(_GROUP):
            await self._register(key.removeprefix(_GROUP))
            return None
        service = self._reader.get(API_SERVICES, "", key)
        if service is None:
            return None
        remote = self.remotes.take(service)
        if remote is None:
            await self._tell(service, decide.LOCAL)
            return None
        verdict = await self._check(remote)
        await self._tell(service, verdict)
        if verdict != decide.PASSED:
            if verdict.reason == "FailedDiscoveryCheck":
                raise Unreachable(verdict.message)
            return RESYNC_SECONDS
        await self._read(remote)
        return RESYNC_SECONDS

    async def _check(self, remote: Remote) -> decide.Verdict:
        namespace, name, _ = remote.target
        slices = [s for s in self._reader.list(ENDPOINT_SLICES, namespace) if labels_of(s).get(SERVICE_NAME) == name]
        found = decide.obstacle(remote.target, self._reader.get(SERVICES, namespace, name), slices)
        if found is not None:
            return found
        failure = await self._probe(remote)
        if failure is not None:
            # One endpoint that fails is not all of them: any good answer counts.
            others = await asyncio.gather(*(self._probe(remote) for _ in range(ATTEMPTS - 1)))
            failure = None if None in others else others[-1]
        return decide.PASSED if failure is None else decide.Verdict("False", "FailedDiscoveryCheck", failure)

    async def _probe(self, remote: Remote) -> str | None:
        try:
            await self.remotes.fetch(remote, remote.root, "application/json")
        except Unreachable as failure:
            return str(failure)
        return None

    async def _tell(self, service: Object, verdict: decide.Verdict) -> None:
        changed = decide.with_condition(service, verdict, to_time(self._clock.now()))
        if changed is None:
            return
        name = name_of(service)
        if verdict.status != "True":
            key = (name, verdict.reason)
            self.unavailable[key] = self.unavailable.get(key, 0) + 1
        await self._request("PUT", f"{_PATH}/{name}/status", changed)

    async def _read(self, remote: Remote) -> None:
        """What the server behind serves. What it does not tell stays as it was."""
        discovery = await self._discovery(remote)
        openapi, v2 = remote.openapi, remote.openapi_v2
        try:
            index, _ = await self.remotes.document(remote, "/openapi/v3")
            prefix = remote.root.strip("/")
            openapi = {
                path: str(entry.get("serverRelativeURL") or "")
                for path, entry in (index.get("paths") or {}).items()
                if path == prefix or path.startswith(prefix + "/")
            }
            document, _ = await self.remotes.document(remote, "/openapi/v2")
            v2 = merging.openapi_v2_parts(document, (remote.root + "/",))
        except (Unreachable, AttributeError) as failure:
            log.info("no OpenAPI from a server behind", service=remote.name, error=str(failure))
        self.remotes.note_documents(remote, discovery=discovery, openapi=openapi, openapi_v2=v2)

    async def _discovery(self, remote: Remote) -> dict[str, object] | None:
        key = (remote.group, remote.version)
        try:
            document, _ = await self.remotes.document(remote, "/apis", _AGGREGATED)
            found = merging.versions_of(document)
            if key in found:
                return found[key]
        except Unreachable as failure:
            log.debug("no aggregated discovery", service=remote.name, error=str(failure))
        try:
            document, _ = await self.remotes.document(remote, remote.root)
        except Unreachable as failure:
            log.info("no discovery from a server behind", service=remote.name, error=str(failure))
            return remote.discovery
        return merging.version_from_old(remote.version, document)

    # -- APIServices of custom resources ----------------------------------------------------------------------------

    async def _register(self, group: str) -> None:
        """A thousand definitions that come one by one must not each look at a thousand."""
        wanted = decide.wanted_for(self._definitions.get(group, {}).values())
        names = {*wanted, *self._managed.get(group, ())}
        existing = [o for n in sorted(names) if (o := self._reader.get(API_SERVICES, "", n)) is not None]
        create, update, delete = decide.changes(wanted, existing)
        for obj in create:
            await self._try("POST", _PATH, obj)
        for obj in update:
            await self._try("PUT", f"{_PATH}/{name_of(obj)}", obj)
        for obj in delete:
            body = {"preconditions": {"uid": obj["metadata"]["uid"]}}
            await self._try("DELETE", f"{_PATH}/{name_of(obj)}", body)

    async def _try(self, method: str, path: str, body: Object) -> None:
        """What somebody else was quicker with is as good as done: the change wakes us again."""
        try:
            await self._request(method, path, body)
        except StatusError as failure:
            if failure.reason not in ("AlreadyExists", "NotFound", "Conflict"):
                raise

    # -- metrics ----------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        name = "aggregator_unavailable_apiservice"
        yield f"# HELP {name} Whether an APIService is unavailable."
        yield f"# TYPE {name} gauge"
        for service in self._reader.list(API_SERVICES):
            conditions = (service.get("status") or {}).get("conditions") or ()
            bad = any(c.get("type") == "Available" and c.get("status") != "True" for c in conditions)
            yield f'{name}{{name="{name_of(service)}"}} {int(bad)}'
        yield f"# HELP {name}_total Times that an APIService became unavailable."
        yield f"# TYPE {name}_total counter"
        for (service_name, reason), number in self.unavailable.items():
            yield f'{name}_total{{name="{service_name}",reason="{reason}"}} {number}'
