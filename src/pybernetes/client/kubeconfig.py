"""Kubeconfig files: reading one into a connection, writing ours. Specified by "Organizing Cluster Access Using kubeconfig"."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..concurrency import Clock
from .rest import Client
from .transport import HttpTransport


class KubeconfigError(ValueError):
    """A kubeconfig that cannot be used; the message says what is wrong and where."""


def load(path: str | Path) -> dict[str, Any]:
    import yaml  # not every program that knows kubeconfigs has one to read

    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as failure:
        raise KubeconfigError(f"cannot read kubeconfig {path}: {failure.strerror}") from failure
    except yaml.YAMLError as failure:
        raise KubeconfigError(f"kubeconfig {path} is not YAML: {failure}") from failure
    if not isinstance(document, dict) or "clusters" not in document:
        raise KubeconfigError(f"{path} is not a kubeconfig: it has no clusters")
    return document


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    entries = document.get(kind + "s") or []
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise KubeconfigError(f"kubeconfig: {kind}s is not a list of objects")
    entry = next((e for e in entries if e.get("name") == name), None)
    if entry is None:
        raise KubeconfigError(f"kubeconfig has no {kind} {name!r}")
    value: dict[str, Any] = entry.get(kind) or {}
    return value


def _bytes_of(entry: dict[str, Any], field: str, base: Path) -> bytes | None:
    if entry.get(f"{field}-data"):
        return base64.b64decode(entry[f"{field}-data"])
    if entry.get(field):
        return Path(base, entry[field]).read_bytes()
    return None


def current_server(path: str | Path) -> str:
    """The URL of the current context's cluster. Raises KubeconfigError."""
    document = load(path)
    chosen = _named(document, "context", document.get("current-context") or "")
    return str(_named(document, "cluster", chosen.get("cluster") or "").get("server") or "")


def client_from_kubeconfig(
    path: str | Path,
    *,
    clock: Clock | None = None,
    context: str = "",
    user_agent: str = "pybernetes",
    anonymous: bool = False,
    server: str = "",
) -> Client:
    """A client for the current (or the named) context; ``anonymous``: without its user; ``server``: at another URL.

    Raises KubeconfigError.
    """
    document = load(path)
    base = Path(path).parent
    chosen = _named(document, "context", context or document.get("current-context") or "")
    cluster = _named(document, "cluster", chosen.get("cluster") or "")
    user = _named(document, "user", chosen["user"]) if chosen.get("user") and not anonymous else {}
    url = urlsplit(server or cluster.get("server") or "")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise KubeconfigError(f"cluster server {server or cluster.get('server')!r} is not an http or https URL")
    tls = None
    if url.scheme == "https":
        tls = tls_context(
            _bytes_of(cluster, "certificate-authority", base),
            _bytes_of(user, "client-certificate", base),
            _bytes_of(user, "client-key", base),
            insecure=bool(cluster.get("insecure-skip-tls-verify")),
        )
    token_file = user.get("tokenFile")
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    transport = HttpTransport(
        url.hostname,
        url.port or (443 if tls else 80),
        tls=tls,
        server_hostname=cluster.get("tls-server-name"),
        headers=headers,
        token=(lambda: Path(token_file).read_text().strip()) if token_file else None,
    )
    return Client(transport, clock=clock, user_agent=user_agent)


def tls_context(
    ca: bytes | None, certificate: bytes | None, key: bytes | None, *, insecure: bool = False
) -> ssl.SSLContext:
    """A client's TLS context from PEM bytes. The key only touches a file that nobody else can read, and not for long."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca:
        context.load_verify_locations(cadata=ca.decode())
    else:
        context.load_default_certs()
    if certificate and key:
        load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Gives a context its certificate and key from PEM bytes; ``ssl`` itself takes only files."""
    descriptor, path = tempfile.mkstemp(prefix="p8s-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


def document_for(
    server: str,
    ca: bytes,
    *,
    user: str,
    certificate: bytes | None = None,
    key: bytes | None = None,
    token: str = "",
    cluster: str = "pybernetes",
    context: str = "",
) -> dict[str, Any]:
    """A kubeconfig with one cluster, one user, one context."""
    entry: dict[str, Any] = {}
    if certificate and key:
        entry["client-certificate-data"] = base64.b64encode(certificate).decode()
        entry["client-key-data"] = base64.b64encode(key).decode()
    if token:
        entry["token"] = token
    name = context or cluster
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()},
            }
        ],
        "users": [{"name": user, "user": entry}],
        "contexts": [{"name": name, "context": {"cluster": cluster, "user": user}}],
        "current-context": name,
    }


def write(path: str | Path, document: dict[str, Any]) -> None:
    """Written whole or not at all, readable by its owner only."""
    import yaml

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    os.replace(temporary, target)
