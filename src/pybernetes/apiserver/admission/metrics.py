"""What admission measures: plugins, webhooks and policies, under upstream's names. Specified by "Kubernetes Metrics Reference"."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from ..metrics import Counters, Histograms, Labels, Observed

_STEP = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_WEBHOOK = (*_STEP, 10.0, 25.0)
_POLICY = (0.0000005, 0.001, 0.01, 0.1, 1.0)
NO_ERROR, CALLING, INTERNAL = "no_error", "calling_webhook_error", "apiserver_internal_error"
ADMIT, VALIDATING, VALIDATE = "admit", "validating", "validate"
MAX_CODE = 600


class Timed:
    """How long one part of admission took, by its outcome."""

    __slots__ = ("_histograms", "_labels", "_passed")

    def __init__(self, histograms: Histograms, labels: Labels) -> None:
        self._histograms, self._labels = histograms, labels
        self._passed: Observed | None = None

    def passed(self, seconds: float) -> None:
        found = self._passed
        if found is None:
            found = self._passed = self._histograms.series((*self._labels, ("rejected", "false")))
        found[0][bisect_left(_STEP, seconds)] += 1
        found[1][0] += seconds

    def refused(self, seconds: float) -> None:
        self._histograms.observe((*self._labels, ("rejected", "true")), seconds)


class AdmissionMetrics:
    """The counters of one server."""

    def __init__(self) -> None:
        prefix = "apiserver_admission_"
        self._steps = Histograms(f"{prefix}step_admission_duration_seconds", "Time of all plugins of a phase.", _STEP)
        self._controllers = Histograms(
            f"{prefix}controller_admission_duration_seconds", "Time of a plugin in a phase.", _STEP
        )
        self._duration = Histograms(
            f"{prefix}webhook_admission_duration_seconds", "Time that webhooks took to answer.", _WEBHOOK
        )
        self._requests = Counters(f"{prefix}webhook_request_total", "Webhooks that were asked.")
        self._rejections = Counters(f"{prefix}webhook_rejection_count", "Writes that webhooks refused or failed.")
        self._fail_open = Counters(f"{prefix}webhook_fail_open_count", "Webhooks that failed and were let pass.")
        self._evaluations = Counters("pod_security_evaluations_total", "Pods that Pod Security looked at.")
        self._exemptions = Counters("pod_security_exemptions_total", "Pods that Pod Security did not look at.")
        policy = "apiserver_validating_admission_policy_"
        self._checks = Counters(f"{policy}check_total", "Checks of validating admission policies.")
        self._check_duration = Histograms(
            f"{policy}check_duration_seconds", "Time that checks of validating admission policies took.", _POLICY
        )

    def step(self, operation: str, phase: str) -> Timed:
        return Timed(self._steps, (("operation", operation), ("type", phase)))

    def controller(self, name: str, operation: str, phase: str) -> Timed:
        return Timed(self._controllers, (("name", name), ("operation", operation), ("type", phase)))

    def evaluated(self, mode: str, level: str, version: str, denied: bool, where: Labels) -> None:
        """One look of Pod Security at a pod: ``where`` says at which write."""
        decision = "deny" if denied else "allow"
        self._evaluations.add(
            (("decision", decision), ("mode", mode), ("policy_level", level), ("policy_version", version), *where)
        )

    def exempted(self, where: Labels) -> None:
        self._exemptions.add(where)

    def webhook(self, name: str, kind: str, operation: str, seconds: float, code: int, error: str) -> None:
        """One answer: ``code`` is 200 where it allowed; ``error`` tells whose fault a failure is."""
        rejected = "false" if code == 200 else "true"
        base: Labels = (("name", name), ("type", kind), ("operation", operation))
        number = str(min(code, MAX_CODE))
        self._duration.observe((*base, ("rejected", rejected)), seconds)
        self._requests.add((*base, ("code", number), ("rejected", rejected)))
        if code != 200:
            shown = number if error == NO_ERROR else "0"
            self._rejections.add((*base, ("error_type", error), ("rejection_code", shown)))

    def fail_open(self, name: str, kind: str) -> None:
        self._fail_open.add((("name", name), ("type", kind)))

    def policy(self, policy: str, binding: str, action: str, error: str, seconds: float) -> None:
        labels: Labels = (
            ("policy", policy), ("policy_binding", binding), ("error_type", error), ("enforcement_action", action)
        )  # fmt: skip
        self._checks.add(labels)
        self._check_duration.observe(labels, seconds)

    def lines(self) -> Iterator[str]:
        for part in (
            self._steps, self._controllers, self._duration, self._requests, self._rejections, self._fail_open, self._checks, self._check_duration, self._evaluations, self._exemptions
        ):  # fmt: skip
            yield from part.lines()
