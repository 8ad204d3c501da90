"""Points that fill a unit cube evenly: shifted rank-1 lattices, found component by component."""

import numpy as np
import numpy.typing as npt

from isocalc.numerics.tolerances import EPS, LATTICE

Array = npt.NDArray[np.float64]


def lattice(points: int, importance: Array, seed: int) -> Array:
    """Return points of a randomly shifted lattice.

    Parameters
    ----------
    points : int
        Their number n.
    importance : array, shape (d,)
        Weights of the coordinates, greater than 0.
    seed : int
        Of the shifts.

    Returns
    -------
    array, shape (n, d)
        In (0, 1).

    Notes
    -----
    The generator minimises, one component after the other, the worst-case error in the weighted space of
    functions with square-integrable mixed first derivatives (Sloan, Kuo, Joe, SIAM J. Numer. Anal. 40 (2002)
    1650).
    """
    rng = np.random.default_rng(seed)
    copies = -(-points // LATTICE)
    size = -(-points // copies)
    steps = np.outer(np.arange(size), _generator(size, importance)) / size
    shifted = [steps + rng.random(importance.size) for _ in range(copies)]
    inside = np.concatenate(shifted)[:points] % 1.0
    return np.clip(inside, EPS, 1 - EPS)


def _generator(size: int, importance: Array) -> npt.NDArray[np.int64]:
    place = np.arange(size) / size
    kernel = 2 * np.pi**2 * (place * (place - 1) + 1 / 6)
    candidates = np.arange(1, size // 2 + 1)
    candidates = candidates[np.gcd(candidates, size) == 1] if size > 1 else np.array([1])
    values = kernel[np.outer(candidates, np.arange(size)) % size]
    chosen, product = [], np.ones(size)
    for weight in importance.tolist():
        best = int(np.argmin(values @ product))
        chosen.append(int(candidates[best]))
        product = product * (1 + weight * values[best])
    return np.array(chosen)
