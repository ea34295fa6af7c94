"""What the API server measures, under upstream's names, in the Prometheus text format.

Counting is a dictionary look-up and an addition, because every request pays for it; the text is made when it is asked for.
Specified by "Kubernetes Metrics Reference".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

from .request import Request, Response

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
Labels = tuple[tuple[str, str], ...]


Observed = tuple[list[int], list[float]]


class Counters:
    """One counter a set of labels."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self._found: dict[Labels, int] = {}

    def add(self, labels: Labels, number: int = 1) -> None:
        self._found[labels] = self._found.get(labels, 0) + number

    def lines(self) -> Iterator[str]:
        yield from head(self.name, "counter", self.text)
        for labels, number in self._found.items():
            yield f"{self.name}{{{inside(labels)}}} {number}" if labels else f"{self.name} {number}"


class Histograms:
    """One histogram a set of labels."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self.name, self.text, self.bounds = name, text, bounds
        self._found: dict[Labels, Observed] = {}

    def series(self, labels: Labels) -> Observed:
        """For who observes one set of labels often: its counts by bucket, and its sum in the only place of a list."""
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = ([0] * (len(self.bounds) + 1), [0.0])
        return found

    def observe(self, labels: Labels, value: float) -> None:
        found = self.series(labels)
        found[0][bisect_left(self.bounds, value)] += 1
        found[1][0] += value

    def counts(self) -> Iterator[tuple[Labels, int]]:
        """How often each was observed."""
        return ((labels, sum(counts)) for labels, (counts, _) in self._found.items())

    def lines(self, zeroes: Mapping[Labels, int] | None = None) -> Iterator[str]:
        """``zeroes`` are observations of nothing that were only counted."""
        yield from head(self.name, "histogram", self.text)
        zeroes = zeroes or {}
        for labels in dict.fromkeys((*self._found, *zeroes)):
            counts, total = self._found.get(labels, ([0] * (len(self.bounds) + 1), [0.0]))
            first = counts[0] + zeroes.get(labels, 0)
            yield from histogram_lines(self.name, inside(labels), self.bounds, [first, *counts[1:]], total[0])


def inside(labels: Iterable[tuple[str, str]]) -> str:
    """Labels as they are written between braces."""
    return ",".join(f'{n}="{escaped(v)}"' for n, v in labels)


def histogram_lines(
    name: str, labels: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> Iterator[str]:
    """The lines of one series: ``counts`` by bucket, the last for what is beyond all bounds."""
    mark, so_far = "," if labels else "", 0
    for bound, number in zip((*bounds, None), counts, strict=True):
        so_far += number
        edge = "+Inf" if bound is None else number_text(bound)
        yield f'{name}_bucket{{{labels}{mark}le="{edge}"}} {so_far}'
    shown = f"{{{labels}}}" if labels else ""
    yield f"{name}_sum{shown} {total!r}"
    yield f"{name}_count{shown} {so_far}"


class Metrics:
    """Everything that one server tells of itself."""

    def __init__(self, hidden: Collection[str] = ()) -> None:
        """``hidden`` are names of metrics that are not shown."""
        self._hidden = hidden
        self.gauges: list[Callable[[], Iterator[str]]] = []
        """Who has something to tell, in the order of the answer."""
        self.asked: list[Callable[[], Awaitable[Iterable[str]]]] = []
        """Who must ask others first."""

    async def answer(self, request: Request) -> Response:
        lines = list(self.lines())
        for ask in self.asked:
            lines += await ask()
        if self._hidden:
            lines = list(self._shown(lines))
        return Response(200, ("\n".join(lines) + "\n").encode(), CONTENT_TYPE)

    def lines(self) -> Iterator[str]:
        for gauge in self.gauges:
            yield from gauge()

    def _shown(self, lines: Iterable[str]) -> Iterator[str]:
        shown = True
        for line in lines:
            if line.startswith("# HELP "):
                shown = line.split(" ", 3)[2] not in self._hidden
            if shown:
                yield line


def escaped(value: str) -> str:
    """A label's value between its quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def head(name: str, kind: str, text: str) -> Iterator[str]:
    """What stands before the series of a metric."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def gauge_lines(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """The lines of one gauge."""
    return _lines(name, "gauge", text, values)


def counter_lines(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """The lines of one counter."""
    return _lines(name, "counter", text, values)


def _lines(name: str, kind: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield from head(name, kind, text)
    for labels, value in values:
        inside = ",".join(f'{k}="{escaped(v)}"' for k, v in labels.items())
        text = str(value) if isinstance(value, int) else number_text(value)
        yield f"{name}{{{inside}}} {text}" if inside else f"{name} {text}"


def number_text(value: float) -> str:
    """As Go writes it: the shortest digits that mean it, with an exponent from a million on."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    digits, _, exponent = f"{value!r}".partition("e")
    power = int(exponent) if exponent else len(digits.lstrip("-").partition(".")[0]) - 1
    if -5 < power < 6:
        return f"{float(value):.17f}".rstrip("0").rstrip(".") if exponent else digits.removesuffix(".0")
    if not exponent:
        sign, plain = ("-", digits[1:]) if value < 0 else ("", digits)
        whole, _, rest = plain.partition(".")
        mantissa = (whole[0] + "." + whole[1:] + rest).rstrip("0").rstrip(".")
        return f"{sign}{mantissa}e+{power:02d}"
    return f"{digits.removesuffix('.0')}e{'-' if power < 0 else '+'}{abs(power):02d}"
