"""The pictures of laws, alone and over a histogram of simulated singular values.

The picture of laws of singular values: densities, their edges and point masses.

The picture of a simulation: a histogram of log s, with the density of the law over it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.display.figure import STYLES, Axis, Bars, Figure, Line, Mark, Panel, Rule, Stem
from isocalc.errors import NoAnswerError
from isocalc.laws.law import Law, Variable

Array = npt.NDArray[np.float64]

LABEL: dict[Variable, tuple[str, str]] = {
    "singular": ("singular value s", "density of s"),
    "lambda": ("squared singular value λ = s²", "density of λ"),
    "log": ("log s, of the singular value s", "density of log s"),
}
_POINTS = 400
# Mass that may lie beyond the left and the right border, where the law has no end there.
_BEYOND = 5e-3
# A law is readable in a variable where its peak is not higher than so many times that of an even spread.
_STEEPEST = 12
# Mass that may lie where the density is above the picture.
_ABOVE = 0.02
_MOST_LOG = 300.0
_MOST_EDGES = 3


class _Curve(NamedTuple):
    x: Array
    density: Array
    below: Array


def law_figure(
    laws: Sequence[tuple[str, Law]],
    variable: Variable,
    title: str,
    *,
    asked_for: bool = False,
    caption: str = "",
    points: int = 600,
) -> Figure:
    """Return the densities of laws over each other.

    Parameters
    ----------
    laws : sequence of (str, Law)
        Names for the legend, and laws.
    variable : {"singular", "lambda", "log"}
        Of the density. Where a law is too wide or too steep for it, that of log s is shown over a logarithmic
        axis of s instead, in which areas are masses too.
    title : str
    caption : str
        Without one, the point masses that have no place on the axis are named with their mass.
    asked_for : bool
        Whether ``variable`` is shown however it looks.
    points : int
        Of each curve.
    """
    shown = [law.using(variable) for _, law in laws]
    curves = [_curve(law, points) for law in shown]
    lost = any(law.support() and not curve.x.size for law, curve in zip(shown, curves, strict=True))
    in_log = variable == "log" or lost or not (asked_for or _readable(curves, points // 2))
    over_s = in_log and variable != "log"
    if over_s:
        shown = [law.using("log") for law in shown]
        curves = [_curve(law, points) for law in shown]
        ends = [abs(float(end)) for curve in curves if curve.x.size for end in curve.x[[0, -1]]]
        over_s = max(ends, default=0.0) < _MOST_LOG
    marks: list[Mark] = []
    hidden: list[str] = []
    for number, ((name, _), law, curve) in enumerate(zip(laws, shown, curves, strict=True)):
        marks += law_marks(name, law, curve, number, over_s=over_s, fill=len(laws) == 1)
        hidden += _atoms_off(law, name, in_log=in_log)
    quantity, density = LABEL["log" if in_log else variable]
    x = Axis(LABEL["singular"][0] if over_s else quantity, log=over_s)
    top, cut = _top(curves)
    if hidden and caption:
        hidden = ["what is at s = 0 is not on this axis"]
    notes = [*hidden, *(["the density goes on above the picture"] if cut else [])]
    text = "; ".join(part for part in (caption, *notes) if part)
    return Figure(title, (Panel(x, Axis(density, ends=(0.0, top)), marks),), text)


def law_marks(
    name: str, law: Law, curve: "_Curve | None" = None, colour: int = 0, *, over_s: bool, fill: bool = False
) -> list[Mark]:
    """Return the density of a law, its edges and its point masses; ``over_s`` turns log s into s."""
    curve = curve or _curve(law, _POINTS)
    place = np.exp if over_s else np.asarray
    marks: list[Mark] = []
    if curve.x.size:
        x, density = place(curve.x).tolist(), curve.density.tolist()
        marks.append(Line(x, density, name, colour, STYLES[colour % len(STYLES)], fill=fill))
    edges = [end for interval in law.support() for end in interval if math.isfinite(end)]
    if curve.x.size and len(edges) <= 2 * _MOST_EDGES:
        low, high = float(curve.x[0]), float(curve.x[-1])
        inside = [end for end in edges if low - 1e-9 <= end <= high + 1e-9]
        marks += [Rule(float(place(end)), colour=colour) for end in inside if over_s or _off_axis(end, law)]
    for at, mass in law.atoms:
        if math.isfinite(at):
            s = float(place(at))
            label = f"point mass {mass:.3g} at {'s' if over_s else _SYMBOL[law.variable]} = {s:.3g}"
            marks.append(Stem(s, mass, f"{name}: {label}" if name else label, colour))
    return marks


_SYMBOL: dict[Variable, str] = {"singular": "s", "lambda": "λ", "log": "log s"}


def _off_axis(end: float, law: Law) -> bool:
    """Whether an edge is not the border of the picture anyway."""
    return law.variable == "log" or end > 0


def _curve(law: Law, points: int) -> _Curve:
    """Return a law's density where most of its mass is; nothing of a law of point masses only."""
    if not law.support():
        return _Curve(np.empty(0), np.empty(0), np.empty(0))
    x = law.grid(points)
    x = np.unique(x[np.isfinite(x)])
    below = law.cdf(x)
    low, high = float(law.cdf(-math.inf if law.variable == "log" else 0.0)), 1.0
    span = (high - low) * _BEYOND
    ends = law.support()[0][0], law.support()[-1][1]
    keep = np.ones(x.shape, dtype=bool)
    if not (math.isfinite(ends[0]) and (law.variable != "log" or ends[0] > -_MOST_LOG)):
        keep &= below >= low + span
    if not math.isfinite(ends[1]):
        keep &= below <= high - span
    try:
        density = law.pdf(x[keep])
    except NoAnswerError:
        keep &= (below >= low + span) & (below <= high - span)
        density = law.pdf(x[keep])
    return _Curve(x[keep], np.where(np.isfinite(density), density, np.nan), below[keep])


def _readable(curves: Sequence[_Curve], least: int) -> bool:
    """Whether densities are neither lost in doubles nor too steep to be seen beside each other."""
    full = [curve for curve in curves if curve.x.size]
    if not full:
        return True
    if any(curve.x.size < least or not np.isfinite(curve.density).all() for curve in full):
        return False
    width = max(float(curve.x[-1]) for curve in full) - min(float(curve.x[0]) for curve in full)
    return width * max(float(curve.density.max()) for curve in full) <= _STEEPEST


def _top(curves: Sequence[_Curve]) -> tuple[float, bool]:
    """Return the upper end of the density's axis, and whether some density is above it."""
    tops = [_highest(curve) for curve in curves if curve.x.size]
    if not tops:
        return 1.0, False
    most = max(float(np.nanmax(curve.density)) for curve in curves if curve.x.size)
    top = 1.08 * max(tops)
    return (1.08 * most, False) if most <= 2 * top else (1.4 * top, True)


def _highest(curve: _Curve) -> float:
    """Return the density above which next to no mass is."""
    density = np.nan_to_num(curve.density)
    mass = np.zeros(density.shape)
    steps = np.diff(curve.below) / 2
    mass[1:] += steps
    mass[:-1] += steps
    order = np.argsort(density)[::-1]
    above = np.cumsum(mass[order]) / max(float(mass.sum()), 1e-300)
    place = min(int(np.searchsorted(above, _ABOVE)), len(order) - 1)
    return float(density[order][place]) or 1.0


def _atoms_off(law: Law, name: str, *, in_log: bool) -> list[str]:
    """Return in words the point masses that have no place on a logarithmic axis."""
    found = [mass for at, mass in law.atoms if in_log and not math.isfinite(at)]
    of = f" of {name}" if name else ""
    return [f"not on this axis: point mass {mass:.4g}{of} at s = 0" for mass in found]


_LEAST_BARS, _MOST_BARS = 12, 60
_LABEL = "log s, of the singular value s"
_ROOM = 1.12


class Simulated(NamedTuple):
    """Singular values of one network, the shapes of ``log_s`` being (trials, width)."""

    name: str
    log_s: Sequence[Array]
    """Of each kind of gates"""
    law: Law | None
    caption: str = ""
    what: str = ""
    """Of whom; by default so many simulated networks"""
    zeros: str = "0"
    """What the singular values are whose logarithm is -inf"""
    width: int | None = None
    """Of all singular values, where ``log_s`` has the largest alone"""


def simulation_figure(simulations: Sequence[Simulated], kinds: Sequence[str], title: str) -> Figure:
    """Return a histogram for each network; the second of two kinds of gates is an outline."""
    panels = [_panel(one, kinds) for one in simulations]
    captions = [one.caption for one in simulations if one.caption]
    caption = captions[0] if len(simulations) == 1 and captions else ""
    return Figure(title, panels, "; ".join(part for part in (caption, *_zeros(simulations)) if part))


def histogram(log_s: Array, edges: Array, size: int | None = None) -> Array:
    """Return the density of log s in each bin: the area is the share of ``size`` singular values above 0.

    By default they are all in ``log_s``.
    """
    counts, _ = np.histogram(log_s[np.isfinite(log_s)], edges)
    share: Array = counts / np.diff(edges) / max(size or log_s.size, 1)
    return share


def _panel(one: Simulated, kinds: Sequence[str]) -> Panel:
    pooled = [log_s.ravel() for log_s in one.log_s]
    found = np.concatenate([log_s[np.isfinite(log_s)] for log_s in pooled])
    edges = _edges(found, pooled[0].size)
    heights = histogram(pooled[0], edges, one.width and one.width * len(one.log_s[0]))
    what = one.what or f"{len(one.log_s[0])} simulated network{'s' * (len(one.log_s[0]) > 1)}"
    marks: list[Mark] = [
        Bars(edges.tolist(), heights.tolist(), f"{what}, {kinds[0]} gates" if len(kinds) > 1 else what)
    ]
    for kind, log_s in zip(kinds[1:], pooled[1:], strict=False):
        other = histogram(log_s, edges)
        x, y = np.repeat(edges, 2), np.concatenate(([0.0], np.repeat(other, 2), [0.0]))
        marks.append(Line(x.tolist(), y.tolist(), f"{kind} gates", 1))
    top = _ROOM * float(heights.max(initial=0.0)) or 1.0
    if one.law is not None:
        law = one.law.using("log")
        marks += law_marks(f"{law.name} law", law, over_s=False)
        most = max(
            (y for mark in marks if isinstance(mark, Line) for y in mark.y if math.isfinite(y)), default=0
        )
        top = max(top, min(_ROOM * most, 3 * top))
    title = one.name + (f": {one.caption}" if one.name and one.caption else "")
    ends = (float(edges[0]), float(edges[-1]))
    room = 0.03 * (ends[1] - ends[0])
    x_axis = Axis(_LABEL, ends=(ends[0] - room, ends[1] + room))
    return Panel(x_axis, Axis("density of log s", ends=(0.0, top)), marks, title)


def _edges(found: Array, size: int) -> Array:
    """Return the edges of bins, about as many as the cube root of twice the number of values (Rice)."""
    bars = round(min(max(2 * size ** (1 / 3), _LEAST_BARS), _MOST_BARS))
    if not found.size:
        return np.linspace(-0.5, 0.5, bars + 1)
    low, high = float(found.min()), float(found.max())
    if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    edges: Array = np.linspace(low, high, bars + 1)
    return edges


def _zeros(simulations: Sequence[Simulated]) -> list[str]:
    """Return in words the share of the singular values that are 0."""
    told = []
    for one in simulations:
        share = float(np.mean(np.isneginf(one.log_s[0])))
        if share and one.width is None:
            of = f" ({one.name})" if one.name else ""
            told.append(f"not on this axis: {share:.3g} of the singular values are {one.zeros}{of}")
    return told
