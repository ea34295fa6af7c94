"""Signed tokens (JWT, RFC 7519) with an RSA or ECDSA P-256 key, as the API server's legacy authenticator reads them."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "kubernetes/serviceaccount"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_CURVES = {256: ("ES256", hashes.SHA256()), 384: ("ES384", hashes.SHA384()), 521: ("ES512", hashes.SHA512())}


def load_key(pem: bytes) -> PrivateKey:
    """Raises ValueError for anything but an RSA or ECDSA private key."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("the private key is neither RSA nor ECDSA")
    return key


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_id(key: PrivateKey) -> str:
    """The hash of the public key: so the server finds the key that a token was signed with."""
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return _b64(digest.finalize())


def sign(key: PrivateKey, claims: dict[str, Any]) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else _CURVES[key.curve.key_size][0]
    header = {"alg": algorithm, "kid": key_id(key)}
    signed = f"{_b64(orjson.dumps(header))}.{_b64(orjson.dumps(claims))}"
    return f"{signed}.{_b64(_signature(key, signed.encode()))}"


def _signature(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_CURVES[key.curve.key_size][1])))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def legacy_claims(namespace: str, secret: str, account: str, uid: str) -> dict[str, Any]:
    prefix = "kubernetes.io/serviceaccount"
    return {
        "iss": ISSUER,
        f"{prefix}/namespace": namespace,
        f"{prefix}/secret.name": secret,
        f"{prefix}/service-account.name": account,
        f"{prefix}/service-account.uid": uid,
        "sub": f"system:serviceaccount:{namespace}:{account}",
    }
