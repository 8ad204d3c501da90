"""What a picture shows, as plain data: panels of marks over labelled axes. Renderers draw it.

A number that is NaN is a gap. Marks with the same ``colour`` belong together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Numbers = Sequence[float]
Style = Literal["solid", "dashed", "dotted", "dashdot", "none"]
STYLES: tuple[Style, ...] = ("solid", "dashed", "dotted", "dashdot")
MOST_COLOURS = 8


@dataclass(frozen=True)
class Axis:
    """One axis: its quantity with its unit, whether it is logarithmic, or of whole numbers, its ends."""

    label: str
    log: bool = False
    whole: bool = False
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A curve through points: ``fill`` shades what is below, ``points`` marks each place."""

    x: Numbers
    y: Numbers
    label: str = ""
    colour: int = 0
    style: Style = "solid"
    fill: bool = False
    points: bool = False


@dataclass(frozen=True)
class Bars:
    """A histogram: one more edge than heights."""

    edges: Numbers
    heights: Numbers
    label: str = ""


@dataclass(frozen=True)
class Stem:
    """A point mass: as high as the panel where the mass is 1."""

    x: float
    mass: float
    label: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Rule:
    """A line from border to border at one value of ``axis``."""

    at: float
    axis: Literal["x", "y"] = "x"
    label: str = ""
    colour: int | None = None


@dataclass(frozen=True)
class Field:
    """A ratio over a grid, ``values[j][i]`` >= 0 at ``x[i], y[j]``: as far from 1 as its inverse is."""

    x: Numbers
    y: Numbers
    values: Sequence[Numbers]
    label: str

    @property
    def reach(self) -> float:
        """The factor from 1, either way, that shades tell apart: as far as values go, from 2 to 10."""
        values = [value for row in self.values for value in row if not math.isnan(value)]
        sizes = [max(value, 1 / value) if value else math.inf for value in values]
        return min(max([2.0, *sizes]), 10.0)


@dataclass(frozen=True)
class Note:
    """Words at a place in a panel."""

    x: float
    y: float
    text: str


Mark = Line | Bars | Stem | Rule | Field | Note


@dataclass(frozen=True)
class Panel:
    """Marks over one pair of axes.

    ``rows`` names the whole numbers 0, 1, ... of the y axis from top to bottom, where that is a list of
    things and not a quantity.
    """

    x: Axis
    y: Axis
    marks: Sequence[Mark]
    title: str = ""
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """Panels below each other, under a title and above a caption."""

    title: str
    panels: Sequence[Panel]
    caption: str = ""
