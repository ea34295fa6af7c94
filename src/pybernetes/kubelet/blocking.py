"""Threads for what may never come back: a file system that does not answer holds whoever asks it anything.

A pool of threads would be used up by a few such calls, and would hold the end of the process as well. Here every call has a
thread of its own that nobody waits for at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class OwnThreads(Executor):
    """One daemon thread a call."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as failure:  # noqa: BLE001 - handed on to whoever awaits it
                future.set_exception(failure)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="kubelet-volume", daemon=True).start()
        return future
