"""The universal law of residual networks as an object, shaped like a frozen distribution of SciPy."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from isocalc.errors import require_choice, require_number, require_whole
from isocalc.laws import universal
from isocalc.laws.law import VARIABLES, Centred, Law, Pairs, Variable
from isocalc.laws.support import PointMasses
from isocalc.limits import MAX_DEPTH

Array = npt.NDArray[np.float64]


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
    def _curve(self) -> universal.Curve:
        return universal.Curve.trace(self.c)

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """The one interval that carries the density."""
        return ((-universal.edge(self.c), universal.edge(self.c)),)

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
        return universal.density_and_survival(-y, self._curve)

    def quantile(self, u: Array) -> Array:
        """Return the y with the mass u below it."""
        y = universal.quantile(np.minimum(u, 1 - u), self._curve)
        return np.where(u < 0.5, -y, y)

    def log_laplace(self, power: float) -> float:
        """Return log E e^(power y)."""
        return universal.log_laplace(power, self.c)

    def relative_variance(self, power: float) -> float:
        """Return the relative variance of λ or, for power 1/2, of s."""
        return 2 * self.c if power == 1 else universal.relative_variance_of_s(self.c)

    def mean_of(self, function: Callable[[Array], Array]) -> float:
        """Return E function(y)."""
        return universal.mean_of(function, self.c)

    def grid(self, points: int, power: float = 0.0) -> Array:  # noqa: ARG002 - the same for all
        """Return values of y from edge to edge, cosine-spaced."""
        y = -universal.edge(self.c) * np.cos(np.linspace(0.0, np.pi, points))
        y[-1] = universal.edge(self.c)
        return y
