"""One probe of one container: when it is due, and what its results mean. Rules of upstream's ``prober/worker.go``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .actions import FAILURE, SUCCESS
from .env import expand
from .model import Object, is_sidecar, should_restart

LIVENESS, READINESS, STARTUP = "liveness", "readiness", "startup"
KINDS = {LIVENESS: "livenessProbe", READINESS: "readinessProbe", STARTUP: "startupProbe"}
TITLES = {LIVENESS: "Liveness", READINESS: "Readiness", STARTUP: "Startup"}
_INITIAL = {LIVENESS: SUCCESS, READINESS: FAILURE, STARTUP: ""}


@dataclass(frozen=True, slots=True)
class View:
    """What a probe has to know of its container at one moment."""

    container_id: str = ""
    running: bool = False
    started_at: float = 0.0
    started: bool = False
    """Its startup probe (if any) has succeeded."""
    exit_code: int | None = None
    deleting: bool = False
    terminal: bool = False
    was_ready: bool = False
    """The API says that this very container is ready (after a restart of the kubelet that must not flap)."""


@dataclass(frozen=True, slots=True)
class Step:
    """``probe`` now, or look again after ``wait`` seconds (None: only when something changes), or ``stop`` for good."""

    probe: bool = False
    wait: float | None = None
    stop: bool = False


class ProbeState:
    """``step`` says what to do now, ``record`` takes a result. ``result`` is what counts ('' while nothing is known)."""

    def __init__(self, kind: str, pod: Object, container: Object) -> None:
        self.kind, self._pod, self._container = kind, pod, container
        self.spec: Mapping[str, Any] = container[KINDS[kind]]
        self.container_id = ""
        self.result = ""
        self._last = ""
        self._run = 0
        self._hold = False
        self._first_due: float | None = None
        self._next_due = 0.0

    @property
    def period(self) -> float:
        return float(self.spec.get("periodSeconds") or 10)

    @property
    def timeout(self) -> float:
        return float(self.spec.get("timeoutSeconds") or 1)

    def step(self, view: View, now: float, moment: float) -> Step:
        """``now`` is the wall clock's, like the container's start; ``moment`` is of the clock that nobody sets."""
        if view.terminal:
            return Step(stop=True)
        if not view.container_id:
            return Step()
        if view.container_id != self.container_id:
            self._begin(view)
        if self._hold:
            return Step()
        if not view.running:
            self.result = FAILURE
            ended = view.exit_code is not None and not self._comes_back(view.exit_code)
            return Step(stop=ended)
        if view.deleting and self.kind != READINESS:
            # Quiet while it ends: a container that shuts down must not be restarted for it.
            self.result = SUCCESS
            return Step(stop=True)
        if view.started == (self.kind == STARTUP):
            return Step()
        if self._first_due is None:
            age = max(0.0, now - view.started_at)
            self._first_due = moment + float(self.spec.get("initialDelaySeconds") or 0) - age
        wait = max(self._first_due, self._next_due) - moment
        return Step(wait=wait) if wait > 0 else Step(probe=True)

    def _begin(self, view: View) -> None:
        self.container_id = view.container_id
        self._hold, self._run, self._last = False, 0, ""
        self._first_due, self._next_due = None, 0.0
        self.result = _INITIAL[self.kind]
        if (self.kind == READINESS and view.was_ready) or (self.kind == STARTUP and view.started):
            self.result = SUCCESS

    def _comes_back(self, exit_code: int) -> bool:
        init = any(c.get("name") == self._container["name"] for c in self._pod["spec"].get("initContainers") or ())
        return should_restart(self._container, self._pod, exit_code) or (init and is_sidecar(self._container))

    def record(self, result: str | None, moment: float) -> bool:
        """Takes a result (None: the probe itself failed, which says nothing). True where ``result`` has changed."""
        self._next_due = moment + self.period
        if result is None:
            return False
        if result == self._last:
            self._run += 1
        else:
            self._last, self._run = result, 1
        threshold = int(self.spec.get("failureThreshold") or 3)
        if result == SUCCESS:
            threshold = int(self.spec.get("successThreshold") or 1)
        if self._run < threshold:
            return False
        changed, self.result = self.result != result, result
        if self.kind == STARTUP or (self.kind == LIVENESS and result == FAILURE):
            # Decided for this container; the next one is probed again.
            self._hold, self._run = True, 0
        return changed


def resolve_port(port: Any, container: Mapping[str, Any]) -> int:
    """A port given by number or by the name of one of the container's ports. Raises ValueError in upstream's words."""
    number = -1
    if isinstance(port, int):
        number = port
    elif isinstance(port, str):
        named = next((p for p in container.get("ports") or () if p.get("name") == port), None)
        if named is not None:
            number = int(named["containerPort"])
        elif port.isdigit():
            number = int(port)
        else:
            raise ValueError(f"couldn't find port: {port!r}".replace("'", '"'))
    if 0 < number < 65536:
        return number
    raise ValueError(f"invalid port number: {number}")


def static_command(command: list[str], container: Mapping[str, Any]) -> list[str]:
    """A probe's command with the container's plain variables filled in (what has to be fetched stays as it is)."""
    values = {v["name"]: v.get("value") or "" for v in container.get("env") or () if not v.get("valueFrom")}
    return [expand(word, values) for word in command]
