"""The public face of every law: a variable, a scale, and the questions of a frozen distribution.

A law is stated in singular values s, in their squares λ, or in log s. `Law` answers for x in that variable;
behind it is a `Centred` law of y = log λ − centre, and a `Scale` between the two.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from isocalc.errors import InvalidInputError, NoAnswerError, require_choice, require_number, require_whole
from isocalc.laws.tolerances import MISSED_MASS, MOST_BEYOND, MOST_POINTS, SAFE_LOG, TAIL_MASS
from isocalc.numerics.special import exp_or_inf

if TYPE_CHECKING:
    from isocalc.laws.outliers import Outliers

Array = npt.NDArray[np.float64]
Variable = Literal["singular", "lambda", "log"]

VARIABLES: tuple[Variable, ...] = ("singular", "lambda", "log")
# Each is this power of λ.
POWER = {"singular": 0.5, "lambda": 1.0}
# Where a density is looked at next to λ = 0, in units of a length of y; at how many places it is to be known.
_FURTHER, _FEWEST = 2.0 ** np.arange(8) - 1, 2
# Powers of x this small are 0.
_LEVEL = 1e-4


@dataclass(frozen=True)
class Scale:
    """Between x in some variable and y = log λ − centre, the centred one that laws are computed in.

    Parameters
    ----------
    centre : tuple of (float, float)
        The singular value at y = 0 as a product of base^power, bases greater than 0: |a|^L, σ_w^L.
    variable : {"singular", "lambda", "log"}
        What x is.
    """

    centre: tuple[tuple[float, float], ...]
    variable: Variable

    @cached_property
    def log_s(self) -> float:
        """Logarithm of the singular value at y = 0."""
        return math.fsum(power * math.log(base) for base, power in self.centre)

    @cached_property
    def _unit(self) -> float | None:
        """The x at y = 0, where that is well inside a double's range."""
        if sum(abs(power * math.log(base)) for base, power in self.centre) > SAFE_LOG:
            return None
        return math.prod(math.pow(base, 2 * POWER[self.variable] * power) for base, power in self.centre)

    def centred(self, x: Array) -> Array:
        """Return y at x; -inf at and below 0 where x cannot be negative."""
        with np.errstate(divide="ignore", over="ignore"):
            if self.variable == "log":
                return 2 * (x - self.log_s)
            x = np.maximum(x, 0.0)
            if self._unit is not None:
                return np.log(x / self._unit) / POWER[self.variable]
            return np.log(x) / POWER[self.variable] - 2 * self.log_s

    def uncentred(self, y: Array) -> Array:
        """Return x at y; inf or 0 where a double cannot hold it."""
        if self.variable == "log":
            return self.log_s + y / 2
        with np.errstate(over="ignore", under="ignore"):
            if self._unit is not None:
                return self._unit * np.exp(y * POWER[self.variable])
            return np.exp((2 * self.log_s + y) * POWER[self.variable])


Pairs = tuple[tuple[float, float], ...]


class Centred(Protocol):
    """A law of y = log λ − centre. Functions of y take any shape and trust their arguments."""

    @property
    def intervals(self) -> Pairs:
        """Intervals of y that carry the density, ascending; ends may be infinite."""

    @property
    def edges(self) -> tuple[float, float]:
        """The lower end of the first and the upper end of the last interval, (inf, −inf) without any."""

    @property
    def atoms(self) -> Pairs:
        """Point masses as (y, mass), ascending; y is −inf where λ is 0."""

    @property
    def mean(self) -> float:
        """E y, −inf where λ has a point mass at 0."""

    @property
    def variance(self) -> float:
        """Variance of y."""

    def density_and_below(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y, atoms left out, and the mass at or below y."""

    def quantile(self, u: Array) -> Array:
        """Return the smallest y with at least the mass u at or below it, u in [0, 1]."""

    def log_laplace(self, power: float) -> float:
        """Return log E λ^power e^(−power centre)."""

    def relative_variance(self, power: float) -> float:
        """Return Var λ^power / (E λ^power)²."""

    def mean_of(self, function: Callable[[Array], Array]) -> float:
        """Return E function(y)."""

    def grid(self, points: int, power: float = 0.0) -> Array:
        """Return so many values of y, fit for trapezoid sums of the density of λ^power, of y for 0."""


class Leaving(Protocol):
    """What leaves the law of a network."""

    @property
    def found(self) -> "Outliers":
        """The outliers, or why they are not derived."""


class Law(ABC):
    """A law of singular values, shaped like a frozen distribution of SciPy.

    Methods take arrays of any shape and return arrays of that shape; a scalar gives a float. What x is, the
    attribute ``variable`` says: a singular value s, its square λ, or log s.

    A law is of all singular values of a network but a few. Those outside of it, `outliers`, are found when
    they are first asked for, of a law that `isocalc.spectrum` made; the network's own extremes are `s_max`
    and `s_min`.
    """

    name: ClassVar[str]
    variable: Variable
    _leaving: Leaving | str = "outliers are of a network, which c alone is not"

    @property
    def error(self) -> float | None:
        """Kolmogorov-Smirnov distance from the law of the network, N → ∞; ``None`` where it is not known."""
        return None

    @property
    @abstractmethod
    def _centred(self) -> Centred:
        """The law of log λ less a constant."""

    @property
    @abstractmethod
    def _centre(self) -> Pairs:
        """That constant: the log of the square of a product, of base^power for each pair."""

    def using(self, variable: Variable) -> Self:
        """Return the same law in another variable."""
        require_choice("variable", variable, VARIABLES)
        self._centred  # noqa: B018 - made once for all variables
        law = copy.copy(self)
        for cached in ("_scale", "_solved"):
            law.__dict__.pop(cached, None)
        object.__setattr__(law, "variable", variable)
        return law

    def pdf(self, x: npt.ArrayLike) -> Array:
        """Density at x in the law's variable: 0 outside the support, atoms left out, inf where it diverges.

        Raises
        ------
        NoAnswerError
            So far out in a tail, or so near to λ = 0, that next to no mass lies beyond.
        """
        x = _numbers("x", x)
        return self._per_x(x, self._solve(x)[0])[()]

    def _per_x(self, x: Array, density: Array) -> Array:
        """Return the density of x from that of y."""
        at_zero = (x == 0) & ~(density > 0)
        if self.variable != "log" and at_zero.any():
            density = np.where(at_zero, 0.0, density)
        if np.isnan(density).any():
            place = float(x[np.isnan(density)][0])
            raise NoAnswerError(f"the density at {place!r} is not resolved: next to no mass lies beyond")
        if self.variable == "log":
            return 2 * density
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            found = np.where(density > 0, density / (POWER[self.variable] * x), 0.0)
        return np.where(at_zero, self._at_zero, found) if at_zero.any() else found

    @property
    def _at_zero(self) -> float:
        """Limit of the density of x at x → 0+: a power of x by its slope as far out as it is a double.

        Raises
        ------
        NoAnswerError
            It is not known so near to 0.
        """
        intervals, power = self._centred.intervals, POWER[self.variable]
        if not intervals or intervals[0][0] > -math.inf:
            return 0.0
        at_zero = sum(mass for place, mass in self._centred.atoms if place == -math.inf)
        low, inside = self._centred.quantile(at_zero + TAIL_MASS * np.array([1.0, 2.0]))
        y = low - max(1.0, inside - low) * _FURTHER
        with np.errstate(under="ignore"):
            density = self._centred.density_and_below(y)[0]
        y, density = y[density > 0], density[density > 0]
        if y.size < _FEWEST:
            raise NoAnswerError("the density at 0.0 is not resolved: next to no mass lies beyond")
        log = np.log(density[-2:]) - power * y[-2:]
        growth = float((log[0] - log[1]) / (y[-2] - y[-1]))
        if abs(growth) > _LEVEL:
            return math.inf if growth < 0 else 0.0
        unit = 2 * power * self._scale.log_s
        return exp_or_inf(float(log[1]) - unit - math.log(power))

    def cdf(self, x: npt.ArrayLike) -> Array:
        """Mass at or below x.

        Raises
        ------
        NoAnswerError
            It falls from one value to a larger one: the law was not solved.
        """
        return self._solve(_numbers("x", x))[1].copy()[()]

    def _solve(self, x: Array) -> tuple[Array, Array]:
        """Return density of y and mass below, kept for the second of them to be asked for."""
        key = x.tobytes(), x.shape, self.variable
        if key not in self._solved:
            self._solved.clear()
            self._solved[key] = self._rising(self._scale.centred(x))
        return self._solved[key]

    def _rising(self, y: Array) -> tuple[Array, Array]:
        """Return the density at y and the mass at or below, which falls nowhere, not by rounding either."""
        density, below = self._centred.density_and_below(y)
        order = np.argsort(y, axis=None, kind="stable")
        ascending = below.ravel()[order]
        highest = np.maximum.accumulate(ascending)
        if (highest - ascending > MISSED_MASS).any():
            raise NoAnswerError(
                f"the {self.name} law was not solved: its distribution function falls by "
                f"{(highest - ascending).max():.2g}",
                ("simulate",),
            )
        below = np.empty_like(highest)
        below[order] = highest
        return density, below.reshape(y.shape)

    @cached_property
    def _solved(self) -> dict[tuple[bytes, tuple[int, ...], str], tuple[Array, Array]]:
        return {}

    def ppf(self, u: npt.ArrayLike) -> Array:
        """Quantile: the smallest x at or below which lies the mass u, in [0, 1].

        Raises
        ------
        InvalidInputError
            A value is outside [0, 1].
        """
        u = _numbers("u", u)
        if not ((u >= 0) & (u <= 1)).all():
            raise InvalidInputError("u", "between 0 and 1", float(u[~((u >= 0) & (u <= 1))][0]))
        return self._scale.uncentred(self._centred.quantile(u))[()]

    def support(self) -> Pairs:
        """Return the intervals that carry the density, ascending; a pure point mass has none."""
        return tuple((self._at(low), self._at(high)) for low, high in self._centred.intervals)

    @property
    def atoms(self) -> Pairs:
        """Point masses as (location, mass), ascending."""
        return tuple((self._at(place), mass) for place, mass in self._centred.atoms)

    def moment(self, k: float) -> float:
        """Mean of x^k: any real k, whole k >= 0 in the variable "log".

        Raises
        ------
        InvalidInputError
            ``k`` breaks that rule.
        NoAnswerError
            It is beyond what the law can compute.
        """
        if self.variable == "log":
            return self._moment_of_log_s(require_whole("k", k, 0, 10**3))
        power = require_number("k", k, "a finite number", math.isfinite) * POWER[self.variable]
        return exp_or_inf(2 * power * self._scale.log_s + self._centred.log_laplace(power))

    def _moment_of_log_s(self, order: int) -> float:
        # In a unit that no power takes out of a double's range; numpy rounds (-x)^3 and x^3 differently.
        log_s = self._scale.log_s
        unit = math.frexp(max(abs(log_s + end / 2) for end in self._ends))[1]

        def power(y: Array) -> Array:
            x = np.ldexp(log_s + y / 2, -unit)
            return np.asarray(np.abs(x) ** order * np.sign(x) ** (order % 2))

        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(self._centred.mean_of(power), unit * order))

    def mean(self) -> float:
        """Mean of x."""
        return self.mean_log_s if self.variable == "log" else self.moment(1)

    def var(self) -> float:
        """Variance of x: of λ it is the measure of isometry σ²_JJᵀ."""
        if self.variable == "log":
            return self._centred.variance / 4
        mean, relative = self.mean(), self._centred.relative_variance(POWER[self.variable])
        if mean in {0.0, math.inf}:
            return mean
        return mean * relative * mean if relative < math.inf else self.moment(2)

    def grid(self, points: int) -> Array:
        """Return ``points`` values of x over the support, dense at its edges: cosine-spaced in log s.

        Trapezoid sums of the density on it converge as if the square-root edges were not there.

        Raises
        ------
        InvalidInputError
            ``points`` is not a whole number of at least 1.
        """
        require_whole("points", points, 1, MOST_POINTS)
        return self._scale.uncentred(self._centred.grid(points, POWER.get(self.variable, 0.0)))

    def table(self, points: int) -> tuple[Array, Array, Array]:
        """Return `grid`, and on it the density and the mass at or below.

        They are those of the grid in log s, to which doubles of x may be too coarse: of a narrow law x may
        repeat, and still the mass rises.

        Parameters
        ----------
        points : int

        Returns
        -------
        x, density, cdf : arrays, shape (points,)

        Raises
        ------
        InvalidInputError
            ``points`` is not a whole number of at least 1.
        NoAnswerError
            The mass falls somewhere, or is not all there is between the ends: the law was not solved.
        """
        require_whole("points", points, 1, MOST_POINTS)
        y = self._centred.grid(points, POWER.get(self.variable, 0.0))
        density, below = self._rising(y)
        if points > 1:
            self._require_whole_mass(y, density, below)
        x = self._scale.uncentred(y)
        return x, self._per_x(x, density), below

    def _require_whole_mass(self, y: Array, density: Array, below: Array) -> None:
        if not self._centred.intervals:
            return
        low, high = self._centred.intervals[0][0], self._centred.intervals[-1][1]
        before = sum(mass for place, mass in self._centred.atoms if place <= y[0])
        behind = sum(mass for place, mass in self._centred.atoms if place > y[-1])
        for k, end, mass in ((0, low, before), (-1, high, 1 - behind)):
            if not math.isfinite(end):
                continue
            missed = abs(float(below[k]) - mass)
            if missed > MISSED_MASS + MOST_BEYOND * float(density[k]) * abs(end - float(y[k])):
                raise NoAnswerError(
                    f"the {self.name} law was not solved: {missed:.2g} of its mass is missing at an end of "
                    "the support",
                    ("simulate",),
                )

    @property
    def mean_log_s(self) -> float:
        """Mean of log s, −inf where s = 0 has a mass."""
        return self._scale.log_s + self._centred.mean / 2

    def leave(self, leaving: Leaving | str) -> None:
        """Take what leaves the law of the network that it was made for, or why that is not known."""
        object.__setattr__(self, "_leaving", leaving)

    @property
    def not_derived(self) -> str | None:
        """Why `outliers` are not derived, as a sentence; ``None`` where they are."""
        return self._leaving if isinstance(self._leaving, str) else self._leaving.found.missing

    @property
    def _left(self) -> "Outliers":
        if isinstance(self._leaving, str) or self._leaving.found.missing is not None:
            raise NoAnswerError(str(self.not_derived), ("simulate",))
        return self._leaving.found

    @property
    def outliers(self) -> Array:
        """Singular values of the network outside of the law, N → ∞, in its variable, descending.

        Raises
        ------
        NoAnswerError
            They are not derived for the network, which `not_derived` says, or not found.
        """
        above, below = self.log_s_of_outliers
        return Scale(((1.0, 1.0),), self.variable).uncentred(2 * np.array([*above, *reversed(below)]))

    @property
    def log_s_of_outliers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Log s of the outliers above the law, from the top, and of those below it, from the bottom.

        Where the law has no end nothing is outside of it.
        """
        found = self._left
        above = found.above if found.above and self.log_edge_upper < math.inf else ()
        below = found.below if found.below and self.log_edge_lower > -math.inf else ()
        return tuple(place / 2 for place in above), tuple(place / 2 for place in below)

    @property
    def excess(self) -> float | None:
        """The limit of N (E λ at width N − E λ of the law); ``None`` where it is not derived."""
        return None if isinstance(self._leaving, str) else self._leaving.found.excess

    @property
    def s_max(self) -> float:
        """Largest singular value of the network, N → ∞: the largest outlier or `edge_upper`.

        Raises
        ------
        NoAnswerError
            `outliers` are not derived.
        """
        return exp_or_inf(self.log_s_max) if self.log_s_of_outliers[0] else self.edge_upper

    @property
    def s_min(self) -> float:
        """Smallest singular value of the network that is not 0: as `s_max`."""
        return math.exp(self.log_s_min) if self.log_s_of_outliers[1] else self.edge_lower

    @property
    def log_s_max(self) -> float:
        """Logarithm of `s_max`."""
        return max([self.log_edge_upper, *self.log_s_of_outliers[0]])

    @property
    def log_s_min(self) -> float:
        """Logarithm of `s_min`."""
        return min([self.log_edge_lower, *self.log_s_of_outliers[1]])

    @property
    def condition_number(self) -> float:
        """Ratio ``s_max / s_min``, ``inf`` where there is none; errors are those of `s_max`."""
        if not any(self.log_s_of_outliers):
            return self.bulk_condition_number
        low = self.log_s_min
        return exp_or_inf(self.log_s_max - low) if math.isfinite(low) else math.inf

    @property
    def log_edge_upper(self) -> float:
        """Logarithm of `edge_upper`."""
        return self._scale.log_s + self._ends[1] / 2

    @property
    def log_edge_lower(self) -> float:
        """Logarithm of `edge_lower`."""
        return self._scale.log_s + self._ends[0] / 2

    @property
    def edge_upper(self) -> float:
        """Upper end of the law, outliers left out."""
        return self._in_s(self._ends[1])

    @property
    def edge_lower(self) -> float:
        """Lower end of the part of the law that is not at 0, outliers left out."""
        return self._in_s(self._ends[0])

    @property
    def bulk_condition_number(self) -> float:
        """Ratio ``edge_upper / edge_lower``, ``inf`` where there is none."""
        low, high = self._ends
        return exp_or_inf((high - low) / 2) if math.isfinite(low) else math.inf

    @property
    def _ends(self) -> tuple[float, float]:
        """Ends of the part of the law that is not at 0, in y."""
        low, high = self._centred.edges
        places = [place for place, _ in self._centred.atoms if place > -math.inf]
        low, high = min([low, *places]), max([high, *places])
        return (low, high) if low <= high else (-math.inf, -math.inf)

    def _at(self, y: float) -> float:
        return float(self._scale.uncentred(np.array(y)))

    def _in_s(self, y: float) -> float:
        return float(Scale(self._centre, "singular").uncentred(np.array(y)))

    @cached_property
    def _scale(self) -> Scale:
        return Scale(self._centre, self.variable)


def _numbers(parameter: str, value: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):  # text, complex numbers, ragged lists, huge integers
        raise InvalidInputError(parameter, "a real number or an array of them", value) from None
    if np.isnan(array).any():
        raise InvalidInputError(parameter, "a number", math.nan if value is not None else None)
    return array
