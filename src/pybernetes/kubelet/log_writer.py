"""Whether a container's log is whole.

containerd tells that a container has ended while one of its goroutines may still write the last lines of its log (the copy from
the pipe to the file is not waited for). Who reads the log at once, as people and tests do that wait for a pod to succeed, would
miss them. So a container counts as ended for the kubelet when nobody has its log open for writing any more: a read lease
(fcntl(2), F_SETLEASE) can be had just then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

from ..concurrency import Clock
from .inotify import IN_CLOSE_WRITE, DirectoryWatch

PATIENCE = 2.0
"""Seconds after which a writer that does not end is not waited for any longer."""


def has_writer(path: Path) -> bool:
    """Whether anybody has the file open for writing; False where that cannot be found out. Raises FileNotFoundError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Whoever opens it while we hold the lease has us told by a signal: by default one that would end us.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as failure:
        return failure.errno == errno.EAGAIN
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)


async def written(path: Path, clock: Clock) -> None:
    """Returns when the log of a container that has ended is whole, or after ``PATIENCE``."""
    try:
        if not has_writer(path):
            return
        with DirectoryWatch(path.parent, IN_CLOSE_WRITE) as watch:
            async with clock.timeout(PATIENCE):
                while has_writer(path):
                    await watch.changed()
    except (FileNotFoundError, TimeoutError):
        return
