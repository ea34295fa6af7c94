"""Controllers that act as their own ServiceAccounts get along with the rights of upstream's bootstrap roles."""

import asyncio

import orjson
import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import (
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    RESOURCE_QUOTAS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
)  # fmt: skip
from pybernetes.client import signing
from pybernetes.client.rest import Client
from pybernetes.client.serviceaccounts import LIFETIME, ServiceAccountTransport
from pybernetes.controllers.accounts import ACCOUNTS, NAMESPACE
from pybernetes.controllers.manager import ControllerManager
from pybernetes.controllers.registry import BUILT_IN
from pybernetes.controllers.rights import RULES, controller_rights
from pybernetes.controllers.settings import Settings
from pybernetes.hooks.identity import LOOPBACK, UserInfo
from pybernetes.testing import run_virtually, start_cluster

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}
MANAGER = UserInfo("system:kube-controller-manager", groups=("system:authenticated",))
ONCE = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}


class Noting:
    """A transport that notes what is forbidden."""

    def __init__(self, inner, denied):
        self._inner, self._denied = inner, denied

    async def send(self, request):
        response = await self._inner.send(request)
        if response.status == 403 and b'User \\"system:serviceaccount:' in (body := await response.read()):
            self._denied.add(orjson.loads(body)["message"])
        return response

    def close(self):
        self._inner.close()


def account_user(name):
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated")
    return UserInfo(f"system:serviceaccount:{NAMESPACE}:{name}", groups=groups)


def objects():
    def of(version, kind, name, **body):
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, **body}

    workload = {"selector": SELECTOR, "template": TEMPLATE}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        of("v1", "ResourceQuota", "q", spec={"hard": {"pods": "100"}}),
        of("apps/v1", "Deployment", "web", spec={**workload, "replicas": 2}),
        of("apps/v1", "DaemonSet", "ds", spec=workload),
        of("apps/v1", "StatefulSet", "st", spec={**workload, "replicas": 2, "serviceName": "web"}),
        of("batch/v1", "Job", "job", spec={"template": ONCE, "ttlSecondsAfterFinished": 10}),
        of("batch/v1", "CronJob", "cj", spec={"schedule": "* * * * *", "jobTemplate": {"spec": {"template": ONCE}}}),
        of("v1", "Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}),
        of("policy/v1", "PodDisruptionBudget", "pdb", spec={"minAvailable": 1, "selector": SELECTOR}),
        of("v1", "PersistentVolumeClaim", "c", spec=claim),
        of("v1", "ReplicationController", "rc", spec={"replicas": 1, "selector": {"app": "rc"},
           "template": {**TEMPLATE, "metadata": {"labels": {"app": "rc"}}}}),
    ]  # fmt: skip


async def scenario(cluster, clock):
    for obj in objects():
        await cluster.apply(obj)
    ready = lambda d: d.get("status", {}).get("readyReplicas", 0) == 2  # noqa: E731
    await cluster.wait_for(DEPLOYMENTS, "web", ready, "shop")
    await cluster.wait_for(STATEFUL_SETS, "st", ready, "shop")
    await cluster.wait_for(DAEMON_SETS, "ds", lambda d: d.get("status", {}).get("numberReady") == 1, "shop")
    await cluster.wait_for(RESOURCE_QUOTAS, "q", lambda q: q.get("status", {}).get("used", {}).get("pods"), "shop")
    budget = lambda b: b.get("status", {}).get("currentHealthy", 0) >= 2  # noqa: E731
    await cluster.wait_for(POD_DISRUPTION_BUDGETS, "pdb", budget, "shop")
    await cluster.client.get(CONFIG_MAPS, "kube-root-ca.crt", "shop")
    await cluster.client.get(SERVICE_ACCOUNTS, "default", "shop")
    assert (await cluster.client.list(ENDPOINT_SLICES, "shop"))["items"]
    web = await cluster.client.get(DEPLOYMENTS, "web", "shop")
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    await cluster.client.update(DEPLOYMENTS, web)
    rolled = lambda d: d["status"].get("observedGeneration") == d["metadata"]["generation"] and ready(d)  # noqa: E731
    await cluster.wait_for(DEPLOYMENTS, "web", rolled, "shop")
    await clock.sleep(120)
    await cluster.wait_for(CRON_JOBS, "cj", lambda c: c.get("status", {}).get("lastScheduleTime"), "shop")
    await cluster.client.delete(DEPLOYMENTS, "web", "shop", propagation_policy="Foreground")
    await cluster.wait_gone(DEPLOYMENTS, "web", "shop")
    await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "shop")
    await cluster.client.delete(SERVICES, "web", "shop")
    await cluster.wait_gone(JOBS, "job", "shop")
    await cluster.client.delete(NAMESPACES, "shop")
    await cluster.wait_gone(NAMESPACES, "shop")
    assert (await cluster.client.list(PODS, "shop"))["items"] == []


def test_bootstrap_roles_are_enough_for_every_controller(tmp_path):
    (tmp_path / "ca.crt").write_bytes(signing.new_authority("ca", now=0.0, lifetime=1e10).pem)
    settings = Settings(root_ca_file=str(tmp_path / "ca.crt"))

    async def main(clock):
        denied, used = set(), set()
        async with start_cluster(clock=clock, seed=1, controllers=()) as cluster:

            def identity(account):
                used.add(account)
                inner = cluster.client_as(account_user(account)).transport
                return Client(Noting(inner, denied), clock=clock)

            for _, right in controller_rights():
                await cluster.apply(right)
            # The manager itself has no more than upstream's role for it.
            manager = ControllerManager(cluster.client_as(MANAGER), clock, settings=settings, identities=identity)
            running = asyncio.ensure_future(manager.run())
            try:
                await scenario(cluster, clock)
            except TimeoutError:
                if not denied:
                    raise
            finally:
                running.cancel()
                await asyncio.wait([running])
        return denied, used

    denied, used = run_virtually(main)
    assert not denied, sorted(denied)
    assert used == set(ACCOUNTS.values()) - {"bootstrap-signer", "token-cleaner"}


def test_every_account_has_its_role():
    import json
    from importlib.resources import files

    data = json.loads((files("pybernetes.apiserver.authz") / "data/bootstrap_rbac.json").read_text())
    names = {r["name"] for r in (*data["clusterroles"], *data.get("roles", ()))}
    for controller, account in ACCOUNTS.items():
        assert controller in BUILT_IN
        assert f"system:controller:{account}" in names or account in RULES, account


def test_tokens_are_asked_for_as_they_end_and_accounts_made_where_they_are_missing():
    async def main(clock):
        async with start_cluster(clock=clock, seed=1, controllers=()) as cluster:
            root = cluster.client_as(LOOPBACK)
            sent = []

            class Bare:
                async def send(self, request):
                    sent.append(request.headers["Authorization"])
                    return await cluster.client_as(account_user("x")).transport.send(request)

                def close(self):
                    pass

            client = Client(ServiceAccountTransport(Bare(), root, clock, NAMESPACE, "made-when-needed"), clock=clock)
            for moment in (0, 10, LIFETIME, 10):
                await clock.sleep(moment)
                with pytest.raises(StatusError, match="is forbidden"):
                    await client.list(PODS, "default")
            account = await root.get(SERVICE_ACCOUNTS, "made-when-needed", NAMESPACE)
            assert account["metadata"]["name"] == "made-when-needed"
            return sent

    sent = run_virtually(main)
    assert sent[0] == sent[1] != sent[2] == sent[3]
