"""The pytest plugin that ships with the package.

- ``p8s_cluster`` (asynchronous; needs pytest-asyncio or anyio): a ``Cluster`` in the test's own event loop.
- ``p8s_kubeconfig``: the path of a kubeconfig for a cluster that runs beside a synchronous test.

Nothing heavy is imported before a fixture is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .cluster import Cluster

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # pytest-asyncio is the user's choice
    async_fixture = pytest.fixture  # type: ignore[assignment]


@async_fixture
async def p8s_cluster() -> AsyncIterator[Cluster]:
    """A cluster with one simulated node, stopped after the test."""
    from .cluster import start_cluster

    async with start_cluster() as cluster:
        yield cluster


@pytest.fixture
def p8s_kubeconfig() -> Iterator[Path]:
    """A kubeconfig for a cluster with one simulated node that runs in a thread during the test."""
    from .cluster import ClusterThread

    with ClusterThread() as cluster:
        yield cluster.kubeconfig
