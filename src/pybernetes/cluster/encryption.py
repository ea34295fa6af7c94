"""The cluster's own EncryptionConfiguration: made, and its keys exchanged. The documents are upstream's."""

from __future__ import annotations

import base64
import copy
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..storage import encryption
from .certificates import write_secret
from .layout import ClusterError

PROVIDERS = ("secretbox", "aesgcm", "aescbc")
KEY_BYTES = 32


def new_document(provider: str, resources: Sequence[str]) -> dict[str, Any]:
    """One key for the resources; what was stored before stays readable."""
    providers = [{provider: {"keys": [_new_key("key1")]}}, {"identity": {}}]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(resources), "providers": providers}],
    }


def _new_key(name: str) -> dict[str, str]:
    return {"name": name, "secret": base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}


def _keys(provider: dict[str, Any]) -> list[dict[str, str]]:
    kind = next((k for k in PROVIDERS if provider.get(k)), None)
    return provider[kind]["keys"] if kind is not None else []


def with_new_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Every resource's first provider writes with a new key and still reads with its old ones. Raises ClusterError."""
    changed = copy.deepcopy(document)
    for entry in changed["resources"]:
        keys = _keys(entry["providers"][0])
        if not keys:
            raise ClusterError(
                f"the first provider of {', '.join(entry['resources'])} has no keys to exchange",
                f"put one of {', '.join(PROVIDERS)} first",
            )
        taken = {key["name"] for provider in entry["providers"] for key in _keys(provider)}
        number = next(n for n in range(1, len(taken) + 2) if f"key{n}" not in taken)
        keys.insert(0, _new_key(f"key{number}"))
    return changed


def with_newest_keys_only(document: dict[str, Any]) -> dict[str, Any]:
    """Nothing reads but what writes: to be used when everything has been written with it."""
    changed = copy.deepcopy(document)
    for entry in changed["resources"]:
        first = entry["providers"][0]
        entry["providers"] = [first]
        for kind in PROVIDERS:
            if first.get(kind):
                del first[kind]["keys"][1:]
    return changed


def read(path: Path) -> dict[str, Any]:
    """Raises ClusterError."""
    try:
        text = path.read_bytes()
        encryption.parse_text(text, str(path))
    except FileNotFoundError:
        raise ClusterError(f"{path} does not exist", "`p8s encryption init` makes it") from None
    except (OSError, ValueError) as failure:
        raise ClusterError(f"{path} cannot be used: {failure}") from failure
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def write(path: Path, document: dict[str, Any]) -> None:
    write_secret(path, yaml.safe_dump(document, sort_keys=False).encode())
