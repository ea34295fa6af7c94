"""Times on the wire, the first year included: Go's zero time and what is counted from it are valid input."""

import pytest

from pybernetes.api.times import parse_time, to_micro_time, to_time


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:02Z", "1969-12-31T23:59:59Z", "2026-11-21T09:45:00Z", "9999-12-31T23:59:59Z"]
)
def test_there_and_back(text):
    assert to_time(parse_time(text)) == text


def test_micro_time():
    assert to_micro_time(parse_time("2026-01-01T00:00:02.000001Z")) == "2026-01-01T00:00:02.000001Z"
    assert to_micro_time(parse_time("0001-01-01T00:00:02Z")) == "0001-01-01T00:00:02.000000Z"
    assert to_micro_time(0.5) == "1970-01-01T00:00:00.500000Z"


def test_offsets_count():
    assert to_time(parse_time("2026-01-01T01:00:00.9+01:00")) == "2026-01-01T00:00:00Z"


def test_what_is_no_time():
    with pytest.raises(ValueError):
        parse_time("yesterday")
