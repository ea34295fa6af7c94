"""Records of the short way's reads (``apiserver.express``): the same lines as ``records`` makes, from pieces kept by target.

One client reads the same few things again and again. What its records have in common is encoded once, so that a record
costs the times, the audit id and a join.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    received: tuple[bytes, bytes] | None = None
    """Before and after the audit id."""
    complete: tuple[bytes, bytes] | None = None


Note = tuple["ShortRecords", Prepared, bytes, float, str | None]
"""Whose it is, what it is about, its audit id, when, and why it was allowed."""
SILENT = Prepared(NONE)
SHOWN = Prepared(REQUEST_RESPONSE)
"""The record needs the answer's body, or must come before it: the long way makes it."""


class ShortRecords:
    """Of all clients of one auditor.

    A request only leaves a note, which is made into lines when the log writes.
    """

    MAX_KNOWN = 4096

    def __init__(self, auditor: Auditor) -> None:
        self.auditor = auditor
        self._add = auditor.log.add
        self._known: dict[tuple[bytes, str], Prepared] = {}
        self._reasons: dict[str | None, bytes] = {None: b"}\n"}

    def prepare(self, request: Request, client: bytes, target: str) -> Prepared:
        """For a target as the client spells it; ``request`` is any of the client's."""
        key = (client, target)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self.MAX_KNOWN:
                self._known.clear()
            found = self._known[key] = self._make(request, client, target)
        return found

    def _make(self, request: Request, client: bytes, target: str) -> Prepared:
        path, _, query = target.partition("?")
        asked = Request("GET", path, query, request.headers)
        info = asked.info = route(asked)
        choice = self.auditor.policy.decide(request.user, info)
        if choice.level == NONE:
            return SILENT
        if choice.level == REQUEST_RESPONSE and COMPLETE not in choice.omit_stages:
            return SHOWN
        if self.auditor.strict and RECEIVED not in choice.omit_stages:
            return SHOWN  # it must be on the disk before the request is served
        about = place(asked, info) + client + reference(info)
        received = complete = None
        if RECEIVED not in choice.omit_stages:
            before, after = head(choice.level, RECEIVED)
            received = (before, after + about + _RECEIVED_AT)
        if COMPLETE not in choice.omit_stages:
            before, after = head(choice.level, COMPLETE)
            complete = (before, after + about + _OK + _RECEIVED_AT)
        return Prepared(choice.level, received, complete)

    def note(self, prepared: Prepared, audit_id: bytes, moment: float, reason: str | None) -> None:
        """A request that has been answered. ``reason`` is the authorizer's; None where there is no authorizer."""
        if prepared is SILENT:
            self.auditor.requests[NONE] += 1
        else:
            self._add((self, prepared, audit_id, moment, reason))

    def lines(self, notes: Sequence[Note]) -> bytes:
        """The events of some notes. A request was received and answered in one go: one moment stands for both."""
        auditor, reasons = self.auditor, self._reasons
        events: list[bytes] = []
        requests, append, join = auditor.requests, events.append, b"".join
        known, beginning = -1, b""
        for _, prepared, audit_id, moment, reason in notes:
            requests[prepared.level] += 1
            second = int(moment)
            if second != known:
                known, beginning = second, auditor.second(second)
            stamp = b'%b%06dZ"' % (beginning, int((moment - second) * 1e6))
            if prepared.received is not None:
                before, after = prepared.received
                append(join((before, audit_id, after, stamp, _STAGE_AT, stamp, b"}\n")))
            if prepared.complete is not None:
                before, after = prepared.complete
                end = reasons.get(reason) or self._annotations(reason)
                append(join((before, audit_id, after, stamp, _STAGE_AT, stamp, end)))
        auditor.events += len(events)
        return join(events)

    def _annotations(self, reason: str | None) -> bytes:
        if len(self._reasons) >= self.MAX_KNOWN:
            self._reasons.clear()
            self._reasons[None] = b"}\n"
        encoded = b',"annotations":' + orjson.dumps({DECISION: "allow", REASON: reason}) + b"}\n"
        self._reasons[reason] = encoded
        return encoded
