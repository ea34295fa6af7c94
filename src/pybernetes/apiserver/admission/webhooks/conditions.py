"""Match conditions: CEL expressions that must all hold for a webhook to be asked.

One that is false is enough for not asking. Where none is false but one cannot be evaluated, ``failurePolicy`` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....api.errors import forbidden, go_quote
from ....hooks.admission import AdmissionAttributes
from ....hooks.authorization import Authorizer
from ..base import object_name
from ..matching import Equivalent


class Conditions:
    """The conditions of one webhook."""

    def __init__(self, conditions: Sequence[Mapping[str, Any]], failure_policy: str) -> None:
        self._conditions, self._ignore = tuple(conditions), failure_policy == "Ignore"

    def hold(self, attributes: AdmissionAttributes, seen: Equivalent, authorizer: Authorizer, name: str) -> bool:
        """Raises StatusError 403 where they cannot be evaluated and the policy is to fail."""
        if not self._conditions:
            return True
        if self._ignore:
            return False
        words = f"match conditions of webhook {go_quote(name)} cannot be evaluated: CEL is not available"
        raise forbidden(attributes.gvr.group, attributes.gvr.resource, object_name(attributes), words)
