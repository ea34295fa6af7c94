"""``/logs/``: the files of the machine's log directory, as a plain file server shows them."""

from __future__ import annotations

import html
import mimetypes
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

from ...streams.http_server import HttpRequest, HttpResponse

BLOCK = 256 * 1024


def serve_file(root: Path, relative: str, request: HttpRequest) -> HttpResponse:
    """A file, or a directory's listing. A path that leads out of ``root``, by dots or by links, is not found."""
    base = root.resolve()
    target = (base / relative.lstrip("/")).resolve()
    if not target.is_relative_to(base):
        return _not_found()
    try:
        found = target.stat()
        if stat.S_ISDIR(found.st_mode):
            if not request.path.endswith("/"):
                return HttpResponse(301, headers=[("Location", request.path.rpartition("/")[2] + "/")])
            return HttpResponse(200, _listing(target), "text/html; charset=utf-8")
        if not stat.S_ISREG(found.st_mode):
            return _not_found()
        file = target.open("rb")
    except OSError:
        return _not_found()
    kind = mimetypes.guess_type(target.name)[0] or "text/plain; charset=utf-8"

    async def body() -> AsyncGenerator[bytes, None]:
        with file:
            left = found.st_size
            while left > 0 and (data := file.read(min(BLOCK, left))):
                left -= len(data)
                yield data

    return HttpResponse(200, body(), kind)


def _not_found() -> HttpResponse:
    return HttpResponse(404, b"404 page not found\n", "text/plain; charset=utf-8")


def _listing(directory: Path) -> bytes:
    names = sorted(entry.name + "/" if entry.is_dir() else entry.name for entry in os.scandir(directory))
    lines = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return f"<!doctype html>\n<pre>\n{lines}</pre>\n".encode()
