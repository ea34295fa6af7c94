"""The scheduler's model of the cluster: nodes and placed pods in the node table, fed with wire objects.

``Model`` knows nothing of informers: the shell feeds it from them, ``p8s why`` and tests from lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..api.meta import Object, key_of, labels_of, name_of, namespace_of
from ..api.resources import GVR, NAMESPACES
from .nodetable import NodeTable
from .podinfo import FactsCache, PodInfo


class Model:
    """Nodes by name, placed pods by key. A pod may be told of before its node."""

    def __init__(self) -> None:
        self.table = NodeTable()
        self.facts = FactsCache()
        self.pods: dict[str, PodInfo] = {}
        """Pods that have a node, by key; those whose node is not known have row -1."""
        self._node_of: dict[str, str] = {}
        self._homeless: dict[str, dict[str, PodInfo]] = {}

    def info(self, pod: Object) -> PodInfo:
        return PodInfo(pod, self.facts.of(pod))

    # -- nodes -----------------------------------------------------------------------------------------------------

    def put_node(self, node: Object) -> None:
        name = name_of(node)
        new = self.table.row(name) is None
        row = self.table.put_node(node)
        if new:
            for pod in self._homeless.pop(name, {}).values():
                self.table.add_pod(pod, row)

    def remove_node(self, name: str) -> None:
        left = self.table.remove_node(name)
        if left:
            self._homeless[name] = {pod.key: pod for pod in left}

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """None for a namespace that is gone."""
        self.table.terms.set_namespace(name, labels)

    # -- pods ------------------------------------------------------------------------------------------------------

    def place(self, pod: PodInfo, node: str) -> None:
        """The pod is on the node, for real or as assumed; takes the place of what was known under its key."""
        self.displace(pod.key)
        self.pods[pod.key] = pod
        self._node_of[pod.key] = node
        row = self.table.row(node)
        if row is None:
            self._homeless.setdefault(node, {})[pod.key] = pod
        else:
            self.table.add_pod(pod, row)

    def displace(self, key: str) -> PodInfo | None:
        """Forgets a placed pod; None where it was not known."""
        pod = self.pods.pop(key, None)
        if pod is None:
            return None
        node = self._node_of.pop(key)
        if pod.row >= 0:
            self.table.remove_pod(pod)
        else:
            waiting = self._homeless.get(node, {})
            waiting.pop(key, None)
            if not waiting:
                self._homeless.pop(node, None)
        return pod

    def node_of(self, key: str) -> str:
        return self._node_of.get(key, "")

    def put_pod(self, pod: Object) -> PodInfo:
        """A pod as the API tells of it: placed if it has a node and is not over; what it is now, as the scheduler sees it."""
        info = self.info(pod)
        if info.node_name and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            self.place(info, info.node_name)
        else:
            self.displace(info.key)
        return info


class StaticObjects:
    """``Objects`` over given lists, for questions about a cluster that does not change meanwhile."""

    def __init__(self, objects: Mapping[GVR, Iterable[Object]] | None = None) -> None:
        self._objects: dict[GVR, dict[str, Object]] = {}
        for gvr, listed in (objects or {}).items():
            for obj in listed:
                self.put(gvr, obj)

    def put(self, gvr: GVR, obj: Object) -> None:
        self._objects.setdefault(gvr, {})[key_of(obj)] = obj

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        return self._objects.get(gvr, {}).get(f"{namespace}/{name}" if namespace else name)

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]:
        found = self._objects.get(gvr, {}).values()
        return [o for o in found if not namespace or namespace_of(o) == namespace]

    def subscribe(self, gvr: GVR, listener: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


def model_of(objects: StaticObjects, nodes: Iterable[Object], pods: Iterable[Object]) -> Model:
    """A model of a whole cluster from lists."""
    model = Model()
    for namespace in objects.list(NAMESPACES):
        model.set_namespace(name_of(namespace), labels_of(namespace))
    for node in nodes:
        model.put_node(node)
    for pod in pods:
        model.put_pod(pod)
    return model
