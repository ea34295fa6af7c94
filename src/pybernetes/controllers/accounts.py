"""The ServiceAccount of each controller, in kube-system, as upstream names them: their rights are the bootstrap roles
``system:controller:<account>`` (``rights`` has what goes beyond them). Controllers without one act as the manager itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..client.rest import Client
from ..concurrency import Clock

if TYPE_CHECKING:
    from ..client.metering import RestMetrics

NAMESPACE = "kube-system"

ACCOUNTS = {
    "certificatesigningrequest-approving-controller": "certificate-controller",
    "certificatesigningrequest-cleaner-controller": "certificate-controller",
    "certificatesigningrequest-signing-controller": "certificate-controller",
    "bootstrap-signer-controller": "bootstrap-signer",
    "clusterrole-aggregation-controller": "clusterrole-aggregation-controller",
    "cronjob-controller": "cronjob-controller",
    "daemonset-controller": "daemon-set-controller",
    "deployment-controller": "deployment-controller",
    "disruption-controller": "disruption-controller",
    "endpoints-controller": "endpoint-controller",
    "endpointslice-controller": "endpointslice-controller",
    "endpointslice-mirroring-controller": "endpointslicemirroring-controller",
    "ephemeral-volume-controller": "ephemeral-volume-controller",
    "garbage-collector-controller": "generic-garbage-collector",
    "job-controller": "job-controller",
    "legacy-serviceaccount-token-cleaner-controller": "legacy-service-account-token-cleaner",
    "local-volume-provisioner-controller": "local-volume-provisioner",
    "namespace-controller": "namespace-controller",
    "node-ipam-controller": "node-controller",
    "node-lifecycle-controller": "node-controller",
    "persistentvolume-binder-controller": "persistent-volume-binder",
    "persistentvolume-protection-controller": "pv-protection-controller",
    "persistentvolumeclaim-protection-controller": "pvc-protection-controller",
    "pod-garbage-collector-controller": "pod-garbage-collector",
    "replicaset-controller": "replicaset-controller",
    "replicationcontroller-controller": "replication-controller",
    "resourcequota-controller": "resourcequota-controller",
    "root-ca-certificate-publisher-controller": "root-ca-cert-publisher",
    "service-cidr-controller": "service-cidrs-controller",
    "serviceaccount-controller": "service-account-controller",
    "statefulset-controller": "statefulset-controller",
    "taint-eviction-controller": "node-controller",
    "token-cleaner-controller": "token-cleaner",
    "ttl-after-finished-controller": "ttl-after-finished-controller",
    "ttl-controller": "ttl-controller",
    "volumeattributesclass-protection-controller": "volumeattributesclass-protection-controller",
}
"""Controller -> account. Tokens are made by the manager's own identity, for they are what the others need first."""


def identities(
    kubeconfig: str | Path, root: Client, clock: Clock, rest: RestMetrics | None = None
) -> Callable[[str], Client]:
    """Clients of ServiceAccounts: the manager's own identity, ``root``, only asks for their tokens."""
    from ..client.kubeconfig import client_from_kubeconfig
    from ..client.metering import MeteredTransport
    from ..client.serviceaccounts import ServiceAccountTransport

    def client_of(account: str) -> Client:
        bare = client_from_kubeconfig(kubeconfig, clock=clock, anonymous=True)
        metered = MeteredTransport(bare.transport, rest, clock.monotonic) if rest is not None else bare.transport
        transport = ServiceAccountTransport(metered, root, clock, NAMESPACE, account)
        return Client(transport, clock=clock, user_agent=f"kube-controller-manager/{NAMESPACE}:{account}")

    return client_of
