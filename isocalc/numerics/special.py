"""Elementary functions with the digits that laws and activations need, for real and complex arrays.

Those that activations are made of are continued analytically to complex x; erf and erfc do without the 150 ms
that importing scipy.special takes, unless that pays. Logarithms are on the side of the cut that solutions of
free products need.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from isocalc.numerics.tolerances import LARGEST_DOUBLE, MOST_TERMS, NO_TERM, NORMAL_IS_0, WORTH_SCIPY

Array = NDArray[np.float64]

SQRT_HALF = math.sqrt(0.5)


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
    if np.size(x) < WORTH_SCIPY:
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
    if np.size(x) < WORTH_SCIPY:
        return _entrywise(math.erfc, x)
    from scipy import special  # noqa: PLC0415 - slow to import, needed for large arrays only

    return np.asarray(special.erfc(x))


def _erf_off_axis(x: Array) -> Array:
    """erf(x) - erf(Re x), by the Taylor series around the point halfway between the two."""
    step = 0.5j * x.imag
    middle = np.clip(x.real, -NORMAL_IS_0, NORMAL_IS_0) + step
    linear, square = -2.0 * step * middle, -2.0 * step * step
    term, next_term, total = np.ones_like(middle), linear, np.ones_like(middle)
    for k in range(2, MOST_TERMS, 2):
        term = (linear * next_term + square * term) / k
        total += term / (k + 1)
        next_term = (linear * term + square * next_term) / (k + 1)
        if max(np.abs(term).max(initial=0.0), np.abs(next_term).max(initial=0.0)) < NO_TERM:
            break
    with np.errstate(under="ignore"):
        return np.asarray(4.0 / math.sqrt(math.pi) * step * np.exp(-middle * middle) * total)


def _entrywise(function: Callable[[float], float], x: Array) -> Array:
    inside = ~(np.abs(x) >= NORMAL_IS_0)
    result = np.where(x > 0, function(math.inf), function(-math.inf))
    entries: Iterable[float] = np.asarray(x)[inside].tolist()
    result[inside] = np.fromiter(map(function, entries), np.float64)
    return result


Complex = npt.NDArray[np.complex128]


def lower_log(x: Complex) -> Complex:
    """Return log x, x in the closed lower half-plane but for rounding, which may have left it above −1."""
    log = np.log(x)
    log.imag -= 2 * np.pi * (log.imag > np.pi / 2)
    return log


def log1p(x: Complex) -> Complex:
    """Return log(1 + x) with the digits of a small x, which numpy's loses where x is complex."""
    log = np.empty_like(x)
    log.real = np.log1p(x.real * (2 + x.real) + x.imag * x.imag) / 2
    log.imag = np.arctan2(x.imag, 1 + x.real)
    return log


def log1p_like(x: Complex, log: Complex) -> Complex:
    """Return log(1 + x), which is also ``log``: with the digits of a small x and on the branch of ``log``."""
    own = log1p(x)
    own.imag += 2 * np.pi * np.rint((log.imag - own.imag) / (2 * np.pi))
    return np.where((1 + x.real) ** 2 + x.imag**2 < 0.25, log, own)


def log_ratio(m: Complex, above: Complex, share: float | Array = 1.0) -> Complex:
    """Return log((m + share)/m), small where m is large, from m and ``above`` = m + share."""
    large = m.real * m.real + m.imag * m.imag > 4 * share * share
    return np.where(large, log1p(share / m), lower_log(above) - lower_log(m))


def log_one_plus_m(zeta: Complex) -> Complex:
    """Return log(1 + m) from ζ = log((1+m)/m)."""
    return lower_log(np.asarray(-1 / np.expm1(-zeta), dtype=complex))


def exp_or_inf(power: float) -> float:
    """Return e^power, inf where a double cannot hold it."""
    return math.exp(power) if power < math.log(LARGEST_DOUBLE) else math.inf
