"""The built-in admission plugins and the chain of them. Specified by "Admission Control in Kubernetes".

``build_chain`` gives the enabled ones in upstream's order, then those of other packages (entry points in the group
``pybernetes.admission``). What a write passes whatever is enabled, the escalation checks of RBAC, comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...hooks.admission import AdmissionContext, AdmissionPlugin
    from ..authz.rbac import RbacAuthorizer

Factory = "Callable[[AdmissionContext], AdmissionPlugin]"

ORDER = (
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
)
"""Upstream's ``AllOrderedPlugins``, as far as we have them. NodeRestriction is on: kubeadm switches it on too."""

OFF_BY_DEFAULT = frozenset({"NamespaceAutoProvision", "NamespaceExists", "DenyServiceExternalIPs"})
ENTRY_POINTS = "pybernetes.admission"


def _factories() -> dict[str, Callable[[AdmissionContext], AdmissionPlugin]]:
    from . import (
        certificates,
        limitranger,
        namespaces,
        network,
        noderestriction,
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
        podresize.PodResizeValidator,
        MutatingAdmissionPolicy,
        MutatingAdmissionWebhook,
        ValidatingAdmissionPolicy,
        ValidatingAdmissionWebhook,
        resourcequota.ResourceQuota,
    )
    return {p.name: p for p in plugins}


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
    unknown = sorted(n for n in (*enable, *disable) if n not in ORDER)
    if unknown:
        raise ValueError(f"enable-admission-plugins plugin {unknown[0]!r} is unknown".replace("'", '"'))
    both = sorted(set(enable) & set(disable))
    if both:
        raise ValueError(f"{both} in enable-admission-plugins and disable-admission-plugins overlapped")
    enabled = [n for n in ORDER if n not in disable and (n in enable or n not in OFF_BY_DEFAULT)]
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
    if entry_points:
        chain += _announced(context)
    return chain


def _announced(context: AdmissionContext) -> list[AdmissionPlugin]:
    """Plugins that installed packages announce, by name so that the order does not change with the installation."""
    from importlib.metadata import entry_points

    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name)
    return [point.load()(context) for point in found]
