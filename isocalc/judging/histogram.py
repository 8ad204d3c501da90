"""The picture of a simulation: a histogram of log s, with the density of the law over it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.display.figure import Axis, Bars, Figure, Line, Mark, Panel, Rule
from isocalc.judging.allowances import LEAST_BARS, MOST_BARS, ROOM
from isocalc.laws.figure import LABEL, law_marks
from isocalc.laws.law import Law

Array = npt.NDArray[np.float64]


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
    """Return a histogram of log s for each network; the second of two kinds of gates is an outline.

    Parameters
    ----------
    simulations : sequence of Simulated
    kinds : sequence of str
        Names of the kinds of gates, one for each array of `Simulated.log_s`; one kind need not be named.
    title : str

    Raises
    ------
    NoAnswerError
        A law is not solved.
    """
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
    top = ROOM * float(heights.max(initial=0.0)) or 1.0
    if one.law is not None:
        law = one.law.using("log")
        marks += law_marks(f"{law.name} law", law, over_s=False)
        most = max(
            (y for mark in marks if isinstance(mark, Line) for y in mark.y if math.isfinite(y)), default=0
        )
        top = max(top, min(ROOM * most, 3 * top))
    title = one.name + (f": {one.caption}" if one.name and one.caption else "")
    lines = [mark.at for mark in marks if isinstance(mark, Rule) and mark.label]  # outliers
    ends = (min([float(edges[0]), *lines]), max([float(edges[-1]), *lines]))
    room = 0.03 * (ends[1] - ends[0])
    x_axis = Axis(LABEL["log"][0], ends=(ends[0] - room, ends[1] + room))
    return Panel(x_axis, Axis(LABEL["log"][1], ends=(0.0, top)), marks, title)


def _edges(found: Array, size: int) -> Array:
    """Return the edges of bins, about as many as the cube root of twice the number of values (Rice)."""
    bars = round(min(max(2 * size ** (1 / 3), LEAST_BARS), MOST_BARS))
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
