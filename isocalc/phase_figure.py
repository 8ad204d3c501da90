"""The phase diagram of feed-forward networks: χ over σ_w and σ_b, and the critical line χ = 1."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.critical_line import CriticalLine
from isocalc.figure import Axis, Field, Figure, Line, Mark, Note, Panel
from isocalc.gaussian import averages
from isocalc.network import FeedForward
from isocalc.output import Cell, Table

Array = npt.NDArray[np.float64]

CRITICAL = "critical line χ = 1"
LEAST = 3  # values of either scale that make a diagram
_POINTS, _MAP_POINTS = 4000, 200
# Shares of a diagram, of its area and of its shorter side: a phase that has less is not named.
_LEAST_AREA, _LEAST_DEPTH = 0.02, 0.05
_W, _B = "σ_w, scale of the weights", "σ_b, scale of the biases"


def phase_figure(
    table: Table, acts: Sequence[Activation], weights: Sequence[Cell], biases: Sequence[Cell], title: str
) -> Figure:
    """Return a phase diagram for each activation of a table with the columns sigma_w, sigma_b, chi, phase.

    Where a network has several stable fixed points, the first row is shown, that of the smallest q*. Places
    without a fixed point are left empty.
    """
    names = list(table.columns)
    places = [names.index(name) for name in ("activation", "sigma_w", "sigma_b", "chi", "phase")]
    found: dict[tuple[Cell, ...], tuple[float, Cell]] = {}
    several: set[tuple[Cell, ...]] = set()
    for row in table.rows:
        *key, value, phase = (row[place] for place in places)
        if tuple(key) in found:
            several.add(tuple(key))
        found.setdefault(tuple(key), (math.nan if value is None else float(value), phase))
    x, y = ([float(value or 0) for value in axis] for axis in (weights, biases))
    panels = []
    for act in acts:
        of_act = [[found.get((act.name, w, b), (math.nan, None)) for w in weights] for b in biases]
        field = Field(x, y, [[chi for chi, _ in row] for row in of_act], f"χ of {act.name}")
        line = critical_curve(act, (min(x), max(x)), (min(y), max(y)))
        phases = np.array([[phase or "no fixed point" for _, phase in row] for row in of_act])
        marks: list[Mark] = [field, *line, *_phases(x, y, phases)]
        panel_title = act.name if len(acts) > 1 else ""
        ends = [(min(axis), max(axis)) for axis in (x, y)]
        panels.append(Panel(Axis(_W, ends=ends[0]), Axis(_B, ends=ends[1]), marks, panel_title))
    places_of = f"{len(several)} place{'s' * (len(several) > 1)}"
    caption = f"several stable fixed points at {places_of}: the smallest q* is shown" if several else ""
    return Figure(title, panels, caption)


def critical_curve(act: Activation, weights: tuple[float, float], biases: tuple[float, float]) -> list[Line]:
    """Return the critical line χ = 1 of an activation between ends of σ_w and σ_b, as far as there is one.

    A point of variance q has σ_w² = 1/E_q φ'² and σ_b² = q − σ_w² E_q φ²; of a scale-free activation every
    σ_b has the same σ_w.
    """
    if act.scale_free:
        at = 1 / math.sqrt(averages(act, 1.0).gate)
        return _between([at, at], list(biases), weights, biases, CRITICAL)
    line = CriticalLine(act)
    known = line.grid.q[line.holding(line.grid)]
    curves = []
    if known.size:
        ends = [float(turn.q[0]) for turn in line.turns]
        found = line.places(np.sort([*np.geomspace(known[0], known[-1], _POINTS), *ends]))
        fit = line.holding(found)
        sigma_w, sigma_b = (
            np.sqrt(np.where(fit, np.maximum(part, 0.0), np.nan)) for part in (found.weight, found.bias)
        )
        if line.origin is not None:
            sigma_w, sigma_b = np.append(line.origin, sigma_w), np.append(0.0, sigma_b)
        label = "χ = 1" if act.jumps else CRITICAL
        curves = _between(sigma_w.tolist(), sigma_b.tolist(), weights, biases, label)
    return curves


def _between(
    x: list[float], y: list[float], weights: tuple[float, float], biases: tuple[float, float], label: str
) -> list[Line]:
    """Return the part of a curve that is in the picture."""
    room = [1e-9 * max(abs(end) for end in ends) for ends in (weights, biases)]
    inside = [
        weights[0] - room[0] <= u <= weights[1] + room[0] and biases[0] - room[1] <= v <= biases[1] + room[1]
        for u, v in zip(x, y, strict=True)
    ]
    if not any(inside):
        return []
    kept = [[u if fits else math.nan for u, fits in zip(axis, inside, strict=True)] for axis in (x, y)]
    return [Line(kept[0], kept[1], label, colour=4)]


def _phases(x: list[float], y: list[float], phases: npt.NDArray[np.str_]) -> list[Note]:
    """Return the names of the phases, each in the middle of where it is, and of what is none."""
    notes = []
    for name in ("ordered", "chaotic", "no fixed point"):
        depth = _depth(phases == name)
        j, i = np.unravel_index(int(depth.argmax()), depth.shape)
        if (depth > 0).mean() >= _LEAST_AREA and depth[j, i] >= _LEAST_DEPTH * min(depth.shape):
            notes.append(Note(x[i], y[j], name))
    return notes


def _depth(where: npt.NDArray[np.bool_]) -> Array:
    """Return how many steps each place is from where it is not, and from the borders."""
    padded = np.pad(where, 1)
    depth = np.zeros(where.shape)
    while padded.any():
        depth += padded[1:-1, 1:-1]
        padded[1:-1, 1:-1] &= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return depth


def map_figure(network: FeedForward, fixed: Sequence[float], title: str) -> Figure:
    """Return the map of the variance from one layer to the next, q to σ_w² E_q φ² + σ_b², and where it stays.

    Parameters
    ----------
    network : FeedForward
    fixed : sequence of float
        Its stable fixed points.
    title : str
    """
    most = 2 * max(fixed, default=0.0) or 1.0
    q = np.linspace(0.0, most, _MAP_POINTS)
    weight, bias = network.sigma_w * network.sigma_w, network.sigma_b * network.sigma_b
    after = weight * averages(network.act, q).second + bias
    marks: list[Mark] = [
        Line([0.0, most], [0.0, most], "no change", 4, "dotted"),
        Line(q.tolist(), np.asarray(after).tolist(), "one layer", 0),
    ]
    if fixed:
        marks.append(Line(list(fixed), list(fixed), "stable fixed point q*", 1, "none", points=True))
    x = Axis("variance q of φ's input in a layer")
    return Figure(title, (Panel(x, Axis("that of the next layer"), marks),))
