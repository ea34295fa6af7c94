"""The supervisor's process: ``python -m pybernetes.cluster.run_supervisor DATA_DIR``."""

from __future__ import annotations

import asyncio
import sys

from ..concurrency import RealClock
from ..concurrency.log import configure
from .components import components_for
from .layout import Layout, Settings
from .supervisor import Supervisor


def supervise(layout: Layout) -> None:
    """Runs the cluster's processes until told to stop."""
    configure()
    settings = Settings.load(layout)
    assert settings is not None, "`up` writes the settings before it starts the supervisor"
    supervisor = Supervisor(components_for(layout, settings), layout.logs, layout.control_socket, RealClock())
    asyncio.run(supervisor.run())


if __name__ == "__main__":
    supervise(Layout.of(sys.argv[1]))
