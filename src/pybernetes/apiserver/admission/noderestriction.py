"""NodeRestriction: a kubelet changes its own node, its own pods and what belongs to them, and nothing else.

It completes the node authorizer, which does not see what is written. Specified by the plugin's section in "Admission Control
in Kubernetes"; the messages are those of ``plugin/pkg/admission/noderestriction``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from ...api.errors import go_quote, not_found
from ...api.meta import (
    Object,
    annotations_of,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    owner_references_of,
    uid_of,
)
from ...api.resources import GVR, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, SERVICE_ACCOUNTS
from ...client import signing
from ...hooks.admission import CREATE, DELETE, UPDATE, AdmissionAttributes
from ...hooks.authorization import Attributes, Decision
from ..authz.node import MIRROR_ANNOTATION, node_identity, pod_references
from .base import Plugin, refuse

CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers")
RESTRICTION_NAMESPACE = "node-restriction.kubernetes.io"
KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    }
)
KUBELET_LABEL_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")

_HANDLED = frozenset(
    {
        ("", "pods"),
        ("", "nodes"),
        ("", "persistentvolumeclaims"),
        ("", "serviceaccounts"),
        ("coordination.k8s.io", "leases"),
        ("storage.k8s.io", "csinodes"),
        ("resource.k8s.io", "resourceslices"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        ("certificates.k8s.io", "podcertificaterequests"),
    }
)


def _under(namespace: str, domain: str) -> bool:
    return namespace == domain or namespace.endswith("." + domain)


def forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Labels among the changed ones that a node may not set on itself: they steer which workloads come to it."""
    changed = {k for k in {*new, *old} if new.get(k) != old.get(k)}
    found = []
    for label in sorted(changed):
        namespace = label.partition("/")[0] if "/" in label else ""
        own = label in KUBELET_LABELS or any(_under(namespace, n) for n in KUBELET_LABEL_NAMESPACES)
        kubernetes = _under(namespace, "kubernetes.io") or _under(namespace, "k8s.io")
        if _under(namespace, RESTRICTION_NAMESPACE) or (kubernetes and not own):
            found.append(label)
    return found


def _api_reference(pod: Object) -> str:
    """What of the API the pod refers to, in upstream's words; nothing where it refers to nothing."""
    kinds = {kind for kind, _ in pod_references(pod)}
    for kind in ("serviceaccounts", "secrets", "configmaps"):
        if kind in kinds:
            return kind
    spec = pod.get("spec") or {}
    if spec.get("resourceClaims"):
        return "resourceclaims"
    by_volume = {
        "configMap": "configmaps (via configmap volumes)",
        "secret": "secrets (via secret volumes)",
        "csi": "csidrivers (via CSI volumes)",
        "glusterfs": "endpoints (via glusterFS volumes)",
        "persistentVolumeClaim": "persistentvolumeclaims",
        "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
        "azureFile": "secrets (via azureFile volumes)",
    }
    by_source = {
        "configMap": "configmaps (via projected volumes)",
        "secret": "secrets (via projected volumes)",
        "serviceAccountToken": "serviceaccounts (via projected volumes)",
        "clusterTrustBundle": "clustertrustbundles",
        "podCertificate": "podcertificates",
    }
    for volume in spec.get("volumes") or ():
        for field, words in by_volume.items():
            if volume.get(field) is not None:
                return words
        for source in (volume.get("projected") or {}).get("sources") or ():
            for field, words in by_source.items():
                if source.get(field) is not None:
                    return words
    return ""


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in (CREATE, UPDATE, DELETE) and (gvr.group, gvr.resource) in _HANDLED

    async def admit(self, attributes: AdmissionAttributes) -> None:
        node = node_identity(attributes.user)
        if node is None:
            return
        if not node:
            raise refuse(attributes, f"could not determine node from user {go_quote(attributes.user.name)}")
        resource, subresource = attributes.gvr.resource, attributes.subresource
        if resource == "pods":
            self._pod(node, attributes)
        elif resource == "nodes":
            self._node(node, attributes)
        elif resource == "persistentvolumeclaims":
            if subresource != "status":
                raise refuse(attributes, "may only update PVC status")
            self._claim_status(node, attributes)
        elif resource == "serviceaccounts":
            await self._token(node, attributes)
        elif resource == "leases":
            self._lease(node, attributes)
        elif resource == "csinodes":
            if self._name(attributes) != node:
                raise refuse(attributes, "can only access CSINode with the same name as the requesting node")
        elif resource == "resourceslices":
            self._slice(node, attributes)
        elif resource == "podcertificaterequests":
            self._certificate_request(node, attributes)
        else:
            self._signing_request(node, attributes)

    @staticmethod
    def _name(attributes: AdmissionAttributes) -> str:
        return name_of(attributes.object or {}) if attributes.operation == CREATE else attributes.name

    # -- pods ----------------------------------------------------------------------------------------------------------

    def _pod(self, node: str, a: AdmissionAttributes) -> None:
        if a.subresource == "status":
            self._pod_status(node, a)
        elif a.subresource == "eviction":
            pod = self._existing_pod(a, a.name or name_of(a.object or {}))
            if (pod.get("spec") or {}).get("nodeName") != node:
                raise refuse(a, f"node {node} can only evict pods with spec.nodeName set to itself")
        elif a.subresource:
            words = f"unexpected pod subresource {go_quote(a.subresource)}, only 'status' and 'eviction' are allowed"
            raise refuse(a, words)
        elif a.operation == CREATE:
            self._mirror_pod(node, a)
        elif a.operation == DELETE:
            if (self._existing_pod(a, a.name).get("spec") or {}).get("nodeName") != node:
                raise refuse(a, f"node {go_quote(node)} can only delete pods with spec.nodeName set to itself")
        else:
            words = f"node {go_quote(node)} can only create and delete mirror pods"
            raise refuse(a, f"unexpected operation {go_quote(a.operation)}, {words}")

    def _existing_pod(self, a: AdmissionAttributes, name: str) -> Object:
        pod = self.reader.get(PODS, a.namespace, name)
        if pod is None:
            raise not_found("", "pods", name)
        return pod

    def _mirror_pod(self, node: str, a: AdmissionAttributes) -> None:
        pod, quoted = a.object or {}, go_quote(node)
        if MIRROR_ANNOTATION not in annotations_of(pod):
            words = f"pod does not have {go_quote(MIRROR_ANNOTATION)} annotation"
            raise refuse(a, f"{words}, node {quoted} can only create mirror pods")
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refuse(a, f"node {quoted} can only create pods with spec.nodeName set to itself")
        owners = owner_references_of(pod)
        if len(owners) > 1:
            raise refuse(a, f"node {quoted} can only create pods with a single owner reference set to itself")
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refuse(a, f"node {quoted} can only create pods with an owner reference set to itself")
        if not owner.get("controller"):
            raise refuse(a, f"node {quoted} can only create pods with a controller owner reference set to itself")
        if owner.get("blockOwnerDeletion"):
            raise refuse(a, f"node {quoted} must not set blockOwnerDeletion on an owner reference")
        known = self.reader.get(NODES, "", node)
        if known is None:
            raise not_found("", "nodes", node)
        if owner.get("uid") != uid_of(known):
            raise refuse(a, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid_of(known)}")
        reference = _api_reference(pod)
        if reference:
            raise refuse(a, f"node {quoted} can not create pods that reference {reference}")

    @staticmethod
    def _pod_status(node: str, a: AdmissionAttributes) -> None:
        if a.operation != UPDATE:
            raise refuse(a, f"unexpected operation {go_quote(a.operation)}")
        new, old, quoted = a.object or {}, a.old_object or {}, go_quote(node)
        if (old.get("spec") or {}).get("nodeName") != node:
            raise refuse(a, f"node {quoted} can only update pod status for pods with spec.nodeName set to itself")
        if labels_of(old) != labels_of(new):
            raise refuse(a, f"node {quoted} cannot update labels through pod status")
        before, after = old.get("status") or {}, new.get("status") or {}
        if (before.get("resourceClaimStatuses") or []) != (after.get("resourceClaimStatuses") or []):
            raise refuse(a, f"node {quoted} cannot update resource claim statues")
        if before.get("extendedResourceClaimStatus") != after.get("extendedResourceClaimStatus"):
            raise refuse(a, f"node {quoted} cannot update extended resource claim status")

    # -- nodes ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def _node(node: str, a: AdmissionAttributes) -> None:
        new, old, quoted = a.object or {}, a.old_object or {}, go_quote(node)
        name = a.name or name_of(new)
        if name != node:
            raise refuse(a, f"node {quoted} is not allowed to modify node {go_quote(name)}")
        if a.operation == CREATE:
            if (new.get("spec") or {}).get("configSource") is not None:
                raise refuse(a, f"node {quoted} is not allowed to create pods with a non-nil configSource")
            labels = forbidden_labels(labels_of(new), {})
            if labels:
                raise refuse(a, f"node {quoted} is not allowed to set the following labels: {', '.join(labels)}")
        elif a.operation == UPDATE:
            before, after = old.get("spec") or {}, new.get("spec") or {}
            source = after.get("configSource")
            if source is not None and source != before.get("configSource"):
                raise refuse(a, f"node {quoted} is not allowed to update configSource to a new non-nil configSource")
            if (before.get("taints") or []) != (after.get("taints") or []):
                raise refuse(a, f"node {quoted} is not allowed to modify taints")
            if owner_references_of(new) != owner_references_of(old):
                raise refuse(a, f"node {quoted} is not allowed to modify ownerReferences")
            labels = forbidden_labels(labels_of(new), labels_of(old))
            if labels:
                raise refuse(a, f"is not allowed to modify labels: {', '.join(labels)}")

    @staticmethod
    def _claim_status(node: str, a: AdmissionAttributes) -> None:
        if a.operation != UPDATE:
            raise refuse(a, f"unexpected operation {go_quote(a.operation)}")

        def rest(claim: Object | None) -> dict[str, Any]:
            claim = claim or {}
            free = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
            status = {k: v for k, v in (claim.get("status") or {}).items() if k not in free}
            meta = {k: v for k, v in metadata(claim).items() if k not in ("resourceVersion", "managedFields")}
            return {"metadata": meta, "spec": claim.get("spec") or {}, "status": status}

        if rest(a.object) != rest(a.old_object):
            quoted = go_quote(node)
            raise refuse(
                a, f"node {quoted} is not allowed to update fields other than status.quantity and status.conditions"
            )

    @staticmethod
    def _lease(node: str, a: AdmissionAttributes) -> None:
        if a.namespace != "kube-node-lease":
            raise refuse(a, 'can only access leases in the "kube-node-lease" system namespace')
        if NodeRestriction._name(a) != node:
            raise refuse(a, "can only access node lease with the same name as the requesting node")

    @staticmethod
    def _slice(node: str, a: AdmissionAttributes) -> None:
        obj, verb = (a.object, "create") if a.operation == CREATE else (a.old_object, "delete")
        if a.operation == UPDATE:
            return
        if ((obj or {}).get("spec") or {}).get("nodeName") != node:
            raise refuse(a, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")

    # -- tokens and certificates ---------------------------------------------------------------------------------------

    async def _token(self, node: str, a: AdmissionAttributes) -> None:
        if a.operation != CREATE or a.subresource != "token":
            return
        spec = (a.object or {}).get("spec") or {}
        ref = spec.get("boundObjectRef") or {}
        if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
            raise refuse(a, "node requested token not bound to a pod")
        if not ref.get("uid"):
            raise refuse(a, "node requested token with a pod binding without a uid")
        pod = self._existing_pod(a, ref["name"])
        if ref["uid"] != uid_of(pod):
            raise refuse(
                a,
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object might have "
                "been deleted and then recreated",
            )
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refuse(a, "node requested token bound to a pod scheduled on a different node")
        await self._audience(node, a, spec, pod)

    async def _audience(self, node: str, a: AdmissionAttributes, spec: Mapping[str, Any], pod: Object) -> None:
        """A node gets tokens only for whom the pod's volumes name."""
        audiences = spec.get("audiences") or ()
        if len(audiences) > 1:
            raise refuse(a, "node may only request 0 or 1 audiences")
        wanted = audiences[0] if audiences else ""
        if wanted in self._audiences_of_volumes(pod):
            return
        ask = Attributes(
            a.user, "request-serviceaccounts-token-audience", "", "v1", wanted, namespace=a.namespace, name=a.name
        )
        if wanted and (await self.context.authorizer.authorize(ask)).decision is Decision.ALLOW:
            return
        raise refuse(
            a,
            f"audience {go_quote(wanted)} not found in pod spec volume, {a.user.name} is not authorized to request tokens for "
            "this audience",
        )

    def _audiences_of_volumes(self, pod: Object) -> Iterator[str]:
        namespace = namespace_of(pod)
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if source.get("serviceAccountToken") is not None:
                    yield source["serviceAccountToken"].get("audience") or ""
            driver = (volume.get("csi") or {}).get("driver")
            if volume.get("ephemeral") is not None:
                driver = self._driver_of_claim(namespace, f"{name_of(pod)}-{volume.get('name')}")
            elif volume.get("persistentVolumeClaim"):
                driver = self._driver_of_claim(namespace, volume["persistentVolumeClaim"].get("claimName") or "")
            found = self.reader.get(CSI_DRIVERS, "", driver) if driver else None
            for request in ((found or {}).get("spec") or {}).get("tokenRequests") or ():
                yield request.get("audience") or ""

    def _driver_of_claim(self, namespace: str, name: str) -> str:
        claim = self.reader.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        volume_name = ((claim or {}).get("spec") or {}).get("volumeName")
        volume = self.reader.get(PERSISTENT_VOLUMES, "", volume_name) if volume_name else None
        return (((volume or {}).get("spec") or {}).get("csi") or {}).get("driver") or ""

    def _certificate_request(self, node: str, a: AdmissionAttributes) -> None:
        if a.operation != CREATE or a.subresource:
            raise refuse(a, f"unexpected operation {a.operation}")
        spec = (a.object or {}).get("spec") or {}
        if spec.get("nodeName") != node:
            words = f"PodCertificateRequest.Spec.NodeName={go_quote(spec.get('nodeName') or '')}"
            raise refuse(a, f"{words}, which is not the requesting node {go_quote(node)}")
        pod_name = spec.get("podName") or ""
        shown = go_quote(f"{a.namespace}/{pod_name}")
        known, pod = self.reader.get(NODES, "", node), self.reader.get(PODS, a.namespace, pod_name)
        if known is None or pod is None:
            what = "node" if known is None else "pod"
            raise refuse(a, f"the {what} named in the PodCertificateRequest for pod {shown} was not found")
        if spec.get("nodeUID") != uid_of(known) or spec.get("podUID") != uid_of(pod):
            raise refuse(
                a, f"PodCertificateRequest for pod {shown} names a UID that differs from that of the running object"
            )
        pod_spec = pod.get("spec") or {}
        if pod_spec.get("nodeName") != node:
            raise refuse(a, f"pod {shown} is not running on node {go_quote(node)} named in the PodCertificateRequest")
        if MIRROR_ANNOTATION in annotations_of(pod):
            raise refuse(a, f"pod {shown} is a mirror pod")
        account = self.reader.get(SERVICE_ACCOUNTS, a.namespace, spec.get("serviceAccountName") or "")
        if spec.get("serviceAccountName") != pod_spec.get("serviceAccountName") or account is None:
            raise refuse(a, f"PodCertificateRequest for pod {shown} names a service account that is not the pod's")
        if spec.get("serviceAccountUID") != uid_of(account):
            raise refuse(
                a, f"PodCertificateRequest for pod {shown} names a service account UID that is not the account's"
            )

    @staticmethod
    def _signing_request(node: str, a: AdmissionAttributes) -> None:
        if a.operation != CREATE:
            return
        spec = (a.object or {}).get("spec") or {}
        if spec.get("signerName") not in (signing.KUBELET_SERVING_SIGNER, signing.KUBELET_CLIENT_SIGNER):
            return
        try:
            request = signing.parse_request(base64.b64decode(spec.get("request") or ""))
        except (signing.SigningError, binascii.Error) as failure:
            raise refuse(a, f"unable to parse csr: {failure}") from failure
        if signing.common_name(request.subject) != f"system:node:{node}":
            raise refuse(a, f"can only create a node CSR with CN=system:node:{node}")
