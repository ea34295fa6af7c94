"""JSON Web Tokens as ServiceAccounts use them: compact serialization, RS256 and ES256/384/512, keys chosen by ``kid``.

Specified by RFC 7515 and RFC 7518. The algorithm follows from the key that verifies, never from the token's header: a header
that names another one (``none``, or an HMAC over a public key) fails.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

_CURVES: Mapping[str, tuple[str, hashes.HashAlgorithm, int, str]] = {
    "secp256r1": ("ES256", hashes.SHA256(), 32, "P-256"),
    "secp384r1": ("ES384", hashes.SHA384(), 48, "P-384"),
    "secp521r1": ("ES512", hashes.SHA512(), 66, "P-521"),
}
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class TokenError(ValueError):
    """A token that is not valid; the message is for logs and for TokenReview, never for the 401 itself."""


def encode_segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_segment(text: str) -> bytes:
    """Raises TokenError where it is not unpadded base64url in its one canonical form."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as failure:
        raise TokenError("not base64url") from failure
    if encode_segment(data) != text:
        raise TokenError("not canonical base64url")
    return data


def key_id(public: PublicKey) -> str:
    """What upstream derives: base64url of the SHA-256 of the key's SubjectPublicKeyInfo."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encode_segment(hashlib.sha256(der).digest())


class VerificationKey:
    """A public key that checks signatures with the one algorithm that belongs to it."""

    def __init__(self, public: PublicKey) -> None:
        self.public = public
        self.id = key_id(public)
        if isinstance(public, rsa.RSAPublicKey):
            self.algorithm = "RS256"
        elif public.curve.name in _CURVES:
            self.algorithm = _CURVES[public.curve.name][0]
        else:
            raise ValueError("unknown private key curve, must be 256, 384, or 521")

    def verify(self, data: bytes, signature: bytes) -> bool:
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
                return True
            _, digest, size, _ = _CURVES[self.public.curve.name]
            if len(signature) != 2 * size:
                return False
            r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
            self.public.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """The key as a JSON Web Key."""
        common = {"use": "sig", "kid": self.id, "alg": self.algorithm}
        if isinstance(self.public, rsa.RSAPublicKey):
            numbers = self.public.public_numbers()
            return {**common, "kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
        _, _, size, name = _CURVES[self.public.curve.name]
        point = self.public.public_numbers()
        x, y = (encode_segment(v.to_bytes(size, "big")) for v in (point.x, point.y))
        return {**common, "kty": "EC", "crv": name, "x": x, "y": y}


def _integer(value: int) -> str:
    return encode_segment(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def load_verification_keys(pem: bytes) -> list[VerificationKey]:
    """Every public key of a PEM file; a private key or a certificate stands for its public key. Raises ValueError."""
    keys = []
    for block in _pem_blocks(pem):
        loaded: Any
        if b"CERTIFICATE" in block.partition(b"\n")[0]:
            from cryptography import x509

            loaded = x509.load_pem_x509_certificate(block).public_key()
        elif b"PRIVATE KEY" in block.partition(b"\n")[0]:
            loaded = serialization.load_pem_private_key(block, None).public_key()
        else:
            loaded = serialization.load_pem_public_key(block)
        if not isinstance(loaded, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise ValueError("a service account key is neither RSA nor ECDSA")
        keys.append(VerificationKey(loaded))
    if not keys:
        raise ValueError("data does not contain any valid RSA or ECDSA public keys")
    return keys


def _pem_blocks(pem: bytes) -> list[bytes]:
    blocks: list[bytes] = []
    current: list[bytes] = []
    for line in pem.splitlines():
        if line.startswith(b"-----BEGIN EC PARAMETERS"):
            current = []
            continue
        current.append(line)
        if line.startswith(b"-----END "):
            start = next((i for i, entry in enumerate(current) if entry.startswith(b"-----BEGIN ")), None)
            if start is not None:
                blocks.append(b"\n".join(current[start:]) + b"\n")
            current = []
    return blocks


class Signer:
    """Signs claims with one private key."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.verification_key = VerificationKey(key.public_key())
        header = {"alg": self.verification_key.algorithm, "kid": self.verification_key.id}
        self._head = encode_segment(orjson.dumps(header)).encode() + b"."

    @classmethod
    def from_pem(cls, pem: bytes) -> Signer:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the service account signing key is neither RSA nor ECDSA")
        return cls(key)

    def sign(self, claims: Mapping[str, Any]) -> str:
        data = self._head + encode_segment(orjson.dumps(claims)).encode()
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            _, digest, size, _ = _CURVES[self._key.curve.name]
            r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(digest)))
            signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return f"{data.decode()}.{encode_segment(signature)}"


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token taken apart; nothing in it is to be trusted before ``verify``."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def parse(token: str) -> ParsedToken | None:
    """None where the text is not a compact JWT at all."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        header, claims = orjson.loads(decode_segment(parts[0])), orjson.loads(decode_segment(parts[1]))
        signature = decode_segment(parts[2])
        signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    except (TokenError, orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        return None
    return ParsedToken(header, claims, signed, signature)


def verify(token: ParsedToken, keys: Sequence[VerificationKey]) -> None:
    """Raises TokenError unless one of the keys signed the token; a ``kid`` limits the choice."""
    kid = token.header.get("kid")
    candidates = [k for k in keys if k.id == kid] if kid else list(keys)
    if not candidates:
        raise TokenError("invalid signature, no keys found")
    if token.header.get("crit"):
        raise TokenError("unsupported critical header")
    algorithm = token.header.get("alg")
    for key in candidates:
        if key.algorithm == algorithm and key.verify(token.signed, token.signature):
            return
    raise TokenError("go-jose/go-jose: error in cryptographic primitive")


LEEWAY = 60.0
"""Seconds of clock skew that are forgiven."""


def check_times(claims: Mapping[str, Any], now: float) -> None:
    """Raises TokenError in upstream's words where the token is not valid now."""
    moments = {}
    for name in ("nbf", "exp", "iat"):
        value = claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TokenError("service account token claims could not be validated due to unexpected validation error")
        moments[name] = value
    if moments["nbf"] is not None and now + LEEWAY < moments["nbf"]:
        raise TokenError("service account token is not valid yet")
    if moments["exp"] is not None and now - LEEWAY > moments["exp"]:
        raise TokenError("service account token has expired")
    if moments["iat"] is not None and now + LEEWAY < moments["iat"]:
        raise TokenError("service account token is issued in the future")


def audiences_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """``aud`` as a tuple: a text and a list are both allowed."""
    value = claims.get("aud")
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    return ()
