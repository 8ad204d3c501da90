"""A law made of point masses alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Places this close to a point mass, in units of it where it is large, are there.
SAME_PLACE = 1e-13

Array = npt.NDArray[np.float64]
Pairs = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PointMasses:
    """Point masses of y = log λ − centre, of total 1.

    Parameters
    ----------
    atoms : tuple of (float, float)
        (y, mass), ascending; y is −inf where λ is 0.
    """

    atoms: Pairs

    @property
    def intervals(self) -> Pairs:
        """No interval carries a density."""
        return ()

    @property
    def mean(self) -> float:
        """E y."""
        return sum(mass * y for y, mass in self.atoms)

    @property
    def variance(self) -> float:
        """Variance of y."""
        if self.atoms[0][0] == -math.inf:
            return math.inf if len(self.atoms) > 1 else 0.0
        return sum(mass * (y - self.mean) ** 2 for y, mass in self.atoms)

    def density_and_below(self, y: Array) -> tuple[Array, Array]:
        """Return the density, 0, and the mass at or below y."""
        below = np.zeros_like(y)
        for place, mass in self.atoms:
            below += mass * (y >= place - SAME_PLACE * max(1.0, abs(place)) if place > -math.inf else True)
        return np.zeros_like(y), below

    def quantile(self, u: Array) -> Array:
        """Return the smallest y with at least the mass u at or below it."""
        below = np.cumsum([mass for _, mass in self.atoms])
        places = np.array([place for place, _ in self.atoms])
        return places[np.minimum(np.searchsorted(below, u), places.size - 1)]

    def log_laplace(self, power: float) -> float:
        """Return log E e^(power y)."""
        if power == 0:
            return 0.0
        logs = np.array([math.log(mass) + power * y for y, mass in self.atoms])
        top = float(logs.max())
        return top + math.log(np.exp(logs - top).sum()) if math.isfinite(top) else top

    def relative_variance(self, power: float) -> float:
        """Return Var λ^power / (E λ^power)²."""
        return math.expm1(self.log_laplace(2 * power) - 2 * self.log_laplace(power))

    def mean_of(self, function: Callable[[Array], Array]) -> float:
        """Return E function(y)."""
        return sum(mass * float(function(np.array(y))) for y, mass in self.atoms)

    def grid(self, points: int, power: float = 0.0) -> Array:  # noqa: ARG002 - the same for all
        """Return the places of the masses, each repeated until there are so many."""
        return np.repeat([y for y, _ in self.atoms], -(-points // len(self.atoms)))[:points]
