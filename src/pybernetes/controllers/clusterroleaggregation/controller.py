"""The shell of ClusterRole aggregation."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, name_of
from ...api.resources import CLUSTER_ROLES
from ..runtime import Controller
from . import decide


class ClusterRoleAggregationController(Controller):
    name = "clusterrole-aggregation-controller"

    def setup(self) -> None:
        self.roles = self.informer(CLUSTER_ROLES)
        self.watch(CLUSTER_ROLES, self._of_role)

    def _of_role(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """Any role may be part of any aggregated one; there are few of those."""
        return [name_of(r) for r in self.roles.list() if r.get("aggregationRule")]

    async def sync(self, key: str) -> float | None:
        role = self.roles.get_key(key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules = decide.aggregated_rules(role, self.roles.list())
        if rules != (role.get("rules") or []):
            applied = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": key},
                "rules": rules,
            }
            manager = "clusterrole-aggregation-controller"
            answer = await self.client.apply(CLUSTER_ROLES, applied, field_manager=manager, force=True)
            self.context.informers.observe(CLUSTER_ROLES, answer)
        return None
