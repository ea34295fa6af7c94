"""Prometheus' text format, written straight: thousands of samples a scrape are no place for objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Sample = tuple[str, float | int, float | None]
"""Rendered labels (``{a="b"}`` or ''), value, and the moment of the reading in seconds (None for now)."""


def labels(values: Mapping[str, str]) -> str:
    """``{a="b",c="d"}`` in the order given, escaped."""
    if not values:
        return ""
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())
    return "{" + inner + "}"


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


class Exposition:
    """Families in the order in which they are added; a family without samples is left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        lines = [
            f"{name}{rendered} {_value(value)}" + (f" {int(at * 1000)}" if at is not None else "")
            for rendered, value, at in samples
        ]
        if lines:
            self._lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines)

    def histogram(self, name: str, text: str, samples: Iterable[tuple[str, Sample]]) -> None:
        """The same with the suffix of each line's name: ``_bucket``, ``_sum``, ``_count``."""
        lines = [f"{name}{suffix}{rendered} {_value(value)}" for suffix, (rendered, value, _) in samples]
        if lines:
            self._lines += (f"# HELP {name} {text}", f"# TYPE {name} histogram", *lines)

    def render(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode() if self._lines else b""


def _value(value: float | int) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
