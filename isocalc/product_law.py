"""The law of a free product as a source of `solved_law.SolvedLaw`."""

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from isocalc.bands import Band, bands_of
from isocalc.errors import NoAnswerError
from isocalc.free_product import FreeProduct
from isocalc.mass_rule import mass_rule
from isocalc.point_masses import SAME_PLACE
from isocalc.scan import Scan

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Pairs = tuple[tuple[float, float], ...]

_BESIDE = 1e-12
_LEAST_STEP = 0.5
_PER_LAYER = 1e-12
# Shares of the mass above places that integrals must not step over.
_TAILS = np.geomspace(1e-10, 0.1, 10)
_LEVELS = np.concatenate((_TAILS, [0.5], 1 - _TAILS[::-1]))


class ProductSource:
    """A free product with its point masses.

    Parameters
    ----------
    product : FreeProduct
    atoms : tuple of (float, float)
        Its point masses as (y, mass), ascending.
    """

    def __init__(self, product: FreeProduct, atoms: Pairs) -> None:
        self.product = product
        self.atoms = atoms
        self._total = 1 - sum(mass for y, mass in atoms if y == -math.inf)

    @property
    def log_mean(self) -> float:
        """Logarithm of E λ."""
        return self.product.log_mean

    @property
    def relative_variance(self) -> float:
        """Var λ / (E λ)²."""
        return self.product.relative_variance

    @cached_property
    def mean(self) -> float | None:
        """E y, additive; ``None`` where some factor's has no formula."""
        if self._total < 1:
            return -math.inf
        means = [factor.mean_log for factor in self.product.factors]
        known = [mean for mean in means if mean is not None]
        if len(known) < len(means):
            return None
        return math.fsum(count * mean for count, mean in zip(self.product.counts, known, strict=True))

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density and the mass above y, any floats: beyond all mass that counts, no density."""
        density, survival = np.zeros(y.size), np.where(y > self.log_mean, 0.0, self._total)
        inside = self._counts(y)
        if inside.any():
            density[inside], survival[inside] = self.product.density_and_survival(y[inside])
        return density, survival

    def density(self, y: Array) -> Array:
        """Return the density alone, which takes less time."""
        density, inside = np.zeros(y.size), self._counts(y)
        if inside.any():
            density[inside] = self.product.density(self.product.solve(y[inside]))
        return density

    def masses(self, reach: Pairs) -> tuple[Array, Array]:
        """Return nodes y and masses that stand for the density on intervals."""
        knots = np.interp(_LEVELS, self.scan.survival[::-1], self.scan.y[::-1])
        return mass_rule(self.density, self._density_above, reach, knots, self.log_mean)

    def _density_above(self, y: Array) -> Array:
        """Return the mass above y without that of atoms."""
        above: Array = self.density_and_survival(y)[1]
        return above - sum(mass * (y < place) for place, mass in self.atoms)

    def _counts(self, y: Array) -> Flags:
        left, missed = self.product.left, self.product.missed
        below = (y < left - SAME_PLACE * max(1.0, abs(left))) & (y > -math.inf)
        if missed and below.any():
            raise NoAnswerError(
                f"the law is not solved so near λ = 0, where {missed:.0e} of its mass is: ask further up"
            )
        return np.asarray((y >= left) & (y < self.product.right))

    @cached_property
    def scan(self) -> Scan:
        """The law solved at points placed by its mass, from end to end of what counts of it."""
        width = math.sqrt(math.log1p(self.product.relative_variance))
        centre, left, right = self.log_mean, self.product.left, self.product.right
        steps = np.append(-_steps((centre - left) / width)[::-1], _steps((right - centre) / width))
        y = np.clip(centre + width * steps, left, right - _BESIDE * max(1.0, abs(right)))
        return Scan(self.density_and_survival, np.unique(y), self.atoms)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """The intervals that carry the density, ascending."""
        return bands_of(self.product, self.scan)

    @property
    def missed(self) -> float:
        """Mass below the scan for which the law is not solved."""
        return self.product.missed

    @property
    def resolution(self) -> float:
        """Distance in y that rounding leaves from a point mass, which adds up over layers."""
        return max(SAME_PLACE, _PER_LAYER * sum(self.product.counts))


def _steps(most: float) -> Array:
    """Return 1/4, 1/2, 1, 2 and so on up to ``most`` and that itself."""
    most = max(most, _LEAST_STEP)
    doubled = 2.0 ** np.arange(-2, math.ceil(math.log2(most)))
    return np.append(doubled, most)
