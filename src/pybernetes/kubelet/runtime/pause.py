"""The pause program: the process that holds a pod's namespaces, as a static ELF file of some 250 bytes made here.

It ignores SIGCHLD, so that the kernel reaps what is reparented to it (it is PID 1 where a pod shares its process namespace),
blocks SIGINT and SIGTERM (a blocked signal reaches even PID 1, which has no default actions), and waits for one of them.
It needs no compiler, no download and no libc. Specified by the ELF-64 format and Linux's system calls, ``rt_sigaction(2)``,
``rt_sigprocmask(2)``, ``rt_sigtimedwait(2)`` and ``exit_group(2)``.
"""

from __future__ import annotations

import struct

_BASE = 0x400000
_HEADERS = 64 + 56
_SIGINT, _SIGTERM, _SIGCHLD = 2, 15, 17
# A kernel sigset: eight bytes, bit n-1 for signal n.
_WAITED = 1 << (_SIGINT - 1) | 1 << (_SIGTERM - 1)
# struct sigaction: SIG_IGN, then flags, restorer and mask, all zero; after it the set of signals that are waited for.
_DATA = struct.pack("<QQQQQ", 1, 0, 0, 0, _WAITED)
_ACTION_AT, _SET_AT = 0, 32


def _x86_64() -> bytes:
    """Each entry is an instruction, or an instruction's head and what it refers to in the data (32-bit relative)."""
    loop_start = 6
    program: list[tuple[bytes, int | None]] = [
        (b"\xb8\x0d\x00\x00\x00\xbf\x11\x00\x00\x00", None),  # eax = rt_sigaction; edi = SIGCHLD
        (b"\x48\x8d\x35", _ACTION_AT),  # rsi = &action
        (b"\x31\xd2\x41\xba\x08\x00\x00\x00\x0f\x05", None),  # edx = 0; r10d = 8; syscall
        (b"\xb8\x0e\x00\x00\x00\x31\xff", None),  # eax = rt_sigprocmask; edi = SIG_BLOCK
        (b"\x48\x8d\x35", _SET_AT),  # rsi = &set
        (b"\x31\xd2\x0f\x05", None),  # edx = 0; syscall
        (b"\xb8\x80\x00\x00\x00", None),  # wait: eax = rt_sigtimedwait
        (b"\x48\x8d\x3d", _SET_AT),  # rdi = &set
        (b"\x31\xf6\x31\xd2\x0f\x05\x85\xc0", None),  # esi = edx = 0; syscall; test eax, eax
        (b"\x7e", None),  # jle wait (displacement below)
        (b"\xb8\xe7\x00\x00\x00\x31\xff\x0f\x05", None),  # eax = exit_group; edi = 0; syscall
    ]
    sizes = [len(head) + (4 if target is not None else 0) + (1 if head == b"\x7e" else 0) for head, target in program]
    total = sum(sizes)
    code = bytearray()
    for index, (head, target) in enumerate(program):
        end = sum(sizes[: index + 1])
        code += head
        if target is not None:
            code += struct.pack("<i", total + target - end)
        elif head == b"\x7e":
            code += struct.pack("<b", sum(sizes[:loop_start]) - end)
    return bytes(code)


def _aarch64() -> bytes:
    def movz(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    def adr(register: int, at: int, target: int) -> int:
        offset = target - at
        return 0x10000000 | (offset & 3) << 29 | (offset >> 2 & 0x7FFFF) << 5 | register

    svc, count = 0xD4000001, 20
    data = 4 * count
    words = [movz(8, 134), movz(0, _SIGCHLD), adr(1, 8, data + _ACTION_AT), movz(2, 0), movz(3, 8), svc]
    words += [movz(8, 135), movz(0, 0), adr(1, 32, data + _SET_AT), movz(2, 0), svc]
    wait = 4 * len(words)
    words += [movz(8, 137), adr(0, wait + 4, data + _SET_AT), movz(1, 0), movz(2, 0), svc]
    at = 4 * len(words)
    words.append(0x37F80000 | (((wait - at) >> 2) & 0x3FFF) << 5)  # tbnz w0, #31, wait
    words += [movz(8, 94), movz(0, 0), svc]
    assert len(words) == count
    return struct.pack(f"<{count}I", *words)


def pause_binary(machine: str) -> bytes:
    """The program for ``x86_64`` or ``aarch64`` (as ``platform.machine()`` names them). Raises ValueError for others."""
    if machine == "x86_64":
        number, code = 62, _x86_64()
    elif machine in ("aarch64", "arm64"):
        number, code = 183, _aarch64()
    else:
        raise ValueError(f"no pause program for {machine}: set --pod-infra-container-image to an image of your own")
    body = code + _DATA
    size = _HEADERS + len(body)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\x00")
    header += struct.pack("<HHIQQQIHHHHHH", 2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + body
