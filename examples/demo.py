"""The demonstration behind ``make demo``: a cluster, an image made on the spot, an application, and calls to it.

Everything here goes through public doors: the ``p8s`` command and the API.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import dns.resolver
import yaml

from pybernetes.api.meta import is_condition_true
from pybernetes.api.resources import DEPLOYMENTS, GVK, NODES, PODS, SERVICES, builtin_by_gvk, parse_api_version
from pybernetes.client.kubeconfig import client_from_kubeconfig
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock

HERE = Path(__file__).parent
PAGE = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s, I am %s (database user %s)\\n' "$GREETING" "$POD_NAME" "$DB_USER"
"""


def say(text: str) -> None:
    print(text, flush=True)


def p8s(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pybernetes.cli.main", *arguments], check=True)


def kubeconfig_path() -> str:
    command = [sys.executable, "-m", "pybernetes.cli.main", "kubeconfig", "--path"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_image(directory: Path) -> Path:
    """A web server image without a registry: busybox' httpd, a shell, and one CGI page."""
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    (root / "www" / "cgi-bin").mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    for applet in ("sh", "httpd", "cat", "ls", "wget", "nslookup", "sleep", "env", "hostname", "ps", "kill", "ip"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "www" / "cgi-bin" / "index.cgi").write_text(PAGE)
    (root / "www" / "cgi-bin" / "index.cgi").chmod(0o755)
    (root / "httpd.conf").write_text("I:cgi-bin/index.cgi\n")
    archive = directory / "web.tar"
    p8s(
        "image",
        "build",
        "--tag",
        "example/web:1",
        "--output",
        str(archive),
        str(root),
        "--",
        "/bin/httpd",
        "-f",
        "-p",
        "80",
        "-h",
        "/www",
    )
    return archive


async def apply_all(client: Client) -> None:
    for file in sorted(HERE.glob("0*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            group, version = parse_api_version(document["apiVersion"])
            info = builtin_by_gvk()[GVK(group, version, document["kind"])]
            await client.apply(info.gvr, document, field_manager="demo", force=True)
            say(f"  ✓ {document['kind'].lower()}/{document['metadata']['name']} applied")


async def wait_rollout(client: Client, clock: RealClock) -> None:
    shown = -1
    while True:
        deployment = await client.get(DEPLOYMENTS, "web", "my-app")
        ready = deployment.get("status", {}).get("readyReplicas", 0)
        if ready != shown:
            say(f"  … {ready} of {deployment['spec']['replicas']} replicas are ready")
            shown = ready
        if ready == deployment["spec"]["replicas"] and is_condition_true(deployment, "Available"):
            return
        await clock.sleep(0.1)


async def call(name: str, url: str, address: str = "") -> None:
    """Calls ``url`` (at ``address``, where the cluster's DNS gave one for its host name) and shows the answer."""
    host = url.split("/")[2]
    request = urllib.request.Request(url.replace(host, address) if address else url, headers={"Host": host})

    def fetch() -> str:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode().strip())

    say(f"  {name:<10}{url:<62}→ {await asyncio.to_thread(fetch)}")


async def main() -> None:
    clock = RealClock()
    started = clock.monotonic()
    say("Starting a cluster")
    p8s("up")
    say("Making the image example/web:1 without a registry")
    with tempfile.TemporaryDirectory() as directory:
        p8s("image", "load", str(make_image(Path(directory))))
    kubeconfig = kubeconfig_path()
    client = client_from_kubeconfig(kubeconfig, clock=clock, user_agent="demo")
    say("Applying examples/")
    await apply_all(client)
    async with clock.timeout(60):
        await wait_rollout(client, clock)
    say("Calling the application")
    service = await client.get(SERVICES, "web", "my-app")
    kube_dns = await client.get(SERVICES, "kube-dns", "kube-system")
    node = (await client.list(NODES))["items"][0]
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    await call("ClusterIP", f"http://{service['spec']['clusterIP']}/cgi-bin/index.cgi")
    await call("NodePort", f"http://{address}:30080/cgi-bin/index.cgi")
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [kube_dns["spec"]["clusterIP"]]
    name = "web.my-app.svc.cluster.local"
    answer = await asyncio.to_thread(resolver.resolve, name, "A")
    await call("DNS name", f"http://{name}/cgi-bin/index.cgi", str(answer[0]))
    pods = (await client.list(PODS, "my-app"))["items"]
    say(f"{len(pods)} pods run, {clock.monotonic() - started:.1f} s after the start. Try next:")
    say(f"  export KUBECONFIG={kubeconfig}")
    say("  kubectl get pods -n my-app -o wide")
    say("  kubectl scale deployment web --replicas=5 -n my-app && kubectl rollout status deployment web -n my-app")
    say("  p8s down --purge")
    client.transport.close()


if __name__ == "__main__":
    asyncio.run(main())
