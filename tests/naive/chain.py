"""Slow, obvious twins of the exact law's equations, path by path and as power series in 1/z."""

import cmath
import math

import numpy as np

# The two paths, weights and variance for which the derivation states its numbers: d² of each path by layers.
PATHS = [[0.2, 0.7], [0.9, 0.1]]
WEIGHTS = [0.4, 0.6]
VARIANCE = 0.5


def solution(e, d, weights, v, z, *, orthogonal=False):
    """Return m, the averages alpha and beta, and the mean of every omega at one z in the upper half-plane.

    ``e`` and ``d`` are squares of gates, a list of layers for each path; the equations are iterated as they
    stand. The root of Psi is followed from far away along a ray.
    """
    layers = len(e[0])
    psi = [1.0] * layers
    far = 64 if orthogonal else 1
    for step in range(far):
        there = z * 2.0 ** ((far - 1 - step) / 4)
        alpha, beta = [1 / there] * layers, [1.0] * layers
        for _ in range(4000):
            before = alpha + beta
            alpha, beta, omega, psi = _sweep(e, d, weights, v, there, alpha, beta, psi, orthogonal)
            if max(abs(a - b) for a, b in zip(alpha + beta, before, strict=True)) < 1e-15:
                break
    return omega[-1] - 1, alpha, beta, omega


def _sweep(e, d, weights, v, z, alpha, beta, psi, orthogonal):  # noqa: PLR0917 - all of the state
    layers = len(alpha)
    if orthogonal:
        roots = [cmath.sqrt(1 + 4 * v * a * b) for a, b in zip(alpha, beta, strict=True)]
        both = [(2 / (1 + w), 2 / (1 - w)) for w in roots]
        psi = [min(pair, key=lambda x: abs(x - last)) for pair, last in zip(both, psi, strict=True)]
    alpha_next, beta_next = [0.0] * layers, [0.0] * layers
    omega_mean = [0.0] * (layers + 1)
    for e_path, d_path, weight in zip(e, d, weights, strict=True):
        p = [v * e_path[k] * beta[k] * psi[k] for k in range(layers)]
        q = [v * d_path[k] * alpha[k] * psi[k] for k in range(layers)]
        r = [1.0]
        for k in range(layers):
            r.append(p[k] + r[k] / (1 - q[k] * r[k]))
        s = [1 / z]
        for k in reversed(range(layers)):
            s.insert(0, q[k] + s[0] / (1 - p[k] * s[0]))
        omega = [1 / (1 - x * y) for x, y in zip(r, s, strict=True)]
        for k in range(layers):
            alpha_next[k] += weight * e_path[k] * s[k + 1] * omega[k + 1]
            beta_next[k] += weight * d_path[k] * r[k] * omega[k]
        for k in range(layers + 1):
            omega_mean[k] += weight * omega[k]
    return alpha_next, beta_next, omega_mean, psi


def moments(e, d, weights, v, order, *, orthogonal=False):
    """Return E λ to E λ^order: the equations as power series in 1/z, coefficient by coefficient."""
    size, layers = order + 1, len(e[0])

    def times(x, y):
        return np.convolve(x, y)[:size]

    def inverse(x):  # of a series with constant coefficient c: sum of (1 - x/c)^k / c
        unit = np.zeros(size)
        unit[0] = 1.0
        total, power, rest = unit.copy(), unit.copy(), unit - x / x[0]
        for _ in range(order):
            power = times(power, rest)
            total = total + power
        return total / x[0]

    one, end = np.zeros(size), np.zeros(size)
    one[0], end[1] = 1.0, 1.0
    alpha, beta, psi = [0 * one] * layers, [one] * layers, [one] * layers
    for _ in range(2 * size * layers + 2):
        if orthogonal:
            psi = [
                one - v * times(times(a, b), times(x, x)) for a, b, x in zip(alpha, beta, psi, strict=True)
            ]
        alpha_next, beta_next = [0 * one] * layers, [0 * one] * layers
        m = -one
        for e_path, d_path, weight in zip(e, d, weights, strict=True):
            p = [v * e_path[k] * times(beta[k], psi[k]) for k in range(layers)]
            q = [v * d_path[k] * times(alpha[k], psi[k]) for k in range(layers)]
            r = [one]
            for k in range(layers):
                r.append(p[k] + times(r[k], inverse(one - times(q[k], r[k]))))
            s = [end]
            for k in reversed(range(layers)):
                s.insert(0, q[k] + times(s[0], inverse(one - times(p[k], s[0]))))
            omega = [inverse(one - times(x, y)) for x, y in zip(r, s, strict=True)]
            for k in range(layers):
                alpha_next[k] = alpha_next[k] + weight * e_path[k] * times(s[k + 1], omega[k + 1])
                beta_next[k] = beta_next[k] + weight * d_path[k] * times(r[k], omega[k])
            m = m + weight * omega[-1]
        alpha, beta = alpha_next, beta_next
    return m[1:]


def closed_gates_of_threshold(threshold, variances):
    """Return the probability that |x| <= threshold for independent normal x of these variances."""
    return math.prod(math.erf(threshold / math.sqrt(2 * q)) for q in variances)
