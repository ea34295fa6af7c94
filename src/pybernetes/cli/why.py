"""``p8s why``: why a pod is where it is, or nowhere, and what would change that.

Asks the scheduler where one is named (``--scheduler``): it knows what it has decided and not yet written, and which plugins
it runs. Else the cluster is read with the caller's own rights and the default profile is asked here, which works against any
cluster that a kubeconfig leads to.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

from pybernetes.cluster.layout import ClusterError


@click.command()
@click.argument("pod", required=False)
@click.option(
    "-n", "--namespace", default="", help="The pod's namespace [that of the kubeconfig's context, else default]."
)
@click.option(
    "-f",
    "--filename",
    "manifest",
    default="",
    help='Ask about the pod of a manifest ("what if"), - for the standard input.',
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the answer."
)
@click.option(
    "--kubeconfig", default="", help="How to reach the cluster [$KUBECONFIG, the running `p8s up`, ~/.kube/config]."
)
@click.option("--data-dir", default="", help="Of the `p8s up` to ask.")
@click.option("--context", default="", help="The kubeconfig's context.")
@click.option(
    "--config",
    "config_file",
    default="",
    help="KubeSchedulerConfiguration to ask with, where the scheduler is not asked itself.",
)
@click.option(
    "--scheduler", "scheduler_url", default="", help="URL of a scheduler's port to ask in place of reading the cluster."
)
def why(pod: str | None, manifest: str, output: str, **options: Any) -> None:
    """Why is POD (or NAMESPACE/POD) where it is, or nowhere?"""
    if bool(pod) == bool(manifest):
        raise click.UsageError("name a pod, or give a manifest with -f")
    path = _kubeconfig(options["kubeconfig"], options["data_dir"])
    wanted = _from_manifest(manifest) if manifest else None
    namespace, name = _target(pod or "", options["namespace"] or _context_namespace(path, options["context"]))
    answer, text = asyncio.run(_ask(path, namespace, name, wanted, options))
    if output == "json":
        import orjson

        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    else:
        click.echo(text, nl=False)


def _target(pod: str, namespace: str) -> tuple[str, str]:
    first, slash, rest = pod.removeprefix("pod/").removeprefix("pods/").partition("/")
    return (first, rest) if slash else (namespace, first)


def _kubeconfig(given: str, data_dir: str) -> str:
    from pybernetes.cluster.layout import Layout

    named = given or ("" if data_dir else os.environ.get("KUBECONFIG", "").split(":")[0])
    if named:
        return named
    own = Layout.of(data_dir or None).admin_kubeconfig
    return str(own if data_dir or own.exists() else Path.home() / ".kube" / "config")


def _context_namespace(path: str, context: str) -> str:
    from pybernetes.client.kubeconfig import load

    document = load(path)
    name = context or document.get("current-context") or ""
    entry: dict[str, Any] = next((c for c in document.get("contexts") or [] if c.get("name") == name), {})
    return (entry.get("context") or {}).get("namespace") or "default"


def _from_manifest(path: str) -> dict[str, Any]:
    """The manifest's first pod, or the pod of the first workload in it."""
    import yaml

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        documents = [d for d in yaml.safe_load_all(text) if isinstance(d, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ClusterError(f"cannot read {path}: {failure}", "give a manifest in YAML or JSON") from failure
    for document in documents:
        found = pod_in(document)
        if found is not None:
            return found
    raise ClusterError(f"{path} has no pod in it", "give a Pod, or something with a pod template")


def pod_in(document: dict[str, Any]) -> dict[str, Any] | None:
    """A Pod as it is; of a workload the pod that it would make."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return None
    meta = document.get("metadata") or {}
    if document.get("kind") == "Pod":
        return {**document, "metadata": {"name": meta.get("generateName", "") + "x", **meta}}
    if document.get("kind") == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = spec.get("template")
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return None
    own = {**(template.get("metadata") or {}), "name": f"{meta.get('name', 'pod')}-x"}
    if meta.get("namespace"):
        own["namespace"] = meta["namespace"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": own, "spec": template["spec"]}


async def _ask(
    path: str, namespace: str, name: str, wanted: dict[str, Any] | None, options: dict[str, Any]
) -> tuple[Any, str]:
    from pybernetes.client.kubeconfig import client_from_kubeconfig
    from pybernetes.scheduler.asked import ask_cluster, ask_scheduler

    client = client_from_kubeconfig(path, context=options["context"], user_agent="p8s-why")
    url = options["scheduler_url"]
    if not url:
        return await ask_cluster(client, namespace, name, wanted, options["config_file"])
    server = url if "//" in url else f"http://{url}"
    scheduler = client_from_kubeconfig(path, context=options["context"], user_agent="p8s-why", server=server)
    return await ask_scheduler(client, scheduler, namespace, name, wanted)
