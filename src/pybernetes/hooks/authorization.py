"""Authorization: whether a user may do a thing. Specified by the "Authorization" page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from .identity import UserInfo


class Decision(Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked. ``resource`` is empty for non-resource requests, which have ``path`` only."""

    user: UserInfo
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    decision: Decision
    reason: str = ""
    """Shown after the forbidden message where it is a denial, and in the audit annotation."""
    error: str = ""
    """What kept an authorizer from deciding. Where nothing is allowed either, the request ends as an internal error."""


class Authorizer(Protocol):
    """One authorization mode; the first that has an opinion decides, none means no."""

    async def authorize(self, attributes: Attributes) -> Verdict: ...
