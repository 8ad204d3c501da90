"""Where a determinant changes its sign, from the edge of the bulk outwards."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Steps in x, the logarithm of a spectral m: the first beside the edge, where log z is quadratic in x, and by
# how much each is longer than the last.
FIRST_STEP, LONGER = 0.04, 1.12
# Parts of a bracket that each round looks at: the last step is a secant.
PARTS = (24, 24)


class Shot(NamedTuple):
    """Sign and logarithm of det(1 − K) at each place."""

    sign: Array
    log: Array


class Found(NamedTuple):
    """Outliers of a network.

    ``above`` and ``below``: log λ of those on either side of the bulk; ``excess``: the limit of N (E λ − m₁);
    ``missing``: why those on one side are not known.
    """

    above: tuple[float, ...]
    below: tuple[float, ...]
    excess: float
    missing: str | None = None


def crossings(det: Callable[[Array], Shot], edge: float, end: float) -> list[float]:
    """Return every place between ``edge`` and ``end`` where a determinant of x crosses 0, from the end on.

    Parameters
    ----------
    det : callable
        x, shape (n,), to its sign and logarithm.
    edge, end : float
        Of x, in either order: places are denser beside the edge.
    """
    steps = FIRST_STEP * LONGER ** np.arange(1 + np.ceil(np.log1p(abs(end - edge) * 3) / np.log(LONGER)))
    away = np.append(0.0, np.cumsum(steps))
    x = edge + np.copysign(away[away < abs(end - edge)], end - edge)
    x = np.append(x, end)
    x = x[None]
    values = Shot(*(part[None] for part in det(x[0])))
    for parts in PARTS:
        row, column = _changes(values.sign)
        if not row.size:
            return []
        low, high = x[row, column], x[row, column + 1]
        x = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, parts + 1)
        values = Shot(*(part.reshape(x.shape) for part in det(x.ravel())))
    row, column = _changes(values.sign)
    low, high = x[row, column], x[row, column + 1]
    share = 1 / (1 + np.exp(values.log[row, column + 1] - values.log[row, column]))
    return sorted((low + share * (high - low)).tolist(), key=lambda place: abs(place - end))


def _changes(sign: Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where in rows the sign is another than at the next place."""
    side = np.where(sign == 0, 1.0, sign)
    row, column = np.nonzero(side[:, 1:] * side[:, :-1] < 0)
    return row, column
