"""As whom webhooks are called: the users of ``WebhookAdmissionConfiguration``'s kubeconfig, each named by the host that it is for.

Specified by "Authenticate API servers" (``users[].name`` is a host, ``*.suffix`` or ``*``).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class WebhookUser:
    """What is shown to a webhook."""

    authorization: str = ""
    certificate: bytes = b""
    key: bytes = b""


NOBODY = WebhookUser()


class WebhookUsers:
    """Finds the user for a webhook's host."""

    def __init__(self, users: Mapping[str, WebhookUser], default: str = "") -> None:
        self._users, self._default = users, default

    @classmethod
    def from_file(cls, file: str) -> WebhookUsers:
        """Raises ValueError or OSError."""
        import yaml

        from ....client.kubeconfig import KubeconfigError

        try:
            document = yaml.safe_load(Path(file).read_text())
        except yaml.YAMLError as failure:
            raise KubeconfigError(f"kubeconfig {file} is not YAML: {failure}") from failure
        entries = document.get("users") or [] if isinstance(document, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise KubeconfigError(f"{file} is not a kubeconfig: its users are no list")
        base = Path(file).parent
        users = {str(e.get("name") or ""): _user(e.get("user") or {}, base) for e in entries}
        contexts = {
            c.get("name"): c.get("context") or {} for c in document.get("contexts") or [] if isinstance(c, dict)
        }
        current = contexts.get(document.get("current-context")) or {}
        return cls(users, str(current.get("user") or ""))

    def for_host(self, host: str, port: int) -> WebhookUser:
        """By host and port, then by ``*.`` and an ending; at the port of HTTPS the same by the host alone; then ``*``."""
        names = [*_names(f"{host}:{port}")]
        if port == 443:
            names += _names(host)
        for name in (*names, "*", self._default):
            if name in self._users:
                return self._users[name]
        return NOBODY


def _names(target: str) -> list[str]:
    steps = target.split(".")
    return [target, *("*." + ".".join(steps[i:]) for i in range(1, len(steps)))]


def _user(user: Mapping[str, Any], base: Path) -> WebhookUser:
    def content(field: str) -> bytes:
        if user.get(f"{field}-data"):
            return base64.b64decode(user[f"{field}-data"], validate=True)
        return Path(base, user[field]).read_bytes() if user.get(field) else b""

    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = Path(base, user["tokenFile"]).read_text().strip()
    authorization = f"Bearer {token}" if token else ""
    if not authorization and user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}".encode()
        authorization = f"Basic {base64.b64encode(pair).decode()}"
    return WebhookUser(authorization, content("client-certificate"), content("client-key"))
