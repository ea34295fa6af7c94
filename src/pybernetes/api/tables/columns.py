"""The columns of every built-in kind with a printer of its own: name, type, width and whose description they carry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ._descriptions import descriptions


@dataclass(frozen=True, slots=True)
class Column:
    """One column. A description that starts with ``@`` is that of a field in the API reference.

    ``@core.v1.PodStatus.podIP`` names group, version, type and field; ``@ObjectMeta.name`` is in ``meta.v1``.
    """

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


@cache
def _referenced() -> dict[str, str]:
    known = {column.description for columns in COLUMNS.values() for column in columns}
    return descriptions({text[1:] for text in known if text.startswith("@")})


def described(column: Column) -> dict[str, Any]:
    """The ``TableColumnDefinition`` of a column."""
    text = column.description
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": _referenced().get(text[1:], "") if text.startswith("@") else text,
        "priority": column.priority,
    }


NAME = Column("Name", format="name", description="@ObjectMeta.name")
AGE = Column("Age", description="@ObjectMeta.creationTimestamp")
CONTAINERS = Column("Containers", priority=1, description="Names of each container in the template.")
IMAGES = Column("Images", priority=1, description="Images referenced by each container in the template.")

COLUMNS: dict[tuple[str, str], tuple[Column, ...]] = {
    ("", "Pod"): (
        NAME,
        Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
        Column("Status", description="The aggregate status of the containers in this pod."),
        Column(
            "Restarts",
            description="The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        AGE,
        Column("IP", priority=1, description="@core.v1.PodStatus.podIP"),
        Column("Node", priority=1, description="@core.v1.PodSpec.nodeName"),
        Column("Nominated Node", priority=1, description="@core.v1.PodStatus.nominatedNodeName"),
        Column("Readiness Gates", priority=1, description="@core.v1.PodSpec.readinessGates"),
    ),
    ("", "PodTemplate"): (
        NAME,
        Column("Containers", description="Names of each container in the template."),
        Column("Images", description="Images referenced by each container in the template."),
        Column("Pod Labels", description="The labels for the pod template."),
    ),
    ("policy", "PodDisruptionBudget"): (
        NAME,
        Column("Min Available", description="The minimum number of pods that must be available."),
        Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
        Column(
            "Allowed Disruptions",
            "integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
    ("", "ReplicationController"): (
        NAME,
        Column("Desired", "integer", description="@core.v1.ReplicationControllerSpec.replicas"),
        Column("Current", "integer", description="@core.v1.ReplicationControllerStatus.replicas"),
        Column("Ready", "integer", description="@core.v1.ReplicationControllerStatus.readyReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", priority=1, description="@core.v1.ReplicationControllerSpec.selector"),
    ),
    ("apps", "ReplicaSet"): (
        NAME,
        Column("Desired", "integer", description="@apps.v1.ReplicaSetSpec.replicas"),
        Column("Current", "integer", description="@apps.v1.ReplicaSetStatus.replicas"),
        Column("Ready", "integer", description="@apps.v1.ReplicaSetStatus.readyReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", priority=1, description="@apps.v1.ReplicaSetSpec.selector"),
    ),
    ("apps", "DaemonSet"): (
        NAME,
        Column("Desired", "integer", description="@apps.v1.DaemonSetStatus.desiredNumberScheduled"),
        Column("Current", "integer", description="@apps.v1.DaemonSetStatus.currentNumberScheduled"),
        Column("Ready", "integer", description="@apps.v1.DaemonSetStatus.numberReady"),
        Column("Up-to-date", "integer", description="@apps.v1.DaemonSetStatus.updatedNumberScheduled"),
        Column("Available", "integer", description="@apps.v1.DaemonSetStatus.numberAvailable"),
        Column("Node Selector", description="@core.v1.PodSpec.nodeSelector"),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", priority=1, description="@apps.v1.DaemonSetSpec.selector"),
    ),
    ("batch", "Job"): (
        NAME,
        Column("Status", description="Status of the job."),
        Column("Completions", description="@batch.v1.JobStatus.succeeded"),
        Column("Duration", description="Time required to complete the job."),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", priority=1, description="@batch.v1.JobSpec.selector"),
    ),
    ("batch", "CronJob"): (
        NAME,
        Column("Schedule", description="@batch.v1.CronJobSpec.schedule"),
        Column("Timezone", description="@batch.v1.CronJobSpec.timeZone"),
        Column("Suspend", "boolean", description="@batch.v1.CronJobSpec.suspend"),
        Column("Active", "integer", description="@batch.v1.CronJobStatus.active"),
        Column("Last Schedule", description="@batch.v1.CronJobStatus.lastScheduleTime"),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", priority=1, description="@batch.v1.JobSpec.selector"),
    ),
    ("", "Service"): (
        NAME,
        Column("Type", description="@core.v1.ServiceSpec.type"),
        Column("Cluster-IP", description="@core.v1.ServiceSpec.clusterIP"),
        Column("External-IP", description="@core.v1.ServiceSpec.externalIPs"),
        Column("Port(s)", description="@core.v1.ServiceSpec.ports"),
        AGE,
        Column("Selector", priority=1, description="@core.v1.ServiceSpec.selector"),
    ),
    ("networking.k8s.io", "Ingress"): (
        NAME,
        Column(
            "Class",
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column("Hosts", description="Hosts that incoming requests are matched against before the ingress rule"),
        Column("Address", description="Address is a list containing ingress points for the load-balancer"),
        Column("Ports", description="Ports of TLS configurations that open"),
        AGE,
    ),
    ("networking.k8s.io", "IngressClass"): (
        NAME,
        Column("Controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", description="A reference to a resource with additional parameters"),
        AGE,
    ),
    ("apps", "StatefulSet"): (
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        AGE,
        CONTAINERS,
        IMAGES,
    ),
    ("", "Endpoints"): (
        NAME,
        Column("Endpoints", description="@core.v1.Endpoints.subsets"),
        AGE,
    ),
    ("", "Node"): (
        NAME,
        Column("Status", description="The status of the node"),
        Column("Roles", description="The roles of the node"),
        AGE,
        Column("Version", description="@core.v1.NodeSystemInfo.kubeletVersion"),
        Column("Internal-IP", priority=1, description="@core.v1.NodeStatus.addresses"),
        Column("External-IP", priority=1, description="@core.v1.NodeStatus.addresses"),
        Column("OS-Image", priority=1, description="@core.v1.NodeSystemInfo.osImage"),
        Column("Kernel-Version", priority=1, description="@core.v1.NodeSystemInfo.kernelVersion"),
        Column("Container-Runtime", priority=1, description="@core.v1.NodeSystemInfo.containerRuntimeVersion"),
    ),
    ("", "Event"): (
        Column("Last Seen", description="@core.v1.Event.lastTimestamp"),
        Column("Type", description="@core.v1.Event.type"),
        Column("Reason", description="@core.v1.Event.reason"),
        Column("Object", description="@core.v1.Event.involvedObject"),
        Column("Subobject", priority=1, description="@core.v1.ObjectReference.fieldPath"),
        Column("Source", priority=1, description="@core.v1.Event.source"),
        Column("Message", description="@core.v1.Event.message"),
        Column("First Seen", priority=1, description="@core.v1.Event.firstTimestamp"),
        Column("Count", priority=1, description="@core.v1.Event.count"),
        Column("Name", format="name", priority=1, description="@ObjectMeta.name"),
    ),
    ("events.k8s.io", "Event"): (
        Column("Last Seen", description="@core.v1.Event.lastTimestamp"),
        Column("Type", description="@core.v1.Event.type"),
        Column("Reason", description="@core.v1.Event.reason"),
        Column("Object", description="@core.v1.Event.involvedObject"),
        Column("Subobject", priority=1, description="@core.v1.ObjectReference.fieldPath"),
        Column("Source", priority=1, description="@core.v1.Event.source"),
        Column("Message", description="@core.v1.Event.message"),
        Column("First Seen", priority=1, description="@core.v1.Event.firstTimestamp"),
        Column("Count", priority=1, description="@core.v1.Event.count"),
        Column("Name", format="name", priority=1, description="@ObjectMeta.name"),
    ),
    ("", "Namespace"): (
        NAME,
        Column("Status", description="The status of the namespace"),
        AGE,
    ),
    ("", "Secret"): (
        NAME,
        Column("Type", description="@core.v1.Secret.type"),
        Column("Data", description="@core.v1.Secret.data"),
        AGE,
    ),
    ("", "ServiceAccount"): (
        NAME,
        AGE,
    ),
    ("", "PersistentVolume"): (
        NAME,
        Column("Capacity", description="@core.v1.PersistentVolumeSpec.capacity"),
        Column("Access Modes", description="@core.v1.PersistentVolumeSpec.accessModes"),
        Column("Reclaim Policy", description="@core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy"),
        Column("Status", description="@core.v1.PersistentVolumeStatus.phase"),
        Column("Claim", description="@core.v1.PersistentVolumeSpec.claimRef"),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", description="@core.v1.PersistentVolumeStatus.reason"),
        AGE,
        Column("VolumeMode", priority=1, description="@core.v1.PersistentVolumeSpec.volumeMode"),
    ),
    ("", "PersistentVolumeClaim"): (
        NAME,
        Column("Status", description="@core.v1.PersistentVolumeClaimStatus.phase"),
        Column("Volume", description="@core.v1.PersistentVolumeClaimSpec.volumeName"),
        Column("Capacity", description="@core.v1.PersistentVolumeClaimStatus.capacity"),
        Column("Access Modes", description="@core.v1.PersistentVolumeClaimStatus.accessModes"),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE,
        Column("VolumeMode", priority=1, description="@core.v1.PersistentVolumeClaimSpec.volumeMode"),
    ),
    ("", "ComponentStatus"): (
        NAME,
        Column("Status", description="Status of the component conditions"),
        Column("Message", description="Message of the component conditions"),
        Column("Error", description="Error of the component conditions"),
    ),
    ("apps", "Deployment"): (
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", description="@apps.v1.DeploymentStatus.updatedReplicas"),
        Column("Available", description="@apps.v1.DeploymentStatus.availableReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", priority=1, description="@apps.v1.DeploymentSpec.selector"),
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): (
        NAME,
        Column("Reference", description="@autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef"),
        Column("Targets", description="@autoscaling.v2.HorizontalPodAutoscalerSpec.metrics"),
        Column("MinPods", description="@autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas"),
        Column("MaxPods", description="@autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas"),
        Column("Replicas", description="@autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas"),
        AGE,
    ),
    ("", "ConfigMap"): (
        NAME,
        Column("Data", description="@core.v1.ConfigMap.data"),
        AGE,
    ),
    ("networking.k8s.io", "NetworkPolicy"): (
        NAME,
        Column("Pod-Selector", description="@networking.v1.NetworkPolicySpec.podSelector"),
        AGE,
    ),
    ("rbac.authorization.k8s.io", "RoleBinding"): (
        NAME,
        Column("Role", description="@rbac.v1.RoleBinding.roleRef"),
        AGE,
        Column("Users", priority=1, description="Users in the roleBinding"),
        Column("Groups", priority=1, description="Groups in the roleBinding"),
        Column("ServiceAccounts", priority=1, description="ServiceAccounts in the roleBinding"),
    ),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (
        NAME,
        Column("Role", description="@rbac.v1.ClusterRoleBinding.roleRef"),
        AGE,
        Column("Users", priority=1, description="Users in the clusterRoleBinding"),
        Column("Groups", priority=1, description="Groups in the clusterRoleBinding"),
        Column("ServiceAccounts", priority=1, description="ServiceAccounts in the clusterRoleBinding"),
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): (
        NAME,
        AGE,
        Column("SignerName", description="@certificates.v1.CertificateSigningRequestSpec.signerName"),
        Column("Requestor", description="@certificates.v1.CertificateSigningRequestSpec.request"),
        Column("RequestedDuration", description="@certificates.v1.CertificateSigningRequestSpec.expirationSeconds"),
        Column("Condition", description="@certificates.v1.CertificateSigningRequestStatus.conditions"),
    ),
    ("coordination.k8s.io", "Lease"): (
        NAME,
        Column("Holder", description="@coordination.v1.LeaseSpec.holderIdentity"),
        AGE,
    ),
    ("storage.k8s.io", "StorageClass"): (
        NAME,
        Column("Provisioner", description="@storage.v1.StorageClass.provisioner"),
        Column("ReclaimPolicy", description="@storage.v1.StorageClass.reclaimPolicy"),
        Column("VolumeBindingMode", description="@storage.v1.StorageClass.volumeBindingMode"),
        Column("AllowVolumeExpansion", description="@storage.v1.StorageClass.allowVolumeExpansion"),
        AGE,
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): (
        NAME,
        Column("DriverName", description="@storage.v1.VolumeAttributesClass.driverName"),
        AGE,
    ),
    ("", "Status"): (
        Column("Status", description="@Status.status"),
        Column("Reason", description="@Status.reason"),
        Column("Message"),
    ),
    ("apps", "ControllerRevision"): (
        NAME,
        Column("Controller", description="Controller of the object"),
        Column("Revision", description="@apps.v1.ControllerRevision.revision"),
        AGE,
    ),
    ("", "ResourceQuota"): (
        NAME,
        Column(
            "Request", description="Request represents a minimum amount of cpu/memory that a container may consume."
        ),
        Column(
            "Limit",
            description="Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        AGE,
    ),
    ("scheduling.k8s.io", "PriorityClass"): (
        NAME,
        Column("Value", "integer", description="@scheduling.v1.PriorityClass.value"),
        Column("Global-Default", "boolean", description="@scheduling.v1.PriorityClass.globalDefault"),
        AGE,
        Column("PreemptionPolicy", description="@scheduling.v1.PriorityClass.preemptionPolicy"),
    ),
    ("node.k8s.io", "RuntimeClass"): (
        NAME,
        Column("Handler"),
        AGE,
    ),
    ("storage.k8s.io", "VolumeAttachment"): (
        NAME,
        Column("Attacher", format="name", description="@storage.v1.VolumeAttachmentSpec.attacher"),
        Column("PV", description="@storage.v1.VolumeAttachmentSource.persistentVolumeName"),
        Column("Node", description="@storage.v1.VolumeAttachmentSpec.nodeName"),
        Column("Attached", "boolean", description="@storage.v1.VolumeAttachmentStatus.attached"),
        AGE,
    ),
    ("discovery.k8s.io", "EndpointSlice"): (
        NAME,
        Column("AddressType", description="@discovery.v1.EndpointSlice.addressType"),
        Column("Ports", description="@discovery.v1.EndpointSlice.ports"),
        Column("Endpoints", description="@discovery.v1.EndpointSlice.endpoints"),
        AGE,
    ),
    ("storage.k8s.io", "CSINode"): (
        NAME,
        Column("Drivers", "integer", description="Drivers indicates the number of CSI drivers registered on the node"),
        AGE,
    ),
    ("storage.k8s.io", "CSIDriver"): (
        NAME,
        Column("AttachRequired", "boolean", description="@storage.v1.CSIDriverSpec.attachRequired"),
        Column("PodInfoOnMount", "boolean", description="@storage.v1.CSIDriverSpec.podInfoOnMount"),
        Column("StorageCapacity", "boolean", description="@storage.v1.CSIDriverSpec.storageCapacity"),
        Column("TokenRequests", description="@storage.v1.CSIDriverSpec.tokenRequests"),
        Column("RequiresRepublish", "boolean", description="@storage.v1.CSIDriverSpec.requiresRepublish"),
        Column("Modes", description="@storage.v1.CSIDriverSpec.volumeLifecycleModes"),
        AGE,
    ),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): (
        NAME,
        Column(
            "Webhooks",
            "integer",
            description="Webhooks indicates the number of webhooks registered in this configuration",
        ),
        AGE,
    ),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): (
        NAME,
        Column(
            "Webhooks",
            "integer",
            description="Webhooks indicates the number of webhooks registered in this configuration",
        ),
        AGE,
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): (
        NAME,
        Column(
            "Validations",
            "integer",
            description="Validations indicates the number of validation rules defined in this configuration",
        ),
        Column("ParamKind", description="ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): (
        NAME,
        Column(
            "PolicyName", description="PolicyName indicates the policy definition which the policy binding binded to"
        ),
        Column("ParamRef", description="ParamRef indicates the param resource which sets the configuration param"),
        AGE,
    ),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): (
        NAME,
        Column(
            "Mutations",
            "integer",
            description="Mutation indicates the number of mutations rules defined in this configuration",
        ),
        Column("ParamKind", description="ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): (
        NAME,
        Column(
            "PolicyName", description="PolicyName indicates the policy definition which the policy binding binded to"
        ),
        Column("ParamRef", description="ParamRef indicates the param resource which sets the configuration param"),
        AGE,
    ),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): (
        NAME,
        Column("PriorityLevel", description="@flowcontrol.v1.PriorityLevelConfigurationReference.name"),
        Column("MatchingPrecedence", description="@flowcontrol.v1.FlowSchemaSpec.matchingPrecedence"),
        Column("DistinguisherMethod", description="@flowcontrol.v1.FlowSchemaSpec.distinguisherMethod"),
        AGE,
        Column("MissingPL", description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): (
        NAME,
        Column("Type", description="@flowcontrol.v1.PriorityLevelConfigurationSpec.type"),
        Column(
            "NominalConcurrencyShares",
            description="@flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares",
        ),
        Column("Queues", description="@flowcontrol.v1.QueuingConfiguration.queues"),
        Column("HandSize", description="@flowcontrol.v1.QueuingConfiguration.handSize"),
        Column("QueueLengthLimit", description="@flowcontrol.v1.QueuingConfiguration.queueLengthLimit"),
        AGE,
    ),
    ("autoscaling", "Scale"): (
        Column("Name", description="@ObjectMeta.name"),
        Column("Desired", "integer", description="@autoscaling.v1.ScaleSpec.replicas"),
        Column("Available", "integer", description="@autoscaling.v1.ScaleStatus.replicas"),
        AGE,
    ),
    ("resource.k8s.io", "DeviceClass"): (
        NAME,
        AGE,
    ),
    ("resource.k8s.io", "ResourceClaim"): (
        NAME,
        Column("State", description="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ),
    ("resource.k8s.io", "ResourceClaimTemplate"): (
        NAME,
        AGE,
    ),
    ("resource.k8s.io", "ResourceSlice"): (
        NAME,
        Column("Node", description="@resource.v1.ResourceSliceSpec.nodeName"),
        Column("Driver", description="@resource.v1.ResourceSliceSpec.driver"),
        Column("Pool", description="@resource.v1.ResourcePool.name"),
        AGE,
    ),
    ("networking.k8s.io", "ServiceCIDR"): (
        NAME,
        Column("CIDRs", description="@networking.v1.ServiceCIDRSpec.cidrs"),
        AGE,
    ),
    ("networking.k8s.io", "IPAddress"): (
        NAME,
        Column("ParentRef", description="@networking.v1.IPAddressSpec.parentRef"),
    ),
    ("apiregistration.k8s.io", "APIService"): (
        NAME,
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        AGE,
    ),
}
