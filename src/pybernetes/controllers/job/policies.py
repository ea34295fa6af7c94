"""Pod failure policy and success policy of a Job. Pure. Specified by the "Jobs" page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...api.meta import Object, name_of, namespace_of
from .intervals import Indexes

IGNORE, FAIL_JOB, FAIL_INDEX, COUNT = "Ignore", "FailJob", "FailIndex", "Count"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one failed pod."""

    counts: bool
    """The failure counts against the back-off limit."""
    action: str = ""
    message: str = ""
    """Why the whole Job fails, where it does."""


def judge(policy: dict[str, Any] | None, pod: Object) -> Verdict:
    """The first rule that matches decides; without one the failure counts."""
    status = pod.get("status") or {}
    for index, rule in enumerate((policy or {}).get("rules") or []):
        action = rule.get("action") or ""
        if rule.get("onExitCodes") is not None:
            container = _exit_code_match(status, rule["onExitCodes"])
            if container is None:
                continue
            code = container["state"]["terminated"]["exitCode"]
            words = (
                f"Container {container['name']} for pod {namespace_of(pod)}/{name_of(pod)} failed with exit code {code} "
                f"matching {action} rule at index {index}"
            )
        else:
            kind = _condition_match(status, rule.get("onPodConditions") or [])
            if kind is None:
                continue
            words = (
                f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {kind} matching {action} rule at index {index}"
            )
        if action == IGNORE:
            return Verdict(False, action)
        if action in (FAIL_INDEX, COUNT):
            return Verdict(True, action)
        if action == FAIL_JOB:
            return Verdict(True, action, words)
    return Verdict(True)


def _exit_code_match(status: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    statuses = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    for container in statuses:
        terminated = (container.get("state") or {}).get("terminated")
        if terminated is None or not terminated.get("exitCode"):
            continue
        if wanted.get("containerName") is not None and wanted["containerName"] != container.get("name"):
            continue
        listed = terminated["exitCode"] in (wanted.get("values") or [])
        if listed == (wanted.get("operator") == "In"):
            found: dict[str, Any] = container
            return found
    return None


def _condition_match(status: dict[str, Any], patterns: list[dict[str, Any]]) -> str | None:
    for condition in status.get("conditions") or []:
        for pattern in patterns:
            if condition.get("type") == pattern.get("type"):
                if condition.get("status") == (pattern.get("status") or "True"):
                    return str(condition["type"])
    return None


def success_message(policy: dict[str, Any] | None, completions: int, succeeded: Indexes) -> str | None:
    """Why the Job counts as successful before all indexes are; None where it does not."""
    if not succeeded.intervals:
        return None
    for index, rule in enumerate((policy or {}).get("rules") or []):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            wanted = Indexes.parse(rule["succeededIndexes"], completions)
            have = wanted.overlap(succeeded)
            met = bool(wanted.intervals) and (have == len(wanted) or (count is not None and have >= count))
        else:
            met = count is not None and len(succeeded) >= count
        if met:
            return f"Matched rules at index {index}"
    return None
