"""Server-side apply: who owns which field (``metadata.managedFields``), merging and conflicts.

``ManagedFields.update`` runs on every write and only looks at what changed; ``ManagedFields.apply`` merges an applied
configuration. Specified by "Server-Side Apply" (https://kubernetes.io/docs/reference/using-api/server-side-apply/).
"""

from __future__ import annotations

from .entries import MAX_UPDATE_MANAGERS, manager_name
from .manager import ManagedFields, is_reset, keep_timestamps, without_managed_fields
from .overlay import overlay
from .typed import TypedError

__all__ = [
    "MAX_UPDATE_MANAGERS",
    "ManagedFields",
    "TypedError",
    "is_reset",
    "keep_timestamps",
    "manager_name",
    "overlay",
    "without_managed_fields",
]
