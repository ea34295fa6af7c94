"""Pods of a real cluster as places that a test can speak from: their containers' network namespaces."""

from __future__ import annotations

import json
from pathlib import Path

from tests.proxy.lab import Place, Sockets


def process_of(container: str) -> int:
    """A process of a container, found by its cgroup."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if container in (entry / "cgroup").read_text():
                return int(entry.name)
        except OSError:
            continue  # ended while we looked
    raise AssertionError(f"no process of container {container}")


class Pods(Sockets):
    """Running pods by ``namespace/name``."""

    def __init__(self, cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self.objects: dict[str, dict] = {}
        self.places: dict[str, Place] = {}

    def load(self, *namespaces: str, only: str = "") -> None:
        for namespace in namespaces:
            for pod in json.loads(self._cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]:
                if only and pod["metadata"]["name"] != only:
                    continue
                key = f"{namespace}/{pod['metadata']['name']}"
                container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
                namespace_file = Path(f"/proc/{process_of(container)}/ns/net")
                self.objects[key] = pod
                self.places[key] = Place(self, key, pod["status"]["podIP"], namespace_file)

    def nodes(self) -> dict[str, str]:
        return {key: pod["spec"]["nodeName"] for key, pod in self.objects.items()}


def node_place(sockets: Sockets, tag: str, name: str, address: str) -> Place:
    return Place(sockets, name, address, Path(f"/run/netns/p8s-{tag}-{name}"))


class Here(Place):
    """The machine itself."""

    def __init__(self, sockets: Sockets) -> None:
        super().__init__(sockets, "machine", "", Path("/proc/self/ns/net"))
