"""Which auto-generated token secrets are marked as invalid, and which have been so for long enough to be deleted. Pure.

A token's last use is a label that the API server writes (a day); before a whole period has been watched nothing is concluded from a
label that is not there. A secret is auto-generated where its ServiceAccount refers to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ...api.meta import Object, annotations_of, is_deleting, labels_of, metadata, name_of, namespace_of, uid_of
from ...api.times import parse_time

TYPE = "kubernetes.io/service-account-token"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
TRACKING_NAMESPACE, TRACKING_NAME = "kube-system", "kube-apiserver-legacy-service-account-token-tracking"
DAY = 86400.0
_DAY_FORMAT = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one secret: deleted, or marked with the day since which it is invalid."""

    secret: Object
    invalid_since: str = ""

    @property
    def delete(self) -> bool:
        return not self.invalid_since


def day_of(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime(_DAY_FORMAT)


def is_day(text: object) -> bool:
    try:
        return bool(text) and day_of(datetime.strptime(str(text), _DAY_FORMAT).replace(tzinfo=UTC).timestamp()) == text
    except ValueError:
        return False


def tracked_since(config_map: Object | None) -> float | None:
    """The first moment of the day after the one on which the tracking began; None where that is not known."""
    text = ((config_map or {}).get("data") or {}).get("since")
    if not is_day(text):
        return None
    return (datetime.strptime(str(text), _DAY_FORMAT).replace(tzinfo=UTC) + timedelta(days=1)).timestamp()


def verdicts(
    secrets: Iterable[Object],
    account_of: Callable[[str, str], Object | None],
    pods_of: Callable[[str], Iterable[Object]],
    now: float,
    period: float,
) -> list[Verdict]:
    """For tokens that nobody has used for ``period`` seconds."""
    oldest = now - period
    kept_day = day_of(oldest)
    mounted: dict[str, Set[str]] = {}
    found = []
    for secret in secrets:
        if not _is_unused(secret, oldest, kept_day) or not _is_generated(secret, account_of):
            continue
        namespace = namespace_of(secret)
        if namespace not in mounted:
            mounted[namespace] = frozenset(name for pod in pods_of(namespace) for name in secret_names(pod))
        if name_of(secret) in mounted[namespace]:
            continue
        invalid = labels_of(secret).get(INVALID_SINCE)
        if not is_day(invalid):
            found.append(Verdict(secret, day_of(now)))
        elif str(invalid) < kept_day:
            found.append(Verdict(secret))
    return found


def _is_unused(secret: Object, oldest: float, kept_day: str) -> bool:
    if secret.get("type") != TYPE or is_deleting(secret) or parse_time(metadata(secret)["creationTimestamp"]) >= oldest:
        return False
    used = labels_of(secret).get(LAST_USED)
    return used is None or (is_day(used) and used < kept_day)


def _is_generated(secret: Object, account_of: Callable[[str, str], Object | None]) -> bool:
    annotations = annotations_of(secret)
    name, uid = annotations.get(ACCOUNT_NAME) or "", annotations.get(ACCOUNT_UID) or ""
    account = account_of(namespace_of(secret), name) if name else None
    if account is None or (uid and uid != uid_of(account)):
        return False
    return any(reference.get("name") == name_of(secret) for reference in account.get("secrets") or ())


# -- what pods use -----------------------------------------------------------------------------------------------------


def secret_names(pod: Object) -> Iterator[str]:
    """The secrets of its namespace to which a pod refers."""
    spec = pod.get("spec") or {}
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name") or ""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for source in container.get("envFrom") or ():
                yield (source.get("secretRef") or {}).get("name") or ""
            for env in container.get("env") or ():
                yield ((env.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") or ""
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume)


def _of_volume(volume: Mapping[str, Any]) -> Iterator[str]:
    yield (volume.get("secret") or {}).get("secretName") or ""
    yield (volume.get("azureFile") or {}).get("secretName") or ""
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield (source.get("secret") or {}).get("name") or ""
    for kind in ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"):
        yield ((volume.get(kind) or {}).get("secretRef") or {}).get("name") or ""
    yield ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""
