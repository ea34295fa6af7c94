"""The files of configMap, secret, downwardAPI and projected volumes, as plain data: path -> content and mode.

Specified by the API reference of the volume sources; modes, messages and order by upstream's plugins.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...api.meta import Object
from ..pod.env import ConfigError, Place, field_value, resource_value
from ..pod.model import container_spec

DEFAULT_MODE = 0o644
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class VolumeError(Exception):
    """A volume cannot be set up; the message goes into a FailedMount event."""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int = DEFAULT_MODE
    owner: int | None = None


Payload = dict[str, File]


def check_path(path: str) -> str:
    """A relative path without steps back, as the API server has validated it: checked again, for it is written by root.

    What begins with two dots is the writer's own.
    """
    if not path or path.startswith(("/", "..")) or ".." in path.split("/") or "\0" in path:
        raise VolumeError(f"invalid path {path!r} in a volume")
    return path


def config_map_data(config_map: Object) -> dict[str, bytes]:
    found = {k: v.encode("utf-8", "surrogateescape") for k, v in (config_map.get("data") or {}).items()}
    return found | {k: base64.b64decode(v) for k, v in (config_map.get("binaryData") or {}).items()}


def secret_data(secret: Object) -> dict[str, bytes]:
    return {k: base64.b64decode(v) for k, v in (secret.get("data") or {}).items()}


def select(
    data: Mapping[str, bytes], items: Iterable[Object] | None, default_mode: int, what: str, optional: bool
) -> Payload:
    """All keys, or the chosen ones under their paths. ``what`` (``configmap`` or ``secret``) is for messages."""
    if not items:
        return {check_path(k): File(v, default_mode) for k, v in data.items()}
    found: Payload = {}
    for item in items:
        key = item.get("key", "")
        if key not in data:
            if optional:
                continue
            raise VolumeError(
                f"{what} references non-existent {what} key: {key}".replace("configmap key", "config key")
            )
        mode = item.get("mode")
        found[check_path(item.get("path", ""))] = File(data[key], default_mode if mode is None else mode)
    return found


def downward_files(pod: Object, items: Iterable[Object], default_mode: int, place: Place) -> Payload:
    found: Payload = {}
    for item in items:
        mode = item.get("mode")
        try:
            if item.get("fieldRef"):
                text = field_value(pod, item["fieldRef"].get("fieldPath", ""), place)
            else:
                reference = item.get("resourceFieldRef") or {}
                container = container_spec(pod, reference.get("containerName", "")) or {}
                text = resource_value(pod, container, reference, place)
        except ConfigError as failure:
            raise VolumeError(str(failure)) from failure
        content = text.encode("utf-8", "surrogateescape")
        found[check_path(item.get("path", ""))] = File(content, default_mode if mode is None else mode)
    return found


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a volume's sources refer to, fetched before: None where an object does not exist."""

    config_maps: Mapping[str, Object | None]
    secrets: Mapping[str, Object | None]
    tokens: Mapping[tuple[str, int], str]
    """(audience, seconds) -> token."""
    bundles: Mapping[str, str | None]
    """Trust bundles by name (or by signer and selector, as ``bundle_key`` writes it)."""


def bundle_key(source: Mapping[str, Any]) -> str:
    name = source.get("name")
    return str(name) if name else f"{source.get('signerName')}|{source.get('labelSelector')}"


def pem_blocks(text: str) -> list[str]:
    """The certificates of a bundle, one by one, each with its line end."""
    return [block + "\n" for block in _PEM.findall(text)]


def token_key(source: Mapping[str, Any]) -> tuple[str, int]:
    return source.get("audience") or "", int(source.get("expirationSeconds") or 3600)


def _default_mode(source: Mapping[str, Any]) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


def payload_of(volume: Object, pod: Object, fetched: Fetched, place: Place) -> Payload:
    """The files of one of the four kinds of volume. Raises VolumeError."""
    if "configMap" in volume:
        source = volume["configMap"] or {}
        return _config_map(source, fetched, _default_mode(source))
    if "secret" in volume:
        source = volume["secret"] or {}
        renamed = {**source, "name": source.get("secretName", "")}
        return _secret(renamed, fetched, _default_mode(source))
    if "downwardAPI" in volume:
        source = volume["downwardAPI"] or {}
        return downward_files(pod, source.get("items") or (), _default_mode(source), place)
    return _projected(volume["projected"] or {}, pod, fetched, place)


def _config_map(source: Object, fetched: Fetched, mode: int) -> Payload:
    name, optional = source.get("name", ""), bool(source.get("optional"))
    found = fetched.config_maps.get(name)
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'configmap "{name}" not found')
    return select(config_map_data(found), source.get("items"), mode, "configmap", optional)


def _secret(source: Object, fetched: Fetched, mode: int) -> Payload:
    name, optional = source.get("name", ""), bool(source.get("optional"))
    found = fetched.secrets.get(name)
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'secret "{name}" not found')
    return select(secret_data(found), source.get("items"), mode, "secret", optional)


def _projected(volume: Object, pod: Object, fetched: Fetched, place: Place) -> Payload:
    mode = _default_mode(volume)
    user, group = fs_user(pod), (pod["spec"].get("securityContext") or {}).get("fsGroup")
    found: Payload = {}
    for source in volume.get("sources") or ():
        if source.get("configMap") is not None:
            found |= _config_map(source["configMap"], fetched, mode)
        elif source.get("secret") is not None:
            found |= _secret(source["secret"], fetched, mode)
        elif source.get("downwardAPI") is not None:
            found |= downward_files(pod, source["downwardAPI"].get("items") or (), mode, place)
        elif source.get("serviceAccountToken") is not None:
            token = source["serviceAccountToken"]
            # A token is for its user alone, as soon as somebody is named.
            narrow = 0o600 if user is not None or group is not None else mode
            content = fetched.tokens[token_key(token)].encode()
            found[check_path(token.get("path", ""))] = File(content, narrow, user)
        elif source.get("clusterTrustBundle") is not None:
            bundle = source["clusterTrustBundle"]
            text = fetched.bundles.get(bundle_key(bundle))
            if text is None:
                if not bundle.get("optional"):
                    raise VolumeError(f'clustertrustbundle "{bundle_key(bundle)}" not found')
                text = ""
            found[check_path(bundle.get("path", ""))] = File(text.encode(), mode)
    return found


def fs_user(pod: Object) -> int | None:
    """The user of all containers, where they agree on one."""
    whole = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = set()
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod["spec"].get(key) or ():
            own = (container.get("securityContext") or {}).get("runAsUser")
            users.add(whole if own is None else own)
    found = users.pop() if len(users) == 1 else None
    return None if found is None else int(found)


def needs(volume: Object) -> tuple[set[str], set[str], list[Object], list[Object]]:
    """(config maps, secrets, token sources, trust bundle sources) that a volume refers to."""
    maps: set[str] = set()
    secrets: set[str] = set()
    tokens: list[Object] = []
    bundles: list[Object] = []
    if volume.get("configMap"):
        maps.add(volume["configMap"].get("name", ""))
    if volume.get("secret"):
        secrets.add(volume["secret"].get("secretName", ""))
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("configMap"):
            maps.add(source["configMap"].get("name", ""))
        if source.get("secret"):
            secrets.add(source["secret"].get("name", ""))
        if source.get("serviceAccountToken") is not None:
            tokens.append(source["serviceAccountToken"])
        if source.get("clusterTrustBundle") is not None:
            bundles.append(source["clusterTrustBundle"])
    return maps, secrets, tokens, bundles
