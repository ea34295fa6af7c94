"""The process's memory: what stays is settled, what was let go of goes back to the system."""

from __future__ import annotations

import ctypes
import gc

YOUNG = 5_000
"""Objects that a pass over the youngest looks at: two milliseconds, and as much again where they are garbage."""


def settle_memory() -> None:
    """What lives as long as the process is taken out of the garbage collector's sight, and it looks at everything rarely.

    Requests make no cycles (``tests/apiserver/test_stalls.py`` holds them to it), so passes find nothing and only cost time
    in which nobody is answered: short ones of the youngest, never more than five such at once, and one of everything (60 ms
    with 100,000 pods) only after fifty million objects more were made than freed.
    """
    gc.enable()
    gc.freeze()  # without a pass before it: a start leaves two thousand objects of garbage, and after one with 100,000
    # pods a pass is 0.4 s in which clients that have just found the server wait
    gc.set_threshold(YOUNG, 4, 2_500)


def collect_ended() -> None:
    """Takes away what ended TLS connections leave: uvloop's are cycles, each with a buffer of 256 KiB.

    They are old by then, and the passes of ``settle_memory`` do not come to what is old.
    """
    if gc.isenabled():
        gc.collect()


def give_back() -> None:
    """Has the C library return freed pages to the system; it keeps them otherwise for what may come."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return  # not glibc, which alone has it
    trim(0)


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 (mallinfo(3))."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def unused() -> int:
    """Bytes that were freed and that the C library keeps: after a burst of requests more than what is in use.

    0 where it cannot tell (older ones, other ones). Takes a millisecond at most.
    """
    try:
        info = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    info.restype = _MallInfo
    return int(info().fordblks)
