"""Getting a container's image: pull policy, credentials, back-off, events in upstream's words.

Rules of upstream's ``pkg/kubelet/images``. Credentials are those of the pod's ``imagePullSecrets`` (docker config JSON).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import orjson

from ..client.events import NORMAL, WARNING
from ..concurrency import Clock
from .cri import CRIClient, CRIError
from .cri.codec import Message
from .pod.model import Object

Tell = Callable[[str, str, str], None]
"""(event type, reason, message) about the container at hand."""

_NAME = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"(?::[0-9]+)?/|\[[a-fA-F0-9:]+\](?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?P<tag>:\w[\w.-]{0,127})?(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
PULL_BASE, PULL_MAXIMUM = 10.0, 300.0


class ImagePullError(Exception):
    """``reason`` is that of the waiting container (ErrImagePull ...). ``again``: seconds until another try is worth it."""

    def __init__(self, reason: str, message: str, again: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.again = reason, message, again


def normalized(image: str) -> str:
    """The image with ``:latest`` where it names neither tag nor digest. Raises ImagePullError (InvalidImageName)."""
    match = _NAME.fullmatch(image)
    if match is None or len(image) > 512:
        why = "invalid reference format"
        if image and image.lower() != image and _NAME.fullmatch(image.lower()):
            why = "invalid reference format: repository name must be lowercase"
        text = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {why}'
        raise ImagePullError("InvalidImageName", text)
    return image if match["tag"] or match["digest"] else f"{image}:latest"


# -- credentials ---------------------------------------------------------------------------------------------------------


def credentials(image: str, secrets: Sequence[Object]) -> list[Message]:
    """The AuthConfigs out of pull secrets that fit the image's registry, the most specific first."""
    found: list[tuple[int, Message]] = []
    registry, slash, _ = image.partition("/")
    named = bool(slash) and ("." in registry or ":" in registry or registry == "localhost")
    target = image if named else f"docker.io/{image}"
    for secret in secrets:
        for server, entry in _docker_config(secret).items():
            pattern = re.sub(r"^https?://", "", server).rstrip("/")
            pattern = re.sub(r"^(index\.docker\.io|docker\.io)(/v[12])?$", "docker.io", pattern)
            if _fits(pattern, target):
                found.append((len(pattern), _auth(entry)))
    return [auth for _, auth in sorted(found, key=lambda pair: -pair[0])]


def _docker_config(secret: Object) -> dict[str, Object]:
    data = secret.get("data") or {}
    for key, inner in ((".dockerconfigjson", "auths"), (".dockercfg", "")):
        if key in data:
            try:
                document = orjson.loads(base64.b64decode(data[key]))
            except (orjson.JSONDecodeError, binascii.Error):
                return {}
            found = document.get(inner) if inner else document
            return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
    return {}


def _fits(pattern: str, target: str) -> bool:
    host, _, path = pattern.partition("/")
    target_host, _, target_path = target.partition("/")
    if host.count(".") != target_host.count(".") or not fnmatchcase(target_host, host):
        return False
    return not path or target_path.startswith(path)


def _auth(entry: Object) -> Message:
    auth: Message = {"username": entry.get("username", ""), "password": entry.get("password", "")}
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            auth = {"username": user, "password": password}
        except (binascii.Error, UnicodeDecodeError):
            auth["auth"] = entry["auth"]
    if entry.get("identitytoken"):
        auth["identity_token"] = entry["identitytoken"]
    return auth


# -- pulling -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trouble:
    delay: float
    since: float
    message: str


@dataclass(slots=True)
class ImageInfo:
    """What is needed of an image to make a container."""

    ref: str
    uid: int | None = None
    username: str = ""


@dataclass(slots=True)
class ImageManager:
    """Ensures images. One pull at a time unless ``parallel`` allows more (0: no limit); nobody pulls one image twice at once."""

    cri: CRIClient
    clock: Clock
    parallel: int = 1
    last_used: dict[str, float] = field(default_factory=dict)
    """Image id -> when a container was last made of it (garbage collection asks)."""
    _trouble: dict[tuple[str, str], _Trouble] = field(default_factory=dict)
    _slots: asyncio.Semaphore | None = None

    async def ensure(
        self, pod: Object, image: str, policy: str, tell: Tell, secrets: Sequence[Object], sandbox: Message | None
    ) -> ImageInfo:
        """Raises ImagePullError; the events have been told then."""
        try:
            wanted = normalized(image)
        except ImagePullError as failure:
            tell(WARNING, "InspectFailed", failure.message)
            raise
        if policy != "Always":
            found = await self._present(wanted, tell)
            if found is not None:
                tell(
                    NORMAL,
                    "Pulled",
                    f'Container image "{image}" already present on machine and can be accessed by the pod',
                )
                return self._info(found)
            if policy == "Never":
                message = f'Container image "{image}" is not present with pull policy of Never'
                tell(WARNING, "ErrImageNeverPull", message)
                raise ImagePullError("ErrImageNeverPull", message)
        await self._pull(pod, image, wanted, tell, secrets, sandbox)
        found = await self._present(wanted, tell)
        if found is None:
            raise ImagePullError("ErrImagePull", f'image "{image}" is gone right after it was pulled')
        return self._info(found)

    def _info(self, image: Message) -> ImageInfo:
        self.last_used[image["id"]] = self.clock.monotonic()
        uid = image.get("uid")
        return ImageInfo(image["id"], uid.get("value", 0) if uid is not None else None, image.get("username", ""))

    async def _present(self, wanted: str, tell: Tell) -> Message | None:
        try:
            return await self.cri.image_status(wanted)
        except CRIError as failure:
            message = f'Failed to inspect image "{wanted}": {failure}'
            tell(WARNING, "InspectFailed", message)
            raise ImagePullError("ImageInspectError", message) from failure

    async def _pull(
        self, pod: Object, image: str, wanted: str, tell: Tell, secrets: Sequence[Object], sandbox: Message | None
    ) -> None:
        key = (pod["metadata"]["uid"], image)
        trouble = self._trouble.get(key)
        if trouble is not None:
            left = trouble.since + trouble.delay - self.clock.monotonic()
            if left > 0:
                message = f'Back-off pulling image "{image}"'
                tell(NORMAL, "BackOff", message)
                raise ImagePullError("ImagePullBackOff", f"{message}: {trouble.message}", left)
        tell(NORMAL, "Pulling", f'Pulling image "{image}"')
        asked = self.clock.monotonic()
        try:
            async with self._slot():
                begun = self.clock.monotonic()
                await self._pull_with(wanted, secrets, sandbox)
        except CRIError as failure:
            tell(WARNING, "Failed", f'Failed to pull image "{image}": {failure}')
            delay = min(PULL_MAXIMUM, trouble.delay * 2) if trouble is not None else PULL_BASE
            reason, message = _judged(image, failure)
            self._trouble[key] = _Trouble(delay, self.clock.monotonic(), f"{reason}: {message}")
            raise ImagePullError(reason, message, delay) from failure
        self._trouble.pop(key, None)
        await self._tell_pulled(image, wanted, begun - asked, tell, self.clock.monotonic() - begun)

    async def _tell_pulled(self, image: str, wanted: str, waited: float, tell: Tell, took: float) -> None:
        found = await self.cri.image_status(wanted)
        size = (found or {}).get("size", 0)
        whole, pull = _go_milliseconds(waited + took), _go_milliseconds(took)
        text = f'Successfully pulled image "{image}" in {pull} ({whole} including waiting). Image size: {size} bytes.'
        tell(NORMAL, "Pulled", text)

    def _slot(self) -> asyncio.Semaphore:
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.parallel or 1 << 16)
        return self._slots

    async def _pull_with(self, wanted: str, secrets: Sequence[Object], sandbox: Message | None) -> None:
        chosen = credentials(wanted, secrets)
        for index, auth in enumerate(chosen):
            try:
                await self.cri.pull_image({"image": wanted}, auth, sandbox)
                return
            except CRIError:
                if index == len(chosen) - 1:
                    raise
        await self.cri.pull_image({"image": wanted}, None, sandbox)

    def forget(self, uid: str) -> None:
        """Drops what is remembered of a pod's failed pulls."""
        for key in [k for k in self._trouble if k[0] == uid]:
            del self._trouble[key]


def _judged(image: str, failure: CRIError) -> tuple[str, str]:
    for reason, what in (
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ):
        if failure.detail.startswith(reason):
            return reason, f"image pull failed for {image} because {what}{failure.detail.removeprefix(reason)}"
    return "ErrImagePull", str(failure)


def _go_milliseconds(seconds: float) -> str:
    """As Go prints a duration cut to milliseconds: ``0s``, ``850ms``, ``1.234s``, ``1m2.5s``."""
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{text}" if minutes else text
