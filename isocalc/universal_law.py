"""The universal law of residual networks as an object, shaped like a frozen distribution of SciPy."""

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from isocalc import universal
from isocalc.errors import InvalidInputError
from isocalc.limits import MAX_DEPTH
from isocalc.network import require_choice, require_number, require_whole
from isocalc.variables import POWER, VARIABLES, Scale, Variable, exp_or_inf

Array = npt.NDArray[np.float64]

_MOST_POINTS = 10**9


@dataclass(frozen=True)
class UniversalLaw:
    """The universal law of residual networks, L → ∞: one number c fixes it, up to the scale a^L.

    Shaped like a frozen distribution of SciPy. Methods take arrays of any shape and return arrays of that
    shape; a scalar gives a float.

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
    Tarnowski, Warchoł, Jastrzębski, Tabor, Nowak, arXiv 1809.08848, eq. (18) and (19).

    Examples
    --------
    >>> law = UniversalLaw(1.0)
    >>> round(law.condition_number, 6)
    21.094423
    """

    c: float
    _: KW_ONLY
    depth: int = 1
    skip: float = 1.0
    variable: Variable = "singular"

    def __post_init__(self) -> None:
        c = require_number("c", self.c, "a finite number of at least 0", lambda value: value >= 0)
        skip = require_number("skip", self.skip, "a finite number other than 0", lambda value: value != 0)
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "skip", skip)
        object.__setattr__(self, "depth", require_whole("depth", self.depth, 1, MAX_DEPTH))
        require_choice("variable", self.variable, VARIABLES)

    def using(self, variable: Variable) -> "UniversalLaw":
        """Return the same law in another variable."""
        return replace(self, variable=variable)

    def pdf(self, x: npt.ArrayLike) -> Array:
        """Density at x in the law's variable: 0 outside the support, atoms left out."""
        x = _numbers("x", x)
        y = self._scale.centred(x)
        density = np.zeros_like(y) if self.c == 0 else self._solve(y)[0]
        if self.variable == "log":
            return (2 * density)[()]
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return np.where(density > 0, density / (POWER[self.variable] * x), 0.0)[()]

    def cdf(self, x: npt.ArrayLike) -> Array:
        """Mass at or below x."""
        y = self._scale.centred(_numbers("x", x))
        if self.c == 0:
            return np.where(y >= 0, 1.0, 0.0)[()]
        return self._solve(y)[1][()]

    def _solve(self, y: Array) -> tuple[Array, Array]:
        """Return density and mass below, kept for the second of them to be asked for."""
        key = y.tobytes()
        if key not in self._solved:
            self._solved.clear()
            # The density is even; mass is taken on the side where it is small.
            self._solved[key] = universal.density_and_survival(-y, self._curve)
        return self._solved[key]

    @cached_property
    def _solved(self) -> dict[bytes, tuple[Array, Array]]:
        return {}

    def ppf(self, u: npt.ArrayLike) -> Array:
        """Quantile: the x below which lies the mass u, in [0, 1].

        Raises
        ------
        InvalidInputError
            A value is outside [0, 1].
        """
        u = _numbers("u", u)
        if not ((u >= 0) & (u <= 1)).all():
            raise InvalidInputError("u", "between 0 and 1", float(u[~((u >= 0) & (u <= 1))][0]))
        if self.c == 0:
            return self._scale.uncentred(np.zeros_like(u))[()]
        y = universal.quantile(np.minimum(u, 1 - u), self._curve)
        return self._scale.uncentred(np.where(u < 0.5, -y, y))[()]

    def support(self) -> tuple[tuple[float, float], ...]:
        """Return the intervals that carry the density; a point mass (c = 0) has none."""
        if self.c == 0:
            return ()
        low, high = self._scale.uncentred(np.array([-self._edge, self._edge]))
        return ((float(low), float(high)),)

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Point masses as (location, mass)."""
        return ((float(self._scale.uncentred(np.array(0.0))), 1.0),) if self.c == 0 else ()

    def moment(self, k: float) -> float:
        """Mean of x^k: any real k, whole k >= 0 in the variable "log".

        Raises
        ------
        InvalidInputError
            ``k`` breaks that rule.
        NoAnswerError
            The series would need more than 10⁷ terms.
        """
        if self.variable == "log":
            order = require_whole("k", k, 0, 10**3)
            return self._moment_of_log_s(order)
        power = require_number("k", k, "a finite number", math.isfinite) * POWER[self.variable]
        return exp_or_inf(2 * power * self.mean_log_s + universal.log_laplace(power, self.c))

    def _moment_of_log_s(self, order: int) -> float:
        # In a unit that no power takes out of a double's range; numpy rounds (-x)^3 and x^3 differently.
        unit = math.frexp(abs(self.mean_log_s) + self._edge / 2)[1]

        def power(y: Array) -> Array:
            x = np.ldexp(self.mean_log_s + y / 2, -unit)
            return np.asarray(np.abs(x) ** order * np.sign(x) ** (order % 2))

        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(universal.mean_of(power, self.c), unit * order))

    def mean(self) -> float:
        """Mean of x."""
        return self.mean_log_s if self.variable == "log" else self.moment(1)

    def var(self) -> float:
        """Variance of x: of λ it is the measure of isometry σ²_JJᵀ."""
        if self.variable == "log":
            return self.c / 2 + self.c * self.c / 12
        relative = 2 * self.c if self.variable == "lambda" else universal.relative_variance_of_s(self.c)
        if relative == 0:
            return 0.0
        return self.mean() * relative * self.mean() if relative < math.inf else self.moment(2)

    def grid(self, points: int) -> Array:
        """Return ``points`` values of x from edge to edge, cosine-spaced in log s: dense at both edges.

        Trapezoid sums of the density on it converge as if the square-root edges were not there.

        Raises
        ------
        InvalidInputError
            ``points`` is not a whole number of at least 1.
        """
        require_whole("points", points, 1, _MOST_POINTS)
        y = -self._edge * np.cos(np.linspace(0.0, np.pi, points))
        y[-1] = self._edge
        return self._scale.uncentred(y)

    @property
    def mean_log_s(self) -> float:
        """Mean of log s, L log|a|; its density is even about it."""
        return self._scale.log_s

    @property
    def log_s_max(self) -> float:
        """Logarithm of the largest singular value."""
        return self.mean_log_s + self._edge / 2

    @property
    def log_s_min(self) -> float:
        """Logarithm of the smallest singular value."""
        return self.mean_log_s - self._edge / 2

    @property
    def s_max(self) -> float:
        """Largest singular value."""
        return self._in_s(self._edge)

    @property
    def s_min(self) -> float:
        """Smallest singular value."""
        return self._in_s(-self._edge)

    @property
    def condition_number(self) -> float:
        """Ratio ``s_max / s_min``."""
        return exp_or_inf(self._edge)

    @property
    def _edge(self) -> float:
        return universal.edge(self.c)

    def _in_s(self, y: float) -> float:
        return float(Scale(abs(self.skip), self.depth, "singular").uncentred(np.array(y)))

    @cached_property
    def _scale(self) -> Scale:
        return Scale(abs(self.skip), self.depth, self.variable)

    @cached_property
    def _curve(self) -> universal.Curve:
        return universal.Curve.trace(self.c)


def _numbers(parameter: str, value: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError, OverflowError):  # text, complex numbers, ragged lists, huge integers
        raise InvalidInputError(parameter, "a real number or an array of them", value) from None
    if np.isnan(array).any():
        raise InvalidInputError(parameter, "a number", math.nan if value is not None else None)
    return array
