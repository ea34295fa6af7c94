"""What the server itself puts into metadata: name, uid, times; and what a client may not bring along."""

from __future__ import annotations

import random
from typing import Any

from ..api.errors import bad_request
from ..api.meta import Object

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Upstream's: no vowels, no look-alikes, so that no generated name is a word."""
SUFFIX = 5
MAX_NAME = 63
_SYSTEM_FIELDS = ("creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def wipe_system_fields(metadata: dict[str, Any]) -> None:
    for field in _SYSTEM_FIELDS:
        metadata.pop(field, None)


def generate_name(base: str, rng: random.Random) -> str:
    return base[: MAX_NAME - SUFFIX] + "".join(rng.choices(ALPHABET, k=SUFFIX))


def new_uid(rng: random.Random) -> str:
    """A random (version 4) UUID."""
    digits = f"{rng.getrandbits(122):031x}"
    variant = "89ab"[int(digits[0], 16) & 3]
    return f"{digits[1:9]}-{digits[9:13]}-4{digits[13:16]}-{variant}{digits[16:19]}-{digits[19:31]}"


def ensure_namespace(metadata: dict[str, Any], namespace: str, namespaced: bool) -> None:
    """The object's namespace is the request's. Raises StatusError 400 where it says another."""
    given = metadata.get("namespace") or ""
    if not namespaced:
        metadata.pop("namespace", None)
    elif not given:
        metadata["namespace"] = namespace
    elif given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def keep_system_fields(new: Object, old: Object) -> None:
    """What an update may leave out, and what it cannot change."""
    metadata, before = new["metadata"], old["metadata"]
    if not metadata.get("uid") and "uid" in before:
        metadata["uid"] = before["uid"]
    if before.get("creationTimestamp"):
        metadata["creationTimestamp"] = before["creationTimestamp"]
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(field) is None:
            metadata.pop(field, None)
            if field in before:
                metadata[field] = before[field]


_DUPLICATES = (
    "; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your "
    "requests; duplicate UID(s) observed: "
)


def dedup_owner_references(metadata: dict[str, Any], after_admission: bool = False) -> str:
    """Drops repeated owner references; gives the warning for it, '' where there was none."""
    references = metadata.get("ownerReferences")
    if not references or len(references) < 2:
        return ""
    kept: list[Any] = []
    repeated: list[str] = []
    for reference in references:
        if reference in kept:
            repeated.append(str(reference.get("uid") or ""))
        else:
            kept.append(reference)
    if not repeated:
        return ""
    metadata["ownerReferences"] = kept
    where = " after mutating admission happens" if after_admission else ""
    return f".metadata.ownerReferences contains duplicate entries{where}{_DUPLICATES}{', '.join(repeated)}"
