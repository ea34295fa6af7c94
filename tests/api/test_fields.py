"""Field selectors."""

from __future__ import annotations

import pytest

from pybernetes.api.fields import check_field, field_value, supported_fields
from pybernetes.api.resources import CONFIG_MAPS, EVENTS, JOBS, NODES, PODS
from pybernetes.api.selectors import SelectorError


def test_values() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": {"podIPs": [{"ip": "1.2.3.4"}]}}
    assert field_value(PODS, pod, "spec.nodeName") == "n"
    assert field_value(PODS, pod, "spec.hostNetwork") == "false"
    assert field_value(PODS, pod, "status.podIP") == "1.2.3.4"
    assert field_value(NODES, {"spec": {"unschedulable": True}}, "spec.unschedulable") == "true"
    assert field_value(EVENTS, {"involvedObject": {"kind": "Pod"}}, "involvedObject.kind") == "Pod"
    assert field_value(JOBS, {}, "status.successful") == "0"


@pytest.mark.parametrize(
    ("gvr", "message"),
    [
        (PODS, "field label not supported: x"),
        (JOBS, 'field label "x" not supported for Job'),
        (CONFIG_MAPS, '"x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
    ],
)
def test_unsupported(gvr: object, message: str) -> None:
    with pytest.raises(SelectorError, match="^" + message.replace("(", r"\(") + "$"):
        check_field(gvr, "x")  # type: ignore[arg-type]
    assert "metadata.name" in supported_fields(gvr)  # type: ignore[arg-type]
