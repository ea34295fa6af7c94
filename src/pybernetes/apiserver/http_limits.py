"""What a client of the HTTP front may take: sizes in bytes, times in seconds."""

from __future__ import annotations

MAX_HEAD = 1 << 20
"""Go's default for a request's head."""
PIPELINE = 16
"""Requests read ahead on one connection before its socket is left alone."""
HEAD_TIMEOUT, IDLE_TIMEOUT, BODY_TIMEOUT = 32.0, 120.0, 60.0
READ_TIMEOUT = 60.0
"""As long as a client may take nothing of an answer or a watch that waits for it. Streams that people look at (logs, exec) wait on."""
SWEEP = 5.0
WORTH_COLLECTING = 128
"""Ended connections: up to 32 MB, for a pass of some milliseconds (60 with 100,000 pods)."""
HIGH_WATER = 512 * 1024
SLICE = 256 * 1024
SMALL = 64 * 1024
LINGER = 2.0
"""As long as bytes are still taken from a client that was refused."""
