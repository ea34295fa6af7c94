"""ServiceAccount tokens: bound ones (TokenRequest), those of token Secrets, and the checks that they are still good.

Specified by the "Managing Service Accounts" page and ``kubernetes/pkg/serviceaccount``: the claim names, the order of the checks
and the words of the failures are upstream's.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ...api.errors import StatusError, go_quote
from ...api.meta import Object, is_deleting, labels_of, metadata, name_of, uid_of
from ...api.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from ...api.times import parse_time
from ...api.validation.formats import dns_label_problems, dns_subdomain_problems
from ...concurrency import Clock, logger
from ...hooks.admission import Requester
from ...hooks.identity import UserInfo
from ...hooks.reading import ObjectReader
from . import jwt
from .jwt import LEEWAY, TokenError
from .metrics import AuthenticationMetrics
from .tokens import Audiences, ObjectKey, TokenResult, intersect

log = logger("apiserver.authn")

LEGACY_ISSUER = "kubernetes/serviceaccount"
USERNAME_PREFIX = "system:serviceaccount:"
ALL_GROUP = "system:serviceaccounts"
INVALID_SINCE_LABEL = "kubernetes.io/legacy-token-invalid-since"
LAST_USED_LABEL = "kubernetes.io/legacy-token-last-used"

POD_NAME, POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
NODE_NAME, NODE_UID = "authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"

INVALIDATED = "service account token has been invalidated"


def username(namespace: str, name: str) -> str:
    return f"{USERNAME_PREFIX}{namespace}:{name}"


def groups(namespace: str) -> tuple[str, ...]:
    return (ALL_GROUP, f"{ALL_GROUP}:{namespace}")


def split_username(text: str) -> tuple[str, str] | None:
    """(namespace, name) of a ServiceAccount's user name."""
    if not text.startswith(USERNAME_PREFIX):
        return None
    namespace, separator, name = text[len(USERNAME_PREFIX) :].partition(":")
    if not separator or dns_label_problems(namespace) or dns_subdomain_problems(name):
        return None
    return namespace, name


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class _Jwt:
    """What bound and legacy tokens share: issuer, signature, audience."""

    def __init__(self, issuers: Sequence[str], keys: Sequence[jwt.VerificationKey], api_audiences: Audiences) -> None:
        self._issuers, self._keys, self._api_audiences = tuple(issuers), list(keys), api_audiences

    def _open(self, token: str, audiences: Audiences) -> tuple[Mapping[str, Any], Audiences] | None:
        """(claims, agreed audiences) of a token that we signed; None for one of another issuer."""
        parsed = jwt.parse(token)
        if parsed is None or _text(parsed.claims.get("iss")) not in self._issuers:
            return None
        jwt.verify(parsed, self._keys)
        have = jwt.audiences_of(parsed.claims) or self._api_audiences
        wanted = audiences or self._api_audiences
        agreed = intersect(have, wanted)
        if not agreed and self._api_audiences:
            raise TokenError(f"token audiences {_listed(have)} is invalid for the target audiences {_listed(wanted)}")
        return parsed.claims, agreed


def _listed(texts: Sequence[str]) -> str:
    return "[" + " ".join(go_quote(t) for t in texts) + "]"


class BoundTokens(_Jwt):
    """Tokens of the TokenRequest API."""

    def __init__(
        self,
        issuers: Sequence[str],
        keys: Sequence[jwt.VerificationKey],
        api_audiences: Audiences,
        reader: ObjectReader,
        clock: Clock,
        metrics: AuthenticationMetrics | None = None,
    ) -> None:
        super().__init__(issuers, keys, api_audiences)
        self._reader, self._clock = reader, clock
        self._metrics = metrics or AuthenticationMetrics()

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        opened = self._open(token, audiences)
        if opened is None:
            return None
        claims, agreed = opened
        now = self._clock.now()
        jwt.check_times(claims, now)
        private = _map(claims.get("kubernetes.io"))
        namespace = _text(private.get("namespace"))
        dependencies: list[ObjectKey] = []
        limits: list[float] = []
        account = _map(private.get("serviceaccount"))
        self._check_account(namespace, account, now, dependencies, limits)
        secret, pod, node = (private.get(k) for k in ("secret", "pod", "node"))
        if secret is not None:
            self._check_bound("Secret", "secret ref", namespace, _map(secret), now, dependencies, limits)
        if pod is not None:
            self._check_bound("Pod", "pod ref", namespace, _map(pod), now, dependencies, limits)
        elif node is not None:
            self._check_bound("Node", "node ref", "", _map(node), now, dependencies, limits)
        exp = claims.get("exp")
        if isinstance(exp, int | float):
            limits.append(exp + LEEWAY)
        user = self._user(namespace, account, _map(pod), _map(node), _text(claims.get("jti")))
        warn_after = private.get("warnafter")
        if isinstance(warn_after, int | float) and warn_after:
            self._metrics.account("stale_tokens" if now > warn_after else "valid_tokens")
        if not claims.get("aud"):
            self._metrics.account("legacy_tokens")
        return TokenResult(
            user,
            agreed,
            min(limits) if limits else None,
            tuple(dependencies),
            warn_after=float(warn_after) if isinstance(warn_after, int | float) and warn_after else None,
            annotations={} if claims.get("aud") else {"authentication.k8s.io/legacy-token": _text(claims.get("sub"))},
        )

    def _check_account(
        self,
        namespace: str,
        claim: Mapping[str, Any],
        now: float,
        dependencies: list[ObjectKey],
        limits: list[float],
    ) -> None:
        name, uid = _text(claim.get("name")), _text(claim.get("uid"))
        account = self._reader.get(SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise TokenError(f"serviceaccounts {go_quote(name)} not found")
        if uid_of(account) != uid:
            raise TokenError(f"service account UID ({uid_of(account)}) does not match claim ({uid})")
        if _gone(account, now, limits):
            raise TokenError(f"service account {namespace}/{name} has been deleted")
        dependencies.append((SERVICE_ACCOUNTS, namespace, name))

    def _check_bound(
        self,
        kind: str,
        words: str,
        namespace: str,
        claim: Mapping[str, Any],
        now: float,
        dependencies: list[ObjectKey],
        limits: list[float],
    ) -> None:
        gvr = {"Secret": SECRETS, "Pod": PODS, "Node": NODES}[kind]
        name, uid = _text(claim.get("name")), _text(claim.get("uid"))
        obj = self._reader.get(gvr, namespace, name)
        if obj is None:
            raise TokenError(INVALIDATED)
        if uid_of(obj) != uid:
            label = kind.lower() if kind == "Node" else kind
            raise TokenError(f"{label} UID ({uid_of(obj)}) does not match service account {words} claim ({uid})")
        if _gone(obj, now, limits):
            raise TokenError(INVALIDATED)
        dependencies.append((gvr, namespace, name))

    @staticmethod
    def _user(
        namespace: str, account: Mapping[str, Any], pod: Mapping[str, Any], node: Mapping[str, Any], jti: str
    ) -> UserInfo:
        extra: dict[str, tuple[str, ...]] = {}
        if pod:
            extra[POD_NAME] = (_text(pod.get("name")),)
            extra[POD_UID] = (_text(pod.get("uid")),)
        if node.get("name"):
            extra[NODE_NAME] = (_text(node.get("name")),)
            # A token may know the node of its pod by name only: the Node object was not there when it was signed.
            if node.get("uid"):
                extra[NODE_UID] = (_text(node.get("uid")),)
        if jti:
            extra[CREDENTIAL_ID] = (f"JTI={jti}",)
        name = _text(account.get("name"))
        return UserInfo(username(namespace, name), _text(account.get("uid")), groups(namespace), extra)


def _gone(obj: Object, now: float, limits: list[float]) -> bool:
    """Whether the object is to count as deleted; one that is being deleted still counts for a minute."""
    text = metadata(obj).get("deletionTimestamp")
    if not text:
        return False
    until = parse_time(text) + LEEWAY
    limits.append(until)
    return until < now


class LegacyTokens(_Jwt):
    """Tokens that live in Secrets of type kubernetes.io/service-account-token, without expiry."""

    def __init__(
        self,
        keys: Sequence[jwt.VerificationKey],
        api_audiences: Audiences,
        reader: ObjectReader,
        clock: Clock,
        request: Requester | None = None,
        metrics: AuthenticationMetrics | None = None,
    ) -> None:
        super().__init__((LEGACY_ISSUER,), keys, api_audiences)
        self._metrics = metrics or AuthenticationMetrics()
        self._reader, self._clock, self._request = reader, clock, request

    async def authenticate_token(self, token: str, audiences: Audiences) -> TokenResult | None:
        opened = self._open(token, audiences)
        if opened is None:
            return None
        claims, agreed = opened
        result, secret, refusal = self._check(token, claims, agreed)
        if await self._note_use(secret):
            # The world may have moved on during the write.
            result, secret, refusal = self._check(token, claims, agreed)
        if refusal:
            self._metrics.account("invalid_legacy_auto_token_uses")
            raise TokenError(refusal)
        self._metrics.account("legacy_tokens")
        self._metrics.account("legacy_auto_token_uses" if result.warnings else "legacy_manual_token_uses")
        return result

    def _check(self, token: str, claims: Mapping[str, Any], agreed: Audiences) -> tuple[TokenResult, Object, str]:
        prefix = "kubernetes.io/serviceaccount/"
        namespace = _claim(claims, "namespace", prefix + "namespace")
        secret_name = _claim(claims, "secretName", prefix + "secret.name")
        name = _claim(claims, "serviceAccountName", prefix + "service-account.name")
        uid = _claim(claims, "serviceAccountUID", prefix + "service-account.uid")
        subject = _claim(claims, "sub", "sub")
        if split_username(subject) != (namespace, name):
            raise TokenError("sub claim is invalid")
        secret = self._reader.get(SECRETS, namespace, secret_name)
        if secret is None or is_deleting(secret):
            raise TokenError("Token has been invalidated")
        copy = base64.b64decode((secret.get("data") or {}).get("token") or "")
        if not hmac.compare_digest(copy, token.encode()):
            raise TokenError("Token does not match server's copy")
        account = self._reader.get(SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise TokenError(f"serviceaccounts {go_quote(name)} not found")
        if is_deleting(account):
            raise TokenError(f"ServiceAccount {namespace}/{name} has been deleted")
        if uid_of(account) != uid:
            raise TokenError(f"ServiceAccount UID ({uid_of(account)}) does not match claim ({uid})")
        annotations = {"authentication.k8s.io/legacy-token": subject}
        warnings: tuple[str, ...] = ()
        if any(r.get("name") == secret_name for r in account.get("secrets") or []):
            warnings = (
                "Use tokens from the TokenRequest API or manually created secret-based tokens instead of "
                "auto-generated secret-based tokens.",
            )
            annotations["authentication.k8s.io/legacy-token-autogenerated-secret"] = secret_name
        else:
            annotations["authentication.k8s.io/legacy-token-manual-secret"] = secret_name
        result = TokenResult(
            UserInfo(username(namespace, name), uid, groups(namespace)),
            agreed,
            None,
            ((SECRETS, namespace, secret_name), (SERVICE_ACCOUNTS, namespace, name)),
            warnings,
            annotations,
        )
        return result, secret, self._marked_invalid(secret, namespace, secret_name, name)

    @staticmethod
    def _marked_invalid(secret: Object, namespace: str, secret_name: str, name: str) -> str:
        if not labels_of(secret).get(INVALID_SINCE_LABEL):
            return ""
        return (
            f"the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked invalid. "
            "Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
            f"'{INVALID_SINCE_LABEL}' label from the secret to temporarily allow use of this token"
        )

    async def _note_use(self, secret: Object) -> bool:
        """Labels the Secret with the day on which its token was last used: the cleaner looks at it."""
        now = self._clock.now()
        days = [datetime.fromtimestamp(now + d * 86400, UTC).strftime("%Y-%m-%d") for d in (0, 1)]
        if self._request is None or labels_of(secret).get(LAST_USED_LABEL) in days:
            return False
        namespace = metadata(secret).get("namespace") or ""
        patch = {"metadata": {"uid": uid_of(secret), "labels": {LAST_USED_LABEL: days[0]}}}
        try:
            await self._request(
                "PATCH",
                f"/api/v1/namespaces/{namespace}/secrets/{name_of(secret)}",
                patch,
                content_type="application/merge-patch+json",
            )
        except StatusError as failure:
            log.warning(
                "cannot note the use of a token", secret=f"{namespace}/{name_of(secret)}", error=failure.message
            )
        return True


def _claim(claims: Mapping[str, Any], label: str, name: str) -> str:
    value = _text(claims.get(name))
    if not value:
        raise TokenError(f"{label} claim is missing")
    return value
