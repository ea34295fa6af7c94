"""Bootstrap tokens, and what a machine that wants to join may read: kubeadm's objects. Pure but for the randomness.

Specified by "Authenticating with Bootstrap Tokens" and kubeadm's pages on ``join`` and ``token``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import Any

import yaml

from ..api.meta import Object
from ..api.times import to_time
from ..client.kubeconfig import document_for
from ..client.signing import load_certificate
from ..controllers.bootstraptoken.decide import TYPE, detached_signature
from .layout import ClusterError, Settings

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
GROUP = "system:bootstrappers:kubeadm:default-node-token"
CONFIG = "pybernetes-config"
"""ConfigMap in kube-system: what a node must know of the cluster; kubeadm has ``kubeadm-config`` for that."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_token() -> str:
    return ".".join("".join(secrets.choice(_ALPHABET) for _ in range(n)) for n in (6, 16))


def parts_of(token: str) -> tuple[str, str]:
    """(id, secret). Raises ClusterError."""
    match = TOKEN.fullmatch(token)
    if match is None:
        raise ClusterError(
            "the token is not of the form abcdef.0123456789abcdef", "`p8s token create` on the first machine makes one"
        )
    return match[1], match[2]


def token_secret(token: str, *, expires: float | None, description: str = "") -> Object:
    """``expires`` None: never."""
    identity, value = parts_of(token)
    data = {
        "token-id": identity,
        "token-secret": value,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": GROUP,
    }
    if expires is not None:
        data["expiration"] = to_time(expires)
    if description:
        data["description"] = description
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"},
        "type": TYPE,
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }


def read_secret(secret: Object) -> dict[str, str]:
    return {k: base64.b64decode(v).decode("utf-8", "replace") for k, v in (secret.get("data") or {}).items()}


def public_key_hash(certificate: bytes) -> str:
    """``sha256:...`` of the public key of a certificate: how kubeadm pins an authority."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = load_certificate(certificate).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def join_command(server: str, token: str, certificate: bytes) -> str:
    return f"p8s join {server} --token {token} --discovery-token-ca-cert-hash {public_key_hash(certificate)}"


# -- what may be read before a certificate is there ---------------------------------------------------------------------


def cluster_info(server: str, certificate: bytes) -> Object:
    """The public ConfigMap; the bootstrap signer adds a signature for each token."""
    document = document_for(server, certificate, user="")
    document.update(users=[], contexts=[])
    document["current-context"] = ""
    document["clusters"][0]["name"] = ""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": yaml.safe_dump(document, sort_keys=False)},
    }


def verified_authority(info: Object, token: str, hashes: Iterable[str]) -> bytes:
    """The authority's certificate out of ``cluster-info``, as the token vouches for it. Raises ClusterError."""
    identity, value = parts_of(token)
    data = info.get("data") or {}
    content, signature = data.get("kubeconfig") or "", data.get(f"jws-kubeconfig-{identity}") or ""
    if not signature:
        raise ClusterError(
            f"the cluster does not know the token {identity} (or not yet, or no longer)",
            "`p8s token create` on the first machine makes a new one",
        )
    if not secrets.compare_digest(signature, detached_signature(content, identity, value)):
        raise ClusterError("the cluster's description is not signed with this token", "check token and address")
    try:
        certificate = base64.b64decode(
            yaml.safe_load(content)["clusters"][0]["cluster"]["certificate-authority-data"], validate=True
        )
        found = public_key_hash(certificate)
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as failure:
        raise ClusterError(f"the cluster's description cannot be read: {failure}") from failure
    wanted = list(hashes)
    if wanted and found not in wanted:
        raise ClusterError(
            f"the cluster's authority has the hash {found}, not {', '.join(wanted)}",
            "if both come from the cluster that you mean, somebody stands between: do not join",
        )
    return certificate


def node_config(settings: Settings, dns: str) -> Object:
    """The ConfigMap that tells a node of the cluster's networks."""
    data = {
        "podCIDR": settings.pod_cidr,
        "serviceCIDR": settings.service_cidr,
        "nodeCIDR": settings.node_cidr if settings.nodes else "",
        "clusterDNS": dns,
        "clusterDomain": settings.cluster_domain,
        "network": settings.network,
        "proxyMode": settings.proxy_mode,
    }
    meta = {"name": CONFIG, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def settings_from(config: Object, *, node: str, address: str, server: str) -> dict[str, Any]:
    """Fields of ``Settings`` for the machine that joins. Raises ClusterError."""
    data = config.get("data") or {}
    try:
        return {
            "nodes": 0,
            "pod_cidr": data["podCIDR"],
            "service_cidr": data["serviceCIDR"],
            "node_cidr": data["nodeCIDR"],
            "cluster_domain": data["clusterDomain"],
            "network": data["network"],
            "proxy_mode": data["proxyMode"],
            "joined_node": node,
            "joined_address": address,
            "joined_server": server,
        }
    except KeyError as failure:
        raise ClusterError(f"ConfigMap kube-system/{CONFIG} lacks {failure}", "use the same p8s on both") from failure


def config_rights() -> tuple[Object, Object]:
    """Role and binding by which machines that join, and nodes, read the configuration."""
    group = "rbac.authorization.k8s.io"
    meta = {"name": "pybernetes:node-config", "namespace": "kube-system"}
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG], "verbs": ["get"]}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    subjects = [{"apiGroup": group, "kind": "Group", "name": name} for name in (GROUP, "system:nodes")]
    reference = {"apiGroup": group, "kind": "Role", "name": meta["name"]}
    binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta}
    return role, {**binding, "roleRef": reference, "subjects": subjects}
