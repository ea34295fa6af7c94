"""Figures out of cgroup files of both versions, and the three views of them."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pybernetes.concurrency import VirtualClock
from pybernetes.kubelet.configuration import OWN, field_name
from pybernetes.kubelet.meters import FAMILIES, Meters
from pybernetes.kubelet.settings import KubeletSettings
from pybernetes.kubelet.stats import figures
from pybernetes.kubelet.stats.cadvisor import cadvisor_metrics
from pybernetes.kubelet.stats.cgroup_reader import CgroupReader
from pybernetes.kubelet.stats.disks import DirectoryUsage, directory_usage, file_system
from pybernetes.kubelet.stats.exposition import Exposition, labels
from pybernetes.kubelet.stats.figures import Cpu, DeviceIo, Figures, Interface, Memory
from pybernetes.kubelet.stats.own_metrics import Own, own_metrics
from pybernetes.kubelet.stats.resource import resource_metrics
from pybernetes.kubelet.stats.snapshot import (
    CgroupSample,
    ContainerSample,
    FileSystem,
    NodeSample,
    PodSample,
    VolumeSample,
)
from pybernetes.kubelet.stats.summary import summary

V1 = {
    "cpuacct/cpuacct.usage": "123456789\n",
    "cpuacct/cpuacct.stat": "user 10\nsystem 2\n",
    "cpu/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 3000\n",
    "cpu/cpu.cfs_quota_us": "50000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "cpu/cpu.shares": "512\n",
    "memory/memory.stat": "cache 1\ntotal_cache 4000\ntotal_rss 5000\ntotal_inactive_file 3000\ntotal_pgfault 7\n",
    "memory/memory.usage_in_bytes": "10000\n",
    "memory/memory.limit_in_bytes": "20000\n",
    "memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "pids/pids.current": "4\n",
    "pids/pids.max": "max\n",
    "pids/cgroup.procs": "100\n101\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 200\n8:0 Sync 1\nTotal 300\n",
}
V2 = {
    "cpu.stat": "usage_usec 123\nuser_usec 100\nsystem_usec 23\nnr_periods 5\nnr_throttled 2\nthrottled_usec 3\n",
    "cpu.max": "50000 100000\n",
    "cpu.weight": "20\n",
    "memory.current": "10000\n",
    "memory.stat": "anon 5000\nfile 4000\ninactive_file 3000\npgfault 7\n",
    "memory.max": "20000\n",
    "memory.swap.max": "max\n",
    "memory.events": "low 0\nmax 4\noom_kill 3\n",
    "pids.current": "4\n",
    "io.stat": "8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=0 dios=0\n",
    "cgroup.procs": "100\n101\n",
}


def write(root: Path, files: dict[str, str], path: str, *, version: int) -> CgroupReader:
    for name, text in files.items():
        controller, _, file = name.rpartition("/")
        directory = root / controller / path if version == 1 else root / path
        directory.mkdir(parents=True, exist_ok=True)
        (directory / file).write_text(text)
    return CgroupReader(root, version)


@pytest.mark.parametrize(("version", "files"), [(1, V1), (2, V2)])
def test_a_cgroup(tmp_path, version, files):
    reader = write(tmp_path, files, "kubepods/podx", version=version)
    found = reader.read("/kubepods/podx")
    assert found is not None
    memory, cpu = found.memory, found.cpu
    assert (memory.usage, memory.working_set, memory.rss, memory.cache, memory.limit) == (
        10000,
        7000,
        5000,
        4000,
        20000,
    )
    assert (memory.oom_kills, memory.page_faults, memory.swap_limit) == (3, 7, 0)
    assert (cpu.periods, cpu.throttled_periods, cpu.throttled, cpu.quota, cpu.period) == (5, 2, 3000, 50000, 100000)
    assert cpu.usage == (123456789 if version == 1 else 123000)
    assert found.io[0].device == "8:0" and (found.io[0].read_bytes, found.io[0].written_bytes) == (100, 200)
    assert (found.threads, found.threads_max, found.processes) == (4, 0, 2)
    assert reader.first_process("/kubepods/podx") == 100
    brief = reader.read("/kubepods/podx", brief=True)
    assert brief is not None and brief.memory.working_set == 7000 and brief.cpu.usage == cpu.usage
    assert reader.read("/kubepods/gone") is None
    assert reader.first_process("/gone") == 0


def test_shares_survive_their_conversion_to_a_weight():
    assert figures.from_v2({"cpu.weight": "1"}).cpu.shares == 2
    assert figures.from_v2({"cpu.weight": "10000"}).cpu.shares == 262144


def test_interfaces():
    text = (
        "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0:100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\n"
        "veth12: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
    )
    assert figures.interfaces(text) == (Interface("eth0", 100, 2, 3, 4, 200, 5, 6, 7),)


def test_directories(tmp_path):
    (tmp_path / "a").write_bytes(bytes(10_000))
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to("/")
    used, inodes = directory_usage(tmp_path)
    assert inodes == 4
    assert used >= 10_000
    clock = VirtualClock()
    usage = DirectoryUsage(clock)
    first = usage.read(tmp_path)
    (tmp_path / "c").write_bytes(bytes(100_000))
    assert usage.read(tmp_path) == first
    usage.forget_others(set())
    assert usage.read(tmp_path).used > first.used
    assert file_system(Path("/nowhere"), 0.0).capacity == 0


def sample(path: str, usage: int = 1_500_000_000) -> CgroupSample:
    memory = Memory(usage=1000, working_set=800, rss=500, limit=2000, page_faults=9)
    made = Figures(Cpu(usage=usage, quota=10, periods=3), memory, (DeviceIo("8:0", 1, 2, 3, 4),), 5, 0, 2)
    return CgroupSample(path, 1000.5, made, 250)


def node() -> NodeSample:
    pod = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": {}}
    files = FileSystem(10, 100, 5, 50, 40, 2, 1000.0)
    found = PodSample(
        pod,
        900.0,
        sample("/kubepods/podu1"),
        sample("/kubepods/podu1/s1"),
        "s1",
        "pause",
        (Interface("eth0", 11, 1, 0, 0, 22, 1, 0, 0),),
        containers=[ContainerSample("app", "c1", 'im"g', 950.0, sample("/kubepods/podu1/c1"), files, files)],
        volumes=[VolumeSample("data", files, "claim"), VolumeSample("tmp", files)],
    )
    return NodeSample(
        "node-1",
        1000.5,
        100.0,
        sample("/"),
        4000,
        2,
        network=(Interface("eth0", 1), Interface("eth1", 2)),
        default_interface="eth1",
        root=files,
        system={"kubelet": sample("kubelet")},
        classes=[sample("/kubepods")],
        pods=[found],
        devices={"8:0": "/dev/sda"},
    )


def test_summary():
    found = summary(node())
    assert found["node"]["nodeName"] == "node-1"
    assert found["node"]["memory"]["availableBytes"] == 3200
    assert found["node"]["network"]["name"] == "eth1"
    (pod,) = found["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert pod["network"]["rxBytes"] == 11
    (container,) = pod["containers"]
    assert container["cpu"] == {
        "time": "1970-01-01T00:16:40Z",
        "usageNanoCores": 250,
        "usageCoreNanoSeconds": 1_500_000_000,
    }
    assert container["memory"]["availableBytes"] == 1200
    assert pod["volume"][0]["pvcRef"] == {"name": "claim", "namespace": "default"}
    # The container's layer, its logs and the volume on disk; the claim has a disk of its own.
    assert pod["ephemeral-storage"]["usedBytes"] == 15
    brief = summary(node(), only_cpu_and_memory=True)
    assert set(brief["pods"][0]) == {"podRef", "startTime", "containers", "cpu", "memory"}
    assert "fs" not in brief["node"]


def parsed(text: bytes) -> dict[str, list]:
    return {
        s.name: [x for f in text_string_to_metric_families(text.decode()) for x in f.samples if x.name == s.name]
        for f in text_string_to_metric_families(text.decode())
        for s in f.samples
    }


def test_resource_metrics():
    found = parsed(resource_metrics(node()))
    (container,) = found["container_cpu_usage_seconds_total"]
    assert container.labels == {"container": "app", "namespace": "default", "pod": "web"}
    assert (container.value, container.timestamp) == (1.5, 1000.5)
    assert found["node_memory_working_set_bytes"][0].value == 800
    assert found["pod_memory_working_set_bytes"][0].labels == {"namespace": "default", "pod": "web"}
    assert found["container_start_time_seconds"][0].value == 950
    assert found["resource_scrape_error"][0].value == 0


def test_cadvisor_metrics():
    found = parsed(cadvisor_metrics(node(), {"kernelVersion": "6"}))
    rows = found["container_memory_working_set_bytes"]
    assert [(r.labels["id"], r.labels["container"], r.labels["image"]) for r in rows] == [
        ("/", "", ""),
        ("/kubepods", "", ""),
        ("/kubepods/podu1", "", ""),
        ("/kubepods/podu1/s1", "", "pause"),
        ("/kubepods/podu1/c1", "app", 'im"g'),
    ]
    cpu = found["container_cpu_usage_seconds_total"][-1]
    assert cpu.labels == {
        "container": "app",
        "cpu": "total",
        "id": "/kubepods/podu1/c1",
        "image": 'im"g',
        "name": "c1",
        "namespace": "default",
        "pod": "web",
    }
    network = [s for s in found["container_network_receive_bytes_total"] if s.labels["pod"]]
    assert [(s.labels["interface"], s.labels["pod"], s.value) for s in network] == [("eth0", "web", 11)]
    assert found["container_fs_writes_bytes_total"][0].labels["device"] == "/dev/sda"
    assert found["container_cpu_cfs_periods_total"][-1].value == 3
    assert found["machine_cpu_cores"][0].value == 2
    assert {s.labels["failure_type"] for s in found["container_memory_failures_total"]} == {"pgfault", "pgmajfault"}


def test_own_metrics():
    found = parsed(own_metrics(node(), Own([], {"RunPodSandbox": 2, "ListContainers": 1}, {"RunPodSandbox": 1})))
    operations = [(s.labels["operation_type"], s.value) for s in found["kubelet_runtime_operations_total"]]
    assert operations == [("list_containers", 1), ("run_podsandbox", 2)]
    assert found["kubelet_node_name"][0].labels == {"node": "node-1"}
    (volume,) = found["kubelet_volume_stats_used_bytes"]
    assert volume.labels == {"namespace": "default", "persistentvolumeclaim": "claim"}
    assert found["process_resident_memory_bytes"][0].value > 1_000_000


def test_what_is_counted_and_timed():
    meters = Meters()
    meters.count("kubelet_started_containers_total", "init_container")
    meters.observe("kubelet_pod_worker_duration_seconds", 0.03, "sync")
    meters.observe("kubelet_pod_worker_duration_seconds", 99.0, "sync")
    found = parsed(own_metrics(node(), Own(meters=meters, desired={False: 2, True: 1}, mirrors=1)))
    assert [(s.labels, s.value) for s in found["kubelet_started_containers_total"]] == [
        ({"container_type": "init_container"}, 1)
    ]
    assert found["kubelet_started_pods_total"][0].value == 0
    buckets = {s.labels["le"]: s.value for s in found["kubelet_pod_worker_duration_seconds_bucket"]}
    assert (buckets["0.025"], buckets["0.05"], buckets["10"], buckets["+Inf"]) == (0, 1, 1, 2)
    assert found["kubelet_pod_worker_duration_seconds_sum"][0].value == 99.03
    assert [(s.labels["static"], s.value) for s in found["kubelet_desired_pods"]] == [("", 2), ("true", 1)]


def test_metrics_and_settings_stand_in_the_docs():
    page = (Path(__file__).parents[3] / "docs/kubelet.md").read_text()
    named = set(re.findall(r"`([A-Za-z_0-9.]+)`", page))
    meters = Meters()
    for family in FAMILIES.values():
        (meters.observe if family.bounds else lambda name, _, *values: meters.count(name, *values))(
            family.name, 1.0, *family.labels
        )
    own = Own([], {"A": 1}, {"A": 1}, desired={False: 1}, active={False: 1}, meters=meters)
    emitted = set(re.findall(r"^# TYPE (\S+)", own_metrics(node(), own).decode(), re.M))
    assert {f.name for f in FAMILIES.values()} <= emitted
    assert emitted - named == set()
    assert set(_configuration_fields()) - named == set()


def _configuration_fields():
    """Names of a KubeletConfiguration that reach a setting."""
    return [field_name(f.name) for f in fields(KubeletSettings) if f.name not in OWN | {"port"}]


def test_text_format():
    out = Exposition()
    out.family("a", "gauge", "nothing", [])
    assert out.render() == b""
    out.family("b", "counter", "text", [(labels({"l": 'x"\\\n'}), 1.5, 2.0), ("", 3, None)])
    assert out.render() == b'# HELP b text\n# TYPE b counter\nb{l="x\\"\\\\\\n"} 1.5 2000\nb 3\n'
