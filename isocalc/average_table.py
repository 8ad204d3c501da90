"""E φ, E φ² and E φ'² as functions of q, tabulated octave by octave for recursions over many layers.

Each average is analytic in log q in a strip about the real axis, so Chebyshev interpolation of degree 15 on
an octave is exact to rounding; where its last coefficients say otherwise direct quadrature takes over.
"""

import math
from collections import Counter
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.gaussian import averages

Array = npt.NDArray[np.float64]

_DEGREE = 15
_ANGLE = np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1)
# Octave e holds 2^(e-1) <= q < 2^e; nodes are in t = 2 log2(q) - 2e + 1.
_NODES = np.exp2((np.cos(_ANGLE) - 1) / 2)
_TO_COEFFICIENTS = np.cos(np.outer(np.arange(_DEGREE + 1), _ANGLE)) * 2 / (_DEGREE + 1)
_TO_COEFFICIENTS[0] /= 2
_ACCURACY = 1e-14
# A table costs as much as a few averages taken directly.
_WORTH_A_TABLE = 4
# Averages that underflow somewhere in an octave and are below this are 0 in all of it.
_NEXT_TO_NOTHING = 1e-250
_NO_MEAN = 1e-12
SMALLEST_Q = 2.0**-900


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

    def octave(self, exponent: int) -> Octave | None:
        """Return the series for 2^(exponent − 1) <= q < 2^exponent, or None where they do not converge."""
        if exponent not in self._octaves:
            self._octaves[exponent] = self._tabulate(exponent)
        return self._octaves[exponent]

    def _tabulate(self, exponent: int) -> Octave | None:
        if exponent > self._far:
            return self._scaled_from_far(exponent)
        mean, second, gate, _, _ = averages(self.act, np.ldexp(_NODES, exponent))
        for positive in (second, gate):
            if not positive.all() and positive.max() < _NEXT_TO_NOTHING:
                positive[:] = 0.0
        units = np.array([math.sqrt(second[0]), second[0], gate[0]])
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.stack([mean / units[0], np.log(second / units[1]), np.log(gate / units[2])])
            # φ or φ' can be 0 at every node that counts (hard shrink at small q): a series of unit 0.
            values[[not mean.any() or not second.any(), not second.any(), not gate.any()]] = 0.0
            coefficients = values @ _TO_COEFFICIENTS.T
        size = np.maximum(np.abs(values).max(axis=1), 1.0)
        converged = np.abs(coefficients[:, -2:]).max(axis=1) <= _ACCURACY * size
        return Octave(units, coefficients) if converged.all() else None

    @cached_property
    def _far(self) -> int:
        """The octave beyond which averages are powers of q to all digits."""
        return min(130 + 2 * math.ceil(math.log2(max(1.0, *self.act.lengths))), 900)

    @cached_property
    def _powers(self) -> Array:
        """The powers of q, multiples of 1/2, in which mean, second moment and gate grow beyond `_far`."""
        near, far = (averages(self.act, 2.0 ** (self._far - step)) for step in (40, 0))
        second = _growth(float(near.second), float(far.second), 40)
        has_mean = abs(far.mean) > _NO_MEAN * math.sqrt(far.second)
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
            worth_it = exponent > self._far or self._visits[exponent] >= _WORTH_A_TABLE
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
