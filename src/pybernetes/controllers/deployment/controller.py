"""The shell of the Deployment controller."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.errors import StatusError
from ...api.meta import Object, controller_of, controller_reference, key_of, labels_of, name_of, namespace_of, uid_of
from ...api.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from ...api.selectors import selector_from_object
from ..claims import claim
from ..commands import Create
from ..runtime import API_ERRORS, Controller, is_namespace_terminating, is_status
from . import decide, sets


class DeploymentController(Controller):
    name = "deployment-controller"

    def setup(self) -> None:
        self.deployments = self.watch(DEPLOYMENTS)
        self.sets = self.by_owner(REPLICA_SETS)
        self.watch_owned(REPLICA_SETS, "Deployment", self._matching)
        self.pods = self.by_owner(PODS)
        self.watch(PODS, self._of_deleted_pod)

    def _matching(self, rs: Object) -> Iterable[str]:
        labels = labels_of(rs)
        for deployment in self.deployments.list(namespace_of(rs)) if labels else ():
            selector = selector_from_object(deployment["spec"].get("selector"))
            if not selector.everything and selector.matches(labels):
                yield key_of(deployment)

    def _of_deleted_pod(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """Recreate waits for the last old pod; nothing else here depends on single pods."""
        pod = new or old
        reference = controller_of(pod) if pod is not None and kind == "DELETED" else None
        if pod is None or reference is None or reference.get("kind") != "ReplicaSet":
            return
        rs = self.sets.get(namespace_of(pod), reference["name"])
        owner = controller_of(rs) if rs is not None else None
        if owner is None or owner.get("kind") != "Deployment":
            return
        deployment = self.deployments.get(namespace_of(pod), owner["name"])
        if deployment is not None and not sets.is_rolling(deployment):
            yield key_of(deployment)

    async def sync(self, key: str) -> float | None:
        deployment = self.deployments.get_key(key)
        if deployment is None:
            return None
        owned = await self._claim(deployment)
        pods = {}
        if not sets.is_rolling(deployment):
            pods = {uid_of(rs): self.pods.by_index("owner", uid_of(rs)) for rs in owned}
        now = self.clock.now()
        decision = decide.decide(decide.Snapshot(deployment, owned, pods), now)
        for command in decision.commands:
            if isinstance(command, Create):
                if not await self._create_set(deployment, command.obj):
                    return None
            else:
                await self.execute([command])
        return decision.after

    async def _claim(self, deployment: Object) -> list[Object]:
        selector = selector_from_object(deployment["spec"].get("selector"))
        own = self.sets.by_index("owner", uid_of(deployment))
        orphans = self.sets.by_index("owner", f"orphan/{namespace_of(deployment)}")
        reference = controller_reference(deployment, "apps/v1", "Deployment")
        return await claim(self, deployment, DEPLOYMENTS, reference, REPLICA_SETS, selector, [*own, *orphans])

    async def _create_set(self, deployment: Object, rs: Object) -> bool:
        """False where another set is in the way: the next sync goes on from what was done about it."""
        try:
            await self.writer.create(REPLICA_SETS, rs)
            return True
        except API_ERRORS as failure:
            if is_status(failure, "AlreadyExists"):
                await self._meet_existing(deployment, rs)
                return False
            if not is_namespace_terminating(failure):
                await self.apply(decide.creation_failed(deployment, rs, str(failure), self.clock.now()))
            raise

    async def _meet_existing(self, deployment: Object, rs: Object) -> None:
        """Ours after all (our copy was behind), or a collision of hashes."""
        try:
            found = await self.client.get(REPLICA_SETS, name_of(rs), namespace_of(rs))
        except StatusError as failure:
            if failure.reason == "NotFound":
                self.queue.add(key_of(deployment))
                return
            raise
        owner = controller_of(found)
        if owner is not None and owner.get("uid") == uid_of(deployment):
            if sets.same_template(sets.template_of(found), sets.template_of(deployment)):
                self.sets.observe(found)
                self.queue.add(key_of(deployment))
                return
        await self.apply(decide.collided(deployment))
