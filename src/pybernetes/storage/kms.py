"""KMS v2: values are encrypted with keys that come of a seed, which a plugin behind a socket has encrypted.

Specified by "Using a KMS provider for data encryption", ``k8s.io/kms/apis/v2`` and ``envelope/kmsv2``; what is stored is upstream's
EncryptedObject. The plugin is asked when a seed is made (at the start, and when its key changes) and for each seed that is met again, and
never for a single value. While it is down, what is known goes on being read, and written for three minutes more.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wire.protobuf.varint import BYTES, VARINT, ProtobufError, delimited, fields, tag, varint
from .encryption import Undecryptable

_SERVICE = "/v2.KeyManagementService/"
AES_GCM_KEY, SEED = 0, 1
SEED_SIZE = INFO_SIZE = KEY_SIZE = 32
NONCE_SIZE = 12
MAX_KEY_ID = MAX_SOURCE = 1024
MAX_ANNOTATIONS = 32 * 1024
WRITE_FOR = 180.0
"""Seconds for which a seed may be written with after the plugin was last heard of."""
POLL_GOOD, POLL_BAD = 60.0, 10.0
TIMEOUT = 3.0


class KmsError(Undecryptable):
    """What is stored, or what the plugin says, cannot be used."""


class KmsUnreachable(KmsError):
    """The plugin cannot be asked now."""

    passing = True


Call = Callable[[str, bytes], bytes]
"""(method, request) -> answer. Raises KmsError. Blocks: it is a socket of this machine."""


def grpc_call(endpoint: str, timeout: float) -> Call:
    """Over a ``unix://`` socket."""
    import grpc

    channel = grpc.insecure_channel(endpoint, options=(("grpc.enable_http_proxy", 0),))

    def call(method: str, request: bytes) -> bytes:
        try:
            answer: bytes = channel.unary_unary(_SERVICE + method)(request, timeout=timeout)
        except grpc.RpcError as failure:
            raise KmsUnreachable(f"rpc error: code = {failure.code().name} desc = {failure.details()}") from failure
        return answer

    return call


# -- messages ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """What a seed is kept as: its encrypted form, and by which key of the plugin's."""

    key_id: str
    encrypted: bytes
    annotations: tuple[tuple[str, bytes], ...] = ()
    kind: int = SEED


def _text(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return delimited(tag(number, BYTES), data) if data else b""


def _annotations(number: int, annotations: tuple[tuple[str, bytes], ...]) -> bytes:
    return b"".join(delimited(tag(number, BYTES), _text(1, k) + _text(2, v)) for k, v in annotations)


def _pair(data: bytes) -> tuple[str, bytes]:
    found = {n: v for n, _, v in fields(data) if isinstance(v, bytes)}
    return found.get(1, b"").decode(), found.get(2, b"")


def encode_object(source: Source, data: bytes) -> bytes:
    kind = tag(5, VARINT) + varint(source.kind) if source.kind else b""
    parts = (_text(1, data), _text(2, source.key_id), _text(3, source.encrypted), _annotations(4, source.annotations))
    return b"".join(parts) + kind


def decode_object(message: bytes) -> tuple[Source, bytes]:
    """Raises KmsError."""
    try:
        found = fields(message)
        one = {n: v for n, _, v in found if n != 4}
        annotations = tuple(_pair(v) for n, _, v in found if n == 4 and isinstance(v, bytes))
        key_id = one.get(2, b"")
        source = Source(
            key_id.decode() if isinstance(key_id, bytes) else "", _bytes(one.get(3)), annotations, int(one.get(5, 0))
        )
    except (ProtobufError, UnicodeDecodeError, ValueError) as failure:
        raise KmsError(f"the stored data is not an encrypted object: {failure}") from failure
    check(source)
    data = _bytes(one.get(1))
    if not data:
        raise KmsError("encrypted data is empty")
    return source, data


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def check(source: Source) -> None:
    """Raises KmsError in upstream's words."""
    if source.kind not in (AES_GCM_KEY, SEED):
        raise KmsError(f"unknown encryptedDEKSourceType: {source.kind}")
    if not source.encrypted:
        raise KmsError("failed to validate encrypted DEK source: encrypted DEK source is empty")
    if len(source.encrypted) > MAX_SOURCE:
        words = f"encrypted DEK source is {len(source.encrypted)} bytes, which exceeds the max size of {MAX_SOURCE}"
        raise KmsError(f"failed to validate encrypted DEK source: {words}")
    if not source.key_id:
        raise KmsError("failed to validate key id: keyID is empty")
    if len(source.key_id) > MAX_KEY_ID:
        words = f"keyID is {len(source.key_id)} bytes, which exceeds the max size of {MAX_KEY_ID}"
        raise KmsError(f"failed to validate key id: {words}")
    size = sum(len(k) + len(v) for k, v in source.annotations)
    if size > MAX_ANNOTATIONS:
        words = f"total size of annotations is {size}, which exceeds the max size of {MAX_ANNOTATIONS}"
        raise KmsError(f"failed to validate annotations: {words}")


# -- the provider ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    """What is written with."""

    source: Source
    seed: bytes
    until: float


@dataclass(slots=True)
class KmsCipher:
    """A ``storage.encryption.Cipher``. Its name is in the prefix of what it writes."""

    name: str
    call: Call
    monotonic: Callable[[], float]
    _state: _State | None = None
    _seeds: dict[Source, bytes] = field(default_factory=dict)

    MAX_SEEDS = 1000

    def poll(self) -> None:
        """Hears of the plugin's key, and makes another seed where it has changed. Raises KmsError."""
        began = self.monotonic()
        status = {n: v for n, _, v in self._ask("Status", b"") if isinstance(v, bytes)}
        version, health, key_id = (status.get(n, b"").decode("utf-8", "replace") for n in (1, 2, 3))
        if health != "ok":
            raise KmsError(f"kmsv2 Provider {self.name} is not healthy, error: got unexpected healthz status: {health}")
        if version not in ("v2", "v2beta1"):
            raise KmsError(
                f"kmsv2 Provider {self.name} is not healthy, error: expected KMSv2 API version v2, got {version}"
            )
        state = self._state
        if state is not None and state.source.key_id == key_id:
            state.until = began + WRITE_FOR
            return
        seed = os.urandom(SEED_SIZE)
        answer = self._ask("Encrypt", _text(1, seed) + _text(2, str(uuid.uuid4())))
        one = {n: v for n, _, v in answer if n != 3 and isinstance(v, bytes)}
        annotations = tuple(_pair(v) for n, _, v in answer if n == 3 and isinstance(v, bytes))
        source = Source(one.get(2, b"").decode("utf-8", "replace"), one.get(1, b""), annotations)
        check(source)
        self._remember(source, seed)
        self._state = _State(source, seed, began + WRITE_FOR)

    def _ask(self, method: str, request: bytes) -> list[tuple[int, int, int | bytes]]:
        try:
            return fields(self.call(method, request))
        except ProtobufError as failure:
            raise KmsError(f"the answer to {method} is no message: {failure}") from failure

    def _remember(self, source: Source, seed: bytes) -> None:
        if len(self._seeds) >= self.MAX_SEEDS:
            self._seeds.pop(next(iter(self._seeds)))
        self._seeds[source] = seed

    def _writing(self) -> _State:
        """Raises KmsError."""
        state = self._state
        if state is None or self.monotonic() > state.until:
            self.poll()
            state = self._state
            assert state is not None
        return state

    def seal(self, data: bytes, context: bytes) -> bytes:
        """Raises KmsError."""
        state = self._writing()
        info, nonce = os.urandom(INFO_SIZE), os.urandom(NONCE_SIZE)
        sealed: bytes = info + nonce + _aead(_derived(state.seed, info)).encrypt(nonce, data, context)
        return encode_object(state.source, sealed)

    def open(self, data: bytes, context: bytes) -> bytes:
        """Raises KmsError."""
        from cryptography.exceptions import InvalidTag

        source, sealed = decode_object(data)
        key = self._seeds.get(source)
        if key is None:
            key = self._decrypted(source)
            self._remember(source, key)
        if source.kind == SEED:
            if len(key) < SEED_SIZE:
                raise KmsError(f"invalid seed length {len(key)} used for key generation")
            if len(sealed) < INFO_SIZE:
                raise KmsError("the stored data was shorter than the required size")
            key, sealed = _derived(key, sealed[:INFO_SIZE]), sealed[INFO_SIZE:]
        if len(sealed) < NONCE_SIZE + 16:
            raise KmsError("the stored data was shorter than the required size")
        try:
            plain: bytes = _aead(key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], context)
        except (InvalidTag, ValueError) as failure:
            raise KmsError("cipher: message authentication failed") from failure
        return plain

    def _decrypted(self, source: Source) -> bytes:
        request = _text(1, source.encrypted) + _text(2, str(uuid.uuid4())) + _text(3, source.key_id)
        try:
            answer = self._ask("Decrypt", request + _annotations(4, source.annotations))
        except KmsError as failure:
            raise type(failure)(f"failed to decrypt DEK, error: {failure}") from failure
        return next((v for n, _, v in answer if n == 1 and isinstance(v, bytes)), b"")

    def is_current(self, data: bytes) -> bool:
        """Whether it is written by the key that the plugin writes with now."""
        state = self._state
        try:
            source, _ = decode_object(data)
        except KmsError:
            return False
        return state is not None and (source.key_id, source.kind) == (state.source.key_id, SEED)


def _derived(seed: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return HKDFExpand(hashes.SHA256(), KEY_SIZE, info).derive(seed)


def _aead(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


# -- the configuration -------------------------------------------------------------------------------------------------


def problem(spec: Mapping[str, object], where: str, names: set[str], timeout: float) -> str:
    """What is wrong with a ``kms`` provider; the name is noted in ``names``."""
    name, endpoint, version = spec.get("name") or "", str(spec.get("endpoint") or ""), spec.get("apiVersion") or "v1"
    if not name:
        return f"{where}.name: Required value: name is a mandatory field for a provider"
    if version == "v1":
        words = "KMSv1 is deprecated and not supported here, use KMSv2 instead"
        return f'{where}.apiVersion: Invalid value: "{version}": {words}'
    if version != "v2":
        return f'{where}.apiVersion: Invalid value: "{version}": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported'
    if ":" in str(name):
        return f"{where}.name: Invalid value: \"{name}\": invalid KMS provider name {name}, must not contain ':'"
    if name in names:
        return f'{where}.name: Invalid value: "{name}": duplicate KMS provider name {name}, names must be unique'
    names.add(str(name))
    if timeout <= 0:
        return f'{where}.timeout: Invalid value: "{spec.get("timeout")}": timeout should be a positive value'
    if not endpoint:
        return f'{where}.endpoint: Invalid value: "": endpoint is a mandatory field for a kms'
    scheme = endpoint.partition(":")[0]
    if scheme != "unix":
        return f'{where}.endpoint: Invalid value: "{endpoint}": unsupported scheme "{scheme}" for KMS provider, only unix is supported'
    if spec.get("cachesize") is not None:
        return f"{where}.cachesize: Invalid value: {spec['cachesize']}: cachesize is not supported in v2"
    return ""
