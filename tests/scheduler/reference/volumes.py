"""VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone."""

from __future__ import annotations

from .cluster import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Cluster,
    Refusal,
    annotations_of,
    find,
    labels_of,
    name_of,
    namespace_of,
    quantity,
    selects,
    status,
    term_matches,
    uid_of,
)

BOUND = "pv.kubernetes.io/bind-completed"
SELECTED = "volume.kubernetes.io/selected-node"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
GA = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
TOPOLOGY = [*GA, *GA.values()]


def _volumes(pod: dict) -> list:
    return pod["spec"].get("volumes") or []


def _claim_names(pod: dict) -> list:
    """(name of the claim, whether it is made for the pod)"""
    found = []
    for volume in _volumes(pod):
        if volume.get("persistentVolumeClaim"):
            found.append((volume["persistentVolumeClaim"]["claimName"], False))
        elif volume.get("ephemeral"):
            found.append((f"{name_of(pod)}-{volume['name']}", True))
    return found


def _claims(cluster: Cluster, pod: dict) -> list:
    """Each once, however many volumes name it."""
    return [find(cluster.claims, name, namespace_of(pod)) for name in dict(_claim_names(pod))]


def _class_name(obj: dict) -> str:
    return annotations_of(obj).get(BETA_CLASS) or obj["spec"].get("storageClassName") or ""


def _is_bound(claim: dict) -> bool:
    return bool(claim["spec"].get("volumeName")) and BOUND in annotations_of(claim)


def _is_owned(claim: dict, pod: dict) -> bool:
    owners = claim["metadata"].get("ownerReferences") or []
    return any(o.get("controller") and o["uid"] == uid_of(pod) for o in owners)


def _unresolvable(plugin: str, *reasons: str) -> Refusal:
    return Refusal(plugin, UNRESOLVABLE, reasons)


# -- VolumeRestrictions --------------------------------------------------------------------------------------------


def restrictions_ahead(cluster: Cluster, pod: dict) -> Refusal | None:
    for volume in _volumes(pod):
        named = volume.get("persistentVolumeClaim")
        if named and find(cluster.claims, named["claimName"], namespace_of(pod)) is None:
            return _unresolvable("VolumeRestrictions", f'persistentvolumeclaim "{named["claimName"]}" not found')
    return None


def restrictions(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    for volume in _volumes(pod):
        for other in cluster.pods_on(node):
            if any(_same_disk(volume, theirs) for theirs in _volumes(other)):
                return Refusal("VolumeRestrictions", UNSCHEDULABLE, ("node(s) had no available disk",))
    for volume in _volumes(pod):
        if volume.get("persistentVolumeClaim") and _is_exclusive_and_used(cluster, pod, volume):
            reason = (
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use "
                "by another pod"
            )
            return Refusal("VolumeRestrictions", UNSCHEDULABLE, (reason,))
    return None


def _is_exclusive_and_used(cluster: Cluster, pod: dict, volume: dict) -> bool:
    name = volume["persistentVolumeClaim"]["claimName"]
    claim = find(cluster.claims, name, namespace_of(pod))
    if "ReadWriteOncePod" not in (claim["spec"].get("accessModes") or []):
        return False
    return any(
        namespace_of(other) == namespace_of(pod)
        and any((v.get("persistentVolumeClaim") or {}).get("claimName") == name for v in _volumes(other))
        for other in cluster.placed()
    )


def _same_disk(mine: dict, theirs: dict) -> bool:
    """Whether both are one disk that cannot be mounted by both."""

    def both(kind: str) -> tuple | None:
        return (mine[kind], theirs[kind]) if mine.get(kind) and theirs.get(kind) else None

    def writes(pair: tuple) -> bool:
        return not all(v.get("readOnly") for v in pair)

    if (pair := both("gcePersistentDisk")) and pair[0]["pdName"] == pair[1]["pdName"] and writes(pair):
        return True
    if (pair := both("awsElasticBlockStore")) and pair[0]["volumeID"] == pair[1]["volumeID"]:
        return True
    if (pair := both("iscsi")) and pair[0]["iqn"] == pair[1]["iqn"] and writes(pair):
        return True
    if pair := both("rbd"):
        one, other = pair
        same = one["image"] == other["image"] and one.get("pool", "rbd") == other.get("pool", "rbd")
        return same and bool(set(one["monitors"]) & set(other["monitors"])) and writes(pair)
    return False


# -- NodeVolumeLimits ----------------------------------------------------------------------------------------------


def limits(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    csi_node = find(cluster.csi_nodes, name_of(node))
    if csi_node is None:
        return None
    allowed = {
        d["name"]: d["allocatable"]["count"]
        for d in csi_node["spec"].get("drivers") or []
        if (d.get("allocatable") or {}).get("count") is not None
    }
    attached = {v for other in cluster.pods_on(node) for v in _csi_volumes(cluster, other)}
    attached |= _attachments(cluster, node)
    # Upstream counts a volume that is attached still, but of no pod any more, twice. A limit is one of volumes.
    new = set(_csi_volumes(cluster, pod)) - attached
    for driver in {d for d, _ in new}:
        wanted = sum(1 for d, _ in new if d == driver)
        there = sum(1 for d, _ in attached if d == driver)
        if driver in allowed and there + wanted > allowed[driver]:
            return Refusal("NodeVolumeLimits", UNSCHEDULABLE, ("node(s) exceed max volume count",))
    return None


def _csi_volumes(cluster: Cluster, pod: dict) -> list:
    """(driver, handle) of each volume that a CSI driver attaches or will attach."""
    found = []
    for claim in _claims(cluster, pod):
        if claim is None:
            continue
        volume = find(cluster.volumes, claim["spec"].get("volumeName"))
        if volume is not None:
            if volume["spec"].get("csi"):
                found.append((volume["spec"]["csi"]["driver"], volume["spec"]["csi"]["volumeHandle"]))
            continue
        storage_class = find(cluster.storage_classes, _class_name(claim))
        if storage_class is not None:
            found.append((storage_class["provisioner"], f"claim {namespace_of(claim)}/{name_of(claim)}"))
    return found


def _attachments(cluster: Cluster, node: dict) -> set:
    found = set()
    for attachment in cluster.attachments:
        spec = attachment["spec"]
        volume = find(cluster.volumes, spec["source"].get("persistentVolumeName"))
        if spec["nodeName"] == name_of(node) and volume is not None and volume["spec"].get("csi"):
            found.add((spec["attacher"], volume["spec"]["csi"]["volumeHandle"]))
    return found


# -- VolumeBinding -------------------------------------------------------------------------------------------------


def binding_ahead(cluster: Cluster, pod: dict) -> Refusal | None:
    for name, ephemeral in _claim_names(pod):
        claim = find(cluster.claims, name, namespace_of(pod))
        if claim is None:
            text = f'persistentvolumeclaim "{name}" not found'
            if ephemeral:
                text = f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return _unresolvable("VolumeBinding", text)
        if status(claim).get("phase") == "Lost":
            volume = claim["spec"].get("volumeName", "")
            text = f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
            return _unresolvable("VolumeBinding", text)
        if claim["metadata"].get("deletionTimestamp"):
            return _unresolvable("VolumeBinding", f'persistentvolumeclaim "{name}" is being deleted')
        if ephemeral and not _is_owned(claim, pod):
            key = f"{namespace_of(pod)}/{name}"
            owner = f"{namespace_of(pod)}/{name_of(pod)}"
            return _unresolvable("VolumeBinding", f"PVC {key} was not created for pod {owner} (pod is not owner)")
    if any(not _is_bound(c) and not _is_delayed(cluster, c) for c in _claims(cluster, pod)):
        return _unresolvable("VolumeBinding", "pod has unbound immediate PersistentVolumeClaims")
    return None


def _is_delayed(cluster: Cluster, claim: dict) -> bool:
    found = find(cluster.storage_classes, _class_name(claim))
    waits = found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"
    return waits and not claim["spec"].get("volumeName")


def binding(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    reasons = []
    claims = _claims(cluster, pod)
    for claim in (c for c in claims if _is_bound(c)):
        volume = find(cluster.volumes, claim["spec"]["volumeName"])
        if volume is None:
            reasons.append("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            break
        if not _reaches(volume, node):
            reasons.append("node(s) didn't match PersistentVolume's node affinity")
            break
    verdict = _place_unbound(cluster, [c for c in claims if not _is_bound(c)], node)
    if verdict:
        reasons.append(verdict)
    return _unresolvable("VolumeBinding", *reasons) if reasons else None


def _reaches(volume: dict, node: dict) -> bool:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or any(term_matches(t, node) for t in required.get("nodeSelectorTerms") or [])


def _size(obj: dict) -> object:
    if "capacity" in obj["spec"]:
        return quantity(obj["spec"]["capacity"].get("storage", 0))
    return quantity(((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage", 0))


def _place_unbound(cluster: Cluster, claims: list, node: dict) -> str:
    """Each claim, the smallest first, takes the smallest volume that suits it; the rest must be provisioned."""
    conflict = "node(s) didn't find available persistent volumes to bind"
    to_provision, to_match = [], []
    for claim in claims:
        selected = annotations_of(claim).get(SELECTED)
        if selected is None:
            to_match.append(claim)
        elif selected != name_of(node):
            return conflict
        else:
            to_provision.append(claim)
    taken: set = set()
    for claim in sorted(to_match, key=_size):
        volume = _matching_volume(cluster, claim, node, taken)
        if volume is None:
            to_provision.append(claim)
        else:
            taken.add(name_of(volume))
    for claim in to_provision:
        storage_class = find(cluster.storage_classes, _class_name(claim))
        if storage_class["provisioner"] in ("", NO_PROVISIONER) or not _allowed(storage_class, node):
            return conflict
        if not _has_capacity(cluster, storage_class, claim, node):
            return "node(s) did not have enough free storage"
    return ""


def _matching_volume(cluster: Cluster, claim: dict, node: dict, taken: set) -> dict | None:
    candidates = []
    for volume in cluster.volumes:
        mine = _is_for(volume, claim)
        if name_of(volume) in taken or _class_name(volume) != _class_name(claim):
            continue
        if volume["spec"].get("claimRef") and not mine:
            continue
        if not _suits(volume, claim):
            continue
        if mine:
            return volume if _reaches(volume, node) else None
        free = status(volume).get("phase") == "Available"
        wanted = claim["spec"].get("selector")
        modes = set(claim["spec"].get("accessModes") or []) <= set(volume["spec"].get("accessModes") or [])
        if free and modes and (wanted is None or selects(wanted, labels_of(volume))) and _reaches(volume, node):
            candidates.append(volume)
    return min(candidates, key=_size, default=None)


def _suits(volume: dict, claim: dict) -> bool:
    """Size, kind and attributes; and it is there to stay."""
    return (
        _size(volume) >= _size(claim)
        and volume["spec"].get("volumeMode", "Filesystem") == claim["spec"].get("volumeMode", "Filesystem")
        and volume["spec"].get("volumeAttributesClassName", "") == claim["spec"].get("volumeAttributesClassName", "")
        and not volume["metadata"].get("deletionTimestamp")
    )


def _is_for(volume: dict, claim: dict) -> bool:
    ref = volume["spec"].get("claimRef")
    if not ref or (ref["name"], ref["namespace"]) != (name_of(claim), namespace_of(claim)):
        return False
    return not ref.get("uid") or ref["uid"] == uid_of(claim)


def _allowed(storage_class: dict, node: dict) -> bool:
    terms = storage_class.get("allowedTopologies") or []
    if not terms:
        return True
    return any(
        t.get("matchLabelExpressions")
        and all(labels_of(node).get(e["key"]) in e["values"] for e in t["matchLabelExpressions"])
        for t in terms
    )


def _has_capacity(cluster: Cluster, storage_class: dict, claim: dict, node: dict) -> bool:
    driver = find(cluster.csi_drivers, storage_class["provisioner"])
    if driver is None or not driver["spec"].get("storageCapacity"):
        return True
    for capacity in cluster.csi_capacities:
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if (
            capacity["storageClassName"] == name_of(storage_class)
            and limit is not None
            and quantity(limit) >= _size(claim)
            and selects(capacity.get("nodeTopology"), labels_of(node))
        ):
            return True
    return False


# -- VolumeZone ----------------------------------------------------------------------------------------------------


def zone_ahead(cluster: Cluster, pod: dict) -> Refusal | None:
    for volume in _volumes(pod):
        if not volume.get("persistentVolumeClaim"):
            continue
        claim = find(cluster.claims, volume["persistentVolumeClaim"]["claimName"], namespace_of(pod))
        name = claim["spec"].get("volumeName")
        if name and find(cluster.volumes, name) is None:
            return _unresolvable("VolumeZone", f'persistentvolume "{name}" not found')
    return None


def zone(cluster: Cluster, pod: dict, node: dict) -> Refusal | None:
    if not any(key in labels_of(node) for key in TOPOLOGY):
        return None
    for volume in _volumes(pod):
        if not volume.get("persistentVolumeClaim"):
            continue
        claim = find(cluster.claims, volume["persistentVolumeClaim"]["claimName"], namespace_of(pod))
        found = find(cluster.volumes, claim["spec"].get("volumeName"))
        for key in TOPOLOGY if found else ():
            if key in labels_of(found) and not _in_zone(node, key, labels_of(found)[key]):
                return _unresolvable("VolumeZone", "node(s) had no available volume zone")
    return None


def _in_zone(node: dict, key: str, zones: str) -> bool:
    parts = [z.strip() for z in zones.split("__")]
    if "" in parts:
        return True
    labels = labels_of(node)
    return labels.get(key, labels.get(GA.get(key, key))) in parts
