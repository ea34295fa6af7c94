"""Regular expressions of users: RE2 syntax and linear time, as Go's, so that no pattern can hold the server up.

Patterns come out of CRD schemas and CEL expressions. Python's own ``re`` backtracks and must never see them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

MAX_PATTERN = 64 * 1024


class PatternError(ValueError):
    """A pattern that RE2 refuses; the message says why."""


_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
}
"""RE2's words in C++ and in Go."""


def _go_words(reason: str) -> str:
    words, colon, piece = reason.partition(": ")
    return f"{_WORDS.get(words, words)}: `{piece}`" if colon else reason


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> Any:
    """A compiled pattern with ``search``. Raises PatternError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    if len(pattern) > MAX_PATTERN:
        raise PatternError("expression is too large")
    try:
        return re2.compile(pattern, options)
    except re2.error as failure:
        reason = failure.args[0] if failure.args else "invalid pattern"
        text = _go_words(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason))
        raise PatternError(f"error parsing regexp: {text}") from failure
    except UnicodeEncodeError as failure:
        raise PatternError("error parsing regexp: invalid UTF-8") from failure


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text. Raises PatternError."""
    return compile_pattern(pattern).search(text) is not None
