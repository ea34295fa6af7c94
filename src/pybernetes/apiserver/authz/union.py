"""The chain of authorization modes, and the modes that need no thought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...hooks.authorization import Attributes, Authorizer, Decision, Verdict
from ...hooks.identity import SYSTEM_MASTERS, UserInfo
from .rules import FULL_AUTHORITY, PolicyRule, ResolvedRules

ALLOW = Verdict(Decision.ALLOW)


class AlwaysAllow:
    async def authorize(self, attributes: Attributes) -> Verdict:
        return ALLOW

    def rules_for(self, user: UserInfo, namespace: str) -> ResolvedRules:
        return ResolvedRules([*FULL_AUTHORITY], [])


class AlwaysDeny:
    async def authorize(self, attributes: Attributes) -> Verdict:
        return Verdict(Decision.NO_OPINION, "Everything is forbidden.")

    def rules_for(self, user: UserInfo, namespace: str) -> ResolvedRules:
        return ResolvedRules([], [])


class Union:
    """The first mode that has an opinion decides. Members of system:masters may do everything, whatever the modes."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)
        # The built-in modes answer at once; not going through a coroutine for each is half of a warm decision's time.
        self._steps: tuple[tuple[Any, Authorizer], ...] = tuple(
            (getattr(a, "decide", None), a) for a in self._authorizers
        )

    def prepare(self) -> None:
        """Builds what the modes would build at their first question."""
        for authorizer in self._authorizers:
            prepare = getattr(authorizer, "prepare", None)
            if prepare is not None:
                prepare()

    async def authorize(self, attributes: Attributes) -> Verdict:
        if SYSTEM_MASTERS in attributes.user.groups:
            return ALLOW
        reasons: list[str] = []
        for decide, authorizer in self._steps:
            verdict: Verdict = decide(attributes) if decide is not None else await authorizer.authorize(attributes)
            if verdict.decision is Decision.ALLOW:
                return verdict
            if verdict.reason:
                reasons.append(verdict.reason)
            if verdict.decision is Decision.DENY:
                return Verdict(Decision.DENY, "\n".join(reasons))
        return Verdict(Decision.NO_OPINION, "\n".join(reasons))

    def rules_for(self, user: UserInfo, namespace: str) -> ResolvedRules:
        """What all modes together say; an outside service cannot say."""
        rules: list[PolicyRule] = [*FULL_AUTHORITY] if SYSTEM_MASTERS in user.groups else []
        errors: list[str] = []
        incomplete = False
        for authorizer in self._authorizers:
            resolve = getattr(authorizer, "rules_for", None)
            found = resolve(user, namespace) if resolve is not None else _unresolvable(authorizer)
            rules.extend(found.rules)
            errors.extend(found.errors)
            incomplete = incomplete or found.incomplete
        return ResolvedRules(rules, errors, incomplete)


def _unresolvable(authorizer: Authorizer) -> ResolvedRules:
    label = getattr(authorizer, "label", type(authorizer).__name__)
    return ResolvedRules([], [f"{label} does not support user rule resolution"], True)
