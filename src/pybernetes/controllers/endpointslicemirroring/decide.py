"""The mirrored slices of one Endpoints object. Semantics of upstream's ``pkg/controller/endpointslicemirroring``."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from ...api.meta import Object, annotations_of, controller_reference, is_deleting, labels_of, name_of
from ...api.resources import ENDPOINT_SLICES
from ...client.events import WARNING
from ..commands import Command, Create, Delete, Emit, Update
from ..endpoints.decide import LEADER_ANNOTATION, repack
from ..endpointslice.packing import Endpoint, Identity, blank_slice, identity, ports_key, same_endpoint
from ..values import compact, with_metadata

MANAGED_BY, MANAGER = "endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
MAXIMUM = 1000
_NOT_COPIED = ("endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration")

Key = tuple[str, tuple[Any, ...]]


def is_mirrored(endpoints: Object | None, service: Object | None) -> bool:
    if endpoints is None or service is None:
        return False
    if labels_of(endpoints).get(SKIP) == "true" or LEADER_ANNOTATION in annotations_of(endpoints):
        return False
    return (service.get("spec") or {}).get("selector") is None


def decide(endpoints: Object | None, service: Object | None, slices: Sequence[Object]) -> list[Command]:
    """``slices`` are the mirrored ones of this name."""
    if endpoints is None or not is_mirrored(endpoints, service):
        return [Delete(ENDPOINT_SLICES, s) for s in slices]
    desired, commands = _desired(endpoints)
    existing: dict[Key, list[Object]] = {}
    for slice_ in slices:
        existing.setdefault((slice_["addressType"], ports_key(slice_.get("ports"))), []).append(slice_)
    for key, (ports, wanted) in desired.items():
        commands += _one(endpoints, key[0], ports, wanted, existing.pop(key, []))
    commands += [Delete(ENDPOINT_SLICES, s) for found in existing.values() for s in found]
    return commands


Wanted = dict[Key, tuple[list[dict[str, Any]], dict[Identity, Endpoint]]]


def _desired(endpoints: Object) -> tuple[Wanted, list[Command]]:
    desired: Wanted = {}
    invalid = skipped = 0
    for subset in repack(endpoints.get("subsets") or []):
        ports = [_port(p) for p in subset.get("ports") or []]
        ready, others = subset.get("addresses") or [], subset.get("notReadyAddresses") or []
        added = 0
        for address, is_ready in [*((a, True) for a in ready), *((a, False) for a in others)]:
            if added >= MAXIMUM:
                break
            try:
                version = ip_address(address["ip"]).version
            except ValueError:
                invalid += 1
                continue
            endpoint = _endpoint(address, is_ready)
            _, wanted = desired.setdefault((f"IPv{version}", ports_key(ports)), (ports, {}))
            wanted[identity(endpoint)] = endpoint
            added += 1
        skipped += len(ready) + len(others) - added
    return desired, _complaints(endpoints, invalid, skipped)


def _complaints(endpoints: Object, invalid: int, skipped: int) -> list[Command]:
    events: list[Command] = []
    if invalid:
        message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        events.append(Emit(endpoints, WARNING, "InvalidIPAddress", message))
    if skipped > invalid:
        message = (
            f"A max of {MAXIMUM} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{skipped} addresses were skipped"
        )
        events.append(Emit(endpoints, WARNING, "TooManyAddressesToMirror", message))
    return events


def _port(port: dict[str, Any]) -> dict[str, Any]:
    made = {"name": port.get("name") or "", "port": port.get("port"), "protocol": port.get("protocol") or "TCP"}
    if port.get("appProtocol"):
        made["appProtocol"] = port["appProtocol"]
    return made


def _endpoint(address: dict[str, Any], ready: bool) -> Endpoint:
    endpoint = {
        "addresses": [address["ip"]],
        "conditions": {"ready": ready},
        "targetRef": address.get("targetRef"),
        "nodeName": address.get("nodeName"),
        "hostname": address.get("hostname"),
    }
    return compact(endpoint)


def _one(
    endpoints: Object,
    address_type: str,
    ports: list[dict[str, Any]],
    wanted: dict[Identity, Endpoint],
    existing: list[Object],
) -> list[Command]:
    labels = {**labels_of(endpoints), SERVICE_NAME: name_of(endpoints), MANAGED_BY: MANAGER}
    annotations = {k: v for k, v in annotations_of(endpoints).items() if k not in _NOT_COPIED}
    reference = controller_reference(endpoints, "v1", "Endpoints")
    new = blank_slice(endpoints, reference, ports, address_type, labels)
    if annotations:
        new = with_metadata(new, annotations=annotations)
    new["endpoints"] = list(wanted.values())
    commands: list[Command] = [Delete(ENDPOINT_SLICES, s) for s in existing[1:]]
    if not existing:
        return commands if is_deleting(endpoints) else [*commands, Create(ENDPOINT_SLICES, new)]
    old = existing[0]
    found = {identity(e): e for e in old.get("endpoints") or []}
    same = found.keys() == wanted.keys() and all(same_endpoint(wanted[k], e) for k, e in found.items())
    meta = old["metadata"]
    same = same and labels_of(old) == labels and annotations_of(old) == annotations
    if not same or meta.get("ownerReferences") != [reference]:
        meta = {**meta, "labels": labels, "annotations": annotations, "ownerReferences": [reference]}
        commands.append(
            Update(ENDPOINT_SLICES, {**old, "metadata": meta, "ports": ports, "endpoints": new["endpoints"]})
        )
    return commands
