"""The built-in admission plugins and the chain of them. Specified by "Admission Control in Kubernetes".

``build_chain`` gives the enabled ones in upstream's order, then those of other packages (entry points in the group
``pybernetes.admission``). What a write passes whatever is enabled, the escalation checks of RBAC, comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from ...hooks import installed
from .deviceaccess import DeviceAccess

if TYPE_CHECKING:
    from ...hooks.admission import AdmissionContext, AdmissionPlugin
    from ..authz.rbac import RbacAuthorizer

__all__ = ["ORDER", "DeviceAccess", "build_chain"]

Factory = "Callable[[AdmissionContext], AdmissionPlugin]"

ORDER = (
    "AlwaysAdmit",
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "NodeDeclaredFeatureValidator",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
    "AlwaysDeny",
)
"""Upstream's ``AllOrderedPlugins``, as far as we have them. NodeRestriction is on: kubeadm switches it on too."""

OFF_BY_DEFAULT = frozenset(
    {
        "AlwaysAdmit",
        "AlwaysDeny",
        "AlwaysPullImages",
        "DenyServiceExternalIPs",
        "EventRateLimit",
        "ExtendedResourceToleration",
        "LimitPodHardAntiAffinityTopology",
        "NamespaceAutoProvision",
        "NamespaceExists",
        "OwnerReferencesPermissionEnforcement",
        "PodNodeSelector",
    }
)
NOT_HERE = frozenset(
    {
        "ImagePolicyWebhook",
        "JobValidation",
        "PodGroupProtection",
        "PodGroupWorkloadExists",
        "PodTolerationRestriction",
    }
)
"""Upstream's that are off by default or do nothing without an alpha feature."""
ENTRY_POINTS = "pybernetes.admission"


def _factories() -> dict[str, Callable[[AdmissionContext], AdmissionPlugin]]:
    from . import (
        certificates,
        declaredfeatures,
        eventlimits,
        limitranger,
        namespaces,
        network,
        noderestriction,
        optional,
        podresize,
        pods,
        resourcequota,
        serviceaccount,
        storage,
    )
    from .mutations import MutatingAdmissionPolicy
    from .podsecurity.plugin import PodSecurity
    from .policies import ValidatingAdmissionPolicy
    from .webhooks.plugins import MutatingAdmissionWebhook, ValidatingAdmissionWebhook

    plugins = (
        namespaces.NamespaceAutoProvision,
        namespaces.NamespaceLifecycle,
        namespaces.NamespaceExists,
        limitranger.LimitRanger,
        serviceaccount.ServiceAccount,
        noderestriction.NodeRestriction,
        pods.TaintNodesByCondition,
        PodSecurity,
        pods.Priority,
        pods.DefaultTolerationSeconds,
        eventlimits.EventRateLimit,
        storage.DefaultStorageClass,
        storage.StorageObjectInUseProtection,
        storage.PersistentVolumeClaimResize,
        pods.RuntimeClass,
        certificates.CertificateApproval,
        certificates.CertificateSigning,
        certificates.ClusterTrustBundleAttest,
        certificates.CertificateSubjectRestriction,
        network.DefaultIngressClass,
        network.DenyServiceExternalIPs,
        pods.PodTopologyLabels,
        declaredfeatures.NodeDeclaredFeatureValidator,
        podresize.PodResizeValidator,
        optional.AlwaysAdmit,
        optional.AlwaysDeny,
        optional.AlwaysPullImages,
        optional.ExtendedResourceToleration,
        optional.LimitPodHardAntiAffinityTopology,
        optional.OwnerReferencesPermissionEnforcement,
        optional.PodNodeSelector,
        MutatingAdmissionPolicy,
        MutatingAdmissionWebhook,
        ValidatingAdmissionPolicy,
        ValidatingAdmissionWebhook,
        resourcequota.ResourceQuota,
    )
    return {p.name: p for p in plugins}


def enabled_names(enable: Collection[str] = (), disable: Collection[str] = ()) -> list[str]:
    """The built-in plugins that are on, in their order."""
    return [n for n in ORDER if n not in disable and (n in enable or n not in OFF_BY_DEFAULT)]


def build_chain(
    context: AdmissionContext,
    enable: Collection[str] = (),
    disable: Collection[str] = (),
    *,
    rbac: RbacAuthorizer | None = None,
    extra: Iterable[AdmissionPlugin] = (),
    entry_points: bool = True,
) -> list[AdmissionPlugin]:
    """The chain of ``--enable-admission-plugins`` and ``--disable-admission-plugins``. Raises ValueError for unknown names."""
    factories = _factories()
    announced = {e.name: e for e in installed.entry_points(ENTRY_POINTS)} if entry_points else {}
    _check_names(enable, disable, announced)
    enabled = enabled_names(enable, disable)
    chain: list[AdmissionPlugin] = []
    if rbac is not None:
        from ..authz.escalation import RbacEscalation

        chain.append(RbacEscalation(rbac, context.authorizer))
    chain += [factories[name](context) for name in enabled]
    for i, plugin in enumerate(chain):
        # Where a policy or a webhook changed an object, those before it look at it again.
        if plugin.name in ("MutatingAdmissionPolicy", "MutatingAdmissionWebhook"):
            plugin.earlier = tuple(chain[:i])  # type: ignore[attr-defined]
    chain += extra
    chain += [point.load()(context) for name, point in announced.items() if name not in disable]
    return chain


def _check_names(enable: Collection[str], disable: Collection[str], announced: Collection[str]) -> None:
    """Raises ValueError with upstream's words."""
    for flag, names in (("enable-admission-plugins", enable), ("disable-admission-plugins", disable)):
        for name in names:
            if name in NOT_HERE:
                raise ValueError(f"{flag}: {name} is a plugin of Kubernetes that is not available here")
            if name not in ORDER and name not in announced:
                raise ValueError(f'{flag} plugin "{name}" is unknown')
    both = sorted(set(enable) & set(disable))
    if both:
        raise ValueError(f"{both} in enable-admission-plugins and disable-admission-plugins overlapped")
