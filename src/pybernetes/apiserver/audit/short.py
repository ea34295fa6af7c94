"""Records of the short way's reads (``apiserver.express``): the same lines as ``records`` makes, from pieces kept by target.

One client reads the same few things again and again. What its records have in common is encoded once, so that a record
costs the times, the audit id and a join.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from ..request import Request
from ..routing import route
from .policy import COMPLETE, NONE, RECEIVED, REQUEST_RESPONSE
from .records import DECISION, REASON, Auditor, head, place, reference

_OK = b',"responseStatus":{"metadata":{},"code":200}'
_RECEIVED_AT, _STAGE_AT = b',"requestReceivedTimestamp":', b',"stageTimestamp":'


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the records of one client's reads of one target have in common; nothing for a stage that is not recorded."""

    level: str
    received: tuple[bytes, bytes] | None
    """Before and after the audit id."""
    complete: tuple[bytes, bytes] | None


SILENT = Prepared(NONE, None, None)


class ShortRecords:
    """Of all clients of one auditor."""

    MAX_KNOWN = 4096

    def __init__(self, auditor: Auditor) -> None:
        self.auditor = auditor
        self._known: dict[tuple[bytes, str], Prepared | None] = {}
        self._reasons: dict[str, bytes] = {}

    def prepare(self, request: Request, client: bytes, target: str) -> Prepared | None:
        """For a target as the client spells it; ``request`` is any of the client's. None: records need the answer's body."""
        key = (client, target)
        try:
            return self._known[key]
        except KeyError:
            pass
        if len(self._known) >= self.MAX_KNOWN:
            self._known.clear()
        found = self._known[key] = self._make(request, client, target)
        return found

    def _make(self, request: Request, client: bytes, target: str) -> Prepared | None:
        path, _, query = target.partition("?")
        asked = Request("GET", path, query, request.headers)
        info = asked.info = route(asked)
        choice = self.auditor.policy.decide(request.user, info)
        if choice.level == NONE:
            return SILENT
        if choice.level == REQUEST_RESPONSE and COMPLETE not in choice.omit_stages:
            return None
        about = place(asked, info) + client + reference(info)
        received = complete = None
        if RECEIVED not in choice.omit_stages:
            before, after = head(choice.level, RECEIVED)
            received = (before, after + about + _RECEIVED_AT)
        if COMPLETE not in choice.omit_stages:
            before, after = head(choice.level, COMPLETE)
            complete = (before, after + about + _OK + _RECEIVED_AT)
        return Prepared(choice.level, received, complete)

    def write(self, prepared: Prepared, audit_id: bytes, received: float, reason: str | None) -> None:
        """``reason`` is the authorizer's; None where there is no authorizer."""
        auditor = self.auditor
        auditor.requests[prepared.level] += 1
        if prepared.level == NONE:
            return
        began = auditor.time(received)
        if prepared.received is not None:
            before, after = prepared.received
            auditor.add(b"".join((before, audit_id, after, began, _STAGE_AT, began, b"}\n")))
        if prepared.complete is not None:
            before, after = prepared.complete
            end = b"}\n" if reason is None else self._reasons.get(reason) or self._annotations(reason)
            ended = auditor.time(auditor.clock.now())
            auditor.add(b"".join((before, audit_id, after, began, _STAGE_AT, ended, end)))

    def _annotations(self, reason: str) -> bytes:
        if len(self._reasons) >= self.MAX_KNOWN:
            self._reasons.clear()
        encoded = b',"annotations":' + orjson.dumps({DECISION: "allow", REASON: reason}) + b"}\n"
        self._reasons[reason] = encoded
        return encoded
