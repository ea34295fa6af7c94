"""The garbage collector: background, foreground, orphan, absent owners, wrong owners, custom resources."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.api.resources import CONFIG_MAPS, EVENTS, GVR, PODS, REPLICA_SETS, SECRETS, ResourceInfo
from pybernetes.controllers.garbagecollector.graph import Graph

NAME = "garbage-collector-controller"


def owned_by(*owners, block=False, name="d", namespace="default"):
    references = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for o in owners
    ]
    return {"metadata": {"name": name, "namespace": namespace, "ownerReferences": references}}


def plain(name, namespace="default"):
    return {"metadata": {"name": name, "namespace": namespace}}


def names(world, gvr):
    return sorted(o["metadata"]["name"] for o in world.api.all(gvr))


def test_dependents_go_after_their_owner(virtually):
    async def main(world):
        async def body():
            await world.settle(2)
            owner = world.api.create(SECRETS, plain("owner"))
            child = world.api.create(CONFIG_MAPS, owned_by(owner))
            world.api.create(REPLICA_SETS, owned_by(child, name="grandchild"))
            world.api.create(CONFIG_MAPS, plain("free"))
            await world.settle(5)
            assert names(world, CONFIG_MAPS) == ["d", "free"]
            world.api.remove(SECRETS, "default", "owner")
            await world.settle(5)
            assert names(world, CONFIG_MAPS) == ["free"] and names(world, REPLICA_SETS) == []

        await world.managed(body, NAME)

    virtually(main)


def test_an_owner_that_never_was_is_looked_up(virtually):
    async def main(world):
        async def body():
            ghost = {**plain("ghost"), "apiVersion": "v1", "kind": "Secret"}
            ghost["metadata"]["uid"] = "no-such-uid"
            world.api.create(CONFIG_MAPS, owned_by(ghost, name="before"))
            await world.settle(5)
            world.api.create(CONFIG_MAPS, owned_by(ghost, name="after"))
            await world.settle(5)
            assert names(world, CONFIG_MAPS) == []

        await world.managed(body, NAME)

    virtually(main)


def test_one_living_owner_is_enough(virtually):
    async def main(world):
        async def body():
            one, two = (world.api.create(SECRETS, plain(n)) for n in ("one", "two"))
            world.api.create(CONFIG_MAPS, owned_by(one, two))
            await world.settle(5)
            world.api.remove(SECRETS, "default", "one")
            await world.settle(5)
            references = world.api.get(CONFIG_MAPS, "default", "d")["metadata"]["ownerReferences"]
            assert [r["name"] for r in references] == ["two"]

        await world.managed(body, NAME)

    virtually(main)


def test_foreground_waits_for_those_that_block(virtually):
    async def main(world):
        async def body():
            owner = world.api.create(SECRETS, plain("owner"))
            held = owned_by(owner, block=True)
            held["metadata"]["finalizers"] = ["example.com/wait"]
            world.api.create(CONFIG_MAPS, held)
            await world.settle(5)
            world.api.remove(SECRETS, "default", "owner", {"propagationPolicy": "Foreground"})
            await world.settle(5)
            assert world.api.get(SECRETS, "default", "owner")["metadata"]["finalizers"] == ["foregroundDeletion"]
            held = world.api.get(CONFIG_MAPS, "default", "d")
            assert held["metadata"]["deletionTimestamp"]
            left = [f for f in held["metadata"]["finalizers"] if f != "example.com/wait"]
            world.api.update(CONFIG_MAPS, {**held, "metadata": {**held["metadata"], "finalizers": left}})
            await world.settle(5)
            assert names(world, CONFIG_MAPS) == [] and names(world, SECRETS) == []

        await world.managed(body, NAME)

    virtually(main)


def test_foreground_does_not_wait_for_those_that_do_not_block(virtually):
    async def main(world):
        async def body():
            owner = world.api.create(SECRETS, plain("owner"))
            held = owned_by(owner, block=False)
            held["metadata"]["finalizers"] = ["example.com/wait"]
            world.api.create(CONFIG_MAPS, held)
            await world.settle(5)
            world.api.remove(SECRETS, "default", "owner", {"propagationPolicy": "Foreground"})
            await world.settle(5)
            assert names(world, SECRETS) == [] and names(world, CONFIG_MAPS) == ["d"]

        await world.managed(body, NAME)

    virtually(main)


def test_a_circle_in_the_foreground_ends(virtually):
    async def main(world):
        async def body():
            one = world.api.create(SECRETS, plain("one"))
            two = world.api.create(CONFIG_MAPS, owned_by(one, block=True, name="two"))
            reference = owned_by(two, block=True)["metadata"]["ownerReferences"]
            world.api.update(SECRETS, {**one, "metadata": {**one["metadata"], "ownerReferences": reference}})
            await world.settle(5)
            world.api.remove(SECRETS, "default", "one", {"propagationPolicy": "Foreground"})
            await world.settle(20)
            assert names(world, SECRETS) == [] and names(world, CONFIG_MAPS) == []

        await world.managed(body, NAME)

    virtually(main)


def test_orphans_stay(virtually):
    async def main(world):
        async def body():
            owner = world.api.create(SECRETS, plain("owner"))
            for n in range(30):
                world.api.create(CONFIG_MAPS, owned_by(owner, name=f"d{n}"))
            await world.settle(5)
            world.api.remove(SECRETS, "default", "owner", {"propagationPolicy": "Orphan"})
            await world.settle(5)
            assert names(world, SECRETS) == [] and len(names(world, CONFIG_MAPS)) == 30
            assert not any(o["metadata"].get("ownerReferences") for o in world.api.all(CONFIG_MAPS))

        await world.managed(body, NAME)

    virtually(main)


def test_an_owner_in_another_namespace_counts_as_absent_and_is_reported(virtually):
    async def main(world):
        async def body():
            owner = world.api.create(SECRETS, plain("owner", "elsewhere"))
            world.api.create(CONFIG_MAPS, owned_by(owner))
            await world.settle(5)
            assert names(world, CONFIG_MAPS) == [] and names(world, SECRETS) == ["owner"]
            assert [e["reason"] for e in world.api.all(EVENTS)] == ["OwnerRefInvalidNamespace"]

        await world.managed(body, NAME)

    virtually(main)


def test_custom_resources_are_followed(virtually):
    widgets = GVR("example.com", "v1", "widgets")
    verbs = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

    async def main(world):
        async def body():
            await world.settle(2)
            world.api.extra_resources[widgets] = ResourceInfo(widgets, "Widget", "widget", True, verbs)
            await world.settle(31)
            owner = world.api.create(widgets, plain("w"))
            world.api.create(PODS, {**owned_by(owner, name="p"), "spec": {"containers": []}})
            await world.settle(5)
            assert names(world, PODS) == ["p"]
            world.api.remove(widgets, "default", "w")
            await world.settle(5)
            assert names(world, PODS) == []
            del world.api.extra_resources[widgets]
            await world.settle(31)
            assert widgets not in world.manager.find([NAME])[0]._monitors

        await world.managed(body, NAME)

    virtually(main)


def test_a_watch_gap_loses_nothing(virtually):
    async def main(world):
        async def body():
            owner = world.api.create(SECRETS, plain("owner"))
            world.api.create(CONFIG_MAPS, owned_by(owner))
            await world.settle(5)
            world.api.break_watches(forget=True)
            world.api.remove(SECRETS, "default", "owner")
            world.api.history.clear()
            world.api.window = world.api.revision
            await world.settle(60)
            assert names(world, CONFIG_MAPS) == []
            world.manager.find([NAME])[0].graph.validate_state()

        await world.managed(body, NAME)

    virtually(main)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.frozensets(st.integers(0, 6), max_size=3), st.booleans()), max_size=40))
def test_the_graph_stays_consistent(steps):
    graph = Graph()
    for uid, owners, remove in steps:
        if remove:
            graph.remove(str(uid))
        else:
            references = [{"apiVersion": "v1", "kind": "K", "name": str(o), "uid": str(o)} for o in owners]
            meta = {"name": str(uid), "uid": str(uid), "namespace": "n", "ownerReferences": references}
            graph.put(CONFIG_MAPS, "v1", "K", {"metadata": meta})
        graph.validate_state()
