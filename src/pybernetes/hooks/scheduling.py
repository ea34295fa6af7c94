"""Scheduling: plugins that say where a pod may go, where it goes best, and what happens on the way.

The contract of the built-in plugins and of everybody else's. A package adds plugins by entry points in the group
``pybernetes.scheduler``: the entry's name is the plugin's name in KubeSchedulerConfiguration, its value a factory
``(args, handle) -> Plugin``. The extension points and their order are those of the "Scheduling Framework" page.

A plugin takes part in the points whose methods it overrides. Filter and Score have two shapes: one node at a time
(``filter_node``, ``score_node``), which is easy to write, and all nodes at once with numpy (``filter``, ``score``),
which is fast; the first is turned into the second. Rows are indexes into the node table: ``handle.nodes``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Protocol

from ..api.meta import Object
from ..api.resources import GVR

if TYPE_CHECKING:
    import numpy as np

ENTRY_POINT_GROUP = "pybernetes.scheduler"
MAX_NODE_SCORE = 100


class Code(IntEnum):
    """What a step says. UNSCHEDULABLE may be mended by preemption, UNRESOLVABLE not."""

    SUCCESS = 0
    ERROR = 1
    UNSCHEDULABLE = 2
    UNRESOLVABLE = 3
    WAIT = 4
    SKIP = 5
    PENDING = 6


@dataclass(frozen=True, slots=True)
class Status:
    """A step's answer; None stands for success. ``reasons`` are shown to the pod's owner."""

    code: Code
    reasons: tuple[str, ...] = ()
    plugin: str = ""

    @property
    def message(self) -> str:
        return ", ".join(self.reasons)

    @property
    def rejected(self) -> bool:
        """Whether the pod was refused, as opposed to something having gone wrong."""
        return self.code in (Code.UNSCHEDULABLE, Code.UNRESOLVABLE, Code.PENDING)


SKIP = Status(Code.SKIP)


class Scope(IntEnum):
    """On what a plugin's verdict or raw score for a node depends, besides the pod's specification.

    The scheduler keeps results of NODE and USAGE plugins for equal pods and redoes only what changed.
    """

    NODE = 0
    """Node objects alone: labels, taints, allocatable, images."""
    USAGE = 1
    """The node's own object and the pods placed on that node."""
    CLUSTER = 2
    """Anything else. The default: nothing is kept."""


class PodView(Protocol):
    """A pod as plugins see it. Shared: never mutate."""

    @property
    def object(self) -> Object: ...
    @property
    def key(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def priority(self) -> int: ...
    @property
    def requests(self) -> Mapping[str, int]:
        """Resource name to amount: CPU in thousandths, all else in whole units."""
        ...


class NodeView(Protocol):
    """One node and what is placed there."""

    @property
    def name(self) -> str: ...
    @property
    def object(self) -> Object: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def allocatable(self) -> Mapping[str, int]: ...
    @property
    def requested(self) -> Mapping[str, int]: ...
    @property
    def pods(self) -> Sequence[PodView]: ...


Rows = Any
"""``slice(None)`` for all rows of the node table, or an integer array of some of them; usable as an index of its columns."""


class Nodes(Protocol):
    """The node table. Rows of nodes that are gone stay until reused; ``valid`` tells which ones count."""

    valid: np.ndarray[Any, Any]

    def view(self, row: int) -> NodeView: ...

    def indices(self, rows: Rows) -> np.ndarray[Any, Any]:
        """The row numbers of ``rows``."""
        ...

    def row(self, name: str) -> int | None: ...


class Objects(Protocol):
    """The cluster's other objects, as the scheduler's informers know them. Shared: never mutate."""

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None: ...

    def list(self, gvr: GVR, namespace: str = "") -> Sequence[Object]: ...

    def subscribe(self, gvr: GVR, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener after every change of such objects; what it returns ends that."""
        ...


@dataclass(slots=True)
class Verdicts:
    """``codes[i]`` is 0 where the i-th of the rows may take the pod, else 1 + the index of the reason in ``reasons``."""

    codes: np.ndarray[Any, Any]
    reasons: Sequence[Status]


@dataclass(frozen=True, slots=True)
class PreFilterResult:
    """Only these nodes can come into question."""

    node_names: frozenset[str]


@dataclass(frozen=True, slots=True)
class PostFilterResult:
    """The node that was made (or will become) free for the pod; empty where none, None leaves the nomination as it was."""

    nominated_node: str | None
    status: Status | None = None


class CycleState(dict[Any, Any]):
    """What a plugin remembers from one step of a pod's cycle to the next, under keys of its own."""


class Resource(IntFlag):
    """Kinds of objects whose changes may make a pod schedulable."""

    POD = 1
    """Any pod: the one that waits, or another that is or becomes placed."""
    NODE = 2
    PERSISTENT_VOLUME = 4
    PERSISTENT_VOLUME_CLAIM = 8
    STORAGE_CLASS = 16
    CSI_NODE = 32
    CSI_DRIVER = 64
    CSI_STORAGE_CAPACITY = 128
    VOLUME_ATTACHMENT = 256
    NAMESPACE = 512
    ANY = 1023


class Action(IntFlag):
    """What happened to it."""

    ADD = 1
    DELETE = 2
    UPDATE_NODE_ALLOCATABLE = 4
    UPDATE_NODE_LABEL = 8
    UPDATE_NODE_TAINT = 16
    UPDATE_NODE_CONDITION = 32
    UPDATE_NODE_ANNOTATION = 64
    UPDATE_NODE_FEATURE = 128
    UPDATE_POD_LABEL = 256
    UPDATE_POD_SCALE_DOWN = 512
    UPDATE_POD_TOLERATIONS = 1024
    UPDATE_POD_SCHEDULING_GATES = 2048
    UPDATE_OTHER = 4096
    UPDATE = 4 | 8 | 16 | 32 | 64 | 128 | 256 | 512 | 1024 | 2048 | 4096
    ALL = 8191


Hint = Callable[[PodView, "Object | None", "Object | None"], bool]
"""(waiting pod, old object, new object) -> whether the change may make the pod schedulable, as far as this plugin knows."""


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """A change that may make a pod schedulable which the plugin refused; without a hint it always may."""

    resource: Resource
    action: Action
    hint: Hint | None = None


class Handle(Protocol):
    """What the scheduler gives to its plugins."""

    objects: Any
    """``Objects``."""
    clock: Any
    rng: random.Random
    client: Any
    """A REST client; None where plugins are only asked (``p8s why``)."""
    profile: str

    @property
    def nodes(self) -> Any:
        """``Nodes``."""
        ...


@dataclass(slots=True)
class Diagnosis:
    """Why no node can take a pod: the first refusal of each node, in the order of the plugins."""

    nodes: int
    by_row: Mapping[int, Status] = field(default_factory=dict)
    pre_filter: Status | None = None
    plugins: frozenset[str] = frozenset()


class Plugin:
    """Base of all plugins. Override what you take part in."""

    name = ""
    scope = Scope.CLUSTER

    # -- queueing --------------------------------------------------------------------------------------------------

    def pre_enqueue(self, pod: PodView) -> Status | None:
        """Refuses to let a pod into the active queue; it is asked again when the pod changes or an event concerns it."""
        raise NotImplementedError

    def sort_key(self, pod: PodView, queued_at: float) -> Any:
        """QueueSort: pods with smaller keys come first. Exactly one plugin of a configuration has this."""
        raise NotImplementedError

    def events(self) -> Iterable[ClusterEvent]:
        """What may make a pod schedulable that this plugin refused. By default everything."""
        return (ClusterEvent(Resource.ANY, Action.ALL),)

    # -- the scheduling cycle: synchronous, one pod at a time --------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodView) -> Status | PreFilterResult | None:
        """SKIP leaves out the plugin's Filter for this pod."""
        raise NotImplementedError

    def filter(self, state: CycleState, pod: PodView, rows: Rows) -> Verdicts:
        raise NotImplementedError

    def filter_node(self, state: CycleState, pod: PodView, node: NodeView) -> Status | None:
        raise NotImplementedError

    def post_filter(self, state: CycleState, pod: PodView, diagnosis: Diagnosis) -> PostFilterResult:
        """Called where no node can take the pod, until one plugin answers with a node."""
        raise NotImplementedError

    def pre_score(self, state: CycleState, pod: PodView, rows: Rows) -> Status | None:
        """``rows`` are the nodes that can take the pod. SKIP leaves out the plugin's Score for this pod."""
        raise NotImplementedError

    def score(self, state: CycleState, pod: PodView, rows: Rows) -> np.ndarray[Any, Any]:
        """Integers, one a row."""
        raise NotImplementedError

    def score_node(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        raise NotImplementedError

    def normalize(self, state: CycleState, pod: PodView, scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Brings the raw scores of the nodes that can take the pod to 0..100."""
        raise NotImplementedError

    def reserve(self, state: CycleState, pod: PodView, node: str) -> Status | None:
        raise NotImplementedError

    def unreserve(self, state: CycleState, pod: PodView, node: str) -> None:
        """Takes ``reserve`` back; called also where ``reserve`` was not, and must not fail."""
        raise NotImplementedError

    def permit(self, state: CycleState, pod: PodView, node: str) -> tuple[Status | None, float]:
        """(WAIT, seconds) makes the pod wait until ``allow`` or ``reject`` is called on it or the time is over."""
        raise NotImplementedError

    # -- the binding cycle: asynchronous, many pods at a time --------------------------------------------------------

    async def pre_bind(self, state: CycleState, pod: PodView, node: str) -> Status | None:
        raise NotImplementedError

    async def bind(self, state: CycleState, pod: PodView, node: str) -> Status | None:
        """SKIP leaves the pod to the next Bind plugin."""
        raise NotImplementedError

    def post_bind(self, state: CycleState, pod: PodView, node: str) -> None:
        raise NotImplementedError


PluginFactory = Callable[[Mapping[str, Any], Any], Plugin]
"""(args, handle): the profile's pluginConfig for this plugin, and a ``Handle``."""


def takes_part(plugin: Plugin, *methods: str) -> bool:
    """Whether the plugin overrides one of these methods."""
    return any(getattr(type(plugin), method) is not getattr(Plugin, method) for method in methods)
