"""What a picture shows, as plain data: panels of marks over labelled axes; and the picture of a table.

`characters` draws it in a terminal, `image_files` into files. A number that is NaN is a gap. Marks with the
same ``colour`` belong together.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from isocalc.display.layout import (
    BLACK,
    MOST_COLOURS,
    MOST_MARKED,
    MOST_NAMED_ROWS,
    WIDE,
    WIDE_SINGULAR,
    WIDE_SWEEP,
)
from isocalc.display.table import Cell, Table
from isocalc.errors import InvalidInputError

Numbers = Sequence[float]
Style = Literal["solid", "dashed", "dotted", "dashdot", "none"]
STYLES: tuple[Style, ...] = ("solid", "dashed", "dotted", "dashdot")


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


Record = Mapping[str, Cell]
AXES = {
    "depth": "depth (layers)",
    "layer": "layer",
    "sigma_w": "σ_w, scale of the weights",
    "sigma_w2": "σ_w2, scale of the second weights",
    "sigma_b": "σ_b, scale of the biases",
    "skip": "weight a of the skip connection",
    "input_variance": "mean square of the input",
    "hidden_ratio": "hidden neurons over N",
    "c": "parameter c",
    "q_star": "variance q* of φ's input",
    "target_c": "parameter c that is wanted",
    "target_condition": "condition number that is wanted",
    "target_smax": "largest singular value that is wanted",
    "target_variance": "variance of s² that is wanted",
}
# What tells curves apart but is no quantity to draw along.
_NAMES = ("activation", "weights", "scheme")
_WHOLE = ("depth", "layer")


class Quantity(NamedTuple):
    """One number of each row: its name in the legend, the style of its curve, and what it is."""

    name: str
    of: str | Callable[[Record], Cell]
    style: Style = "solid"

    def at(self, row: Record) -> float:
        """Return the number, NaN where there is none to draw."""
        value = self.of(row) if callable(self.of) else row.get(self.of)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


class Chart(NamedTuple):
    """A panel of quantities over one axis, joined by a line where they are listed: ``rule`` marks a value."""

    label: str
    quantities: Sequence[Quantity]
    rule: tuple[float, str] | None = None
    log: bool = False


SPECTRUM = Chart(
    "singular value s",
    (
        Quantity("upper edge", "edge_upper", "dashed"),
        Quantity("largest, with outliers", "s_max", "dashdot"),
        Quantity("root mean square", lambda row: _root(row.get("mean_lambda"))),
        Quantity("lower edge", "edge_lower", "dotted"),
    ),
    log=True,
)


def _root(value: Cell) -> Cell:
    return math.sqrt(value) if isinstance(value, int | float) and value >= 0 else None


def table_figure(
    table: Table, axes: Mapping[str, Sequence[Cell]], charts: Sequence[Chart], title: str, along: str = ""
) -> Figure:
    """Return the charts of a table.

    Parameters
    ----------
    table : Table
    axes : mapping of str to sequence
        What was swept, and its values.
    charts : sequence of Chart
        Panels; one without any number is left out.
    title : str
    along : str
        The column that curves run along, by default the swept quantity with the most values. Without any,
        each row of the table gets a line of its own.

    Raises
    ------
    InvalidInputError
        There are more curves, or rows, than can be told apart.
    """
    records = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    numeric = {name: values for name, values in axes.items() if name not in _NAMES and len(set(values)) > 1}
    along = along or max(numeric, key=lambda name: len(set(numeric[name])), default="")
    others = [name for name in axes if name != along and len(set(axes[name])) > 1]
    panels = _curves(records, along, others, charts) if along else _rows(records, others, charts)
    return Figure(title, panels or [Panel(Axis(""), Axis("nothing to show"), ())])


def named(row: Record, names: Iterable[str]) -> str:
    """Return what a row is about, for a legend."""
    parts = [
        str(row[name]) if name in _NAMES else f"{name} {_short(row[name])}"
        for name in names
        if row.get(name) is not None
    ]
    return ", ".join(parts)


def _short(value: Cell) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def require_few(what: str, count: int, most: int) -> None:
    """Refuse a picture of more things than can be told apart."""
    if count > most:
        rule = f"of at most {most} {what}"
        raise InvalidInputError("plot", rule, count, "Give fewer values, or leave it out.")


def _curves(
    records: Sequence[Record], along: str, others: Sequence[str], charts: Sequence[Chart]
) -> list[Panel]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(named(record, others), []).append(record)
    require_few("curves", len(groups), MOST_COLOURS)
    x_values = [float(record[along] or 0) for record in records]
    x = Axis(AXES.get(along, along), _spread_out(x_values), whole=along in _WHOLE)
    panels = []
    for chart in charts:
        marks: list[Mark] = []
        for colour, (name, rows) in enumerate(groups.items()):
            for quantity in chart.quantities:
                main = len(groups) > 1 and quantity.style == "solid"
                label = name if main or len(groups) > 1 == len(chart.quantities) else ""
                label = quantity.name if len(groups) == 1 < len(chart.quantities) else label
                marks += _curve(rows, along, quantity, label, colour)
        if marks:
            if len(groups) > 1 and len(chart.quantities) > 1:
                marks += [Line((), (), one.name, BLACK, one.style) for one in chart.quantities]
            panels.append(Panel(x, _axis(chart, marks), [*marks, *_rule(chart, "y")]))
    return panels


def _curve(rows: Sequence[Record], along: str, quantity: Quantity, label: str, colour: int) -> list[Line]:
    """Return a quantity along an axis: a curve for each of the solutions there are at one place."""
    curves: list[Line] = []
    for branch in _branches(rows, along):
        y = [quantity.at(row) for row in branch]
        if any(map(math.isfinite, y)):
            x = [float(row[along] or 0) for row in branch]
            dots = len(x) <= MOST_MARKED
            curves.append(Line(x, y, "" if curves else label, colour, quantity.style, points=dots))
    return curves


def _branches(rows: Sequence[Record], along: str) -> list[list[Record]]:
    """Return the rows in curves that meet each place once: a network may have several solutions."""
    branches: list[list[Record]] = []
    met: dict[Cell, int] = {}
    for row in sorted(rows, key=lambda row: float(row[along] or 0)):
        number = met.get(row[along], 0)
        met[row[along]] = number + 1
        if number == len(branches):
            branches.append([])
        branches[number].append(row)
    return branches


def _rows(records: Sequence[Record], others: Sequence[str], charts: Sequence[Chart]) -> list[Panel]:
    require_few("rows", len(records), MOST_NAMED_ROWS)
    names = [
        named(record, others or [name for name in ("activation",) if name in record]) for record in records
    ]
    panels = []
    for chart in charts:
        marks: list[Mark] = []
        found = [[quantity.at(record) for quantity in chart.quantities] for record in records]
        if len(chart.quantities) > 1:
            for row, values in enumerate(found):
                known = [value for value in values if math.isfinite(value)]
                if known:
                    marks.append(Line((min(known), max(known)), (row, row), colour=BLACK))
        for colour, quantity in enumerate(chart.quantities):
            x = [values[colour] for values in found]
            if any(map(math.isfinite, x)):
                label = quantity.name if len(chart.quantities) > 1 else ""
                marks.append(Line(x, range(len(x)), label, colour, points=True, style="none"))
        if marks:
            axis = _axis(chart, marks, which="x")
            panels.append(Panel(axis, Axis(""), [*marks, *_rule(chart, "x")], rows=names))
    return panels


def _axis(chart: Chart, marks: Sequence[Mark], which: str = "y") -> Axis:
    """Return the axis of a chart, logarithmic where its numbers are far from each other."""
    lines = [mark for mark in marks if isinstance(mark, Line)]
    values = [value for line in lines for value in getattr(line, which) if math.isfinite(value)]
    above = [value for value in values if value > 0]  # of singular values: 0 is below every decade
    wide = bool(above) and max(above) > min(above) * (WIDE_SINGULAR if chart.log else WIDE)
    wide &= min(values, default=0.0) > 0 or (chart.log and min(values) == 0)
    return Axis(chart.label, log=wide)


def _rule(chart: Chart, axis: str) -> list[Mark]:
    if chart.rule is None:
        return []
    at, label = chart.rule
    return [Rule(at, "y" if axis == "y" else "x", label)]


def _spread_out(values: Sequence[float]) -> bool:
    """Whether the places of a sweep are spaced as on a logarithmic axis."""
    places = sorted(set(values))
    if len(places) < 3 or places[0] <= 0 or places[-1] < WIDE_SWEEP * places[0]:
        return False
    steps = [after - before for before, after in itertools.pairwise(places)]
    return max(steps) > 2.5 * min(steps)
