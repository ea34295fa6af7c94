"""KubeletConfiguration: what is read, what ``/configz`` shows of it, and files that are wrong."""

from pathlib import Path

import pytest

from pybernetes.kubelet.configuration import ConfigurationError, document_of, load, values_of
from pybernetes.kubelet.settings import KubeletSettings


def test_what_configz_shows_is_what_a_file_would_say():
    settings = KubeletSettings(
        "n",
        eviction_soft={"memory.available": "1Gi"},
        eviction_soft_grace_period={"memory.available": 90.0},
        register_with_taints=({"key": "k", "effect": "NoSchedule"},),
        static_pod_path=Path("/manifests"),
        cluster_dns=("10.96.0.10",),
        image_maximum_gc_age=7200.0,
    )
    shown = document_of(settings)
    assert KubeletSettings("n", **values_of(shown)) == settings
    assert shown["clusterDNS"] == ["10.96.0.10"] and shown["imageGCHighThresholdPercent"] == 85
    assert (shown["syncFrequency"], shown["cpuCFSQuotaPeriod"], shown["imageMaximumGCAge"]) == (
        "1m0s",
        "100ms",
        "2h0m0s",
    )
    assert shown["crashLoopBackOff"] == {"maxContainerRestartPeriod": "5m0s"}
    assert shown["evictionSoftGracePeriod"] == {"memory.available": "1m30s"} and shown["containerLogMaxSize"] == "10Mi"
    assert "nodeName" not in shown and "rootDir" not in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maxPods", "many"),
        ("maxPods", True),
        ("seccompDefault", "yes"),
        ("syncFrequency", "soon"),
        ("syncFrequency", None),
        ("evictionHard", ["memory.available"]),
        ("evictionHard", {"memory.available": 5}),
        ("evictionSoftGracePeriod", {"memory.available": []}),
        ("clusterDNS", "10.96.0.10"),
        ("clusterDNS", [7]),
        ("registerWithTaints", ["k=v"]),
        ("containerLogMaxSize", "big"),
        ("staticPodPath", 7),
        ("clusterDomain", 7),
        ("crashLoopBackOff", {"maxContainerRestartPeriod": "long"}),
        ("crashLoopBackOff", 5),
        ("shutdownGracePeriodByPodPriority", [{"priority": "high"}]),
    ],
)
def test_values_of_the_wrong_kind_are_said_by_name(tmp_path, field, value):
    document = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", field: value}
    if value is None:
        assert values_of(document) == {}
        return
    with pytest.raises(ConfigurationError, match=field):
        values_of(document)


@pytest.mark.parametrize("text", ["", "[]", "kind: Pod", "{", "kind: [KubeletConfiguration]"])
def test_files_that_are_no_configuration(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError):
        load(file)
