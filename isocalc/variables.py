"""The variable a law is stated in: singular values s, their squares λ, or log s."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Variable = Literal["singular", "lambda", "log"]

VARIABLES: tuple[Variable, ...] = ("singular", "lambda", "log")
# Each is this power of λ.
POWER = {"singular": 0.5, "lambda": 1.0}

# The centre is used as a number while it is far from over- and underflow: log(s / a^L) keeps digits that a
# difference of logarithms loses.
_SAFE_LOG = 300.0


def exp_or_inf(power: float) -> float:
    """Return e^power, inf where a double cannot hold it."""
    return math.exp(power) if power < 709.7 else math.inf


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
        if sum(abs(power * math.log(base)) for base, power in self.centre) > _SAFE_LOG:
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
