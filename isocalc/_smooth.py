"""φ and φ' of the smooth activations, written so that no finite x overflows and no tail cancels."""

import math
from collections.abc import Callable

import numpy as np

from isocalc._special import Array, capped, erfc, magnitude, negative_part

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
_GELU_CUBIC = 0.044715
_GELU_SLOPE = math.sqrt(8.0 / math.pi)
_SQRT_HALF = math.sqrt(0.5)
_EXP_SQUARE_IS_0 = 40.0
_TANHSHRINK_SERIES = tuple(2 * k / math.factorial(2 * k + 1) for k in range(10, 0, -1))

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
    return x * (0.5 * erfc(-_SQRT_HALF * x))


def dgelu(x: Array) -> Array:
    t = capped(x, _EXP_SQUARE_IS_0)
    return 0.5 * erfc(-_SQRT_HALF * t) + t * np.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)


def gelu_tanh(x: Array) -> Array:
    t = np.clip(x, -_EXP_SQUARE_IS_0, _EXP_SQUARE_IS_0)
    return x * sigmoid(_GELU_SLOPE * t * (1.0 + _GELU_CUBIC * t * t))


def dgelu_tanh(x: Array) -> Array:
    t = capped(x, _EXP_SQUARE_IS_0)
    square = t * t
    w, v, total = _odds(_GELU_SLOPE * t * (1.0 + _GELU_CUBIC * square))
    return w / total * (1.0 + _GELU_SLOPE * t * (1.0 + 3.0 * _GELU_CUBIC * square) * (v / total))


def dtanh(x: Array) -> Array:
    e = np.exp(-magnitude(x))
    e *= e
    return 4.0 * e / np.square(1.0 + e)


def tanhshrink(x: Array) -> Array:
    result = np.asarray(x - np.tanh(x))
    near = np.abs(x) < 1.0
    y = np.asarray(x)[near]
    square = y * y
    result[near] = y * square * np.polyval(_TANHSHRINK_SERIES, square) / np.cosh(y)
    return result


def dtanhshrink(x: Array) -> Array:
    t = np.tanh(x)
    return t * t


def derf(x: Array) -> Array:
    return 2.0 / math.sqrt(math.pi) * gaussian(x)


def gaussian(x: Array) -> Array:
    t = capped(x, _EXP_SQUARE_IS_0)
    return np.exp(-t * t)


def dgaussian(x: Array) -> Array:
    t = capped(x, _EXP_SQUARE_IS_0)
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
