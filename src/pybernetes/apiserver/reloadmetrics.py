"""What reloads of a configuration file count, by upstream's names: ``apiserver_<what>_config_controller_*``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from .metrics import counter_lines, gauge_lines


def server_identity(hostname: str) -> str:
    """The name under which this server is known beside others, as upstream derives it from the host's."""
    parts = (hostname.encode(), b"kube-apiserver")
    digest = hashlib.sha256(b"".join(len(p).to_bytes(2, "big") + p for p in parts)).digest()
    return "apiserver-" + base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def hash_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}" if data else ""


class ReloadMetrics:
    """Reloads of one file of one server."""

    def __init__(self, what: str, identity: str, content: bytes) -> None:
        self._prefix, self._what = f"apiserver_{what}_config_controller", what
        self._server = {"apiserver_id_hash": hash_of(identity.encode())}
        self._counts: dict[str, int] = {}
        self._times: dict[str, float] = {}
        self._hash = hash_of(content)

    def failure(self, now: float) -> None:
        self._note("failure", now)

    def success(self, now: float, content: bytes) -> None:
        self._note("success", now)
        self._hash = hash_of(content)

    def _note(self, status: str, now: float) -> None:
        self._counts[status] = self._counts.get(status, 0) + 1
        self._times[status] = now

    def lines(self) -> Iterator[str]:
        yield from counter_lines(
            f"{self._prefix}_automatic_reloads_total",
            f"Automatic reloads of the {self._what} configuration.",
            (({"status": s, **self._server}, n) for s, n in self._counts.items()),
        )
        name = f"{self._prefix}_automatic_reload_last_timestamp_seconds"
        yield f"# HELP {name} When the {self._what} configuration was last reloaded."
        yield f"# TYPE {name} gauge"
        for status, moment in self._times.items():
            yield f'{name}{{status="{status}",apiserver_id_hash="{self._server["apiserver_id_hash"]}"}} {moment!r}'
        yield from gauge_lines(
            f"{self._prefix}_last_config_info",
            f"The {self._what} configuration in force, by its hash.",
            [({**self._server, "hash": self._hash}, 1)],
        )
