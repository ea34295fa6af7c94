"""One process a state file: the lock beside it, which also remembers that there was something to lock."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from .contract import StoreUnavailable

_MARK = b"holds objects"


class LockFile:
    """``PATH.lock``. What is written into it survives; the lock itself goes with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.emptied = False
        """The state file is there, and empty, though it has held something before."""

    def take(self) -> None:
        """Raises StoreUnavailable where another process has it."""
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StoreUnavailable(
                f"{path} is in use by another process: stop it first, or give this one another --data-dir"
            ) from None
        self._file = file
        file.seek(0)
        marked = file.read(len(_MARK)) == _MARK
        self.emptied = marked and path.is_file() and path.stat().st_size == 0

    def mark(self) -> None:
        """There is a state file now: an empty one later is a loss, not a beginning."""
        assert self._file is not None
        self._file.truncate(0)
        self._file.write(_MARK)
        self._file.flush()

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
