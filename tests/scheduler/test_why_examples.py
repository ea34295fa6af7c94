"""The examples of docs/why.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pybernetes.api.resources import NODES, PODS
from pybernetes.scheduler.explain import explain, told
from pybernetes.scheduler.gathering import world_of

TEXT = (Path(__file__).parents[2] / "docs" / "why.md").read_text()
OBJECTS = yaml.safe_load(re.search(r"```yaml\n(.*?)```", TEXT, re.S)[1])
EXAMPLES = re.findall(r"```console\n\$ p8s why (\S+)\n(.*?)```", TEXT, re.S)


@pytest.mark.parametrize(("name", "expected"), EXAMPLES)
def test_examples_of_the_documentation(name, expected):
    nodes = [o for o in OBJECTS if o["kind"] == "Node"]
    pods = [o for o in OBJECTS if o["kind"] == "Pod"]
    asked = next(p for p in pods if p["metadata"]["name"] == name)
    assert told(explain(world_of({NODES: nodes, PODS: pods}), asked)) == expected


def test_there_are_examples():
    assert len(EXAMPLES) == 3
