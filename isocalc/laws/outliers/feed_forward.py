"""Outliers of feed-forward networks: gates of layers are free of each other, so averages of one do.

With ψ(t) = E d t/(1 − d t) = m, d = φ'², E over the layer's pre-activation h = √q z, and ω = 1/(1 − d t),

    A = E d k̂² ω,   X = E φ φ' k̂ ω/√E φ²,   Y = E φ² d ω/E φ²,

k̂ = c_z z + √(1 − c_z²) times a normal of its own, c_z² = σ_w² p/q of the layer's input, det(1 − K) is a
product of steps back from the output. With γ = 0 there,

    ζ = A + X² γ/(1 − t Y γ),    γ ← ζ t/m − 1,    det ← det · (1 − t Y γ),

and 1 − m γ of the input at last. Orthogonal weights: γ ← ζ t (1 + m)/(m (1 + t ζ)) − 1, and det times
(1 + t ζ)/(1 + m) as well. Outliers are at zeros, log z = log((1 + m)/m) + Σ log(v m/t), for orthogonal
weights v m/(t (1 + m)). Rectangular Gaussian layers have m N_0/N_l for m and v N_l/N_{l−1} for v.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import normal_rule, reach_of
from isocalc.activations.definition import Activation
from isocalc.activations.tolerances import SMALLEST_Q
from isocalc.errors import NoAnswerError
from isocalc.laws.outliers.scan import Found, Shot, crossings
from isocalc.networks.descriptions import FeedForward
from isocalc.numerics.quadrature import central_edges, panel_rule
from isocalc.signal.propagation import Propagation

Array = npt.NDArray[np.float64]

# Logarithms of spectral m between which the edge of the bulk is looked for.
LEAST_LOG_M, MOST_LOG_M, PLACES, ROUNDS = -16.0, 10.0, 41, 5
# Newton's steps for t; what they are solved to.
STEPS, SOLVED = 60, 1e-14
# Panels towards the largest gate, each a quarter as long.
GRADED = 11
# Relative difference of q of layers taken for the same, and where there are more kinds of layers than that.
ALIKE, NEARLY_ALIKE, MOST_KINDS = 1e-10, 0.02, 40
# 1 − t d down to which gates d near the largest one are resolved.
BESIDE_POLE = 1e-11
# Gates that are closed but for rounding.
SMALL_GATE = 1e-6


class Layer(NamedTuple):
    """Nodes of a layer's pre-activation, shape (k,): gates d with weights, and products with them.

    ``run`` layers in a row are the same.
    """

    gate: Array
    weights: Array
    a: Array
    """d k̂²"""
    x: Array
    """φ φ' k̂/√E φ²"""
    y: Array
    """φ² d/E φ²"""
    log_variance: float
    share: float
    """N_0/N_l"""
    run: int


class Chain(NamedTuple):
    """The layers from input to output."""

    layers: list[Layer]
    orthogonal: bool

    def log_z(self, m: Array, t: list[Array]) -> Array:
        """Return log z."""
        total = np.log(np.abs((1 + m) / m))
        for layer, value in zip(self.layers, t, strict=True):
            factor = np.log(np.abs(layer.share * m / value)) + layer.log_variance
            total += layer.run * (factor - np.log(np.abs(1 + m)) if self.orthogonal else factor)
        return np.asarray(total)

    def solved(self, m: Array) -> list[Array]:
        """Return t of each layer."""
        return [argument(layer, layer.share * m) for layer in self.layers]

    def resolved(self, m: Array) -> npt.NDArray[np.bool_]:
        """Whether no t is next to the pole of an extreme gate, where nodes do not stand for the others."""
        poles = []
        for layer, t in zip(self.layers, self.solved(m), strict=True):
            gate = layer.gate[layer.gate > 0]
            poles.append(np.abs(1 - t * np.where(m > 0, gate.max(), gate.min())))
        return np.asarray(np.min(poles, axis=0) > BESIDE_POLE)

    def det(self, m: Array, t: list[Array]) -> Shot:
        """Return det(1 − K), in units of what weights that know nothing of the gates have there."""
        log = np.zeros_like(m)
        state = np.stack((np.zeros_like(m), np.ones_like(m)), axis=1)[..., None]
        for layer, value in zip(reversed(self.layers), reversed(t), strict=True):
            step = self._step(layer, layer.share * m, value)
            for bit in bin(layer.run)[:1:-1]:
                if bit == "1":
                    state = step @ state
                    size = np.abs(state).max(axis=1, keepdims=True)
                    state = state / size
                    log += np.log(size[:, 0, 0])
                step = step @ step
        last = state[:, 1, 0] - m * state[:, 0, 0]
        return Shot(np.sign(last), log + np.log(np.abs(last)))

    def _step(self, layer: Layer, m: Array, t: Array) -> Array:
        """Return what a layer does to (numerator, denominator) of γ, shape (n, 2, 2)."""
        weighed = layer.weights / (1 - t[:, None] * layer.gate)
        a, x, y = weighed @ layer.a, weighed @ layer.x, weighed @ layer.y
        below = np.stack((-t * y, np.ones_like(t)), axis=1)
        above = a[:, None] * below + np.stack((x * x, np.zeros_like(t)), axis=1)
        if self.orthogonal:
            below = (below + t[:, None] * above) / (1 + m)[:, None]
        return np.stack(((t / m)[:, None] * above - below, below), axis=1)

    @property
    def least(self) -> float | None:
        """M at z = 0 below the bulk, ``None`` where the bulk comes down to there."""
        gates = [layer.gate[layer.weights > 0] for layer in self.layers]
        if self.orthogonal and all(gate.min() > 0 for gate in gates):
            return -1.0
        (first, *others), weights = gates, self.layers[0].weights
        single = not others and self.layers[0].run == 1 and self.layers[0].share == 1
        mass = float(weights @ (first > 0)) if first.size == weights.size else 1.0
        return -mass if single and mass < 1 and first[first > 0].min() > SMALL_GATE else None


def argument(layer: Layer, m: Array) -> Array:
    """Return t with E d t/(1 − d t) = m: m > 0, or m below −P(d > 0) where gates have a least one."""
    most, mean = float(layer.gate.max()), float(layer.gate @ layer.weights)
    above = m > 0
    # By the largest gate, and by the mean of them (Jensen).
    least = 1.0 if above.all() else float(layer.gate[layer.gate > 0].min())
    low = np.where(above, m / (mean + most * m), 1 / least)
    high = np.where(above, np.minimum(1 / most, m / ((1 + m) * mean)), np.inf)
    t = np.where(above, low, 2 * low)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(STEPS):
            rest = 1 - t[:, None] * layer.gate
            value = (t[:, None] * layer.gate / rest) @ layer.weights - m
            slope = (layer.gate / rest**2) @ layer.weights
            low, high = np.where(value <= 0, t, low), np.where(value < 0, high, t)
            following = t - value / slope
            middle = np.where(np.isinf(high), 4 * t, (low + high) / 2)
            following = np.where((following >= low) & (following <= high), following, middle)
            done = np.abs(following - t) <= SOLVED * t
            t = following
            if done.all():
                break
    return np.asarray(t)


def layers_of(network: FeedForward, signal: Propagation) -> Chain:
    """Return the layers of a network, runs of equal ones together."""
    bias, depth = network.sigma_b**2, network.depth
    q = np.ones(depth) if network.act.scale_free and not bias else np.maximum(signal.q, SMALLEST_Q)
    if not np.isfinite(q).all():
        raise NoAnswerError(f"the signal overflows, so that the gates of {network.act.name} are not known")
    widths = np.array(network.layer_widths or [1] * (depth + 1), dtype=float)
    starts = _starts(q, widths, ALIKE)
    if len(starts) > MOST_KINDS:
        starts = _starts(q, widths, NEARLY_ALIKE)
    layers = []
    for start, end in zip(starts, [*starts[1:], depth], strict=True):
        here = float(np.exp(np.log(q[start:end]).mean()))
        variance = network.sigma_w**2 * widths[start + 1] / widths[start]
        share = widths[0] / widths[start + 1]
        layer = _layer(network.act, here, max(0.0, 1 - bias / here) if here else 1.0)
        layers.append(layer._replace(log_variance=math.log(variance), share=float(share), run=end - start))
    return Chain(layers, network.weights == "orthogonal")


def _starts(q: Array, widths: Array, apart: float) -> list[int]:
    """Return the first layers of runs whose q differ by no more than so much."""
    starts = [0]
    for i in range(1, q.size):
        before = starts[-1]
        same = widths[i + 1] == widths[before + 1] and widths[i] == widths[before]
        if not (same and abs(q[i] - q[before]) <= apart * q[before]):
            starts.append(i)
    return starts


def _layer(act: Activation, q: float, known: float) -> Layer:
    z, weights = _rule(act, q)
    x = math.sqrt(q) * z
    phi, slope = act.phi(x), act.dphi(x)
    second = float(weights @ phi**2)
    gate = slope * slope
    k = math.sqrt(known) * z
    unit = phi / math.sqrt(second) if second else np.zeros_like(phi)
    return Layer(
        gate,
        weights,
        gate * (k * k + 1 - known),
        unit * slope * k,
        unit * unit * gate,
        log_variance=0.0,
        share=1.0,
        run=1,
    )


def _rule(act: Activation, q: float) -> tuple[Array, Array]:
    """Return nodes and weights of the normal law, dense where the gate is largest."""
    if act.slopes is not None:
        z, weights = normal_rule(act, np.array([q]))
        return z[0], weights[0]
    reach, sigma = float(reach_of(act, np.array([q]))[0]), math.sqrt(q)
    z = np.linspace(-reach, reach, 2049)
    half = z[1] - z[0]
    for _ in range(5):
        peak = float(z[np.argmax(np.abs(act.dphi(sigma * z)))])
        z = peak + half * np.linspace(-1, 1, 129)
        half /= 32
    graded = reach * 4.0 ** -np.arange(1.0, GRADED)
    edges = [central_edges(math.ceil(reach / 1.5)), act.edges(reach * sigma) / sigma, peak + graded]
    edges += [peak - graded, np.array([peak]), np.array(act.breakpoints) / sigma]
    z, weights = panel_rule(np.sort(np.clip(np.concatenate(edges), -reach, reach)))
    kept = weights > 0
    return z[kept], weights[kept]


def outliers_of(network: FeedForward, signal: Propagation) -> Found:
    """Return the outliers of a feed-forward network."""
    chain = layers_of(network, signal)
    if not all(np.isfinite(layer.gate).all() and layer.gate.any() for layer in chain.layers):
        raise NoAnswerError("the gates of some layer are all closed, or not known")
    sides: list[tuple[float, ...]] = []
    for least in (0.0, chain.least):
        if least is None:
            sides.append(())
            continue

        def spectral(x: Array, least: float = least) -> Array:
            return least - np.exp(x) if least else np.exp(x)

        def det(x: Array) -> Shot:
            m = spectral(x)
            return chain.det(m, chain.solved(m))

        roots = np.array(crossings(det, _edge(chain, spectral, -1.0 if least else 1.0), LEAST_LOG_M))
        m = spectral(roots)
        places = chain.log_z(m, chain.solved(m)).tolist() if roots.size else []
        sides.append(tuple(sorted(places, reverse=not least)))
    return Found(sides[0], sides[1], _excess(chain, signal))


def _edge(chain: Chain, spectral: Callable[[Array], Array], sign: float) -> float:
    """Return x of m at the edge of the bulk, where log z, times a sign, is least."""
    low, high = LEAST_LOG_M, MOST_LOG_M
    for _ in range(ROUNDS):
        x = np.linspace(low, high, PLACES)
        m = spectral(x)
        with np.errstate(all="ignore"):
            log_z = sign * chain.log_z(m, chain.solved(m))
        falls = np.append((np.diff(log_z) < 0) & chain.resolved(m)[1:], False)
        i = int(np.argmin(falls))
        low, high = x[max(i - 1, 0)], x[min(i + 1, PLACES - 1)]
    return float(x[i])


def _excess(chain: Chain, signal: Propagation) -> float:
    m = np.full(1, 1e-9)
    for _ in range(2):
        log_det = chain.det(m, chain.solved(m)).log
        m = np.array([1e-6 / max(1.0, abs(float(log_det[0] / m[0])))])
    log_det = chain.det(m, chain.solved(m)).log
    return float(-log_det[0] / m[0] * signal.mean_lambda)
