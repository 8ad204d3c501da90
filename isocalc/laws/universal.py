"""The universal law of residual networks, L → ∞: `UniversalLaw`, one number c and a scale.

Centred, it is the law of y = log λ − 2L log|a|. With m = 1/(e^ζ − 1) its equation (Tarnowski et al. 2018, eq.
18) reads ζ + c coth(ζ/2) = y. On the curve ζ = X + it where its left side is real, t runs from 0 at the edges
to its largest value at y = 0, and

    density(y) = t / (2πc),    survival(y) = Im[c m² + log(1 − e^−ζ)] / π.

The density is even in y: theory (33) to (37). Functions here trust their arguments: c > 0, arrays of float64.
"""

import math
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError, require_choice, require_number, require_whole
from isocalc.laws.law import VARIABLES, Centred, Law, Pairs, Variable
from isocalc.laws.support import PointMasses
from isocalc.laws.tolerances import (
    BESIDE_EDGE,
    EPS,
    KNOTS,
    MOST_TERMS,
    NUMBA_FROM,
    NUMBA_FROM_LOADED,
    SEMICIRCLE_BELOW,
    WORTH_A_THREAD,
)
from isocalc.limits import MAX_DEPTH, MOST_C

Array = npt.NDArray[np.float64]

_points_so_far = Counter[str]()


@dataclass(frozen=True)
class UniversalLaw(Law):
    """The universal law of residual networks, L → ∞: one number c fixes it, up to the scale a^L.

    Parameters
    ----------
    c : float
        The activation-dependent parameter (effective cumulant), from 0 to 10⁶. 0 is a point mass.
    depth : int
        Number of blocks L; it matters only through ``skip**depth``.
    skip : float
        The weight a of the skip connection, not 0.
    variable : {"singular", "lambda", "log"}
        What x is: a singular value s, its square λ, or log s.
    error : float, optional
        Distance from the law of a network, as predicted.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        By density, distribution function, quantiles and moments, where c is beyond 10⁶.

    Notes
    -----
    The density is good to a relative 10⁻¹³, or to the conditioning of the problem where that is worse (near
    an edge, at tiny c); distribution function and quantiles to 10⁻¹¹. Numbers beyond the range of a double
    come back as ``inf`` or 0; in the variable "log" there are none.

    References
    ----------
    Tarnowski, Warchoł, Jastrzębski, Tabor, Nowak, arXiv 1809.08848, eq. (18) and (19): theory (33) to (37).

    Examples
    --------
    >>> law = UniversalLaw(1.0)
    >>> round(law.bulk_condition_number, 6)
    21.094423
    """

    name: ClassVar[str] = "universal"
    c: float
    _: KW_ONLY
    depth: int = 1
    skip: float = 1.0
    variable: Variable = "singular"
    error: float | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        c = require_number("c", self.c, "a finite number of at least 0", lambda value: value >= 0)
        skip = require_number("skip", self.skip, "a finite number other than 0", lambda value: value != 0)
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "skip", skip)
        object.__setattr__(self, "depth", require_whole("depth", self.depth, 1, MAX_DEPTH))
        require_choice("variable", self.variable, VARIABLES)

    @property
    def _centre(self) -> Pairs:
        return ((abs(self.skip), self.depth),)

    @cached_property
    def _centred(self) -> Centred:
        return PointMasses(((0.0, 1.0),)) if self.c == 0 else CentredUniversal(self.c)


@dataclass(frozen=True)
class CentredUniversal:
    """The universal law of y, as every law of singular values is asked for; c > 0."""

    c: float

    @cached_property
    def _curve(self) -> "Curve":
        return Curve.trace(self.c)

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """The one interval that carries the density."""
        return (self.edges,)

    @property
    def edges(self) -> tuple[float, float]:
        """Both ends of it."""
        return -edge(self.c), edge(self.c)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """No point masses."""
        return ()

    @property
    def mean(self) -> float:
        """E y."""
        return 0.0

    @property
    def variance(self) -> float:
        """Variance of y."""
        return 2 * self.c + self.c * self.c / 3

    def density_and_below(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y and the mass at or below y."""
        # The density is even; mass is taken on the side where it is small.
        return density_and_survival(-y, self._curve)

    def quantile(self, u: Array) -> Array:
        """Return the y with the mass u below it."""
        from isocalc.numerics.cubics import with_cubics_between  # noqa: PLC0415 - few laws are asked for any

        def below_zero(mass: Array) -> Array:
            return -quantile(mass, self._curve)

        y = with_cubics_between(below_zero, self._slopes, np.minimum(u, 1 - u).ravel()).reshape(u.shape)
        return np.where(u < 0.5, y, -y)

    def _slopes(self, y: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(1 / density_and_survival(-y, self._curve)[0])

    def log_laplace(self, power: float) -> float:
        """Return log E e^(power y)."""
        return log_laplace(power, self.c)

    def relative_variance(self, power: float) -> float:
        """Return the relative variance of λ or, for power 1/2, of s."""
        return 2 * self.c if power == 1 else relative_variance_of_s(self.c)

    def mean_of(self, function: Callable[[Array], Array]) -> float:
        """Return E function(y)."""
        return mean_of(function, self.c)

    def grid(self, points: int, power: float = 0.0) -> Array:  # noqa: ARG002 - the same for all
        """Return values of y from edge to edge, cosine-spaced."""
        y = -edge(self.c) * np.cos(np.linspace(0.0, np.pi, points))
        y[-1] = edge(self.c)
        return y


def _require_known(c: float) -> None:
    if c > MOST_C:
        raise NoAnswerError(f"the universal law is computed for c up to {MOST_C:g}; here c is {c!r}")


def edge(c: float) -> float:
    """Return the upper edge of the support of y; the lower one is its negative."""
    root = math.sqrt(c) * math.sqrt(2 + c)
    return math.log1p(c + root) + root


@dataclass(frozen=True)
class Curve:
    """Points of the curve at equal steps of γ = arccos(y/edge), from the upper edge to y = 0: Newton's start.

    Below c = 10⁻¹⁰⁰ the law is a semicircle to all digits: that of 10⁻¹⁰⁰ with y multiplied by ``stretch``.
    """

    c: float
    edge: float
    x: Array
    t: Array
    stretch: float

    @property
    def newton_steps(self) -> int:
        """Steps that reach rounding from the interpolated start: more where the edge is sharp in γ."""
        return 3 if self.c < 1e4 else 6

    @classmethod
    def trace(cls, c: float) -> "Curve":
        """Trace the curve for one c.

        Raises
        ------
        NoAnswerError
            c is beyond 10⁶.
        """
        _require_known(c)
        stretch = min(1.0, math.sqrt(c / SEMICIRCLE_BELOW))
        c = max(c, SEMICIRCLE_BELOW)
        upper, gamma = edge(c), np.linspace(0.0, np.pi / 2, KNOTS)
        t = _highest(c) * np.sin(gamma)
        excess = c * np.sinc(t / np.pi) - 2 * np.sin(t / 2) ** 2
        x = 2 * np.arcsinh(np.sqrt(np.maximum(excess, 0.0) / 2))
        y = x + c * np.sinh(x) / (2 * np.sinh(x / 2) ** 2 + 2 * np.sin(t / 2) ** 2)
        found = np.arccos(np.minimum(y / upper, 1.0))
        return cls(c, upper, np.interp(gamma, found, x), np.interp(gamma, found, t), stretch)


def _highest(c: float) -> float:
    """Solve t tan(t/2) = c: the height of the curve at its middle, y = 0."""
    low, high = 0.0, min(math.pi, math.sqrt(2 * c))
    for _ in range(60):
        t = (low + high) / 2
        low, high = (t, high) if t * math.tan(t / 2) < c else (low, t)
    return low


def density_and_survival(y: Array, curve: Curve) -> tuple[Array, Array]:
    """Return the density of y, 0 outside the support, and the mass above y; arrays of y's shape.

    Parameters
    ----------
    y : array
        Any real values, infinities included.
    curve : Curve
        The law.

    Raises
    ------
    NoAnswerError
        Newton did not converge (not known to happen).
    """
    flat = np.abs(y.ravel()) / curve.stretch
    _points_so_far["solved"] += flat.size
    enough = NUMBA_FROM_LOADED if "numba" in sys.modules else NUMBA_FROM
    solve = _solve_compiled if _points_so_far["solved"] >= enough else _solve
    beside = (flat < curve.edge) & (flat > curve.edge * (1 - BESIDE_EDGE))
    inside = (flat < curve.edge) & ~beside
    density, upper = np.zeros_like(flat), np.zeros_like(flat)
    density[beside], upper[beside] = _expand_at_edge(flat[beside], curve)
    if inside.any():
        density[inside], upper[inside], worst = solve(flat[inside], curve)
        if not worst <= 1e3 * EPS * curve.edge:
            raise NoAnswerError(f"the universal law at c = {curve.c!r} was not solved to full accuracy")
    survival = np.where(y.ravel() < 0, 1 - upper, upper)
    return density.reshape(y.shape) / curve.stretch, survival.reshape(y.shape)


def _expand_at_edge(y: Array, curve: Curve) -> tuple[Array, Array]:
    """Density and survival below the edge to first order, where y'' = coth(ζ/2) = √(1 + 2/c)."""
    below = curve.edge - y
    density = np.sqrt(2 * below * math.sqrt(curve.c / (curve.c + 2))) / (2 * np.pi * curve.c)
    return density, density * below * (2 / 3)


def _solve(y: Array, curve: Curve) -> tuple[Array, Array, float]:
    """Newton on ζ for 0 <= y < edge: density, survival and the largest residual."""
    c = curve.c
    gamma = np.arccos(y / curve.edge)
    angle = np.linspace(0.0, np.pi / 2, KNOTS)
    zeta = np.interp(gamma, angle, curve.x) + 1j * np.interp(gamma, angle, curve.t)
    for step in range(curve.newton_steps + 1):
        sinh = np.sinh(zeta / 2)
        residual = zeta + c * np.cosh(zeta / 2) / sinh - y
        if step < curve.newton_steps:
            zeta = zeta - residual / (1 - c / (2 * sinh * sinh))
    # At an edge itself rounding can leave t below 0.
    zeta = zeta.real + 1j * np.maximum(zeta.imag, 0.0)
    one_minus = -np.expm1(-zeta)
    m = np.exp(-zeta) / one_minus
    survival = (c * (m * m).imag + np.angle(one_minus)) / np.pi
    return zeta.imag / (2 * np.pi * c), np.clip(survival, 0.0, 0.5), float(np.abs(residual).max())


def _solve_compiled(y: Array, curve: Curve) -> tuple[Array, Array, float]:
    """Do what `_solve` does, compiled."""
    from isocalc.numerics.kernels import solve_universal  # noqa: PLC0415 - loading Numba takes half a second

    density, survival = np.empty_like(y), np.empty_like(y)

    def solve(part: slice) -> float:
        found = density[part], survival[part]
        return solve_universal(y[part], curve.c, curve.edge, curve.x, curve.t, curve.newton_steps, *found)

    size = max(WORTH_A_THREAD, math.ceil(y.size / (os.cpu_count() or 1)))
    parts = [slice(start, start + size) for start in range(0, y.size, size)]
    if len(parts) == 1:
        return density, survival, solve(parts[0])
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only large grids need it

    with ThreadPoolExecutor(len(parts)) as pool:
        return density, survival, max(pool.map(solve, parts))


def quantile(survival: Array, curve: Curve) -> Array:
    """Return y with the given mass above it, for masses in [0, 1/2].

    Newton in γ on the cube root of the mass, which is nearly linear in γ up to the edge.
    """
    upper = curve.edge * curve.stretch
    angle = np.linspace(0.0, np.pi / 2, KNOTS)
    knots = density_and_survival(upper * np.cos(angle), curve)[1]
    knots[0], knots[-1] = 0.0, 0.5
    root = np.cbrt(survival)
    gamma = np.interp(root, np.cbrt(knots), angle)
    for _ in range(4):
        density, mass = density_and_survival(upper * np.cos(gamma), curve)
        slope = density * upper * np.sin(gamma)
        with np.errstate(invalid="ignore", divide="ignore"):
            step = 3 * np.cbrt(mass) ** 2 * (np.cbrt(mass) - root) / slope
        gamma = np.clip(gamma - np.where(np.isfinite(step), step, 0.0), 0.0, np.pi / 2)
    return np.where(survival >= 0.5, 0.0, upper * np.cos(gamma))


def log_laplace(power: float, c: float) -> float:
    """Return log E λ^power, log of e^{cp} ₁F₁(1 − p; 2; −2cp) for any real p; even in p.

    For whole p it is the Laguerre polynomial of Tarnowski et al. 2018, eq. 19; all terms summed are positive.

    Raises
    ------
    NoAnswerError
        c is beyond 10⁶, or the series needs more than 10⁷ terms.
    """
    _require_known(c)
    p = abs(power)
    x = 2 * c * p
    if x == 0:
        return 0.0
    if p == math.floor(p):
        count, tilt = p, 0.5 * x
    else:
        peak = (x + math.sqrt(x * (x + 4 * p))) / 2
        count, tilt = math.ceil(peak + 12 * math.sqrt(peak) + 60), -0.5 * x
    if count > MOST_TERMS:
        raise NoAnswerError(f"the moment of λ of order {power!r} at c = {c!r} needs {count:.0g} terms")
    j = np.arange(count - 1)
    ratio = ((p - 1 - j) if tilt > 0 else (1 + p + j)) * x / ((2 + j) * (1 + j))
    # Thousands of terms: summed in the longest floats there are. They vanish where c is next to nothing.
    with np.errstate(divide="ignore"):
        terms = np.concatenate(([0.0], np.cumsum(np.log(ratio), dtype=np.longdouble)))
    top = terms.max()
    return float(tilt + top + np.log(np.exp(terms - top).sum()))


def relative_variance_of_s(c: float) -> float:
    """Return Var s / (E s)², without cancellation at small c."""
    if c > 1:
        exponent = c - 2 * log_laplace(0.5, c)
        return math.expm1(exponent) if exponent < 709.7 else math.inf
    # E s = e^{c/2} g with g = ₁F₁(1/2; 2; −c), and E s² = e^c.
    term, deficit = 1.0, 0.0
    for j in range(20):
        term *= -(0.5 + j) * c / ((2 + j) * (1 + j))
        deficit -= term
    return deficit * (2 - deficit) / (1 - deficit) ** 2


def mean_of(function: Callable[[Array], Array], c: float) -> float:
    """Return E function(y), by the trapezoid rule in arccos(y/edge), which converges geometrically."""
    if c == 0:
        return float(function(np.zeros(1))[0])
    count = 2048
    angle = np.linspace(0.0, np.pi / 2, count + 1)
    y = edge(c) * np.cos(angle)
    weights = density_and_survival(y, Curve.trace(c))[0] * np.sin(angle) * (edge(c) * np.pi / 2 / count)
    weights[-1] /= 2
    # In pairs: the law is even, and its odd moments are 0.
    return float((weights * (function(y) + function(-y))).sum())
