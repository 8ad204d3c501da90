"""The law of y = log λ of a free product of positive factors."""

import math
import sys
from functools import cached_property

import numpy as np

from isocalc.complex_logs import log_one_plus_m
from isocalc.errors import NoAnswerError
from isocalc.free_equations import Array, State
from isocalc.free_solver import HALF_PI, FreeSolver
from isocalc.transforms import Complex, Place

# A walk to where little mass is below stops before so little of that is.
_SHORTEST_OF_A_WALK, _TOO_FAR = 1e-9, 0.3
# A density this small, in units of the law's width, is rounding if Im u is as well; each layer adds some.
_NO_DENSITY = 1e-10
_REAL = 3e-12
_REAL_PER_LAYER = 1e-10
_MARGIN = 30.0
# Mass at which to look for a gap below, and masses to leave aside, the least for which the law can be solved.
_FEW_MASS, _LITTLE_MASS = 1e-4, (1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
_MUCH_MASS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1)
# log d below which gates go on to where they are no doubles.
_UNDERFLOW = -680.0
_POINTS_OF_A_WALK = 60


class FreeProduct(FreeSolver):
    """The law of y = log λ of a free product of positive factors.

    Parameters
    ----------
    factors : sequence of Factor
        Distinct factors.
    counts : sequence of float
        How often each occurs; fractions are allowed where factors stand for a range of layers.
    """

    @property
    def right(self) -> float:
        """A y beyond which there is less mass than rounding."""
        return self.walked[0][0]

    @property
    def left(self) -> float:
        """A y below which there is less mass than rounding, that at λ = 0 left aside, or `missed`."""
        return self._reached[0]

    @property
    def missed(self) -> float:
        """Mass below `left`, that at λ = 0 left aside, for which the law was not solved."""
        return self._reached[1]

    @cached_property
    def _reached(self) -> tuple[float, float]:
        """Where the law ends on the left, or can be solved no further, and the mass beyond.

        On the path, 1 + m is the mean of z/(z − λ): it bounds the mass below |z|.

        Raises
        ------
        NoAnswerError
            More than 10 % of the mass is beyond.
        """
        place, _ = self._walk_until(_FEW_MASS)
        # Below a gap there is nothing, which digits of 1 + m may not tell.
        if self._is_empty(place):
            return place, 0.0
        for enough in _LITTLE_MASS:
            place, zeta = self._walk_until(enough)
            if self._missing(zeta) <= 2 * enough and self._sound(place):
                # Well inside of where rounding just lets it be solved.
                return self._walk_until(_MARGIN * enough)[0], 0.0
        for enough in _MUCH_MASS:
            place, zeta = self._walk_until(enough)
            state = self._sound(place)
            if state is not None:
                return place, max(0.0, 1 - self.mass_at_zero - float(self.survival(state)[0]))
        raise NoAnswerError(f"the law is not solved for {self._missing(zeta):.0e} of its mass, near λ = 0")

    def _sound(self, y: float) -> State | None:
        """Return the solution at y where it is reached and no gates that are lost in underflow matter."""
        state = self._solved(y)
        if state is None or self.arrays.gates.log_d.min(initial=0.0) > _UNDERFLOW:
            return state
        first = state.inner[[rows.start for rows in self.rows]]
        return state if first.real.max() < -_UNDERFLOW else None

    def density_and_survival(self, y: Array) -> tuple[Array, Array]:
        """Return the density of y and the mass above y, atoms of that included.

        Parameters
        ----------
        y : array, shape (n,)
            From `left` to `right`.

        Raises
        ------
        NoAnswerError
            A path did not arrive: about one network in a hundred has points where rounding ends it.
        """
        state = self.solve(y)
        return self.density(state), self.survival(state)

    def density(self, state: State) -> Array:
        """Return the density at solutions on the real axis."""
        first = state.inner[0]
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            height = -((1 - self.mass_at_zero) / np.expm1(state.zeta)).imag
        # At a point mass m is infinite, and beside it there is no density.
        density = np.maximum(np.nan_to_num(height, nan=0.0, posinf=0.0, neginf=0.0) / np.pi, 0.0)
        real = max(_REAL, _REAL_PER_LAYER * sum(self.counts))
        is_real = np.abs(first.imag - np.pi * np.rint(first.imag / np.pi)) < real
        density[is_real & (density < _NO_DENSITY / self._width)] = 0.0
        return density

    def survival(self, state: State) -> Array:
        """Return the mass above solutions on the real axis: Im −∫ m dlog z from m = 0, over π."""
        if "isocalc._kernels" in sys.modules:
            from isocalc._kernels import survival_free  # noqa: PLC0415 - it is loaded already

            survival = np.empty(state.zeta.size)
            survival_free(self.arrays, state.stacked, survival)
            return survival
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            zeta, _ = Place.of(state.zeta, self.mass_at_zero).seen_with(0.0)
            potential = -log_one_plus_m(zeta)
            for factor, count, rows in zip(self.factors, self.counts, self.rows, strict=True):
                potential -= count * factor.potential(state.inner[rows], zeta)
        return np.clip(potential.imag / np.pi, 0.0, 1.0)

    @cached_property
    def _width(self) -> float:
        """Width of the law: were it log-normal, or of a tail that is longer than rounding makes it."""
        return max(math.sqrt(math.log1p(self.relative_variance)), (self.right - self.left) / 100 - 1)

    def _walk_until(self, enough: float) -> tuple[float, Complex]:
        """Return how far left there is ``enough`` mass below, or the path ends, and ζ there."""
        step, (places, states) = 1.0, self.walked
        if self.is_worth_compiling(_POINTS_OF_A_WALK):
            from isocalc._kernels import walk_free  # noqa: PLC0415 - loading Numba takes half a second

            line = states[0].stacked[0]
            place = walk_free(self.arrays, places[0], line, enough * (1 - self.mass_at_zero))
            return place, line[:1]
        nearest = max(k for k, state in enumerate(states) if self._missing(state.zeta) > enough)
        place, state = places[nearest], states[nearest]
        while self._missing(state.zeta) > enough and step > _SHORTEST_OF_A_WALK * max(1.0, abs(place)):
            moved, kept, _ = self.move(state, np.array([complex(place - step, HALF_PI)]))
            if kept[0] and self._missing(moved.zeta) > _TOO_FAR * enough:
                place, state = place - step, moved
                if place < places[-1]:
                    places.append(place)
                    states.append(state)
                step *= 2
            else:
                step /= 4
        return place, state.zeta

    def _is_empty(self, y: float) -> bool:
        """Tell whether there is neither density at y nor mass below it, that at λ = 0 left aside."""
        state = self._solved(y)
        if state is None:
            return False
        missing = abs(self.survival(state)[0] + self.mass_at_zero - 1)
        height = abs(Place.of(state.zeta, self.mass_at_zero).m.imag[0])
        return bool(missing < _LITTLE_MASS[0] and height < _LITTLE_MASS[0])

    def _solved(self, y: float) -> State | None:
        """Return the solution at y, ``None`` where it is not reached."""
        try:
            return self.solve(np.array([y]))
        except NoAnswerError:
            return None

    def _missing(self, zeta: Complex) -> float:
        return float(np.abs(Place.of(zeta, self.mass_at_zero).rest)[0]) / (1 - self.mass_at_zero)
