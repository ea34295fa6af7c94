"""``p8s why`` and the scheduler's ``/why`` over a real API server."""

from __future__ import annotations

import asyncio
import json

import orjson
import pytest
import yaml
from click.testing import CliRunner

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import NODES, PODS, SERVICE_ACCOUNTS
from pybernetes.cli.main import cli
from pybernetes.scheduler.asked import as_admitted
from pybernetes.scheduler.explaining import Explaining
from pybernetes.streams.http_server import HttpRequest
from pybernetes.testing import start_cluster
from pybernetes.testing.cluster import run_virtually

from .support import placing

TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}


def pod(name, cpu="1", **spec):
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


async def run(*arguments, **options):
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["why", *map(str, arguments)], **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


async def test_the_command_about_waiting_placed_and_imagined_pods(tmp_path):
    async with start_cluster(nodes=2, http=True) as cluster:
        config = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        await cluster.client.patch(NODES, "sim-0", {"spec": {"taints": [TAINT]}})
        await cluster.client.create(PODS, pod("placed"))
        await cluster.wait_for(PODS, "placed", lambda p: p["spec"].get("nodeName"), "default")
        await cluster.client.create(PODS, pod("big", "40"))
        text = await run("big", "--kubeconfig", config)
        assert text.startswith("default/big fits on no node.\n0/2 nodes are available: 1 Insufficient cpu, ")
        assert "sim-1: asks 40 cpu, 31 free of 32" in text
        assert "sim-0: taint dedicated=gpu:NoSchedule; also asks 40 cpu, 32 free of 32" in text
        assert "ask for at most 31 cpu in place of 40: then sim-1 can take it" in text
        placed = json.loads(await run("default/placed", "--kubeconfig", config, "-o", "json"))
        assert placed["placedOn"] == "sim-1"
        assert [(n["node"], n["fits"]) for n in placed["nodes"]] == [("sim-1", True), ("sim-0", False)]
        assert placed["changes"] == [
            {"change": "tolerate dedicated=gpu:NoSchedule", "nodes": ["sim-0"], "similarNodes": 0}
        ]
        manifest = tmp_path / "deployment.yaml"
        template = {"metadata": {"labels": {"app": "x"}}, "spec": pod("x")["spec"]}
        template["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "50"}}
        made = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"template": template},
        }
        manifest.write_text(yaml.safe_dump(made))
        # The server's defaults count: what is limited to 50 asks for 50.
        assert "A pod like default/web-x fits on no node." in await run("-f", manifest, "--kubeconfig", config)
        names = {p["metadata"]["name"] for p in (await cluster.client.list(PODS, "default"))["items"]}
        assert names == {"placed", "big"}


async def test_what_is_wrong_is_one_line(tmp_path):
    async with start_cluster(http=True) as cluster:
        config = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        with pytest.raises(StatusError, match='pods "nobody" not found'):
            await run("nobody", "--kubeconfig", config)
        assert "name a pod, or give a manifest" in await run("--kubeconfig", config)
        (tmp_path / "empty.yaml").write_text("kind: ConfigMap\n")
        with pytest.raises(Exception, match="has no pod in it"):
            await run("-f", tmp_path / "empty.yaml", "--kubeconfig", config)
        with pytest.raises(StatusError, match="spec.containers"):
            (tmp_path / "bad.yaml").write_text(yaml.safe_dump(pod("x") | {"spec": {"containers": []}}))
            await run("-f", tmp_path / "bad.yaml", "--kubeconfig", config)


async def test_who_may_not_see_everything_is_told_so():
    async with start_cluster() as cluster:
        stranger = cluster.client_as("stranger")
        asked, notes = await as_admitted(stranger, pod("x"), "default")
        assert asked["metadata"]["namespace"] == "default"
        assert notes == ["Asked as written, without defaults and admission: you may not create pods there."]


async def ask(explaining, scheduler, token, method="GET", path="/why/default/big", body=b""):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = HttpRequest(method, path, headers=headers, body=body)
    answer = await explaining.answer(request, scheduler)
    return answer.status, orjson.loads(answer.body)


def test_the_schedulers_own_answer_and_who_gets_it():
    async def main(clock):
        async with placing(clock) as at:
            explaining = Explaining(at.client)
            assert (await ask(explaining, None, at.cluster.token))[0] == 503
            await at.add_node("n")
            await at.client.create(PODS, pod("big", "40"))
            await at.refused("big")
            status, found = await ask(explaining, at.scheduler, at.cluster.token)
            assert status == 200 and "asks 40 cpu, 4 free of 4" in found["text"]
            assert "Tried once so far. It waits until something changes that may help." in found["text"]
            assert found["answer"]["nodes"][0]["refusals"][0]["plugin"] == "NodeResourcesFit"
            imagined = orjson.dumps(pod("what-if"))
            status, found = await ask(explaining, at.scheduler, at.cluster.token, "POST", "/why", imagined)
            assert status == 200 and found["answer"]["hypothetical"] and found["answer"]["nodes"][0]["fits"]
            at.validate_state()
            await _refused(explaining, at.scheduler, at.cluster)

    run_virtually(main)


async def _refused(explaining, scheduler, cluster):
    for token, path, expected in (
        ("", "/why/default/big", 401),
        ("wrong", "/why/default/big", 401),
        (cluster.token, "/why/default/nobody", 404),
        (cluster.token, "/why", 404),
    ):
        assert (await ask(explaining, scheduler, token, path=path))[0] == expected
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"metadata": 1, "spec": {}}',
        b'{"metadata": {}, "spec": {"containers": 1}}',
    ):
        assert (await ask(explaining, scheduler, cluster.token, "POST", "/why", body))[0] == 400
    other = pod("x", schedulerName="another")
    assert (await ask(explaining, scheduler, cluster.token, "POST", "/why", orjson.dumps(other)))[0] == 404
    await cluster.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "reader", "namespace": "default"}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = await cluster.client.create(SERVICE_ACCOUNTS, request, "default", name="reader", subresource="token")
    status, found = await ask(explaining, scheduler, made["status"]["token"])
    assert status == 403
    assert found["message"] == 'forbidden: User "system:serviceaccount:default:reader" cannot get path "/why"'
