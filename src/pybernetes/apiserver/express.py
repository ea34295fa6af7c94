"""The short way of plain reads: GET of one object and LIST of JSON, answered inside the call that received the bytes.

Most requests of a cluster are the same few reads on connections that repeat their header block. For those the front asks
``Express`` first; where anything is out of the ordinary (an unknown path, a selector, a view, an audit record that shows the
answer, a decision that needs waiting) the answer is None and the request goes the long way, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..api.errors import StatusError
from ..api.resources import GVR, NAMESPACES
from ..hooks.authorization import Attributes, Authorizer, Decision, Verdict
from ..hooks.identity import ANONYMOUS, SYSTEM_MASTERS, UserInfo
from .audit.short import SHOWN, Prepared, ShortRecords
from .authn.impersonation import asks_to_impersonate
from .fairness.estimating import list_seats
from .fairness.levels import Flow
from .fairness.queueset import ONE, Work
from .negotiation import PLAIN, negotiate
from .registry import Resource
from .rendering import GZIP_THRESHOLD
from .request import Request, RequestInfo
from .requestmetrics import RequestMetrics
from .views import JsonView

if TYPE_CHECKING:
    from .server import ApiServer

LIFETIME = 10.0
"""Seconds that a proven identity is taken for granted; as long as upstream keeps a token's."""
KNOWN = 64
"""Targets of one client whose records are kept at hand."""
_HEAD = (
    b"HTTP/1.1 200 OK\r\nCache-Control: no-cache, private\r\nContent-Type: application/json\r\n"
    b"Audit-Id: %b\r\nDate: %b\r\n%bContent-Length: %d\r\n\r\n"
)

UNASKED, MASTER = Verdict(Decision.ALLOW), Verdict(Decision.ALLOW)


@dataclass(slots=True)
class Pass:
    """Who sends the requests with one header block, for a while."""

    user: UserInfo
    until: float
    revocations: int
    gzip: bool
    request: Request
    """One of them."""
    client: bytes
    """Its sender as audit records show it; empty where nothing is recorded."""
    known: dict[str, Prepared] = field(default_factory=dict)
    """Its records, by what it reads."""
    generation: int = -1
    counter: list[int] = field(default_factory=lambda: [0])
    """Of its requests, for metrics."""
    flows: dict[tuple[str, GVR, str], Flow] = field(default_factory=dict)
    """Where its requests belong, as of one generation of the priority levels."""


class Express:
    """Answers plain reads of one server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._hub = server.hub
        self._clock = server.clock
        self._table: dict[tuple[str, str, str], _Readable] = {}
        self._generation = -1
        self._enabled = False
        self._records: ShortRecords | None = None

    def admit(self, request: Request) -> Pass | None:
        """A pass for requests with this header block, after one of them went the long way and was authenticated."""
        headers = request.headers
        accept = headers.get("accept")
        try:
            if accept and negotiate(accept) is not PLAIN:
                return None
        except StatusError:
            return None  # what answered it takes media types of its own, as discovery does
        if asks_to_impersonate(headers) or "audit-id" in headers or "origin" in headers:
            return None
        if request.user is ANONYMOUS:
            return None  # may be allowed on some paths only
        if headers.get("user-agent", "").startswith(("curl", "Wget", "Mozilla/5.0")):
            return None  # these get indented bodies
        if request.warnings or any(k.startswith("authentication.") for k in request.audit.get("annotations") or ()):
            return None  # something is to be said of the credentials every time
        auditor = self._server.auditor
        if auditor is not None and (self._records is None or self._records.auditor is not auditor):
            self._records = ShortRecords(auditor)
        return Pass(
            request.user,
            self._clock.monotonic() + LIFETIME,
            self._server.revocations,
            "gzip" in headers.get("accept-encoding", ""),
            request,
            auditor.client(request) if auditor is not None else b"",
            counter=self._server.identities.known(request.user.name),
        )

    def _refresh(self) -> None:
        """The resources that can be read the short way, by path prefix."""
        server = self._server
        self._generation = server.registry.generation
        self._enabled = server.store.single_writer
        self._table = {
            (r.gvr.group, r.gvr.version, r.gvr.resource): _Readable(r, server.requests)
            for r in server.registry
            if r.dispatcher is not None and r.handler is None and _is_plain(r)
        }

    def answer(self, target: str, admitted: Pass) -> tuple[bytes, ...] | None:
        """The whole response in pieces, or None for the long way."""
        if self._generation != self._server.registry.generation:
            self._refresh()
        if admitted.revocations != self._server.revocations:
            admitted.until = 0.0
        began = self._clock.monotonic()
        if not self._enabled or admitted.until < began:
            return None
        path, mark, query = target.partition("?")
        if mark and query != "resourceVersion=0":
            return None
        found = self._find(path)
        if found is None:
            return None
        readable, namespace, name = found
        resource = readable.resource
        verdict = self._allowed("get" if name else "list", path, resource, namespace, name, admitted.user)
        if verdict is None:
            return None
        record = None
        if admitted.client:
            record = admitted.known.get(target) or self._prepare(target, admitted)
            if record is SHOWN:
                return None
        body = self._object(resource, namespace, name, admitted) if name else self._list(resource, namespace, admitted)
        if body is None:
            return None
        size = sum(map(len, body))
        marks = self._seat(
            "get" if name else "list", path, resource, namespace or self._own(resource, name), size, admitted
        )
        if marks is None:
            return None
        audit_id, now = self._server.next_audit_id(), self._clock.now()
        if record is not None:
            assert self._records is not None
            self._records.note(record, audit_id, now, None if verdict is UNASKED else verdict.reason)
        admitted.counter[0] += 1
        series = readable.get if name else readable.within if namespace else readable.all
        series.read(self._clock.monotonic() - began, size)
        return _HEAD % (audit_id, self._server.date(now), marks, size), *body

    @staticmethod
    def _own(resource: Resource, name: str) -> str:
        """A namespace is within itself."""
        return name if resource.gvr == NAMESPACES else ""

    def _seat(
        self, verb: str, path: str, resource: Resource, namespace: str, size: int, admitted: Pass
    ) -> bytes | None:
        """The headers of where such a request belongs; None where it has to wait for its turn."""
        fairness = self._server.fairness
        if fairness is None:
            return b""
        if admitted.generation != fairness.levels.generation:
            admitted.generation = fairness.levels.generation
            admitted.flows.clear()
        key = (verb, resource.gvr, namespace)
        flow = admitted.flows.get(key)
        if flow is None:
            gvr = resource.gvr
            info = RequestInfo(True, verb, path, gvr.group, gvr.version, gvr.resource, "", namespace)
            if len(admitted.flows) >= KNOWN:
                admitted.flows.clear()
            flow = admitted.flows[key] = fairness.flow(admitted.user, info)
        if verb == "get":
            return flow.head if fairness.pass_by(flow) else None
        seats = list_seats(1, size, flow.queues.max_seats)
        return flow.head if fairness.occupy(flow, ONE if seats == 1 else Work(seats)) else None

    def _prepare(self, target: str, admitted: Pass) -> Prepared:
        assert self._records is not None
        if len(admitted.known) >= KNOWN:
            admitted.known.clear()
        record = admitted.known[target] = self._records.prepare(admitted.request, admitted.client, target)
        return record

    def _find(self, path: str) -> tuple[_Readable, str, str] | None:
        """What a path names: a resource, a namespace or none, a name or none."""
        parts = path.split("/")
        if parts[1] == "api":
            group, version, rest = "", parts[2] if len(parts) > 2 else "", parts[3:]
        elif parts[1] == "apis" and len(parts) > 4:
            group, version, rest = parts[2], parts[3], parts[4:]
        else:
            return None
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        else:
            namespace = ""
        if len(rest) > 2 or not rest or not rest[-1]:
            return None
        readable = self._table.get((group, version, rest[0]))
        if readable is None or readable.resource.pending is not None:
            return None
        return readable, namespace, rest[1] if len(rest) == 2 else ""

    def _object(self, resource: Resource, namespace: str, name: str, admitted: Pass) -> tuple[bytes, ...] | None:
        entry = resource.cache.get(namespace, name)
        if entry is None:
            return None
        data = entry.data if resource.versioning is None else resource.versioning.bytes(entry)
        if admitted.gzip and len(data) >= GZIP_THRESHOLD:
            return None
        return data, b"\n"

    def _list(self, resource: Resource, namespace: str, admitted: Pass) -> tuple[bytes, ...] | None:
        cache = resource.cache
        if namespace and not cache.namespaced:
            return None
        kept = cache.joined.get((resource.json.key, namespace, "", "", ""))
        if kept is None or (admitted.gzip and kept[0] >= GZIP_THRESHOLD):
            return None  # the long way joins it, and keeps it
        self._hub.metrics.from_cache(cache.gvr)
        return tuple(resource.json.list(self._hub.revision, "", None, kept[1]))

    def _allowed(
        self, verb: str, path: str, resource: Resource, namespace: str, name: str, user: UserInfo
    ) -> Verdict | None:
        """Why it is allowed; None where it is not, or not at once."""
        authorizer = self._server.config.authorizer
        if authorizer is None:
            return UNASKED
        gvr = resource.gvr
        if gvr.resource == "namespaces" and not gvr.group:
            namespace = name
        if SYSTEM_MASTERS in user.groups:
            return MASTER
        attributes = Attributes(user, verb, gvr.group, gvr.version, gvr.resource, "", namespace, name, path)
        return at_once(authorizer, attributes)


class _Readable:
    """A resource that can be read the short way, and how its reads are counted."""

    __slots__ = ("all", "get", "resource", "within")

    def __init__(self, resource: Resource, requests: RequestMetrics) -> None:
        self.resource = resource
        gvr = resource.gvr
        self.get, self.within, self.all = (
            requests.series((verb, gvr.group, gvr.version, gvr.resource, "", scope))
            for verb, scope in (("GET", "resource"), ("LIST", "namespace"), ("LIST", "cluster"))
        )


def _is_plain(resource: Resource) -> bool:
    """Whether the bytes of an object are known at once, and are all there is to say."""
    if resource.versioning is not None:
        return not resource.versioning.asks and not resource.warning
    return type(resource.json) is JsonView


def at_once(authorizer: Authorizer, attributes: Attributes) -> Verdict | None:
    """The verdict where the authorizer allows it without waiting for anything."""
    question = authorizer.authorize(attributes)
    try:
        question.send(None)  # type: ignore[attr-defined]
    except StopIteration as answer:
        verdict: Verdict = answer.value
        return verdict if verdict.decision is Decision.ALLOW else None
    question.close()  # type: ignore[attr-defined]
    return None
