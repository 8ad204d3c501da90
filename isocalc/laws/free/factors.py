"""The factors that spectra are products of: S-transforms in a form that composes.

A free product multiplies S-transforms, so with m = zG(z) − 1 and ζ = log((1+m)/m) a network's law solves

    ζ − Σ log S(m) = log z

(free multiplicative convolution, theory (22); Pennington et al., arXiv 1802.09979). S of a gate is implicit,
so a factor is not a function of m but a curve in unknowns of its own, analytic in them. With log z in the
strip 0 < Im < π, m and 1 + m lie in the open lower half-plane. Near z = 0, 1 + m tends to the mass at 0:
`Place` keeps the digits of what is left of it, and those of what factors with less mass there see.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from isocalc.numerics.special import log_ratio, lower_log

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

Pairs = tuple[tuple[float, float], ...]

# Masses at 0 that differ by rounding are one.
_SAME = 4e-16


class Place(NamedTuple):
    """Values of m, shape (n,), where a product and its factors meet: ζ = log((1 + m − w)/m)."""

    zeta: Complex
    m: Complex
    rest: Complex
    """1 + m − w"""
    at_zero: float
    """Mass w at λ = 0"""
    tail: Array | None = None
    """Where gates are principal values: what their imaginary parts are multiplied with, shape (n,)"""

    @classmethod
    def of(cls, zeta: Complex, at_zero: float = 0.0) -> "Place":
        """Return the place of a ζ."""
        positive = 1 - at_zero
        m: Any = positive / np.expm1(zeta)
        rest: Any = -positive / np.expm1(-zeta)
        return cls(zeta, m, rest, at_zero)

    def seen_with(self, at_zero: float | Array) -> tuple[Complex, Complex]:
        """Return log((1 + m − w')/m) for other w' <= w, shape (k, 1) or a number, and its derivative in ζ."""
        gap = self.at_zero - np.asarray(at_zero)
        if not (gap > _SAME).any():
            return self.zeta, np.ones_like(self.m)
        above = self.rest + gap
        slope = self.rest * ((1 - at_zero) / (1 - self.at_zero)) / above
        seen = np.where(gap > _SAME, log_ratio(self.m, above, 1 - at_zero), self.zeta)
        return seen, np.where(gap > _SAME, slope, 1.0)


class Tangent(NamedTuple):
    """Alike factors linearised at their unknowns and a place.

    Arrays of shape (factors, n), drift and direction (unknowns, factors, n).

    Where ζ is to be that of the place and δ, Newton moves the unknowns by ``drift + direction·δ``, and log S
    becomes ``log_s + rate·δ``.
    """

    log_s: Complex
    rate: Complex
    drift: Complex
    direction: Complex
    spread: tuple[Array, Array] | None = None
    """By how much more than ζ log S and the unknown move, where that is what rounding does to them"""


def tangent_of_curve(
    seen: tuple[Complex, Complex], own: tuple[Complex, Complex], log_s: tuple[Complex, Complex]
) -> Tangent:
    """Return the tangent of factors with one unknown, from their ζ and log S with their slopes.

    ``seen`` is what their ζ is to be, and the derivative of that in the place's.
    """
    rate, miss = log_s[1] / own[1], np.asarray(own[0] - seen[0])
    # On the real axis rounding says on which side of the cut a logarithm is.
    miss.imag -= 2 * np.pi * np.rint(miss.imag / (2 * np.pi))
    return Tangent(
        log_s[0] - rate * miss,
        rate * seen[1],
        -miss[None] / own[1],
        (seen[1] / own[1])[None],
        (np.abs(rate), np.abs(1 / own[1])),
    )


class Alike(Protocol):
    """Factors of one kind, side by side; arrays of their unknowns have the shape (unknowns, factors, n)."""

    @property
    def unknowns(self) -> int:
        """How many unknowns each has."""

    def start(self, log_m: Complex) -> Complex:
        """Return the unknowns to leading order at m → 0."""

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factors at unknowns and at a place."""

    def keep_on_side(self, u: Complex) -> None:
        """Take the first unknowns back where rounding took them over a cut."""

    def potential(self, u: Complex, zeta: Complex) -> Complex:
        """Return ∫ m d log S from m = 0, of which distribution functions are made."""


class Factor(Protocol):
    """One factor of a free product."""

    @property
    def group(self) -> Hashable:
        """What factors have in common that stand side by side."""

    @staticmethod
    def side_by_side(factors: Sequence[Any]) -> Alike:
        """Return factors of the same kind for arrays of points."""

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

    last_real: ClassVar[float] = math.inf
    is_unbounded: ClassVar[bool] = False
    mass_at_zero: ClassVar[float] = 0.0

    kind: Literal["universal", "smooth", "bernoulli"]
    c: float = 1.0

    @property
    def group(self) -> Hashable:
        """What such factors have in common that stand side by side."""
        return self.kind

    @staticmethod
    def side_by_side(factors: Sequence["ClosedForm"]) -> "ClosedForms":
        """Return factors of the same kind for arrays of points."""
        return ClosedForms(factors[0].kind, np.array([[factor.c] for factor in factors]))

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


class ClosedForms:
    """Limits of one kind, side by side."""

    unknowns = 1

    def __init__(self, kind: str, c: Array) -> None:
        self._kind, self._c = kind, c

    def start(self, log_m: Complex) -> Complex:
        """Return the unknown at m → 0."""
        return np.asarray(-log_m + 0 * self._c)[None]

    def tangent(self, u: Complex, place: Place) -> Tangent:
        """Return the factors at their unknowns and at a place."""
        m, one_plus_m = 1 / np.expm1(u[0]), -1 / np.expm1(-u[0])
        slope = -m * one_plus_m
        if self._kind == "universal":
            log_s = -self._c * (1 + 2 * m), -2 * self._c * slope
        elif self._kind == "smooth":
            log_s = -self._c * m, -self._c * slope
        else:
            log_s = -self._c * np.exp(-u[0]), self._c * np.exp(-u[0])
        return tangent_of_curve(place.seen_with(0.0), (u[0], np.ones_like(m)), log_s)

    def keep_on_side(self, u: Complex) -> None:
        """Leave the unknowns: they have no cut."""

    def potential(self, u: Complex, zeta: Complex) -> Complex:  # noqa: ARG002 - other factors need it
        """Return ∫ m d log S from m = 0."""
        m, one_plus_m = 1 / np.expm1(u[0]), -1 / np.expm1(-u[0])
        if self._kind == "universal":
            return np.asarray(-self._c * m * m)
        if self._kind == "smooth":
            return np.asarray(-self._c * m * m / 2)
        return np.asarray(self._c * (np.exp(-u[0]) - lower_log(one_plus_m)))
