"""The bands of a law that paths of gates tell.

m is analytic, and so is y = log z in ζ = log((1 + m)/m): an edge is a real point at which dy/dζ = 0, like any
other once ζ is what is given. `Walk` goes along the real axis from inside of a band to its ends, and through
gaps to the next; `tables` covers the law.
"""

import math
from contextlib import suppress
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.paths.equations import Equations
from isocalc.laws.paths.table import End, Knot, Table, UnsolvedError
from isocalc.laws.tolerances import (
    DEAD,
    EDGE_BESIDE,
    EDGE_FOUND,
    EDGE_PART,
    EDGE_ROUNDS,
    FINE_ROUNDS,
    FINE_STEP,
    FINE_STEPS,
    LAST_COARSE,
    LEAST_MASS,
    MOST_LOST,
    RETREATS,
    SEEDS,
    SHORTER,
    SPIKE,
    SURELY,
    TOUCHES,
    WALK_STEPS,
)
from isocalc.numerics.machine import one_blas_thread

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_PI = math.pi


class Walk:
    """Steps along the real axis.

    Parameters
    ----------
    equations : Equations
    width : float
        About how far the law reaches.
    """

    def __init__(self, equations: Equations, width: float) -> None:
        self.equations, self.width = equations, width

    def start(self, y: Array) -> list[Knot]:
        """Return solutions at places y from nothing.

        Raises
        ------
        UnsolvedError
            There is none at some place.
        """
        found = self.equations.solve(y.astype(complex))
        if not found.solved.all():
            raise UnsolvedError(float(y[~found.solved][0]))
        return [Knot(*knot) for knot in zip(y.tolist(), found.zeta.tolist(), found.states, strict=True)]

    def _next_to(self, state: Complex, y: float, zeta: complex | None = None) -> tuple[Knot, Complex] | None:
        """Return the solution at y, or at ζ where that is given, next to a state, and its tangent."""
        given = None if zeta is None else np.array([zeta], complex)
        found, there, tangent, _ = self.equations.polish(state[None], np.array([y], complex), given)
        if not found.solved[0]:
            return None
        if zeta is None:
            return Knot(y, complex(found.zeta[0]), found.states[0]), tangent[0]
        return Knot(float(there[0].real), zeta, found.states[0]), tangent[0]

    def outwards(
        self, knot: Knot, sign: float, stop: float = math.inf, *, closed: bool = False
    ) -> tuple[list[Knot], End]:
        """Walk from inside a band to its end above or below, or up to ``stop``, itself if closed."""
        track, step = [knot], self.width / 8
        tangent: Complex | None = None
        for _ in range(WALK_STEPS):
            last = track[-1]
            ahead = sign * (stop - last.y) if math.isfinite(stop) else math.inf
            if ahead <= (0 if closed else TOUCHES * self.width):
                return track, End(stop, turns=not closed)
            step = min(step, ahead if closed else EDGE_PART * ahead)
            guess = last.state if tangent is None else last.state + tangent * sign * step
            found = self._next_to(guess, stop if step == ahead else last.y + sign * step)
            if found is None or not found[0].is_live:
                step *= 0.3
                if step < 1e-12 * max(1.0, abs(last.y)):
                    break
                continue
            new, tangent = found[0], found[1][:-1]
            track.append(new)
            edge = _Fit.of(track[-3:]).turn(sign)
            if edge is not None and new.depth < 0.8:
                end = self.edge(track, sign)
                if end is not None:
                    return track, end
            step = min(2 * step, max(self.width, abs(new.y)) / 4)
            if edge is not None and (edge[1] - new.y) * sign > 0:
                step = min(step, EDGE_PART * abs(edge[1] - new.y))
        raise NoAnswerError("an edge of the exact law was not found")

    def edge(self, track: list[Knot], sign: float) -> End | None:
        """Return the end of a band from points inside next to it, ``None`` if that does not settle."""
        knots, before = track[-3:], math.inf
        snap = track[-1].snap
        for _ in range(EDGE_ROUNDS):
            fit = _Fit.of(knots)
            turn = fit.turn(sign)
            if turn is None:
                return None
            place, y = turn
            if abs(y - before) <= EDGE_FOUND * max(1.0, abs(y)):
                return End(y, knot=knots[-1])
            before = y
            found = self._next_to(*fit.at(place), complex(place, snap))
            if found is None:
                return None
            knots = [*knots[-4:], found[0]]
        return None

    def refined(self, span: "_Span") -> "_Span":
        """Return a band of these equations from one of the coarse ones.

        Raises
        ------
        NoAnswerError
            It has other ends.
        """
        low, high = (
            self._refined(end, sign) or self._walked(span.inside, sign)
            for end, sign in ((span.low, -1.0), (span.high, 1.0))
        )
        share = (np.array([knot.y for knot in span.inside]) - span.low.y) / (span.high.y - span.low.y)
        states = self.equations.from_coarse(np.array([knot.state for knot in span.inside]))
        for old, new, part in ((span.low, low, 1 - share), (span.high, high, share)):
            if old.knot and new.knot:  # what the coarse ones are off at an end they are next to it
                off = new.knot.state - self.equations.from_coarse(old.knot.state[None])[0]
                states += part[:, None] * off
        places, zetas = low.y + share * (high.y - low.y), [knot.zeta for knot in span.inside]
        return _Span(low, high, [Knot(*knot) for knot in zip(places.tolist(), zetas, states, strict=True)])

    def _refined(self, end: End, sign: float) -> End | None:
        """Return the end that is next to one of the coarse equations, at the same ζ."""
        if not end.knot:
            return end
        zeta = end.knot.zeta + EDGE_BESIDE * min(1.0, abs(end.knot.zeta.real)) * np.array([-1, 0, 1])
        states = np.repeat(self.equations.from_coarse(end.knot.state[None]), 3, axis=0)
        found, y, _, _ = self.equations.polish(states, np.full(3, end.y + 0j), np.asarray(zeta, complex))
        if not found.solved.all():
            return None
        return self.edge([Knot(*knot) for knot in zip(y.real, zeta, found.states, strict=True)], sign)

    def _walked(self, inside: list[Knot], sign: float) -> End:
        """Return the end of a band from the last of coarse solutions that leads to one inside of it."""
        inside = sorted(inside, key=lambda knot: -sign * knot.y)[:LAST_COARSE]
        y = np.array([knot.y for knot in inside])
        found = self.equations.polish(
            self.equations.from_coarse(np.array([knot.state for knot in inside])), y.astype(complex)
        )[0]
        live = np.flatnonzero(found.solved & (found.zeta.imag > DEAD) & (found.zeta.imag < _PI - DEAD))
        if not live.size:
            raise NoAnswerError("an edge of the exact law was not found")
        last = live[0]
        return self.outwards(Knot(float(y[last]), complex(found.zeta[last]), found.states[last]), sign)[1]

    def across(self, end: End, sign: float) -> Knot | None:
        """Walk through the gap beyond an edge; return a point inside of the next band, if there is one."""
        if end.knot is None:
            return None
        last, snap = end.knot, end.knot.snap
        unit = min(1.0, abs(last.zeta.real))
        step, tangent = 0.05 * unit, np.zeros(last.state.size + 1, complex)
        for _ in range(WALK_STEPS):
            if abs(last.y) > 4 * self.width + abs(end.y) or abs(last.zeta.real) > 40:
                return None
            move = sign * step
            guess, y = last.state + tangent[:-1] * move, last.y + float(tangent[-1].real) * move
            found = self._next_to(guess, y, last.zeta + move)
            if found is None:
                step *= 0.3
                if step < 1e-9 * unit:
                    return None
                continue
            if (found[0].y - last.y) * sign < 0:
                return self._inside(last, snap, sign)
            last, tangent = found
            step *= 1.5
        return None

    def beyond(self, end: float, sign: float) -> Knot | None:
        """Look for a point inside of a band beyond an end in small steps."""
        for _ in range(FINE_ROUNDS):
            y = end + sign * FINE_STEP * self.width * np.arange(1.0, FINE_STEPS + 1)
            found = self.equations.solve(y.astype(complex))
            for k in np.flatnonzero(found.solved):
                knot = Knot(float(y[k]), complex(found.zeta[k]), found.states[k])
                if knot.is_live:
                    return knot
            end = float(y[-1])
        return None

    def _inside(self, before: Knot, snap: float, sign: float) -> Knot | None:
        """Return a point of the band whose edge is between or next to two places of a gap."""
        for lift in (0.3, 0.1, 0.03, 0.01, 0.003):
            height = lift * min(1.0, abs(before.zeta.real)) * (1 if snap == 0 else -1)
            above = self._next_to(before.state, before.y, before.zeta + 1j * height)
            found = above and self._next_to(above[0].state, above[0].y)
            if found and found[0].is_live and (found[0].y - before.y) * sign > 0:
                return found[0]
        return None


class _Fit(NamedTuple):
    """The polynomial that states and y are of ζ near a gap: real but for what they are inside of it."""

    centre: float
    scale: float
    series: Array
    snaps: Array

    @classmethod
    def of(cls, knots: list[Knot]) -> "_Fit":
        """Return the polynomial through solutions and their mirror images."""
        snap = knots[-1].snap
        snaps = np.append(-_PI * np.round(-knots[-1].state.imag / _PI), 0.0)
        zeta = np.array([knot.zeta - 1j * snap for knot in knots])
        values = np.array([np.append(knot.state, knot.y) - 1j * snaps for knot in knots])
        scale = max(float(np.abs(zeta - zeta[-1].real).max()), 1e-12)
        w = (zeta - zeta[-1].real) / scale
        inside = np.abs(w.imag) > 1e-9
        powers = w[:, None] ** np.arange(w.size + np.count_nonzero(inside))
        rows = np.concatenate((powers.real, powers.imag[inside]))
        right = np.concatenate((values.real, values.imag[inside]))
        return cls(float(zeta[-1].real), scale, np.linalg.lstsq(rows, right, rcond=None)[0], snaps)

    def turn(self, sign: float) -> tuple[float, float] | None:
        """Return the nearest real ζ, less the argument of the gap, at which dy/dζ = 0, and y there."""
        y = self.series[:, -1]
        roots = np.roots((y[1:] * np.arange(1, y.size))[::-1])
        second = (y[2:] * np.arange(2, y.size) * np.arange(1, y.size - 1))[::-1]
        size = np.abs(roots)
        nearly_real = (np.abs(roots.imag) < 0.05 * (1 + size)) & (size < 4)
        real = roots.real[nearly_real & (np.polyval(second, roots.real) * sign > 0)]
        if not real.size:
            return None
        nearest = float(real[np.argmin(np.abs(real))])
        return self.centre + self.scale * nearest, float(np.polyval(y[::-1], nearest))

    def at(self, place: float) -> tuple[Complex, float]:
        """Return the states and y at a real place."""
        w = (place - self.centre) / self.scale
        values = self.series.T @ w ** np.arange(self.series.shape[0])
        return values[:-1] + 1j * self.snaps[:-1], float(values[-1])


class Middle(NamedTuple):
    """What is known of a law beforehand.

    Attributes
    ----------
    width : float
        About the distance of its ends from y = 0.
    persistent : float
        Probability that all gates of a path are closed, of which 2 P − 1 is a point mass at y = 0.
    reaches_zero : bool
        Whether the density has no lower end.
    """

    width: float
    persistent: float
    reaches_zero: bool

    @property
    def atom(self) -> float:
        """The point mass at y = 0."""
        return max(0.0, 2 * self.persistent - 1)


class _Span(NamedTuple):
    """A band that was walked along: its ends, and points inside."""

    low: End
    high: End
    inside: list[Knot]

    def table(self, equations: Equations) -> Table:
        return Table(equations, *self)


def tables(equations: Equations, middle: Middle) -> list[Table]:
    """Return the law on each of its intervals, ascending.

    The bands are those of coarse equations, followed to the ones at hand; where that leads nowhere they are
    walked along from nothing.

    Raises
    ------
    NoAnswerError
        Its mass is not found.
    """
    with one_blas_thread(), np.errstate(all="ignore"):
        walk = Walk(equations, middle.width)
        if equations.coarse is not None:
            with suppress(NoAnswerError):
                spans = _spans(Walk(equations.coarse, middle.width), middle)
                return _completed([walk.refined(span).table(equations) for span in spans], walk, middle)
        return _completed(_from_nothing(walk, middle), walk, middle)


def _from_nothing(walk: Walk, middle: Middle) -> list[Table]:
    """Return tables of bands that are walked along, less far down where rounding is more than the mass."""

    def found(share: float) -> list[Table]:
        return [span.table(walk.equations) for span in _spans(walk, middle, share)]

    retreats = RETREATS if middle.reaches_zero else 0
    for retreat in range(retreats):
        with suppress(NoAnswerError):
            return found(SURELY**retreat)
    return found(SURELY**retreats)


def _spans(walk: Walk, middle: Middle, share: float = 1.0) -> list[_Span]:
    """Return the bands in which there are seeds, ascending."""
    found: list[_Span] = []
    for knot in _seeds(walk, middle):
        if found and knot.y < found[-1].high.y:
            continue
        beside = middle.persistent > SPIKE
        up, high = walk.outwards(knot, 1.0, 0.0 if beside and knot.y < 0 else math.inf)
        try:
            if middle.reaches_zero and not found:
                down, low = _downwards(walk, knot, middle, share)
            else:
                down, low = walk.outwards(knot, -1.0, 0.0 if beside and knot.y > 0 else -math.inf)
        except NoAnswerError:
            if middle.reaches_zero or found:
                raise
            down, low = _downwards(walk, knot, middle)  # its end is below all mass that counts
        found.append(_Span(low, high, [*down, *up[1:]]))
    return found


def _completed(found: list[Table], walk: Walk, middle: Middle) -> list[Table]:
    """Return tables, and those of bands that mass is missing in.

    Raises
    ------
    NoAnswerError
        Mass is missing elsewhere.
    """
    while _missed(found, middle) > LEAST_MASS:
        inside = _another(walk, found)
        if inside is None:
            break
        (up, high), (down, low) = walk.outwards(inside, 1.0), walk.outwards(inside, -1.0)
        found.append(Table(walk.equations, low, high, [*down, *up[1:]]))
        found.sort(key=lambda table: table.low.y)
    missed = 1 - middle.atom - math.fsum(table.mass for table in found)
    apart = [abs(_differs(found, k, middle)) for k in range(len(found))]
    off = max(0.0 if middle.reaches_zero else abs(missed), *apart)
    if off > MOST_LOST:
        raise NoAnswerError(f"{off:.2g} of its mass was not found")
    return found


def _missed(found: list[Table], middle: Middle) -> float:
    """Return the mass not in the tables, where there is no lower end that above the middle of the highest."""
    if middle.reaches_zero:
        return -_differs(found, len(found) - 1, middle)
    return 1 - middle.atom - math.fsum(table.mass for table in found)


def _another(walk: Walk, found: list[Table]) -> Knot | None:
    """Return a point inside of a band that is not among those found."""
    inner = [pair for below, above in pairwise(found) for pair in ((below.high, 1.0), (above.low, -1.0))]
    outer = [(found[-1].high, 1.0)] + [(found[0].low, -1.0)] * found[0].low.turns
    for end, sign in [*outer, *inner]:
        inside = walk.across(end, sign)
        if inside and not any(table.low.y <= inside.y <= table.high.y for table in found):
            return inside
    for end, sign in outer:
        with suppress(NoAnswerError):
            inside = walk.beyond(end.y, sign)
            if inside:
                return inside
    return None


def _seeds(walk: Walk, middle: Middle) -> list[Knot]:
    """Return points with a density, ascending: one, or one in each band that is seen."""
    if middle.persistent <= SPIKE:
        (knot,) = walk.start(np.zeros(1))
        if knot.is_live:
            return [knot]
    places = middle.width * SHORTER ** np.arange(SEEDS)
    knots = walk.start(np.concatenate((-places, places[::-1])))
    seeds: list[Knot] = []
    for live, run in groupby(knots, lambda knot: knot.is_live and math.copysign(1.0, knot.y)):
        if live:
            seeds.append(max(run, key=lambda knot: knot.depth))
    if not seeds:
        raise NoAnswerError("no density of the exact law was found")
    return seeds


def _downwards(walk: Walk, knot: Knot, middle: Middle, share: float = 1.0) -> tuple[list[Knot], End]:
    """Walk down to where next to no mass is left below."""
    y = -middle.width
    with suppress(NoAnswerError):  # where rounding is larger than the mass below
        while walk.equations.below(y) > LEAST_MASS:
            y *= 1.25
    return walk.outwards(knot, -1.0, y * share, closed=True)


def _differs(found: list[Table], k: int, middle: Middle) -> float:
    """Return by what the mass above a place within a table differs from that of the potential."""
    table = found[k]
    y = np.array([(table.low.y + table.high.y) / 2])
    above = table.density_and_above(y)[1][0] + math.fsum(other.mass for other in found[k + 1 :])
    above += middle.atom * (y[0] < 0)
    return float(above - table.equations.above(table.states(y), y)[0])
