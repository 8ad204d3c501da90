"""sin and snake: φ, φ' and their Gaussian averages in closed form.

With x ~ N(0, q), ``E cos(t x) = exp(-t² q/2)`` and ``E cos(t x) (x²/q - 1) = -t² q exp(-t² q/2)``.
Differences of exponentials are written with expm1, so that small q loses nothing.
"""

import math
from functools import partial

import numpy as np

from isocalc._special import Array, capped
from isocalc.activation_type import Activation

_EXP_IS_0 = 800.0
_LARGEST = float(np.finfo(np.float64).max)


def sin() -> Activation:
    return Activation(
        phi=np.sin,
        dphi=np.cos,
        scale=1.0,
        odd=True,
        period=math.pi,
        closed_averages=_sin_averages,
        closed_correlation=_sin_correlation,
    )


def _sin_averages(q: Array) -> tuple[Array, Array, Array, Array, Array]:
    q = np.minimum(q, _EXP_IS_0)
    e = np.exp(-2.0 * q)
    return (
        np.zeros_like(e),
        -0.5 * np.expm1(-2.0 * q),
        0.5 + 0.5 * e,
        0.375 + 0.5 * e + 0.125 * e**4,
        2.0 * q * e,
    )


def _sin_correlation(q: float, correlation: Array) -> tuple[Array, Array]:
    return _product_of_sines(q, correlation), _product_of_cosines(q, correlation)


def _product_of_sines(q: float, correlation: Array) -> Array:
    size = np.abs(correlation)
    q = min(q, _LARGEST / 4.0)
    return -0.5 * np.sign(correlation) * np.exp(-q * (1.0 - size)) * np.expm1(-2.0 * q * size)


def _product_of_cosines(q: float, correlation: Array) -> Array:
    q = min(q, _LARGEST / 4.0)
    return 0.5 * (np.exp(-q * (1.0 - correlation)) + np.exp(-q * (1.0 + correlation)))


def snake(a: float) -> Activation:
    def angle(x: Array) -> Array:
        with np.errstate(over="ignore"):
            return capped(a * x, _LARGEST)

    def phi(x: Array) -> Array:
        sine = np.sin(angle(x))
        with np.errstate(over="ignore"):
            return x + sine * (sine / a)

    def dphi(x: Array) -> Array:
        t = angle(x)
        root: Array = np.sin(t) + np.cos(t)
        return root * root

    return Activation(
        phi=phi,
        dphi=dphi,
        scale=1.0 / abs(a),
        period=math.pi / abs(a),
        closed_averages=partial(_snake_averages, a),
        closed_correlation=partial(_snake_correlation, a),
    )


@np.errstate(over="ignore")
def _snake_averages(a: float, q: Array) -> tuple[Array, Array, Array, Array, Array]:
    s = np.minimum(np.square(a * np.sqrt(q)), _EXP_IS_0)
    u = -np.expm1(-2.0 * s)
    e8 = np.exp(-8.0 * s)
    return (
        u / a / 2.0,
        q + np.square(u / a) * (6.0 - 4.0 * u + u * u) / 8.0,
        1.5 - 0.5 * e8,
        4.375 - 3.5 * e8 + 0.125 * e8**4,
        2.0 * q * (1.0 + np.exp(-2.0 * s) - e8),
    )


@np.errstate(over="ignore")
def _snake_correlation(a: float, q: float, correlation: Array) -> tuple[Array, Array]:
    s = min(abs(a) * math.sqrt(q), math.sqrt(_LARGEST) / 8.0) ** 2
    mean = math.expm1(-2.0 * s) / a
    cosine = 2.0 * _product_of_sines(2.0 * s, correlation) / a
    product = q * correlation + (mean * mean + 0.5 * cosine * cosine) / 4.0
    return product, 1.0 + _product_of_sines(4.0 * s, correlation)
