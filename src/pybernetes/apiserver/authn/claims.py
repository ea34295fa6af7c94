"""From the claims of a token to a user: mappings and rules, by name or in CEL. Pure.

Specified by AuthenticationConfiguration's ``claimMappings``, ``claimValidationRules`` and ``userValidationRules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ...api.cel import CelError, Environment, Program
from ...api.cel import celtypes as t
from ...hooks.identity import UserInfo
from .jwt import TokenError

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
NO_TEXTS = "expression must return a string or a list of strings"

_TEXTS = t.list_of(t.STRING)
_USER = t.object_type(
    "kubernetes.UserInfo",
    {
        name: t.ObjectField(type_, name)
        for name, type_ in (
            ("username", t.STRING),
            ("uid", t.STRING),
            ("groups", _TEXTS),
            ("extra", t.map_of(t.STRING, _TEXTS)),
        )
    },
)
_VARIABLES = {"claims": t.map_of(t.STRING, t.DYN), "user": _USER}


@cache
def compile_expression(text: str, variable: str) -> Program:
    """An expression over ``claims`` or ``user``. Raises CompileError or ProgramError."""
    return Environment({variable: _VARIABLES[variable]}).compile(text)


def user_of(claims: Mapping[str, Any], settings: Mapping[str, Any]) -> UserInfo:
    """The user whom one entry of ``jwt`` makes of verified claims. Raises TokenError."""
    mappings = settings["claimMappings"]
    values = _with_doubles(claims)
    user = UserInfo(
        _username(claims, values, mappings["username"]),
        _uid(claims, values, mappings.get("uid") or {}),
        _groups(claims, values, mappings.get("groups") or {}),
        _extra(claims, values, mappings.get("extra") or ()),
    )
    _check_claims(claims, values, settings.get("claimValidationRules") or ())
    _check_user(user, settings.get("userValidationRules") or ())
    return user


def _with_doubles(value: Any) -> Any:
    """Numbers of JSON are doubles to Go."""
    if isinstance(value, dict):
        return {k: _with_doubles(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_doubles(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _evaluate(text: str, variable: str, value: Any) -> Any:
    try:
        result, _ = compile_expression(text, variable).evaluate({variable: value})
    except CelError as failure:
        raise ValueError(f"expression '{text}' resulted in error: {failure}") from failure
    return result


def _text(claims: Mapping[str, Any], name: str, what: str) -> str:
    if name not in claims:
        raise TokenError(f'oidc: parse {what} "{name}": claim not present')
    if not isinstance(claims[name], str):
        raise TokenError(f'oidc: parse {what} "{name}": the claim is not a string')
    return str(claims[name])


def _username(claims: Mapping[str, Any], values: Any, mapping: Mapping[str, Any]) -> str:
    if mapping.get("expression"):
        try:
            name = _evaluate(mapping["expression"], "claims", values)
            if not isinstance(name, str):
                raise ValueError("username claim expression must return a string")
        except ValueError as failure:
            raise TokenError(f"oidc: error evaluating username claim expression: {failure}") from failure
        if not name:
            raise TokenError("oidc: empty username via CEL expression is not allowed")
        return name
    name = _text(claims, mapping["claim"], "username claims")
    if mapping["claim"] == "email" and "email_verified" in claims:
        verified = claims["email_verified"]
        if not isinstance(verified, bool):
            raise TokenError("oidc: parse 'email_verified' claim: the claim is not a boolean")
        if not verified:
            raise TokenError("oidc: email not verified")
    return f"{mapping.get('prefix') or ''}{name}"


def _uid(claims: Mapping[str, Any], values: Any, mapping: Mapping[str, Any]) -> str:
    if mapping.get("claim"):
        return _text(claims, mapping["claim"], "uid claim")
    if not mapping.get("expression"):
        return ""
    try:
        uid = _evaluate(mapping["expression"], "claims", values)
        if not isinstance(uid, str):
            raise ValueError("uid claim expression must return a string")
    except ValueError as failure:
        raise TokenError(f"oidc: error evaluating uid claim expression: {failure}") from failure
    return uid


def _groups(claims: Mapping[str, Any], values: Any, mapping: Mapping[str, Any]) -> tuple[str, ...]:
    name = mapping.get("claim")
    if name:
        found = claims.get(name, [])
        if isinstance(found, str):
            found = [found]
        if not isinstance(found, list) or not all(isinstance(g, str) for g in found):
            raise TokenError(f'oidc: parse groups claim "{name}": the claim is neither a string nor a list of strings')
        return tuple(f"{mapping.get('prefix') or ''}{g}" for g in found)
    if not mapping.get("expression"):
        return ()
    try:
        return _texts(_evaluate(mapping["expression"], "claims", values))
    except ValueError as failure:
        raise TokenError(f"oidc: error evaluating group claim expression: {failure}") from failure


def _texts(value: Any) -> tuple[str, ...]:
    """What is empty is not there."""
    if value is None:
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(v, str) for v in found):
        raise ValueError(NO_TEXTS)
    return tuple(v for v in found if v)


def _extra(claims: Mapping[str, Any], values: Any, mappings: Any) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    if isinstance(claims.get("jti"), str) and claims["jti"]:
        extra[CREDENTIAL_ID] = (f"JTI={claims['jti']}",)
    for mapping in mappings:
        text = mapping["valueExpression"]
        try:
            found = _texts(_evaluate(text, "claims", values))
        except ValueError as failure:
            raise TokenError(f"oidc: error evaluating extra claim expression: {text}: {failure}") from failure
        if found:
            extra[mapping["key"]] = found
    return extra


def _check_claims(claims: Mapping[str, Any], values: Any, rules: Any) -> None:
    for rule in rules:
        name, wanted = rule.get("claim"), rule.get("requiredValue") or ""
        if not name:
            continue
        if name not in claims:
            raise TokenError(f"oidc: required claim {name} not present in ID token")
        if not isinstance(claims[name], str):
            raise TokenError(f"oidc: parse claim {name}: the claim is not a string")
        if claims[name] != wanted:
            raise TokenError(f"oidc: required claim {name} value does not match. Got = {claims[name]}, want = {wanted}")
    written = [r for r in rules if not r.get("claim")]
    _check(written, "claims", values, "oidc: error evaluating claim validation expression")


def _check_user(user: UserInfo, rules: Any) -> None:
    extra = {k: list(v) for k, v in user.extra.items()}
    value = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
    _check(rules, "user", value, "oidc: error evaluating user info validation rule")


def _check(rules: Any, variable: str, value: Any, words: str) -> None:
    for rule in rules:
        text = rule["expression"]
        try:
            result = _evaluate(text, variable, value)
            if not isinstance(result, bool):
                raise ValueError("validation expression must return a boolean")
            if not result:
                raise ValueError(f"validation expression '{text}' failed: {rule.get('message') or ''}")
        except ValueError as failure:
            raise TokenError(f"{words}: {failure}") from failure
