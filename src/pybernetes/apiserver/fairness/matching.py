"""Which FlowSchema a request belongs to, and which flow of it. Pure.

Specified by ``flowcontrol.apiserver.k8s.io/v1`` FlowSchema: the first in the order of ``matchingPrecedence`` and name decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...api.meta import Object, name_of
from ...hooks.identity import UserInfo
from ..request import RequestInfo

Test = Callable[[UserInfo, RequestInfo], bool]
DEFAULT_PRECEDENCE = 1000
_ACCOUNT = "system:serviceaccount:"


def in_order(schemas: Iterable[Object]) -> list[Object]:
    return sorted(schemas, key=lambda s: ((s.get("spec") or {}).get("matchingPrecedence") or 0, name_of(s)))


def matcher(spec: Mapping[str, Any]) -> Test:
    """Whether a request belongs to a FlowSchema with this spec."""
    rules = [
        (
            [_subject(s) for s in rule.get("subjects") or ()],
            rule.get("resourceRules") or (),
            rule.get("nonResourceRules") or (),
        )
        for rule in spec.get("rules") or ()
    ]

    def matches(user: UserInfo, info: RequestInfo) -> bool:
        for subjects, resources, others in rules:
            if not any(s(user) for s in subjects):
                continue
            if info.is_resource:
                if any(_resource_rule(r, info) for r in resources):
                    return True
            elif any(_path_rule(r, info) for r in others):
                return True
        return False

    return matches


def _subject(subject: Mapping[str, Any]) -> Callable[[UserInfo], bool]:
    kind = subject.get("kind")
    if kind == "User":
        name = (subject.get("user") or {}).get("name")
        return lambda user: name in ("*", user.name)
    if kind == "Group":
        group = (subject.get("group") or {}).get("name")
        return lambda user: group == "*" or group in user.groups
    if kind == "ServiceAccount":
        account = subject.get("serviceAccount") or {}
        prefix, wanted = f"{_ACCOUNT}{account.get('namespace') or ''}:", account.get("name") or ""
        if wanted == "*":
            return lambda user: user.name.startswith(prefix)
        return lambda user: user.name == prefix + wanted
    return lambda user: False


def _among(value: str, listed: Sequence[str]) -> bool:
    return list(listed) == ["*"] or value in listed


def _resource_rule(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (_among(info.verb, rule.get("verbs") or ()) and _among(resource, rule.get("resources") or ())):
        return False
    if not _among(info.group, rule.get("apiGroups") or ()):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _among(info.namespace, rule.get("namespaces") or ())


def _path_rule(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    if not _among(info.verb, rule.get("verbs") or ()):
        return False
    for url in rule.get("nonResourceURLs") or ():
        if url in ("*", info.path):
            return True
        prefix = url.removesuffix("*")
        if info.path.startswith(prefix if prefix.endswith("/") else prefix + "/"):
            return True
    return False


def distinguisher(spec: Mapping[str, Any], user: UserInfo, info: RequestInfo) -> str:
    """What tells the flows of a schema from each other."""
    method = (spec.get("distinguisherMethod") or {}).get("type")
    if method == "ByUser":
        return user.name
    return info.namespace if method == "ByNamespace" else ""


def flow_hash(schema: str, flow: str) -> int:
    """Flows are dealt to queues by this number."""
    return int.from_bytes(hashlib.sha256(f"{schema}\0{flow}".encode()).digest()[:8], "little")


def deal(number: int, deck: int, hand: int) -> tuple[int, ...]:
    """Shuffle sharding: the ``hand`` different queues out of ``deck`` that a flow's requests may wait in."""
    drawn: list[int] = []
    for i in range(hand):
        number, card = divmod(number, deck - i)
        drawn.append(card)
    dealt = []
    for i, card in enumerate(drawn):
        # Each was drawn from what was left: earlier cards are put back into the count, the latest first.
        for j in range(i, 0, -1):
            if card >= drawn[j - 1]:
                card += 1
        dealt.append(card)
    return tuple(dealt)
