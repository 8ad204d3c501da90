"""Averages over the law of a gate, d = φ'², that S-transforms are made of, at u = log t.

t lies off the positive real axis, 0 >= Im u >= −2π. The nodes of a gate are good below it; above, Im u < −π,
averages are the conjugates of those at the conjugate.
"""

import math

import numpy as np
import numpy.typing as npt

from isocalc.complex_logs import Complex, log1p
from isocalc.gates import GateRule

_BLOCK = 8192
_BARELY = 1e-300
_HUGE = 1e3


def gate_averages(gate: GateRule, u: Complex) -> tuple[Complex, Complex, Complex]:
    """Return E 1/(1 − dt), E dt/(1 − dt) and the derivative of both in u."""
    passed, b, slope = open_averages(gate, u)
    return passed + gate.zero_mass, b, slope


def open_averages(gate: GateRule, u: Complex) -> tuple[Complex, Complex, Complex]:
    """Return what `gate_averages` does, the first without closed gates."""
    t, above = _below(u)
    d, weights = gate.open
    sums = np.empty((3, t.size), dtype=complex)
    for part in _blocks(gate, t):
        dt = np.multiply.outer(d, t[part])
        inverse = 1 / (1 - dt)
        # Sums, not products of matrices: BLAS would wake its threads for these.
        terms = weights[:, None] * inverse
        sums[0, part] = terms.sum(axis=0)
        terms *= dt
        sums[1, part] = terms.sum(axis=0)
        terms *= inverse
        sums[2, part] = terms.sum(axis=0)
    sums.imag[:, above] *= -1
    return sums[0], sums[1], sums[2]


def gate_log_mean(gate: GateRule, u: Complex) -> Complex:
    """Return E log(1 − dt)."""
    t, above = _below(u)
    mean = np.empty(t.size, dtype=complex)
    for part in _blocks(gate, t):
        logs = log1p(-np.multiply.outer(gate.d, t[part]))
        # At a point mass itself, dt = 1.
        np.maximum(logs.real, -_HUGE, out=logs.real)
        mean[part] = (gate.weights[:, None] * logs).sum(axis=0)
    mean.imag[above] *= -1
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


def _below(u: Complex) -> tuple[Complex, npt.NDArray[np.bool_]]:
    """Return t or its conjugate, whichever is below the real axis, and where it is the conjugate."""
    t, above = np.exp(u), u.imag < -np.pi
    t.imag[above] *= -1
    # On the side of the cut of log(1 − dt) that limits from below are on.
    t.imag = np.minimum(t.imag, -_BARELY * np.abs(t.real))
    return t, above


def _blocks(gate: GateRule, t: Complex) -> list[slice]:
    """Cut points into parts whose tables stay in the processor's cache."""
    size = max(1, _BLOCK // gate.d.size)
    return [slice(start, start + size) for start in range(0, t.size, size)]
