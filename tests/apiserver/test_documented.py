"""Every metric of the API server stands in ``docs/``."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


async def test_metrics_stand_in_the_docs(server):
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))
    named = set(re.findall(r"`([a-z_0-9]+\*?)`", text))
    families = tuple(n.rstrip("*") for n in named if n.endswith("*"))
    emitted = {line.split()[2] for line in server.metrics._lines() if line.startswith("# TYPE ")}
    assert len(emitted) > 10
    assert sorted(n for n in emitted if n not in named and not n.startswith(families)) == []
