"""Images present on nodes, for the ImageLocality score."""

from __future__ import annotations

from typing import Any


def normalized_image(name: str) -> str:
    """With the tag that is meant where none is given."""
    return f"{name}:latest" if name.rfind(":") <= name.rfind("/") else name


class ImageTable:
    """Image name to the rows that have it, with its size in bytes there."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, int]] = {}
        self._by_row: dict[int, dict[str, int]] = {}

    def put(self, row: int, images: Any) -> bool:
        """Takes in a node's ``status.images``; whether anything changed."""
        found = {name: int(i.get("sizeBytes") or 0) for i in images or () for name in i.get("names") or ()}
        known = self._by_row.get(row)
        if (known or {}) == found:
            return False
        for name in known or ():
            rows = self.rows[name]
            del rows[row]
            if not rows:
                del self.rows[name]
        for name, size in found.items():
            self.rows.setdefault(name, {})[row] = size
        if found:
            self._by_row[row] = found
        else:
            self._by_row.pop(row, None)
        return True
