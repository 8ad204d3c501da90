"""Slow, obvious twins of isocalc's numerics, in mpmath or by brute force."""

import functools
import math
from itertools import pairwise

import numpy as np
from mpmath import mp, mpf
from scipy import special

from naive.activations import exact

# --- Gaussian averages -------------------------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


@functools.cache
def _exact_rule(count):
    """Gauss-Legendre nodes and weights on [-1, 1] to 40 digits."""
    with mp.workdps(40):
        nodes = []
        for guess in np.polynomial.legendre.leggauss(count)[0]:
            x = mp.findroot(functools.partial(mp.legendre, count), mpf(float(guess)))
            slope = count * mp.legendre(count - 1, x) / (1 - x * x)
            nodes.append((x, 2 / ((1 - x * x) * slope**2)))
    return nodes


def _panel_edges(act, q, finest):
    """Ends of panels in z: at breakpoints, dense about them and about 0 in units of the length in x."""
    sigma, reach = math.sqrt(q), 38.0
    length = act.scale if math.isfinite(act.scale) else 1.0
    edges = {*np.arange(-reach, reach + 0.1, 2 * finest)}
    for point in {0.0, *act.breakpoints}:
        edges |= {(point + sign * finest * 2.0**k) / sigma for k in (-4, -2, -1, 0) for sign in (-1, 1)}
        edges |= {point / sigma + sign * 2.0**-k for k in (1, 2, 3, 4, 6, 9) for sign in (-1, 1)}
        edges.add(point / sigma)
        step, place = finest * length, 0.0
        while place < reach * sigma:
            place = place + step if place < 20 * length else place * (1 + finest)
            edges |= {(point + place) / sigma, (point - place) / sigma}
    return sorted(edge for edge in edges if abs(edge) <= reach)


def averages(act, q):
    """E f and E|f| of φ, φ², φ'², φ'⁴, φ² (z² − 1), in doubles on many times the panels that are needed."""
    edges = np.array(_panel_edges(act, q, 0.25))
    half = np.diff(edges) / 2
    z = ((edges[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    weights = (half[:, None] * _WEIGHTS).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    x = math.sqrt(q) * z
    with np.errstate(over="ignore", under="ignore"):
        phi, gate = act.phi(x), act.dphi(x) ** 2
        functions = (phi, phi**2, gate, gate**2, phi**2 * (z * z - 1))
        return [(float((weights * f).sum()), float((weights * abs(f)).sum())) for f in functions]


def exact_averages(act, q, finest=1.0):
    """The same from PyTorch's formula in mpmath, φ' by differences."""
    phi, rule = exact(act.name), _exact_rule(20)
    totals, sizes = [mpf(0)] * 5, [mpf(0)] * 5
    with mp.workdps(60):
        root, h = mp.sqrt(mpf(q)), mpf(10) ** -25 * mp.sqrt(mpf(q))
        edges = _panel_edges(act, q, finest)
        for low, high in pairwise(edges):
            half = (mpf(high) - mpf(low)) / 2
            if min(abs(low), abs(high)) > 13 and not _in_tail(act, q):
                continue
            for node, node_weight in rule:
                z = mpf(low) + half * (1 + node)
                weight = half * node_weight * mp.npdf(z)
                value = phi(root * z)
                gate = ((phi(root * z + h) - phi(root * z - h)) / (2 * h)) ** 2
                terms = (value, value**2, gate, gate**2, value**2 * (z * z - 1))
                totals = [total + weight * term for total, term in zip(totals, terms, strict=True)]
                sizes = [size + weight * abs(term) for size, term in zip(sizes, terms, strict=True)]
    return list(zip(totals, sizes, strict=True))


def _in_tail(act, q):
    """Whether φ can be 0 where |z| is below 13."""
    return any(abs(point) / math.sqrt(q) > 8 for point in act.breakpoints)


# --- Signal propagation ------------------------------------------------------------------------------------


def follow(net):
    """q, c, and the mean square and mean of the output, layer by layer as theory has it, for a ResNet."""
    variance, bias, a = net.sigma_w**2 / net.depth, net.sigma_b**2, net.skip
    p, m, layers = net.input_variance, 0.0, []
    for _ in range(net.depth):
        q = p if net.block == "pre" else variance * p + bias
        (mean, _), (second, _), (gate, _), _, _ = averages(net.act, q)
        if net.block == "pre":
            p, m = a**2 * p + variance * second + bias, 0.0
        else:
            p, m = second + 2 * a * m * mean + a**2 * p, mean + a * m
        layers.append((q, net.sigma_w**2 * gate / a**2, p, m))
    return np.array(layers).T


# --- Pairs of inputs ---------------------------------------------------------------------------------------


def smooth_pair(act, q, correlation):
    """E φ(u1) φ(u2) and E φ'(u1) φ'(u2), for φ without kinks, by a dense product rule."""
    edges = np.array(_panel_edges(act, q, 1.0))
    edges = np.unique(edges[np.abs(edges) < 11])
    half = np.diff(edges) / 2
    x, w = np.polynomial.legendre.leggauss(14)
    z = ((edges[:-1] + half)[:, None] + half[:, None] * x).ravel()
    weights = (half[:, None] * w).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    u1 = math.sqrt(q) * z
    u2 = math.sqrt(q) * (correlation * z[:, None] + math.sqrt(1 - correlation**2) * z)
    return tuple(float((weights * f(u1)) @ (f(u2) @ weights)) for f in (act.phi, act.dphi))


def piecewise_linear_pair(act, q, correlation):
    """The same for piecewise linear φ; the mean of u2 given u1 in closed form, φ' with the jumps of φ."""
    sigma, spread = math.sqrt(q), math.sqrt(q * (1 - correlation) * (1 + correlation))
    ends = [-12.0 * sigma, *sorted(b for b in act.breakpoints if abs(b) < 12 * sigma), 12.0 * sigma]
    width = min(0.25 * sigma, spread)
    edges = np.concatenate(
        [np.linspace(low, high, 2 + int((high - low) / width)) for low, high in pairwise(ends)]
    )
    half = np.diff(edges) / 2
    u1 = ((edges[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    weights = (half[:, None] * _WEIGHTS).ravel() * _density(u1, sigma)
    mean, slope = _given(act, correlation * u1, spread)
    gates = float((weights * act.dphi(u1) * slope).sum())
    for b, jump in _jumps(act):
        gates += jump * float(
            _density(np.array(b), sigma) * _given(act, np.array(correlation * b), spread)[1]
        )
    return float((weights * act.phi(u1) * mean).sum()), gates


def _density(u, sigma):
    return np.exp(-((u / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))


def _jumps(act):
    """Breakpoint and height of each jump of φ."""
    for b in act.jumps:
        below, above = act.phi(np.array([b - 1e-9 * abs(b) - 1e-12, b + 1e-9 * abs(b) + 1e-12]))
        yield b, round(float(above - below), 6)


def _given(act, centre, spread):
    """Mean of φ and of φ' (jumps included) of N(centre, spread²)."""
    mean, slope_mean = np.zeros_like(centre), np.zeros_like(centre)
    ends = [-math.inf, *act.breakpoints, math.inf]
    for slope, (low, high) in zip(act.slopes, pairwise(ends), strict=True):
        inside = min(max(low + 1, 0.0), high - 1) if high - low > 2 else (low + high) / 2
        level = float(act.phi(np.array([inside]))[0]) - slope * inside
        mass = special.ndtr((high - centre) / spread) - special.ndtr((low - centre) / spread)
        mean += (level + slope * centre) * mass
        mean += slope * spread**2 * (_density(low - centre, spread) - _density(high - centre, spread))
        slope_mean += slope * mass
    for b, jump in _jumps(act):
        slope_mean += jump * _density(b - centre, spread)
    return mean, slope_mean


# --- The universal law -------------------------------------------------------------------------------------


def edge(c):
    """Upper edge of the support of y = log λ − 2L log|a|, as theory writes it."""
    m = (mp.sqrt(1 + 2 / mpf(c)) - 1) / 2
    return mp.log((1 + m) / m) + c * (1 + 2 * m)


def universal_root(y, c):
    """The root m of log((1+m)/m) + c(1+2m) = y in the lower half-plane.

    Followed along the real axis from y = 0, where m = −1/2 − ik with π − 2 arctan 2k = 2kc.
    """
    y, c = mpf(y), mpf(c)
    low, high = mpf(0), mp.pi / c
    for _ in range(100):
        k = (low + high) / 2
        low, high = (k, high) if mp.pi - 2 * mp.atan(2 * k) > 2 * k * c else (low, k)
    m, place, step = _newton(mpf(-0.5) - 1j * k, mpf(0), c), mpf(0), edge(c) / 8
    while place < y:
        ahead = min(place + step, y)
        moved = _newton(m, ahead, c)
        if moved is not None and moved.imag < 0 and abs(moved - m) < max(abs(m.imag), abs(1 + 2 * m)) / 2:
            place, m, step = ahead, moved, step * 2
        else:
            step /= 2
    return m


def _newton(m, y, c):
    for _ in range(40):
        step = (mp.log1p(1 / m) + c * (1 + 2 * m) - y) / (2 * c - 1 / (m * (1 + m)))
        m -= step
        if abs(step) < mpf(10) ** (12 - mp.dps) * abs(m):
            return m
    return None


def universal_density(y, c):
    """Density of y."""
    return -universal_root(y, c).imag / mp.pi


def universal_survival(y, c):
    """Mass above y >= 0: the integral of y over the density, where y(ρ) is smooth, less a rectangle."""
    c = mpf(c)
    height = 2 * mp.pi * c * universal_density(y, c)

    def level(t):
        x = mp.acosh(max(mp.cos(t) + c * mp.sin(t) / t, mpf(1)))
        return x + c * mp.sinh(x) / (mp.cosh(x) - mp.cos(t))

    return (mp.quad(level, [height * mpf("1e-20"), height / 2, height]) - height * y) / (2 * mp.pi * c)


def universal_moment(power, c):
    """E λ^power at a = 1: Laguerre's function of any order, by Kummer's series."""
    p, c = abs(mpf(power)), mpf(c)
    return mp.exp(c * p) * mp.hyp1f1(1 - p, 2, -2 * c * p)


# --- A residual layer --------------------------------------------------------------------------------------


def normal_gates(dphi, q):
    """Values of φ'² and their weights, by the trapezoid rule: any error dies out as poles move away."""
    z = np.arange(-9.5, 9.5, 0.004)
    weights = np.exp(-z * z / 2)
    return dphi(math.sqrt(q) * z) ** 2, weights / weights.sum()


def residual_density(s, d, weights, variance, *, orthogonal):
    """Density of the singular values s of 1 + X, X of √variance times gates and weights.

    Singular values with both signs have the law of a free sum, of ±1 and those of X: the subordination
    functions are the fixed point of Belinschi and Bercovici, for Gaussian weights one within another.
    """
    v, inner = variance, -1j

    def green_of_layer(omega):
        nonlocal inner
        if orthogonal:
            return (weights * omega / (omega * omega - v * d)).sum()
        for _ in range(10_000):
            # The Dyson equation of rows of different variances, averaged with itself.
            moved = (1 / (omega - v * (weights * d / (omega - v * d * inner)).sum()) + inner) / 2
            if abs(moved - inner) < 1e-15 * abs(moved):
                break
            inner = moved
        return moved

    first = s + 1j
    for _ in range(10_000):
        second = s - 1 / first  # 1/G(ω) − ω for ±1 is −1/ω
        moved = s + 1 / green_of_layer(second) - second
        if abs(moved - first) < 1e-14 * abs(moved):
            break
        first = (moved + first) / 2
    return -2 * (first / (first * first - 1)).imag / math.pi
