"""``--kube-api-qps``: a client whose calls wait their turn (client-go's token bucket)."""

from __future__ import annotations

from ..client.rest import Client
from ..client.transport import ClientRequest, ClientResponse, Transport
from ..concurrency import Clock


class LimitedTransport:
    """Lets ``burst`` calls through at once, then ``qps`` a second, in the order in which they come."""

    def __init__(self, transport: Transport, clock: Clock, qps: float, burst: int) -> None:
        self._transport, self._clock = transport, clock
        self._interval, self._burst = 1.0 / qps, max(1, burst)
        self._next = clock.monotonic() - self._interval * self._burst

    async def send(self, request: ClientRequest) -> ClientResponse:
        now = self._clock.monotonic()
        self._next = max(self._next, now - self._interval * self._burst) + self._interval
        if self._next > now:
            await self._clock.sleep(self._next - now)
        return await self._transport.send(request)

    def close(self) -> None:
        self._transport.close()


def limited(client: Client, clock: Clock, qps: float, burst: int) -> Client:
    return Client(
        LimitedTransport(client.transport, clock, qps, burst),
        clock=clock,
        user_agent=client.user_agent,
        field_manager=client.field_manager,
    )
