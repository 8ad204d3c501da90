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
# Beyond, weights times φ² may overflow; |φ| and |φ'| are powers of |x| there, to all digits, and averages
# powers of q.
LARGEST_Q = 2.0**1000
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
        mean, second, gate, _, _ = averages(self.act, np.ldexp(_NODES, exponent))
        units = np.array([math.sqrt(second[0]), second[0], gate[0]])
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.stack([mean / units[0], np.log(second / units[1]), np.log(gate / units[2])])
            # φ or φ' can be 0 at every node that counts (hard shrink at small q): a series of unit 0.
            values[[not mean.any(), not second.any(), not gate.any()]] = 0.0
            coefficients = values @ _TO_COEFFICIENTS.T
        converged = np.abs(coefficients[:, -2:]).max() <= _ACCURACY
        return Octave(units, coefficients) if converged else None

    def at(self, q: float) -> LayerAverages:
        """Return the averages at variance q >= 0, infinite ones as ``inf``."""
        if q > LARGEST_Q:
            return self._beyond(q)
        if q < SMALLEST_Q:
            return self._directly(q)
        mantissa, exponent = math.frexp(q)
        if exponent not in self._lists:
            self._visits[exponent] += 1
            octave = self.octave(exponent) if self._visits[exponent] >= _WORTH_A_TABLE else None
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
    def _ends(self) -> tuple[LayerAverages, LayerAverages]:
        return self._directly(LARGEST_Q * 2.0**-40), self._directly(LARGEST_Q)

    def _beyond(self, q: float) -> LayerAverages:
        near, far = self._ends
        second = _growth(near.second, far.second, 40)
        powers = second / 2, second, _growth(near.gate, far.gate, 40)
        return LayerAverages(
            *(_scaled(at, q / LARGEST_Q, power) for at, power in zip(far, powers, strict=True))
        )

    def _directly(self, q: float) -> LayerAverages:
        mean, second, gate, _, _ = averages(self.act, q)
        return LayerAverages(float(mean), float(second), float(gate))


def _growth(near: float, far: float, octaves: int) -> float:
    """Return the power, a multiple of 1/2, in which an average grows over so many octaves of q."""
    if near == 0 or not far < math.inf:
        return 0.0
    return round(2 * math.log2(far / near) / octaves) / 2


def _scaled(value: float, ratio: float, power: float) -> float:
    return value * ratio**power if value and math.isfinite(value) else value


def _clenshaw(descending: list[float], t: float) -> float:
    """Sum a Chebyshev series whose coefficients come highest first."""
    twice, b, previous = 2 * t, 0.0, 0.0
    for coefficient in descending:
        b, previous = coefficient + twice * b - previous, b
    return b - t * previous
