"""subPath: a part of a volume, safe against a container that changes the volume under our hands.

The path is walked component by component with ``O_NOFOLLOW`` from the volume's root, so that a symbolic link can never lead
outside; what was reached is bind-mounted through ``/proc/self/fd``, so that the check and the use are of the same inode. The
published attacks (CVE-2017-1002101, CVE-2021-25741) are test cases. A link *inside* the volume that stays inside is resolved as the
container would see it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import linux
from .payload import VolumeError

_MAX_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def check(sub_path: str) -> None:
    """Raises VolumeError in upstream's words."""
    if sub_path.startswith("/"):
        raise VolumeError(f"error SubPath `{sub_path}` must not be an absolute path")
    if ".." in sub_path.split("/"):
        raise VolumeError(f"unable to provision SubPath `{sub_path}`: must not contain '..'")


@contextmanager
def opened(root: Path, sub_path: str, *, create_mode: int | None = None) -> Iterator[int]:
    """An ``O_PATH`` descriptor of ``root/sub_path``, never outside of ``root``. With ``create_mode`` directories are made.

    Raises VolumeError where it leads outside, OSError where it does not exist.
    """
    # The stack of directories from the root to the present one: ``..`` in a link's target goes back along it, not beyond.
    stack = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    final = -1
    try:
        parts = [p for p in reversed(sub_path.split("/")) if p not in ("", ".")]
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                if len(stack) == 1:
                    raise VolumeError("subpath leads outside of its volume")
                os.close(stack.pop())
                continue
            descriptor = _open(stack[-1], part, create_mode)
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                target = os.readlink("", dir_fd=descriptor)
                os.close(descriptor)
                if links > _MAX_LINKS:
                    raise VolumeError("too many symbolic links in a subpath")
                if target.startswith("/"):
                    # Absolute for the container, whose root this is not: nothing in the volume is meant.
                    raise VolumeError("subpath leads outside of its volume")
                parts += [p for p in reversed(target.split("/")) if p not in ("", ".")]
            elif stat.S_ISDIR(mode):
                stack.append(descriptor)
            elif parts:
                os.close(descriptor)
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), sub_path)
            else:
                final = descriptor
        yield final if final >= 0 else stack[-1]
    finally:
        for descriptor in (*stack, *((final,) if final >= 0 else ())):
            os.close(descriptor)


def _open(directory: int, name: str, create_mode: int | None) -> int:
    try:
        return os.open(name, _ANY, dir_fd=directory)
    except FileNotFoundError:
        if create_mode is None:
            raise
    os.mkdir(name, create_mode, dir_fd=directory)
    descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    # By descriptor and exact: the umask must not narrow what the volume's own directory allows.
    os.chmod(f"/proc/self/fd/{descriptor}", create_mode)
    return descriptor


def bind(volume: Path, sub_path: str, target: Path) -> None:
    """Bind-mounts the part at ``target``, making its directories with the volume's mode where they are missing."""
    check(sub_path)
    mode = stat.S_IMODE(volume.stat().st_mode)
    with opened(volume, sub_path, create_mode=mode) as descriptor:
        if linux.is_mount_point(target):
            if _same(target, descriptor):
                return
            linux.unmount(str(target), linux.MNT_DETACH)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(exist_ok=True, mode=0o750)
        else:
            target.touch(mode=0o640)
        linux.mount(f"/proc/self/fd/{descriptor}", str(target), flags=linux.MS_BIND)


def _same(target: Path, descriptor: int) -> bool:
    there, here = target.stat(), os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
