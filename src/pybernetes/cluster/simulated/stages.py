"""How simulated pods behave: the first stage that matches a pod counts, and annotations of a pod override it.

In a file (YAML) a stage is a mapping with these names; a time is a number of seconds or a range ``[from, to]``::

    stages:
      - labels: {app: flaky}      # all of these labels
        start: [0.5, 2]           # Pending -> Running
        failure_rate: 0.1         # of the runs, one in ten fails
      - owner: Job
        run: [5, 10]              # Running -> Succeeded (or Failed)
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...api.meta import Object, annotations_of, controller_of, labels_of

ANNOTATION_PREFIX = "simulated.pybernetes.io/"
Span = tuple[float, float]


class StageError(ValueError):
    """A description that cannot be used; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``run`` None: for ever. ``stop`` is how long a deleted pod takes to end (never longer than its grace period)."""

    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    """The kind of the pod's controller."""
    namespace: str = ""
    start: Span = (0.0, 0.0)
    ready: Span = (0.0, 0.0)
    run: Span | None = None
    stop: Span = (0.0, 0.0)
    failure_rate: float = 0.0
    exit_code: int = 1
    """What a failing container exits with."""

    def matches(self, pod: Object) -> bool:
        reference = controller_of(pod)
        return (
            self.labels.items() <= labels_of(pod).items()
            and (not self.owner or (reference is not None and reference.get("kind") == self.owner))
            and (not self.namespace or (pod["metadata"].get("namespace") == self.namespace))
        )


DEFAULT_STAGES = (Stage(owner="Job", run=(1.0, 1.0)), Stage())


@dataclass(frozen=True, slots=True)
class Course:
    """What chance has decided for one run of a pod. Seconds from one step to the next."""

    start: float
    ready: float
    run: float | None
    stop: float
    exit_code: int


def course_of(pod: Object, stages: tuple[Stage, ...], rng: random.Random) -> Course:
    stage = next((s for s in stages if s.matches(pod)), Stage())
    stage = _overridden(stage, annotations_of(pod))
    fails = stage.failure_rate > 0 and rng.random() < stage.failure_rate
    run = rng.uniform(*stage.run) if stage.run is not None else None
    if fails and run is None:
        run = 0.0
    return Course(
        rng.uniform(*stage.start),
        rng.uniform(*stage.ready),
        run,
        rng.uniform(*stage.stop),
        stage.exit_code if fails else 0,
    )


def _overridden(stage: Stage, annotations: Mapping[str, str]) -> Stage:
    changes: dict[str, Any] = {}
    for key, text in annotations.items():
        name = key.removeprefix(ANNOTATION_PREFIX).replace("-", "_")
        if key.startswith(ANNOTATION_PREFIX) and name in ("start", "ready", "run", "stop", "failure_rate", "exit_code"):
            try:
                number = float(text)
            except ValueError:
                continue
            changes[name] = {"failure_rate": number, "exit_code": int(number)}.get(name, (number, number))
    return replace(stage, **changes) if changes else stage


def parse_stages(document: Any) -> tuple[Stage, ...]:
    """The stages of a decoded file; those of ``DEFAULT_STAGES`` come after them. Raises StageError."""
    rows = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise StageError("a stage file is a mapping with a list under 'stages'")
    return tuple(_parse(row, f"stages[{i}]") for i, row in enumerate(rows)) + DEFAULT_STAGES


def load_stages(path: str) -> tuple[Stage, ...]:
    """Of a file; '' gives the default. Raises StageError, OSError."""
    if not path:
        return DEFAULT_STAGES
    import yaml

    try:
        return parse_stages(yaml.safe_load(Path(path).read_text()))
    except yaml.YAMLError as failure:
        raise StageError(f"{path} is not YAML: {failure}") from failure
    except StageError as failure:
        raise StageError(f"{path}: {failure}") from failure


def _parse(row: Any, where: str) -> Stage:
    if not isinstance(row, dict):
        raise StageError(f"{where}: must be a mapping")
    known = {f.name for f in fields(Stage)}
    unknown = sorted(set(row) - known)
    if unknown:
        raise StageError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
    values = dict(row)
    for name in ("start", "ready", "run", "stop"):
        if name in values:
            values[name] = _span(values[name], f"{where}.{name}")
    rate = values.get("failure_rate", 0.0)
    if not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise StageError(f"{where}.failure_rate: must be between 0 and 1")
    return Stage(**values)


def _span(value: Any, where: str) -> Span:
    ends = [value, value] if isinstance(value, int | float) else value
    if (
        not isinstance(ends, list)
        or len(ends) != 2
        or not all(isinstance(e, int | float) and e >= 0 for e in ends)
        or ends[0] > ends[1]
    ):
        raise StageError(f"{where}: must be seconds or a range [from, to]")
    return float(ends[0]), float(ends[1])
