"""The order of API versions: how clients and servers prefer one to another.

Specified by "Versions in CustomResourceDefinitions", "Version priority".
"""

from __future__ import annotations

import re
from typing import Any

_KUBE_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def version_rank(name: str) -> tuple[Any, ...]:
    """Sorts versions with the most stable and newest first: v2, v1, v1beta1, v1alpha1, then others by name."""
    match = _KUBE_VERSION.fullmatch(name)
    if match is None:
        return (3, 0, 0, name)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), name)
