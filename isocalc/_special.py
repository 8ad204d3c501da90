"""What the activations are made of, for real arrays and, analytically continued, for complex ones.

erf and erfc do without the 150 ms that importing scipy.special takes, unless that pays.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_WORTH_SCIPY = 20_000
# Beyond, erfc underflows.
_SATURATED = 28.0
_EXP_SQUARE_IS_0 = 40.0
_MOST_TERMS, _NO_TERM = 100, 1e-17


def magnitude(x: Array) -> Array:
    """|x|; at a complex x, the continuation of |x| from the half-line on which Re x lies."""
    if x.dtype.kind != "c":
        return np.abs(x)
    return np.where(x.real < 0.0, -x, x)


def positive_part(x: Array) -> Array:
    """max(x, 0); at a complex x, the continuation from the half-line on which Re x lies."""
    if x.dtype.kind != "c":
        return np.maximum(x, 0.0)
    return np.where(x.real > 0.0, x, 0.0)


def negative_part(x: Array) -> Array:
    """min(x, 0), continued likewise."""
    if x.dtype.kind != "c":
        return np.minimum(x, 0.0)
    return np.where(x.real > 0.0, 0.0, x)


def capped(x: Array, limit: float) -> Array:
    """x, its real part moved into [-limit, limit]."""
    if x.dtype.kind != "c":
        return np.clip(x, -limit, limit)
    return np.clip(x.real, -limit, limit) + 1j * x.imag


def erf(x: Array) -> Array:
    """Error function of each entry; complex ones as in `erfc`."""
    if np.iscomplexobj(x):
        return erf(x.real) + _erf_off_axis(x)
    if np.size(x) < _WORTH_SCIPY:
        return _entrywise(math.erf, x)
    from scipy import special  # noqa: PLC0415 - slow to import, needed for large arrays only

    return np.asarray(special.erf(x))


def erfc(x: Array) -> Array:
    """Complementary error function of each entry.

    Complex entries are for paths of integration beside the real axis, where |Im x| < 1.5 and |Re x Im x| < 3:
    there they are as good as rounding x allows, relative to |erfc Re x|.
    """
    if np.iscomplexobj(x):
        return erfc(x.real) - _erf_off_axis(x)
    if np.size(x) < _WORTH_SCIPY:
        return _entrywise(math.erfc, x)
    from scipy import special  # noqa: PLC0415 - slow to import, needed for large arrays only

    return np.asarray(special.erfc(x))


def _erf_off_axis(x: Array) -> Array:
    """erf(x) - erf(Re x), by the Taylor series around the point halfway between the two."""
    step = 0.5j * x.imag
    middle = np.clip(x.real, -_EXP_SQUARE_IS_0, _EXP_SQUARE_IS_0) + step
    linear, square = -2.0 * step * middle, -2.0 * step * step
    term, next_term, total = np.ones_like(middle), linear, np.ones_like(middle)
    for k in range(2, _MOST_TERMS, 2):
        term = (linear * next_term + square * term) / k
        total += term / (k + 1)
        next_term = (linear * term + square * next_term) / (k + 1)
        if max(np.abs(term).max(initial=0.0), np.abs(next_term).max(initial=0.0)) < _NO_TERM:
            break
    with np.errstate(under="ignore"):
        return np.asarray(4.0 / math.sqrt(math.pi) * step * np.exp(-middle * middle) * total)


def _entrywise(function: Callable[[float], float], x: Array) -> Array:
    inside = ~(np.abs(x) >= _SATURATED)
    result = np.where(x > 0, function(math.inf), function(-math.inf))
    entries: Iterable[float] = np.asarray(x)[inside].tolist()
    result[inside] = np.fromiter(map(function, entries), np.float64)
    return result
