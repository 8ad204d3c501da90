"""Both ends of the law of a product of many weak residual layers, without a walk to them from outside.

Beyond its ends the law's unknowns are real, and ζ alone fixes those of each layer. Where a layer adds little,
they are about log t = log(v m (1 + m)/κ) and ξ = ζ; t times the largest gate stays below 1, where averages
over gates grow with t, so that there is one solution and one turn of log z. The universal law has its
ends at 2 sinh² (ζ/2) = c, and slopes of log z in ζ there that are linear in 1/sinh² (ζ/2): theory (36).
"""

import math
from typing import NamedTuple

import numpy as np

from isocalc.laws.free.factors import Complex
from isocalc.laws.free.layer_factors import ResidualLayer
from isocalc.laws.free.product import FreeProduct
from isocalc.laws.free.solver import Array

# Where slopes are looked at first, in units of the universal law's ζ at its ends; one turn is between.
_LOOKED_AT = np.array([0.7, 1.0, 1.4, 2.5])
# The longest first step of unknowns from those of layers without strength, by what each next one is shorter,
# and how short the last one is: log z is off by its square.
_LONGEST, _CONTRACTION, _LAST = 0.5, 0.5, 1e-10
_STEPS, _SECANTS = 8, 12
# Slopes of log z so small are those of an end: log z is off by about their square.
_FLAT = 1e-9
# How far beside the real axis unknowns are, on the side of the axis that limits are taken from.
_BESIDE = 1e-12j


def ends_of_weak_layers(product: FreeProduct) -> tuple[float, float] | None:
    """Return the least and the largest y of the density; ``None`` where layers are others, or strong."""
    factors = [factor for factor in product.factors if isinstance(factor, ResidualLayer)]
    if len(factors) < len(product.factors) or len({factor.group for factor in factors}) > 1:
        return None
    if any(factor.is_unbounded for factor in factors):
        return None
    with np.errstate(all="ignore"):
        weak = _WeakLayers(product, factors)
        zeta = np.multiply.outer([-weak.reach, weak.reach], _LOOKED_AT)
        known = weak.tied(zeta.ravel(), weak.without_strength(zeta.ravel()))
        slopes = known.slope.reshape(zeta.shape)
        if not (known.is_good and (slopes[:, 0] < 0).all() and (slopes[:, 2:] > 0).all()):
            return None
        return weak.turns(1 / np.sinh(zeta / 2) ** 2, slopes, known.state.reshape(-1, *zeta.shape)[:, :, 1])


class _Tied(NamedTuple):
    """The real axis at some ζ, shape (n,)."""

    y: Array
    """log z"""
    slope: Array
    """Its slope in ζ"""
    state: Complex
    is_good: bool
    """Whether all unknowns are those that belong to ζ"""


class _WeakLayers:
    """Residual layers, each with the unknowns that belong to real ζ."""

    def __init__(self, product: FreeProduct, factors: list[ResidualLayer]) -> None:
        self._product = product
        self._log_scale = np.array([[factor.log_scale] for factor in factors])
        self._farthest = -np.log([[factor.gate.largest] for factor in factors])
        self.reach = 2 * math.asinh(math.sqrt(product.relative_variance) / 2)

    def without_strength(self, zeta: Array) -> Complex:
        """Return the states at ζ, but for what layers of little strength add."""
        log_t = self._log_scale - 2 * np.log(2 * np.sinh(np.abs(zeta) / 2))
        return np.concatenate((zeta[None] + _BESIDE, log_t - _BESIDE, 0 * log_t + zeta + _BESIDE))

    def tied(self, zeta: Array, state: Complex) -> _Tied:
        """Return the real axis at ζ, by states near it that Newton ties to it."""
        last, good = math.inf, True
        for _ in range(_STEPS):
            y, slope, drift, direction, *_ = self._product.equation(state)
            ahead = (zeta - state[0]).real
            y, step = y + slope * ahead, (drift + direction * ahead).real
            state, size = state + step, float(np.abs(step[1:]).max())
            good = size < min(_LONGEST, max(_CONTRACTION * last, _LAST))
            if not good or size < _LAST:
                break
            last = size
        good &= size < _LAST and bool((state[1 : 1 + self._farthest.size].real < self._farthest).all())
        return _Tied(y.real, slope.real, state, good)

    def turns(self, x: Array, slopes: Array, state: Complex) -> tuple[float, float] | None:
        """Return log z where its slopes turn, by secants in x = 1/sinh² (ζ/2) between places known."""
        (before, now), (f0, f1) = x[:, [2, 1]].T, slopes[:, [2, 1]].T
        for _ in range(_SECANTS):
            ahead = np.where(f1 == f0, now, now - f1 * (now - before) / (f1 - f0))
            before, now, f0 = now, np.clip(ahead, x[:, 2], x[:, 0]), f1
            known = self.tied(np.array([-2.0, 2.0]) * np.arcsinh(1 / np.sqrt(now)), state)
            f1, state = known.slope, known.state
            if not known.is_good:
                break
            if np.abs(f1).max() < _FLAT:
                return float(known.y[0]), float(known.y[1])
        return None
