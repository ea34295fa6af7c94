"""``p8s join``: another machine becomes a node, by URL, token and the hash of the cluster's authority.

The steps are kubeadm's: the public ``cluster-info``, signed with the token, gives the authority; over TLS that trusts only that
one, the token asks for a client certificate of ``system:node:NAME``; with that the node asks for its serving certificate.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from ..api.errors import StatusError
from ..api.meta import Object, is_condition_true
from ..api.resources import CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, NODES
from ..client import kubeconfig, signing
from ..client.rest import Client
from ..client.signing import KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER, Subject
from ..client.transport import HttpTransport, TransportError
from ..concurrency import Clock
from . import tokens
from .certificates import NODES_GROUP, PROXY, kubelet_identity, write_secret
from .layout import ClusterError, Layout, Settings
from .machine import JOIN_PROTOCOL, run

APPROVAL_SECONDS = 60.0
SIGNATURE_SECONDS = 15.0
"""How long a token that was just made may take until the cluster's description is signed with it."""


def client_for(server: str, clock: Clock, *, authority: bytes | None, token: str = "") -> Client:
    """Without an authority the server is not verified: then nothing secret may be sent."""
    url = urlsplit(server)
    if url.scheme != "https" or not url.hostname:
        raise ClusterError(f"{server!r} is no https URL", "use the one that `p8s token create` prints")
    tls = kubeconfig.tls_context(authority, None, None, insecure=authority is None)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Client(
        HttpTransport(url.hostname, url.port or 443, tls=tls, headers=headers), clock=clock, user_agent="p8s-join"
    )


async def discover(server: str, token: str, hashes: Sequence[str], clock: Clock) -> bytes:
    """The cluster's authority. Raises ClusterError."""
    tokens.parts_of(token)
    info = await _cluster_info(server, token, clock, None)
    authority = tokens.verified_authority(info, token, hashes)
    # Once more over TLS that can be trusted now: the first answer may have come from anybody who replayed it.
    again = await _cluster_info(server, token, clock, authority)
    if tokens.verified_authority(again, token, hashes) != authority:
        raise ClusterError("the cluster's description changed between two looks", "try again")
    return authority


async def _cluster_info(server: str, token: str, clock: Clock, authority: bytes | None) -> Object:
    client = client_for(server, clock, authority=authority)
    key = f"jws-kubeconfig-{tokens.parts_of(token)[0]}"
    deadline = clock.monotonic() + SIGNATURE_SECONDS
    try:
        while True:
            info = await client.get(CONFIG_MAPS, "cluster-info", "kube-public")
            if key in (info.get("data") or {}) or clock.monotonic() > deadline:
                return info
            await clock.sleep(0.2)
    except (TransportError, StatusError, TimeoutError) as failure:
        raise ClusterError(
            f"cannot ask {server}: {failure}", "check the address, and that the cluster runs"
        ) from failure
    finally:
        client.transport.close()


async def certificate_for(client: Client, name: str, request: bytes, signer: str, usage: str, clock: Clock) -> bytes:
    """Asks for a certificate and waits until it is there. Raises ClusterError where it is denied or nobody answers."""
    usages = ["digital signature", usage]
    spec = {"request": base64.b64encode(request).decode(), "signerName": signer, "usages": usages}
    meta = {"generateName": f"node-csr-{name}-"}
    made = await client.create(CERTIFICATE_SIGNING_REQUESTS, {"metadata": meta, "spec": spec})
    try:
        async with clock.timeout(APPROVAL_SECONDS):
            while True:
                status = made.get("status") or {}
                refusal = next((c for c in status.get("conditions") or () if c["type"] in ("Denied", "Failed")), None)
                if refusal is not None:
                    raise ClusterError(f"the request for a certificate was refused: {refusal.get('message')}")
                if status.get("certificate"):
                    return base64.b64decode(status["certificate"])
                await clock.sleep(0.1)
                made = await client.get(CERTIFICATE_SIGNING_REQUESTS, made["metadata"]["name"])
    except TimeoutError:
        raise ClusterError(
            f"no certificate after {APPROVAL_SECONDS:.0f} s", f"approve {made['metadata']['name']} on the first machine"
        ) from None


async def enrol(
    layout: Layout, server: str, token: str, hashes: Sequence[str], node: str, address: str, clock: Clock
) -> Settings:
    """Certificates, kubeconfigs and settings of a node that joins. Raises ClusterError."""
    authority = await discover(server, token, hashes, clock)
    client = client_for(server, clock, authority=authority, token=token)
    try:
        config = await client.get(CONFIG_MAPS, tokens.CONFIG, "kube-system")
        settings = Settings(**tokens.settings_from(config, node=node, address=address, server=server))
        await _check_name_is_free(client, node)
        layout.create()
        write_secret(layout.pki / "ca.crt", authority, 0o644)
        await _client_certificate(client, layout, settings, authority, clock)
        await _serving_certificate(layout, settings, clock)
    except (StatusError, TransportError, TimeoutError) as failure:
        raise ClusterError(f"{server} does not let this machine join: {failure}") from failure
    finally:
        client.transport.close()
    settings.save(layout)
    return settings


async def _check_name_is_free(client: Client, node: str) -> None:
    try:
        found = await client.get(NODES, node)
    except StatusError as failure:
        if failure.code == 404:
            return
        raise
    if is_condition_true(found, "Ready"):
        raise ClusterError(f"a node {node!r} is there already", "choose another name with --node-name")


async def _client_certificate(
    client: Client, layout: Layout, settings: Settings, authority: bytes, clock: Clock
) -> None:
    node = settings.joined_node
    identity = kubelet_identity(node)
    key = signing.new_key()
    request = signing.new_request(key, identity.subject)
    certificate = await certificate_for(client, node, request, KUBELET_CLIENT_SIGNER, "client auth", clock)
    document = kubeconfig.document_for(
        settings.joined_server,
        authority,
        user=identity.subject.common_name,
        certificate=certificate,
        key=signing.key_to_pem(key),
        cluster="kubernetes",
    )
    directory = layout.node(node)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The proxy and DNS of a node that joined act as the node; kubeadm gives them a ServiceAccount by way of a pod.
    for file in (identity.file, PROXY.file):
        kubeconfig.write(directory / file, document)


async def _serving_certificate(layout: Layout, settings: Settings, clock: Clock) -> None:
    node, directory = settings.joined_node, layout.node(settings.joined_node)
    key = signing.new_key()
    subject = Subject(f"system:node:{node}", (NODES_GROUP,), (node, settings.joined_address))
    own = kubeconfig.client_from_kubeconfig(directory / kubelet_identity(node).file, clock=clock)
    try:
        request = signing.new_request(key, subject)
        certificate = await certificate_for(own, node, request, KUBELET_SERVING_SIGNER, "server auth", clock)
    finally:
        own.transport.close()
    write_secret(directory / "kubelet.crt", certificate, 0o644)
    write_secret(directory / "kubelet.key", signing.key_to_pem(key))


# -- the machine ---------------------------------------------------------------------------------------------------------


def own_address(server: str) -> str:
    """The address that this machine has towards the API server."""
    host = urlsplit(server).hostname or ""
    try:
        target = socket.getaddrinfo(host, 443, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError as failure:
        raise ClusterError(
            f"no way to {host}: {failure.strerror}", "check the address and this machine's routes"
        ) from failure


def route_to_nodes(settings: Settings) -> str:
    """The ``ip`` command for the way to nodes that live in namespaces of the first machine; "" where none is needed.

    Raises ClusterError where the first machine is not on one link with this one.
    """
    if not settings.node_cidr:
        return ""
    host = urlsplit(settings.joined_server).hostname or ""
    target = socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0]
    if ipaddress.IPv4Address(str(target)) in ipaddress.IPv4Network(settings.node_cidr):
        return ""
    way = json.loads(run("ip", "-json", "route", "get", str(target)))[0]
    if "gateway" in way:
        raise ClusterError(
            f"{host} is not on one link with this machine, and its own nodes cannot be reached through a router",
            "start the first machine with `p8s up --nodes 0`, and let every machine join",
        )
    return f"route replace {settings.node_cidr} via {target} dev {way['dev']} proto {JOIN_PROTOCOL}"
