"""φ and φ' of the activations that isocalc knows, written out: smooth ones, polynomial pieces, sin and snake.

No finite x overflows and no tail cancels. At a kink φ' is what PyTorch's gradient is there. The Gaussian
averages of sin and snake are closed: with x ~ N(0, q), ``E cos(t x) = exp(-t² q/2)`` and
``E cos(t x) (x²/q - 1) = -t² q exp(-t² q/2)``. Differences of exponentials are written with expm1, so that
small q loses nothing.
"""
# ruff: noqa: D103 - each function is the formula it is named for

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from isocalc.activations.definition import Activation, Function
from isocalc.numerics.special import (
    SQRT_HALF,
    Array,
    capped,
    erfc,
    magnitude,
    negative_part,
    positive_part,
)
from isocalc.numerics.tolerances import EXP_IS_0, LARGEST_DOUBLE, NORMAL_IS_0

Pair = tuple[Callable[[Array], Array], Callable[[Array], Array]]
quiet = np.errstate(over="ignore")


def _odds(x: Array) -> tuple[Array, Array, Array]:
    """Return w, v, w + v with w/v = exp(x) and the larger of them 1."""
    e = np.exp(-magnitude(x))
    negative = x.real < 0.0
    return np.where(negative, e, 1.0), np.where(negative, 1.0, e), 1.0 + e


def sigmoid(x: Array) -> Array:
    w, _, total = _odds(x)
    return w / total


def dsigmoid(x: Array) -> Array:
    e = np.exp(-magnitude(x))
    return e / np.square(1.0 + e)


def logsigmoid(x: Array) -> Array:
    return np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))


def dlogsigmoid(x: Array) -> Array:
    return sigmoid(np.negative(x))


def softplus(beta: float) -> Pair:
    @quiet
    def phi(x: Array) -> Array:
        return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(beta * x))) / beta

    @quiet
    def dphi(x: Array) -> Array:
        return sigmoid(beta * x)

    return phi, dphi


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def dsilu(x: Array) -> Array:
    w, v, total = _odds(x)
    return w / total * (1.0 + x * (v / total))


def mish(x: Array) -> Array:
    w, v, total = _odds(x)
    numerator = w * (total + v)
    return x * (numerator / (numerator + 2.0 * v * v))


def dmish(x: Array) -> Array:
    w, v, total = _odds(x)
    slope = w * (total + v)
    denominator = slope + 2.0 * v * v
    return (slope + x * (4.0 * w * v * v * total / denominator)) / denominator


def gelu(x: Array) -> Array:
    return x * (0.5 * erfc(-x * SQRT_HALF))


def dgelu(x: Array) -> Array:
    t = capped(x, NORMAL_IS_0)
    return 0.5 * erfc(-t * SQRT_HALF) + t * np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)


def _gelu_angle(t: Array) -> tuple[Array, Array]:
    """Return √(8/π) (t + 0.044715 t³), PyTorch's approximation of Φ by a sigmoid, and t times its slope."""
    slope, cubic = math.sqrt(8.0 / math.pi), 0.044715 * (t * t)
    return slope * t * (1.0 + cubic), slope * t * (1.0 + 3.0 * cubic)


def gelu_tanh(x: Array) -> Array:
    t = np.clip(x, -NORMAL_IS_0, NORMAL_IS_0)
    return x * sigmoid(_gelu_angle(t)[0])


def dgelu_tanh(x: Array) -> Array:
    t = capped(x, NORMAL_IS_0)
    angle, growth = _gelu_angle(t)
    w, v, total = _odds(angle)
    return w / total * (1.0 + growth * (v / total))


def dtanh(x: Array) -> Array:
    e = np.exp(-magnitude(x))
    e *= e
    return 4.0 * e / np.square(1.0 + e)


def tanhshrink(x: Array) -> Array:
    result = np.asarray(x - np.tanh(x))
    near = np.abs(x) < 1.0
    y = np.asarray(x)[near]
    square = y * y
    series = [2 * k / math.factorial(2 * k + 1) for k in range(10, 0, -1)]
    result[near] = y * square * np.polyval(series, square) / np.cosh(y)
    return result


def dtanhshrink(x: Array) -> Array:
    t = np.tanh(x)
    return t * t


def derf(x: Array) -> Array:
    return 2.0 / math.sqrt(math.pi) * gaussian(x)


def gaussian(x: Array) -> Array:
    t = capped(x, NORMAL_IS_0)
    return np.exp(-t * t)


def dgaussian(x: Array) -> Array:
    t = capped(x, NORMAL_IS_0)
    return -2.0 * t * np.exp(-t * t)


@quiet
def darctan(x: Array) -> Array:
    return 1.0 / (1.0 + x * x)


def softsign(x: Array) -> Array:
    return x / (1.0 + np.abs(x))


def dsoftsign(x: Array) -> Array:
    r = 1.0 / (1.0 + magnitude(x))
    return r * r


def elu(alpha: float, length: float = 1.0, scale: float = 1.0) -> Pair:
    """Return the pair of ``scale * (x if x > 0 else alpha * expm1(x / length))``."""

    @quiet
    def phi(x: Array) -> Array:
        return scale * np.maximum(x, 0.0) + scale * alpha * np.expm1(np.minimum(x, 0.0) / length)

    @quiet
    def dphi(x: Array) -> Array:
        return np.where(x.real > 0.0, scale, scale * alpha / length * np.exp(negative_part(x) / length))

    return phi, dphi


def selu() -> Pair:
    """Return the pair of Klambauer et al., arXiv 1706.02515, with the constants of PyTorch."""
    return elu(1.6732632423543772848170429916717, scale=1.0507009873554804934193349852946)


def linear() -> Activation:
    return Activation(phi=np.positive, dphi=np.ones_like, slopes=(1.0,), odd=True)


def leaky_relu(slope: float) -> Activation:
    if slope == 1.0:
        return linear()

    @quiet
    def phi(x: Array) -> Array:
        return np.maximum(x, 0.0) + slope * np.minimum(x, 0.0)

    return Activation(
        phi=phi,
        dphi=lambda x: np.where(x.real > 0.0, 1.0, slope),
        breakpoints=(0.0,),
        slopes=(slope, 1.0),
    )


def relu() -> Activation:
    return _kinked(0.0, math.inf, lambda x: np.maximum(x, 0.0))


def relu6() -> Activation:
    return _kinked(0.0, 6.0, lambda x: np.clip(x, 0.0, 6.0))


def hardtanh(low: float, high: float) -> Activation:
    return _kinked(low, high, lambda x: np.clip(x, low, high), odd=low == -high)


def hardsigmoid() -> Activation:
    return _kinked(-3.0, 3.0, _hardsigmoid, slope=1.0 / 6.0)


def _hardsigmoid(x: Array) -> Array:
    return (np.clip(x, -3.0, 3.0) + 3.0) / 6.0


def _kinked(low: float, high: float, phi: Function, *, slope: float = 1.0, odd: bool = False) -> Activation:
    """Return the activation of slope ``slope`` between ``low`` and ``high``, flat elsewhere."""

    def dphi(x: Array) -> Array:
        return slope * ((x.real > low) & (x.real < high)).astype(np.float64)

    if math.isinf(high):
        return Activation(phi=phi, dphi=dphi, breakpoints=(low,), slopes=(0.0, slope))
    return Activation(phi=phi, dphi=dphi, breakpoints=(low, high), slopes=(0.0, slope, 0.0), odd=odd)


def hardswish() -> Activation:
    def dphi(x: Array) -> Array:
        return np.where(x.real < 3.0, np.where(x.real > -3.0, capped(x, 3.0) / 3.0 + 0.5, 0.0), 1.0)

    return Activation(phi=lambda x: x * _hardsigmoid(x), dphi=dphi, breakpoints=(-3.0, 3.0))


def hardshrink(lambd: float) -> Activation:
    return _shrink(lambd, lambda x: np.where(np.abs(x) > lambd, x, 0.0), jumps=True)


def softshrink(lambd: float) -> Activation:
    return _shrink(lambd, lambda x: x - np.clip(x, -lambd, lambd), jumps=False)


def _shrink(lambd: float, phi: Function, *, jumps: bool) -> Activation:
    if lambd == 0.0:
        return linear()
    return Activation(
        phi=phi,
        dphi=lambda x: np.greater(np.abs(x.real), lambd).astype(np.float64),
        breakpoints=(-lambd, lambd),
        jumps=(-lambd, lambd) if jumps else (),
        slopes=(1.0, 0.0, 1.0),
        odd=True,
    )


def threshold(at: float, value: float) -> Activation:
    return Activation(
        phi=lambda x: np.where(x > at, x, value),
        dphi=lambda x: np.greater(x.real, at).astype(np.float64),
        breakpoints=(at,),
        jumps=() if at == value else (at,),
        slopes=(0.0, 1.0),
    )


def absolute() -> Activation:
    return Activation(phi=np.abs, dphi=lambda x: np.sign(x.real), breakpoints=(0.0,), slopes=(-1.0, 1.0))


def squared_relu() -> Activation:
    @quiet
    def phi(x: Array) -> Array:
        return np.square(np.maximum(x, 0.0))

    @quiet
    def dphi(x: Array) -> Array:
        return 2.0 * positive_part(x)

    return Activation(phi=phi, dphi=dphi, breakpoints=(0.0,))


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
    q = np.minimum(q, EXP_IS_0)
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
    q = min(q, LARGEST_DOUBLE / 4.0)
    return -0.5 * np.sign(correlation) * np.exp(-q * (1.0 - size)) * np.expm1(-2.0 * q * size)


def _product_of_cosines(q: float, correlation: Array) -> Array:
    q = min(q, LARGEST_DOUBLE / 4.0)
    return 0.5 * (np.exp(-q * (1.0 - correlation)) + np.exp(-q * (1.0 + correlation)))


def snake(a: float) -> Activation:
    def angle(x: Array) -> Array:
        with np.errstate(over="ignore"):
            return capped(a * x, LARGEST_DOUBLE)

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
    s = np.minimum(np.square(a * np.sqrt(q)), EXP_IS_0)
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
    s = min(abs(a) * math.sqrt(q), math.sqrt(LARGEST_DOUBLE) / 8.0) ** 2
    mean = math.expm1(-2.0 * s) / a
    cosine = 2.0 * _product_of_sines(2.0 * s, correlation) / a
    product = q * correlation + (mean * mean + 0.5 * cosine * cosine) / 4.0
    return product, 1.0 + _product_of_sines(4.0 * s, correlation)
