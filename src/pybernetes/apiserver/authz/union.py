"""The chain of authorizers, and the modes that need no thought."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...hooks.authorization import Attributes, Authorizer, Decision, Verdict
from ...hooks.identity import SYSTEM_MASTERS, UserInfo
from .metrics import Tally
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
    """The first authorizer that has an opinion decides. Members of system:masters may do everything, whatever the authorizers."""

    def __init__(self, chain: Iterable[tuple[Authorizer, Tally | None]]) -> None:
        self._authorizers: tuple[Authorizer, ...] = ()
        self._steps: tuple[tuple[Any, Authorizer, Tally], ...] = ()
        self.exchange(chain)

    def exchange(self, chain: Iterable[tuple[Authorizer, Tally | None]]) -> list[Authorizer]:
        """Puts other authorizers in the place of these; those that are out of it, which may have questions under way."""
        found = list(chain)
        old = self._authorizers
        self._authorizers = tuple(a for a, _ in found)
        # The built-in ones answer at once; not going through a coroutine for each is half of a warm decision's time.
        self._steps = tuple((getattr(a, "decide", None), a, t or Tally("", "")) for a, t in found)
        return [a for a in old if a not in self._authorizers]

    def prepare(self) -> None:
        """Builds what the authorizers would build at their first question."""
        for authorizer in self._authorizers:
            prepare = getattr(authorizer, "prepare", None)
            if prepare is not None:
                prepare()

    async def authorize(self, attributes: Attributes) -> Verdict:
        if SYSTEM_MASTERS in attributes.user.groups:
            return ALLOW
        reasons: list[str] = []
        failures: list[str] = []
        for decide, authorizer, tally in self._steps:
            verdict: Verdict = decide(attributes) if decide is not None else await authorizer.authorize(attributes)
            if verdict.decision is Decision.ALLOW:
                tally.allowed += 1
                return verdict
            if verdict.decision is Decision.DENY:
                tally.denied += 1
                return verdict
            if verdict.reason:
                reasons.append(verdict.reason)
            if verdict.error:
                failures.append(verdict.error)
        error = "" if not failures else failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]"
        return Verdict(Decision.NO_OPINION, "\n".join(reasons), error)

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
