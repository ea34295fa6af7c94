"""``p8s why`` on the client's side: the answer, as an object and as text, of a scheduler's port or worked out here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..api.errors import StatusError
from ..api.meta import Object, name_of, namespace_of
from ..api.resources import PODS
from ..client.rest import Client
from .configuration import Configuration, load
from .explain import explain, told
from .gathering import gather, world_of

DEFAULT_SCHEDULER = "default-scheduler"


async def ask_cluster(
    client: Client, namespace: str, name: str, wanted: Object | None, config_file: str
) -> tuple[dict[str, Any], str]:
    """Over what the caller may list. Raises StatusError, ConfigurationError."""
    config = load(config_file) if config_file else Configuration.default()
    notes: list[str] = []
    if wanted is not None:
        pod, note = await as_admitted(client, wanted, namespace)
        notes += note
    gathered = await gather(client)
    if wanted is None:
        found = next((p for p in gathered.pods if (namespace_of(p), name_of(p)) == (namespace, name)), None)
        # Made after the list, or not there at all: then the server says so.
        pod = found if found is not None else await client.get(PODS, name, namespace)
    if gathered.unseen:
        notes.append(gathered.note())
    profile, note = _profile(config, pod)
    notes += note
    answer = explain(world_of(gathered.lists, profile), pod, hypothetical=wanted is not None)
    answer.notes += notes
    return answer.as_object(), told(answer)


def _profile(config: Configuration, pod: Object) -> tuple[Mapping[str, Any], list[str]]:
    name = (pod.get("spec") or {}).get("schedulerName") or DEFAULT_SCHEDULER
    profiles = {p.get("schedulerName") or DEFAULT_SCHEDULER: p for p in config.profiles}
    if name in profiles:
        return profiles[name], []
    other = next(iter(profiles))
    return profiles[other], [f'The pod is for the scheduler "{name}"; this is what "{other}" would do.']


async def as_admitted(client: Client, pod: Object, namespace: str) -> tuple[Object, list[str]]:
    """The pod with the defaults, priority and changes that the API server would give it; as it is where it may not say.

    Raises StatusError for a pod that the server would refuse.
    """
    meta = {**(pod.get("metadata") or {})}
    meta.setdefault("namespace", namespace)
    # A name that is free: an update of what exists would be another question.
    asked = {**pod, "metadata": {k: v for k, v in meta.items() if k != "name"} | {"generateName": f"{meta['name']}-"}}
    asked.setdefault("apiVersion", "v1")
    asked.setdefault("kind", "Pod")
    try:
        made = await client.create(PODS, asked, dry_run=True)
    except StatusError as failure:
        if failure.code not in (403, 404):
            raise
        why = "you may not create pods there" if failure.code == 403 else failure.message
        return {**pod, "metadata": meta}, [f"Asked as written, without defaults and admission: {why}."]
    return {**made, "metadata": {**made["metadata"], "name": meta["name"]}}, []


async def ask_scheduler(
    client: Client, scheduler: Client, namespace: str, name: str, wanted: Object | None
) -> tuple[dict[str, Any], str]:
    """``scheduler`` leads to its port. Raises StatusError, TransportError."""
    if wanted is None:
        found = await scheduler.request("GET", f"/why/{quote(namespace)}/{quote(name)}")
    else:
        pod, _ = await as_admitted(client, wanted, namespace)
        found = await scheduler.request("POST", "/why", pod)
    return found["answer"], found["text"]
