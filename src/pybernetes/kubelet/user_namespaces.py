"""User namespaces of pods (``hostUsers: false``): each has 65,536 ids of the host to itself, for as long as it lives.

What a pod was given is kept in its directory (upstream's file and format), so that a restarted kubelet gives nobody the same ids.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from ..api.meta import Object, uid_of
from .pod.env import ConfigError

LENGTH = 65536
FILE = "userns"


class UserNamespaces:
    def __init__(self, pods_dir: Path, *, maximum: int, first: int = LENGTH) -> None:
        self._pods_dir, self._maximum, self._first = pods_dir, maximum, first
        self._slots: dict[str, int] = {}
        self._recorded = False

    def _read_records(self) -> None:
        """What earlier kubelets gave away: the pods may still run."""
        self._recorded = True
        for file in self._pods_dir.glob(f"*/{FILE}"):
            mappings = orjson.loads(file.read_bytes()).get("uidMappings") or []
            if mappings:
                self._slots[file.parent.name] = (mappings[0]["hostId"] - self._first) // LENGTH

    def options(self, pod: Object, *, supported: bool) -> Object | None:
        """The CRI's ``UserNamespace`` for a pod that wants one. Raises ConfigError where it cannot have it."""
        if pod["spec"].get("hostUsers", True) is not False:
            return None
        handler = pod["spec"].get("runtimeClassName") or ""
        if not supported:
            who = f'RuntimeClass handler "{handler}"' if handler else "runtime"
            raise ConfigError(f"can't set `spec.hostUsers: false`, {who} does not support user namespaces")
        mapping = {"host_id": self._first + self._slot(uid_of(pod)) * LENGTH, "container_id": 0, "length": LENGTH}
        return {"mode": "POD", "uids": [mapping], "gids": [mapping]}

    def _slot(self, uid: str) -> int:
        if not self._recorded:
            self._read_records()
        if uid not in self._slots:
            taken = set(self._slots.values())
            free = next((n for n in range(self._maximum) if n not in taken), None)
            if free is None:
                raise ConfigError("could not find an empty slot to allocate a user namespace")
            self._record(uid, free)
            self._slots[uid] = free
        return self._slots[uid]

    def _record(self, uid: str, slot: int) -> None:
        mapping = [{"hostId": self._first + slot * LENGTH, "containerId": 0, "length": LENGTH}]
        directory = self._pods_dir / uid
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE).write_bytes(orjson.dumps({"uidMappings": mapping, "gidMappings": mapping}))

    def release(self, uid: str) -> None:
        """The pod has ended and its directory is gone."""
        self._slots.pop(uid, None)
