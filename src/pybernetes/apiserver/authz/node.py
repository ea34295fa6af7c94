"""The node authorizer: a kubelet reaches what belongs to pods on its own node, and nothing else.

The graph of the specification (secret, config map, claim, account <- pod <- node; secret <- volume <- claim <- pod) is kept
as counts by object and node, so that a question is a look-up. Specified by "Using Node Authorization" and
``plugin/pkg/auth/authorizer/node``; the reasons are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...api.meta import Object, annotations_of, name_of, namespace_of, uid_of
from ...api.resources import GVR, PERSISTENT_VOLUMES, PODS
from ...api.selectors import SelectorError, parse_field_selector
from ...hooks.authorization import Attributes, Decision, Verdict
from ...hooks.identity import UserInfo
from ...hooks.reading import ObjectReader
from .rules import CompiledRule, PolicyRule, ResolvedRules, compile_rules

USER_PREFIX, GROUP = "system:node:", "system:nodes"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
VOLUME_ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")
RESOURCE_SLICES = GVR("resource.k8s.io", "v1", "resourceslices")
POD_CERTIFICATE_REQUESTS = GVR("certificates.k8s.io", "v1beta1", "podcertificaterequests")

Vertex = tuple[str, str, str]
"""(kind, namespace, name); the kinds are resource names."""

ALLOW, NO_OPINION = Verdict(Decision.ALLOW), Verdict(Decision.NO_OPINION)


def node_identity(user: UserInfo) -> str | None:
    """The node's name; empty for a member of the group without one; None for anybody else."""
    if GROUP not in user.groups or not user.name.startswith(USER_PREFIX):
        return None
    return user.name[len(USER_PREFIX) :]


# -- what a pod refers to ----------------------------------------------------------------------------------------------


def _container_references(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "secrets", (source.get("secretRef") or {}).get("name") or ""
        yield "configmaps", (source.get("configMapRef") or {}).get("name") or ""
    for env in container.get("env") or ():
        value = env.get("valueFrom")
        if value:
            yield "secrets", (value.get("secretKeyRef") or {}).get("name") or ""
            yield "configmaps", (value.get("configMapKeyRef") or {}).get("name") or ""


def _volume_references(volume: Mapping[str, Any], pod: str) -> Iterator[tuple[str, str]]:
    if volume.get("secret"):
        yield "secrets", volume["secret"].get("secretName") or ""
    if volume.get("configMap"):
        yield "configmaps", volume["configMap"].get("name") or ""
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secrets", (source.get("secret") or {}).get("name") or ""
        yield "configmaps", (source.get("configMap") or {}).get("name") or ""
    if volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", volume["persistentVolumeClaim"].get("claimName") or ""
    if volume.get("ephemeral") is not None:
        yield "persistentvolumeclaims", f"{pod}-{volume.get('name')}"
    yield "secrets", (volume.get("azureFile") or {}).get("secretName") or ""
    for source in ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"):
        yield "secrets", ((volume.get(source) or {}).get("secretRef") or {}).get("name") or ""
    yield "secrets", ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""


def pod_references(pod: Object) -> set[tuple[str, str]]:
    """(resource, name) of everything in its namespace that the node needs for this pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    found: set[tuple[str, str]] = {("serviceaccounts", spec.get("serviceAccountName") or "")}
    found.update(("secrets", r.get("name") or "") for r in spec.get("imagePullSecrets") or ())
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            found.update(_container_references(container))
    for volume in spec.get("volumes") or ():
        found.update(_volume_references(volume, name_of(pod)))
    made = {s.get("name"): s.get("resourceClaimName") for s in status.get("resourceClaimStatuses") or ()}
    for claim in spec.get("resourceClaims") or ():
        found.add(("resourceclaims", claim.get("resourceClaimName") or made.get(claim.get("name")) or ""))
    extended = (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    found.add(("resourceclaims", extended or ""))
    return {(kind, name) for kind, name in found if name}


def volume_secrets(volume: Object) -> set[tuple[str, str]]:
    """(namespace, name) of the secrets that a kubelet needs to mount this PersistentVolume."""
    spec = volume.get("spec") or {}
    claim_namespace = (spec.get("claimRef") or {}).get("namespace") or ""
    found: set[tuple[str, str]] = set()
    azure = spec.get("azureFile") or {}
    found.add((azure.get("secretNamespace") or claim_namespace, azure.get("secretName") or ""))
    for source in ("cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "cinder", "storageos"):
        ref = (spec.get(source) or {}).get("secretRef") or {}
        found.add((ref.get("namespace") or claim_namespace, ref.get("name") or ""))
    for field in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
        ref = (spec.get("csi") or {}).get(field) or {}
        found.add((ref.get("namespace") or "", ref.get("name") or ""))
    return {(ns, name) for ns, name in found if name}


class Graph:
    """Which node may see which object."""

    def __init__(self, reader: ObjectReader) -> None:
        self._nodes: dict[Vertex, dict[str, int]] = {}
        self._pods: dict[tuple[str, str], tuple[str, tuple[Vertex, ...]]] = {}
        self._volumes: dict[str, tuple[Vertex, tuple[Vertex, ...]]] = {}
        self._volumes_of_secret: dict[Vertex, set[str]] = {}
        self._direct: dict[Vertex, str] = {}
        sources: list[tuple[GVR, Callable[[str, Object | None, Object | None], None]]] = [
            (PODS, self._pod_changed),
            (PERSISTENT_VOLUMES, self._volume_changed),
            (VOLUME_ATTACHMENTS, self._direct_listener("volumeattachments")),
            (RESOURCE_SLICES, self._direct_listener("resourceslices")),
            (POD_CERTIFICATE_REQUESTS, self._direct_listener("podcertificaterequests")),
        ]
        for gvr, listener in sources:
            reader.subscribe(gvr, listener)
            for obj in reader.each(gvr):
                listener("ADDED", None, obj)

    def reaches(self, node: str, kind: str, namespace: str, name: str) -> bool:
        """Whether there is a path from the object to the node."""
        vertex = (kind, namespace, name)
        if kind in ("volumeattachments", "resourceslices", "podcertificaterequests"):
            return self._direct.get(vertex) == node
        if kind == "persistentvolumes":
            volume = self._volumes.get(name)
            return volume is not None and node in self._nodes.get(volume[0], ())
        if node in self._nodes.get(vertex, ()):
            return True
        if kind != "secrets":
            return False
        return any(node in self._nodes.get(self._volumes[v][0], ()) for v in self._volumes_of_secret.get(vertex, ()))

    # -- pods ----------------------------------------------------------------------------------------------------------

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        if pod is None:
            return
        key = (namespace_of(pod), name_of(pod))
        if kind == "DELETED":
            self._drop_pod(key)
            return
        spec = pod.get("spec") or {}
        node = spec.get("nodeName")
        if not node:
            return
        if key in self._pods and old is not None and _same_references(old, pod):
            return
        self._drop_pod(key)
        vertices = [("pods", *key)]
        # A node must not be able to give itself objects by a pod that it makes: a mirror pod brings nothing.
        if MIRROR_ANNOTATION not in annotations_of(pod):
            vertices.extend((resource, key[0], name) for resource, name in pod_references(pod))
        for vertex in vertices:
            counts = self._nodes.setdefault(vertex, {})
            counts[node] = counts.get(node, 0) + 1
        self._pods[key] = (node, tuple(vertices))

    def _drop_pod(self, key: tuple[str, str]) -> None:
        known = self._pods.pop(key, None)
        if known is None:
            return
        node, vertices = known
        for vertex in vertices:
            counts = self._nodes[vertex]
            counts[node] -= 1
            if not counts[node]:
                del counts[node]
                if not counts:
                    del self._nodes[vertex]

    # -- volumes -------------------------------------------------------------------------------------------------------

    def _volume_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        volume = new or old
        if volume is None:
            return
        name = name_of(volume)
        known = self._volumes.pop(name, None)
        for vertex in known[1] if known else ():
            self._volumes_of_secret[vertex].discard(name)
        claim = (volume.get("spec") or {}).get("claimRef")
        if kind == "DELETED" or not claim:
            return
        secrets = tuple(("secrets", ns, secret) for ns, secret in volume_secrets(volume))
        target = ("persistentvolumeclaims", claim.get("namespace") or "", claim.get("name") or "")
        self._volumes[name] = (target, secrets)
        for vertex in secrets:
            self._volumes_of_secret.setdefault(vertex, set()).add(name)

    def _direct_listener(self, resource: str) -> Callable[[str, Object | None, Object | None], None]:
        def changed(kind: str, old: Object | None, new: Object | None) -> None:
            obj = new or old
            if obj is None:
                return
            vertex = (resource, namespace_of(obj), name_of(obj))
            node = (obj.get("spec") or {}).get("nodeName")
            if kind == "DELETED" or not node:
                self._direct.pop(vertex, None)
            else:
                self._direct[vertex] = node

        return changed


def _same_references(old: Object, new: Object) -> bool:
    before, after = old.get("spec") or {}, new.get("spec") or {}
    return (
        before.get("nodeName") == after.get("nodeName")
        and uid_of(old) == uid_of(new)
        and len(before.get("ephemeralContainers") or ()) == len(after.get("ephemeralContainers") or ())
        and (old.get("status") or {}).get("resourceClaimStatuses")
        == (new.get("status") or {}).get("resourceClaimStatuses")
    )


# -- deciding ----------------------------------------------------------------------------------------------------------


def _no(reason: str) -> Verdict:
    return Verdict(Decision.NO_OPINION, reason)


def _selects_node(selector: str, field: str, node: str) -> bool:
    try:
        requirements = parse_field_selector(selector).requirements if selector else ()
    except SelectorError:
        return False
    return any(r.field == field and not r.negated and r.value == node for r in requirements)


class NodeAuthorizer:
    """The Node mode. ``rules`` are those of the ClusterRole system:node, for what is not divided by node."""

    def __init__(self, reader: ObjectReader, rules: Sequence[PolicyRule]) -> None:
        self._reader = reader
        self._graph: Graph | None = None
        self._rules: tuple[CompiledRule, ...] = compile_rules(rules)
        get, read = self._get, self._read
        self._special: dict[tuple[str, str], Callable[[str, Attributes], Verdict]] = {
            ("", "secrets"): read,
            ("", "configmaps"): read,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): get,
            ("resource.k8s.io", "resourceclaims"): get,
            ("storage.k8s.io", "volumeattachments"): get,
            ("", "serviceaccounts"): self._service_account,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._resource_slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
            ("certificates.k8s.io", "podcertificaterequests"): self._certificate_request,
        }

    def prepare(self) -> None:
        _ = self.graph

    @property
    def graph(self) -> Graph:
        if self._graph is None:
            self._graph = Graph(self._reader)
        return self._graph

    async def authorize(self, attributes: Attributes) -> Verdict:
        return self.decide(attributes)

    def rules_for(self, user: UserInfo, namespace: str) -> ResolvedRules:
        if node_identity(user) is None:
            return ResolvedRules([], [])
        return ResolvedRules([], ["node authorizer does not support user rule resolution"], True)

    def decide(self, attributes: Attributes) -> Verdict:
        node = node_identity(attributes.user)
        if node is None:
            return NO_OPINION
        if not node:
            return _no(f'unknown node for user "{attributes.user.name}"')
        if attributes.resource:
            special = self._special.get((attributes.group, attributes.resource))
            if special is not None:
                return special(node, attributes)
        return ALLOW if self._by_rules(attributes) else NO_OPINION

    def _by_rules(self, a: Attributes) -> bool:
        if not a.resource:
            return any(r.allows_path(a.verb, a.path) for r in self._rules)
        return any(
            r.allows_resource(a.verb, a.group, a.resource, a.subresource) and (r.names is None or a.name in r.names)
            for r in self._rules
        )

    def _related(self, node: str, a: Attributes) -> Verdict:
        if not a.name:
            return _no("No Object name found")
        if self.graph.reaches(node, a.resource, a.namespace, a.name):
            return ALLOW
        return _no(f"no relationship found between node '{node}' and this object")

    def _get(self, node: str, a: Attributes) -> Verdict:
        if a.verb != "get":
            return _no("can only get individual resources of this type")
        if a.subresource:
            return _no("cannot get subresource")
        return self._related(node, a)

    def _read(self, node: str, a: Attributes) -> Verdict:
        if a.verb not in ("get", "list", "watch"):
            return _no("can only read resources of this type")
        if a.subresource:
            return _no("cannot read subresource")
        if not a.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, a)

    def _claim(self, node: str, a: Attributes) -> Verdict:
        if a.subresource != "status":
            return self._get(node, a)
        if a.verb not in ("update", "patch"):
            return _no("can only get/update/patch this type")
        return self._related(node, a)

    def _service_account(self, node: str, a: Attributes) -> Verdict:
        if a.verb == "get" and not a.subresource:
            return self._read(node, a)
        if a.verb != "create" or not a.name:
            return _no("can only create tokens for individual service accounts")
        if a.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, a)

    def _lease(self, node: str, a: Attributes) -> Verdict:
        if a.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a node lease")
        if a.namespace != "kube-node-lease":
            return _no('can only access leases in the "kube-node-lease" system namespace')
        # At creation the name is not known yet: NodeRestriction looks at it.
        if a.verb != "create" and a.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return ALLOW

    def _csi_node(self, node: str, a: Attributes) -> Verdict:
        if a.verb not in ("get", "create", "update", "patch", "delete"):
            return _no("can only get, create, update, patch, or delete a CSINode")
        if a.subresource:
            return _no("cannot authorize CSINode subresources")
        if a.verb != "create" and a.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return ALLOW

    def _resource_slice(self, node: str, a: Attributes) -> Verdict:
        if a.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        if a.verb == "create":
            return ALLOW
        if a.verb in ("get", "update", "patch", "delete"):
            return self._related(node, a)
        if a.verb in ("watch", "list", "deletecollection"):
            if _selects_node(a.field_selector, "spec.nodeName", node):
                return ALLOW
            return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        return _no(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, "
            "deletecollection"
        )

    def _node(self, node: str, a: Attributes) -> Verdict:
        if a.subresource == "status":
            return ALLOW if a.verb in ("update", "patch") else NO_OPINION
        if a.subresource:
            return NO_OPINION
        if a.verb in ("create", "update", "patch"):
            return ALLOW
        if a.verb in ("get", "list", "watch"):
            if a.name == node:
                return ALLOW
            if not a.name:
                return _no(f"node '{node}' cannot read all nodes, only its own Node object")
            return _no(f"node '{node}' cannot read '{a.name}', only its own Node object")
        return NO_OPINION

    def _pod(self, node: str, a: Attributes) -> Verdict:
        verbs = {"status": ("update", "patch"), "eviction": ("create",)}.get(a.subresource)
        if a.subresource:
            return ALLOW if verbs and a.verb in verbs else NO_OPINION
        if a.verb == "get":
            return self._get(node, a)
        if a.verb in ("list", "watch"):
            if _selects_node(a.field_selector, "spec.nodeName", node):
                return ALLOW
            if a.name:
                return self._related(node, a)
            return _no("can only list/watch pods with spec.nodeName field selector")
        return ALLOW if a.verb in ("create", "delete") else NO_OPINION

    def _certificate_request(self, node: str, a: Attributes) -> Verdict:
        if a.subresource:
            return _no("nodes may not access the status subresource of PodCertificateRequests")
        if a.verb == "create":
            return ALLOW
        if a.verb == "get":
            return self._related(node, a)
        if a.verb in ("list", "watch"):
            if _selects_node(a.field_selector, "spec.nodeName", node):
                return ALLOW
            return _no("can only list/watch podcertificaterequests with nodeName field selector")
        return _no(f"nodes may not {a.verb} podcertificaterequests")
