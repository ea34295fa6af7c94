"""A container's log is whole when nobody writes it any more."""

import asyncio

from pybernetes.concurrency import RealClock, VirtualClock
from pybernetes.kubelet import log_writer


def test_a_writer_is_seen(tmp_path):
    path = tmp_path / "0.log"
    with path.open("w") as file:
        assert log_writer.has_writer(path)
        with path.open() as _:
            pass
        file.write("x")
    assert not log_writer.has_writer(path)
    with path.open():
        assert not log_writer.has_writer(path)


async def test_the_last_lines_are_waited_for(tmp_path):
    path = tmp_path / "0.log"
    file = path.open("w")
    waiting = asyncio.ensure_future(log_writer.written(path, RealClock()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    file.write("the last line")
    file.close()
    await waiting
    assert path.read_text() == "the last line"


async def test_no_log_and_a_finished_one_are_not_waited_for(tmp_path):
    clock = VirtualClock()
    await log_writer.written(tmp_path / "none.log", clock)
    (tmp_path / "0.log").write_text("x")
    await log_writer.written(tmp_path / "0.log", clock)


async def test_a_writer_that_does_not_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "PATIENCE", 0.01)
    with (tmp_path / "0.log").open("w"):
        await log_writer.written(tmp_path / "0.log", RealClock())
