"""Averages over a Gaussian pre-activation: E f = E f(√q z) with z standard normal.

Composite Gauss-Legendre quadrature in z. Panels end at the breakpoints of φ; where the pieces between them
vary over a length (``Activation.scale``) panels double in size away from 0 in units of it, so that an
integrand that is narrow in z (large q) is resolved too.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation

Array = npt.NDArray[np.float64]

_NODES = 16
# Beyond 10.5 the normal density is below 1e-24; it underflows at 38.6.
_CENTRAL = 1.5 * np.arange(-7, 8)
_REACH = 10.5
_UNDERFLOW = 38.6
# Panels behind a breakpoint in the tail, where the integrand falls like exp(-38 z) at worst. Those of a
# breakpoint below 10.5 reach beyond it too: soft shrink is 0 up to there.
_TAIL = np.array([0.0, 0.25, 0.75, 1.5, 3.0, 5.0])
_APART = -(10**6)
# Variances whose nodes, some hundreds each, fit a processor's cache: more take twice the time each.
_IN_CACHE = 256
_TINY = float(np.finfo(float).smallest_subnormal)


class Averages(NamedTuple):
    """Gaussian averages at the variances q that were asked for; q = 0 stands for the limit q → 0+."""

    mean: Array
    """E φ"""
    second: Array
    """E φ²"""
    gate: Array
    """E φ'²"""
    gate_squared: Array
    """E φ'⁴"""
    curvature: Array
    """E φ² (z² − 1), twice q times the slope of E φ² in q"""


@cache
def legendre_rule(count: int = _NODES) -> tuple[Array, Array]:
    """Return nodes and weights of Gauss-Legendre quadrature on [-1, 1]."""
    x = np.cos(np.pi * (np.arange(count, 0, -1) - 0.25) / (count + 0.5))
    for _ in range(5):
        previous, value = np.ones_like(x), x
        for k in range(2, count + 1):
            previous, value = value, ((2 * k - 1) * x * value - (k - 1) * previous) / k
        slope = count * (previous - x * value) / (1 - x * x)
        x = x - value / slope
    return x, 2 / ((1 - x * x) * slope**2)


def panel_rule(edges: Array) -> tuple[Array, Array]:
    """Return nodes and weights of the normal density in the panels between sorted edges.

    Parameters
    ----------
    edges : array, shape (..., k + 1)
        Sorted along the last axis; panels may be empty.

    Returns
    -------
    z, weights : arrays, shape (..., 16 k)
    """
    x, weights = legendre_rule()
    half = np.diff(edges)[..., None] / 2
    z = (edges[..., :-1, None] + half + half * x).reshape(*edges.shape[:-1], -1)
    weights = (half * weights).reshape(z.shape) * np.exp(-z * z / 2)
    return z, weights / math.sqrt(2 * math.pi)


def doubling_edges(scale: float, reach: float) -> Array:
    """Return ±scale, ±2 scale, ±4 scale ... up to ``reach``; nothing where the scale is beyond it."""
    if not scale < reach:
        return np.empty(0)
    steps = scale * 2.0 ** np.arange(math.ceil(math.log2(reach / scale)))
    return np.concatenate((-steps[::-1], steps))


def normal_rule(act: Activation, q: Array) -> tuple[Array, Array]:
    """Return nodes z and weights of the standard normal law, fit for functions of √q z made from φ.

    Parameters
    ----------
    act : Activation
    q : array, shape (n,)
        Variances, greater than 0.

    Returns
    -------
    z, weights : arrays, shape (n, k)
    """
    sigma = np.sqrt(q)[:, None]
    in_x = doubling_edges(act.scale, _REACH * float(sigma.max()))
    with np.errstate(over="ignore"):
        edges = [np.broadcast_to(_CENTRAL, (q.size, _CENTRAL.size)), np.clip(in_x / sigma, -_REACH, _REACH)]
        for point in act.breakpoints:
            if point:
                place = np.clip(point / sigma, -_UNDERFLOW, _UNDERFLOW)
                in_tail = np.abs(place).max() > _REACH - _TAIL[-1]
                tail = math.copysign(1.0, point) * _TAIL if in_tail else _TAIL[:1]
                edges.append(np.clip(place + tail, -_UNDERFLOW, _UNDERFLOW))
    return panel_rule(np.sort(np.concatenate(edges, axis=1), axis=1))


def averages(act: Activation, q: npt.ArrayLike) -> Averages:
    """Return the Gaussian averages of an activation.

    Parameters
    ----------
    act : Activation
    q : array_like, any shape
        Variances of the pre-activation, at least 0.

    Returns
    -------
    Averages
        Arrays of the shape of ``q``, each within 1e-12 · E|f| while φ⁴ and φ'⁴ do not overflow.
    """
    q = np.asarray(q, dtype=float)
    flat = np.atleast_1d(q).ravel()
    if act.closed_averages is not None:
        result = Averages(*act.closed_averages(flat))
    elif act.scale_free:
        result = _scale_free_averages(act, flat)
    else:
        result = Averages(*(np.empty(flat.size) for _ in Averages._fields))
        for chosen in _batches(flat):
            for whole, part in zip(result, _quadrature(act, flat[chosen]), strict=True):
                whole[chosen] = part
    return Averages(*(array.reshape(q.shape) for array in result))


def _batches(q: Array) -> Iterator[npt.NDArray[np.intp]]:
    """Part the indices of q, 16 octaves together: the panels of a batch are those of its largest q."""
    batch = np.where(q > 0, np.frexp(q)[1] // 16, _APART)
    # set, not np.unique: the latter imports numpy.ma, 8 ms.
    for key in set(batch.tolist()):
        together = np.flatnonzero(batch == key)
        for start in range(0, together.size, _IN_CACHE):
            yield together[start : start + _IN_CACHE]


def _quadrature(act: Activation, q: Array) -> Averages:
    if q.any():
        z, weights = normal_rule(act, q)
        x = np.sqrt(q)[:, None] * z
    else:
        z, weights = np.array([[-1.0, 1.0]]), np.array([[0.5, 0.5]])
        x = _TINY * z
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _averages_on(act, x, z, weights, q)


def _averages_on(act: Activation, x: Array, z: Array, weights: Array, q: Array) -> Averages:
    phi, gate = act.phi(x), act.dphi(x) ** 2
    square = phi * phi

    def mean(values: Array) -> Array:
        return np.asarray((weights * values).sum(axis=1)) + np.zeros_like(q)

    if act.slopes is None:
        gates = mean(gate), mean(gate * gate)
    else:
        laws = [act.gate_masses(value) for value in q.tolist()]
        gates = (
            np.array([math.fsum(d * mass for d, mass in law) for law in laws]),
            np.array([math.fsum(d * d * mass for d, mass in law) for law in laws]),
        )
    middle = np.zeros_like(q) if act.odd else mean(phi)
    return Averages(middle, mean(square), *gates, mean(square * (z * z - 1)))


def _scale_free_averages(act: Activation, q: Array) -> Averages:
    left, right = act.slopes[0], act.slopes[-1]  # type: ignore[index] # piecewise linear, by definition
    left, right, difference = left * left, right * right, right - left
    second, fourth = (left + right) / 2, (left * left + right * right) / 2
    with np.errstate(over="ignore", under="ignore"):
        mean = difference * np.sqrt(q / (2 * math.pi))
        return Averages(mean, second * q, np.full_like(q, second), np.full_like(q, fourth), 2 * second * q)


def second_moment_and_slope(act: Activation, q: Array) -> tuple[Array, Array]:
    """Return E φ² and its derivative in q, for q > 0 of shape (n,).

    The slope is E φφ'z / √q, well conditioned at small q; where φ jumps it is E φ² (z² − 1) / 2q.
    """
    if act.closed_averages is not None or act.scale_free or act.jumps:
        all_of_them = averages(act, q)
        return all_of_them.second, all_of_them.curvature / (2 * q)
    second, slope = np.empty(q.size), np.empty(q.size)
    with np.errstate(over="ignore", under="ignore"):
        for chosen in _batches(q):
            z, weights = normal_rule(act, q[chosen])
            sigma = np.sqrt(q[chosen])
            x = sigma[:, None] * z
            phi = act.phi(x)
            second[chosen] = (weights * phi * phi).sum(axis=1)
            slope[chosen] = (weights * phi * act.dphi(x) * z).sum(axis=1) / sigma
    return second, slope
