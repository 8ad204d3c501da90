"""The equations of residual networks with correlated gates: freeness with amalgamation over the neurons.

Layer l is 1 + E W D in units of the skip connection, W of variance v/N, E and D diagonal of entries e and d.
On a path, the gates of one neuron in all layers, with p = v e² β and q = v d² α,

    r_l = p_l + r_{l−1}/(1 − q_l r_{l−1}),  r_0 = 1,        s_{l−1} = q_l + s_l/(1 − p_l s_l),  s_L = 1/z,

ω_l = 1/(1 − r_l s_l), α_l = E e_l² s_l ω_l, β_l = E d_l² r_{l−1} ω_{l−1}, and m = E ω_L − 1: one and the same
for every ω_l. With orthogonal weights p = v e² β Ψ and q = v d² α Ψ, Ψ = 1 − τ, τ = v αβ Ψ². The unknowns are
the logarithms of p/e² and q/d²; in them τ has one branch: √τ and the Green's function g = √(v αβ) are in the
lower half-plane, and 1/√τ = √τ + 1/g. All arguments are from −π to 0, on the real axis too. ∫ log(1 − λ/z) is

    E log Π (1 − q_l r_{l−1}) + E log(1 − r_L/z) + Σ v αβ    (orthogonal: − Σ log(1 − τ) in place of the sum),

stationary in the unknowns; its imaginary part over π is the mass above z: theory (44) to (48).

A group of K layers with the same gates has K times the variance and gets half (1 − 1/K) of its p before its
q, post-activation half (1 − 1/K) of its q behind its p: what that leaves is of third order in the variance
of the group. So what no gates multiply is one with what its neighbour has of it.

With r = a/b and s = g/f each p and q is a shear of (a, b), and back of (f, g), and D = bf − ag is the same
all along. The first derivatives of log D, whose averages are α and β, are products of one of (a, b) and one
of (f, g) over D, and the second those of their squares over D²: Newton's matrix is a product of two matrices.
"""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.paths.gate_paths import ChainArrays
from isocalc.laws.tolerances import (
    AT_ONCE,
    FULL_GROUPS,
    GROUPS_OF_C,
    MERGED_GROUPS,
    NEWTON_PATHS,
    NEWTON_WORK,
    SOLVED,
    SOLVED_BESIDE_EDGE,
    START_GROUPS,
    START_PATHS,
    START_PAYS,
)
from isocalc.numerics.machine import one_blas_thread

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Flags = npt.NDArray[np.bool_]

_PI = math.pi
# A step along a path is kept if Newton's first correction is shorter than this, and each next one by this
# factor shorter than the last; corrections above `_AFRESH` of the last want a new matrix.
_LONGEST, _CONTRACTION, _AFRESH = 0.3, 0.3, 0.1
# What the first correction is taken to leave of itself.
_FIRST = 0.05
_CORRECTIONS, _STEPS = 12, 200
# The first correction to aim at; by what the next step may differ.
_AIM, _SHORTER, _LONGER, _SHRUNK = 0.03, 0.5, 3.0, 0.35
_SHORTEST = 1e-9
# Arguments by which rounding may leave their range, beside a gap with half of its digits.
_BESIDE = 1e-7
# How far right of the law's mass the walk along Im log z = π starts: log z, in which it is solved to e^-FAR.
_FAR = 4.0
# How near to its cut a logarithm is looked at more closely.
_NEAR_CUT = 1e-3


class Averages(NamedTuple):
    """What the passes over the paths add up, at P places.

    Attributes
    ----------
    alpha, beta : array, shape (P, G)
    omega, end : array, shape (P,)
        E ω_L = 1 + m and E r_L ω_L = m z.
    """

    alpha: Complex
    beta: Complex
    omega: Complex
    end: Complex


class Solutions(NamedTuple):
    """Solutions at n places.

    Attributes
    ----------
    zeta : array, shape (n,)
        log((1 + m)/m), of an imaginary part from 0 to π; on the real axis its limit from above.
    states : array, shape (n, 2G)
        log(p/e²) and log(q/d²) of each group.
    error : array, shape (n,)
        About the error of the states.
    """

    zeta: Complex
    states: Complex
    error: Array

    @property
    def m(self) -> Complex:
        """Return m = z G(z) − 1."""
        return np.asarray(1 / np.expm1(self.zeta), complex)

    @property
    def solved(self) -> Flags:
        """Where the equations are solved and the solution is the one in the lower half-planes."""
        parts = self.states.imag
        within = ((parts >= -_PI - _BESIDE) & (parts <= _BESIDE)).all(axis=1)
        beyond = (self.zeta.imag < -_BESIDE) | (self.zeta.imag > _PI + _BESIDE)
        return np.asarray((self.error <= SOLVED_BESIDE_EDGE) & within & ~beyond)

    def at(self, places: slice | npt.NDArray[np.intp] | Flags) -> "Solutions":
        """Return those at some of the places."""
        return Solutions(self.zeta[places], self.states[places], self.error[places])


class _Matrix(NamedTuple):
    """What Newton's method needs of the derivatives, of shape (P, 2K + 1, 2K + 1), inverted."""

    inverse: Complex

    def at(self, places: Flags) -> "_Matrix":
        return _Matrix(self.inverse[places])


class Equations:
    """The equations of a chain, solved at many places together.

    Newton's matrix is made from some of the paths, and in deep chains from layers that are merged: close
    enough for corrections to shrink a hundredfold from one to the next.

    Parameters
    ----------
    chain : ChainArrays
    """

    def __init__(self, chain: ChainArrays) -> None:
        self.chain = chain
        self._log_variances = np.log(chain.variances)

    @cached_property
    def _few(self) -> "_Few":
        groups = self.chain.counts.size
        merged = groups if groups <= FULL_GROUPS else self._mergeable(MERGED_GROUPS)
        return _Few.of(self.chain, merged, math.ceil(max(NEWTON_PATHS, NEWTON_WORK / merged**2)))

    @cached_property
    def _start(self) -> "_Few":
        return _Few.of(self.chain, self._mergeable(START_GROUPS), START_PATHS)

    def _mergeable(self, least: int) -> int:
        """Return to how many groups those of the chain may be merged: strong ones are not."""
        c = float(self.chain.variances @ (self.chain.gates @ self.chain.weights))
        return min(self.chain.counts.size, max(least, math.ceil(GROUPS_OF_C * c)))

    @cached_property
    def coarse(self) -> "Equations | None":
        """Equations with similar solutions that are solved faster; ``None`` where there are none."""
        few = self._start.chain
        return Equations(few) if START_PAYS * few.gates.size <= self.chain.gates.size else None

    def from_coarse(self, states: Complex) -> Complex:
        """Return about the states, shape (P, 2G), where ``states`` are those of the coarse equations."""
        own = states - np.tile(self._start.log_variances, 2)
        return self._start.spread(np.concatenate((own, own[:, :1]), axis=1))[:, :-1]

    @cached_property
    def expansion(self) -> "Expansion":
        """The solution to first order in 1/z."""
        return Expansion.of(self.chain)

    def averages(self, states: Complex, log_z: Complex) -> Averages:
        """Average over all paths, shape of ``states`` (P, 2G)."""
        groups, places = self.chain.counts.size, log_z.size
        free, gated = np.zeros((groups + 1, places), complex), np.zeros((groups, places), complex)
        omega, end = np.zeros((2, places), complex)
        for part, paths in _blocks(places, self.chain.weights.size):
            found = self._passed(states[part], log_z[part], paths)
            for whole, share in zip((free, gated, omega, end), found, strict=True):
                whole[..., part] += share
        split = self.chain.before * free[:-1].T + self.chain.after * free[1:].T
        alpha, beta = (gated.T, split) if self.chain.on_output else (split, gated.T)
        return Averages(-np.asarray(alpha), np.asarray(beta, complex), omega, end)

    def _passed(self, states: Complex, log_z: Complex, paths: slice) -> tuple[Complex, ...]:
        """Average the derivatives of log D in shears, and b/D and a/D, over some of the paths."""
        gates, weights = self.chain.gates[:, paths], self.chain.weights[paths]
        groups, shape = gates.shape[0], (log_z.size, weights.size)
        shears = _Shears.of(self.chain, states)
        opened, moved = np.empty((2, groups, *shape), complex)
        kept = np.empty((groups + 1, *shape), complex)
        u, t = np.ones(shape, complex), np.empty(shape, complex)
        kept[0] = 1
        for k in range(groups):
            u += np.multiply(shears.free[k], kept[k], out=t)
            np.multiply(shears.gated[k], gates[k], out=opened[k])
            np.multiply(opened[k], u, out=moved[k])
            np.add(kept[k], moved[k], out=kept[k + 1])
        u += np.multiply(shears.free[groups], kept[groups], out=t)
        a, b = (kept[groups], u) if self.chain.on_output else (u, kept[groups])
        f = weights / (b - a * np.exp(-log_z)[:, None])
        g = f * -np.exp(-log_z)[:, None]
        omega, end = _dot(b, f), _dot(a, f)
        by_u, by_w = (f, g) if self.chain.on_output else (g, f)
        free, gated = np.empty((groups + 1, shape[0]), complex), np.empty((groups, shape[0]), complex)
        for k in range(groups, 0, -1):
            free[k] = _dot(by_u, kept[k])
            by_w += np.multiply(shears.free[k], by_u, out=t)
            gated[k - 1] = _dot(by_w, moved[k - 1])
            by_u += np.multiply(opened[k - 1], by_w, out=t)
        free[0] = _dot(by_u, kept[0])
        return free, gated / shears.gated[..., 0], omega, end

    def _image(self, states: Complex, found: Averages) -> Complex:
        """Return what the equations make of states."""
        groups, variances = self.chain.counts.size, self._log_variances
        log_a, log_b = _lower_log(found.alpha), _lower_log(found.beta)
        if not self.chain.orthogonal:
            return np.concatenate((variances + log_b, variances + log_a), axis=1)
        unit = variances + np.log(self.chain.counts)
        root = np.exp((states[:, :groups] + states[:, groups:] - unit) / 2)
        green = np.exp((log_a + log_b + unit) / 2 - np.log(self.chain.counts))
        middle = _lower_log(1 / (root + 1 / green)) + unit / 2
        return np.concatenate((middle + (log_b - log_a) / 2, middle + (log_a - log_b) / 2), axis=1)

    def _residual(self, states: Complex, log_z: Complex) -> tuple[Complex, Complex]:
        """Return the residual of states, and ζ."""
        found = self.averages(states, log_z)
        return self._image(states, found) - states, _upper_log(found.omega / found.end) + log_z

    def polish(
        self,
        states: Complex,
        log_z: Complex,
        zeta: Complex | None = None,
        agree: float = SOLVED,
        slope: Complex | None = None,
    ) -> tuple[Solutions, Complex, Complex, Array]:
        """Solve from nearby, at given log z or, where it is given, at given ζ.

        ``slope``, shape (P, 2G): derivatives of the states in log z, where they are known. Beside an edge
        they decide, as Newton's matrix is nearly singular.

        Returns
        -------
        solutions, log_z
        tangent : array, shape (P, 2G + 1)
            Derivatives of the states and of log z in log z, or in ζ.
        first : array, shape (P,)
            Length of the first correction, infinite where corrections did not shrink.
        """
        states, log_z = states.copy(), log_z.copy()
        places = log_z.size
        size, error, first = np.full(places, math.inf), np.full(places, math.inf), np.full(places, math.inf)
        zetas = np.full(places, np.nan + 0j)
        tangent = np.empty((places, states.shape[1] + 1), complex)
        inverse = np.empty((places, *self._few.shape), complex)
        last, row = np.empty((2, *inverse.shape[:2]), complex)
        active, fresh = np.arange(places), np.ones(places, dtype=bool)
        for step in range(_CORRECTIONS):
            here, there = states[active], log_z[active]
            if fresh[active].any():
                new = active[fresh[active]]
                inverse[new], row[new] = self._few.inverse(states[new], log_z[new], tied=zeta is not None)
                if slope is not None:
                    inverse[new] = self._few.with_tangent(inverse[new], slope[new])
                tangent[new] = self._few.spread(inverse[new][:, :, -1])
                fresh[new] = False
                last[new] = np.nan
            residual, zetas[active] = self._residual(here, there)
            off = np.zeros(active.size, complex) if zeta is None else zeta[active] - zetas[active]
            small = self._few.restricted(residual, off)
            near = _times(inverse[active], small)
            inverse[active], near = _learned(inverse[active], last[active], near)
            last[active] = near
            move = self._few.spread_step(near, small, residual)
            new_size = np.abs(move).max(axis=1)
            zetas[active] += (row[active] * near).sum(axis=1)
            states[active] += move[:, :-1]
            log_z[active] += move[:, -1]
            ratio = new_size / size[active] if step else np.full(active.size, _FIRST)
            if not step:
                first[active] = new_size
            size[active] = new_size
            error[active] = new_size * np.minimum(ratio, 1.0)
            good = ratio <= _CONTRACTION if step else new_size < _LONGEST
            done = (error[active] <= agree) & good
            stalled = (ratio > 0.5) & (new_size <= SOLVED_BESIDE_EDGE)
            error[active[stalled]] = size[active[stalled]]
            lost = ~(new_size < (_LONGEST if not step else 1.0)) | (~good & ~stalled & (ratio > 1))
            error[active[lost]] = math.inf
            fresh[active] |= ratio > _AFRESH
            active = active[~(done | stalled | lost)]
            if not active.size:
                break
        return Solutions(zetas, states, error), log_z, tangent, first

    def follow(self, states: Complex, start: Complex, stop: Complex, agree: float = 1e-4) -> Solutions:
        """Continue solutions along straight lines from log z = ``start`` to ``stop``, all together.

        A point predicts by its tangent and the change of that, and takes a shorter step where corrections do
        not shrink.
        """
        states, at, length = states.copy(), start.copy(), np.abs(stop - start)
        places = at.size
        tangent = np.zeros_like(states)
        bend = np.zeros_like(states)
        known = np.zeros(places, dtype=bool)
        step = np.minimum(1.0, 1.0 / np.maximum(length, 1e-300))
        done = np.where(length == 0, 1.0, 0.0)
        active = np.flatnonzero(done < 1)
        for _ in range(_STEPS):
            if not active.size:
                break
            reach = np.minimum(done[active] + step[active], 1.0)
            target = np.where(reach == 1, stop[active], start[active] + (stop - start)[active] * reach)
            move = (target - at[active])[:, None]
            new = active[~known[active]]
            if new.size:
                inverse, _ = self._few.inverse(states[new], at[new], tied=False)
                tangent[new] = self._few.spread(inverse[:, :, -1])[:, :-1]
                known[new] = True
            guess = states[active] + (tangent[active] + bend[active] * move / 2) * move
            found, _, slope, first = self.polish(guess, target, agree=agree)
            kept = found.solved | ((found.error <= agree) & self._within(found))
            moved = active[kept]
            bend[moved] = (slope[kept, :-1] - tangent[moved]) / move[kept]
            states[moved], tangent[moved] = found.states[kept], slope[kept, :-1]
            at[moved], done[moved] = target[kept], reach[kept]
            growth = np.clip(np.cbrt(_AIM / np.maximum(first, 1e-99)), _SHORTER, _LONGER)
            step[active] *= np.where(kept, growth, _SHRUNK)
            active = active[(done[active] < 1) & (step[active] * length[active] > _SHORTEST)]
        found = self.polish(states, at)[0]
        found.error[done < 1] = math.inf
        return found

    @staticmethod
    def _within(found: Solutions) -> Flags:
        return found._replace(error=np.zeros_like(found.error)).solved

    def line(self, y: float) -> Complex:
        """Return the state at log z = y + iπ, where λ is negative and all is real."""
        at, states = self._walked
        nearest = int(np.argmin(np.abs(np.array(at) - y)))
        if at[nearest] != y:
            ends = np.array([[at[nearest] + 1j * _PI], [y + 1j * _PI]])
            found = self.follow(states[nearest], *ends)
            if not found.solved[0]:
                raise NoAnswerError(f"the exact law is not solved at log(-lambda) = {y:.6g}")
            at.append(y)
            states.append(found.states)
        return states[-1] if at[-1] == y else states[nearest]

    def below(self, y: float) -> float:
        """Return at least the mass below y: 1 + m at log z = y + iπ is the mean of 1/(1 + λ/|z|)."""
        _, zeta = self._residual(self.line(y), np.array([y + 1j * _PI]))
        return 2 * float(np.abs(1 / np.expm1(-zeta[0])))

    @cached_property
    def _walked(self) -> tuple[list[float], list[Complex]]:
        start = self.expansion
        y = math.log(start.second / start.mean) + _FAR
        states = np.concatenate((np.log(start.p), np.log(start.q) - (y + 1j * _PI)))[None].astype(complex)
        found = self.polish(states, np.array([y + 1j * _PI]))[0]
        if not found.solved[0]:
            raise NoAnswerError("the equations of the exact law are not solved where lambda is large")
        return [y], [found.states]

    def solve(self, log_z: Complex) -> Solutions:
        """Solve at any places with an imaginary part from 0 to π."""
        with one_blas_thread(), np.errstate(all="ignore"):
            states = np.concatenate([self.line(float(y)) for y in log_z.real])
            return self.follow(states, np.asarray(log_z.real + 1j * _PI, complex), log_z)

    def above(self, states: Complex, y: Array) -> Array:
        """Return the mass above real y from the states there."""
        with np.errstate(all="ignore"):
            return np.clip(self.potential(states, y.astype(complex)).imag / _PI, 0.0, 1.0)

    def potential(self, states: Complex, log_z: Complex) -> Complex:
        """Return ∫ log(1 − λ/z) of the law, stationary at the solution ``states``."""
        groups, chain = self.chain.counts.size, self.chain
        total = np.zeros(log_z.size, complex)
        for part, paths in _blocks(log_z.size, chain.weights.size):
            shears, s_end = _Shears.of(chain, states[part]), np.exp(-log_z[part])[:, None]
            ratio: Complex = np.ones((s_end.size, chain.gates[:, paths].shape[1]), complex)
            logs = np.zeros_like(ratio)
            for site in range(2 * groups + 1):
                shear = shears.gated[site // 2] if site % 2 else shears.free[site // 2]
                by = shear * chain.gates[site // 2, paths] if site % 2 else shear
                if bool(site % 2) == chain.on_output:
                    ratio = ratio + by
                else:
                    growth = 1 + by * ratio
                    logs += _log_one_less(growth, _lower_argument(-shear), ratio)
                    ratio /= growth
            logs += _log_one_less(1 - ratio * s_end, -log_z[part].imag[:, None], ratio)
            total[part] += logs @ chain.weights[paths]
        square = np.exp(states[:, :groups] + states[:, groups:]) / chain.variances
        if chain.orthogonal:
            one_less = np.asarray(1 - square / chain.counts, complex)
            parts = _log_one_less(one_less, states[:, :groups].imag, np.exp(states[:, groups:]))
            return np.asarray(total - parts @ chain.counts)
        return np.asarray(total + square.sum(axis=1))


class _Shears(NamedTuple):
    """The shears u += free w and w += gated gate u, in turns; (u, w) is (a, b), post-activation (b, a).

    Attributes
    ----------
    free : array, shape (G + 1, P, 1)
        From before the first group to behind the last: p, or −q, of neighbours in part.
    gated : array, shape (G, P, 1)
        −q/d², or p/e².
    """

    free: Complex
    gated: Complex

    @classmethod
    def of(cls, chain: ChainArrays, states: Complex) -> "_Shears":
        p, q = np.exp(states.T[..., None]).reshape(2, chain.counts.size, -1, 1)
        whole, gated = (-q, p) if chain.on_output else (p, -q)
        free = np.zeros((chain.counts.size + 1, *p.shape[1:]), complex)
        free[:-1] += chain.before[:, None, None] * whole
        free[1:] += chain.after[:, None, None] * whole
        return cls(free, gated)


def _times(matrix: Complex, vector: Complex) -> Complex:
    return np.asarray((matrix @ vector[..., None])[..., 0])


def _learned(inverse: Complex, last: Complex, step: Complex) -> tuple[Complex, Complex]:
    """Update inverses by what steps did (Broyden), and the next steps with them."""
    known = ~np.isnan(last[:, 0])
    taken = (last.conj() * (last - step)).sum(axis=1, keepdims=True)
    known &= np.abs(taken[:, 0]) > 0.3 * (np.abs(last) ** 2).sum(axis=1)
    row = (last.conj()[:, None] @ inverse)[:, 0] / taken
    change = step[..., None] * row[:, None]
    share = (np.abs(last) ** 2).sum(axis=1, keepdims=True) / taken
    return np.where(known[:, None, None], inverse + change, inverse), np.where(
        known[:, None], step * share, step
    )


def _dot(one: Complex, other: Complex) -> Complex:
    return np.asarray((one[:, None] @ other[..., None])[:, 0, 0])


def _blocks(places: int, paths: int) -> Iterator[tuple[slice, slice]]:
    """Yield places and paths that are computed on together, so many that they stay in the cache."""
    wide = min(paths, AT_ONCE)
    high = max(1, AT_ONCE // wide)
    for first in range(0, places, high):
        for path in range(0, paths, wide):
            yield slice(first, first + high), slice(path, path + wide)


def _lower_log(x: Complex) -> Complex:
    """Return log x with an argument from −3π/2 to π/2: for x in the lower half-plane, but for rounding."""
    found = np.log(x)
    return np.asarray(np.where(found.imag > _PI / 2, found - 2j * _PI, found))


def _lower_argument(x: Complex) -> Array:
    """Return the argument of that."""
    found = np.angle(x)
    return np.asarray(np.where(found > _PI / 2, found - 2 * _PI, found))


def _upper_log(x: Complex) -> Complex:
    """Return log x with an argument from −π/2 to 3π/2."""
    found = np.log(x)
    return np.asarray(np.where(found.imag < -_PI / 2, found + 2j * _PI, found))


def _log_one_less(w: Complex, argument: Array, other: Complex) -> Complex:
    """Return log w, w = 1 − x · other, x of the argument given and other of one from −π to 0.

    Where w is next to the negative real axis these say on which side.
    """
    found = np.empty_like(w)
    found.real = np.log(w.real * w.real + w.imag * w.imag) / 2
    found.imag = np.arctan2(w.imag, w.real)
    near = (w.real < 0) & (np.abs(w.imag) < _NEAR_CUT * -w.real)
    if near.any():
        angle = (argument + _lower_argument(other))[near]
        imag = found.imag[near]
        imag = np.where((angle < -_PI) & (imag > 0), imag - 2 * _PI, imag)
        found.imag[near] = np.where((angle > -_PI) & (imag < 0), imag + 2 * _PI, imag)
    return found


class _Few(NamedTuple):
    """A chain of fewer paths and, where it is deep, merged groups: for Newton's matrix, and to start from.

    Attributes
    ----------
    chain : ChainArrays
    log_variances : array, shape (K,)
        By what the unknowns of merged groups are larger.
    restrict, spread_by : array, shape (K, G), (G, K)
        From the groups to the merged ones, and back.
    sites : array, shape (2K + 1, 2K + 2)
        Which sites, in the order of the passes, belong to p, to q, and to 1/z, and with which share.
    """

    chain: ChainArrays
    log_variances: Array
    restrict: Array
    spread_by: Array
    sites: Array

    @classmethod
    def of(cls, chain: ChainArrays, groups: int, paths: int) -> "_Few":
        """Return it, of at most so many groups and paths."""
        used = np.flatnonzero(chain.weights > 0)
        if used.size > paths and np.ptp(chain.weights[used]) == 0:
            used = used[:: math.ceil(used.size / paths)]
        weights = chain.weights[used] / chain.weights[used].sum()
        all_groups = np.arange(chain.counts.size)
        of = all_groups
        if groups < chain.counts.size:  # each merged one with its share of c, and of their number
            strengths = chain.variances * (chain.gates @ chain.weights)
            share = strengths / strengths.sum() + 1 / chain.counts.size
            middle = (np.cumsum(share) - share / 2) / 2
            of = np.unique((groups * middle).astype(int), return_inverse=True)[1]
        groups = int(of[-1]) + 1
        belongs = (of == np.arange(groups)[:, None]).astype(float)
        restrict = belongs / belongs.sum(axis=1, keepdims=True)
        spread_by = np.ones((chain.counts.size, 1))
        if groups > 1:
            centre = restrict @ all_groups
            below = np.clip(np.searchsorted(centre, all_groups) - 1, 0, groups - 2)
            share = (all_groups - centre[below]) / (centre[below + 1] - centre[below])
            spread_by = np.zeros((chain.counts.size, groups))
            spread_by[all_groups, below], spread_by[all_groups, below + 1] = 1 - share, share
        variances, counts = belongs @ chain.variances, belongs @ chain.counts
        gates = (belongs * chain.variances) @ chain.gates[:, used] / variances[:, None]
        small = ChainArrays(gates, weights, chain.on_output, variances, counts, chain.orthogonal)
        own = np.log(variances) - restrict @ np.log(chain.variances)
        p, q = np.arange(groups), groups + np.arange(groups)
        whole, gated = (q, p) if chain.on_output else (p, q)
        sites = np.zeros((2 * groups + 1, 2 * groups + 2))
        sites[whole, 2 * p], sites[whole, 2 * p + 2] = small.before, small.after
        sites[gated, 2 * p + 1] = sites[-1, -1] = 1.0
        return cls(small, own, restrict, spread_by, sites)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of Newton's matrix."""
        return self.sites.shape[0], self.sites.shape[0]

    def restricted(self, values: Complex, last: Complex) -> Complex:
        """Return values of the merged groups from those of the chain, and append ``last``."""
        halves = [half @ self.restrict.T for half in np.split(values, 2, axis=1)]
        return np.concatenate([*halves, last[:, None]], axis=1)

    def spread(self, values: Complex) -> Complex:
        """Return unknowns of the chain from those of the merged groups, log z last."""
        halves = np.split(values[:, :-1], 2, axis=1)
        return np.concatenate([half @ self.spread_by.T for half in halves] + [values[:, -1:]], axis=1)

    def spread_step(self, step: Complex, small: Complex, residual: Complex) -> Complex:
        """Return Newton's step in the chain: what plain iteration gives, and what it lacks."""
        lacking = step - small
        lacking[:, -1] = step[:, -1]
        whole = self.spread(lacking)
        whole[:, :-1] += residual
        return whole

    def with_tangent(self, inverse: Complex, slope: Complex) -> Complex:
        """Return the inverse nearest by that has the derivatives of the states in log z that are known."""
        known = self.restricted(slope, slope[:, 0])[:, :-1]
        here = inverse[:, :-1, -1]
        rows = (known.conj()[:, None] @ inverse[:, :-1, :-1])[:, 0]
        size = (known.conj() * here).sum(axis=1)
        changed = inverse.copy()
        changed[:, :-1, :-1] += ((known - here) / size[:, None])[..., None] * rows[:, None]
        changed[:, :-1, -1] = known
        return changed

    def inverse(self, states: Complex, log_z: Complex, *, tied: bool) -> tuple[Complex, Complex]:
        """Return the inverse of the derivatives of residuals, and of log z, or ζ if tied; and those of ζ."""
        groups, chain = self.chain.counts.size, self.chain
        small = self.restricted(states, log_z)[:, :-1] + np.tile(self.log_variances, 2)
        second, found = self._second(small, log_z)
        size = 2 * groups
        theta = np.concatenate((np.exp(small), np.exp(-log_z)[:, None]), axis=1)
        second *= theta[:, None, :]
        log_b = second[:, groups:size] / found.beta[..., None]
        log_a = second[:, :groups] / found.alpha[..., None]
        full = np.zeros((log_z.size, size + 1, size + 1), complex)
        diagonal = np.arange(size)
        if chain.orthogonal:
            unit = np.log(chain.variances * chain.counts)
            root = np.exp((small[:, :groups] + small[:, groups:] - unit) / 2)
            green = np.exp((np.log(found.alpha) + np.log(found.beta) + unit) / 2 - np.log(chain.counts))
            green *= np.where(green.imag > 0, -1, 1)
            half = root / (root + 1 / green) / 2
            full[:, :groups] = half[..., None] * (log_b + log_a) - log_b
            full[:, groups:size] = half[..., None] * (log_b + log_a) - log_a
            for rows in (diagonal[:groups], diagonal[groups:]):
                full[:, rows, diagonal[:groups]] += half
                full[:, rows, diagonal[groups:]] += half
        else:
            full[:, :groups], full[:, groups:size] = -log_b, -log_a
        full[:, diagonal, diagonal] += 1
        full[:, :size, -1] *= -1
        row = -second[:, -1] / (found.end * found.omega)[:, None]
        row[:, -1] = (1 + second[:, -1, -1] / found.end) / found.omega
        full[:, -1] = row
        if not tied:
            full[:, -1] = 0
            full[:, -1, -1] = 1
        full[~np.isfinite(full).all(axis=(1, 2))] = np.eye(size + 1)
        try:
            return np.asarray(np.linalg.inv(full)), row
        except np.linalg.LinAlgError:
            return np.asarray(np.linalg.pinv(full)), row

    def _second(self, states: Complex, log_z: Complex) -> tuple[Complex, Averages]:
        """Return the second derivatives of − E log D in p, q and 1/z, shape (P, 2K + 1, 2K + 1)."""
        chain, groups = self.chain, self.chain.counts.size
        shears = _Shears.of(chain, states)
        gate = np.ones((2 * groups + 2, chain.weights.size))
        gate[1:-1:2] = chain.gates
        lefts = np.empty((2 * groups + 2, log_z.size, chain.weights.size), complex)
        rights = np.empty_like(lefts)
        u, w = np.ones((2, *lefts.shape[1:]), complex)
        for k in range(groups):
            lefts[2 * k] = w
            u += shears.free[k] * w
            lefts[2 * k + 1] = u
            w += shears.gated[k] * chain.gates[k] * u
        lefts[2 * groups] = w
        u += shears.free[groups] * w
        a, b = (w, u) if chain.on_output else (u, w)
        lefts[-1] = a
        f = 1 / (b - a * np.exp(-log_z)[:, None])
        g = f * -np.exp(-log_z)[:, None]
        rights[-1] = f
        omega, end = (b * f) @ chain.weights, (a * f) @ chain.weights
        by_u, by_w = (f, g) if chain.on_output else (g, f)
        for k in range(groups, 0, -1):
            rights[2 * k] = by_u
            by_w = by_w + shears.free[k] * by_u
            rights[2 * k - 1] = by_w
            by_u = by_u + shears.gated[k - 1] * chain.gates[k - 1] * by_w
        rights[0] = by_u
        first = ((lefts * rights).transpose(1, 0, 2) * gate) @ chain.weights
        first[:, (1 if chain.on_output else 0) : -1 : 2] *= -1
        lefts *= lefts
        lefts *= (gate * chain.weights)[:, None]
        rights *= rights
        rights *= gate[:, None]
        products = lefts.transpose(1, 0, 2) @ rights.transpose(1, 2, 0)
        second = np.triu(products) + np.triu(products, 1).transpose(0, 2, 1)
        summed = np.asarray(first @ self.sites.T, complex)
        averages = Averages(summed[:, :groups], summed[:, groups:-1], omega, end)
        return self.sites @ second @ self.sites.T, averages


class Expansion(NamedTuple):
    """The equations to first order in 1/z.

    Attributes
    ----------
    p, q : array, shape (G,)
        p/e² at z = ∞ and q z/d² there, of each group.
    mean, second : float
        E λ and E λ².
    """

    p: Array
    q: Array
    mean: float
    second: float

    @classmethod
    def of(cls, chain: ChainArrays) -> "Expansion":
        """Return it.

        Raises
        ------
        NoAnswerError
            Moments overflow, or a group is too strong.
        """
        with np.errstate(all="ignore"):
            found = cls._of(chain)
        if not math.isfinite(found.mean + found.second):
            raise NoAnswerError("moments of the exact law overflow: layers are too strong")
        return found

    @classmethod
    def _of(cls, chain: ChainArrays) -> "Expansion":
        """Expand r to order 0, then s to order 1, then r to order 1.

        A group is four shears, p early, q early, p late and q late, one of the four none.
        """
        weights, v, none = chain.weights, chain.variances, np.zeros_like(chain.before)
        ones, whole, split = np.ones_like(weights), none + 1, (chain.before, chain.after)
        p_parts, q_parts = ((none, whole), split) if chain.on_output else (split, (whole, none))
        parts = np.transpose([*p_parts, *q_parts]).tolist()
        sides = [(gate, ones) if chain.on_output else (ones, gate) for gate in chain.gates]
        left = 1 - v * (chain.after if chain.on_output else chain.before) * (chain.gates @ weights)
        if (left <= 0).any():
            raise NoAnswerError("layers are too strong for the exact law to take them in groups")

        r, between, p = ones, [], np.empty_like(v)
        for k, ((e, d), (p_early, p_late, _, _)) in enumerate(zip(sides, parts, strict=True)):
            p[k] = v[k] * float(weights @ (d * r)) / left[k]
            early = r + p_early * p[k] * e
            r = early + p_late * p[k] * e
            between.append((early, r))
        s, behind, q = ones, [], np.empty_like(v)
        for k in range(v.size - 1, -1, -1):
            (e, d), (_, _, q_early, q_late) = sides[k], parts[k]
            q[k] = v[k] * float(weights @ (e * s)) / left[k]
            late = s + q_late * q[k] * d
            s = late + q_early * q[k] * d
            behind.append((s, late))
        r1 = np.zeros_like(ones)
        for k, ((e, d), (_, _, q_early, q_late)) in enumerate(zip(sides, parts, strict=True)):
            (x, y), (s_early, s_late) = between[k], behind[-1 - k]
            moved = q_early * q[k] * d * x * x
            known = q_early * (r1 + x * x * s_early) + q_late * (r1 + moved + y * y * s_late)
            p1 = v[k] * float(weights @ (d * known))
            if chain.orthogonal:
                p1 -= p[k] * p[k] * q[k] / (v[k] * chain.counts[k])
            r1 = r1 + p1 / left[k] * e + moved + q_late * q[k] * d * y * y
        return cls(p, q, float(weights @ r), float(weights @ (r1 + r * r)))


def solve(chain: ChainArrays, y: npt.NDArray[np.inexact]) -> Solutions:
    """Solve the equations at log z = y, shape (n,), real or with an imaginary part from 0 to π."""
    return Equations(chain).solve(np.asarray(y, dtype=complex))


def first_moments(chain: ChainArrays) -> tuple[float, float]:
    """Return E λ and E λ²."""
    found = Expansion.of(chain)
    return found.mean, found.second
