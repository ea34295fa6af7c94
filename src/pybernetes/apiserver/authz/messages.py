"""The words of a refusal. Specified by ``apiserver/pkg/endpoints/handlers/responsewriters``: people and tools match on them."""

from __future__ import annotations

from ...api.errors import StatusError, forbidden, go_quote
from ...hooks.authorization import Attributes, Authorizer, Decision

_SANITIZE = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def forbidden_message(attributes: Attributes) -> str:
    """``User "x" cannot list resource "pods" in API group "" in the namespace "default"``."""
    user, verb = go_quote(attributes.user.name), attributes.verb
    if not attributes.resource and not attributes.version:
        return f"User {user} cannot {verb} path {go_quote(attributes.path)}"
    resource = attributes.resource
    if attributes.subresource:
        resource += "/" + attributes.subresource
    text = f"User {user} cannot {verb} resource {go_quote(resource)} in API group {go_quote(attributes.group)}"
    if attributes.namespace:
        return f"{text} in the namespace {go_quote(attributes.namespace)}"
    return f"{text} at the cluster scope"


def forbidden_error(attributes: Attributes, reason: str = "") -> StatusError:
    """The 403 for a request that no authorizer allowed."""
    message = forbidden_message(attributes).translate(_SANITIZE)
    if reason:
        message += f": {reason}"
    if not attributes.resource:
        return forbidden("", "", "", message)
    return forbidden(attributes.group, attributes.resource, attributes.name, message)


REASON_ERROR = "internal error"
"""The audited reason where the authorizers could not decide."""


class Undecided(StatusError):
    """Nothing allowed the request, and an authorizer (a webhook) could not be asked. Upstream answers by plain text."""

    def __init__(self, target: str, error: str) -> None:
        words = f"Internal Server Error: {go_quote(target)}: {error}".translate(_SANITIZE)
        super().__init__(500, "InternalError", words)


async def require(authorizer: Authorizer, attributes: Attributes) -> None:
    """Raises the 403 unless the authorizer allows it."""
    verdict = await authorizer.authorize(attributes)
    if verdict.decision is not Decision.ALLOW:
        raise forbidden_error(attributes, verdict.error or verdict.reason)
