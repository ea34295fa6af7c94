"""Warnings about finalizers without a domain, as for every custom resource. Pure."""

from __future__ import annotations

from ...api.errors import go_quote
from ...api.meta import Object
from ...api.validation.formats import qualified_name_problems

_STANDARD = frozenset(("orphan", "foregroundDeletion", "kubernetes"))
_AVOID = "to avoid accidental conflicts with other finalizer writers"


def finalizer_warnings(new: Object, old: Object | None) -> list[str]:
    added = set(new["metadata"].get("finalizers") or ())
    if not added:
        return []
    if old is not None:
        added -= set(old["metadata"].get("finalizers") or ())
    found = []
    for name in sorted(added):
        shown = f"metadata.finalizers: {go_quote(name)}: "
        found += [shown + problem for problem in qualified_name_problems(name)]
        if "/" not in name and name not in _STANDARD:
            path = " including a path (/)" if "." in name else ""
            found.append(f"{shown}prefer a domain-qualified finalizer name{path} {_AVOID}")
    return found
