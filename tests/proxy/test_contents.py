"""Elements with owners: what changes in the kernel when owners come, change and go."""

import random

from pybernetes.proxy.nft.contents import Contents, difference


def test_only_differences_are_written():
    contents = Contents()
    contents.assign("a", {("s", b"1"): b"x", ("s", b"2"): b"y"})
    assert contents.take_changes().add == {"s": {b"1": b"x", b"2": b"y"}}
    contents.assign("a", {("s", b"1"): b"x", ("s", b"2"): b"z"})
    changes = contents.take_changes()
    assert changes.delete == {"s": {b"2": b"y"}} and changes.add == {"s": {b"2": b"z"}}
    contents.assign("a", {("s", b"1"): b"q"})
    contents.assign("a", {("s", b"1"): b"x", ("s", b"2"): b"z"})
    assert not contents.take_changes()


def test_a_shared_element_stays_until_its_last_owner_goes():
    contents = Contents()
    contents.assign("a", {("s", b"1"): b"of a"})
    contents.assign("b", {("s", b"1"): b"of b"})
    assert contents.take_changes().add == {"s": {b"1": b"of a"}}
    contents.assign("a", {})
    assert contents.take_changes().add == {"s": {b"1": b"of b"}}
    contents.assign("b", {})
    assert contents.take_changes().delete == {"s": {b"1": b"of b"}}
    assert len(contents) == 0


def test_following_all_changes_gives_the_wanted_state():
    rng = random.Random(7)
    contents, kernel = Contents(), {}
    for step in range(300):
        items = {("s", bytes([rng.randrange(12)])): bytes([rng.randrange(3)]) for _ in range(rng.randrange(6))}
        contents.assign(rng.randrange(5), items)
        contents.validate_state()
        if step % 3 == 0:
            changes = contents.take_changes()
            for key, data in changes.delete.get("s", {}).items():
                assert kernel.pop(key) == data
            for key, data in changes.add.get("s", {}).items():
                assert key not in kernel
                kernel[key] = data
            assert kernel == contents.of_set("s")


def test_difference():
    assert difference({b"1": b"a", b"2": b"b"}, {b"2": b"c", b"3": b"d"}) == (
        {b"2": b"c", b"3": b"d"},
        {b"1": b"a", b"2": b"b"},
    )
