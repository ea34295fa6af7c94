"""Which methods reach the subresources that stream and proxy."""

import pytest

from pybernetes.apiserver.request import Request, Response

POD = "/api/v1/namespaces/default/pods/p"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *[(m, f"{POD}/proxy/x", 200) for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")],
        *[(m, f"{POD}/exec", 200) for m in ("GET", "POST")],
        *[(m, f"{POD}/exec", 405) for m in ("PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")],
        ("GET", f"{POD}/log", 200),
        ("POST", f"{POD}/log", 405),
        ("HEAD", POD, 405),
    ],
)
async def test_methods(server, method, path, status):
    async def connected(request):
        return Response(200, b"there")

    for subresource in ("proxy", "exec", "log"):
        server.connect_handlers["pods", subresource] = connected
    assert (await server.handle(Request(method, path))).status == status
