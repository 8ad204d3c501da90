"""Outliers of deep post-activation networks: a problem of shooting, four numbers a layer and no gate paths.

As L → ∞ a neuron's chain of gates forgets itself: r = e^{(1+2m)C}, rs = m/(1+m), C the sum of c over the
layers so far, and the 2L couplings of the forward pass to the weights close on four sums over neurons, U, V,
Y and Z. A layer moves them linearly; the spectral m is that of an outlier if what starts at the input with
U = V, Y = 0 can end with V = U/z, Z = 0. The numbers of a layer are averages over its pre-activation
h = √q z, v = σ_w²/(L a²), c_z² = σ_w² p / (L q):

    c = v E φ'²,  κ = √v c_z E φ' z,  B = v (E φφ' z − E φ' z E φ)/√q,  S = v c_z² E φ'² (z² − 1),

M = E x/√(E x²) and p = E x² those of its input. Y is in units of √p and Z of 1/√p, so that coefficients vary
slowly however the signal grows; V and Z are in units of e^{−2K}, K the sum of log(1 + κM): λ of an outlier is
about e^{2K}, and V/U falls to 1/λ. The error is O(1/L). Derivation and table: guide, theory.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.averages import by_octaves, normal_rule
from isocalc.activations.definition import Activation
from isocalc.activations.tolerances import SMALLEST_Q
from isocalc.laws.outliers.scan import Found, Shot, crossings
from isocalc.laws.tolerances import SAFE_LOG
from isocalc.networks.descriptions import ResNet
from isocalc.signal.propagation import Propagation

Array = npt.NDArray[np.float64]

# Layers in a group, over the layers before them: one part in so many.
SLOWLY = 32
# K of a group up to which products of its matrices keep the lesser direction.
LONGEST = 4.0
# log z beyond the largest outlier at which 1 − det(1 − K) is its first term to what is asked for.
FAR_OUT = 9.0
# q beyond which averages are what they are there, to 1e-5, in units of the square of φ's longest length.
FAR_Q = 1e10
# The same, to look for them.
BEYOND = 4.0


class Coefficients(NamedTuple):
    """What the shooting takes of each layer, or group of ``counts`` equal layers; arrays of shape (G,)."""

    c: Array
    """Of one layer"""
    kappa: Array
    b: Array
    s: Array
    mean: Array
    """M of the layer's input"""
    log_growth: Array
    """Logarithm of √p of its output over a√p of its input"""
    before: Array
    """C before the layer"""
    counts: npt.NDArray[np.intp]
    orthogonal: bool

    @property
    def total(self) -> float:
        """The parameter c of the network."""
        return float(self.c @ self.counts)

    @property
    def steps(self) -> Array:
        """K of each group: the direction of the signal is stretched by about e^K."""
        return np.asarray(np.log1p(np.maximum(self.kappa * self.mean, 0.0)) * self.counts)


def gate_averages(act: Activation, q: Array) -> tuple[Array, Array, Array]:
    """Return E φ' z, (E φφ' z − E φ' z E φ)/√q and E φ'² z² at variances q > 0, shape (n,)."""
    if act.scale_free and act.slopes is not None:
        left, right = act.slopes[0], act.slopes[-1]
        kappa, second = (right - left) / math.sqrt(2 * math.pi), (left * left + right * right) / 2
        ones = np.ones_like(q)
        return kappa * ones, (second - kappa * kappa) * ones, second * ones
    # So far out φ is as it is farther out.
    far = FAR_Q * max(act.lengths) ** 2
    near = q < far
    at = np.append(np.maximum(q[near], SMALLEST_Q), np.full(int(not near.all()), far))
    values = by_octaves(lambda some: _by_quadrature(act, some), at, relative=False)
    found = np.broadcast_to(values[-1], (q.size, values.shape[1])).copy()
    found[near] = values[: near.sum()]
    return found[:, 0], found[:, 1], found[:, 2]


def _by_quadrature(act: Activation, q: Array) -> Array:
    z, weights = normal_rule(act, q)
    sigma = np.sqrt(q)[:, None]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        phi, gate = act.phi(sigma * z), act.dphi(sigma * z)
        slope = (weights * gate * z).sum(axis=1)
        mean = (weights * phi).sum(axis=1)
        overlap = ((weights * gate * z * phi).sum(axis=1) - slope * mean) / sigma[:, 0]
        return np.stack((slope, overlap, (weights * (gate * z) ** 2).sum(axis=1)), axis=1)


def coefficients(network: ResNet, signal: Propagation) -> Coefficients:
    """Return the coefficients of a post-activation network, layers of a deep one in groups."""
    if network.skip < 0:
        return _grouped(network, signal, 1)
    grouped = _grouped(network, signal, network.depth)
    steepest = float((grouped.steps / grouped.counts).max())
    most = max(1, int(LONGEST / steepest)) if steepest else network.depth
    return grouped if grouped.counts.max() <= most else _grouped(network, signal, most)


def _grouped(network: ResNet, signal: Propagation, most: int) -> Coefficients:
    depth, skip = network.depth, network.skip
    starts, counts = _groups(depth, most)
    ends = starts + counts
    p_in = np.append(network.input_variance, signal.second_moment)
    # Where the signal overflows a layer does to it what it did just before.
    last = int(np.flatnonzero((p_in > 0) & (p_in < np.inf))[-1])
    place, layers = np.minimum(starts + (counts - 1) / 2, last - 1), np.arange(last)
    p_in = p_in[: last + 1]
    mean = np.append(0.0, signal.mean[: last - 1]) / np.sqrt(p_in[:-1])
    growth = np.diff(np.log(p_in)) / 2
    growth = np.append(0.0, np.cumsum(np.append(growth, np.full(depth - last, growth[-1]))))
    summed = np.append(0.0, np.cumsum(signal.c_per_layer)) / depth
    c = (summed[ends] - summed[starts]) / counts
    q = np.interp(place, layers, signal.q[:last])
    slope, overlap, second = gate_averages(network.act, q)
    v = (network.sigma_w / skip) ** 2 / depth
    share = np.maximum(0.0, 1 - network.sigma_b**2 / q) if network.sigma_b else np.ones_like(q)
    # In units of a^l, a < 0, x and W x change their sign from layer to layer.
    signs = np.sign(skip) ** starts
    return Coefficients(
        c,
        signs * network.sigma_w / skip / math.sqrt(depth) * np.sqrt(share) * slope,
        v * overlap,
        share * (v * second - c),
        signs * np.interp(place, layers, mean),
        (growth[ends] - growth[starts]) / counts - math.log(abs(skip)),
        summed[starts] + (counts - 1) / 2 * c,
        counts,
        network.weights == "orthogonal",
    )


def _groups(depth: int, most: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return first layers and sizes of groups: powers of 2, single layers where the signal still settles."""
    starts, counts, start = [], [], 0
    while start < depth:
        size = max(1, min(depth - start, start // SLOWLY, most))
        size = 1 << (size.bit_length() - 1)
        starts.append(start)
        counts.append(size)
        start += size
    return np.array(starts), np.array(counts)


def highest_m(c: float) -> float:
    """Return the spectral m at the upper edge of the universal law."""
    return (math.sqrt(1 + 2 / c) - 1) / 2


class Spectral(NamedTuple):
    """Real spectral m outside of the bulk, shape (n,): m > 0 above it, m < −1 below; ω = 1 + m."""

    m: Array
    omega: Array
    log_m: Array
    """log |m|, of m too small for a double too"""

    @classmethod
    def of(cls, x: Array, *, above: bool) -> "Spectral":
        """Return m = e^x above the bulk, m = −1 − e^x below it."""
        distance = np.exp(x)
        if above:
            return cls(distance, 1 + distance, x)
        return cls(-1 - distance, -distance, np.log1p(distance))

    def log_z(self, c: float) -> Array:
        """Return log z of the universal law, in units of the skip connection."""
        return np.asarray(np.log(np.abs(self.omega)) - self.log_m + c * (self.omega + self.m))


def shoot(layers: Coefficients, place: Spectral) -> Shot:
    """Return det(1 − K) at real m outside of the bulk.

    The two-dimensional space of what can start at the input is kept as (V, Y) = R (U, Z), R 2 × 2.
    """
    both, side = place.m + place.omega, np.sign(place.omega)
    units = 2 * np.append(0.0, np.cumsum(layers.steps))[:, None]
    units = np.minimum(units, np.where(side > 0, -place.log_m, 0.0).clip(0.0))
    matrices, log = _matrices(layers, place, units)
    r = np.zeros((side.size, 2, 2))
    r[:, 0, 0] = 1.0
    sign = np.ones_like(side)
    for matrix in matrices:
        image = matrix[:, :, :2] + matrix[:, :, 2:] @ r
        free = image[:, :2]
        det = free[:, 0, 0] * free[:, 1, 1] - free[:, 0, 1] * free[:, 1, 0]
        adjugate = np.empty_like(free)
        adjugate[:, 0, 0], adjugate[:, 1, 1] = free[:, 1, 1], free[:, 0, 0]
        adjugate[:, 0, 1], adjugate[:, 1, 0] = -free[:, 0, 1], -free[:, 1, 0]
        r = image[:, 2:] @ adjugate / det[:, None, None]
        sign *= np.sign(det)
        log += np.log(np.abs(det))
    last = r[:, 0, 0] - np.exp(place.log_m + units[-1] - layers.total * both) / np.abs(place.omega)
    log += np.log(np.abs(last)) - 2 * units[-1] - layers.log_growth @ layers.counts
    return Shot(sign * np.sign(last), log)


def _matrices(layers: Coefficients, place: Spectral, units: Array) -> tuple[Array, Array]:
    """Return what each group does to (U, Z, V, Y), shape (G, m, 4, 4), and the sum of logs of divisors."""
    c, kappa, b0, s, mean, log_growth, before = (value[:, None] for value in layers[:7])
    m, omega, log_m = place
    side = np.sign(omega)
    both, unit, counts = m + omega, units[:-1], layers.counts[:, None]
    after = before + c
    up, down = np.exp(m * before), np.exp(omega * before - unit)
    rest = 1 - mean * mean
    sigma = side * np.exp(log_m + unit - both * after)
    wide = omega * np.exp(both * before - unit)
    fading = b0 * np.exp(-m * after)
    g = kappa * mean + b0 * omega * np.exp(-m * c)
    t = s + c - kappa**2
    h = wide if layers.orthogonal else np.zeros_like(wide)
    divisor = 1 + g + t * sigma * h
    shape = c.shape[0], m.size
    u, z, v, y = np.broadcast_to(np.eye(4)[:, None, None], (4, *shape, 4))

    def times(factor: Array, row: Array) -> Array:
        return np.broadcast_to(factor, shape)[..., None] * row

    xi = times(mean, u) + times(omega * up, y) + times(omega * rest * down, z)
    lessened = v - times(c * sigma, u)
    eta = times(kappa, lessened) + times(omega * fading, z) + times((t + c * g) * sigma, xi)
    eta = times(1 / divisor, eta)
    gamma = eta - times(c * sigma, xi)
    xi = xi - times(h, eta)
    v = lessened - times(mean, gamma)
    z = z - times(up, gamma)
    y = y + times(rest * down, gamma) + times(fading, xi)
    u = u + times(c * wide, v) + times(kappa, xi)
    growth = np.exp(log_growth)
    matrices = np.stack([u, times(growth, z), v, times(1 / growth, y)], axis=2)
    for bit in range(int(layers.counts.max()).bit_length() - 1):
        more = layers.counts >> bit > 1
        matrices[more] = matrices[more] @ matrices[more]
    matrices[:, :, 1:3] *= np.exp(units[1:] - unit)[..., None, None]
    return matrices, (counts * np.log(np.abs(divisor))).sum(axis=0)


def excess(layers: Coefficients) -> float:
    """Return the limit N → ∞ of N (E λ − m₁) in units of the skip connection: lim z tr K, z → ∞."""
    log_m = -2 * layers.steps.sum() - layers.total - FAR_OUT
    place = Spectral.of(np.array([log_m]), above=True)
    log_det = shoot(layers, place).log
    c, after = layers.c, layers.before + layers.c
    u = 1 + np.append(0.0, np.cumsum(layers.counts * c * np.exp(layers.before)))
    bare = layers.counts @ (c * np.exp(-after) * u[:-1]) + np.exp(-layers.total) * u[-1]
    with np.errstate(over="ignore"):
        alone = layers.total if layers.orthogonal else 0.0
        z = np.exp(place.log_z(layers.total)[0])
        return float(-log_det[0] * z + (alone - bare) * math.exp(layers.total))


def outliers_of(network: ResNet, signal: Propagation) -> Found:
    """Return the outliers of a deep post-activation network."""
    layers = coefficients(network, signal)
    edge, stretched = math.log(highest_m(layers.total)), 2 * float(layers.steps.sum())
    scale = 2 * network.depth * math.log(abs(network.skip))
    sides: list[tuple[float, ...]] = []
    for above, end in ((True, -stretched - layers.total - BEYOND), (False, edge - BEYOND)):

        def det(x: Array, above: bool = above) -> Shot:  # noqa: FBT001 - bound here
            return shoot(layers, Spectral.of(x, above=above))

        roots = crossings(det, edge, min(end, edge - BEYOND))
        places = Spectral.of(np.array(roots), above=above).log_z(layers.total) + scale
        sides.append(tuple(sorted(places.tolist(), reverse=above)))
    factor = math.exp(scale) if abs(scale) < SAFE_LOG else math.inf
    return Found(sides[0], sides[1], excess(layers) * factor)
