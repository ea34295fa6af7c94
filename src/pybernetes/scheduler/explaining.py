"""``/why`` on the scheduler's port: what ``p8s why`` tells, by the scheduler that decides, with its plugins and its queue.

``GET /why/NAMESPACE/POD`` about a pod that exists, ``POST /why`` with a pod about one that does not. Whoever asks shows a
token; the API server says whose it is (TokenReview) and whether they may (SubjectAccessReview of ``/why``).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import orjson

from ..api.errors import StatusError
from ..api.meta import Object
from ..api.resources import GVR, PODS
from ..client.rest import Client
from ..concurrency import logger
from ..streams.http_server import HttpRequest, HttpResponse
from .explain import World, explain, told
from .queue import QueuedPod
from .scheduler import Scheduler

TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews")
ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")
_PLACES = {
    "active": "It is about to be tried.",
    "backoff": "It waits out its back-off before it is tried again.",
    "error backoff": "It waits out its back-off after an error.",
    "unschedulable": "It waits until something changes that may help.",
    "in flight": "It is being scheduled right now.",
}

log = logger("scheduler.explaining")


class Explaining:
    """Answers questions about pods."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def answer(self, request: HttpRequest, scheduler: Scheduler | None) -> HttpResponse:
        try:
            await self._authorize(request)
            if scheduler is None or not scheduler.ready:
                raise StatusError(
                    503, "ServiceUnavailable", "this scheduler does not lead, or has not listed the cluster yet"
                )
            return _json(200, await self._explain(request, scheduler))
        except StatusError as failure:
            return _json(failure.code, failure.to_status())
        except (ConnectionError, TimeoutError) as failure:
            log.info("a question could not be authorized", error=str(failure))
            problem = StatusError(503, "ServiceUnavailable", "the API server could not be asked who you are")
            return _json(503, problem.to_status())

    async def _authorize(self, request: HttpRequest) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise StatusError(401, "Unauthorized", "Unauthorized")
        asked = _review("authentication.k8s.io/v1", "TokenReview", {"token": token.strip()})
        known = (await self._client.create(TOKEN_REVIEWS, asked)).get("status") or {}
        if not known.get("authenticated"):
            raise StatusError(401, "Unauthorized", "Unauthorized")
        user = known.get("user") or {}
        verb = "get" if request.method == "GET" else request.method.lower()
        spec = {
            "user": user.get("username", ""),
            "groups": user.get("groups") or [],
            "uid": user.get("uid", ""),
            "extra": user.get("extra") or {},
            "nonResourceAttributes": {"path": "/why", "verb": verb},
        }
        access = await self._client.create(
            ACCESS_REVIEWS, _review("authorization.k8s.io/v1", "SubjectAccessReview", spec)
        )
        if not (access.get("status") or {}).get("allowed"):
            message = f'forbidden: User "{user.get("username", "")}" cannot {verb} path "/why"'
            raise StatusError(403, "Forbidden", message)

    async def _explain(self, request: HttpRequest, scheduler: Scheduler) -> dict[str, Any]:
        parts = request.path.strip("/").split("/")
        if request.method == "GET" and len(parts) == 3:
            # As it is stored: of placed pods the scheduler keeps less than the question needs.
            pod = await self._client.get(PODS, unquote(parts[2]), unquote(parts[1]))
        elif request.method == "POST" and len(parts) == 1:
            pod = _pod_of(request.body)
        else:
            raise StatusError(404, "NotFound", "ask GET /why/NAMESPACE/POD, or POST a pod to /why")
        hypothetical = request.method == "POST"
        found = explain(self._world(scheduler, pod), pod, hypothetical=hypothetical)
        queued = None if hypothetical else scheduler.queue.get(found.pod)
        found.notes += _queue_notes(queued)
        return {"answer": found.as_object(), "text": told(found)}

    def _world(self, scheduler: Scheduler, pod: Object) -> World:
        name = (pod.get("spec") or {}).get("schedulerName") or next(iter(scheduler.profiles))
        if name not in scheduler.profiles:
            served = ", ".join(sorted(scheduler.profiles))
            raise StatusError(404, "NotFound", f'the pod is for the scheduler "{name}"; this one is {served}')
        return World(scheduler.model, scheduler.evaluator(name))


def _queue_notes(queued: QueuedPod | None) -> list[str]:
    if queued is None:
        return []
    tried = "once" if queued.attempts == 1 else f"{queued.attempts} times"
    said = _PLACES.get(queued.where)
    if queued.gate:
        said = f"{queued.gate} keeps it out of the queue."
    return [f"Tried {tried} so far. {said}"] if said else []


def _pod_of(body: bytes) -> Object:
    try:
        pod = orjson.loads(body)
    except orjson.JSONDecodeError as failure:
        raise StatusError(400, "BadRequest", f"the pod is not JSON: {failure}") from failure
    spec = pod.get("spec") if isinstance(pod, dict) else None
    meta = pod.get("metadata") if isinstance(pod, dict) else None
    if not isinstance(spec, dict) or not isinstance(meta, dict) or not isinstance(spec.get("containers"), list):
        raise StatusError(400, "BadRequest", "the body must be a Pod with metadata and containers")
    return {**pod, "metadata": {"name": "x", "namespace": "default", **meta}}


def _review(version: str, kind: str, spec: dict[str, Any]) -> Object:
    return {"apiVersion": version, "kind": kind, "spec": spec}


def _json(code: int, body: Any) -> HttpResponse:
    return HttpResponse(code, orjson.dumps(body), "application/json")
