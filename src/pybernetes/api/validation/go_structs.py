"""Structs as upstream names their fields where errors print them: Go's names, in order, with their zero values.

Upstream validates internal types, which have no JSON names; a value in "field is immutable", or a difference of two specs,
shows every field of them. One struct a line: ``GoName=wire:type``. The wire name is left out where it is the Go name with a
small first letter. Types: none a string, ``#`` a number, ``!`` a boolean, ``0`` a quantity, ``?`` what may be null (with the
struct behind it, ``[]`` a list of them, ``{}`` a map), ``*`` a struct; ``+`` an embedded struct, whose fields stand among
the others; ``=`` has the names of the wire. Where these come from: ``pkg/apis/*/types.go``.
"""

from __future__ import annotations

STRUCTS = """
apps.RollingUpdateStatefulSetStrategy Partition:# MaxUnavailable:?
apps.StatefulSetOrdinals Start:#
apps.StatefulSetPersistentVolumeClaimRetentionPolicy WhenDeleted WhenScaled
apps.StatefulSetSpec Replicas:# Selector:?= Template:*core.PodTemplateSpec
  VolumeClaimTemplates:?[]core.PersistentVolumeClaim ServiceName PodManagementPolicy
  UpdateStrategy:*apps.StatefulSetUpdateStrategy RevisionHistoryLimit:? MinReadySeconds:#
  PersistentVolumeClaimRetentionPolicy:?apps.StatefulSetPersistentVolumeClaimRetentionPolicy
  Ordinals:?apps.StatefulSetOrdinals
apps.StatefulSetUpdateStrategy Type RollingUpdate:?apps.RollingUpdateStatefulSetStrategy
batch.PodFailurePolicy Rules:?[]batch.PodFailurePolicyRule
batch.PodFailurePolicyOnExitCodesRequirement ContainerName:? Operator Values:?
batch.PodFailurePolicyOnPodConditionsPattern Type Status
batch.PodFailurePolicyRule Action OnExitCodes:?batch.PodFailurePolicyOnExitCodesRequirement
  OnPodConditions:?[]batch.PodFailurePolicyOnPodConditionsPattern
batch.SuccessPolicy Rules:?[]batch.SuccessPolicyRule
batch.SuccessPolicyRule SucceededIndexes:? SucceededCount:?
certificates.CertificateSigningRequestCondition Type Status Reason Message LastUpdateTime:? LastTransitionTime:?
core.AWSElasticBlockStoreVolumeSource VolumeID FSType=fsType Partition:# ReadOnly:!
core.Affinity NodeAffinity:?core.NodeAffinity PodAffinity:?core.PodAffinity PodAntiAffinity:?core.PodAntiAffinity
core.AppArmorProfile Type LocalhostProfile:?
core.AzureDiskVolumeSource DiskName DataDiskURI=diskURI CachingMode:? FSType=fsType:? ReadOnly:? Kind:?
core.AzureFilePersistentVolumeSource SecretName ShareName ReadOnly:! SecretNamespace:?
core.AzureFileVolumeSource SecretName ShareName ReadOnly:!
core.CSIPersistentVolumeSource Driver VolumeHandle ReadOnly:! FSType=fsType VolumeAttributes:?{}
  ControllerPublishSecretRef:?core.SecretReference NodeStageSecretRef:?core.SecretReference
  NodePublishSecretRef:?core.SecretReference ControllerExpandSecretRef:?core.SecretReference
  NodeExpandSecretRef:?core.SecretReference
core.CSIVolumeSource Driver ReadOnly:? FSType=fsType:? VolumeAttributes:?{}
  NodePublishSecretRef:?core.LocalObjectReference
core.Capabilities Add:? Drop:?
core.CephFSPersistentVolumeSource Monitors:? Path User SecretFile SecretRef:?core.SecretReference ReadOnly:!
core.CephFSVolumeSource Monitors:? Path User SecretFile SecretRef:?core.LocalObjectReference ReadOnly:!
core.CinderPersistentVolumeSource VolumeID FSType=fsType ReadOnly:! SecretRef:?core.SecretReference
core.CinderVolumeSource VolumeID FSType=fsType ReadOnly:! SecretRef:?core.LocalObjectReference
core.ClusterTrustBundleProjection Name:? SignerName:? LabelSelector:?= Optional:? Path
core.ConfigMapEnvSource +core.LocalObjectReference Optional:?
core.ConfigMapKeySelector +core.LocalObjectReference Key Optional:?
core.ConfigMapProjection +core.LocalObjectReference Items:?[]core.KeyToPath Optional:?
core.ConfigMapVolumeSource +core.LocalObjectReference Items:?[]core.KeyToPath DefaultMode:? Optional:?
core.Container Name Image Command:? Args:? WorkingDir Ports:?[]core.ContainerPort EnvFrom:?[]core.EnvFromSource
  Env:?[]core.EnvVar Resources:*core.ResourceRequirements ResizePolicy:?[]core.ContainerResizePolicy RestartPolicy:?
  RestartPolicyRules:?[]core.ContainerRestartRule VolumeMounts:?[]core.VolumeMount
  VolumeDevices:?[]core.VolumeDevice LivenessProbe:?core.Probe ReadinessProbe:?core.Probe StartupProbe:?core.Probe
  Lifecycle:?core.Lifecycle TerminationMessagePath TerminationMessagePolicy ImagePullPolicy
  SecurityContext:?core.SecurityContext Stdin:! StdinOnce:! TTY=tty:!
core.ContainerPort Name HostPort:# ContainerPort:# Protocol HostIP
core.ContainerResizePolicy ResourceName RestartPolicy
core.ContainerRestartRule Action ExitCodes:?core.ContainerRestartRuleOnExitCodes
core.ContainerRestartRuleOnExitCodes Operator Values:?
core.DownwardAPIProjection Items:?[]core.DownwardAPIVolumeFile
core.DownwardAPIVolumeFile Path FieldRef:?core.ObjectFieldSelector ResourceFieldRef:?core.ResourceFieldSelector
  Mode:?
core.DownwardAPIVolumeSource Items:?[]core.DownwardAPIVolumeFile DefaultMode:?
core.EmptyDirVolumeSource Medium SizeLimit:?
core.EnvFromSource Prefix ConfigMapRef:?core.ConfigMapEnvSource SecretRef:?core.SecretEnvSource
core.EnvVar Name Value ValueFrom:?core.EnvVarSource
core.EnvVarSource FieldRef:?core.ObjectFieldSelector ResourceFieldRef:?core.ResourceFieldSelector
  ConfigMapKeyRef:?core.ConfigMapKeySelector SecretKeyRef:?core.SecretKeySelector FileKeyRef:?core.FileKeySelector
core.EphemeralContainer +core.EphemeralContainerCommon TargetContainerName
core.EphemeralContainerCommon Name Image Command:? Args:? WorkingDir Ports:?[]core.ContainerPort
  EnvFrom:?[]core.EnvFromSource Env:?[]core.EnvVar Resources:*core.ResourceRequirements
  ResizePolicy:?[]core.ContainerResizePolicy RestartPolicy:? RestartPolicyRules:?[]core.ContainerRestartRule
  VolumeMounts:?[]core.VolumeMount VolumeDevices:?[]core.VolumeDevice LivenessProbe:?core.Probe
  ReadinessProbe:?core.Probe StartupProbe:?core.Probe Lifecycle:?core.Lifecycle TerminationMessagePath
  TerminationMessagePolicy ImagePullPolicy SecurityContext:?core.SecurityContext Stdin:! StdinOnce:! TTY=tty:!
core.EphemeralVolumeSource VolumeClaimTemplate:?core.PersistentVolumeClaimTemplate
core.EventSource Component Host
core.ExecAction Command:?
core.FCVolumeSource TargetWWNs:? Lun:? FSType=fsType ReadOnly:! WWIDs=wwids:?
core.FileKeySelector VolumeName Path Key Optional:?
core.FlexPersistentVolumeSource Driver FSType=fsType SecretRef:?core.SecretReference ReadOnly:! Options:?{}
core.FlexVolumeSource Driver FSType=fsType SecretRef:?core.LocalObjectReference ReadOnly:! Options:?{}
core.FlockerVolumeSource DatasetName DatasetUUID
core.GCEPersistentDiskVolumeSource PDName=pdName FSType=fsType Partition:# ReadOnly:!
core.GRPCAction Port:# Service:?
core.GitRepoVolumeSource Repository Revision Directory
core.GlusterfsPersistentVolumeSource EndpointsName=endpoints Path ReadOnly:! EndpointsNamespace:?
core.GlusterfsVolumeSource EndpointsName=endpoints Path ReadOnly:!
core.HTTPGetAction Path Port:# Host Scheme HTTPHeaders=httpHeaders:?[]core.HTTPHeader
core.HTTPHeader Name Value
core.HostAlias IP=ip Hostnames:?
core.HostPathVolumeSource Path Type:?
core.ISCSIPersistentVolumeSource TargetPortal IQN=iqn Lun:# ISCSIInterface=iscsiInterface FSType=fsType ReadOnly:!
  Portals:? DiscoveryCHAPAuth=chapAuthDiscovery:! SessionCHAPAuth=chapAuthSession:! SecretRef:?core.SecretReference
  InitiatorName:?
core.ISCSIVolumeSource TargetPortal IQN=iqn Lun:# ISCSIInterface=iscsiInterface FSType=fsType ReadOnly:! Portals:?
  DiscoveryCHAPAuth=chapAuthDiscovery:! SessionCHAPAuth=chapAuthSession:! SecretRef:?core.LocalObjectReference
  InitiatorName:?
core.ImageVolumeSource Reference PullPolicy
core.KeyToPath Key Path Mode:?
core.Lifecycle PostStart:?core.LifecycleHandler PreStop:?core.LifecycleHandler StopSignal:?
core.LifecycleHandler Exec:?core.ExecAction HTTPGet=httpGet:?core.HTTPGetAction
  TCPSocket=tcpSocket:?core.TCPSocketAction Sleep:?core.SleepAction
core.LocalObjectReference Name
core.LocalVolumeSource Path FSType=fsType:?
core.ModifyVolumeStatus TargetVolumeAttributesClassName Status
core.NFSVolumeSource Server Path ReadOnly:!
core.NodeAffinity RequiredDuringSchedulingIgnoredDuringExecution:?core.NodeSelector
  PreferredDuringSchedulingIgnoredDuringExecution:?[]core.PreferredSchedulingTerm
core.NodeSelector NodeSelectorTerms:?[]core.NodeSelectorTerm
core.NodeSelectorRequirement Key Operator Values:?
core.NodeSelectorTerm MatchExpressions:?[]core.NodeSelectorRequirement MatchFields:?[]core.NodeSelectorRequirement
core.ObjectFieldSelector APIVersion=apiVersion FieldPath
core.ObjectReference Kind Namespace Name UID=uid APIVersion=apiVersion ResourceVersion FieldPath
core.PersistentVolumeClaim +meta Spec:*core.PersistentVolumeClaimSpec Status:*core.PersistentVolumeClaimStatus
core.PersistentVolumeClaimCondition Type Status LastProbeTime:? LastTransitionTime:? Reason Message
core.PersistentVolumeClaimSpec AccessModes:? Selector:?= Resources:*core.VolumeResourceRequirements VolumeName
  StorageClassName:? VolumeMode:? DataSource:?core.TypedLocalObjectReference
  DataSourceRef:?core.TypedObjectReference VolumeAttributesClassName:?
core.PersistentVolumeClaimStatus Phase AccessModes:? Capacity:?{} Conditions:?[]core.PersistentVolumeClaimCondition
  AllocatedResources:?{} AllocatedResourceStatuses:?{} CurrentVolumeAttributesClassName:?
  ModifyVolumeStatus:?core.ModifyVolumeStatus
core.PersistentVolumeClaimTemplate +meta Spec:*core.PersistentVolumeClaimSpec
core.PersistentVolumeClaimVolumeSource ClaimName ReadOnly:!
core.PersistentVolumeSource GCEPersistentDisk=gcePersistentDisk:?core.GCEPersistentDiskVolumeSource
  AWSElasticBlockStore=awsElasticBlockStore:?core.AWSElasticBlockStoreVolumeSource
  HostPath:?core.HostPathVolumeSource Glusterfs:?core.GlusterfsPersistentVolumeSource NFS=nfs:?core.NFSVolumeSource
  RBD=rbd:?core.RBDPersistentVolumeSource Quobyte:?core.QuobyteVolumeSource
  ISCSI=iscsi:?core.ISCSIPersistentVolumeSource FlexVolume:?core.FlexPersistentVolumeSource
  Cinder:?core.CinderPersistentVolumeSource CephFS=cephfs:?core.CephFSPersistentVolumeSource
  FC=fc:?core.FCVolumeSource Flocker:?core.FlockerVolumeSource AzureFile:?core.AzureFilePersistentVolumeSource
  VsphereVolume:?core.VsphereVirtualDiskVolumeSource AzureDisk:?core.AzureDiskVolumeSource
  PhotonPersistentDisk:?core.PhotonPersistentDiskVolumeSource PortworxVolume:?core.PortworxVolumeSource
  ScaleIO:?core.ScaleIOPersistentVolumeSource Local:?core.LocalVolumeSource
  StorageOS=storageos:?core.StorageOSPersistentVolumeSource CSI=csi:?core.CSIPersistentVolumeSource
core.PersistentVolumeSpec Capacity:?{} +core.PersistentVolumeSource AccessModes:? ClaimRef:?core.ObjectReference
  PersistentVolumeReclaimPolicy StorageClassName MountOptions:? VolumeMode:? NodeAffinity:?core.VolumeNodeAffinity
  VolumeAttributesClassName:?
core.PhotonPersistentDiskVolumeSource PdID FSType=fsType
core.PodAffinity RequiredDuringSchedulingIgnoredDuringExecution:?[]core.PodAffinityTerm
  PreferredDuringSchedulingIgnoredDuringExecution:?[]core.WeightedPodAffinityTerm
core.PodAffinityTerm LabelSelector:?= Namespaces:? TopologyKey NamespaceSelector:?= MatchLabelKeys:?
  MismatchLabelKeys:?
core.PodAntiAffinity RequiredDuringSchedulingIgnoredDuringExecution:?[]core.PodAffinityTerm
  PreferredDuringSchedulingIgnoredDuringExecution:?[]core.WeightedPodAffinityTerm
core.PodCertificateProjection SignerName KeyType MaxExpirationSeconds:? CredentialBundlePath KeyPath
  CertificateChainPath UserAnnotations:?{}
core.PodDNSConfig Nameservers:? Searches:? Options:?[]core.PodDNSConfigOption
core.PodDNSConfigOption Name Value:?
core.PodOS Name
core.PodReadinessGate ConditionType
core.PodResourceClaim Name ResourceClaimName:? ResourceClaimTemplateName:?
core.PodSchedulingGate Name
core.PodSchedulingGroup PodGroupName:?
core.PodSecurityContext HostNetwork:! HostPID:! HostIPC:! ShareProcessNamespace:? HostUsers:?
  SELinuxOptions=seLinuxOptions:?core.SELinuxOptions WindowsOptions:?core.WindowsSecurityContextOptions RunAsUser:?
  RunAsGroup:? RunAsNonRoot:? SupplementalGroups:? SupplementalGroupsPolicy:? FSGroup=fsGroup:?
  FSGroupChangePolicy=fsGroupChangePolicy:? Sysctls:?[]core.Sysctl SeccompProfile:?core.SeccompProfile
  AppArmorProfile:?core.AppArmorProfile SELinuxChangePolicy=seLinuxChangePolicy:?
core.PodSpec Volumes:?[]core.Volume InitContainers:?[]core.Container Containers:?[]core.Container
  EphemeralContainers:?[]core.EphemeralContainer RestartPolicy TerminationGracePeriodSeconds:?
  ActiveDeadlineSeconds:? DNSPolicy=dnsPolicy NodeSelector:?{} ServiceAccountName AutomountServiceAccountToken:?
  NodeName SecurityContext:?core.PodSecurityContext ImagePullSecrets:?[]core.LocalObjectReference Hostname Subdomain
  SetHostnameAsFQDN:? Affinity:?core.Affinity SchedulerName Tolerations:?[]core.Toleration
  HostAliases:?[]core.HostAlias PriorityClassName Priority:? PreemptionPolicy:?
  DNSConfig=dnsConfig:?core.PodDNSConfig ReadinessGates:?[]core.PodReadinessGate RuntimeClassName:? Overhead:?{}
  EnableServiceLinks:? TopologySpreadConstraints:?[]core.TopologySpreadConstraint OS=os:?core.PodOS
  SchedulingGates:?[]core.PodSchedulingGate ResourceClaims:?[]core.PodResourceClaim
  Resources:?core.ResourceRequirements HostnameOverride:? SchedulingGroup:?core.PodSchedulingGroup
core.PodTemplateSpec +meta Spec:*core.PodSpec
core.PortworxVolumeSource VolumeID FSType=fsType ReadOnly:!
core.PreferredSchedulingTerm Weight:# Preference:*core.NodeSelectorTerm
core.Probe +core.ProbeHandler InitialDelaySeconds:# TimeoutSeconds:# PeriodSeconds:# SuccessThreshold:#
  FailureThreshold:# TerminationGracePeriodSeconds:?
core.ProbeHandler Exec:?core.ExecAction HTTPGet=httpGet:?core.HTTPGetAction
  TCPSocket=tcpSocket:?core.TCPSocketAction GRPC=grpc:?core.GRPCAction
core.ProjectedVolumeSource Sources:?[]core.VolumeProjection DefaultMode:?
core.QuobyteVolumeSource Registry Volume ReadOnly:! User Group Tenant
core.RBDPersistentVolumeSource CephMonitors=monitors:? RBDImage=image FSType=fsType RBDPool=pool RadosUser=user
  Keyring SecretRef:?core.SecretReference ReadOnly:!
core.RBDVolumeSource CephMonitors=monitors:? RBDImage=image FSType=fsType RBDPool=pool RadosUser=user Keyring
  SecretRef:?core.LocalObjectReference ReadOnly:!
core.ResourceClaim Name Request
core.ResourceFieldSelector ContainerName Resource Divisor:0
core.ResourceRequirements Limits:?{} Requests:?{} Claims:?[]core.ResourceClaim
core.SELinuxOptions User Role Type Level
core.ScaleIOPersistentVolumeSource Gateway System SecretRef:?core.SecretReference SSLEnabled=sslEnabled:!
  ProtectionDomain StoragePool StorageMode VolumeName FSType=fsType ReadOnly:!
core.ScaleIOVolumeSource Gateway System SecretRef:?core.LocalObjectReference SSLEnabled=sslEnabled:!
  ProtectionDomain StoragePool StorageMode VolumeName FSType=fsType ReadOnly:!
core.SeccompProfile Type LocalhostProfile:?
core.SecretEnvSource +core.LocalObjectReference Optional:?
core.SecretKeySelector +core.LocalObjectReference Key Optional:?
core.SecretProjection +core.LocalObjectReference Items:?[]core.KeyToPath Optional:?
core.SecretReference Name Namespace
core.SecretVolumeSource SecretName Items:?[]core.KeyToPath DefaultMode:? Optional:?
core.SecurityContext Capabilities:?core.Capabilities Privileged:? SELinuxOptions=seLinuxOptions:?core.SELinuxOptions
  WindowsOptions:?core.WindowsSecurityContextOptions RunAsUser:? RunAsGroup:? RunAsNonRoot:?
  ReadOnlyRootFilesystem:? AllowPrivilegeEscalation:? ProcMount:? SeccompProfile:?core.SeccompProfile
  AppArmorProfile:?core.AppArmorProfile
core.ServiceAccountTokenProjection Audience ExpirationSeconds:# Path
core.SleepAction Seconds:#
core.StorageOSPersistentVolumeSource VolumeName VolumeNamespace FSType=fsType ReadOnly:!
  SecretRef:?core.ObjectReference
core.StorageOSVolumeSource VolumeName VolumeNamespace FSType=fsType ReadOnly:! SecretRef:?core.LocalObjectReference
core.Sysctl Name Value
core.TCPSocketAction Port:# Host
core.Toleration Key Operator Value Effect TolerationSeconds:?
core.TopologySpreadConstraint MaxSkew:# TopologyKey WhenUnsatisfiable LabelSelector:?= MinDomains:?
  NodeAffinityPolicy:? NodeTaintsPolicy:? MatchLabelKeys:?
core.TypedLocalObjectReference APIGroup=apiGroup:? Kind Name
core.TypedObjectReference APIGroup=apiGroup:? Kind Name Namespace:?
core.Volume Name +core.VolumeSource
core.VolumeDevice Name DevicePath
core.VolumeMount Name ReadOnly:! RecursiveReadOnly:? MountPath SubPath MountPropagation:? SubPathExpr
core.VolumeNodeAffinity Required:?core.NodeSelector
core.VolumeProjection Secret:?core.SecretProjection DownwardAPI:?core.DownwardAPIProjection
  ConfigMap:?core.ConfigMapProjection ServiceAccountToken:?core.ServiceAccountTokenProjection
  ClusterTrustBundle:?core.ClusterTrustBundleProjection PodCertificate:?core.PodCertificateProjection
core.VolumeResourceRequirements Limits:?{} Requests:?{}
core.VolumeSource HostPath:?core.HostPathVolumeSource EmptyDir:?core.EmptyDirVolumeSource
  GCEPersistentDisk=gcePersistentDisk:?core.GCEPersistentDiskVolumeSource
  AWSElasticBlockStore=awsElasticBlockStore:?core.AWSElasticBlockStoreVolumeSource GitRepo:?core.GitRepoVolumeSource
  Secret:?core.SecretVolumeSource NFS=nfs:?core.NFSVolumeSource ISCSI=iscsi:?core.ISCSIVolumeSource
  Glusterfs:?core.GlusterfsVolumeSource PersistentVolumeClaim:?core.PersistentVolumeClaimVolumeSource
  RBD=rbd:?core.RBDVolumeSource Quobyte:?core.QuobyteVolumeSource FlexVolume:?core.FlexVolumeSource
  Cinder:?core.CinderVolumeSource CephFS=cephfs:?core.CephFSVolumeSource Flocker:?core.FlockerVolumeSource
  DownwardAPI:?core.DownwardAPIVolumeSource FC=fc:?core.FCVolumeSource AzureFile:?core.AzureFileVolumeSource
  ConfigMap:?core.ConfigMapVolumeSource VsphereVolume:?core.VsphereVirtualDiskVolumeSource
  AzureDisk:?core.AzureDiskVolumeSource PhotonPersistentDisk:?core.PhotonPersistentDiskVolumeSource
  Projected:?core.ProjectedVolumeSource PortworxVolume:?core.PortworxVolumeSource ScaleIO:?core.ScaleIOVolumeSource
  StorageOS=storageos:?core.StorageOSVolumeSource CSI=csi:?core.CSIVolumeSource
  Ephemeral:?core.EphemeralVolumeSource Image:?core.ImageVolumeSource
core.VsphereVirtualDiskVolumeSource VolumePath FSType=fsType StoragePolicyName StoragePolicyID
core.WeightedPodAffinityTerm Weight:# PodAffinityTerm:*core.PodAffinityTerm
core.WindowsSecurityContextOptions GMSACredentialSpecName=gmsaCredentialSpecName:?
  GMSACredentialSpec=gmsaCredentialSpec:? RunAsUserName:? HostProcess:?
resource.CELDeviceSelector Expression
resource.CapacityRequirements Requests:?{}
resource.DeviceClaim Requests:?[]resource.DeviceRequest Constraints:?[]resource.DeviceConstraint
  Config:?[]resource.DeviceClaimConfiguration
resource.DeviceClaimConfiguration Requests:? +resource.DeviceConfiguration
resource.AllocationResult Devices:*resource.DeviceAllocationResult NodeSelector:? AllocationTimestamp:?
resource.DeviceAllocationConfiguration Source Requests:? +resource.DeviceConfiguration
resource.DeviceAllocationResult Results:?[]resource.DeviceRequestAllocationResult
  Config:?[]resource.DeviceAllocationConfiguration
resource.DeviceAttribute IntValue=int:? BoolValue=bool:? StringValue=string:? VersionValue=version:? IntValues=ints:?
  BoolValues=bools:? StringValues=strings:? VersionValues=versions:?
resource.DeviceRequestAllocationResult Request Driver Pool Device AdminAccess:? Tolerations:?[]resource.DeviceToleration
  BindingConditions:? BindingFailureConditions:? ShareID:? ConsumedCapacity:?
resource.DeviceConfiguration Opaque:?resource.OpaqueDeviceConfiguration
resource.DeviceConstraint Requests:? MatchAttribute:? DistinctAttribute:?
resource.DeviceRequest Name Exactly:?resource.ExactDeviceRequest FirstAvailable:?[]resource.DeviceSubRequest
resource.DeviceSelector CEL=cel:?resource.CELDeviceSelector
resource.DeviceSubRequest Name DeviceClassName Selectors:?[]resource.DeviceSelector AllocationMode Count:#
  Tolerations:?[]resource.DeviceToleration Capacity:?resource.CapacityRequirements
resource.DeviceToleration Key Operator Value Effect TolerationSeconds:?
resource.ExactDeviceRequest DeviceClassName Selectors:?[]resource.DeviceSelector AllocationMode Count:#
  AdminAccess:? Tolerations:?[]resource.DeviceToleration Capacity:?resource.CapacityRequirements
resource.OpaqueDeviceConfiguration Driver Parameters:?
resource.ResourceClaimSpec Devices:*resource.DeviceClaim
resource.ResourceClaimTemplateSpec +meta Spec:*resource.ResourceClaimSpec
storage.VolumeAttachmentSource PersistentVolumeName:? InlineVolumeSpec:?core.PersistentVolumeSpec
storage.VolumeAttachmentSpec Attacher Source:*storage.VolumeAttachmentSource NodeName
"""
