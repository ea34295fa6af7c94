"""Audit events of requests: what is noted when, and how it is written. Specified by ``audit.k8s.io/v1`` Event.

A line is put together from encoded pieces, because at the Metadata level every GET writes one: what does not change between the
requests of one client (its user, address and agent) is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from ...concurrency import Clock, logger
from ...hooks.identity import UserInfo
from ...wire.protobuf import decode, is_protobuf
from ..authz.messages import Undecided
from ..endings import goes_on, when_ended
from ..metrics import counter_lines
from ..request import Request, RequestInfo, Response
from ..yamls import load
from .log import Entry
from .policy import COMPLETE, LEVELS, METADATA, NONE, PANIC, RECEIVED, REQUEST_RESPONSE, STAGES, STARTED, Choice, Policy

log = logger("apiserver.audit")

DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
PATCH_PREFIX = "patch.webhook.admission.k8s.io/"
MAX_USER_AGENT = 1024
NOBODY = UserInfo("")
TRUNCATED = "audit.k8s.io/truncated"
SLOW = 0.5
"""From so many seconds on, an event says how long its request took."""


_HEADS = {
    level: b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"%b","auditID":' % level.encode()
    for level in LEVELS
}
_STAGES = {stage: b',"stage":"%b"' % stage.encode() for stage in STAGES}


class Log(Protocol):
    @property
    def dropped(self) -> int: ...

    def add(self, entry: Entry) -> None: ...

    async def run(self) -> None: ...

    def flush(self) -> None: ...

    def lost(self) -> dict[str, int]:
        """Events that nobody will read, by who should have taken them."""
        ...


def user_fields(user: UserInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if user.name:
        found["username"] = user.name
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {k: list(v) for k, v in user.extra.items()}
    return found


class Record:
    """The audit side of one request; ``request.audit["record"]``."""

    __slots__ = ("choice", "client", "impersonated", "received", "request", "status_message")

    def __init__(self, request: Request, choice: Choice, received: float, client: bytes) -> None:
        self.request, self.choice, self.received = request, choice, received
        self.client = client
        self.impersonated: bytes | None = None
        self.status_message = ""


def _uri(request: Request) -> str:
    path = request.raw_path  # two spellings of a path are two things to whoever reads the log
    if not path:
        path = request.path
        if not path.isascii() or " " in path or "%" in path or '"' in path:
            path = quote(path, safe="/:@!$&'()*+,;=~-._")
    return f"{path}?{request.raw_query}" if request.raw_query else path


def _may_run_long(info: RequestInfo | None) -> bool:
    """Requests whose answer may take for ever have two stages, also where it is a refusal."""
    return info is not None and (
        info.verb in ("watch", "proxy") or info.subresource in ("attach", "exec", "proxy", "log", "portforward")
    )


def _target(info: RequestInfo) -> dict[str, Any] | None:
    if not info.is_resource:
        return None
    fields = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": info.name,
        "apiGroup": info.group,
        "apiVersion": info.version,
        "subresource": info.subresource,
    }
    return {k: v for k, v in fields.items() if v}


def head(level: str, stage: str) -> tuple[bytes, bytes]:
    """How an event begins, before and after its audit id, for ids that need no escapes."""
    return _HEADS[level] + b'"', b'"' + _STAGES[stage]


def place(request: Request, info: RequestInfo) -> bytes:
    """URI and verb."""
    return b',"requestURI":' + orjson.dumps(_uri(request)) + b',"verb":' + orjson.dumps(info.verb) + b","


def reference(info: RequestInfo) -> bytes:
    """What a request is about."""
    target = _target(info)
    return b',"objectRef":' + orjson.dumps(target) if target else b""


def event_lines(events: int, rejected: int) -> Iterator[str]:
    """Also of a server that records nothing: monitoring asks for them."""
    yield from counter_lines("apiserver_audit_event_total", "Audit events handed to the log.", [({}, events)])
    text = "Requests that were refused because they could not be recorded."
    yield from counter_lines("apiserver_audit_requests_rejected_total", text, [({}, rejected)])


class Auditor:
    """Records requests by a policy into a log."""

    MAX_CLIENTS = 4096
    MAX_PLACES = 4096

    def __init__(self, policy: Policy, log: Log, clock: Clock, *, max_event: int = 0) -> None:
        """``max_event`` is how many bytes an event may have; 0 is any number."""
        self.policy, self.log, self.clock = policy, log, clock
        self._max_event = max_event
        self.strict = bool(getattr(log, "strict", False))
        """A request that cannot be recorded when it comes is not served."""
        self.too_large = 0
        self.events = self.rejected = 0
        """Handed to the log."""
        self.requests = dict.fromkeys(LEVELS, 0)
        """By the level at which the policy wants them."""
        # The user beside its id: an id means nothing once its object is gone.
        self._clients: dict[int, tuple[UserInfo, dict[tuple[str, str, str], bytes]]] = {}
        self._places: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}
        self._second = (0, b"")

    async def run(self) -> None:
        """Writes the log until cancelled."""
        await self.log.run()

    # -- the stages ----------------------------------------------------------------------------------------------------

    def begin(self, request: Request, received: float) -> None:
        """When the sender is known, before it is authorized. Raises StatusError 500 where it has to be recorded and cannot."""
        info = request.info
        if info is None:
            return
        choice = self.policy.decide(request.user, info)
        self.requests[choice.level] += 1
        if choice.level == NONE:
            return
        record = Record(request, choice, received, self.client(request))
        request.audit["record"] = record
        if RECEIVED not in choice.omit_stages:
            lost = self.log.dropped if self.strict else 0
            self._emit(record, RECEIVED, None)
            if self.strict and self.log.dropped > lost:
                self.rejected += 1
                raise Undecided(_uri(request), "failed to store audit event")

    def finish(self, request: Request, response: Response) -> None:
        """When the answer is there. A stream is recorded now and when it ends."""
        record: Record | None = request.audit.get("record")
        if record is None:
            return
        streams = goes_on(response)
        omitted = record.choice.omit_stages
        if STARTED not in omitted and (streams or _may_run_long(request.info)):
            self._emit(record, STARTED, response)
        if COMPLETE in omitted:
            return
        if streams:
            when_ended(response, lambda _: self._emit(record, COMPLETE, response))
        else:
            self._emit(record, COMPLETE, response)

    def failed(self, request: Request, response: Response, received: float) -> None:
        """A request whose sender could not be authenticated: it is nobody's, not the anonymous user's."""
        request.user = NOBODY
        self.begin(request, received)
        record: Record | None = request.audit.get("record")
        if record is not None and STARTED not in record.choice.omit_stages:
            self._emit(record, STARTED, response)

    @staticmethod
    def impersonated(request: Request, user: UserInfo, constraint: str) -> None:
        """From now on the request is another user's."""
        record: Record | None = request.audit.get("record")
        if record is None:
            return
        record.impersonated = orjson.dumps(user_fields(user))
        if constraint:
            metadata = orjson.dumps({"impersonationConstraint": constraint})
            record.impersonated += b',"authenticationMetadata":' + metadata

    def panicked(self, request: Request) -> None:
        """The server broke on the request."""
        record: Record | None = request.audit.get("record")
        if record is not None and PANIC not in record.choice.omit_stages:
            record.status_message = "APIServer panic'd"
            self._emit(record, PANIC, Response(500))

    # -- writing -------------------------------------------------------------------------------------------------------

    def client(self, request: Request) -> bytes:
        """The user, address and agent of the sender, encoded."""
        agent, address = request.headers.get("user-agent", ""), request.credentials.remote_address
        forwarded = request.headers.get("x-forwarded-for", "")
        user = request.user
        kept = self._clients.get(id(user))
        if kept is None or kept[0] is not user:
            if len(self._clients) >= self.MAX_CLIENTS:
                self._clients.clear()
            kept = self._clients[id(user)] = (user, {})
        known = kept[1].get((agent, address, forwarded))
        if known is not None:
            return known
        shown = agent if len(agent) <= MAX_USER_AGENT else agent[:MAX_USER_AGENT] + "...TRUNCATED"
        addresses = [a.strip() for a in forwarded.split(",") if a.strip()]
        if address and address not in addresses:
            addresses.append(address)
        fields: dict[str, Any] = {"user": user_fields(user), "sourceIPs": addresses}
        if shown:
            fields["userAgent"] = shown
        encoded = orjson.dumps(fields)[1:-1]
        if len(kept[1]) >= self.MAX_CLIENTS:
            kept[1].clear()
        kept[1][agent, address, forwarded] = encoded
        return encoded

    def second(self, second: int) -> bytes:
        """How times within a second begin."""
        if self._second[0] != second:
            text = datetime.fromtimestamp(second, UTC).strftime('"%Y-%m-%dT%H:%M:%S.')
            self._second = (second, text.encode())
        return self._second[1]

    def time(self, moment: float) -> bytes:
        second = int(moment)
        return b'%b%06dZ"' % (self.second(second), int((moment - second) * 1e6))

    def _place(self, request: Request, info: RequestInfo) -> tuple[bytes, bytes]:
        """(URI and verb, reference to the object) of a request, encoded; clients ask the same again and again."""
        key = (request.raw_path or request.path, request.raw_query, info.verb)
        known = self._places.get(key)
        if known is None:
            if len(self._places) >= self.MAX_PLACES:
                self._places.clear()
            known = self._places[key] = (place(request, info), reference(info))
        return known

    def add(self, line: bytes) -> None:
        """One event, encoded."""
        self.events += 1
        self.log.add(line)

    def metrics(self) -> Iterator[str]:
        """Under upstream's names."""
        yield from event_lines(self.events, self.rejected)
        counts = self.log.lost()
        counts["truncate"] = counts.get("truncate", 0) + self.too_large
        lost = [({"plugin": plugin}, number) for plugin, number in counts.items() if number]
        yield from counter_lines("apiserver_audit_error_total", "Audit events that were lost.", lost)
        levels = [({"level": level}, number) for level, number in self.requests.items() if number]
        yield from counter_lines("apiserver_audit_level_total", "Requests by the policy's level for them.", levels)

    def _emit(self, record: Record, stage: str, response: Response | None) -> None:
        line = self._line(record, stage, response)
        if self._max_event and len(line) > self._max_event:
            if record.choice.level != METADATA:
                line = self._line(record, stage, response, bare=True)
            if len(line) > self._max_event:
                self.too_large += 1
                log.error("audit event is too large even after truncating", audit_id=record.request.audit.get("id", ""))
                return
        self.add(line)

    def _line(self, record: Record, stage: str, response: Response | None, *, bare: bool = False) -> bytes:
        """An event; ``bare`` is without objects, and says so."""
        request, level = record.request, record.choice.level
        now = self.clock.now()
        info = request.info
        assert info is not None
        where, about = self._place(request, info)
        audit_id = request.audit.get("id", "")
        parts = [_HEADS[level], orjson.dumps(audit_id), _STAGES[stage], where, record.client]
        if record.impersonated is not None:
            parts += (b',"impersonatedUser":', record.impersonated)
        if level == METADATA:
            if stage != RECEIVED and "sent" in request.audit:
                about = _named(info, request.audit["sent"]) or about
            parts.append(about)
            if response is not None:
                parts += (b',"responseStatus":', _status(record, response, None))
        else:
            self._objects(parts, record, stage, response, about, bare)
        parts += (b',"requestReceivedTimestamp":', self.time(record.received))
        parts += (b',"stageTimestamp":', self.time(now))
        annotations = request.audit.get("annotations")
        if now - record.received > SLOW and stage == COMPLETE:
            annotations = {**(annotations or {}), "apiserver.latency.k8s.io/total": f"{now - record.received:.6f}s"}
        if bare:
            annotations = {**(annotations or {}), TRUNCATED: "true"}
        if annotations:
            if level == METADATA and len(annotations) > 2:
                # A patch shows the object, which this level does not.
                annotations = {k: v for k, v in annotations.items() if not k.startswith(PATCH_PREFIX)}
            parts += (b',"annotations":', orjson.dumps(annotations))
        parts.append(b"}\n")
        return b"".join(parts)

    @staticmethod
    def _objects(
        parts: list[bytes], record: Record, stage: str, response: Response | None, about: bytes, bare: bool
    ) -> None:
        """What was acted on, what came in, what went out, as far as level and stage want it."""
        request, without = record.request, record.choice.omit_managed_fields
        sent = returned = None
        if stage != RECEIVED and request.body:
            sent = _decoded(request.body, request.headers.get("content-type", ""), without)
            target = _target(request.info) if request.info is not None else None
            if isinstance(sent, dict) and target is not None and isinstance(sent.get("metadata"), dict):
                about = b',"objectRef":' + orjson.dumps(_completed(target, sent["metadata"]))
        parts.append(about)
        if response is None:
            return
        streaming = response.stream is not None or response.upgrade is not None
        if record.choice.level == REQUEST_RESPONSE and stage == COMPLETE and not streaming and response.whole:
            returned = _decoded(response.whole, response.content_type, without)
        parts += (b',"responseStatus":', _status(record, response, returned))
        if bare:
            return
        if sent is not None:
            parts += (b',"requestObject":', orjson.dumps(sent))
        if returned is not None:
            parts += (b',"responseObject":', orjson.dumps(returned))


def _named(info: RequestInfo, meta: Mapping[str, Any]) -> bytes:
    """The reference with what the sent object says of itself, as far as the path does not."""
    target = _target(info)
    return b',"objectRef":' + orjson.dumps(_completed(target, meta)) if target is not None and meta else b""


def _completed(target: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(target)
    for field in ("namespace", "name", "uid", "resourceVersion"):
        if not found.get(field) and meta.get(field):
            found[field] = meta[field]
    return found


def _status(record: Record, response: Response, returned: Any) -> bytes:
    whole = response.body
    if response.status < 400 and not record.status_message and not _is_status(whole):
        return b'{"metadata":{},"code":%d}' % response.status
    fields: dict[str, Any] = {"metadata": {}}
    body = returned if isinstance(returned, dict) else _decoded(response.whole, response.content_type, False)
    if isinstance(body, dict) and body.get("kind") == "Status":
        fields.update({k: body[k] for k in ("status", "message", "reason", "details") if k in body})
    if record.status_message:
        fields["message"] = record.status_message
    fields["code"] = response.status
    return orjson.dumps(fields)


def _is_status(body: object) -> bool:
    """What a delete may answer."""
    return type(body) is bytes and body.startswith(b'{"kind":"Status"')


def _decoded(body: bytes, content_type: str, without_managed_fields: bool) -> Any:
    """A body as JSON, whatever form it came in; what cannot be read is told of, not shown."""
    try:
        value = _value(body, content_type)
    except ValueError:
        return {"kind": "Unknown", "contentLength": len(body)}
    if without_managed_fields and isinstance(value, dict):
        for item in (value, *(value.get("items") or ())):
            meta = item.get("metadata") if isinstance(item, dict) else None
            if isinstance(meta, dict):
                meta.pop("managedFields", None)
    return value


def _value(body: bytes, content_type: str) -> Any:
    """Raises ValueError."""
    if is_protobuf(body):
        gvk, value = decode(body)
        return {"kind": gvk.kind, "apiVersion": gvk.api_version, **value}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if "yaml" not in content_type:
            raise
    return load(body)[0]
