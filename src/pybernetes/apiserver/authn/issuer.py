"""Issuing ServiceAccount tokens (the ``serviceaccounts/token`` subresource) and telling others how to verify them.

Specified by the "TokenRequest" reference, ``kubernetes/pkg/registry/core/serviceaccount/storage/token.go`` and OpenID Connect
Discovery 1.0.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from ...api import errors
from ...api.meta import Object, metadata, name_of, namespace_of, uid_of
from ...api.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS, parse_api_version
from ...api.times import to_time
from ...concurrency import Clock
from ...hooks.reading import ObjectReader
from . import jwt
from .serviceaccounts import LEGACY_ISSUER, username
from .tokens import Audiences

GROUP, KIND = "authentication.k8s.io", "TokenRequest"
MIN_SECONDS, DEFAULT_SECONDS = 600, 3600
WARN_ONLY_SECONDS = 3607
"""What the admission plugin asks for in the volumes that it injects: such a token outlives its time, with a warning."""
EXTENDED_SECONDS = 365 * 24 * 3600
ISSUED_CREDENTIAL_ID = "authentication.kubernetes.io/issued-credential-id"


class TokenIssuer:
    """Signs tokens for ServiceAccounts."""

    def __init__(
        self,
        signer: jwt.Signer,
        issuer: str,
        api_audiences: Audiences,
        reader: ObjectReader,
        clock: Clock,
        *,
        max_seconds: int = 0,
        extend_expiration: bool = True,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._signer, self._issuer, self._audiences = signer, issuer, api_audiences
        self._reader, self._clock, self._new_id = reader, clock, new_id
        self._max_seconds, self._extend = max_seconds, extend_expiration
        # An extension never goes beyond what the operator allows at most.
        self._extended = min(EXTENDED_SECONDS, max_seconds) if max_seconds else EXTENDED_SECONDS

    def create(
        self,
        namespace: str,
        name: str,
        request: Mapping[str, Any],
        *,
        warnings: MutableSequence[str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> Object:
        """The answer to a TokenRequest for this ServiceAccount. Raises StatusError."""
        account = self._account(namespace, name, request)
        spec = dict(request.get("spec") or {})
        audiences = list(spec.get("audiences") or self._audiences)
        seconds = spec.get("expirationSeconds")
        seconds = DEFAULT_SECONDS if seconds is None else seconds
        self._validate(seconds)
        bound = spec.get("boundObjectRef") or None
        objects = self._bound_objects(namespace, name, bound) if bound else {}
        if self._max_seconds and seconds > self._max_seconds:
            if warnings is not None:
                warnings.append(f"requested expiration of {seconds} seconds shortened to {self._max_seconds} seconds")
            seconds = self._max_seconds
        now, lifetime, warn_after = self._clock.now(), seconds, 0
        if (
            self._extend
            and "pod" in objects
            and seconds == WARN_ONLY_SECONDS
            and set(audiences) <= set(self._audiences)
        ):
            warn_after, lifetime = seconds, self._extended
        claims = self.claims(account, objects, audiences, now, lifetime, warn_after)
        if annotations is not None:
            annotations[ISSUED_CREDENTIAL_ID] = f"JTI={claims['jti']}"
        spec.update(audiences=audiences, expirationSeconds=seconds, boundObjectRef=bound)
        meta = {**(request.get("metadata") or {}), "name": name, "namespace": namespace, "uid": uid_of(account)}
        meta["creationTimestamp"] = to_time(now)
        status = {"token": self._signer.sign(claims), "expirationTimestamp": to_time(now + seconds)}
        return {"kind": KIND, "apiVersion": f"{GROUP}/v1", "metadata": meta, "spec": spec, "status": status}

    def _account(self, namespace: str, name: str, request: Mapping[str, Any]) -> Object:
        for field, given, expected in (
            ("name", name_of(request), name),
            ("namespace", namespace_of(request), namespace),
        ):
            if given and given != expected:
                detail = f"must match the service account {field} if specified"
                raise errors.invalid(GROUP, KIND, name, [errors.invalid_value(f"metadata.{field}", given, detail)])
        account = self._reader.get(SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise errors.not_found("", "serviceaccounts", name)
        given = uid_of(request)
        if given and given != uid_of(account):
            raise errors.conflict(
                GROUP,
                KIND,
                name,
                f"the UID in the token request ({given}) does not match the UID of the service account ({uid_of(account)})",
            )
        return account

    @staticmethod
    def _validate(seconds: int) -> None:
        detail = ""
        if seconds < MIN_SECONDS:
            detail = "may not specify a duration less than 10 minutes"
        elif seconds > 1 << 32:
            detail = "may not specify a duration larger than 2^32 seconds"
        if detail:
            raise errors.invalid(GROUP, KIND, "", [errors.invalid_value("spec.expirationSeconds", seconds, detail)])

    def _bound_objects(self, namespace: str, account: str, ref: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """The claims that name the object to which the token is bound. Raises StatusError."""
        group, version = parse_api_version(ref.get("apiVersion") or "")
        kind, name = ref.get("kind") or "", ref.get("name") or ""
        gvr = {"Pod": PODS, "Node": NODES, "Secret": SECRETS}.get(kind) if not group else None
        if gvr is None:
            shown = f"{group}/{version}"
            raise errors.bad_request(f"cannot bind token to object of type {shown}, Kind={kind}")
        obj = self._reader.get(gvr, "" if kind == "Node" else namespace, name)
        if obj is None:
            raise errors.not_found("", gvr.resource, name)
        objects = {kind.lower(): {"name": name, "uid": uid_of(obj)}}
        if kind == "Pod":
            spec = obj.get("spec") or {}
            if (spec.get("serviceAccountName") or "") != account:
                raise errors.bad_request(
                    f"cannot bind token for serviceaccount {errors.go_quote(account)} to pod running with different "
                    "serviceaccount name."
                )
            node = spec.get("nodeName")
            if node:
                known = self._reader.get(NODES, "", node)
                objects["node"] = {"name": node, "uid": uid_of(known)} if known else {"name": node}
        uid = ref.get("uid")
        if uid and uid != uid_of(obj):
            raise errors.conflict(
                "",
                kind,
                name,
                f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been "
                "deleted and then recreated",
            )
        return objects

    def claims(
        self,
        account: Object,
        objects: Mapping[str, Mapping[str, str]],
        audiences: Sequence[str],
        now: float,
        lifetime: int,
        warn_after: int,
    ) -> dict[str, Any]:
        moment = int(now)
        namespace, name = namespace_of(account), name_of(account)
        private: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid_of(account)}}
        private.update(objects)
        if warn_after:
            private["warnafter"] = moment + warn_after
        return {
            "aud": list(audiences),
            "exp": moment + lifetime,
            "iat": moment,
            "iss": self._issuer,
            "jti": self._new_id(),
            "kubernetes.io": private,
            "nbf": moment,
            "sub": username(namespace, name),
        }


def legacy_token(signer: jwt.Signer, account: Object, secret: Object) -> str:
    """The token that the tokens controller puts in a Secret of type kubernetes.io/service-account-token."""
    namespace, name = namespace_of(account), name_of(account)
    prefix = "kubernetes.io/serviceaccount/"
    return signer.sign(
        {
            "iss": LEGACY_ISSUER,
            prefix + "namespace": namespace,
            prefix + "secret.name": metadata(secret).get("name") or "",
            prefix + "service-account.name": name,
            prefix + "service-account.uid": uid_of(account),
            "sub": username(namespace, name),
        }
    )


OPENID_CONFIGURATION_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/openid/v1/jwks"
JWKS_CONTENT_TYPE = "application/jwk-set+json"
CACHE_CONTROL = "public, max-age=3600"


class OpenIdDiscovery:
    """The two documents by which outside parties can verify our tokens."""

    def __init__(
        self, issuer: str, keys: Sequence[jwt.VerificationKey], *, jwks_uri: str = "", address: str = ""
    ) -> None:
        """Raises ValueError where the issuer is no https URL: then there is no discovery, but tokens still work."""
        url = urlsplit(issuer)
        if url.scheme != "https":
            raise ValueError(f"issuer URL must use https scheme, got: {issuer}")
        if url.query or url.fragment:
            raise ValueError(f"issuer URL may not include a query or a fragment, got: {issuer}")
        if not jwks_uri and not address:
            raise ValueError("either the JWKS URI or the default external address, or both, must be set")
        if jwks_uri and urlsplit(jwks_uri).scheme != "https":
            raise ValueError(f"jwksURI requires https scheme, parsed as: {jwks_uri}")
        self.configuration = orjson.dumps(
            {
                "issuer": issuer,
                "jwks_uri": jwks_uri or f"https://{address}{JWKS_PATH}",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": sorted({k.algorithm for k in keys}),
            }
        )
        self.keys = orjson.dumps({"keys": [k.jwk() for k in keys]})
