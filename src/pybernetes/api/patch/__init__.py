"""The patches of the API: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch.

No function changes its arguments; results share what did not change with their inputs, and are for reading only.
Errors are ``StatusError`` with upstream's words. Server-side apply is in ``managedfields``.
"""

from __future__ import annotations

from .jsonpatch import MAX_OPERATIONS, json_patch
from .merge import merge_patch
from .strategic import strategic_merge_patch

__all__ = ["MAX_OPERATIONS", "json_patch", "merge_patch", "strategic_merge_patch"]
