"""How errors show what changed in a part that may not."""

from __future__ import annotations

import difflib
import json
from typing import Any

from .go_values import go_value


def diff(old: Any, new: Any, struct: str = "", *, keep_order: bool = False) -> str:
    """A unified diff of the two values as indented JSON, without file names; of internal structs by Go's names."""
    values = [go_value(v, struct) for v in (old, new)] if struct else [old, new]
    texts = [json.dumps(v, indent=1, ensure_ascii=False, sort_keys=not struct and not keep_order) for v in values]
    before, after = (text.splitlines(keepends=True) for text in texts)
    lines = list(difflib.unified_diff(before, after, n=3))[2:]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
