"""When a finished Job goes. Pure. Specified by "Automatic Cleanup for Finished Jobs"."""

from __future__ import annotations

from ...api.meta import Object, is_deleting
from ...api.times import parse_time


def expires_at(job: Object) -> float | None:
    """None where it does not (yet)."""
    seconds = (job.get("spec") or {}).get("ttlSecondsAfterFinished")
    if seconds is None or is_deleting(job):
        return None
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return parse_time(condition["lastTransitionTime"]) + seconds
    return None
