"""What a measurement says: a comparison with a bar, a curve of growth, or a profile; each is one line of JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Bar:
    """What a value must reach, or stay within."""

    relation: Literal["at least", "at most", "below"]
    value: float

    def holds(self, value: float) -> bool:
        """Say whether a value is on the right side."""
        if self.relation == "at least":
            return value >= self.value
        return value < self.value or (self.relation == "at most" and value == self.value)

    def __str__(self) -> str:
        return f"{self.relation} {self.value:.3g}"


@dataclass(frozen=True)
class Comparison:
    """One number, measured several times, and the raw figures that it came from."""

    name: str
    compared: str
    """What was measured, against what, and how large it was."""
    values: Sequence[float]
    """One per repeat."""
    unit: str = "times"
    """Of the values."""
    raw: dict[str, Sequence[float]] = field(default_factory=dict)
    """What was clocked or read, by its name and unit; one per repeat."""
    bar: Bar | None = None

    def to_line(self) -> dict[str, Any]:
        """Return the line; the median is held against the bar."""
        middle = median(self.values)
        return {
            "kind": "comparison",
            "name": self.name,
            "compared": self.compared,
            "unit": self.unit,
            "min": rounded(min(self.values)),
            "median": rounded(middle),
            "max": rounded(max(self.values)),
            "raw": {name: [rounded(value) for value in values] for name, values in self.raw.items()},
            "bar": str(self.bar) if self.bar else None,
            "holds": self.bar.holds(middle) if self.bar else None,
        }


@dataclass(frozen=True)
class Curve:
    """How one figure grows with one size."""

    name: str
    compared: str
    figure: str
    """The picture that the curve is a panel of."""
    size: str
    """What grows, such as `M inducing inputs`."""
    sizes: Sequence[float]
    measured: str
    """What was clocked, with its unit."""
    values: Sequence[float]

    def to_line(self) -> dict[str, Any]:
        """Return the line, with the slope of log value against log size over the upper half; None for a size of 0."""
        pairs = list(zip(self.sizes, self.values, strict=True))
        upper = pairs[-(len(pairs) // 2 + 1) :]
        line = asdict(self) | {"values": [rounded(value) for value in self.values]}
        return {"kind": "curve", **line, "slope": rounded(slope(upper)) if min(self.sizes) > 0 else None}


@dataclass(frozen=True)
class Profile:
    """Where something goes: an amount per part."""

    name: str
    compared: str
    unit: str
    parts: dict[str, float]

    def to_line(self) -> dict[str, Any]:
        """Return the line, the largest part first."""
        ordered = dict(sorted(self.parts.items(), key=lambda item: -item[1]))
        return {"kind": "profile", **asdict(self), "parts": {name: rounded(value) for name, value in ordered.items()}}


Record = Comparison | Curve | Profile


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of each pair."""
    return [first / second for first, second in zip(numerators, denominators, strict=True)]


def slope(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of log value against log size."""
    logs = [(math.log(size), math.log(value)) for size, value in pairs]
    mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def rounded(value: float) -> float:
    """Return four significant digits."""
    return float(f"{value:.4g}")
