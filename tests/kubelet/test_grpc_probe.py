"""gRPC probes against a real server of the health protocol."""

from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from pybernetes.kubelet.probes import ProbeFailure, grpc_health

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


@asynccontextmanager
async def health_server(answer):
    """``answer(service)``: the encoded HealthCheckResponse, or a status code to fail with."""

    async def check(request: bytes, context):
        found = answer(request[2:].decode())
        if isinstance(found, grpc.StatusCode):
            await context.abort(found, "no")
        return found

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_a_server_that_serves():
    asked = []

    def answer(service):
        asked.append(service)
        return SERVING

    async with health_server(answer) as port:
        await grpc_health("127.0.0.1", port, "", 5)
        await grpc_health("127.0.0.1", port, "liveness", 5)
    assert asked == ["", "liveness"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (NOT_SERVING, 'service unhealthy .responded with "NOT_SERVING"'),
        (b"", 'service unhealthy .responded with "UNKNOWN"'),
        (grpc.StatusCode.UNIMPLEMENTED, "this server does not implement the grpc health protocol"),
        (grpc.StatusCode.NOT_FOUND, "error: health rpc probe failed: rpc error: code = NotFound desc = no"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout: health rpc did not complete within 5s"),
    ],
)
async def test_answers_that_are_failures(found, message):
    async with health_server(lambda service: found) as port:
        with pytest.raises(ProbeFailure, match=message):
            await grpc_health("127.0.0.1", port, "", 5)


async def test_nobody_listens():
    async with health_server(lambda service: SERVING) as port:
        pass
    with pytest.raises(ProbeFailure, match=f'timeout: failed to connect service "127.0.0.1:{port}" within 1s'):
        await grpc_health("127.0.0.1", port, "", 1)
