"""What compiled code knows of a free product: numbers and arrays. Imports nothing but numpy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.sorted_gate import SortedGate, sorted_gate

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Complex = npt.NDArray[np.complex128]

GAUSSIAN, ORTHOGONAL, NARROWING = range(3)
# Residual layers by their power, 0, 1 and 2.
RESIDUAL_TWO_GAUSSIAN, RESIDUAL_GAUSSIAN, RESIDUAL_ORTHOGONAL = range(3, 6)
UNIVERSAL, SMOOTH, BERNOULLI, ROTATION = range(6, 10)
_NO_GATE = sorted_gate(np.empty(0), np.empty(0))


class FactorArrays(NamedTuple):
    """A factor for compiled code."""

    kind: int
    """One of the constants of this module"""
    first: float
    second: float = 0.0
    """Its parameters: of a layer share and growth, of a residual layer log v/κ and κ, of a closed form c"""
    gate: SortedGate = _NO_GATE
    """Its open gates"""
    closed: float = 0.0
    """Share of closed gates"""
    at_zero: float = 0.0
    """Mass at 0 of the law that its unknown is one-to-one with"""


class GateArrays(NamedTuple):
    """Sorted gates one after another; see `sorted_gate.SortedGate`."""

    log_d: Array
    d_real: Array
    d_imag: Array
    weights_real: Array
    weights_imag: Array
    below: Complex
    """Shape (3, nodes + gates), as each gate has one more sum than nodes"""
    beyond: Complex
    """Shape (4, nodes + gates)"""
    ends: Whole
    """Where the nodes of each gate begin, and where the last end"""


class FreeProductArrays(NamedTuple):
    """Factors one after another."""

    kinds: Whole
    parameters: Array
    """First, second, closed and at_zero of each, shape (factors, 4)"""
    gates: GateArrays
    """Of all factors"""
    rows: Whole
    """Where the unknowns of each factor begin in a state, after ζ, and where the last end"""
    counts: Array
    at_zero: float
    """Mass at λ = 0"""
    alone: bool
    """Whether there is one factor of one unknown, from which ζ follows"""


def gate_arrays(gates: Sequence[SortedGate]) -> GateArrays:
    """Return gates as compiled code has them."""
    log_d, d, weights, below, beyond = (np.concatenate(part, axis=-1) for part in zip(*gates, strict=True))
    ends = np.cumsum([0, *(gate.log_d.size for gate in gates)])
    return GateArrays(
        log_d, d.real.copy(), d.imag.copy(), weights.real.copy(), weights.imag.copy(), below, beyond, ends
    )
