"""Every metric of the API server stands in ``docs/``; ``UPDATE_DOCS=1`` writes the table anew."""

import os
import random
import re
from pathlib import Path

from pybernetes.apiserver.audit.options import AuditOptions
from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.request import Request
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import UserInfo
from pybernetes.storage.memory import MemoryStore

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "metrics.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
ROOT = UserInfo("root", groups=("system:masters",))
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"


async def families(server):
    """(name, type, text) of all metrics."""
    text = (await server.handle(Request("GET", "/metrics", user=ROOT))).whole.decode()
    texts = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    return sorted((name, kind, texts[name]) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


async def test_metrics_stand_in_the_docs(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    options = Options(audit=AuditOptions(policy_file=str(tmp_path / "policy.yaml"), log_path=str(tmp_path / "log")))
    clock = RealClock()
    emitted = await families(compose(MemoryStore(clock), clock, random.Random(7), options))
    assert len(emitted) > 100
    rows = "| metric | type | what |\n|---|---|---|\n" + "".join(f"| `{n}` | {k} | {t} |\n" for n, k, t in emitted)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(before + BEGIN + rows + END + after)
        return
    assert table.splitlines() == rows.splitlines()


async def test_metrics_of_a_server_by_itself_stand_in_the_docs(server):
    documented = set(re.findall(r"^\| `([a-z_0-9]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert {name for name, _, _ in await families(server)} <= documented
