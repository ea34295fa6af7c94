"""Match conditions: CEL expressions that must all hold for a webhook to be asked.

One that is false is enough for not asking. Where none is false but one cannot be evaluated, ``failurePolicy`` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....api.cel import CelError
from ....api.errors import forbidden
from ....hooks.admission import AdmissionAttributes
from ....hooks.authorization import Authorizer
from .. import expressions
from ..base import object_name
from ..matching import Equivalent


class Conditions:
    """The conditions of one webhook."""

    def __init__(self, conditions: Sequence[Mapping[str, Any]], failure_policy: str) -> None:
        self._ignore = failure_policy == "Ignore"
        self._conditions = expressions.Conditions.of(conditions, params=False) if conditions else None

    def hold(self, attributes: AdmissionAttributes, seen: Equivalent, authorizer: Authorizer) -> bool:
        """Raises StatusError 403 where they cannot be evaluated and the policy is to fail."""
        if self._conditions is None:
            return True
        try:
            return self._conditions.hold(expressions.bindings(attributes, seen, authorizer, None, None))
        except CelError as failure:
            if self._ignore:
                return False
            gvr = attributes.gvr
            raise forbidden(gvr.group, gvr.resource, object_name(attributes), str(failure)) from failure
