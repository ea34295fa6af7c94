"""Unused ServiceAccount tokens of the old kind are marked invalid and later deleted (KEP-2799), in virtual time."""

import copy

import pytest

from pybernetes.api.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
from pybernetes.api.times import to_time
from pybernetes.client.sharing import slim_pod
from pybernetes.controllers.command import controller_manager, settings_of
from pybernetes.controllers.legacytokens import decide
from pybernetes.controllers.settings import Settings

NAME = "legacy-serviceaccount-token-cleaner-controller"
DAY = decide.DAY
NOW = 1_800_000_000.0
PERIOD = 30 * DAY
OLD = to_time(NOW - 100 * DAY)


def secret(name="t", created=OLD, labels=None, account="default", uid="sa-uid", type_=decide.TYPE, **metadata):
    annotations = {decide.ACCOUNT_NAME: account, decide.ACCOUNT_UID: uid}
    meta = {"name": name, "namespace": "ns", "creationTimestamp": created, "annotations": annotations, "uid": "u"}
    return {"metadata": meta | {"labels": labels or {}} | metadata, "type": type_}


def account(*secrets, uid="sa-uid"):
    return {"metadata": {"name": "default", "namespace": "ns", "uid": uid}, "secrets": [{"name": s} for s in secrets]}


def verdicts(*secrets, account=account("t"), pods=()):  # noqa: B008 - never changed
    def account_of(namespace, name):
        return account if (namespace, name) == ("ns", "default") else None

    return decide.verdicts(secrets, account_of, lambda namespace: pods, NOW, PERIOD)


def day(days_ago):
    return decide.day_of(NOW - days_ago * DAY)


def test_what_nobody_has_used_is_marked_and_what_is_marked_for_long_is_deleted():
    [found] = verdicts(secret())
    assert (found.delete, found.invalid_since) == (False, day(0))
    [found] = verdicts(secret(labels={decide.LAST_USED: day(31)}))
    assert found.invalid_since == day(0)
    [found] = verdicts(secret(labels={decide.INVALID_SINCE: "soon"}))
    assert found.invalid_since == day(0), "a label that is no day is written again"
    [found] = verdicts(secret(labels={decide.INVALID_SINCE: day(31)}))
    assert found.delete


@pytest.mark.parametrize(
    ("kept", "of", "pods"),
    [
        (secret(type_="Opaque"), account("t"), ()),
        (secret(created=to_time(NOW - 29 * DAY)), account("t"), ()),
        (secret(created=to_time(NOW - PERIOD)), account("t"), ()),
        (secret(deletionTimestamp=OLD), account("t"), ()),
        (secret(labels={decide.LAST_USED: day(29)}), account("t"), ()),
        (secret(labels={decide.LAST_USED: day(30)}), account("t"), ()),
        (secret(labels={decide.LAST_USED: "yesterday"}), account("t"), ()),
        (secret(labels={decide.LAST_USED: "2026-1-2"}), account("t"), ()),
        (secret(), account("another"), ()),
        (secret(account=""), account("t"), ()),
        (secret(account="gone"), account("t"), ()),
        (secret(), account("t", uid="made-anew"), ()),
        (secret(labels={decide.INVALID_SINCE: day(30)}), account("t"), ()),
        (secret(), account("t"), [{"spec": {"volumes": [{"name": "v", "secret": {"secretName": "t"}}]}}]),
    ],
)
def test_what_is_left_alone(kept, of, pods):
    assert verdicts(kept, account=of, pods=pods) == []


def test_an_account_without_a_uid_in_the_secret_counts_by_name():
    assert len(verdicts(secret(uid=""))) == 1


def test_all_ways_of_using_a_secret_and_none_is_lost_in_slim_pods():
    def reference(name):
        return {"secretRef": {"name": name}}

    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]
    volumes = [
        {"name": "a", "secret": {"secretName": "volume"}},
        {"name": "b", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
        {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "d", "azureFile": {"secretName": "azure"}},
        {"name": "e", "csi": {"nodePublishSecretRef": {"name": "csi"}}},
        {"name": "f", "emptyDir": {}},
        *({"name": kind.lower(), kind: reference(kind.lower())} for kind in ("cephfs", "cinder", "rbd", "iscsi")),
    ]
    pod = {
        "metadata": {"name": "p"},
        "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [reference("from")]}],
            "containers": [{"name": "c", "env": env, "volumeMounts": [{"name": "a", "mountPath": "/a"}]}],
            "volumes": volumes,
        },
    }
    expected = {"env", "volume", "projected", "azure", "csi", "cephfs", "cinder", "rbd", "iscsi", "pull", "from"}
    assert set(decide.secret_names(pod)) - {""} == expected
    slim = slim_pod(copy.deepcopy(pod))
    assert set(decide.secret_names(slim)) - {""} == expected
    assert {v["name"] for v in slim["spec"]["volumes"]}.isdisjoint({"c", "f"})


def test_the_life_of_an_unused_token(virtually):
    """Marked after a period without use, deleted after another one, and not before the use has been watched for long enough."""

    async def main(world):
        began = world.clock.now()
        world.api.create(SERVICE_ACCOUNTS, account("unused", "used", "mounted"))
        uid = world.api.get(SERVICE_ACCOUNTS, "ns", "default")["metadata"]["uid"]
        for name in ("unused", "used", "mounted"):
            world.api.create(SECRETS, secret(name, created=to_time(began - 400 * DAY), uid=uid))
        world.api.create(SECRETS, secret("own", created=to_time(began - 400 * DAY), uid=uid))
        spec = {"containers": [], "volumes": [{"name": "v", "secret": {"secretName": "mounted"}}]}
        world.api.create(PODS, {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})
        tracking = {"name": decide.TRACKING_NAME, "namespace": decide.TRACKING_NAMESPACE}
        world.api.create(CONFIG_MAPS, {"metadata": tracking, "data": {"since": decide.day_of(began)}})

        def use(name):
            found = copy.deepcopy(world.api.get(SECRETS, "ns", name))
            found["metadata"]["labels"][decide.LAST_USED] = decide.day_of(world.clock.now())
            world.api.update(SECRETS, found)

        def left():
            return {name: s for (gvr, _, name), s in world.api.objects.items() if gvr == SECRETS}

        async def body():
            await world.settle()
            for _ in range(31):
                assert not any(decide.INVALID_SINCE in s["metadata"]["labels"] for s in left().values())
                use("used")
                await world.settle(DAY)
            await world.settle(DAY)
            marked = [n for n, s in left().items() if decide.INVALID_SINCE in s["metadata"]["labels"]]
            assert marked == ["unused"]
            for _ in range(30):
                assert "unused" in left()
                use("used")
                await world.settle(DAY)
            await world.settle(2 * DAY)
            assert sorted(left()) == ["mounted", "own", "used"]

        await world.managed(body, NAME, settings=Settings(legacy_service_account_token_clean_up_period=PERIOD))

    virtually(main)


@pytest.mark.parametrize("data", [None, {}, {"since": "long ago"}])
def test_nothing_is_concluded_where_it_is_not_known_since_when_use_is_tracked(virtually, data):
    async def main(world):
        world.api.create(SERVICE_ACCOUNTS, account("t"))
        uid = world.api.get(SERVICE_ACCOUNTS, "ns", "default")["metadata"]["uid"]
        world.api.create(SECRETS, secret(created=to_time(world.clock.now() - 900 * DAY), uid=uid))
        if data is not None:
            meta = {"name": decide.TRACKING_NAME, "namespace": decide.TRACKING_NAMESPACE}
            world.api.create(CONFIG_MAPS, {"metadata": meta, "data": data})

        async def body():
            await world.settle(800 * DAY)
            assert decide.INVALID_SINCE not in world.api.get(SECRETS, "ns", "t")["metadata"]["labels"]

        await world.managed(body, NAME)

    virtually(main)


def test_a_period_that_is_none():
    flags = ["--kubeconfig", "x", "--legacy-service-account-token-clean-up-period"]
    assert settings_of(controller_manager.make_context("c", [*flags, "720h"]).params) == Settings(
        legacy_service_account_token_clean_up_period=PERIOD
    )
    with pytest.raises(ValueError, match="invalid CleanUpPeriod: 0s"):
        settings_of(controller_manager.make_context("c", [*flags, "0s"]).params)
