"""Which fields an endpoint never lets a writer set, so that no manager comes to own them there.

A write through the main endpoint leaves ``status`` alone, one through ``status`` leaves ``spec``; some kinds protect more.
Managed fields leave these out, both for updates and for apply. Specified by upstream's ``GetResetFields`` of each strategy.
"""

from __future__ import annotations

from ..resources import ResourceInfo

Path = tuple[str, ...]
STATUS: Path = ("status",)
SPEC: Path = ("spec",)
METADATA: Path = ("metadata",)

_METADATA_TOO = frozenset(
    {
        "flowschemas",
        "prioritylevelconfigurations",
        "validatingadmissionpolicies",
        "resourceclaims",
        "devicetaintrules",
        "volumeattachments",
        "servicecidrs",
        "apiservices",
        "storageversions",
        "podgroups",
    }
)
"""Their status endpoint keeps the metadata as well."""
_SPECIAL: dict[tuple[str, str], tuple[Path, ...]] = {
    ("certificatesigningrequests", ""): (SPEC, STATUS),
    ("certificatesigningrequests", "status"): (SPEC, ("status", "conditions")),
    ("certificatesigningrequests", "approval"): (SPEC, ("status", "certificate")),
    ("deployments", "status"): (SPEC, ("metadata", "labels")),
    ("pods", "status"): (SPEC, ("metadata", "deletionTimestamp"), ("metadata", "ownerReferences")),
    ("namespaces", "finalize"): (STATUS,),
}


def reset_paths(info: ResourceInfo, subresource: str) -> tuple[Path, ...]:
    resource = info.gvr.resource
    special = _SPECIAL.get((resource, subresource))
    if special is not None:
        return special
    if "status" not in info.subresources:
        return ()
    if not subresource:
        return (STATUS,)
    if subresource == "status":
        return (METADATA, SPEC) if resource in _METADATA_TOO else (SPEC,)
    return ()
