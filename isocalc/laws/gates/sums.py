"""Averages over the law of a gate, d = φ'², that S-transforms are made of, at u = log t.

t lies off the positive real axis, 0 >= Im u >= −2π. The nodes of a gate are good below it; above, Im u < −π,
averages are the conjugates of those at the conjugate.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from isocalc.laws.gates.nodes import GateRule
from isocalc.laws.tolerances import CACHED_NUMBERS, FAR, LEAST_LOG, NOTHING, SAFE_LOG
from isocalc.numerics.special import Complex, log1p

Flags = npt.NDArray[np.bool_]


def gate_averages(gate: GateRule, u: Complex) -> tuple[Complex, Complex, Complex]:
    """Return E 1/(1 − dt), E dt/(1 − dt) and the derivative of both in u."""
    passed, b, slope = open_averages(gate, u)
    return passed + gate.zero_mass, b, slope


def open_averages(gate: GateRule, u: Complex) -> tuple[Complex, Complex, Complex]:
    """Return what `gate_averages` does, the first without closed gates."""
    sums = np.empty((3, u.size), dtype=complex)
    for points, shift in _near_and_far(u):
        t, above = _below(u[points], shift)
        first, last = _between(gate, u[points])
        nodes, scale = gate.sorted, math.exp(shift)
        d, weights = nodes.d[first:last] * scale, nodes.weights[first:last, None]
        part = np.empty((3, t.size), dtype=complex)
        for block in _blocks(d.size, t):
            dt = np.multiply.outer(d, t[block])
            inverse = 1 / (1 - dt)
            # Sums, not products of matrices: BLAS would wake its threads for these.
            terms = weights * inverse
            part[0, block] = terms.sum(axis=0)
            terms *= dt
            part[1, block] = terms.sum(axis=0)
            terms *= inverse
            part[2, block] = terms.sum(axis=0)
        below, beyond = nodes.below[:, first], nodes.beyond[:, last]
        small, large = below[1] * scale * t, beyond[1] / scale / t
        smaller, larger = (0, 0) if shift else (below[2] * t * t, beyond[2] / t / t)
        part[0] += below[0] + small + smaller - large - larger
        part[1] += small + smaller - beyond[0] - large - larger
        part[2] += small + 2 * smaller + large + 2 * larger
        part.imag[:, above] *= -1
        sums[:, points] = part
    return sums[0], sums[1], sums[2]


def gate_log_mean(gate: GateRule, u: Complex) -> Complex:
    """Return E log(1 − dt)."""
    mean = np.empty(u.size, dtype=complex)
    for points, shift in _near_and_far(u):
        t, above = _below(u[points], shift)
        first, last = _between(gate, u[points])
        nodes, scale = gate.sorted, math.exp(shift)
        d, weights = nodes.d[first:last] * scale, nodes.weights[first:last, None]
        part = np.empty(t.size, dtype=complex)
        for block in _blocks(d.size, t):
            logs = log1p(-np.multiply.outer(d, t[block]))
            # At a point mass itself, dt = 1.
            np.maximum(logs.real, LEAST_LOG, out=logs.real)
            part[block] = (weights * logs).sum(axis=0)
        below, beyond = nodes.below[:, first], nodes.beyond[:, last]
        part -= below[1] * scale * t + beyond[1] / scale / t
        if not shift:
            part -= (below[2] * t * t + beyond[2] / t / t) / 2
        part += beyond[0] * (np.log(-t) + shift) + beyond[3]
        part.imag[above] *= -1
        mean[points] = part
    return mean


def gate_mean_log(gate: GateRule) -> float:
    """Return E log d, −inf where gates can be closed."""
    if gate.zero_mass:
        return -math.inf
    # A d that underflows has next to no weight.
    open_ = gate.d != 0
    return float((gate.weights[open_] * np.log(gate.d[open_])).sum().real)


def lowest_open(gate: GateRule) -> float:
    """Return the lower end of the law of gates that are not closed."""
    if math.isclose(sum(mass for _, mass in gate.masses), 1):
        return min(value for value, _ in gate.masses if value > 0)
    return gate.smallest


def last_real(gate: GateRule) -> float:
    """Return log 1/d at the upper end of a continuous law of gates, ``inf`` where there is no such end."""
    if gate.largest == math.inf or any(value == gate.largest for value, _ in gate.masses):
        return math.inf
    return -math.log(gate.largest)


def _near_and_far(u: Complex) -> Iterator[tuple[Flags, float]]:
    """Yield which points have a t whose square is a number and which do not, with what to take off log t."""
    far = u.real >= FAR
    if not far.all():
        yield ~far, 0.0
    if far.any():
        yield far, SAFE_LOG


def _between(gate: GateRule, u: Complex) -> tuple[int, int]:
    return gate.sorted.between(float(u.real.min()), float(u.real.max()))


def _below(u: Complex, shift: float) -> tuple[Complex, Flags]:
    """Return t or its conjugate, whichever is below the real axis, and where it is the conjugate."""
    t, above = np.exp(u - shift), u.imag < -np.pi
    t.imag[above] *= -1
    # On the side of the cut of log(1 − dt) that limits from below are on.
    t.imag = np.minimum(t.imag, -NOTHING * np.abs(t.real))
    return t, above


def _blocks(nodes: int, t: Complex) -> Iterator[slice]:
    """Cut points into parts whose tables stay in the processor's cache."""
    size = max(1, CACHED_NUMBERS // max(nodes, 1))
    return (slice(start, start + size) for start in range(0, t.size, size))
