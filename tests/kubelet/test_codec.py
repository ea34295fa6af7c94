"""The table codec against known bytes, and against itself over every message of the CRI."""

import pytest

from pybernetes.kubelet.cri.client import schema
from pybernetes.kubelet.cri.codec import CodecError, Schema

TABLE = """\
enum Color RED GREEN BLUE
Inner text=1 flag=2:bool
Outer name=1 count=2:int color=3:Color inner=4:Inner items=5:Inner* numbers=6:int* labels=7:{} raw=8:bytes ratio=9:double
  colors=10:Color*
"""


def test_known_bytes():
    table = Schema(TABLE)
    message = {"name": "hi", "count": 300, "color": "BLUE", "inner": {"flag": True}, "labels": {"a": "b"}}
    data = b"\x0a\x02hi\x10\xac\x02\x18\x02\x22\x02\x10\x01\x3a\x06\x0a\x01a\x12\x01b"
    assert table.encode("Outer", message) == data
    assert table.decode("Outer", data) == message


def test_round_trip_with_everything():
    table = Schema(TABLE)
    message = {
        "name": "ünïcode",
        "count": -1,
        "color": "GREEN",
        "inner": {},
        "items": [{"text": "x"}, {}],
        "numbers": [0, 1, 1 << 40, -5],
        "labels": {"k": "", "": "v"},
        "raw": b"\x00\xff",
        "ratio": 0.5,
        "colors": ["RED", "BLUE"],
    }
    assert table.decode("Outer", table.encode("Outer", message)) == message


def test_absent_enum_is_its_zero_value_and_other_zeros_are_absent():
    table = Schema(TABLE)
    assert table.encode("Outer", {"name": "", "count": 0, "color": "RED", "items": []}) == b""
    assert table.decode("Outer", b"") == {"color": "RED"}


def test_packed_numbers_unknown_fields_and_unknown_enum_values():
    table = Schema(TABLE)
    assert table.decode("Outer", b"\x32\x03\x01\xac\x02")["numbers"] == [1, 300]
    assert table.decode("Outer", b"\xfa\x01\x02ab\xa5\x06\x00\x00\x00\x00\x18\x09") == {"color": "9"}


@pytest.mark.parametrize("data", [b"\x0a\x05hi", b"\x10", b"\x0f", b"\x0a\x01\xff", b"\x10" + b"\xff" * 11])
def test_damaged_bytes_are_refused(data):
    with pytest.raises(CodecError):
        Schema(TABLE).decode("Outer", data)


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(CodecError, match="Inner has no field 'txt'"):
        Schema(TABLE).encode("Inner", {"txt": "x"})


def test_every_message_of_the_cri_compiles():
    table = schema()
    for name in table._lines:
        assert table.decode(name, table.encode(name, {})) is not None
