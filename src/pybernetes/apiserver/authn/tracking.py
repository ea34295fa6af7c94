"""Since when the use of legacy ServiceAccount tokens is tracked: a ConfigMap that says from when their labels can be trusted.

Specified by "Legacy ServiceAccount token tracking controller".
"""

from __future__ import annotations

from datetime import UTC, datetime

from ...api.errors import StatusError
from ...api.resources import CONFIG_MAPS
from ...hooks.admission import Requester
from ...hooks.reading import ObjectReader

NAMESPACE, NAME, KEY = "kube-system", "kube-apiserver-legacy-service-account-token-tracking", "since"
_DAY = "%Y-%m-%d"


def _is_day(text: object) -> bool:
    try:
        datetime.strptime(str(text or ""), _DAY)
    except ValueError:
        return False
    return True


async def ensure(request: Requester, reader: ObjectReader, now: float) -> None:
    """Makes the ConfigMap, or mends it where it does not say a day. Raises StatusError."""
    data = {KEY: datetime.fromtimestamp(now, UTC).strftime(_DAY)}
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    found = reader.get(CONFIG_MAPS, NAMESPACE, NAME)
    if found is not None:
        if not _is_day((found.get("data") or {}).get(KEY)):
            await request("PATCH", f"{path}/{NAME}", {"data": data}, content_type="application/merge-patch+json")
        return
    try:
        await request("POST", path, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data})
    except StatusError as failure:
        if failure.reason != "AlreadyExists":  # another server was quicker
            raise
