"""Averages over gates done slowly: mpmath's φ' on straight lines, panels that halve towards turns of d."""

import math
from itertools import pairwise

import numpy as np
from mpmath import mp, mpf
from numpy.polynomial.legendre import leggauss

from isocalc.activations.catalogue import activation
from naive.activations import SELU_ALPHA, SELU_SCALE, parameters, sigmoid

NODES = 16
DIGITS = 24


def dmish(x):
    grown = mp.exp(x) * (mp.exp(x) + 2)
    return grown / (grown + 2) + 4 * x * mp.exp(x) * (1 + mp.exp(x)) / (grown + 2) ** 2


def normal(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def dgelu(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2 + x * normal(x)


def dgelu_tanh(x):
    outer, inner = mp.sqrt(2 / mp.pi), mpf(0.044715)
    angle = outer * (x + inner * x**3)
    return (1 + mp.tanh(angle)) / 2 + x / 2 * outer * (1 + 3 * inner * x**2) * mp.sech(angle) ** 2


def dexpm1(alpha, length, scale):
    return (lambda x: scale * alpha / length * mp.exp(x / length), lambda x: scale + 0 * x)


# φ' on each interval between breakpoints, given the parameters.
SLOPES = {
    "hardswish": lambda: (lambda x: 0 * x, lambda x: x / 3 + mpf(1) / 2, lambda x: 1 + 0 * x),
    "squared_relu": lambda: (lambda x: 0 * x, lambda x: 2 * x),
    "elu": lambda alpha: dexpm1(mpf(alpha), 1, 1),
    "celu": lambda alpha: dexpm1(mpf(alpha), mpf(alpha), 1),
    "selu": lambda: dexpm1(SELU_ALPHA, 1, SELU_SCALE),
    "gelu": lambda: (dgelu,),
    "gelu_tanh": lambda: (dgelu_tanh,),
    "silu": lambda: (lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),),
    "mish": lambda: (dmish,),
    "softplus": lambda beta: (lambda x: sigmoid(mpf(beta) * x),),
    "sigmoid": lambda: (lambda x: sigmoid(x) * sigmoid(-x),),
    "logsigmoid": lambda: (lambda x: sigmoid(-x),),
    "tanh": lambda: (lambda x: mp.sech(x) ** 2,),
    "tanhshrink": lambda: (lambda x: mp.tanh(x) ** 2,),
    "softsign": lambda: (lambda x: 1 / (1 - x) ** 2, lambda x: 1 / (1 + x) ** 2),
    "erf": lambda: (lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-(x**2)),),
    "arctan": lambda: (lambda x: 1 / (1 + x**2),),
    "gaussian": lambda: (lambda x: -2 * x * mp.exp(-(x**2)),),
    "sin": lambda: (mp.cos,),
    "snake": lambda a: (lambda x: 1 + mp.sin(2 * mpf(a) * x),),
}


def slopes(spec):
    """φ' on each interval, functions of an mpf or mpc."""
    return SLOPES[spec.split(":")[0]](*parameters(spec))


def unit(act):
    return act.scale if math.isfinite(act.scale) else 1.0


def turns(slope, low, high, step):
    """Zeros of φ' and of φ'' between low and high, by bisection in mpmath."""
    h = mpf(10) ** -12 * step
    found = []
    for function in (slope, lambda x: slope(x + h) - slope(x - h)):
        x = np.append(np.arange(low + 0.37 * step, high, step), high)
        values = [function(mpf(float(place))) for place in x]
        for k, (left, right) in enumerate(pairwise(values)):
            if left * right < 0:
                root = mp.findroot(function, (float(x[k]), float(x[k + 1])), "anderson", tol=1e-30)
                found += [] if any(abs(root - other) < 1e-3 * step for other in found) else [root]
    return sorted(found)


def line(start, stop, levels, longest):
    """Gauss nodes and weights on a straight line, panels halving towards its start or of bounded length."""
    if levels:
        edges = [mpf(0), *(mpf(2) ** -k for k in range(levels, -1, -1))]
    else:
        count = math.ceil(float(abs(stop - start)) / longest)
        edges = [mpf(k) / count for k in range(count + 1)]
    nodes, weights = (list(map(mpf, values)) for values in leggauss(NODES))
    for left, right in pairwise(edges):
        half = (right - left) / 2
        for x, w in zip(nodes, weights, strict=True):
            yield start + (stop - start) * (left + half * (1 + x)), (stop - start) * half * w


def bent(slope, low, high, sigma, length):
    """Nodes and steps from low to high through the half-plane where Im d <= 0; far ends are at 10 sigma."""
    reach = 10 * sigma
    ends = [mpf(max(low, -reach)), mpf(min(high, reach))]
    far = [low < -reach, high > reach]
    probe = [slope(ends[0] + (ends[1] - ends[0]) * part) ** 2 for part in (mpf("0.4"), mpf("0.6"))]
    side = -1 if probe[1] > probe[0] else 1
    height = mpf("0.6") * min(length, sigma, (ends[1] - ends[0]) / 4)
    for _ in range(12):
        inwards = (0 if far[0] else 2 * height, 0 if far[1] else -2 * height)
        corners = [end + inward + 1j * side * height for end, inward in zip(ends, inwards, strict=True)]
        path = []
        if not far[0]:
            path += line(ends[0], corners[0], 38, 0)
        if corners[1].real > corners[0].real:
            path += line(corners[0], corners[1], 0, float(height))
        if not far[1]:
            path += [(x, -step) for x, step in line(ends[1], corners[1], 38, 0)]
        if all(below(slope(x) ** 2) for x, _ in path[::17]):
            d = [slope(x) ** 2 for x, _ in path]
            assert all(map(below, d))
            return path, d
        height /= 2
    raise AssertionError("no path")


def below(d):
    return d.imag <= mpf(10) ** -9 * abs(d)


class NaiveGate:
    """The law of φ'(x)² for x of variance q; sums are in extended precision where numpy has it."""

    def __init__(self, spec, q):
        act = activation(spec)
        with mp.workdps(DIGITS):
            sigma = mp.sqrt(mpf(q))
            d, weights, self.ends = [], [], set()
            edges = (-mp.inf, *map(mpf, act.breakpoints), mp.inf)
            for slope, (low, high) in zip(slopes(spec), pairwise(edges), strict=True):
                if slope(mpf("0.1")) == slope(mpf("0.2")):
                    d.append(slope(mpf(0)) ** 2)
                    weights.append(mp.ncdf(high / sigma) - mp.ncdf(low / sigma))
                    self.ends.add(float(d[-1]))
                    continue
                length = mpf(unit(act))
                reach = 10 * sigma
                inner = turns(slope, float(max(low, -reach)), float(min(high, reach)), 0.2 * unit(act))
                for start, stop in pairwise((low, *inner, high)):
                    path, values = bent(slope, start, stop, sigma, length)
                    d += values
                    weights += [normal(x / sigma) / sigma * step for x, step in path]
                    self.ends |= {float(slope(end).real ** 2) for end in (start, stop) if mp.isfinite(end)}
            self.d, self.weights = extended(d), extended(weights)

    def averages(self, t):
        """E 1/(1 - dt), E dt/(1 - dt), E dt/(1 - dt)², E log(1 - dt)."""
        dt = self.d * np.clongdouble(t)
        inverse = 1 / (1 - dt)
        functions = (inverse, dt * inverse, dt * inverse**2, np.log(1 - dt))
        return np.array([(self.weights * values).sum() for values in functions])

    def rounding(self, t):
        """What a change of t, or of every d, by one unit in the last place does to averages, relatively."""
        dt = self.d * np.clongdouble(t)
        inverse = 1 / (1 - dt)
        mean, second, slope, log_mean = self.averages(t)
        spread = np.abs(self.weights * dt * (1 + dt) * inverse**3).sum()
        changes = np.array([abs(slope), abs(slope), spread, abs(second)])
        return np.finfo(float).eps * changes / np.abs([mean, second, slope, log_mean])


def extended(values):
    """Complex numbers of mpmath in numpy's longest format."""

    def real(value):
        high = float(value)
        return np.longdouble(high) + np.longdouble(float(value - high))

    return np.array([real(mp.re(v)) + np.clongdouble(1j) * real(mp.im(v)) for v in values])


def real_axis(act, q, t):
    """E 1/(1 - dt) by quadrature on the real axis, for t well off the cut."""
    sigma = math.sqrt(q)
    if sigma > 10 * act.period:
        return np.mean(1 / (1 - act.dphi(act.period * np.arange(4096) / 4096) ** 2 * t))
    length, reach = min(unit(act), sigma), 11 * sigma
    last = 8 if math.isinf(act.period) else math.ceil(reach / length)
    near = [2.0 ** np.arange(-20, -4), np.linspace(0, last, 16 * last + 1)]
    steps = length * np.concatenate([*near, last * 2 ** np.linspace(0, 40, 641)])
    edges = [point + side * steps for point in {0.0, *act.breakpoints} for side in (1, -1)]
    edges = np.unique(np.clip(np.concatenate([*edges, [-reach, reach]]), -reach, reach))
    nodes, weights = leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    x = edges[:-1, None] + half * (1 + nodes)
    density = np.exp(-((x / sigma) ** 2) / 2) / (math.sqrt(2 * math.pi) * sigma)
    return (half * weights * density / (1 - act.dphi(x) ** 2 * t)).sum()
