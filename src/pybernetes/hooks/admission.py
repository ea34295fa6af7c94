"""Admission: plugins that change or refuse a write before it is stored. Specified by "Admission Control in Kubernetes".

The built-in plugins implement this contract; a package adds its own by an entry point in the group
``pybernetes.admission`` that names a factory ``(AdmissionContext) -> AdmissionPlugin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..api.meta import Object
from ..api.resources import GVK, GVR
from .authorization import Authorizer
from .identity import UserInfo
from .reading import ObjectReader

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(slots=True)
class AdmissionAttributes:
    """One write. Mutating plugins may change ``object`` in place; nobody changes ``old_object``."""

    operation: str
    gvr: GVR
    gvk: GVK
    subresource: str
    namespace: str
    name: str
    object: Object | None
    old_object: Object | None
    user: UserInfo
    options: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    audit_annotations: dict[str, str] = field(default_factory=dict)
    rollbacks: list[Any] = field(default_factory=list)
    """Zero-argument coroutine functions, called where a later step refuses the write (quota gives back its charge)."""
    remembered: dict[str, Any] = field(default_factory=dict)
    """What plugins keep, by their names, where they are called more than once for one write."""
    verb: str = ""
    """Of the request (``update``, ``patch``), where it is one for an object."""
    waited: float = 0.0
    """Seconds that others took to answer, where plugins asked them."""


class Requester(Protocol):
    """Calls the API server from inside, as itself: ``await request("POST", "/api/v1/...", body)`` gives the object.

    Raises StatusError.
    """

    async def __call__(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> Object: ...


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """What plugins may use."""

    reader: ObjectReader
    request: Requester
    authorizer: Authorizer
    clock: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


class AdmissionPlugin(Protocol):
    """``admit`` may change the object, ``validate`` may only refuse; both raise StatusError to refuse."""

    name: str

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        """Whether this plugin looks at such writes at all (must be cheap: the answer is cached)."""
        ...

    async def admit(self, attributes: AdmissionAttributes) -> None: ...

    async def validate(self, attributes: AdmissionAttributes) -> None: ...
