"""Outliers of residual networks at their depth: the determinant on paths of gates.

Given the forward pass, W of a layer is W̃(1 − n nᵀ) + k nᵀ, n = y/|y| what it multiplies, k = (h − b)/|y|, W̃
independent of all gates. On a path, the chain of the exact law with sources f and g,

    U_l = U_{l−1} + p_l V_l + f_l,  V_{l−1} = V_l + q_l U_{l−1} + g_{l−1},  U_0 = V_0,  z V_L = U_L,
    f_l = e k̂ (√v ξ_l − τ p̂ η_l),  g_{l−1} = d n (√v η_l − q̂ ξ_l),  ξ_l = E d n U_{l−1},  η_l = E e k̂ V_l,

k = √v k̂, p = p̂ e², q = q̂ d², τ = 1 for orthogonal weights, where 1 − k̂ k̂ᵀ stands on the other side too,
and 0 for Gaussian ones. An outlier is at z, real and outside of the bulk, where the 2L couplings ξ, η have a
solution. Right of a source U is multiplied by 1/(1 − p s) a layer, left of it V by 1/(1 − q r): products of
what is known of the source's layer and of the other one, so that a matrix of couplings is a product of two.
"""

import itertools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.laws.law import Law
from isocalc.laws.outliers.scan import Found, Shot
from isocalc.laws.tolerances import SAFE_LOG
from isocalc.networks.descriptions import ResNet
from isocalc.signal.propagation import Propagation

Array = npt.NDArray[np.float64]

# Levels of each coordinate of the paths, at least: there are as many paths as its square.
LEAST_LEVELS = 29
# Steps in log z: the first beside the edge, and how much longer each is than the last.
FIRST, LONGER = 0.01, 1.2
# log z beyond which no outlier is looked for, more than the signal's direction is stretched; and beyond that,
# where 1 − det(1 − K) is its first term.
REACH, FAR_OUT = 3.0, 6.0
# Layers from which they are taken in groups, and how many groups.
MOST_LAYERS, GROUPS = 40, 28
# How near to the edge, in units of it, places that are not solved may be: inside of the bulk of these paths.
BESIDE = 0.2
# Share of c that paths may miss.
MISSED = 0.05
# Relative change of α and β to which they are solved, and from which they are lost.
SOLVED, LOST = 1e-7, 5.0
# Iterations for that, states that they learn from, and how near to each other these may be.
MOST_STEPS, MEMORY, RIDGE = 40, 6, 1e-13
# Rounds from solutions nearby; by how much solutions are moved to see whether they attract, and steps for
# that.
CONTINUED, NUDGE, NUDGES = 3, 1e-4, 4


class Paths(NamedTuple):
    """What neurons see in all layers, on n paths; in units of the skip connection.

    ``e``, ``d``, ``n`` and ``k``, shape (L, n): gates after and before the weights, n times d and the part of
    k̂ that the pre-activation knows times e, of which the rest has variance ``rest``, shape (L,).
    """

    e: Array
    d: Array
    n: Array
    k: Array
    rest: Array
    v: float
    on_output: bool
    orthogonal: bool

    @property
    def stretches(self) -> Array:
        """κ of each layer times M of its input: by so much it stretches the signal's direction."""
        return np.asarray(math.sqrt(self.v) * (self.k.mean(axis=1) * self.n.mean(axis=1)))


class _Scales(NamedTuple):
    """Of a network with its layers in groups: their number, and of each the skip and variances."""

    depth: int
    skip: float
    weight: float
    bias: float

    @classmethod
    def of(cls, network: ResNet) -> "_Scales":
        depth = network.depth if network.depth < MOST_LAYERS else GROUPS
        run = network.depth / depth
        skip = math.copysign(abs(network.skip) ** run, network.skip)
        return cls(depth, skip, network.sigma_w**2 / depth, network.sigma_b**2 * run)


def paths_of(network: ResNet, signal: Propagation, seed: int = 1) -> Paths:
    """Return paths of a network of one-matrix blocks.

    Many layers are taken in groups of equal gates, each a layer of all their weights: pre-activation ones,
    whose stream changes little from layer to layer.
    """
    act, pre = network.act, network.branch.acts_on_stream
    depth, skip, weight, bias = _Scales.of(network)
    normal = _normal(orthogonal_array(depth + 1, seed))
    count = normal.shape[1]
    basis = np.full((1, count), 1 / math.sqrt(count))
    x = math.sqrt(network.input_variance) * _fresh(normal[0], basis)
    e, d, n, k = np.ones((4, depth, count))
    rest = np.zeros(depth)
    for layer in range(depth):
        y = act.phi(x) if pre else x
        power = float(np.mean(y * y))
        variance = weight * power + bias
        share = weight * power / variance if power else 0.0
        z = _fresh(normal[layer + 1], _with(basis, x, y))
        basis = np.concatenate((basis, z[None] / np.linalg.norm(z)))
        h = math.sqrt(variance) * z
        gates = d if pre else e
        gates[layer] = act.dphi(x if pre else h)
        n[layer] = d[layer] * y / math.sqrt(power) if power else 0.0
        # In units of a^l, a < 0, what weights make of n has the other sign.
        k[layer] = e[layer] * z * math.copysign(math.sqrt(share), skip)
        rest[layer] = 1 - share
        x = skip * x + (h if pre else act.phi(h))
    v, gates = weight / skip**2, e * d
    _require_all(network, signal, v * float((gates**2).mean(axis=1).sum()))
    # Where gates are closed on all paths a layer is its skip connection.
    kept = gates.any(axis=1)
    orthogonal = network.weights == "orthogonal"
    return Paths(e[kept], d[kept], n[kept], k[kept], rest[kept], v, not pre, orthogonal)


def _require_all(network: ResNet, signal: Propagation, c: float) -> None:
    """Refuse paths that miss much of the gates: those that are rarely open, or unbounded."""
    if not abs(c - signal.c) < MISSED * signal.c:
        raise NoAnswerError(
            f"outliers are not derived for gates as rare or as large as those of {network.act.name}"
        )


def orthogonal_array(columns: int, seed: int) -> Array:
    """Return points of the unit cube, shape (columns, p²): any two coordinates fill their square evenly.

    The p² points of Bose's array over the whole numbers modulo a prime p, each pair of columns of which has
    every pair of levels once; points of one level are spread over it (Tang, JASA 88 (1993) 1392). Couplings
    of two layers are averages of functions of two coordinates.
    """
    prime = next(size for size in itertools.count(max(LEAST_LEVELS, columns - 1)) if _is_prime(size))
    rng = np.random.default_rng(seed)
    i, j = np.divmod(np.arange(prime * prime), prime)
    points = np.empty((columns, prime * prime))
    for column in range(columns):
        level = rng.permutation(prime)[(i * column + j) % prime if column < prime else i]
        inside = rng.permuted(np.tile(np.arange(prime), (prime, 1)), axis=1)
        order = np.argsort(level, kind="stable")
        points[column, order] = np.arange(prime).repeat(prime) + (inside.ravel() + 0.5) / prime
    return points / prime


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, math.isqrt(number) + 1))


def _normal(points: Array) -> Array:
    flat = points.ravel().tolist()
    return np.fromiter(map(NormalDist().inv_cdf, flat), float, len(flat)).reshape(points.shape)


def _with(basis: Array, *others: Array) -> Array:
    """Return an orthonormal basis with more vectors."""
    for other in others:
        left = other - (basis @ other) @ basis
        size = np.linalg.norm(left)
        if size > 1e-6 * np.linalg.norm(other):
            basis = np.concatenate((basis, left[None] / size))
    return basis


def _fresh(z: Array, basis: Array) -> Array:
    """Return z of variance 1, uncorrelated with what came before."""
    z = z - (basis @ z) @ basis
    return np.asarray(z / math.sqrt(float(np.mean(z * z))))


class Determinant:
    """det(1 − K) of paths, at places outside of the bulk."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._e2, self._d2 = paths.e**2, paths.d**2

    @property
    def outdoes_skip(self) -> bool:
        """Whether some layer of orthogonal weights has v E e² d² of 1 or more."""
        strongest = self.paths.v * (self._e2 * self._d2).mean(axis=1).max(initial=0.0)
        return self.paths.orthogonal and bool(strongest >= 1)

    def near(self, y: Array, *, above: bool) -> tuple[npt.NDArray[np.bool_], Array, Array]:
        """Return whether y = log z is outside of the bulk, and p̂ and q̂ there, shape (places, L).

        Of y on one side of the bulk. Iterations start from what there is far out, which is less, and come to
        the least solution; where that leads nowhere they start from the next place outwards. Inside of the
        bulk there is nothing real that they converge to.
        """
        sign = np.full((y.size, 1), 1.0 if above else -1.0)
        state = self._far(y, above=above)
        done = np.zeros(y.size, dtype=bool)
        places = np.arange(y.size)
        for _ in range(1 + CONTINUED):
            with np.errstate(all="ignore"):
                state[places], done[places] = self._iterated(state[places], y[places], sign[places])
            out = sign[0, 0] * y
            further = [np.flatnonzero(done & (out > out[place])) for place in np.flatnonzero(~done).tolist()]
            places = np.flatnonzero(~done)
            known = [bool(other.size) for other in further]
            places, further = places[known], [other for other in further if other.size]
            if not places.size:
                break
            for place, other in zip(places.tolist(), further, strict=True):
                state[place] = state[other[np.argmin(np.abs(y[other] - y[place]))]]
        p, q = np.split(sign * np.exp(state), 2, axis=1)
        return done, p, q

    def _far(self, y: Array, *, above: bool) -> Array:
        """Return the states as z → ∞ or z → 0, at large or small z.

        There 1 − r s is 1, or −r s: the sums of r and s, or of their inverses, are explicit.
        """
        inner, outer = (self._d2, self._e2) if above else (self._e2, self._d2)
        own = 1 - (0.0 if above else self.paths.v) * (inner * outer).mean(axis=1)
        p, q = np.empty((2, inner.shape[0]))
        r, s = np.ones((2, inner.shape[1]))
        for i in range(p.size):
            p[i] = np.mean(inner[i] * r) / own[i]
            r = r + self.paths.v * p[i] * outer[i]
        for i in reversed(range(q.size)):
            q[i] = np.mean(outer[i] * s) / own[i]
            s = s + self.paths.v * q[i] * inner[i]
        p, q = (p, q) if above else (q, p)
        slopes = np.repeat([0.0, -1.0] if above else [1.0, 0.0], p.size)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.log(self.paths.v * np.concatenate((p, q))) + np.outer(y, slopes))

    def _iterated(self, state: Array, y: Array, sign: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Iterate with Anderson's acceleration; return states and whether they solve and are outside."""
        state, done = state.copy(), np.zeros(y.size, dtype=bool)
        active = np.arange(y.size)
        states: list[Array] = []
        steps: list[Array] = []
        for _ in range(MOST_STEPS):
            here = state[active]
            step, alike = self._step(here, y[active], sign[active])
            size = np.abs(step).max(axis=1)
            finished = (size < SOLVED) & alike
            done[active[finished]] = True
            kept = ~finished & np.isfinite(size) & (size < LOST)
            states, steps = [a[kept] for a in (*states, here)], [a[kept] for a in (*steps, step)]
            states, steps, active = states[-MEMORY:], steps[-MEMORY:], active[kept]
            if not active.size:
                break
            state[active] = _accelerated(states, steps)
        done[done] = self._attracts(state[done], y[done], sign[done])
        return state, done

    def _attracts(self, state: Array, y: Array, sign: Array) -> npt.NDArray[np.bool_]:
        """Whether plain iterations come back to a solution: to the other one, real too, they do not."""
        here, size = state - NUDGE, np.full(y.size, NUDGE)
        for _ in range(NUDGES):
            here = here + self._step(here, y, sign)[0]
            last, size = size, np.abs(here - state).max(axis=1)
        return np.asarray((size < last) | (size < SOLVED))

    def _step(self, state: Array, y: Array, sign: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return the change of states by the equations, and whether all of ω has the sign of m."""
        layers, count = self._e2.shape
        p, q = np.split(sign * np.exp(state), 2, axis=1)
        r = np.ones((layers + 1, y.size, count))
        for i in range(layers):
            r[i + 1] = p[:, i, None] * self._e2[i] + r[i] / (1 - q[:, i, None] * self._d2[i] * r[i])
        s = np.broadcast_to(np.exp(-y)[:, None], r[0].shape)
        alpha, beta = np.empty((2, y.size, layers))
        omega = 1 / (1 - r[-1] * s)
        alike = (sign * omega > 0).all(axis=1)
        for i in range(layers - 1, -1, -1):
            alpha[:, i] = (s * omega) @ self._e2[i] / count
            s = q[:, i, None] * self._d2[i] + s / (1 - p[:, i, None] * self._e2[i] * s)
            omega = 1 / (1 - r[i] * s)
            alike &= (sign * omega > 0).all(axis=1)
            beta[:, i] = (r[i] * omega) @ self._d2[i] / count
        psi = 2 / (1 + np.sqrt(1 + 4 * self.paths.v * alpha * beta)) if self.paths.orthogonal else 1.0
        image = np.concatenate((psi * beta, psi * alpha), axis=1) * (self.paths.v * sign)
        return np.log(image) - state, alike

    def at(self, y: float, p: Array, q: Array) -> Shot:
        """Return it at one place, in units of what weights that know nothing of the gates have there."""
        couplings = self.couplings(y, p, q)
        sign, log = np.linalg.slogdet(np.eye(couplings.shape[0]) - couplings)
        if self.paths.orthogonal:
            log += np.log(np.abs(1 - p * q / self.paths.v)).sum()
        return Shot(np.asarray(sign), np.asarray(log))

    def couplings(self, y: float, p_hat: Array, q_hat: Array) -> Array:
        """Return K, shape (2L, 2L)."""
        paths = self.paths
        layers, count = paths.e.shape
        p, q = p_hat[:, None] * paths.e**2, q_hat[:, None] * paths.d**2
        r, s = np.ones((2, layers + 1, count))
        s[-1] = math.exp(-y)
        right, left = np.ones((2, layers + 1, count))
        for i in range(layers):
            left[i] = 1 / (1 - q[i] * r[i])
            r[i + 1] = p[i] + r[i] * left[i]
        for i in range(layers - 1, -1, -1):
            right[i + 1] = 1 / (1 - p[i] * s[i + 1])
            s[i] = q[i] + s[i + 1] * right[i + 1]
        omega = 1 / (1 - r * s)
        right = np.cumprod(right, axis=0)
        left = np.cumprod(left[::-1], axis=0)[::-1]
        n, k = paths.n, paths.k
        # Of the layer that is acted on: <n, U> one layer before it, <k, V> behind it.
        n_right, n_left = n * right[:-1], n * r[:-1] * left[:-1]
        k_right, k_left = k * s[1:] * right[1:], k * left[1:]
        f_right, f_left = k * omega[1:] / right[1:], k * s[1:] * omega[1:] / left[1:]
        g_right, g_left = n * r[:-1] * omega[:-1] / right[:-1], n * omega[:-1] / left[:-1]

        def joined(behind: Array, before: Array, diagonal: int) -> Array:
            return np.asarray((np.tril(behind, diagonal) + np.triu(before, diagonal + 1)) / count)

        xf = joined(n_right @ f_right.T, n_left @ f_left.T, -1)
        xg = joined(n_right @ g_right.T, n_left @ g_left.T, 0)
        ef = joined(k_right @ f_right.T, k_left @ f_left.T, 0)
        eg = joined(k_right @ g_right.T, k_left @ g_left.T, 0)
        if paths.rest.any():
            ef[np.diag_indices(layers)] += paths.rest * (paths.e**2 * s[1:] * omega[1:]).mean(axis=1)
        root, back = math.sqrt(paths.v), p_hat if paths.orthogonal else 0 * p_hat
        top = np.concatenate((root * xf - xg * q_hat, root * xg - xf * back), axis=1)
        bottom = np.concatenate((root * ef - eg * q_hat, root * eg - ef * back), axis=1)
        return np.concatenate((top, bottom))


def _accelerated(states: list[Array], steps: list[Array]) -> Array:
    """Return what follows the last of some states, shape (n, k), by Anderson's acceleration."""
    if len(states) == 1:
        return states[0] + steps[0]
    changes = np.stack([new - old for old, new in itertools.pairwise(steps)], axis=2)
    moves = np.stack([new - old for old, new in itertools.pairwise(states)], axis=2) + changes
    square = changes.transpose(0, 2, 1) @ changes
    ridge = RIDGE * np.trace(square, axis1=1, axis2=2)[:, None, None] * np.eye(square.shape[1])
    right = changes.transpose(0, 2, 1) @ steps[-1][..., None]
    share = np.linalg.solve(square + ridge + np.finfo(float).tiny * np.eye(square.shape[1]), right)
    return np.asarray(states[-1] + steps[-1] - (moves @ share)[..., 0])


def outliers_of(network: ResNet, signal: Propagation, law: Law) -> Found:
    """Return the outliers of a residual network of one-matrix blocks, whose bulk has the law given.

    They are looked for from the edges of the law outwards. Below the bulk of orthogonal layers whose weights
    outdo the skip connection the equations have another root, for which the determinant is not derived.
    """
    determinant = Determinant(paths_of(network, signal))
    scale = 2 * network.depth * math.log(abs(network.skip))
    bands = law.using("log").support()
    sides: list[tuple[float, ...]] = [(), ()]
    stretches = determinant.paths.stretches
    reach = 2 * float(np.log1p(np.abs(stretches)).sum()) + REACH
    edges = (2 * bands[-1][1] - scale, 2 * bands[0][0] - scale) if bands else ()
    missing = None
    for side, edge in enumerate(edges):
        if side and determinant.outdoes_skip and math.isfinite(edge):
            missing = "outliers below are not derived for orthogonal layers that outdo the skip connection"
        elif math.isfinite(edge):
            roots = _roots(determinant, edge, edge + (reach if side == 0 else -reach))
            sides[side] = tuple(sorted((root + scale for root in roots), reverse=side == 0))
    log_mean = signal.log_mean_lambda - scale
    return Found(sides[0], sides[1], _excess(determinant, log_mean + reach + FAR_OUT, scale), missing)


def _excess(determinant: Determinant, y: float, scale: float) -> float:
    out, p, q = determinant.near(np.array([y]), above=True)
    if not out[0] or y + scale > SAFE_LOG:
        return math.nan
    return -float(determinant.at(y, p[0], q[0]).log) * math.exp(y + scale)


def _roots(determinant: Determinant, edge: float, end: float) -> list[float]:
    """Return log z where the determinant is 0, between the edge of the bulk and ``end``."""

    def at(y: Array) -> tuple[Array, Array]:
        out, p, q = determinant.near(y, above=end > edge)
        if (~out & (np.abs(y - edge) > BESIDE * max(1.0, abs(edge) / 2))).any():
            raise NoAnswerError(f"the determinant is not known at log λ = {float(y[~out][-1]):.4g}")
        shots = [determinant.at(*place) for place in zip(y[out].tolist(), p[out], q[out], strict=True)]
        return y[out], np.array([float(shot.sign) * math.exp(float(shot.log)) for shot in shots])

    away = np.cumsum(FIRST * LONGER ** np.arange(200.0))
    grid = edge + np.copysign(np.append(0.0, away[: 1 + np.searchsorted(away, abs(end - edge))]), end - edge)
    y, values = at(grid)
    roots = []
    for i in np.flatnonzero(values[1:] * values[:-1] < 0):
        low, high, ends = y[i], y[i + 1], values[i : i + 2]
        for _ in range(2):
            guess = low - ends[0] * (high - low) / (ends[1] - ends[0])
            width = (high - low) / 40
            inner = np.clip([guess - width, guess + width], min(low, high), max(low, high))
            places, found = at(inner)
            places, found = (
                np.concatenate(([low], places, [high])),
                np.concatenate(([ends[0]], found, [ends[1]])),
            )
            j = int(np.flatnonzero(found[1:] * found[:-1] < 0)[0])
            low, high, ends = places[j], places[j + 1], found[j : j + 2]
        roots.append(float(low - ends[0] * (high - low) / (ends[1] - ends[0])))
    return roots
