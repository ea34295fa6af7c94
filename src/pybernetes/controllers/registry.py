"""Which controllers there are: upstream's names, their short aliases, and where the code is (imported when chosen)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

from ..hooks.installed import entry_points
from .runtime import Controller, ControllerContext

Factory = Callable[[ControllerContext], Controller]
ENTRY_POINT_GROUP = "pybernetes.controllers"

BUILT_IN: dict[str, str] = {
    "serviceaccount-token-controller": "serviceaccounttoken.controller:ServiceAccountTokenController",
    "legacy-serviceaccount-token-cleaner-controller": "legacytokens.controller:LegacyTokenCleaner",
    "certificatesigningrequest-approving-controller": "certificates.controller:ApprovingController",
    "certificatesigningrequest-signing-controller": "certificates.controller:SigningController",
    "certificatesigningrequest-cleaner-controller": "certificates.controller:CleanerController",
    "token-cleaner-controller": "bootstraptoken.controller:TokenCleanerController",
    "bootstrap-signer-controller": "bootstraptoken.controller:BootstrapSignerController",
    "service-cidr-controller": "servicecidr.controller:ServiceCIDRController",
    "persistentvolume-binder-controller": "persistentvolume.controller:PersistentVolumeBinder",
    "local-volume-provisioner-controller": "localprovisioner.controller:LocalProvisioner",
    "persistentvolumeclaim-protection-controller": "protection.controller:ClaimProtectionController",
    "persistentvolume-protection-controller": "protection.controller:VolumeProtectionController",
    "volumeattributesclass-protection-controller": "protection.controller:AttributesClassProtectionController",
    "ephemeral-volume-controller": "ephemeralvolume.controller:EphemeralVolumeController",
    "disruption-controller": "disruption.controller:DisruptionController",
    "resourcequota-controller": "resourcequota.controller:ResourceQuotaController",
    "clusterrole-aggregation-controller": "clusterroleaggregation.controller:ClusterRoleAggregationController",
    "daemonset-controller": "daemonset.controller:DaemonSetController",
    "statefulset-controller": "statefulset.controller:StatefulSetController",
    "cronjob-controller": "cronjob.controller:CronJobController",
    "ttl-after-finished-controller": "ttlafterfinished.controller:TTLAfterFinishedController",
    "job-controller": "job.controller:JobController",
    "node-lifecycle-controller": "nodelifecycle.controller:NodeLifecycleController",
    "taint-eviction-controller": "tainteviction.controller:TaintEvictionController",
    "pod-garbage-collector-controller": "podgc.controller:PodGarbageCollector",
    "node-ipam-controller": "nodeipam.controller:NodeIPAMController",
    "ttl-controller": "ttl.controller:TTLController",
    "endpoints-controller": "endpoints.controller:EndpointsController",
    "endpointslice-controller": "endpointslice.controller:EndpointSliceController",
    "endpointslice-mirroring-controller": "endpointslicemirroring.controller:EndpointSliceMirroringController",
    "namespace-controller": "namespace.controller:NamespaceController",
    "serviceaccount-controller": "serviceaccount.controller:ServiceAccountController",
    "root-ca-certificate-publisher-controller": "rootca.controller:RootCACertificatePublisher",
    "garbage-collector-controller": "garbagecollector.controller:GarbageCollector",
    "replicaset-controller": "replicaset.controller:ReplicaSetController",
    "replicationcontroller-controller": "replicaset.controller:ReplicationControllerController",
    "deployment-controller": "deployment.controller:DeploymentController",
}
OFF_BY_DEFAULT = frozenset({"bootstrap-signer-controller", "token-cleaner-controller"})
"""Upstream starts these only where they are named (kubeadm does)."""
# Upstream's names from before v1.28, which its flag still takes.
ALIASES = {
    "serviceaccount-token": "serviceaccount-token-controller",
    "endpoint": "endpoints-controller",
    "endpointslice": "endpointslice-controller",
    "endpointslicemirroring": "endpointslice-mirroring-controller",
    "replicationcontroller": "replicationcontroller-controller",
    "podgc": "pod-garbage-collector-controller",
    "resourcequota": "resourcequota-controller",
    "namespace": "namespace-controller",
    "serviceaccount": "serviceaccount-controller",
    "garbagecollector": "garbage-collector-controller",
    "daemonset": "daemonset-controller",
    "job": "job-controller",
    "deployment": "deployment-controller",
    "replicaset": "replicaset-controller",
    "disruption": "disruption-controller",
    "statefulset": "statefulset-controller",
    "cronjob": "cronjob-controller",
    "csrsigning": "certificatesigningrequest-signing-controller",
    "csrapproving": "certificatesigningrequest-approving-controller",
    "csrcleaner": "certificatesigningrequest-cleaner-controller",
    "ttl": "ttl-controller",
    "bootstrapsigner": "bootstrap-signer-controller",
    "tokencleaner": "token-cleaner-controller",
    "nodeipam": "node-ipam-controller",
    "nodelifecycle": "node-lifecycle-controller",
    "persistentvolume-binder": "persistentvolume-binder-controller",
    "clusterrole-aggregation": "clusterrole-aggregation-controller",
    "pvc-protection": "persistentvolumeclaim-protection-controller",
    "pv-protection": "persistentvolume-protection-controller",
    "ttl-after-finished": "ttl-after-finished-controller",
    "root-ca-cert-publisher": "root-ca-certificate-publisher-controller",
    "ephemeral-volume": "ephemeral-volume-controller",
    "legacy-service-account-token-cleaner": "legacy-serviceaccount-token-cleaner-controller",
}


class UnknownController(ValueError):
    """A name in ``--controllers`` that no controller has."""


def known() -> dict[str, str | Factory]:
    """All controllers by name: where they are, or the factory that an installed package announces."""
    found: dict[str, str | Factory] = dict(BUILT_IN)
    for point in entry_points(ENTRY_POINT_GROUP):
        found[point.name] = point.load()
    return found


def choose(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that ``--controllers`` enables: ``*``, ``name``, ``-name``. A name given counts more than the star."""
    available = list(names)
    patterns = [p.strip() for p in patterns if p.strip()]
    enabled: set[str] = set()
    disabled: set[str] = set()
    for pattern in patterns:
        name = pattern.removeprefix("-")
        name = ALIASES.get(name, name)
        if name != "*" and name not in available:
            raise UnknownController(f'"{name}" is not in the list of known controllers')
        (disabled if pattern.startswith("-") else enabled).add(name)
    return [n for n in available if n in enabled or ("*" in enabled and n not in disabled and n not in OFF_BY_DEFAULT)]


def build(name: str, entry: str | Factory, context: ControllerContext) -> Controller:
    if callable(entry):
        return entry(context)
    module, _, attribute = entry.partition(":")
    controller: Controller = getattr(import_module(f".{module}", __package__), attribute)(context)
    return controller
