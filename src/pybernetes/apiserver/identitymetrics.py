"""What is counted of the questions who somebody is and what they may do. Specified by ``apiserver/pkg/endpoints/filters``.

Plain reads on a connection whose sender is known already (``express``) are counted by sender, and in no duration: nothing was
proven anew for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..hooks.authorization import Decision, Verdict
from .metrics import Histograms, Labels, counter_lines

BUCKETS = tuple(0.001 * 2**i for i in range(15))
SUCCESS, FAILURE, ERROR = "success", "failure", "error"
_NAMED = frozenset({"admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"})
_ALLOWED, _DENIED, _NO_OPINION, _ERROR = ("allowed", "denied", "no-opinion", "error")
_RESULTS: dict[str, Labels] = {r: (("result", r),) for r in (SUCCESS, FAILURE, ERROR, _ALLOWED, _DENIED, _NO_OPINION)}


class IdentityMetrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}
        self._users: dict[str, list[int]] = {}
        self._known: dict[str, list[int]] = {}
        self._decisions: dict[str, int] = {}
        self._authentication = Histograms(
            "authentication_duration_seconds", "Time that it took to find out who asks.", BUCKETS
        )
        self._authorization = Histograms("authorization_duration_seconds", "Time of decisions.", BUCKETS)

    def known(self, name: str) -> list[int]:
        """The counter of requests whose sender is known already and may do what it asks, in the only place of a list."""
        return self._known.setdefault(shown(name), [0])

    def authenticated(self, name: str, seconds: float) -> None:
        self._users.setdefault(shown(name), [0])[0] += 1
        self._authentication.observe(_RESULTS[SUCCESS], seconds)

    def refused(self, result: str, seconds: float) -> None:
        """FAILURE: nothing was shown; ERROR: what was shown does not hold."""
        self._attempts[result] = self._attempts.get(result, 0) + 1
        self._authentication.observe(_RESULTS[result], seconds)

    def decided(self, verdict: Verdict, seconds: float) -> None:
        if verdict.decision is Decision.ALLOW:
            result = _ALLOWED
        elif verdict.error:
            result = _ERROR
        else:
            result = _DENIED if verdict.decision is Decision.DENY else _NO_OPINION
        self._decisions[result] = self._decisions.get(result, 0) + 1
        self._authorization.observe(_RESULTS[result], seconds)

    def lines(self) -> Iterator[str]:
        users: dict[str, int] = {}
        for name, count in (*self._users.items(), *self._known.items()):
            users[name] = users.get(name, 0) + count[0]
        named = [({"username": name}, number) for name, number in users.items()]
        text = "Authenticated requests, by those few users' names that monitoring knows."
        yield from counter_lines("authenticated_user_requests", text, named)
        attempts = {SUCCESS: sum(users.values()), **self._attempts}
        tried = [({"result": r}, n) for r, n in attempts.items()]
        yield from counter_lines(
            "authentication_attempts", "Requests, by whether their sender could be found out.", tried
        )
        yield from self._authentication.lines()
        known = sum(count[0] for count in self._known.values())
        decisions = {**self._decisions, _ALLOWED: self._decisions.get(_ALLOWED, 0) + known}
        decided = [({"result": r}, n) for r, n in decisions.items()]
        yield from counter_lines("authorization_attempts_total", "Decisions, by their result.", decided)
        yield from self._authorization.lines()


def shown(name: str) -> str:
    """Upstream's few classes of user names."""
    return name if name in _NAMED else "email_id" if "@" in name else "other"
