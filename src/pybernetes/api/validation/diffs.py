"""How errors show what changed in a part that may not."""

from __future__ import annotations

import difflib
from typing import Any

import orjson


def diff(old: Any, new: Any) -> str:
    """A unified diff of the two values as indented JSON, without file names."""
    texts = [orjson.dumps(v, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() for v in (old, new)]
    before, after = (text.splitlines(keepends=True) for text in texts)
    lines = list(difflib.unified_diff(before, after, n=3))[2:]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
