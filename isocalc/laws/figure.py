"""The picture of laws of singular values: densities over each other, edges, outliers and point masses."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.display.figure import STYLES, Axis, Figure, Line, Mark, Panel, Rule, Stem
from isocalc.errors import NoAnswerError
from isocalc.laws.law import Law, Variable
from isocalc.laws.tolerances import (
    ABOVE_PICTURE,
    BEYOND_PICTURE,
    CURVE_POINTS,
    MOST_BANDS,
    NOTHING,
    SAFE_LOG,
    STEEPEST,
)

Array = npt.NDArray[np.float64]

LABEL: dict[Variable, tuple[str, str]] = {
    "singular": ("singular value s", "density of s"),
    "lambda": ("squared singular value λ = s²", "density of λ"),
    "log": ("log s, of the singular value s", "density of log s"),
}


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
    beyond = [place for law in shown for place in _outliers(law)]
    in_log = variable == "log" or lost or not (asked_for or _readable(curves, points // 2, beyond))
    over_s = in_log and variable != "log"
    if over_s:
        shown = [law.using("log") for law in shown]
        curves = [_curve(law, points) for law in shown]
        ends = [abs(float(end)) for curve in curves if curve.x.size for end in curve.x[[0, -1]]]
        over_s = max(ends, default=0.0) < SAFE_LOG
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
    """Return the density of a law, its edges, outliers and point masses; ``over_s`` turns log s into s."""
    curve = curve or _curve(law, CURVE_POINTS)
    place = np.exp if over_s else np.asarray
    marks: list[Mark] = []
    if curve.x.size:
        x, density = place(curve.x).tolist(), curve.density.tolist()
        marks.append(Line(x, density, name, colour, STYLES[colour % len(STYLES)], fill=fill))
    edges = [end for interval in law.support() for end in interval if math.isfinite(end)]
    if curve.x.size and len(edges) <= 2 * MOST_BANDS:
        low, high = float(curve.x[0]), float(curve.x[-1])
        inside = [end for end in edges if low - 1e-9 <= end <= high + 1e-9]
        marks += [Rule(float(place(end)), colour=colour) for end in inside if over_s or _off_axis(end, law)]
    for at in _outliers(law):
        s = float(place(at))
        label = f"outlier {'s' if over_s else _SYMBOL[law.variable]} = {s:.4g}"
        marks.append(Rule(s, label=f"{name}: {label}" if name else label, colour=colour))
    for at, mass in law.atoms:
        if math.isfinite(at):
            s = float(place(at))
            label = f"point mass {mass:.3g} at {'s' if over_s else _SYMBOL[law.variable]} = {s:.3g}"
            marks.append(Stem(s, mass, f"{name}: {label}" if name else label, colour))
    return marks


_SYMBOL: dict[Variable, str] = {"singular": "s", "lambda": "λ", "log": "log s"}


def _outliers(law: Law) -> list[float]:
    """Return the places outside of the law that fit a double; none where they are not known."""
    try:
        places: list[float] = [] if law.not_derived else law.outliers.tolist()
    except NoAnswerError:
        return []
    return [place for place in places if math.isfinite(place) and (place or law.variable == "log")]


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
    span = (high - low) * BEYOND_PICTURE
    ends = law.support()[0][0], law.support()[-1][1]
    keep = np.ones(x.shape, dtype=bool)
    if not (math.isfinite(ends[0]) and (law.variable != "log" or ends[0] > -SAFE_LOG)):
        keep &= below >= low + span
    if not math.isfinite(ends[1]):
        keep &= below <= high - span
    try:
        density = law.pdf(x[keep])
    except NoAnswerError:
        keep &= (below >= low + span) & (below <= high - span)
        density = law.pdf(x[keep])
    return _Curve(x[keep], np.where(np.isfinite(density), density, np.nan), below[keep])


def _readable(curves: Sequence[_Curve], least: int, beyond: Sequence[float]) -> bool:
    """Whether densities are not lost in doubles, nor too steep to be seen beside each other and outliers."""
    full = [curve for curve in curves if curve.x.size]
    if not full:
        return True
    if any(curve.x.size < least or not np.isfinite(curve.density).all() for curve in full):
        return False
    places = [*(float(end) for curve in full for end in curve.x[[0, -1]]), *beyond]
    width = max(places) - min(places)
    return width * max(float(curve.density.max()) for curve in full) <= STEEPEST


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
    above = np.cumsum(mass[order]) / max(float(mass.sum()), NOTHING)
    place = min(int(np.searchsorted(above, ABOVE_PICTURE)), len(order) - 1)
    return float(density[order][place]) or 1.0


def _atoms_off(law: Law, name: str, *, in_log: bool) -> list[str]:
    """Return in words the point masses that have no place on a logarithmic axis."""
    found = [mass for at, mass in law.atoms if in_log and not math.isfinite(at)]
    of = f" of {name}" if name else ""
    return [f"not on this axis: point mass {mass:.4g}{of} at s = 0" for mass in found]
