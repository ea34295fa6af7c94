"""CRI log lines, tails, limits, rotation and following."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybernetes.concurrency import RealClock
from pybernetes.kubelet.server.container_logs import LogFileError, open_log, read_log, tail_offset
from pybernetes.kubelet.server.crilog import LogFormatter, LogOptions, full_time

T = "2026-01-02T03:04:05.123456789Z"
CLOCK = RealClock()


def line(text: str, *, stream: str = "stdout", tag: str = "F", time: str = T) -> bytes:
    return f"{time} {stream} {tag} {text}".encode()


def show(lines, **options) -> bytes:
    return LogFormatter(LogOptions(**options)).feed(lines)


def test_both_streams_are_shown_in_order():
    assert show([line("a"), line("b", stream="stderr"), line("")]) == b"a\nb\n\n"


def test_pieces_of_a_long_line_are_joined_and_have_one_time():
    lines = [line("long ", tag="P"), line("line"), line("next")]
    assert show(lines) == b"long line\nnext\n"
    assert show(lines, timestamps=True) == f"{T} long line\n{T} next\n".encode()


def test_broken_lines_are_left_out():
    assert show([b"", b"nonsense", b"x y z w", line("a"), b"2026-01-02T03:04:05Z stdout"]) == b"a\n"


def test_since():
    lines = [line("old", time="2026-01-01T00:00:00Z"), line("new", time="2026-01-01T02:00:00.5+01:00")]
    assert show(lines, since=1767225600.5 + 3600 - 0.5) == b"new\n"


def test_limits():
    lines = [line("aaaa"), line("bbbb"), line("cccc")]
    formatter = LogFormatter(LogOptions(limit_bytes=7))
    assert formatter.feed(lines) == b"aaaa\nbb"
    assert formatter.finished
    assert show(lines, tail_lines=2) == b"aaaa\nbbbb\n"
    assert show(lines, tail_lines=2, follow=True) == b"aaaa\nbbbb\ncccc\n"
    assert LogFormatter(LogOptions(tail_lines=0)).finished


def test_times_have_nine_digits():
    assert full_time(b"2026-01-02T03:04:05Z") == b"2026-01-02T03:04:05.000000000Z"
    assert full_time(b"2026-01-02T03:04:05.12+01:00") == b"2026-01-02T03:04:05.120000000+01:00"


@given(
    st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")), max_size=20),
    st.integers(0, 25),
    st.integers(1, 9),
)
def test_the_tail_begins_at_its_line(lines, wanted, block):
    content = b"".join(piece + b"\n" for piece in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pybernetes.kubelet.server.container_logs.BLOCK", block)
        offset = tail_offset(io.BytesIO(content), wanted)
    expected = lines[-wanted:] if wanted else []
    assert content[offset:] == b"".join(piece + b"\n" for piece in expected)


async def whole(path: Path, **options) -> bytes:
    async def running() -> bool:
        return False

    return b"".join(
        [part async for part in read_log(open_log(path), LogOptions(**options), clock=CLOCK, running=running)]
    )


async def test_a_file(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(b"".join(line(str(n)) + b"\n" for n in range(1000)))
    link = tmp_path / "link.log"
    link.symlink_to(path)
    assert await whole(link, tail_lines=2) == b"998\n999\n"
    assert await whole(path, tail_lines=0) == b""
    assert (await whole(path)).count(b"\n") == 1000
    assert await whole(path, follow=True, tail_lines=1) == b"999\n"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(LogFileError) as failure:
        open_log(tmp_path / "0.log")
    path = tmp_path / "0.log"
    assert str(failure.value) == (
        f'failed to try resolving symlinks in path "{path}": lstat {path}: no such file or directory'
    )


def test_a_link_that_leads_out_of_the_logs(tmp_path):
    """A pod that mounts the node's directory of logs can put links there: they must not show the host's files."""
    (tmp_path / "shadow").write_text("secret")
    container = tmp_path / "pods/default_p_uid/c"
    container.mkdir(parents=True)
    (container / "0.log").symlink_to(tmp_path / "shadow")
    with pytest.raises(LogFileError, match="leads out of"):
        open_log(container / "0.log")


async def test_following_through_a_rotation_until_the_end(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(line("one") + b"\n")
    alive = True

    async def running() -> bool:
        return alive

    body = read_log(open_log(path), LogOptions(follow=True), clock=CLOCK, running=running)
    async with asyncio.timeout(10):
        assert await anext(body) == b"one\n"
        with path.open("ab") as file:
            file.write(line("two") + b"\n" + line("thr")[:-1])
            file.flush()
            assert await anext(body) == b"two\n"
            file.write(b"ree\n")
        assert await anext(body) == b"three\n"
        with path.open("ab") as old:
            path.rename(tmp_path / "0.log.1")
            old.write(line("late") + b"\n")
            path.write_bytes(line("four") + b"\n")
        rest = b""
        while b"four\n" not in rest:
            rest += await anext(body)
        assert rest == b"late\nfour\n"
        alive = False
        with path.open("ab") as file:
            file.write(line("last") + b"\n")
        assert b"".join([part async for part in body]) == b"last\n"


async def test_a_reader_that_stops_leaves_nothing_open(tmp_path):
    path = tmp_path / "0.log"
    path.write_bytes(line("one") + b"\n")

    async def running() -> bool:
        return True

    before = len(list(Path("/proc/self/fd").iterdir()))
    body = read_log(open_log(path), LogOptions(follow=True), clock=CLOCK, running=running)
    assert await anext(body) == b"one\n"
    await body.aclose()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
