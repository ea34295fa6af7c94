"""Files of ``KEY='value'`` lines for ``fileKeyRef``: a subset of the shell's syntax. Specified by KEP-3721."""

from __future__ import annotations

import re

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)=(.*)")


def parse_env_file(text: str) -> dict[str, str]:
    """Single-quoted values are taken as they are and may span lines; others lose the blanks around them."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        match = _LINE.fullmatch(line)
        if line.lstrip().startswith("#") or match is None:
            continue
        name, value = match[1], match[2].strip()
        if value.startswith("'"):
            while value.count("'") < 2:
                more = next(lines, None)
                if more is None:
                    break
                value += "\n" + more
            value = value[1:].partition("'")[0]
        elif len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found[name] = value
    return found
