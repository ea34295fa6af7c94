"""Warnings about workloads' own fields, nodes, secrets, accounts, quotas and cluster-level configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import go_quote
from ...quantity import QuantityError, parse_quantity
from ..base import Obj, semantically_equal
from .networking import cidr_warnings
from .pods import template_warnings
from .storage import claim_spec_warnings, node_label_message

_POD_NAMES = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
    "a DNS label is recommended: "
)
_MANY_INDEXES = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes "
    "might not be able to track completedIndexes when a big number of indexes fail"
)
_STATIC_SUFFIX = ".static.k8s.io"
_ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"


def name_warnings(obj: Obj) -> list[str]:
    from ...validation.formats import dns_label_problems

    problems = dns_label_problems((obj.get("metadata") or {}).get("name") or "")
    return [f"{_POD_NAMES}[{' '.join(problems)}]"] if problems else []


def stateful_set_warnings(obj: Obj, suffix: str) -> list[str]:
    """``suffix`` is what upstream's update path adds to the path of a claim template."""
    spec = obj.get("spec") or {}
    found = []
    for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        found += claim_spec_warnings(f"spec.volumeClaimTemplates[{i}]{suffix}", claim.get("spec") or {})
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        found.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )
    return found


def job_spec_warnings(path: str, spec: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[str]:
    found = []
    if spec.get("completionMode") == "Indexed":
        if (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000:
            found.append(f"{path}: {_MANY_INDEXES}")
    before = None if old is None else old.get("template")
    return found + template_warnings(f"{path}.template", spec.get("template"), before)


def cron_time_zone_warnings(obj: Obj) -> list[str]:
    if "TZ" not in ((obj.get("spec") or {}).get("schedule") or ""):
        return []
    return [
        "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
        "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
    ]


def node_warnings(obj: Obj) -> list[str]:
    spec = obj.get("spec") or {}
    found = []
    if spec.get("configSource") is not None:
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for i, cidr in enumerate(spec.get("podCIDRs") or ()):
        found += cidr_warnings(f"spec.podCIDRs[{i}]", cidr)
    return found


def secret_warnings(obj: Obj) -> list[str]:
    """A TLS secret whose certificate and key do not belong together, in the words of Go's ``tls.X509KeyPair``."""
    if obj.get("type") != "kubernetes.io/tls":
        return []
    from .tls import key_pair_problem

    problem = key_pair_problem(obj.get("data") or {})
    return [problem] if problem else []


def service_account_warnings(obj: Obj, old: Obj | None) -> list[str]:
    def has(account: Obj) -> bool:
        return _ENFORCE_SECRETS in ((account.get("metadata") or {}).get("annotations") or {})

    if not has(obj) or (old is not None and has(old)):
        return []
    return [
        f"metadata.annotations[{_ENFORCE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access "
        "to mounted secrets"
    ]


def quota_warnings(obj: Obj) -> list[str]:
    hard = (obj.get("spec") or {}).get("hard") or {}
    found = []
    for name in ("cpu", "memory", "storage", "ephemeral-storage"):
        request, limit = f"requests.{name}", f"limits.{name}"
        if request not in hard and name in ("cpu", "memory") and name in hard:
            request = name
        if request not in hard or limit not in hard:
            continue
        try:
            over = parse_quantity(hard[request]) > parse_quantity(hard[limit])
        except QuantityError:
            continue
        if over:
            found.append(f"ResourceQuota {request} ({hard[request]}) should be less than {limit} ({hard[limit]})")
    return found


def runtime_class_warnings(obj: Obj) -> list[str]:
    labels = (obj.get("scheduling") or {}).get("nodeSelector") or ()
    messages = (node_label_message(label) for label in labels)
    return [f"scheduling.nodeSelector: {message}" for message in messages if message]


def csi_driver_warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj.get("spec") or {}
    tokens = spec.get("tokenRequests")
    if not tokens or spec.get("serviceAccountTokenInSecrets") is not None:
        return []
    if old is not None and semantically_equal(tokens, (old.get("spec") or {}).get("tokenRequests")):
        return []
    return [
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible "
        "logging of tokens in volume attributes"
    ]


def static_suffix_warnings(obj: Obj) -> list[str]:
    if not ((obj.get("metadata") or {}).get("name") or "").endswith(_STATIC_SUFFIX):
        return []
    return [
        f"metadata.name: names ending with {go_quote(_STATIC_SUFFIX)} are reserved for static manifest-based "
        "configurations and cannot be managed via the API"
    ]


def resource_slice_warnings(obj: Obj) -> list[str]:
    driver = (obj.get("spec") or {}).get("driver") or ""
    if driver == driver.lower():
        return []
    return [f"spec.driver: driver names should be lowercase; {go_quote(driver)} contains uppercase characters"]
