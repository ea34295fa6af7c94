"""Encryption at rest: a Store that keeps chosen resources encrypted in another Store.

Specified by "Encrypting Confidential Data at Rest" (``EncryptionConfiguration``); what is stored is upstream's format, so that a
store can change hands: ``k8s:enc:aescbc:v1:key1:`` and the ciphertext. The first provider of a resource writes, all of them
read. AES-GCM also binds a value to its key in the store, so that values cannot be exchanged for each other.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..api.schema.scalars import parse_duration
from ..api.shapes import DURATION, INT, STRING, Items, Shape, ShapeError, Struct, check
from ..concurrency import Clock, logger
from .contract import (
    Cancel,
    Deliver,
    Event,
    KeyValue,
    Page,
    Progress,
    RevisionMismatch,
    Store,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from .kms import KmsCipher

log = logger("storage.encryption")

PREFIX = b"k8s:enc:"
AES_KEY_SIZES = (16, 24, 32)
SECRETBOX_KEY_SIZES = (32,)
KINDS = ("aescbc", "aesgcm", "secretbox", "identity", "kms")

Classify = Callable[[str], "tuple[str, str] | None"]
"""The (group, resource) that a store key belongs to."""


class EncryptionError(ValueError):
    """A configuration that cannot be used; the message is upstream's."""


class Undecryptable(ValueError):
    """Data that none of the keys opens."""


class Cipher(Protocol):
    """One way of keeping a value; ``context`` is the value's key in the store."""

    def seal(self, data: bytes, context: bytes) -> bytes: ...

    def open(self, data: bytes, context: bytes) -> bytes:
        """Raises Undecryptable."""
        ...


# -- ciphers -----------------------------------------------------------------------------------------------------------


class AesCbc:
    """AES-CBC with PKCS#7 padding and a random IV before the ciphertext. It does not tell whether data was changed."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import algorithms

        self._algorithm = algorithms.AES(key)

    def seal(self, data: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as _Cipher
        from cryptography.hazmat.primitives.ciphers import modes

        iv = os.urandom(16)
        padding = 16 - len(data) % 16
        encryptor = _Cipher(self._algorithm, modes.CBC(iv)).encryptor()
        return iv + encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()

    def open(self, data: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as _Cipher
        from cryptography.hazmat.primitives.ciphers import modes

        if len(data) < 32:
            raise Undecryptable("the stored data was shorter than the required size")
        if len(data) % 16:
            raise Undecryptable("the stored data is not a multiple of the block size")
        decryptor = _Cipher(self._algorithm, modes.CBC(data[:16])).decryptor()
        plain = decryptor.update(data[16:]) + decryptor.finalize()
        padding = plain[-1]
        if not 0 < padding <= 16 or plain[-padding:] != bytes([padding]) * padding:
            raise Undecryptable("invalid padding on input")
        return plain[:-padding]


class AesGcm:
    """AES-GCM with a random nonce before the ciphertext, and the store key as associated data."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(key)

    def seal(self, data: bytes, context: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, data, context)

    def open(self, data: bytes, context: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(data) < 28:
            raise Undecryptable("the stored data was shorter than the required size")
        try:
            return self._aead.decrypt(data[:12], data[12:], context)
        except InvalidTag as failure:
            raise Undecryptable("cipher: message authentication failed") from failure


class Secretbox:
    """XSalsa20 and Poly1305 as NaCl's secretbox puts them together, the nonce before the ciphertext."""

    def __init__(self, key: bytes) -> None:
        from nacl.secret import SecretBox

        self._box = SecretBox(key)

    def seal(self, data: bytes, context: bytes) -> bytes:
        return bytes(self._box.encrypt(data))

    def open(self, data: bytes, context: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        if len(data) < 40:
            raise Undecryptable("the stored data was shorter than the required size")
        try:
            return bytes(self._box.decrypt(data))
        except CryptoError as failure:
            raise Undecryptable("output array was not large enough for encryption") from failure


_CIPHERS: Mapping[str, tuple[Callable[[bytes], Cipher], Sequence[int]]] = {
    "aescbc": (AesCbc, AES_KEY_SIZES),
    "aesgcm": (AesGcm, AES_KEY_SIZES),
    "secretbox": (Secretbox, SECRETBOX_KEY_SIZES),
}


_KEYS = Struct("AESConfiguration", {"keys": Items(Struct("v1.Key", {"name": STRING, "secret": STRING}))})
_KMS = {"apiVersion": STRING, "name": STRING, "cachesize": INT, "endpoint": STRING, "timeout": DURATION}
_PROVIDER: dict[str, Shape] = {"aesgcm": _KEYS, "aescbc": _KEYS, "secretbox": _KEYS}
_PROVIDER |= {"identity": Struct("IdentityConfiguration", {}), "kms": Struct("KMSConfiguration", _KMS)}
_RESOURCES: dict[str, Shape] = {
    "resources": Items(STRING),
    "providers": Items(Struct("v1.ProviderConfiguration", _PROVIDER)),
}
SHAPE = Struct("EncryptionConfiguration", {"resources": Items(Struct("v1.ResourceConfiguration", _RESOURCES))})


# -- providers and configuration ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provider:
    """A cipher with the prefix by which its values are known; identity has neither."""

    prefix: bytes = b""
    cipher: Cipher | None = None


@dataclass(frozen=True, slots=True)
class Transformer:
    """The providers of one list of resources."""

    providers: tuple[Provider, ...]

    def seal(self, data: bytes, key: str) -> bytes:
        first = self.providers[0]
        return data if first.cipher is None else first.prefix + first.cipher.seal(data, key.encode())

    def open(self, data: bytes, key: str) -> bytes:
        """Raises Undecryptable."""
        problem = ""
        for provider in self.providers:
            if provider.cipher is None:
                if not data.startswith(PREFIX):
                    return data
                problem = problem or "identity transformer tried to read encrypted data"
            elif data.startswith(provider.prefix):
                try:
                    return provider.cipher.open(data[len(provider.prefix) :], key.encode())
                except Undecryptable as failure:
                    problem = str(failure)
        raise Undecryptable(problem or "no matching prefix found")

    def is_current(self, data: bytes) -> bool:
        """Whether the provider that writes has written this."""
        first = self.providers[0]
        if first.cipher is None:
            return not data.startswith(PREFIX)
        if not data.startswith(first.prefix):
            return False
        newest = getattr(first.cipher, "is_current", None)
        return newest is None or bool(newest(data[len(first.prefix) :]))


@dataclass(frozen=True, slots=True)
class Encryption:
    """A parsed configuration: for (group, resource) patterns in order, who transforms."""

    rules: tuple[tuple[tuple[str, str], Transformer], ...] = ()
    kms: tuple[KmsCipher, ...] = ()
    """Those whose plugins want to be asked now and then."""

    def transformer_for(self, group: str, resource: str) -> Transformer | None:
        for (wanted_group, wanted), transformer in self.rules:
            if wanted in ("*", resource) and wanted_group in ("*", group):
                return transformer
        return None


def load(path: str | Path, clock: Clock | None = None) -> Encryption:
    """Raises EncryptionError or OSError."""
    return parse_text(Path(path).read_bytes(), str(path), clock)


def parse_text(data: bytes, where: str = "the configuration", clock: Clock | None = None) -> Encryption:
    """``clock`` is needed where the configuration is to be used, and not only to be looked at."""
    import yaml

    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as failure:
        raise EncryptionError(f"error decoding encryption provider configuration file {where}: {failure}") from failure
    return parse(document, clock)


def parse(document: Any, clock: Clock | None = None) -> Encryption:
    """Raises EncryptionError."""
    if not isinstance(document, Mapping) or document.get("kind") not in ("EncryptionConfiguration", "EncryptionConfig"):
        raise EncryptionError("got unexpected config type")
    try:
        unknown = check({k: v for k, v in document.items() if k not in ("apiVersion", "kind")}, SHAPE)
    except ShapeError as failure:
        raise EncryptionError(str(failure)) from failure
    if unknown:
        raise EncryptionError("strict decoding error: " + ", ".join(unknown))
    entries = [entry or {} for entry in document.get("resources") or ()]
    if not entries:
        raise EncryptionError("resources: Required value: at least one resources is required")
    rules: list[tuple[tuple[str, str], Transformer]] = []
    plugins: dict[str, KmsCipher] = {}
    for i, entry in enumerate(entries):
        where = f"resources[{i}]"
        names = entry.get("resources") or ()
        if not names:
            raise EncryptionError(f"{where}.resources: Required value: at least one {where}.resources is required")
        patterns = [_pattern(name, f"{where}.resources[{j}]") for j, name in enumerate(names)]
        if len(set(patterns)) != len(patterns):
            raise EncryptionError(
                f"{where}.resources: Invalid value: the same resource cannot be specified multiple times"
            )
        providers = tuple(
            p
            for j, spec in enumerate(entry.get("providers") or ())
            for p in _providers(spec, f"{where}.providers[{j}]", plugins, clock)
        )
        if not providers:
            raise EncryptionError(f"{where}.providers: Required value: at least one {where}.providers is required")
        rules += [(pattern, Transformer(providers)) for pattern in patterns]
    return Encryption(tuple(rules), tuple(plugins.values()))


def _pattern(name: Any, where: str) -> tuple[str, str]:
    """(group, resource) of ``secrets``, ``deployments.apps``, ``*.apps``, ``*.`` or ``*.*``."""
    if not isinstance(name, str) or not name:
        raise EncryptionError(f"{where}: Invalid value: must be a resource's name")
    if name == "*":
        raise EncryptionError(
            f"{where}: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group or *.* to encrypt all "
            "resources"
        )
    if name != name.lower():
        raise EncryptionError(f'{where}: Invalid value: "{name}": resource name should not contain capital letters')
    resource, _, group = name.partition(".")
    if group == "*" and resource != "*":
        raise EncryptionError(
            f'{where}: Invalid value: "{name}": encrypting the same resource across groups is not supported'
        )
    if group == "events.k8s.io":
        raise EncryptionError(
            f"{where}: Invalid value: \"{name}\": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. "
            "Use 'events' instead in the config file"
        )
    return group, resource


def _kms(spec: Mapping[str, Any], where: str, plugins: dict[str, KmsCipher], clock: Clock | None) -> Provider:
    from . import kms

    timeout = parse_duration(spec["timeout"]) / 1e9 if spec.get("timeout") else kms.TIMEOUT
    wrong = kms.problem(spec, where, set(plugins), timeout)
    if wrong:
        raise EncryptionError(wrong)
    name = spec["name"]
    call = kms.grpc_call(spec["endpoint"], timeout)
    plugins[name] = kms.KmsCipher(name, call, clock.monotonic if clock is not None else lambda: 0.0)
    return Provider(PREFIX + f"kms:v2:{name}:".encode(), plugins[name])


def _providers(spec: Any, where: str, plugins: dict[str, KmsCipher], clock: Clock | None) -> list[Provider]:
    if not isinstance(spec, Mapping):
        raise EncryptionError(f"{where}: Invalid value: must be an object")
    present = [k for k in KINDS if spec.get(k) is not None]
    if not present:
        raise EncryptionError(
            f"{where}: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, "
            "Secretbox, Identity"
        )
    if len(present) > 1:
        raise EncryptionError(
            f"{where}: Invalid value: more than one provider specified in a single element, should split into different list "
            "elements"
        )
    kind = present[0]
    if kind == "identity":
        return [Provider()]
    if kind == "kms":
        return [_kms(spec[kind], f"{where}.kms", plugins, clock)]
    make, sizes = _CIPHERS[kind]
    keys = spec[kind].get("keys") or ()
    if not keys:
        raise EncryptionError(f"{where}.{kind}.keys: Required value: at least one keys is required")
    providers = []
    for i, key in enumerate(keys):
        at = f"{where}.{kind}.keys[{i}]"
        name = (key or {}).get("name")
        if not name:
            raise EncryptionError(f"{at}.name: Required value: name is a mandatory field for a key")
        if ":" in name:
            raise EncryptionError(f"{at}.name: Invalid value: \"{name}\": must not contain ':'")
        prefix = PREFIX + f"{kind}:v1:{name}:".encode()
        providers.append(Provider(prefix, make(_secret(key.get("secret"), sizes, at))))
    return providers


def _secret(text: Any, sizes: Sequence[int], where: str) -> bytes:
    if not text:
        raise EncryptionError(f"{where}.secret: Required value: secret is a mandatory field for a key")
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as failure:
        raise EncryptionError(f'{where}.secret: Invalid value: "REDACTED": secrets must be base64 encoded') from failure
    if len(secret) not in sizes:
        expected = "[" + " ".join(str(s) for s in sizes) + "]"
        raise EncryptionError(
            f'{where}.secret: Invalid value: "REDACTED": secret is not of the expected length, got {len(secret)}, '
            f"expected one of {expected}"
        )
    return secret


# -- the store ---------------------------------------------------------------------------------------------------------


class _Sealed:
    """The note of a write that this process made: the plain value, so that it need not be opened again."""

    __slots__ = ("note", "plain")

    def __init__(self, plain: bytes, note: Any) -> None:
        self.plain, self.note = plain, note


def _unknown(key: str) -> tuple[str, str] | None:
    raise RuntimeError(f"nobody has said which resource {key} belongs to")


class EncryptingStore:
    """A Store whose values are transformed on their way into another one."""

    def __init__(self, inner: Store, encryption: Encryption, classify: Classify | None = None) -> None:
        self._inner, self._encryption = inner, encryption
        self.classify: Classify = classify or _unknown
        """Set before ``open`` by who knows which keys there are."""
        self._known: dict[str, Transformer | None] = {}
        self.single_writer, self.engine = inner.single_writer, inner.engine
        self._unwell = ""
        self._polling = asyncio.Lock()

    @property
    def has_plugins(self) -> bool:
        return bool(self._encryption.kms)

    async def run(self, clock: Clock) -> None:
        """Asks the plugins of KMS providers how they are and which key they have, until cancelled."""
        from .kms import POLL_BAD, POLL_GOOD

        while True:
            await clock.sleep(POLL_GOOD if await self._poll() else POLL_BAD)

    async def _poll(self) -> bool:
        async with self._polling:  # an older answer must not overwrite a newer one
            unwell = ""
            for plugin in self._encryption.kms:
                try:
                    await asyncio.to_thread(plugin.poll)
                except Undecryptable as failure:
                    unwell = str(failure)
                    log.error("a KMS plugin is not well", name=plugin.name, error=unwell)
            self._unwell = unwell
            return not unwell

    async def well(self) -> None:
        """The health check ``kms-providers``. Raises RuntimeError where a plugin did not answer well when it was last asked."""
        if self._unwell:
            raise RuntimeError(self._unwell)

    def configure(self, encryption: Encryption) -> None:
        """Takes another configuration for every later read and write."""
        self._encryption = encryption
        self._known.clear()

    def _transformer(self, key: str) -> Transformer | None:
        # The directory of a key decides; there are as many as resources and namespaces.
        directory = key[: key.rfind("/")]
        try:
            return self._known[directory]
        except KeyError:
            if len(self._known) >= 65536:
                self._known.clear()
            resource = self.classify(key)
            found = self._encryption.transformer_for(*resource) if resource is not None else None
            self._known[directory] = found
            return found

    def _open(self, key: str, value: bytes) -> bytes:
        """Raises StoreDamaged."""
        transformer = self._transformer(key)
        if transformer is None:
            if value.startswith(PREFIX):
                words = "it is encrypted, and the configuration names no key for it"
                raise StoreDamaged(f'unable to transform key "{key}": {words}')
            return value
        try:
            return transformer.open(value, key)
        except Undecryptable as failure:
            kind = StoreUnavailable if getattr(failure, "passing", False) else StoreDamaged
            raise kind(f'unable to transform key "{key}": {failure}') from failure

    def _opened(self, item: KeyValue) -> KeyValue:
        return KeyValue(item.key, self._open(item.key, item.value), item.revision)

    async def open(self) -> None:
        if self._encryption.kms:
            await self._poll()
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def get(self, key: str) -> KeyValue | None:
        found = await self._inner.get(key)
        return self._opened(found) if found is not None else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        page = await self._inner.list(prefix, after=after, limit=limit, revision=revision)
        return Page([self._opened(item) for item in page.items], page.revision, page.remaining)

    async def count(self, prefix: str) -> int:
        return await self._inner.count(prefix)

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, note: Any = None, ttl: float = 0
    ) -> int:
        transformer = self._transformer(key)
        if transformer is None:
            return await self._inner.put(key, value, expected=expected, note=note, ttl=ttl)
        try:
            sealed = transformer.seal(value, key)
        except Undecryptable as failure:
            raise StoreUnavailable(f'unable to transform key "{key}": {failure}') from failure
        return await self._inner.put(key, sealed, expected=expected, note=_Sealed(value, note), ttl=ttl)

    async def delete(self, key: str, *, expected: int | None = None, note: Any = None) -> int:
        return await self._inner.delete(key, expected=expected, note=note)

    def watch(
        self,
        prefix: str,
        after: int,
        deliver: Deliver,
        failed: Callable[[StoreError], None],
        progress: Progress | None = None,
    ) -> Cancel:
        def opened(events: Sequence[Event]) -> None:
            try:
                plain = [self._opened_event(e) for e in events]
            except StoreError as failure:
                failed(failure)
                return
            deliver(plain)

        return self._inner.watch(prefix, after, opened, failed, progress)

    def _opened_event(self, event: Event) -> Event:
        if event.value is None:
            return event
        note = event.note
        if isinstance(note, _Sealed):
            return Event(event.revision, event.key, note.plain, event.previous_revision, note.note)
        value = self._open(event.key, event.value)
        if value is event.value:
            return event
        return Event(event.revision, event.key, value, event.previous_revision, note)

    async def current_revision(self) -> int:
        return await self._inner.current_revision()

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    async def snapshot(self, path: Path) -> int:
        return await self._inner.snapshot(path)

    async def size(self) -> int:
        return await self._inner.size()

    async def rewrite(self, prefixes: Iterable[str]) -> int:
        """Writes everything anew that the first provider of its resource has not written; the number of writes.

        After it, and after compaction has taken the history, older keys may leave the configuration.
        """
        written = 0
        for prefix in prefixes:
            page = await self._inner.list(prefix)
            for item in page.items:
                written += await self._rewrite(item)
        return written

    async def _rewrite(self, item: KeyValue) -> int:
        current: KeyValue | None = item
        while current is not None:
            transformer = self._transformer(current.key)
            stale = not transformer.is_current(current.value) if transformer else current.value.startswith(PREFIX)
            if not stale:
                return 0
            plain = self._open(current.key, current.value)
            try:
                await self.put(current.key, plain, expected=current.revision)
            except RevisionMismatch:
                # Somebody wrote it, with the new key.
                current = await self._inner.get(current.key)
                continue
            return 1
        return 0
