"""Phase diagrams of feed-forward networks: arrays of σ_w and σ_b in, arrays of numbers or a picture out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import averages
from isocalc.activations.catalogue import Activation
from isocalc.display.figure import Axis, Field, Figure, Line, Mark, Note, Panel
from isocalc.display.table import Cell, Table
from isocalc.errors import InvalidInputError
from isocalc.networks.descriptions import FeedForward, Weights
from isocalc.signal.correlation import StableCorrelations
from isocalc.signal.criticality import CriticalLine
from isocalc.signal.fixed_points import VarianceMaps, depth_scales, refusal_of, stable_points
from isocalc.signal.tolerances import AT_ONCE, CRITICAL, LARGEST_SIGMA, SMALLEST_SIGMA

Array = npt.NDArray[np.float64]

LEAST = 3  # values of either scale that make a diagram
_POINTS = 4000  # of the critical line; those of a map are fewer, as it bends less
_CRITICAL_LINE = "critical line χ = 1"
_W, _B = "σ_w, scale of the weights", "σ_b, scale of the biases"
_NUMBERS = ("q_star", "chi", "xi_q", "xi_c", "c_star", "relative_variance", "escape")


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Stable fixed points over σ_w and σ_b.

    The arrays have the shape (branches, ...) of σ_w and σ_b broadcast together behind as many branches as
    one network has stable fixed points at most, at least one; the smallest q* comes first. Numbers are NaN
    where a network has no such branch, and phases are "".

    Attributes
    ----------
    q_star, chi, xi_q, xi_c, c_star, relative_variance, escape : array of float
        As :class:`isocalc.FixedPoint` has them, NaN where they are ``None`` there.
    phase : array of str
        "ordered", "critical", "chaotic"; "" where there is no fixed point.
    """

    q_star: Array
    chi: Array
    phase: npt.NDArray[np.str_]
    xi_q: Array
    xi_c: Array
    c_star: Array
    relative_variance: Array
    escape: Array


def phase_diagram(
    activation: str | Activation,
    sigma_w: npt.ArrayLike,
    sigma_b: npt.ArrayLike = 0.0,
    *,
    weights: Weights = "gaussian",
) -> PhaseDiagram:
    """Return all stable fixed points of feed-forward networks of one activation.

    Parameters
    ----------
    activation : str or Activation
    sigma_w, sigma_b : array_like
        Scales of weights and biases, broadcast against each other; 0 or from 1e-100 to 1e10.
    weights : {"gaussian", "orthogonal"}

    Returns
    -------
    PhaseDiagram
        With the accuracy of :func:`isocalc.fixed_points`, which takes a hundred times as long for thousands
        of networks: averages of many variances are interpolated, to a relative 5e-15.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.

    Notes
    -----
    Theory (12) to (17), Poole et al., arXiv 1606.05340.

    c* is the root of a power series (Mehler's formula for φ'), of
    piecewise linear φ that of a one-dimensional integral (Price's theorem). Where a φ of curves jumps
    or has kinks away from 0, or a kink at 0 and c* is beyond 0.999, chaotic networks with a bias are solved
    one by one, up to a tenth of a second each.

    Examples
    --------
    >>> import numpy as np
    >>> diagram = phase_diagram("tanh", np.linspace(0.5, 3, 101)[:, None], np.linspace(0, 1, 51))
    >>> diagram.chi.shape
    (1, 101, 51)
    """
    w, b = _scales(sigma_w, sigma_b)
    act = FeedForward(activation, weights=weights).act
    _require_scales(w, b)
    parts = [
        _described(act, w.ravel()[start : start + AT_ONCE], b.ravel()[start : start + AT_ONCE], weights)
        for start in range(0, w.size, AT_ONCE)
    ]
    most = max((part["q_star"].shape[0] for part in parts), default=1)
    whole = {}
    for name in (*_NUMBERS, "phase"):
        empty = "" if name == "phase" else np.nan
        shape, kind = (most, w.size), "U8" if name == "phase" else float
        whole[name] = np.full(shape, empty, dtype=kind)
        for start, part in zip(range(0, w.size, AT_ONCE), parts, strict=True):
            branches, count = part[name].shape
            whole[name][:branches, start : start + count] = part[name]
    return PhaseDiagram(**{name: array.reshape(most, *w.shape) for name, array in whole.items()})


def _require_scales(w: Array, b: Array) -> None:
    """Refuse the first pair of scales that a network cannot have, or that has no fixed points."""
    fits = [(array == 0) | ((array >= SMALLEST_SIGMA) & (array <= LARGEST_SIGMA)) for array in (w, b)]
    bad = np.flatnonzero(~(fits[0] & fits[1]))
    if bad.size:
        network = FeedForward("tanh", sigma_w=float(w.flat[bad[0]]), sigma_b=float(b.flat[bad[0]]))
        raise refusal_of(network) or InvalidInputError("sigma_w", "a scale", network.sigma_w)


def _described(act: Activation, w: Array, b: Array, weights: Weights) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a diagram of shape (branches, n)."""
    maps = VarianceMaps(act, w * w, b * b)
    points = stable_points(maps)
    network, weight = points.network, maps.weight[points.network]
    chi, slope = weight * points.layer.gate, weight * points.layer.slope
    correlations = StableCorrelations(act, points.q, weight, maps.bias[network], chi)
    c_star, slope_of_c = correlations.of_all()
    relative = np.where(weight > 0, points.layer.excess + (weights == "gaussian"), np.inf)
    phase = np.where(np.abs(chi - 1) <= CRITICAL, "critical", np.where(chi < 1, "ordered", "chaotic"))
    if act.jumps:
        phase = np.where((weight > 0) & (points.q > 0), "chaotic", phase)
    found = {
        "q_star": points.q,
        "chi": chi,
        "xi_q": depth_scales(slope),
        "xi_c": depth_scales(slope_of_c),
        "c_star": c_star,
        "relative_variance": relative,
        "escape": points.escape,
        "phase": phase,
    }
    branch = np.arange(network.size) - np.searchsorted(network, network)
    kept = ~points.lost[network]
    shape = (int(branch.max(initial=0)) + 1, w.size)
    arrays = {}
    for name, values in found.items():
        arrays[name] = np.full(shape, "" if name == "phase" else np.nan, dtype=values.dtype)
        arrays[name][branch[kept], network[kept]] = values[kept]
    return arrays


def _scales(sigma_w: npt.ArrayLike, sigma_b: npt.ArrayLike) -> tuple[Array, Array]:
    given = {"sigma_w": sigma_w, "sigma_b": sigma_b}
    arrays = []
    for name, value in given.items():
        try:
            arrays.append(np.asarray(value, dtype=float))
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError(name, "a real number or an array of them", value) from None
    try:
        first, second = np.broadcast_arrays(*arrays)
    except ValueError:
        rule = f"of a shape that broadcasts with sigma_w's {arrays[0].shape}"
        raise InvalidInputError("sigma_b", rule, arrays[1].shape) from None
    return first, second


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
        return _between([at, at], list(biases), weights, biases, _CRITICAL_LINE)
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
        label = "χ = 1" if act.jumps else _CRITICAL_LINE
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
        # Not of a phase that has less than 2 % of the area, or is narrower than 5 % of the shorter side.
        if (depth > 0).mean() >= 0.02 and depth[j, i] >= 0.05 * min(depth.shape):
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
    q = np.linspace(0.0, most, _POINTS // 20)
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
