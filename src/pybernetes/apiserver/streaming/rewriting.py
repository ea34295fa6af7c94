"""Links in proxied answers: made to lead through the proxy, in Location headers and in HTML attributes.

Specified by apimachinery's ``proxy.Transport``. HTML is changed only inside the start tags that carry a link; all else stays as
it is, byte for byte.
"""

from __future__ import annotations

import gzip
import html
import posixpath
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import SplitResult, urlsplit, urlunsplit

LINKS: dict[str, frozenset[str]] = {
    tag: frozenset(attributes.split())
    for tag, attributes in {
        "a": "href",
        "applet": "codebase",
        "area": "href",
        "audio": "src",
        "base": "href",
        "blockquote": "cite",
        "body": "background",
        "button": "formaction",
        "command": "icon",
        "del": "cite",
        "embed": "src",
        "form": "action",
        "frame": "longdesc src",
        "head": "profile",
        "html": "manifest",
        "iframe": "longdesc src",
        "img": "longdesc src usemap",
        "input": "src usemap formaction",
        "ins": "cite",
        "link": "href",
        "object": "classid codebase data usemap",
        "q": "cite",
        "script": "src",
        "source": "src",
        "video": "poster src",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Rewriter:
    """``prefix`` is the proxy's path before the backend's own; the hosts are the backend's and the one the client asked for."""

    prefix: str
    backend_host: str
    request_host: str

    def url(self, link: str) -> str:
        """The link as it has to be seen from outside; other hosts' and relative ones stay."""
        try:
            parts = urlsplit(link)
        except ValueError:
            return link
        foreign = parts.netloc not in ("", self.backend_host, self.request_host)
        if foreign or not parts.path.startswith("/"):
            return link
        scheme, host = ("", "") if parts.netloc != self.request_host else (parts.scheme, parts.netloc)
        path = parts.path
        if not path.startswith(self.prefix):
            path = join(self.prefix, parts.path)
        return urlunsplit(SplitResult(scheme, host, path, parts.query, parts.fragment))

    def html(self, page: str) -> str:
        finder = _Tags()
        finder.feed(page)
        finder.close()
        starts = [0]
        for line in page.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        out: list[str] = []
        position = 0
        for (row, column), raw, tag, attributes in finder.found:
            start = starts[row - 1] + column
            out += (page[position:start], self._tag(raw, tag, attributes))
            position = start + len(raw)
        out.append(page[position:])
        return "".join(out)

    def _tag(self, raw: str, tag: str, attributes: list[tuple[str, str | None]]) -> str:
        changed = [
            (name, self.url(value) if name in LINKS[tag] and value is not None else value) for name, value in attributes
        ]
        if changed == attributes:
            return raw
        written = "".join(f" {n}" if v is None else f' {n}="{html.escape(v)}"' for n, v in changed)
        return f"<{tag}{written}{'/' if raw.endswith('/>') else ''}>"


class _Tags(HTMLParser):
    """Where the start tags are that can carry a link."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[tuple[tuple[int, int], str, str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raw = self.get_starttag_text()
        if tag in LINKS and raw is not None:
            self.found.append((self.getpos(), raw, tag, attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)


def join(*parts: str) -> str:
    """Go's ``path.Join`` that keeps a trailing slash."""
    present = [part for part in parts if part]
    if not present:
        return ""
    joined = posixpath.normpath("/".join(present))
    if joined.startswith("//"):
        joined = joined[1:]
    return joined + "/" if present[-1].endswith("/") and not joined.endswith("/") else joined


def rewrite_body(body: bytes, encoding: str, rewriter: Rewriter) -> bytes:
    """An HTML page with its links rewritten; unchanged where its encoding is unknown or broken."""
    try:
        plain = _decode(body, encoding)
    except (OSError, zlib.error, EOFError):
        return body
    if plain is None:
        return body
    # Latin-1 maps every byte to one character and back: the page's own encoding stays what it was.
    changed = rewriter.html(plain.decode("latin-1")).encode("latin-1", "xmlcharrefreplace")
    return body if changed == plain else _encode(changed, encoding)


def _decode(body: bytes, encoding: str) -> bytes | None:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body, -zlib.MAX_WBITS)
    return body if not encoding else None


def _encode(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.compress(body, mtime=0)
    if encoding == "deflate":
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(body) + packer.flush()
    return body
