"""Acting as others: what must be allowed for it, and what it cannot reach."""

import pytest
from auth_support import ListAuthorizer, attributes, user

from pybernetes.api.errors import StatusError
from pybernetes.apiserver.authn.impersonation import Impersonation

REQUEST = attributes(user("alice", "dev"), "list", namespace="ns")


async def run(headers, authorizer, request=REQUEST):
    return await Impersonation().impersonate(request, headers, authorizer)


def legacy_only(attributes):
    return attributes.verb == "impersonate"


def asked(authorizer, verb="impersonate"):
    return [
        (a.resource + (f"/{a.subresource}" if a.subresource else ""), a.namespace, a.name)
        for a in authorizer.asked
        if a.verb == verb
    ]


async def test_nothing_asked():
    assert await run({}, ListAuthorizer()) is None


async def test_everything_needs_its_own_permission():
    authorizer = ListAuthorizer(legacy_only)
    headers = {
        "impersonate-user": "bob",
        "impersonate-uid": "7",
        "impersonate-group": "a\nb",
        "impersonate-extra-scopes": "x\ny",
    }
    result = await run(headers, authorizer)
    assert (result.user.name, result.user.uid, result.user.groups) == ("bob", "7", ("a", "b", "system:authenticated"))
    assert result.user.extra == {"scopes": ("x", "y")}
    assert asked(authorizer) == [
        ("users", "", "bob"), ("uids", "", "7"), ("groups", "", "a"), ("groups", "", "b"),
        ("userextras/scopes", "", "x"), ("userextras/scopes", "", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize("denied", ["users", "uids", "groups", "userextras"])
async def test_one_missing_permission_is_enough(denied):
    headers = {"impersonate-user": "bob", "impersonate-uid": "7", "impersonate-group": "a", "impersonate-extra-k": "v"}
    with pytest.raises(StatusError) as caught:
        await run(headers, ListAuthorizer(lambda a: legacy_only(a) and a.resource != denied))
    assert caught.value.code == 403


async def test_service_accounts_bring_their_groups():
    result = await run({"impersonate-user": "system:serviceaccount:ns:sa"}, ListAuthorizer(legacy_only))
    assert result.user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")


async def test_anonymous_is_not_authenticated():
    result = await run({"impersonate-user": "system:anonymous"}, ListAuthorizer(legacy_only))
    assert result.user.groups == ("system:unauthenticated",)


async def test_without_a_user():
    with pytest.raises(StatusError) as caught:
        await run({"impersonate-group": "system:masters"}, ListAuthorizer())
    assert caught.value.code == 400


async def test_refusal_in_upstreams_words():
    with pytest.raises(StatusError) as caught:
        await run({"impersonate-user": "system:node:a"}, ListAuthorizer(lambda a: a.verb.startswith("impersonate-on:")))
    assert caught.value.message == (
        'nodes.authentication.k8s.io "a" is forbidden: User "alice" cannot impersonate:arbitrary-node resource "nodes" in API group '
        '"authentication.k8s.io" at the cluster scope'
    )


async def test_constrained_modes_never_reach_masters():
    def constrained(attributes):
        return attributes.verb != "impersonate"

    with pytest.raises(StatusError) as caught:
        await run({"impersonate-user": "bob", "impersonate-group": "system:masters"}, ListAuthorizer(constrained))
    assert "impersonating the system:masters group is not allowed" in caught.value.message
    result = await run({"impersonate-user": "bob", "impersonate-group": "dev"}, ListAuthorizer(constrained))
    assert result.constraint == "impersonate:user-info"


async def test_constrained_mode_needs_the_request_as_well():
    with pytest.raises(StatusError) as caught:
        await run({"impersonate-user": "bob"}, ListAuthorizer(lambda a: a.verb == "impersonate:user-info"))
    assert 'cannot impersonate-on:user-info:list resource "pods"' in caught.value.message


async def test_a_node_agent_acts_as_its_own_node_only():
    agent = user("system:serviceaccount:ns:agent", **{"authentication.kubernetes.io/node-name": ("n1",)})

    def allows(attributes):
        return "associated-node" in attributes.verb

    request = attributes(agent, "get", namespace="ns")
    result = await run({"impersonate-user": "system:node:n1"}, ListAuthorizer(allows), request)
    assert (result.user.name, result.user.groups) == ("system:node:n1", ("system:nodes", "system:authenticated"))
    with pytest.raises(StatusError):
        await run({"impersonate-user": "system:node:n2"}, ListAuthorizer(allows), request)


async def test_the_mode_that_worked_last_is_tried_first_and_tells_what_is_missing():
    modes, authorizer = Impersonation(), ListAuthorizer(lambda a: legacy_only(a) and a.name in ("bob", ""))
    with pytest.raises(StatusError, match="cannot impersonate-on:user-info:list"):
        await modes.impersonate(REQUEST, {"impersonate-user": "carol"}, authorizer)
    assert (await modes.impersonate(REQUEST, {"impersonate-user": "bob"}, authorizer)).constraint == ""
    with pytest.raises(
        StatusError, match='users "carol" is forbidden: User "alice" cannot impersonate resource "users"'
    ):
        await modes.impersonate(REQUEST, {"impersonate-user": "carol"}, authorizer)


async def test_what_only_looks_like_a_service_account_gets_no_groups():
    result = await run({"impersonate-user": "system:serviceaccount:a:Robot_X"}, ListAuthorizer(legacy_only))
    assert result.user.groups == ("system:authenticated",)
