"""Images from files: loading archives into a node's containerd, and our own pause image.

The CRI can pull but not import, so archives go in through containerd's own client, ``ctr`` (it comes with containerd).
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...concurrency import Clock
from ..cri import CRIClient
from .archive import Layer, build
from .pause import pause_binary

# The name is local on purpose: it must never be looked up in a registry.
PAUSE_IMAGE = "pybernetes.local/pause:1"
NAMESPACE = "k8s.io"


class ImageError(RuntimeError):
    """An archive that cannot be loaded; the message is containerd's, or says what is missing."""


def pause_archive(machine: str = "") -> bytes:
    machine = machine or platform.machine()
    layer = Layer()
    layer.file("pause", pause_binary(machine), 0o755)
    # Nobody's user, as upstream's pause image has it: the process needs no right at all.
    return build(PAUSE_IMAGE, [layer.finish()], {"Entrypoint": ["/pause"], "User": "65535:65535"}, machine=machine)


async def load(socket: str | Path, files: Sequence[str | Path], *, ctr: str = "", snapshotter: str = "") -> list[str]:
    """Loads docker or OCI archives (also compressed ones) into the containerd at ``socket``; returns the images' names.

    Raises ImageError at the first file that is not one.
    """
    program = ctr or shutil.which("ctr")
    if program is None:
        raise ImageError("ctr not found: it comes with containerd (apt-get install containerd)")
    names: list[str] = []
    for file in files:
        if not os.path.isfile(file):
            raise ImageError(f"{file}: no such file")
        arguments = ["--address", str(socket), "--namespace", NAMESPACE, "images", "import"]
        if snapshotter:
            arguments += ["--snapshotter", snapshotter]
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            str(file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            lines = errors.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            raise ImageError(f"{file}: {lines[-1].removeprefix('ctr: ')}")
        names += _names_in(output.decode("utf-8", "replace"))
    return names


def _names_in(output: str) -> list[str]:
    """The images in ctr's report: ``unpacking NAME (sha256:...)...done`` (1.6), ``NAME   saved`` (2.x)."""
    found = []
    for line in output.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "unpacking":
            found.append(words[1])
        elif len(words) >= 2 and words[1] == "saved" and ":" in words[0]:
            found.append(words[0])
    return found


async def ensure_pause(runtime: CRIClient, socket: str | Path, clock: Clock, *, snapshotter: str = "") -> None:
    """Puts our pause image into the runtime where it is not there yet, and waits until the CRI knows it."""
    if await runtime.image_status(PAUSE_IMAGE) is not None:
        return
    content = pause_archive()
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(content)
        file.flush()
        await load(socket, [file.name], snapshotter=snapshotter)
    async with clock.timeout(30):
        while await runtime.image_status(PAUSE_IMAGE) is None:
            await clock.sleep(0.02)
