"""containerd's own event service, for versions whose CRI has no events (before 1.7): which containers have ended.

Specified by containerd's ``api/services/events/v1/events.proto`` and ``api/events/task.proto``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache

import grpc.aio

from .client import error_of, open_channel
from .codec import Schema

_TABLE = """\
SubscribeRequest filters=1:*
Envelope namespace=2 topic=3 event=4:Any
Any type_url=1 value=2:bytes
TaskEvent container_id=1 id=2
"""


@cache
def _schema() -> Schema:
    return Schema(_TABLE)


async def containerd_exits(endpoint: str) -> AsyncIterator[str]:
    """The ids of containers (and sandboxes) whose process has ended or was killed for memory; first '' once connected."""
    table = _schema()
    channel = open_channel(endpoint)
    call = channel.unary_stream(
        "/containerd.services.events.v1.Events/Subscribe",
        request_serializer=lambda message: table.encode("SubscribeRequest", message),
        response_deserializer=lambda data: table.decode("Envelope", data),
    )({"filters": ['namespace==k8s.io,topic=="/tasks/exit"']})
    try:
        await call.wait_for_connection()
        yield ""
        async for envelope in call:
            event = table.decode("TaskEvent", (envelope.get("event") or {}).get("value", b""))
            container, process = event.get("container_id", ""), event.get("id", "")
            # A process that was only executed in the container has an id of its own.
            if container and process in ("", container):
                yield container
    except grpc.aio.AioRpcError as failure:
        raise error_of(failure) from failure
    finally:
        call.cancel()
        await channel.close()
