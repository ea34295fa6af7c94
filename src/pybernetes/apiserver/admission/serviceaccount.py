"""ServiceAccount: every pod has an account, and finds the API's address, authority and a token of its own in a volume.

Specified by "Configure Service Accounts for Pods" and ``plugin/pkg/admission/serviceaccount``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from ...api.meta import Object, annotations_of, name_of, uid_of
from ...api.resources import GVR, SERVICE_ACCOUNTS
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes
from ..authz.node import MIRROR_ANNOTATION, pod_references
from .base import Plugin, is_pod, refuse, spec_of

DEFAULT_ACCOUNT = "default"
VOLUME_PREFIX = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
"""An odd number on purpose: it tells the tokens that nobody asked for from those that somebody did."""
ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def token_volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 420,
        },
    }


@lru_cache(maxsize=4096)
def volume_suffix(account: str) -> str:
    """Five characters that are the same for all pods of an account (its uid): the name has to be unique in a pod only,
    and pods of one template stay alike, which is what the memory of checked specs lives on."""
    digest = hashlib.sha256(account.encode()).digest()
    return "".join(_ALPHABET[b % len(_ALPHABET)] for b in digest[:5])


def mount_token(pod: Object, suffix: str) -> None:
    """Mounts the volume in every container that has nothing at its place, and adds it where one does."""
    spec = spec_of(pod)
    volumes = spec.get("volumes") or []
    name = next((v.get("name") for v in volumes if str(v.get("name")).startswith(VOLUME_PREFIX)), None)
    present = name is not None
    name = name or VOLUME_PREFIX + suffix
    needed = False
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            mounts = container.get("volumeMounts") or []
            if any(m.get("mountPath") == MOUNT_PATH for m in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            needed = True
    if needed and not present:
        spec["volumes"] = [*volumes, token_volume(name)]


def _secret_uses(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(words, secret) of every use of a Secret in a container's environment."""
    for env in container.get("env") or ():
        ref = (env.get("valueFrom") or {}).get("secretKeyRef")
        if ref:
            yield f"with envVar {env.get('name')} referencing", ref.get("name") or ""
    for source in container.get("envFrom") or ():
        if source.get("secretRef"):
            yield "with envFrom referencing", source["secretRef"].get("name") or ""


class ServiceAccount(Plugin):
    name = "ServiceAccount"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if not is_pod(gvr):
            return False
        return (operation == CREATE and not subresource) or (
            operation == UPDATE and subresource == "ephemeralcontainers"
        )

    async def admit(self, attributes: AdmissionAttributes) -> None:
        pod = attributes.object
        if pod is None or attributes.operation != CREATE or MIRROR_ANNOTATION in annotations_of(pod):
            return
        spec = spec_of(pod)
        name = spec.get("serviceAccountName") or DEFAULT_ACCOUNT
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = self._account(attributes, name)
        wanted = spec.get("automountServiceAccountToken")
        if wanted is None:
            wanted = account.get("automountServiceAccountToken")
        if wanted is not False:
            mount_token(pod, volume_suffix(uid_of(account)))
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": r.get("name") or ""} for r in account["imagePullSecrets"]]

    async def validate(self, attributes: AdmissionAttributes) -> None:
        pod = attributes.object
        if pod is None:
            return
        spec = pod.get("spec") or {}
        if attributes.operation == CREATE and MIRROR_ANNOTATION in annotations_of(pod):
            self._validate_mirror(attributes, pod)
            return
        name = spec.get("serviceAccountName")
        if not name:
            raise refuse(attributes, f"no service account specified for pod {attributes.namespace}/{name_of(pod)}")
        account = self._account(attributes, name)
        if annotations_of(account).get(ENFORCE_ANNOTATION) not in _TRUE:
            return
        fields = (
            (("ephemeralContainers", "ephemeral container"),)
            if attributes.operation == UPDATE
            else (("initContainers", "init container"), ("containers", "container"))
        )
        self._limit_secrets(attributes, spec, account, fields)

    def _account(self, attributes: AdmissionAttributes, name: str) -> Object:
        account = self.reader.get(SERVICE_ACCOUNTS, attributes.namespace, name)
        if account is None:
            raise refuse(
                attributes,
                f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
            )
        return account

    @staticmethod
    def _validate_mirror(attributes: AdmissionAttributes, pod: Object) -> None:
        spec = pod.get("spec") or {}
        if spec.get("serviceAccountName"):
            raise refuse(attributes, "a mirror pod may not reference service accounts")
        if any(kind == "secrets" for kind, _ in pod_references(pod)):
            raise refuse(attributes, "a mirror pod may not reference secrets")
        for volume in spec.get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if source.get("serviceAccountToken") is not None:
                    raise refuse(attributes, "a mirror pod may not use ServiceAccountToken volume projections")

    @staticmethod
    def _limit_secrets(
        attributes: AdmissionAttributes, spec: Mapping[str, Any], account: Object, fields: tuple[tuple[str, str], ...]
    ) -> None:
        name = name_of(account)
        tail = f"is not allowed because service account {name} does not reference that"
        mountable = {s.get("name") for s in account.get("secrets") or ()}
        if attributes.operation == CREATE:
            for volume in spec.get("volumes") or ():
                secret = (volume.get("secret") or {}).get("secretName")
                if secret is not None and secret not in mountable:
                    raise refuse(attributes, f'volume with secret.secretName="{secret}" {tail} secret')
        for field, word in fields:
            for container in spec.get(field) or ():
                for use, secret in _secret_uses(container):
                    if secret not in mountable:
                        where = f"{word} {container.get('name')} {use}"
                        raise refuse(attributes, f'{where} secret.secretName="{secret}" {tail} secret')
        if attributes.operation == CREATE:
            pull = {s.get("name") for s in account.get("imagePullSecrets") or ()}
            for i, ref in enumerate(spec.get("imagePullSecrets") or ()):
                if ref.get("name") not in pull:
                    raise refuse(attributes, f'imagePullSecrets[{i}].name="{ref.get("name")}" {tail} imagePullSecret')
