"""What lines of a log look like."""

import json
import logging

import pytest

from pybernetes.concurrency.log import FORMATS


def record(level, message, failure=None, **pairs):
    made = logging.LogRecord("pybernetes.apiserver", level, __file__, 1, message, (), failure)
    made.created, made.pairs = 1700000000.25, pairs
    return made


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.INFO, {"v": 0}),
        (logging.DEBUG, {"v": 4}),
        (logging.ERROR, {}),
    ],
)
def test_json_is_an_object_a_line(level, expected):
    line = FORMATS["json"]().format(record(level, 'said "so"', path="/x\n", code=404, msg="another", odd=Odd()))
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": 1700000000250.0,
        "logger": "apiserver",
        "msg": 'said "so"',
        "path": "/x\n",
        "code": 404,
        "msg_": "another",
        "odd": "odd",
        **expected,
    }


class Odd:
    def __str__(self):
        return "odd"


def test_failures_have_their_traceback():
    try:
        raise ValueError("why")
    except ValueError as failure:
        info = (ValueError, failure, failure.__traceback__)
    assert "ValueError: why" in json.loads(FORMATS["json"]().format(record(logging.ERROR, "x", info)))["err"]
    assert "ValueError: why" in FORMATS["text"]().format(record(logging.ERROR, "x", info))


def test_text_is_klogs_line():
    line = FORMATS["text"]().format(record(logging.WARNING, "slow", key="default/web", seconds=2))
    assert line == 'W1114 22:13:20.250000 apiserver slow key="default/web" seconds=2'
