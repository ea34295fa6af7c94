"""``--authentication-config``: who is anonymous, and which issuers of tokens are believed; or the ``--oidc-*`` flags in the same form.

Specified by ``apiserver.config.k8s.io/v1`` AuthenticationConfiguration ("Using Authentication Configuration") and its validation. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from urllib.parse import urlsplit

from ...api.errors import FieldError, duplicate, forbidden_field, invalid_value, required, too_many
from ...api.validation.prefixed import domain_prefixed_path
from .. import configfiles
from ..configfiles import BOOL, STRING, ConfigurationError, Items, Struct

KIND = "AuthenticationConfiguration"
VERSIONS = tuple(f"apiserver.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))
MAX_ISSUERS = 64
BOTH = "claim and expression can't both be set"
NEITHER = "claim or expression is required"
MATCH_ANY = "MatchAny"
UNVERIFIED_EMAIL = (
    "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or "
    "claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
)

_PREFIXED = Struct("v1.PrefixedClaimOrExpression", {"claim": STRING, "prefix": STRING, "expression": STRING})
_MAPPINGS = Struct(
    "v1.ClaimMappings",
    {
        "username": _PREFIXED,
        "groups": _PREFIXED,
        "uid": Struct("v1.ClaimOrExpression", {"claim": STRING, "expression": STRING}),
        "extra": Items(Struct("v1.ExtraMapping", {"key": STRING, "valueExpression": STRING})),
    },
)
_RULE = {"claim": STRING, "requiredValue": STRING, "expression": STRING, "message": STRING}
_ISSUER = Struct(
    "v1.Issuer",
    {
        "url": STRING,
        "discoveryURL": STRING,
        "certificateAuthority": STRING,
        "audiences": Items(STRING),
        "audienceMatchPolicy": STRING,
        "egressSelectorType": STRING,
    },
)
_JWT = Struct(
    "v1.JWTAuthenticator",
    {
        "issuer": _ISSUER,
        "claimValidationRules": Items(Struct("v1.ClaimValidationRule", _RULE)),
        "claimMappings": _MAPPINGS,
        "userValidationRules": Items(Struct("v1.UserValidationRule", {"expression": STRING, "message": STRING})),
    },
)
_ANONYMOUS = Struct(
    "v1.AnonymousAuthConfig",
    {"enabled": BOOL, "conditions": Items(Struct("v1.AnonymousAuthCondition", {"path": STRING}))},
)
SHAPE = Struct(KIND, {"jwt": Items(_JWT), "anonymous": _ANONYMOUS})


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Who is nobody: everywhere, or on some paths only."""

    enabled: bool
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says. ``issuers`` are the entries of ``jwt``, checked."""

    anonymous: Anonymous | None
    issuers: tuple[Mapping[str, Any], ...]


def parse(data: bytes, file: str, own_issuers: Collection[str] = ()) -> Configuration:
    """``own_issuers`` are those of ServiceAccount tokens, which nobody else may claim to be. Raises ConfigurationError."""
    try:
        if not data:
            raise ConfigurationError("empty config data")
        document = configfiles.decode(data, VERSIONS, {KIND: SHAPE})
    except ConfigurationError as failure:
        message = f'failed to load authentication configuration from file "{file}": {failure}'
        raise ConfigurationError(message) from failure
    issuers = tuple(entry or {} for entry in document.get("jwt") or ())
    given = document.get("anonymous")
    problems = problems_of(issuers, own_issuers)
    anonymous = None
    if given is not None:
        conditions = given.get("conditions") or []
        anonymous = Anonymous(bool(given.get("enabled")), tuple((c or {}).get("path") or "" for c in conditions))
        if conditions and not anonymous.enabled:
            shown = [{"Path": p} for p in anonymous.paths]
            words = "enabled should be set to true when conditions are defined"
            problems.append(invalid_value("anonymous.conditions", shown, words))
    refuse(problems)
    return Configuration(anonymous, issuers)


def refuse(problems: Sequence[FieldError]) -> None:
    """Raises ConfigurationError where there are any."""
    if problems:
        raise ConfigurationError(f"invalid authentication configuration: {configfiles.aggregate(problems)}")


CHANGED = forbidden_field("anonymous", "changed from initial configuration file")


# -- issuers -----------------------------------------------------------------------------------------------------------


def problems_of(issuers: Sequence[Mapping[str, Any]], own_issuers: Collection[str]) -> list[FieldError]:
    """What is wrong with the entries of ``jwt``."""
    if len(issuers) > MAX_ISSUERS:
        return [too_many("jwt", len(issuers), MAX_ISSUERS)]
    problems: list[FieldError] = []
    urls: set[str] = set()
    discovery: set[str] = set()
    for number, entry in enumerate(issuers):
        at, issuer = f"jwt[{number}]", entry.get("issuer") or {}
        problems += _issuer(issuer, f"{at}.issuer", own_issuers)
        rules = _claim_rules(entry.get("claimValidationRules") or (), f"{at}.claimValidationRules")
        problems += rules
        problems += _mappings(entry, f"{at}.claimMappings")
        problems += _user_rules(entry.get("userValidationRules") or (), f"{at}.userValidationRules")
        for name, seen in (("url", urls), ("discoveryURL", discovery)):
            value = issuer.get(name) or ""
            if value in seen and (value or name == "url"):
                problems.append(duplicate(f"{at}.issuer.{name}", value))
            seen.add(value)
    return problems


def _issuer(issuer: Mapping[str, Any], at: str, own_issuers: Collection[str]) -> list[FieldError]:
    url, discovery = issuer.get("url") or "", issuer.get("discoveryURL") or ""
    problems = [required(f"{at}.url")] if not url else _url(url, f"{at}.url", own_issuers)
    if discovery:
        if url and url.rstrip("/") == discovery.rstrip("/"):
            problems.append(invalid_value(f"{at}.discoveryURL", discovery, "discoveryURL must be different from URL"))
        problems += _url(discovery, f"{at}.discoveryURL", ())
    problems += _audiences(issuer, at)
    if issuer.get("certificateAuthority") and not _has_certificates(issuer["certificateAuthority"]):
        words = "data does not contain any valid RSA or ECDSA certificates"
        problems.append(invalid_value(f"{at}.certificateAuthority", "<omitted>", words))
    egress = issuer.get("egressSelectorType")
    if egress and egress not in ("controlplane", "cluster"):
        words = "egress selector must be either controlplane or cluster"
        problems.append(invalid_value(f"{at}.egressSelectorType", egress, words))
    elif egress:
        words = f'oidc: egress lookup required with egress selector type "{egress}"'
        problems.append(invalid_value(f"{at}.egressSelectorType", egress, words))
    return problems


def _has_certificates(pem: str) -> bool:
    from cryptography import x509

    try:
        return bool(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return False


def _url(url: str, at: str, refused: Collection[str]) -> list[FieldError]:
    problems = []
    if url in refused:
        listed = " ".join(sorted(refused))
        problems.append(invalid_value(at, url, f"URL must not overlap with disallowed issuers: [{listed}]"))
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as failure:
        return [*problems, invalid_value(at, url, f'parse "{url}": {failure}')]
    if parts.scheme != "https":
        problems.append(invalid_value(at, url, "URL scheme must be https"))
    if "@" in parts.netloc:
        problems.append(invalid_value(at, url, "URL must not contain a username or password"))
    if parts.query:
        problems.append(invalid_value(at, url, "URL must not contain a query"))
    if parts.fragment:
        problems.append(invalid_value(at, url, "URL must not contain a fragment"))
    return problems


def _audiences(issuer: Mapping[str, Any], at: str) -> list[FieldError]:
    audiences, policy = issuer.get("audiences") or [], issuer.get("audienceMatchPolicy") or ""
    path = f"{at}.audiences"
    if not audiences:
        return [required(path, f"at least one {path} is required")]
    problems: list[FieldError] = []
    seen: set[str] = set()
    for number, audience in enumerate(audiences):
        if not audience:
            problems.append(required(f"{path}[{number}]"))
        if audience in seen:
            problems.append(duplicate(f"{path}[{number}]", audience))
        seen.add(audience)
    if len(audiences) > 1 and policy != MATCH_ANY:
        words = "audienceMatchPolicy must be MatchAny for multiple audiences"
        problems.append(invalid_value(f"{at}.audienceMatchPolicy", policy, words))
    if len(audiences) == 1 and policy not in ("", MATCH_ANY):
        words = "audienceMatchPolicy must be empty or MatchAny for single audience"
        problems.append(invalid_value(f"{at}.audienceMatchPolicy", policy, words))
    return problems


# -- claims ------------------------------------------------------------------------------------------------------------


def _claim_rules(rules: Sequence[Mapping[str, Any]], at: str) -> list[FieldError]:
    problems: list[FieldError] = []
    claims: set[str] = set()
    expressions: set[str] = set()
    for number, given in enumerate(rules):
        rule, path = given or {}, f"{at}[{number}]"
        claim, expression = rule.get("claim") or "", rule.get("expression") or ""
        if claim and expression:
            problems.append(invalid_value(path, claim, BOTH))
        elif not claim and not expression:
            problems.append(required(path, NEITHER))
        elif claim:
            if rule.get("message"):
                problems.append(
                    invalid_value(f"{path}.message", rule["message"], "may not be specified when claim is set")
                )
            if claim in claims:
                problems.append(duplicate(f"{path}.claim", claim))
            claims.add(claim)
        else:
            if rule.get("requiredValue"):
                words = "may not be specified when expression is set"
                problems.append(invalid_value(f"{path}.requiredValue", rule["requiredValue"], words))
            if expression in expressions:
                problems.append(duplicate(f"{path}.expression", expression))
                continue
            expressions.add(expression)
            problems += _expression(expression, f"{path}.expression", "claims", "bool")
    return problems


def _expression(text: str, at: str, variable: str, wanted: str = "") -> list[FieldError]:
    from ...api.cel import CompileError
    from ...api.cel.program import ProgramError
    from .claims import compile_expression

    try:
        program = compile_expression(text, variable)
    except (CompileError, ProgramError) as failure:
        return [invalid_value(at, text, f"compilation failed: {failure}")]
    if wanted and program.type.kind != wanted:
        return [invalid_value(at, text, f"must evaluate to {wanted}")]
    return []


def _mappings(entry: Mapping[str, Any], at: str) -> list[FieldError]:
    mappings = entry.get("claimMappings") or {}
    username = mappings.get("username") or {}
    problems = _prefixed(username, f"{at}.username", needed=True)
    problems += _prefixed(mappings.get("groups") or {}, f"{at}.groups", needed=False)
    uid = mappings.get("uid") or {}
    if uid.get("claim") and uid.get("expression"):
        problems.append(invalid_value(f"{at}.uid", "", BOTH))
    elif uid.get("expression"):
        problems += _expression(uid["expression"], f"{at}.uid.expression", "claims")
    problems += _extra(mappings.get("extra") or (), f"{at}.extra")
    if _mail_is_unverified(entry):
        problems.append(invalid_value(f"{at}.username.expression", username["expression"], UNVERIFIED_EMAIL))
    return problems


def _prefixed(mapping: Mapping[str, Any], at: str, *, needed: bool) -> list[FieldError]:
    claim, expression = mapping.get("claim") or "", mapping.get("expression") or ""
    if claim and expression:
        return [invalid_value(at, "", BOTH)]
    if expression:
        words = "may not be specified when expression is set"
        prefix = mapping.get("prefix")
        wrong = [invalid_value(f"{at}.prefix", prefix, words)] if prefix is not None else []
        return wrong + _expression(expression, f"{at}.expression", "claims")
    if not claim:
        return [required(at, NEITHER)] if needed else []
    words = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
    return [required(f"{at}.prefix", words)] if mapping.get("prefix") is None else []


def _extra(extra: Sequence[Mapping[str, Any]], at: str) -> list[FieldError]:
    problems: list[FieldError] = []
    seen: set[str] = set()
    for number, given in enumerate(extra):
        mapping = given or {}
        key, path = mapping.get("key") or "", f"{at}[{number}]"
        problems += domain_prefixed_path(key, f"{path}.key")
        if key != key.lower():
            problems.append(invalid_value(f"{path}.key", key, "must be lowercase"))
        domain = "." + key.partition("/")[0] if "/" in key else ""
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            words = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            problems.append(invalid_value(f"{path}.key", key, words))
        if key in seen:
            problems.append(duplicate(f"{path}.key", key))
            continue
        seen.add(key)
        if not mapping.get("valueExpression"):
            problems.append(required(f"{path}.valueExpression"))
        else:
            problems += _expression(mapping["valueExpression"], f"{path}.valueExpression", "claims")
    return problems


def _user_rules(rules: Sequence[Mapping[str, Any]], at: str) -> list[FieldError]:
    problems: list[FieldError] = []
    seen: set[str] = set()
    for number, rule in enumerate(rules):
        expression, path = (rule or {}).get("expression") or "", f"{at}[{number}].expression"
        if not expression:
            problems.append(required(path))
        elif expression in seen:
            problems.append(duplicate(path, expression))
        else:
            seen.add(expression)
            problems += _expression(expression, path, "user", "bool")
    return problems


def _mail_is_unverified(entry: Mapping[str, Any]) -> bool:
    """Whether somebody is called by a mail address that nothing says is his."""
    mappings = entry.get("claimMappings") or {}
    username = mappings.get("username") or {}
    text = "" if username.get("claim") else username.get("expression") or ""
    if not _selects(text, "email"):
        return False
    others = [m.get("valueExpression") for m in mappings.get("extra") or ()]
    others += [r.get("expression") for r in entry.get("claimValidationRules") or () if not r.get("claim")]
    return not any(_selects(o or "", "email_verified") for o in (text, *others))


def _selects(text: str, claim: str) -> bool:
    """Whether an expression looks at one of the claims by name: ``claims.email``, ``claims.?email``."""
    from ...api.cel import CompileError
    from ...api.cel.parser import parse as parse_cel

    if not text:
        return False
    try:
        return _names(parse_cel(text), claim)
    except CompileError:
        return False


def _names(node: Any, claim: str) -> bool:
    from ...api.cel.syntax import Call, Ident, Literal, Select

    def is_claims(other: Any) -> bool:
        return isinstance(other, Ident) and other.name == "claims"

    if isinstance(node, list | tuple):
        return any(_names(n, claim) for n in node)
    if isinstance(node, Select) and is_claims(node.operand) and node.field == claim:
        return True
    if isinstance(node, Call) and node.function == "_?._" and len(node.args) == 2:
        operand, name = node.args
        if is_claims(operand) and isinstance(name, Literal) and name.value == claim:
            return True
    return is_dataclass(node) and any(_names(getattr(node, f.name, None), claim) for f in fields(node))
