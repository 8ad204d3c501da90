"""erf and erfc of arrays without the 150 ms that importing scipy.special takes, unless that pays."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_WORTH_SCIPY = 20_000
# Beyond, erfc underflows.
_SATURATED = 28.0


def erf(x: Array) -> Array:
    """Error function of each entry."""
    if np.size(x) < _WORTH_SCIPY:
        return _entrywise(math.erf, x)
    from scipy import special  # noqa: PLC0415 - slow to import, needed for large arrays only

    return np.asarray(special.erf(x))


def erfc(x: Array) -> Array:
    """Complementary error function of each entry."""
    if np.size(x) < _WORTH_SCIPY:
        return _entrywise(math.erfc, x)
    from scipy import special  # noqa: PLC0415 - slow to import, needed for large arrays only

    return np.asarray(special.erfc(x))


def _entrywise(function: Callable[[float], float], x: Array) -> Array:
    inside = ~(np.abs(x) >= _SATURATED)
    result = np.where(x > 0, function(math.inf), function(-math.inf))
    entries: Iterable[float] = np.asarray(x)[inside].tolist()
    result[inside] = np.fromiter(map(function, entries), np.float64)
    return result
