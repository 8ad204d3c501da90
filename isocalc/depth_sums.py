"""Sums over layers and over pairs of layers from a few of them.

A sum over layers of a function that is smooth in √number is replaced by an interpolatory rule: exact for
polynomials in √number, the nodes whole numbers. Behind a first panel, panels double, for sequences that
settle within few layers of a deep network.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from isocalc.gaussian import legendre_rule

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.intp]

# Numbers that are summed one by one before the Euler-Maclaurin formula takes over, to 1e-8.
_SUMMED = 1000


def sum_rule(count: int, first_panel: int, nodes: int) -> tuple[Whole, Array]:
    """Return numbers of 1..count and weights for sums over all of them.

    Parameters
    ----------
    count : int
        Terms of the sum, at least 0.
    first_panel : int
        Terms up to which the function is smooth, at least 1.
    nodes : int
        Of each panel.

    Returns
    -------
    numbers, weights : arrays, shape (n,)
        All of them, with weights 1, where there are few.
    """
    parts, low, high = [], 1, min(count, max(first_panel, nodes))
    while low <= count:
        parts.append(_panel(low, high, nodes))
        low, high = high + 1, min(count, 2 * high)
    if not parts:
        return np.empty(0, np.intp), np.empty(0)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _panel(low: int, high: int, nodes: int) -> tuple[Whole, Array]:
    if high - low < nodes + nodes // 2:
        numbers = np.arange(low, high + 1)
        return numbers, np.ones(numbers.size)
    start, stop = math.sqrt(low), math.sqrt(high)
    middle, half = (start + stop) / 2, (stop - start) / 2
    angle = np.pi * np.arange(nodes) / (nodes - 1)
    numbers = np.array(sorted(set(np.rint((middle - half * np.cos(angle)) ** 2).astype(np.intp).tolist())))

    def polynomials(number: Array) -> Array:
        x = np.clip((np.sqrt(number) - middle) / half, -1.0, 1.0)
        return np.asarray(np.cos(np.outer(np.arange(numbers.size), np.arccos(x))))

    split = min(high, low + _SUMMED)
    sums = polynomials(np.arange(low, split + 1.0)).sum(axis=1)
    if high > split:
        x, weights = legendre_rule(2 * nodes)
        root, end = math.sqrt(split + 0.5), math.sqrt(high + 0.5)
        root, reach = (root + end) / 2, (end - root) / 2
        r = root + reach * x
        sums += polynomials(r * r) @ (2 * r * reach * weights)
    return numbers, np.linalg.solve(polynomials(numbers.astype(float)), sums)


def pair_rule(
    count: int, first_panel: int, nodes: int, stride: int = 1
) -> Iterator[tuple[int, Whole, Array]]:
    """Yield distances, layers and weights for sums over all pairs k < l of 1..count.

    Parameters
    ----------
    count : int
        Layers.
    first_panel, nodes : int
        As in `sum_rule`, for the layers and for the distances.
    stride : int
        2 where terms of even and of odd distances are not one function of the distance.

    Yields
    ------
    distance : int
        l − k.
    k : array, shape (n,)
        The earlier layer of pairs of this distance.
    weights : array, shape (n,)
    """
    for offset in range(1, stride + 1):
        steps, outer = sum_rule((count - 1 - offset) // stride + 1, max(1, first_panel // stride), nodes)
        for step, weight in zip(steps.tolist(), outer.tolist(), strict=True):
            distance = offset + stride * (step - 1)
            k, inner = sum_rule(count - distance, first_panel, nodes)
            yield distance, k, weight * inner
