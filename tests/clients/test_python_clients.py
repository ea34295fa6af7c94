"""Public Python clients, each doing what people do with it: informers, watches, patches, apply, leader election."""

import asyncio
import threading
import time
import warnings

import pytest

warnings.filterwarnings("ignore", message="Unverified HTTPS request")
LABELS = {"app": "web"}
SPEC = {
    "replicas": 2,
    "selector": {"matchLabels": LABELS},
    "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
}


@pytest.fixture(scope="module")
def kubernetes(apiserver):
    module = pytest.importorskip("kubernetes")
    module.config.load_kube_config(str(apiserver.kubeconfig))
    return module


class TestKubernetes:
    def test_workloads(self, kubernetes):
        core, apps = kubernetes.client.CoreV1Api(), kubernetes.client.AppsV1Api()
        core.create_namespace({"metadata": {"name": "official"}})
        made = apps.create_namespaced_deployment("official", {"metadata": {"name": "web"}, "spec": SPEC})
        assert made.spec.strategy.type == "RollingUpdate" and made.metadata.generation == 1
        scaled = apps.patch_namespaced_deployment_scale("web", "official", {"spec": {"replicas": 5}})
        assert scaled.spec.replicas == 5
        made = apps.read_namespaced_deployment("web", "official")
        made.spec.template.spec.containers[0].image = "nginx:2"
        assert apps.replace_namespaced_deployment("web", "official", made).metadata.generation == 3
        with pytest.raises(kubernetes.client.ApiException) as failure:
            apps.replace_namespaced_deployment("web", "official", made)
        assert failure.value.status == 409
        status = apps.delete_namespaced_deployment("web", "official", propagation_policy="Background")
        assert (status["status"] if isinstance(status, dict) else status.status) == "Success"

    def test_watch_sees_everything_once(self, kubernetes):
        core = kubernetes.client.CoreV1Api()
        version = core.list_namespaced_config_map("default").metadata.resource_version

        def write():
            for number in range(20):
                core.create_namespaced_config_map("default", {"metadata": {"name": f"watched-{number}"}})

        thread = threading.Thread(target=write)
        thread.start()
        watch, seen = kubernetes.watch.Watch(), []
        for event in watch.stream(
            core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=20
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 20:
                watch.stop()
        thread.join()
        assert seen == [("ADDED", f"watched-{n}") for n in range(20)]

    def test_dynamic_client_applies(self, kubernetes):
        from kubernetes.dynamic import DynamicClient

        client = DynamicClient(kubernetes.client.ApiClient())
        maps = client.resources.get(api_version="v1", kind="ConfigMap")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
        maps.server_side_apply(body=body, name="applied", namespace="default", field_manager="one")
        with pytest.raises(kubernetes.client.ApiException) as failure:
            body["data"] = {"a": "2"}
            maps.server_side_apply(body=body, name="applied", namespace="default", field_manager="two")
        assert failure.value.status == 409
        done = maps.server_side_apply(
            body=body, name="applied", namespace="default", field_manager="two", force_conflicts=True
        )
        assert done.data.a == "2"

    @pytest.mark.parametrize("module, name", [("configmaplock", "ConfigMapLock"), ("leaselock", "LeaseLock")])
    def test_leader_election(self, kubernetes, module, name):
        from kubernetes.leaderelection import electionconfig, leaderelection

        locks = pytest.importorskip(f"kubernetes.leaderelection.resourcelock.{module}")
        led, done = threading.Event(), threading.Event()

        class Lock(getattr(locks, name)):
            def update(self, name, namespace, updated_record):
                return not done.is_set() and super().update(name, namespace, updated_record)

        config = electionconfig.Config(
            Lock("elected", "default", "me"), lease_duration=5, renew_deadline=3, retry_period=1,
            onstarted_leading=led.set, onstopped_leading=lambda: None,
        )  # fmt: skip
        thread = threading.Thread(target=leaderelection.LeaderElection(config).run)
        thread.start()
        assert led.wait(10)
        done.set()
        thread.join(20)
        assert not thread.is_alive()

    def test_pages(self, kubernetes):
        core = kubernetes.client.CoreV1Api()
        core.create_namespace({"metadata": {"name": "pages"}})
        for number in range(7):
            core.create_namespaced_secret("pages", {"metadata": {"name": f"s{number}"}, "stringData": {"k": "v"}})
        names, token = [], None
        while True:
            page = core.list_namespaced_secret("pages", limit=3, _continue=token)
            names += [s.metadata.name for s in page.items]
            token = page.metadata._continue
            if not token:
                break
        assert names == [f"s{n}" for n in range(7)]


async def test_kr8s(apiserver):
    kr8s = pytest.importorskip("kr8s")
    from kr8s.asyncio.objects import ConfigMap, Deployment

    api = await kr8s.asyncio.api(kubeconfig=str(apiserver.kubeconfig))
    assert (await api.version())["minor"] == "36"
    deployment = await Deployment({"metadata": {"name": "kr8s", "namespace": "default"}, "spec": SPEC}, api=api)
    await deployment.create()
    await deployment.patch({"spec": {"replicas": 4}})
    await deployment.refresh()
    assert deployment.replicas == 4
    await deployment.label({"x": "y"})
    found = [d.name async for d in api.get("deployments", namespace="default", label_selector="x=y")]
    assert found == ["kr8s"]
    config = await ConfigMap({"metadata": {"name": "kr8s", "namespace": "default"}, "data": {"a": "b"}}, api=api)
    await config.create()

    async def change():
        await asyncio.sleep(0.2)
        await config.patch({"data": {"a": "c"}})

    task = asyncio.get_running_loop().create_task(change())
    async for kind, obj in api.watch("configmaps", namespace="default", field_selector="metadata.name=kr8s"):
        if kind == "MODIFIED":
            assert obj.data.a == "c"
            break
    await task
    await deployment.delete()
    assert not await deployment.exists()


def test_lightkube(apiserver):
    lightkube = pytest.importorskip("lightkube")
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap, Pod

    client = lightkube.Client(config=KubeConfig.from_file(str(apiserver.kubeconfig)), field_manager="lightkube")
    client.create(ConfigMap(metadata=ObjectMeta(name="lk", namespace="default"), data={"a": "b"}))
    client.patch(ConfigMap, "lk", {"data": {"b": "c"}}, namespace="default")
    assert client.get(ConfigMap, "lk", namespace="default").data == {"a": "b", "b": "c"}
    applied = client.apply(
        Deployment.from_dict(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "lk", "namespace": "default"},
                "spec": SPEC,
            }
        )
    )
    assert applied.spec.replicas == 2
    scale = client.get(Deployment.Scale, "lk", namespace="default")
    scale.spec.replicas = 3
    client.replace(scale, "lk", namespace="default")
    assert client.get(Deployment, "lk", namespace="default").spec.replicas == 3
    assert list(client.list(Pod, namespace="default")) == []
    for kind, found in client.watch(ConfigMap, namespace="default", fields={"metadata.name": "lk"}):
        assert (kind, found.metadata.name) == ("ADDED", "lk")
        break
    client.delete(Deployment, "lk", namespace="default")
    with pytest.raises(lightkube.ApiError) as failure:
        client.get(Deployment, "lk", namespace="default")
    assert failure.value.status.code == 404


def test_kopf_operator(apiserver, tmp_path):
    kopf = pytest.importorskip("kopf")
    from kopf._cogs.structs.credentials import ConnectionInfo

    registry = kopf.OperatorRegistry()
    handled, ready, stop = [], threading.Event(), threading.Event()

    @kopf.on.login(registry=registry)
    def login(**_):
        return ConnectionInfo(server=apiserver.url, token=apiserver.token, insecure=True)

    @kopf.on.startup(registry=registry)
    def started(**_):
        ready.set()

    @kopf.on.create("configmaps", labels={"watched": "yes"}, registry=registry)
    def created(name, patch, **_):
        patch.setdefault("data", {})["answer"] = "42"
        handled.append(name)

    @kopf.on.delete("configmaps", labels={"watched": "yes"}, registry=registry)
    def deleted(name, **_):
        handled.append(f"-{name}")

    settings = kopf.OperatorSettings()
    settings.posting.enabled = True

    def operate():
        asyncio.run(
            kopf.operator(
                registry=registry, settings=settings, standalone=True, namespaces=["default"],
                stop_flag=stop, clusterwide=False,
            )
        )  # fmt: skip

    thread = threading.Thread(target=operate)
    thread.start()
    try:
        assert ready.wait(15)
        module = pytest.importorskip("kubernetes")
        module.config.load_kube_config(str(apiserver.kubeconfig))
        core = module.client.CoreV1Api()
        core.create_namespaced_config_map("default", {"metadata": {"name": "kopf", "labels": {"watched": "yes"}}})
        found = _eventually(lambda: (core.read_namespaced_config_map("kopf", "default").data or {}).get("answer"))
        assert found == "42"
        finalizers = core.read_namespaced_config_map("kopf", "default").metadata.finalizers
        assert finalizers == ["kopf.zalando.org/KopfFinalizerMarker"]
        core.delete_namespaced_config_map("kopf", "default")
        assert _eventually(lambda: "-kopf" in handled)
    finally:
        stop.set()
        thread.join(20)
    assert handled == ["kopf", "-kopf"]


def _eventually(look, seconds=15.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    return look()
