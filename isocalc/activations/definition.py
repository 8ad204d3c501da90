"""What an activation is: φ, φ' and what exact averages over them need to know."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isocalc.activations.tolerances import EQUAL, FAR, FURTHER
from isocalc.numerics.quadrature import doubling_edges, graded_edges, uniform_edges

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
ClosedAverages = Callable[[Array], tuple[Array, Array, Array, Array, Array]]
ClosedCorrelation = Callable[[float, Array], tuple[Array, Array]]


@dataclass(frozen=True, kw_only=True)
class Activation:
    """An activation φ with its parameters filled in. Two of the same name are equal.

    Attributes
    ----------
    name : str
        What :func:`isocalc.activation` turns into this object: ``"tanh"``, ``"leaky_relu:0.2"``,
        ``"x*tanh(x)"``.
    phi, dphi : callable
        φ and φ', float64 arrays in and out, any shape. No warnings for finite input; at a kink φ' is what
        PyTorch's gradient is there. φ' takes complex arrays too, near the real axis: each entry is continued
        analytically from the interval between breakpoints on which its real part lies.
    breakpoints : tuple of float
        Ascending; the points where φ or some derivative of it is discontinuous. There may be others, where
        quadrature has to look closely.
    jumps : tuple of float
        The breakpoints where φ itself is.
    slopes : tuple of float or None
        φ' on the ``len(breakpoints) + 1`` intervals where φ is piecewise linear, else ``None``.
    scale : float
        Length in x over which the pieces of φ vary; ``math.inf`` where they are polynomials.
    longest : float
        Length in x over which φ varies however far out, as waves and exponentials do; else ``math.inf``.
    window : float
        Standard deviation of a normal window over which waves average out; ``math.inf`` where there are none.
    centres : tuple of (float, float)
        Breakpoints beside which φ varies over a length of its own, with that length: 0 where φ has no Taylor
        series there, as |x|^1.5 at 0.
    steep : bool
        Whether φ grows faster than any power, so that averages are of x far out, or infinite.
    odd : bool
        Whether φ(-x) = -φ(x).
    period : float
        Period of φ'², ``math.inf`` where it has none.
    formula, reference : str
        φ(x) for people to read, and where it comes from.
    closed_averages : callable or None
        Variance q ≥ 0 of x to ``E φ, E φ², E φ'², E φ'⁴, E φ² (x²/q - 1)``, arrays of the shape of q.
    closed_correlation : callable or None
        ``(q, correlations)`` to ``E φ(x) φ(y), E φ'(x) φ'(y)`` for x, y of variance q.
    """

    name: str = ""
    phi: Function = field(compare=False)
    dphi: Function = field(compare=False)
    breakpoints: tuple[float, ...] = field(default=(), compare=False)
    jumps: tuple[float, ...] = field(default=(), compare=False)
    slopes: tuple[float, ...] | None = field(default=None, compare=False)
    scale: float = field(default=math.inf, compare=False)
    longest: float = field(default=math.inf, compare=False)
    window: float = field(default=math.inf, compare=False)
    centres: tuple[tuple[float, float], ...] = field(default=(), compare=False)
    steep: bool = field(default=False, compare=False)
    odd: bool = field(default=False, compare=False)
    period: float = field(default=math.inf, compare=False)
    formula: str = field(default="", compare=False)
    reference: str = field(default="", compare=False)
    closed_averages: ClosedAverages | None = field(default=None, compare=False)
    closed_correlation: ClosedCorrelation | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """What tells this activation from others in a checkpoint."""
        return self.name

    @property
    def lengths(self) -> tuple[float, ...]:
        """The lengths in x at which φ changes its shape, (1.0,) where there is none."""
        found = [abs(point) for point in self.breakpoints if point]
        return (*found, *([self.scale] if math.isfinite(self.scale) else [])) or (1.0,)

    @property
    def branches(self) -> tuple[float, ...]:
        """The breakpoints where φ has no Taylor series on some side."""
        return tuple(place for place, length in self.centres if not length)

    def edges(self, reach: float) -> Array:
        """Return where panels end, besides breakpoints, in each of which 16 nodes follow φ.

        Parameters
        ----------
        reach : float
            Largest |x| that counts, and the length over which the normal density varies.

        Returns
        -------
        array
            Values of x, in no order.
        """
        parts = [doubling_edges(self.scale, min(reach, 2 * self.longest))]
        if reach > self.longest:
            parts.append(uniform_edges(self.longest, reach))
        for place, length in self.centres:
            parts.append(place + (doubling_edges(length, 2 * abs(place)) if length else graded_edges(reach)))
        return np.concatenate(parts)

    @property
    def length_range(self) -> tuple[float, float]:
        """The shortest and the longest of them, moved to where squares and their ratios are doubles."""
        shortest, longest = (
            min(max(length, 1e-70), 1e70) for length in (min(self.lengths), max(self.lengths))
        )
        return shortest, longest

    @property
    def scale_free(self) -> bool:
        """Whether φ(k x) = k φ(x) for every k > 0, so that the law of φ'(x) does not depend on q."""
        if self.slopes is None or any(self.breakpoints) or self.jumps:
            return False
        return not self.phi(np.zeros(1))[0]

    @property
    def far_slopes(self) -> tuple[float, float] | None:
        """φ' as x → −∞ and as x → ∞, to rounding; ``None`` where it has no limit, or is slow to reach it."""
        if self.slopes is not None:
            return self.slopes[0], self.slopes[-1]
        x = FAR * self.length_range[1] * np.array([-1.0, 1.0])
        before, there = self.dphi(x), self.dphi(FURTHER * x)
        rounding = EQUAL * float(np.abs(there).max())
        if not math.isfinite(rounding) or not (np.abs(there - before) <= rounding).all():
            return None
        left, right = np.where(np.abs(there) <= rounding, 0.0, there).tolist()
        return left, math.copysign(left, right) if abs(abs(left) - abs(right)) <= rounding else right

    @property
    def is_linear(self) -> bool:
        """Whether φ is a straight line, so that its gate is a number."""
        return self.slopes is not None and len(set(self.slopes)) == 1 and not self.jumps

    def gate_masses(self, q: float) -> tuple[tuple[float, float], ...]:
        """Return the law of φ'(x)² for x of variance q, where φ is piecewise linear.

        Parameters
        ----------
        q : float
            Variance of x, at least 0; 0 stands for the limit q → 0+.

        Returns
        -------
        tuple of (float, float)
            Values of φ'², ascending and distinct, with their probabilities, each to a few units of the last
            place in the tails too.

        Raises
        ------
        ValueError
            φ is not piecewise linear.
        """
        if self.slopes is None:
            raise ValueError(f"{self.name} is not piecewise linear")
        edges = (-math.inf, *(_standardised(point, q) for point in self.breakpoints), math.inf)
        masses: dict[float, float] = {}
        for slope, (low, high) in zip(self.slopes, pairwise(edges), strict=True):
            square = slope * slope
            masses[square] = masses.get(square, 0.0) + normal_mass(low, high)
        return tuple(sorted(masses.items()))


def _standardised(point: float, q: float) -> float:
    if q > 0:
        return point / math.sqrt(q) / math.sqrt(2)
    return math.copysign(math.inf, point) if point else 0.0


def normal_mass(low: float, high: float) -> float:
    """Probability of √2·low < z < √2·high, z standard normal, without cancellation in the tails."""
    if high <= 0:
        low, high = -high, -low
    if low < 0.5:
        return (math.erf(high) - math.erf(low)) / 2
    return (math.erfc(low) - math.erfc(high)) / 2


class Parameter(NamedTuple):
    """A parameter of an activation: its name, its default (``None``: it has to be given) and its rule."""

    name: str
    default: float | None
    rule: str = "a finite number"


class Family(NamedTuple):
    """An activation whose parameters are still open.

    ``build`` takes the parameters' values, finite numbers for which ``holds`` is true.
    """

    name: str
    formula: str
    reference: str
    build: Callable[..., Activation]
    parameters: tuple[Parameter, ...] = ()
    holds: Callable[..., bool] = lambda *_: True

    @property
    def usage(self) -> str:
        """How the activation is written with its parameters: ``"hardtanh:min_val:max_val"``."""
        return ":".join((self.name, *(parameter.name for parameter in self.parameters)))

    @property
    def rule(self) -> str:
        """The end of the sentence "activation must be ..." for this family."""
        rules = " and ".join(f"{parameter.name} {parameter.rule}" for parameter in self.parameters)
        return f"{self.usage} with {rules}" if rules else f"{self.name} without parameters"

    def bind(self, values: tuple[float, ...]) -> Activation:
        """Return the activation with these values of all its parameters."""
        defaults = tuple(parameter.default for parameter in self.parameters)
        name = self.name if values == defaults else ":".join((self.name, *map(_shortest, values)))
        return replace(self.build(*values), name=name, formula=self.formula, reference=self.reference)


def _shortest(value: float) -> str:
    return repr(value).removesuffix(".0")
