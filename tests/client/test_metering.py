"""Calls of the API server are counted by a component, those that fail too."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pybernetes.client.metering import MeteredTransport, RestMetrics
from pybernetes.client.transport import ClientRequest, TransportError


class Answer:
    status = 404


class Inner:
    authority = "10.0.0.1:6443"
    closed = False

    async def send(self, request):
        if request.method == "POST":
            raise TransportError("gone", sent=True)
        return Answer()

    def close(self):
        self.closed = True


async def test_calls_are_counted_by_what_came_of_them():
    registry, times, inner = CollectorRegistry(), iter([1.0, 1.3, 2.0, 2.0]), Inner()
    transport = MeteredTransport(inner, RestMetrics(registry), lambda: next(times))
    assert (await transport.send(ClientRequest("GET", "/x"))).status == 404
    with pytest.raises(TransportError):
        await transport.send(ClientRequest("POST", "/x"))
    text = generate_latest(registry).decode()
    assert 'rest_client_requests_total{code="404",host="10.0.0.1:6443",method="GET"} 1.0' in text
    assert 'rest_client_requests_total{code="<error>",host="10.0.0.1:6443",method="POST"} 1.0' in text
    assert 'rest_client_request_duration_seconds_bucket{host="10.0.0.1:6443",le="0.25",verb="GET"} 0.0' in text
    assert 'rest_client_request_duration_seconds_bucket{host="10.0.0.1:6443",le="0.5",verb="GET"} 1.0' in text
    assert "process_resident_memory_bytes " in text
    assert 'kubernetes_build_info{git_version="v1.36' in text
    transport.close()
    assert inner.closed
