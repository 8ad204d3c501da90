"""The factors that spectra are products of: S-transforms in a form that composes.

A free product multiplies S-transforms, so with m = zG(z) − 1 and ζ = log((1+m)/m) a network's law solves

    ζ − Σ log S(m) = log z

(free multiplicative convolution, theory (22); Pennington et al., arXiv 1802.09979). S of a gate is implicit,
so a factor is not a function of m but a curve in unknowns of its own, analytic in them. With log z in the
strip 0 < Im < π, m and 1 + m lie in the open lower half-plane. Near z = 0, 1 + m tends to the mass at 0:
`Place` keeps the digits of what is left of it, and those of what factors with less mass there see.

`FactorArrays` and the like are what compiled code knows of a product: numbers and arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from isocalc.laws.gates.nodes import SortedGate, sorted_gate
from isocalc.numerics.special import log_ratio, lower_log

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
    """Sorted gates one after another; see `nodes.SortedGate`."""

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


Pairs = tuple[tuple[float, float], ...]

# Masses at 0 that differ by rounding are one.
_SAME = 4e-16
_KINDS = {"universal": UNIVERSAL, "smooth": SMOOTH, "bernoulli": BERNOULLI}


class Place(NamedTuple):
    """Values of m, shape (n,), where a product and its factors meet: ζ = log((1 + m − w)/m)."""

    zeta: Complex
    m: Complex
    rest: Complex
    """1 + m − w"""
    at_zero: float
    """Mass w at λ = 0"""

    @classmethod
    def of(cls, zeta: Complex, at_zero: float = 0.0) -> "Place":
        """Return the place of a ζ."""
        positive = 1 - at_zero
        with np.errstate(all="ignore"):  # m is 0 or infinite where it is no double
            m = np.asarray(positive / np.expm1(zeta), dtype=complex)
            return cls(zeta, m, np.asarray(-positive / np.expm1(-zeta), dtype=complex), at_zero)

    def seen_with(self, at_zero: float) -> tuple[Complex, Complex]:
        """Return log((1 + m − w')/m) for another w' <= w, and its derivative in ζ."""
        gap = self.at_zero - at_zero
        if gap <= _SAME:
            return self.zeta, np.ones_like(self.m)
        above = self.rest + gap
        slope = self.rest * ((1 - at_zero) / (1 - self.at_zero)) / above
        return log_ratio(self.m, above, 1 - at_zero), slope


class Tangent(NamedTuple):
    """A factor linearised at its unknowns and a place.

    Arrays of shape (n,), drift and direction (unknowns, n).

    Where ζ is to be that of the place and δ, Newton moves the unknowns by ``drift + direction·δ``, and log S
    becomes ``log_s + rate·δ``.
    """

    log_s: Complex
    rate: Complex
    drift: Complex
    direction: Complex
    rounding: npt.NDArray[np.float64] | float = 0.0
    """Size of the drift that rounding alone makes"""


class Curve(NamedTuple):
    """The equation of a power of one factor along its unknown, arrays of shape (n,); slopes are in that."""

    zeta: Complex
    zeta_slope: Complex
    y: Complex
    """log z"""
    slope: Complex
    log_s: Complex


def tangent_of_curve(
    seen: tuple[Complex, Complex], own: tuple[Complex, Complex], log_s: tuple[Complex, Complex]
) -> Tangent:
    """Return the tangent of a factor with one unknown, from its ζ and log S with their slopes.

    ``seen`` is what its ζ is to be, and the derivative of that in the place's.
    """
    rate, miss = log_s[1] / own[1], own[0] - seen[0]
    return Tangent(log_s[0] - rate * miss, rate * seen[1], -miss[None] / own[1], (seen[1] / own[1])[None])


class Factor(Protocol):
    """One factor of a free product."""

    @property
    def unknowns(self) -> int:
        """How many unknowns it has."""

    def start(self, log_m: Complex) -> Complex:
        """Return the unknowns to leading order at m → 0."""

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factor at unknowns u, shape (unknowns, n), and at a place."""

    def alone(self, u: Complex, count: float) -> Curve | None:
        """Return its ``count``-th power as a curve in its one unknown, None if it is not one."""

    def on_its_side(self, u: Complex) -> Complex:
        """Return the first unknown, taken back where rounding took it over a cut."""

    def potential(self, u: Complex, zeta: Complex) -> Complex:
        """Return ∫ m d log S from m = 0, of which distribution functions are made."""

    @property
    def arrays(self) -> FactorArrays:
        """The factor for compiled code."""

    @property
    def log_mean(self) -> float:
        """Logarithm of the mean, −log S(0)."""

    @property
    def relative_variance(self) -> float:
        """Relative variance, −(log S)'(0)."""

    @property
    def mean_log(self) -> float | None:
        """E log λ, ``None`` where it has no formula."""

    @property
    def mass_at_zero(self) -> float:
        """Mass at 0."""

    @property
    def point_masses(self) -> Pairs:
        """Other point masses, as (log of the place, mass)."""

    @property
    def last_real(self) -> float:
        """The first unknown where m stops to be real though finite, ``inf`` where it does not."""

    @property
    def is_unbounded(self) -> bool:
        """Whether λ has no upper bound."""

    @property
    def reaches_zero(self) -> bool:
        """Whether the law has no lower bound but 0, a point mass there left aside."""


@dataclass(frozen=True)
class ClosedForm:
    """A factor whose S is a function of m; its unknown is ζ.

    Parameters
    ----------
    kind : {"universal", "smooth", "bernoulli"}
        Universal law of residual networks, S = e^{−c(1+2m)} (Tarnowski et al., arXiv 1809.08848, eq. 18);
        the two limits L → ∞ of critical feed-forward networks with orthogonal weights at fixed total
        relative variance c: smooth, S = e^{−cm}, and Bernoulli, S = e^{−cm/(1+m)} (Pennington et al., arXiv
        1802.09979).
    c : float
        At least 0.
    """

    unknowns: ClassVar[int] = 1
    last_real: ClassVar[float] = math.inf
    is_unbounded: ClassVar[bool] = False
    mass_at_zero: ClassVar[float] = 0.0

    kind: Literal["universal", "smooth", "bernoulli"]
    c: float = 1.0

    def start(self, log_m: Complex) -> Complex:
        """Return the unknown at m → 0."""
        return -log_m[None]

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factor at its unknown and at a place."""
        m, one_plus_m = 1 / np.expm1(u[0]), -1 / np.expm1(-u[0])
        slope = -m * one_plus_m
        if self.kind == "universal":
            log_s = -self.c * (1 + 2 * m), -2 * self.c * slope
        elif self.kind == "smooth":
            log_s = -self.c * m, -self.c * slope
        else:
            log_s = -self.c * np.exp(-u[0]), self.c * np.exp(-u[0])
        return tangent_of_curve(place.seen_with(0.0), (u[0], np.ones_like(m)), log_s)

    def alone(self, u: Complex, count: float) -> None:
        """Return nothing: the unknown is ζ already."""

    def on_its_side(self, u: Complex) -> Complex:
        """Return the unknown: it has no cut."""
        return u

    def potential(self, u: Complex, zeta: Complex) -> Complex:  # noqa: ARG002 - other factors need it
        """Return ∫ m d log S from m = 0."""
        m, one_plus_m = 1 / np.expm1(u[0]), -1 / np.expm1(-u[0])
        if self.kind == "universal":
            return np.asarray(-self.c * m * m)
        if self.kind == "smooth":
            return np.asarray(-self.c * m * m / 2)
        return np.asarray(self.c * (np.exp(-u[0]) - lower_log(one_plus_m)))

    @property
    def arrays(self) -> FactorArrays:
        """The factor for compiled code."""
        return FactorArrays(_KINDS[self.kind], self.c)

    @property
    def log_mean(self) -> float:
        """−log S(0)."""
        return self.c if self.kind == "universal" else 0.0

    @property
    def relative_variance(self) -> float:
        """−(log S)'(0)."""
        return 2 * self.c if self.kind == "universal" else self.c

    @property
    def mean_log(self) -> float:
        """−∫ log S from m = −1 to 0."""
        return {"smooth": -self.c / 2, "bernoulli": -math.inf}.get(self.kind, 0.0)

    @property
    def point_masses(self) -> Pairs:
        """Of the Bernoulli class: what all gates let pass."""
        return ((self.c, max(0.0, 1 - self.c)),) if self.kind == "bernoulli" else ()

    @property
    def reaches_zero(self) -> bool:
        """Gates that close do."""
        return self.kind == "bernoulli"
