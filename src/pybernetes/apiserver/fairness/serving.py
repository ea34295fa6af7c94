"""Puts fairness together for one server: what its requests take, and the objects that configure it."""

from __future__ import annotations

from itertools import islice

from ...concurrency import Clock
from ...hooks.admission import Requester
from ...hooks.reading import ObjectReader
from ..bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS, flow_control_objects
from ..cache import ResourceCache
from ..registry import Registry
from ..request import Request, RequestInfo
from .estimating import list_seats, write_work
from .fairness import Estimate, Fairness, InflightLimits
from .levels import CATCH_ALL, EXEMPT, Levels
from .queueset import ONE, Work
from .upkeep import Upkeep

SAMPLE = 4
"""As many objects are looked at for their average size."""
_WRITES = frozenset({"create", "update", "patch", "delete"})


class RequestWork:
    """Estimates by what the registry's caches hold."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def estimate(self, request: Request, info: RequestInfo, most: int) -> Work:
        verb = info.verb
        if not info.is_resource or verb == "get":
            return ONE
        writes = verb in _WRITES
        if not writes and verb not in ("list", "watch"):
            return ONE
        resource = self._registry.lookup(info.group, info.version, info.resource)
        if resource is None or resource.dispatcher is None:
            return ONE
        if writes:
            if info.subresource == "token":
                return ONE
            return write_work(resource.dispatcher.watching, most)
        if info.name or (verb == "watch" and _resumes(request)):
            return ONE
        count = resource.cache.size(info.namespace)
        if request.raw_query and "limit=" in request.raw_query:
            limit = request.param("limit")
            count = min(count, int(limit)) if limit.isdecimal() and int(limit[:18]) > 0 else count
        if not count:
            return ONE
        seats = list_seats(count, average_size(resource.cache, info.namespace), most)
        return ONE if seats == 1 else Work(seats)


def _resumes(request: Request) -> bool:
    """A watch from a known revision reads nothing first."""
    if not request.raw_query or request.param("sendInitialEvents") == "true":
        return False
    return request.param("resourceVersion") not in ("", "0")


def average_size(cache: ResourceCache, namespace: str) -> float:
    sizes = [len(e.data) for e in islice(cache.select(namespace), SAMPLE)]
    return sum(sizes) / len(sizes) if sizes else 0.0


def limiter_of(
    fair: bool, limits: tuple[int, int], reader: ObjectReader, clock: Clock, estimate: Estimate
) -> Fairness | InflightLimits:
    """``limits`` are ``--max-requests-inflight`` and ``--max-mutating-requests-inflight``. Raises ValueError."""
    reads, writes = limits
    if not fair:
        return InflightLimits(reads, writes)
    if reads + writes <= 0:
        words = f"invalid configuration: MaxRequestsInFlight={reads} and MaxMutatingRequestsInFlight={writes}"
        raise ValueError(f"{words}; they must add up to something positive")
    return serve_fairness(reads + writes, reader, clock, estimate)


def serve_fairness(seats: int, reader: ObjectReader, clock: Clock, estimate: Estimate) -> Fairness:
    bootstrap = list(flow_control_objects())
    levels = [o for g, o in bootstrap if g == PRIORITY_LEVELS and o["metadata"]["name"] in (EXEMPT, CATCH_ALL)]
    schemas = [o for g, o in bootstrap if g == FLOW_SCHEMAS and o["metadata"]["name"] in (EXEMPT, CATCH_ALL)]
    fairness = Fairness(
        Levels(seats, levels, schemas),
        clock,
        estimate,
        lambda: (reader.list(PRIORITY_LEVELS), reader.list(FLOW_SCHEMAS)),
    )
    # Before anybody else: who reads the objects afterwards finds the levels as they are.
    for gvr in (PRIORITY_LEVELS, FLOW_SCHEMAS):
        reader.subscribe(gvr, fairness.changed)
    return fairness


def upkeep_of(fairness: Fairness, request: Requester, reader: ObjectReader, clock: Clock) -> Upkeep:
    return Upkeep(fairness, request, reader, clock, flow_control_objects(), PRIORITY_LEVELS, FLOW_SCHEMAS)
