"""Impersonation: acting as another user by ``Impersonate-*`` headers, as far as one is authorized to.

Specified by "User impersonation" and KEP-5284 (constrained impersonation, on by default in v1.36): first the constrained
modes are tried, each needs ``impersonate:<mode>`` on the user and ``impersonate-on:<mode>:<verb>`` on the request; then the
old, unlimited ``impersonate``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...api.errors import StatusError, bad_request, go_quote
from ...hooks.authorization import Attributes, Authorizer
from ...hooks.identity import ANONYMOUS, AUTHENTICATED, SYSTEM_MASTERS, UserInfo
from ..authz.messages import forbidden_error, require
from .certificates import header_values, unescape_key
from .serviceaccounts import NODE_NAME, groups, split_username

USER_HEADER, UID_HEADER, GROUP_HEADER = "impersonate-user", "impersonate-uid", "impersonate-group"
EXTRA_PREFIX = "impersonate-extra-"
UNAUTHENTICATED = "system:unauthenticated"
AUTHENTICATION_GROUP = "authentication.k8s.io"
MANY = 4
"""From so many groups or extra values on, a constrained check first asks for all at once."""

_NODE_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_EXTRA_KEY = re.compile(
    r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/[a-z0-9-._~%!$&'()*+,;=:/]+"
)


@dataclass(frozen=True, slots=True)
class Impersonated:
    """Who the request is from now on, and by which constrained verb (empty for the old kind)."""

    user: UserInfo
    constraint: str = ""


def asks_to_impersonate(headers: Mapping[str, str]) -> bool:
    """May be wrong about a header that only contains the word: who asks further finds out."""
    return "impersonate-" in "\n".join(headers)  # asked of every request, so no loop of ours


def wanted_user(headers: Mapping[str, str]) -> UserInfo | None:
    """Whom the headers ask to be; None where they ask for nothing. Raises StatusError 400."""
    name = (header_values(headers, USER_HEADER) or [""])[0]
    uid = (header_values(headers, UID_HEADER) or [""])[0]
    wanted_groups = tuple(header_values(headers, GROUP_HEADER))
    extra: dict[str, tuple[str, ...]] = {}
    for header in headers:
        if header.startswith(EXTRA_PREFIX):
            key = unescape_key(header[len(EXTRA_PREFIX) :])
            extra[key] = (*extra.get(key, ()), *header_values(headers, header))
    if name:
        return UserInfo(name, uid, wanted_groups, extra)
    if uid or wanted_groups or extra:
        wanted = _go_syntax(uid, wanted_groups, extra)
        raise bad_request(f"requested {wanted} without impersonating a user name")
    return None


def _go_syntax(uid: str, groups: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]) -> str:
    """A user without a name as Go's ``%#v`` shows it, which is what upstream's message holds."""

    def texts(values: tuple[str, ...]) -> str:
        return "[]string{" + ", ".join(map(go_quote, values)) + "}"

    inside = ", ".join(f"{go_quote(k)}:{texts(extra[k])}" for k in sorted(extra))
    shown_groups = texts(groups) if groups else "[]string(nil)"
    shown_extra = f"map[string][]string{{{inside}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{go_quote(uid)}, Groups:{shown_groups}, Extra:{shown_extra}}}'


def node_of(username: str) -> str:
    """The node of a kubelet's user name, nothing for other users."""
    name = username.removeprefix("system:node:")
    return name if name != username and len(name) <= 253 and _NODE_NAME.fullmatch(name) else ""


class Impersonation:
    """Remembers by which mode each user impersonated last: that one is tried first, and tells what is missing."""

    MAX_USERS = 10_000

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    async def impersonate(
        self, attributes: Attributes, headers: Mapping[str, str], authorizer: Authorizer
    ) -> Impersonated | None:
        """The user to go on as; None where nothing is asked. ``attributes`` is the request as its sender makes it.

        Raises StatusError 403 for the first mode that applies where none allows it.
        """
        wanted = wanted_user(headers)
        if wanted is None:
            return None
        name = attributes.user.name
        modes, last = _modes(wanted, attributes.user), self._last.get(name)
        if last in modes:
            modes.remove(last)
            modes.insert(0, last)
        first: StatusError | None = None
        for mode in modes:
            try:
                found = await _check_mode(mode, wanted, attributes, authorizer)
            except StatusError as failure:
                first = first or failure
                continue
            if mode != last:
                if len(self._last) >= self.MAX_USERS:
                    self._last.clear()
                self._last[name] = mode
            return found
        assert first is not None
        raise first


def _modes(wanted: UserInfo, requestor: UserInfo) -> list[str]:
    only_name = not wanted.uid and not wanted.groups and not wanted.extra
    node, account = node_of(wanted.name), split_username(wanted.name)
    modes = []
    if only_name and node:
        if split_username(requestor.name) and requestor.extra.get(NODE_NAME) == (node,):
            modes.append("associated-node")
        modes.append("arbitrary-node")
    if only_name and account:
        modes.append("serviceaccount")
    if not node and not account:
        modes.append("user-info")
    return [*modes, ""]


async def _check_mode(mode: str, wanted: UserInfo, attributes: Attributes, authorizer: Authorizer) -> Impersonated:
    requestor = attributes.user
    if mode == "associated-node":
        # The decision must hold for every node that the ServiceAccount may run on, so nothing of this one takes part.
        keys = tuple(sorted(requestor.extra))
        requestor = replace(requestor, extra={"authentication.kubernetes.io/associated-node-keys": keys})
    if mode:
        on = replace(attributes, user=requestor, verb=f"impersonate-on:{mode}:{attributes.verb}")
        await require(authorizer, on)
    verb = f"impersonate:{mode}" if mode else "impersonate"
    check = _Check(authorizer, requestor, verb, mode)
    actual_groups = await check.name(wanted)
    if wanted.uid:
        await check.one("uids", wanted.uid, group=AUTHENTICATION_GROUP)
    await check.groups(wanted.groups)
    await check.extra(wanted.extra)
    if wanted.name == ANONYMOUS.name:
        if UNAUTHENTICATED not in actual_groups:
            actual_groups = (*actual_groups, UNAUTHENTICATED)
    elif UNAUTHENTICATED not in actual_groups and AUTHENTICATED not in actual_groups:
        actual_groups = (*actual_groups, AUTHENTICATED)
    return Impersonated(replace(wanted, groups=actual_groups), verb if mode else "")


class _Check:
    """The authorizations that one impersonation needs, in upstream's order."""

    def __init__(self, authorizer: Authorizer, requestor: UserInfo, verb: str, mode: str) -> None:
        self._authorizer, self._requestor, self._verb, self._mode = authorizer, requestor, verb, mode
        self._group = AUTHENTICATION_GROUP if mode else ""

    def _attributes(self, resource: str, name: str, **more: str) -> Attributes:
        group = more.pop("group", self._group)
        return Attributes(self._requestor, self._verb, group, "v1", resource, name=name, **more)

    async def one(self, resource: str, name: str, **more: str) -> None:
        await require(self._authorizer, self._attributes(resource, name, **more))

    async def name(self, wanted: UserInfo) -> tuple[str, ...]:
        """Checks the user's name; gives the groups that the user will be in."""
        node, account = node_of(wanted.name), split_username(wanted.name)
        if self._mode and node:
            await self.one("nodes", "*" if self._mode == "associated-node" else node)
            return ("system:nodes",)
        if account:
            await self.one("serviceaccounts", account[1], namespace=account[0])
            return wanted.groups or groups(account[0])
        await self.one("users", wanted.name)
        return wanted.groups

    async def groups(self, wanted: tuple[str, ...]) -> None:
        if self._mode and wanted:
            if "" in wanted:
                raise forbidden_error(
                    self._attributes("groups", ""), "impersonating the empty string group is not allowed"
                )
            if SYSTEM_MASTERS in wanted:
                raise forbidden_error(
                    self._attributes("groups", SYSTEM_MASTERS), "impersonating the system:masters group is not allowed"
                )
            if len(wanted) >= MANY and await self._allowed("groups", "*"):
                return
        for group in wanted:
            await self.one("groups", group)

    async def extra(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        if self._mode and wanted:
            problem = _extra_problem(wanted)
            if problem:
                raise forbidden_error(self._attributes("userextras", "", group=AUTHENTICATION_GROUP), problem)
            many = len(wanted) >= MANY or sum(map(len, wanted.values())) >= MANY
            if many and await self._allowed("userextras", "*", subresource="*"):
                return
        for key, values in wanted.items():
            for value in values:
                await self.one("userextras", value, group=AUTHENTICATION_GROUP, subresource=key)

    async def _allowed(self, resource: str, name: str, **more: str) -> bool:
        try:
            await self.one(resource, name, **more)
        except StatusError:
            return False
        return True


def _extra_problem(extra: Mapping[str, tuple[str, ...]]) -> str:
    for key, values in extra.items():
        if not key:
            return "impersonating the empty string key in extra is not allowed"
        if not _EXTRA_KEY.fullmatch(key.lower()):
            return (
                f"impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {go_quote(key)}: must be a "
                "domain-prefixed path"
            )
        if key != key.lower():
            return f"impersonating a non-lowercase key in extra is not allowed: {go_quote(key)}"
        if not values:
            return "impersonating empty values in extra is not allowed"
        if "" in values:
            return "impersonating the empty string value in extra is not allowed"
    return ""
