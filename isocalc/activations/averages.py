"""Averages over a Gaussian pre-activation, E f = E f(√q z), z standard normal: at many q, or tabulated.

They are composite Gauss-Legendre quadrature in z. Panels end at the breakpoints of φ; where the pieces
between them vary over a length (``Activation.scale``) panels double in size away from 0 in units of it, so
that an integrand that is narrow in z (large q) is resolved too.

`AverageTable` has E φ, E φ² and E φ'² octave by octave, for recursions over many layers. Each is analytic in
log q in a strip about the real axis, so Chebyshev interpolation of degree 15 on an octave is exact to
rounding; where its last coefficients say otherwise direct quadrature takes over.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.catalogue import Activation
from isocalc.activations.tolerances import (
    CENTRAL_REACH,
    FARTHEST_REACH,
    IN_CACHE,
    INTERPOLATED,
    LAST_SHARE,
    MANY_NODES,
    MOST_PANELS,
    NEXT_TO_NOTHING,
    NO_MEAN,
    NO_TERM,
    OCTAVE_ACCURACY,
    OCTAVE_NODES,
    SMALLEST_Q,
    VANISHES,
    WINDOWS,
    WORTH_A_TABLE,
    WORTH_INTERPOLATION,
)
from isocalc.errors import NoAnswerError
from isocalc.numerics.quadrature import central_edges, far_panels, panel_rule, window_rule
from isocalc.numerics.special import erf
from isocalc.numerics.tolerances import EXP_IS_0, LEAST, NORMAL_IS_0

Array = npt.NDArray[np.float64]


class Averages(NamedTuple):
    """Gaussian averages at the variances q that were asked for; q = 0 stands for the limit q → 0+."""

    mean: Array
    """E φ"""
    second: Array
    """E φ²"""
    gate: Array
    """E φ'²"""
    gate_squared: Array
    """E φ'⁴"""
    curvature: Array
    """E φ² (z² − 1), twice q times the slope of E φ² in q"""


def normal_rule(act: Activation, q: Array) -> tuple[Array, Array]:
    """Return nodes z and weights of the standard normal law, fit for functions of √q z made from φ.

    Parameters
    ----------
    act : Activation
    q : array, shape (n,)
        Variances, greater than 0.

    Returns
    -------
    z, weights : arrays, shape (n, k)
    """
    if _far_waves(act, q).any():
        z, weights = _rule_of_waves(act, math.sqrt(q.max()))
        return np.broadcast_to(z, (q.size, z.size)), np.broadcast_to(weights, (q.size, z.size))
    sigma, reach = np.sqrt(q)[:, None], reach_of(act, q)[:, None]
    farthest = float(reach.max())
    central = central_edges(math.ceil(farthest / 1.5))
    # Panels behind a breakpoint in the tail, where the integrand falls like exp(-38 z) at worst. Those of a
    # breakpoint within reach go beyond it too: soft shrink is 0 up to there.
    behind = np.array([0.0, 0.25, 0.75, 1.5, 3.0, 5.0])
    in_x = act.edges(farthest * float(sigma.max()))
    with np.errstate(over="ignore"):
        edges = [np.clip(central, -reach, reach), np.clip(in_x / sigma, -reach, reach)]
        for point in act.breakpoints:
            if point:
                place = np.clip(point / sigma, -NORMAL_IS_0, NORMAL_IS_0)
                in_tail = np.abs(place).max() > farthest - behind[-1]
                tail = math.copysign(1.0, point) * behind if in_tail else behind[:1]
                edges.append(np.clip(place + tail, -NORMAL_IS_0, NORMAL_IS_0))
    return panel_rule(np.sort(np.concatenate(edges, axis=1), axis=1))


def _far_waves(act: Activation, q: Array) -> npt.NDArray[np.bool_]:
    """Whether φ has waves and x comes so far out that few panels do not follow them all."""
    if act.steep or math.isinf(act.longest):
        return np.zeros(q.size, dtype=bool)
    return np.asarray(np.sqrt(q) > min(4 * act.window, MOST_PANELS * act.longest))


def _rule_of_waves(act: Activation, sigma: float) -> tuple[Array, Array]:
    """Return nodes and weights of the normal law for functions that are waves far out.

    x is y + w, both normal, w with the standard deviation of the window: where |y| is large the average over
    w is smooth in y. The law of x where |y| <= ``near`` has a density in closed form, the rest is a sum.
    """
    if math.isinf(act.window):
        raise NoAnswerError(
            f"{act.name} has waves too unlike each other for its averages at q = {sigma**2:.6g}"
        )
    window, rest = act.window / sigma, math.sqrt(1 - (act.window / sigma) ** 2)
    near = (max(map(abs, act.breakpoints), default=0.0) + act.scale) / sigma + WINDOWS * window
    far = near + WINDOWS * window
    edges = np.concatenate((act.edges(far * sigma), act.breakpoints, [-far * sigma, far * sigma])) / sigma
    z, weights = panel_rule(np.sort(np.clip(edges, -far, far)))
    spread = window * rest * math.sqrt(2)
    weights = weights * (erf((near - z * rest**2) / spread) + erf((near + z * rest**2) / spread)) / 2
    y, parts = far_panels(near / rest, max(CENTRAL_REACH, 2 * near / rest))
    parts = parts * np.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    w, shares = window_rule(act.longest / sigma, window)
    outer = np.add.outer(rest * np.concatenate((-y, y)), w).ravel()
    return np.concatenate((z, outer)), np.concatenate((weights, np.outer(np.tile(parts, 2), shares).ravel()))


def reach_of(act: Activation, q: Array) -> Array:
    """Return the |z| beyond which nothing counts, 10.5 but where φ grows faster than powers.

    Parameters
    ----------
    act : Activation
    q : array, shape (n,)
        Variances.

    Returns
    -------
    array, shape (n,)
        At most 36, where the normal density is nearly no double.
    """
    if not act.steep:
        return np.full(q.size, CENTRAL_REACH)
    z = np.arange(0.0, FARTHEST_REACH, 0.25)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        x = np.sqrt(q)[:, None, None] * (z * np.array([[-1.0], [1.0]]))
        size = np.log(np.maximum(np.abs(act.phi(x)), np.abs(act.dphi(x)))).max(axis=1)
        terms = 4 * size - z * z / 2
        counts = ~(terms < terms.max(axis=1, initial=-EXP_IS_0)[:, None] - NO_TERM)
    last = z.size - 1 - np.argmax(counts[:, ::-1], axis=1)
    return np.asarray(np.clip(z[last] + 0.25, CENTRAL_REACH, FARTHEST_REACH))


def averages(act: Activation, q: npt.ArrayLike) -> Averages:
    """Return the Gaussian averages of an activation.

    Parameters
    ----------
    act : Activation
    q : array_like, any shape
        Variances of the pre-activation, at least 0.

    Returns
    -------
    Averages
        Arrays of the shape of ``q``, each within 1e-12 · E|f| while φ⁴ and φ'⁴ do not overflow.
    """
    q = np.asarray(q, dtype=float)
    flat = np.atleast_1d(q).ravel()
    if act.closed_averages is not None:
        result = Averages(*act.closed_averages(flat))
    elif act.scale_free:
        result = _scale_free_averages(act, flat)
    else:
        result = Averages(*(np.empty(flat.size) for _ in Averages._fields))
        for chosen in _batches(act, flat):
            for whole, part in zip(result, _quadrature(act, flat[chosen]), strict=True):
                whole[chosen] = part
    return Averages(*(array.reshape(q.shape) for array in result))


def _batches(act: Activation, q: Array) -> Iterator[npt.NDArray[np.intp]]:
    """Part the indices of q, 16 octaves together: the panels of a batch are those of its largest q."""
    far = _far_waves(act, q)
    yield from np.flatnonzero(far)[:, None]
    batch = np.where(q > 0, np.frexp(q)[1] // 16, np.iinfo(np.int32).min)[~far]
    # set, not np.unique: the latter imports numpy.ma, 8 ms.
    for key in set(batch.tolist()):
        together = np.flatnonzero(~far)[batch == key]
        size = IN_CACHE if math.isinf(act.longest) else IN_CACHE // 16
        for start in range(0, together.size, size):
            yield together[start : start + size]


def _quadrature(act: Activation, q: Array) -> Averages:
    if q.any():
        z, weights = normal_rule(act, q)
        x = np.sqrt(q)[:, None] * z
    else:
        z, weights = np.array([[-1.0, 1.0]]), np.array([[0.5, 0.5]])
        x = LEAST * z
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _averages_on(act, x, z, weights, q)


def _averages_on(act: Activation, x: Array, z: Array, weights: Array, q: Array) -> Averages:
    phi, slope = act.phi(x), act.dphi(x)
    square = _weighed(act, weights, phi, 2)

    def total(terms: Array) -> Array:
        return _total(act, terms, z) + np.zeros_like(q)

    if act.slopes is None:
        gates = total(_weighed(act, weights, slope, 2)), total(_weighed(act, weights, slope, 4))
    else:
        laws = [act.gate_masses(value) for value in q.tolist()]
        gates = (
            np.array([math.fsum(d * mass for d, mass in law) for law in laws]),
            np.array([math.fsum(d * d * mass for d, mass in law) for law in laws]),
        )
    middle = np.zeros_like(q) if act.odd else total(weights * phi)
    return Averages(middle, total(square), *gates, total(square * (z * z - 1)))


def _weighed(act: Activation, weights: Array, values: Array, power: int) -> Array:
    """Return weights times an even power of values, which where φ is steep is no double by itself."""
    if act.steep:
        return np.asarray((weights ** (1 / power) * values) ** power)
    square = values * values
    return weights * (square if power == 2 else square * square)


def _total(act: Activation, terms: Array, z: Array) -> Array:
    """Return the sums of terms of averages, infinite where these do not fall off far out."""
    totals = np.asarray(terms.sum(axis=1))
    if act.steep:
        last = np.where(np.abs(z) > FARTHEST_REACH - 1, np.abs(terms), 0.0).sum(axis=1)
        totals[~(last <= LAST_SHARE * np.abs(totals))] = np.inf
    return totals


def _scale_free_averages(act: Activation, q: Array) -> Averages:
    left, right = act.slopes[0], act.slopes[-1]  # type: ignore[index] # piecewise linear, by definition
    left, right, difference = left * left, right * right, right - left
    second, fourth = (left + right) / 2, (left * left + right * right) / 2
    with np.errstate(over="ignore", under="ignore"):
        mean = difference * np.sqrt(q / (2 * math.pi))
        return Averages(mean, second * q, np.full_like(q, second), np.full_like(q, fourth), 2 * second * q)


def second_moment_and_slope(act: Activation, q: Array) -> tuple[Array, Array]:
    """Return E φ² and its derivative in q, for q > 0 of shape (n,).

    The slope is E φφ'z / √q, well conditioned at small q; where φ jumps it is E φ² (z² − 1) / 2q.
    """
    if act.closed_averages is not None or act.scale_free or act.jumps:
        all_of_them = averages(act, q)
        return all_of_them.second, all_of_them.curvature / (2 * q)
    second, slope = np.empty(q.size), np.empty(q.size)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for chosen in _batches(act, q):
            z, weights = normal_rule(act, q[chosen])
            sigma = np.sqrt(q[chosen])
            x = sigma[:, None] * z
            phi = act.phi(x)
            left, right = (np.sqrt(weights),) * 2 if act.steep else (weights, 1.0)
            second[chosen] = _total(act, left * phi * (right * phi), z)
            slope[chosen] = _total(act, left * phi * (right * act.dphi(x)) * z, z) / sigma
    return second, slope


@cache
def _octave_rule(count: int) -> tuple[Array, Array]:
    """Return nodes q/2^e in octave e, 2^(e-1) <= q < 2^e, and the matrix to Chebyshev coefficients.

    The variable is t = 2 log2(q) − 2e + 1. numpy.polynomial, which has both, takes some 5 ms to import.
    """
    angle = np.pi * (np.arange(count) + 0.5) / count
    matrix = np.cos(np.outer(np.arange(count), angle)) * 2 / count
    matrix[0] /= 2
    return np.exp2((np.cos(angle) - 1) / 2), matrix


@cache
def _precise_rule(count: int) -> tuple[Array, Array]:
    """Return what `_octave_rule` does, with angles reduced before they are rounded."""
    turns = np.outer(np.arange(count), 2 * np.arange(count) + 1) % (4 * count)
    matrix = np.cos(np.pi / (2 * count) * turns) * 2 / count
    matrix[0] /= 2
    return _octave_rule(count)[0], matrix


def by_octaves(function: Callable[[Array], Array], q: Array, *, relative: bool = True) -> Array:
    """Return a function of many variances, by interpolation on octaves that have many of them.

    Parameters
    ----------
    function : callable
        q > 0, shape (m,), to values of shape (m, k) that are analytic in log q as averages are.
    q : array, shape (n,)
    relative : bool
        Whether each of the k values is to keep its digits, and not the largest of them alone.

    Returns
    -------
    array, shape (n, k)
        Within some 1e-15 of the function, which is called itself where interpolation does not reach that.
    """
    mantissa, exponent = np.frexp(q)
    nodes, to_coefficients = _precise_rule(MANY_NODES)
    directly, parts = np.ones(q.size, dtype=bool), []
    for octave, count in Counter(exponent.tolist()).items():
        if count <= WORTH_INTERPOLATION * MANY_NODES or not -900 < octave < 900:
            continue
        known = np.abs(values := function(np.ldexp(nodes, octave)))
        coefficients = to_coefficients @ values
        size = known.max(axis=0) if relative else known.max()
        exact = (np.abs(coefficients[-2:]) <= INTERPOLATED * size).all()
        if exact and not (relative and (known < VANISHES * size).any()):
            chosen = np.flatnonzero(exponent == octave)
            angle = np.arccos(np.clip(2 * np.log2(mantissa[chosen]) + 1, -1.0, 1.0))
            parts.append((chosen, np.cos(angle[:, None] * np.arange(MANY_NODES)) @ coefficients))
            directly[chosen] = False
    left = np.flatnonzero(directly)
    if left.size or not parts:
        parts.append((left, function(q[left])))
    found = np.empty((q.size, parts[0][1].shape[1]))
    for chosen, values in parts:
        found[chosen] = values
    return found


class LayerAverages(NamedTuple):
    """What one layer's recursion needs."""

    mean: float
    """E φ"""
    second: float
    """E φ²"""
    gate: float
    """E φ'²"""


class Octave(NamedTuple):
    """Chebyshev series in t = 2 log2(q) − 2e + 1 on 2^(e−1) <= q < 2^e."""

    units: Array
    """√E φ², E φ² and E φ'² at the first node"""
    coefficients: Array
    """Shape (3, 16): of E φ, log E φ², log E φ'², each in its unit"""


class AverageTable:
    """Gaussian averages of one activation at one q after another.

    Parameters
    ----------
    act : Activation
    """

    def __init__(self, act: Activation) -> None:
        self.act = act
        self._octaves: dict[int, Octave | None] = {}
        self._visits: Counter[int] = Counter()
        self._lists: dict[int, tuple[list[float], list[list[float]]]] = {}
        self._rows: dict[int, int] = {}
        self._units, self._series = np.empty((0, 3)), np.empty((0, 3, OCTAVE_NODES))

    def octave(self, exponent: int) -> Octave | None:
        """Return the series for 2^(exponent − 1) <= q < 2^exponent, or None where they do not converge."""
        if exponent not in self._octaves:
            self._octaves[exponent] = self._tabulate(exponent)
        return self._octaves[exponent]

    def _tabulate(self, exponent: int) -> Octave | None:
        if exponent > self._far:
            return self._scaled_from_far(exponent)
        nodes, to_coefficients = _octave_rule(OCTAVE_NODES)
        mean, second, gate, _, _ = averages(self.act, np.ldexp(nodes, exponent))
        for positive in (second, gate):
            if not positive.all() and positive.max() < NEXT_TO_NOTHING:
                positive[:] = 0.0
        units = np.array([math.sqrt(second[0]), second[0], gate[0]])
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.stack([mean / units[0], np.log(second / units[1]), np.log(gate / units[2])])
            # φ or φ' can be 0 at every node that counts (hard shrink at small q): a series of unit 0.
            values[[not mean.any() or not second.any(), not second.any(), not gate.any()]] = 0.0
            coefficients = values @ to_coefficients.T
        size = np.maximum(np.abs(values).max(axis=1), 1.0)
        converged = np.abs(coefficients[:, -2:]).max(axis=1) <= OCTAVE_ACCURACY * size
        return Octave(units, coefficients) if converged.all() else None

    @cached_property
    def gate_range(self) -> tuple[float, float]:
        """Bounds of E φ'² over all variances q.

        E f over √(2πq), of a positive f, grows with q: between variances a factor of 16 apart E φ'² falls by
        at most 4, and comes from at most 4 times what it is at the higher.
        """
        lowest = -60 + 2 * math.floor(math.log2(min(1.0, *self.act.lengths)))
        exponents = np.arange(max(lowest, -900), self._far + 4, 4)
        gate = averages(self.act, np.append(0.0, np.exp2(exponents))).gate
        growth = _growth(float(gate[-9]), float(gate[-1]), 32) if gate[-1] else 0.0
        least, most = float(gate.min()) / 4, float(gate.max()) * 4
        return 0.0 if growth < 0 else least, most if growth <= 0 else math.inf

    @cached_property
    def _far(self) -> int:
        """The octave beyond which averages are powers of q to all digits."""
        return min(130 + 2 * math.ceil(math.log2(max(1.0, *self.act.lengths))), 900)

    @cached_property
    def _powers(self) -> Array:
        """The powers of q, multiples of 1/2, in which mean, second moment and gate grow beyond `_far`."""
        near, far = (averages(self.act, 2.0 ** (self._far - step)) for step in (40, 0))
        second = _growth(float(near.second), float(far.second), 40)
        has_mean = abs(far.mean) > NO_MEAN * math.sqrt(far.second)
        mean = _growth(float(abs(near.mean)), float(abs(far.mean)), 40) if has_mean else second / 2
        return np.array([mean, second, _growth(float(near.gate), float(far.gate), 40)])

    def _scaled_from_far(self, exponent: int) -> Octave | None:
        far = self.octave(self._far)
        if far is None:
            return None
        with np.errstate(over="ignore", under="ignore"):
            return Octave(far.units * np.exp2(self._powers * (exponent - self._far)), far.coefficients)

    def at(self, q: float) -> LayerAverages:
        """Return the averages at variance q >= 0, infinite ones as ``inf``."""
        if q == math.inf:
            return self._limit
        if q < SMALLEST_Q:
            return self._directly(q)
        mantissa, exponent = math.frexp(q)
        if exponent not in self._lists:
            self._visits[exponent] += 1
            worth_it = exponent > self._far or self._visits[exponent] >= WORTH_A_TABLE
            octave = self.octave(exponent) if worth_it else None
            if octave is None:
                return self._directly(q)
            self._lists[exponent] = octave.units.tolist(), octave.coefficients[:, ::-1].tolist()
        t = 2 * math.log2(mantissa) + 1
        units, (mean, second, gate) = self._lists[exponent]
        return LayerAverages(
            units[0] * _clenshaw(mean, t),
            units[1] * math.exp(_clenshaw(second, t)),
            units[2] * math.exp(_clenshaw(gate, t)),
        )

    def of_many(self, q: Array) -> Array:
        """Return what `at` does at each of many variances, shape (n,), as rows of shape (3, n)."""
        found, within = np.empty((3, q.size)), (q >= SMALLEST_Q) & (q < math.inf)
        mantissa, exponent = np.frexp(q)
        self._tabulate_where_worth_it(Counter(exponent[within].tolist()))
        rows = np.array([self._rows.get(number, -1) for number in exponent.tolist()])
        rows[~within] = -1
        known, beyond, directly = rows >= 0, q == math.inf, (rows < 0) & (q < math.inf)
        t, rows = 2 * np.log2(mantissa[known]) + 1, rows[known]
        terms = np.cos(np.arange(OCTAVE_NODES) * np.arccos(np.clip(t, -1.0, 1.0))[:, None])
        sums = (self._series[rows] @ terms[..., None])[..., 0].T
        np.exp(sums[1:], out=sums[1:])
        found[:, known] = self._units[rows].T * sums
        if directly.any():
            found[:, directly] = averages(self.act, q[directly])[:3]
        if beyond.any():
            found[:, beyond] = np.array(self._limit)[:, None]
        return found

    def _tabulate_where_worth_it(self, visits: Counter[int]) -> None:
        new: list[Octave] = []
        for number, count in visits.items():
            if number in self._rows:
                continue
            self._visits[number] += count
            worth_it = number > self._far or self._visits[number] >= WORTH_A_TABLE
            if worth_it and (octave := self.octave(number)) is not None:
                self._rows[number] = len(self._units) + len(new)
                new.append(octave)
        if new:
            self._units = np.concatenate((self._units, [octave.units for octave in new]))
            self._series = np.concatenate((self._series, [octave.coefficients for octave in new]))

    @cached_property
    def _limit(self) -> LayerAverages:
        """The averages at q → ∞."""
        last = self.at(2.0 ** min(self._far + 1, 1000))
        limits = (
            0.0 if power < 0 else math.copysign(math.inf, value) if power > 0 and value else value
            for value, power in zip(last, self._powers, strict=True)
        )
        return LayerAverages(*limits)

    def _directly(self, q: float) -> LayerAverages:
        mean, second, gate, _, _ = averages(self.act, q)
        return LayerAverages(float(mean), float(second), float(gate))


def _growth(near: float, far: float, octaves: int) -> float:
    """Return the power, a multiple of 1/2, in which an average grows over so many octaves of q."""
    if near == 0 or not far < math.inf:
        return 0.0
    return round(2 * math.log2(far / near) / octaves) / 2


def _clenshaw(descending: list[float], t: float) -> float:
    """Sum a Chebyshev series whose coefficients come highest first."""
    twice, b, previous = 2 * t, 0.0, 0.0
    for coefficient in descending:
        b, previous = coefficient + twice * b - previous, b
    return b - t * previous
