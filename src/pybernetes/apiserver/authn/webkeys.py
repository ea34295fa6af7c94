"""Keys and signatures of other issuers: JSON Web Key Sets, and all asymmetric algorithms that upstream takes. Pure.

Specified by RFC 7517 and RFC 7518. An algorithm that the key cannot have made fails, whatever the token's header says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from .jwt import ParsedToken, PublicKey, TokenError, decode_segment

_DIGESTS: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: Mapping[str, tuple[ec.EllipticCurve, str, int]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
    "P-521": (ec.SECP521R1(), "ES512", 66),
}
ALGORITHMS = tuple(f"{family}{size}" for family in ("ES", "PS", "RS") for size in _DIGESTS)
MIN_RSA_BITS = 1024


@dataclass(frozen=True, slots=True)
class WebKey:
    """A public key that somebody publishes."""

    public: PublicKey
    id: str
    size: int = 0
    """Of one half of a signature, for a curve."""
    algorithm: str = ""
    """The only one that a curve's key can have."""

    def verifies(self, algorithm: str, data: bytes, signature: bytes) -> bool:
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                return self._verifies_rsa(self.public, algorithm, data, signature)
            if algorithm != self.algorithm or len(signature) != 2 * self.size:
                return False
            r, s = (int.from_bytes(half, "big") for half in (signature[: self.size], signature[self.size :]))
            self.public.verify(encode_dss_signature(r, s), data, ec.ECDSA(_DIGESTS[algorithm[2:]]))
        except InvalidSignature:
            return False
        return True

    @staticmethod
    def _verifies_rsa(public: rsa.RSAPublicKey, algorithm: str, data: bytes, signature: bytes) -> bool:
        digest = _DIGESTS[algorithm[2:]]
        if algorithm.startswith("RS"):
            public.verify(signature, data, padding.PKCS1v15(), digest)
        elif algorithm.startswith("PS"):
            public.verify(signature, data, padding.PSS(padding.MGF1(digest), padding.PSS.AUTO), digest)
        else:
            return False
        return True


def parse_key_set(data: bytes) -> tuple[WebKey, ...]:
    """The keys of a set that verify signatures; of other kinds of keys it may have any. Raises ValueError."""
    document = orjson.loads(data)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    found = []
    for entry in entries:
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig":
            key = _key(entry)
            if key is not None:
                found.append(key)
    return tuple(found)


def _key(entry: Mapping[str, Any]) -> WebKey | None:
    name = str(entry.get("kid") or "")
    if entry.get("kty") == "RSA":
        n, e = _integer(entry, "n"), _integer(entry, "e")
        if n.bit_length() < MIN_RSA_BITS:
            raise ValueError(f"the RSA key {name!r} is too short")
        return WebKey(rsa.RSAPublicNumbers(e, n).public_key(), name)
    if entry.get("kty") == "EC" and entry.get("crv") in _CURVES:
        curve, algorithm, size = _CURVES[str(entry["crv"])]
        numbers = ec.EllipticCurvePublicNumbers(_integer(entry, "x"), _integer(entry, "y"), curve)
        return WebKey(numbers.public_key(), name, size, algorithm)
    return None


def _integer(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, str):
        raise ValueError(f"a key has no {name}")
    return int.from_bytes(decode_segment(value), "big")


def check_algorithm(token: ParsedToken, allowed: Sequence[str]) -> str:
    """The algorithm of the header, where it is one of these. Raises TokenError."""
    algorithm = token.header.get("alg")
    if algorithm not in allowed or token.header.get("crit"):
        listed = " ".join(f'"{a}"' for a in allowed)
        raise TokenError(
            f'oidc: verify token: oidc: id token signed with unsupported algorithm, expected [{listed}] got "{algorithm}"'
        )
    return str(algorithm)


def signed_by(token: ParsedToken, algorithm: str, keys: Sequence[WebKey]) -> bool:
    """Whether one of the keys signed it; a ``kid`` limits the choice."""
    kid = token.header.get("kid") or ""
    return any(k.verifies(algorithm, token.signed, token.signature) for k in keys if not kid or k.id == kid)
