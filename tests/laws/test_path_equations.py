"""The equations of the exact law against their slow twins, closed forms and the derivation's own numbers."""

import numpy as np
import pytest
from naive import chain as naive

from isocalc.laws.paths.equations import Equations, first_moments, solve
from isocalc.laws.paths.gate_paths import ChainArrays

KINDS = [(False, False), (True, False), (False, True), (True, True)]


def chain_of(gates, weights, variance, *, on_output=False, orthogonal=False, counts=None):
    """Return a chain; gates of each path by layers, the variance that of one layer."""
    by_layer = np.array(gates, dtype=float).T
    counts = np.ones(len(by_layer)) if counts is None else np.asarray(counts, dtype=float)
    return ChainArrays(
        by_layer,
        np.array(weights, dtype=float),
        on_output,
        variance * counts,
        counts,
        orthogonal,
    )


def sides(gates, on_output):
    """Return e² and d² of paths whose gates are on one side."""
    ones = np.ones_like(np.array(gates)).tolist()
    return (gates, ones) if on_output else (ones, gates)


def moments_of(chain, order, radius):
    """Return E λ^k as contour integrals of m z^(k−1), by the trapezoid rule."""
    half = 64
    z = radius * np.exp(1j * np.pi * (np.arange(half) + 0.5) / half)
    m = solve(chain, np.log(z)).m
    return [float((m * z**k).real.mean()) for k in range(1, order + 1)]


@pytest.mark.parametrize(
    ("on_output", "orthogonal", "stated"),
    [
        (False, False, [1.5327, 3.98085329, 13.13864627, 49.16904828, 198.55631105, 843.62899251]),
        (True, False, [1.5327, 3.97379729, 13.06657785, 48.66230343, 195.43968769, 825.59291918]),
        (False, True, [1.5327, 3.79970671, 11.3175401, 36.79688918]),
    ],
)
def test_moments_of_the_derivation(on_output, orthogonal, stated):
    chain = chain_of(naive.PATHS, naive.WEIGHTS, 0.5, on_output=on_output, orthogonal=orthogonal)
    # The contour multiplies the accuracy of m, 1e-11, by z^k.
    np.testing.assert_allclose(moments_of(chain, len(stated), 12.0), stated, rtol=1e-9)
    e, d = sides(naive.PATHS, on_output)
    series = naive.moments(e, d, naive.WEIGHTS, 0.5, len(stated), orthogonal=orthogonal)
    np.testing.assert_allclose(series, stated, rtol=0, atol=6e-9)


@pytest.mark.parametrize(
    ("on_output", "z", "stated"),
    [
        (False, 2 + 1j, -0.1428913295790527 - 0.7820970844238151j),
        (False, 1 + 0.1j, -0.671535439688402 - 0.9647568344915705j),
        (True, 2 + 1j, -0.14495845774118038 - 0.7839322524234287j),
    ],
)
def test_values_of_the_derivation(on_output, z, stated):
    chain = chain_of(naive.PATHS, naive.WEIGHTS, 0.5, on_output=on_output)
    assert solve(chain, np.log([z])).m[0] == pytest.approx(stated, rel=1e-11)


def test_values_of_the_derivation_on_the_negative_axis():
    found = solve(chain_of(naive.PATHS, naive.WEIGHTS, 0.5), np.array([1j * np.pi]))
    assert found.m[0] == pytest.approx(-0.5060546912090559, rel=1e-11)
    beta, alpha = np.exp(found.states[0]).reshape(2, 2) / 0.5
    np.testing.assert_allclose(alpha, [-0.49420166, -0.49394531], rtol=0, atol=6e-9)
    np.testing.assert_allclose(beta, [0.30369525, 0.17037669], rtol=0, atol=6e-9)


@pytest.mark.parametrize(("on_output", "orthogonal"), KINDS)
def test_solutions_are_those_of_the_slow_twin(on_output, orthogonal):
    rng = np.random.default_rng(5)
    gates, weights = rng.random((7, 3)) ** 2, rng.random(7)
    weights /= weights.sum()
    e, d = sides(gates.tolist(), on_output)
    chain = chain_of(gates, weights, 1.1, on_output=on_output, orthogonal=orthogonal)
    z = np.array([3 + 2j, 0.5 + 1j, -1 + 0.5j, 1 + 0.4j])
    expected = [naive.solution(e, d, weights, 1.1, place, orthogonal=orthogonal)[0] for place in z]
    np.testing.assert_allclose(solve(chain, np.log(z)).m, expected, rtol=1e-9)


@pytest.mark.parametrize(("on_output", "orthogonal"), KINDS)
@pytest.mark.parametrize("variance", [0.05, 0.6, 3.0])
def test_every_omega_has_the_same_mean_on_the_real_axis(on_output, orthogonal, variance):
    rng = np.random.default_rng(6)
    gates, weights = rng.random((40, 6)), np.full(40, 1 / 40)
    chain = chain_of(gates, weights, variance, on_output=on_output, orthogonal=orthogonal)
    y = np.array([0.7, 0.1, -0.4])
    found = solve(chain, y)
    assert found.solved.all()
    for place, m, state in zip(y, found.m, found.states, strict=True):
        p, q = np.exp(state).reshape(2, 6)
        e, d = (np.array(side) for side in sides(gates, on_output))
        r, s = [np.ones(40)], [np.full(40, np.exp(-place))]
        for k in range(6):
            r.append(e[:, k] * p[k] + r[k] / (1 - d[:, k] * q[k] * r[k]))
        for k in reversed(range(6)):
            s.insert(0, d[:, k] * q[k] + s[0] / (1 - e[:, k] * p[k] * s[0]))
        means = [np.mean(1 / (1 - x * y)) - 1 for x, y in zip(r, s, strict=True)]
        np.testing.assert_allclose(means, np.full(7, m), rtol=1e-10)


@pytest.mark.parametrize(("on_output", "orthogonal"), KINDS)
def test_first_moments_are_those_of_the_series(on_output, orthogonal):
    rng = np.random.default_rng(7)
    gates, weights = rng.random((5, 4)), [0.1, 0.3, 0.2, 0.25, 0.15]
    chain = chain_of(gates, weights, 0.8, on_output=on_output, orthogonal=orthogonal)
    expected = naive.moments(*sides(gates, on_output), weights, 0.8, 2, orthogonal=orthogonal)
    np.testing.assert_allclose(first_moments(chain), expected, rtol=1e-12)


@pytest.mark.parametrize(("on_output", "orthogonal"), KINDS)
def test_groups_tell_their_moments(on_output, orthogonal):
    rng = np.random.default_rng(8)
    counts = [2.0, 3.5, 7.0]
    chain = chain_of(
        rng.random((5, 3)), np.full(5, 0.2), 0.1, on_output=on_output, orthogonal=orthogonal, counts=counts
    )
    np.testing.assert_allclose(first_moments(chain), moments_of(chain, 2, 40.0), rtol=1e-9)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_groups_of_layers_are_the_layers_to_second_order(orthogonal):
    gates, weights = np.random.default_rng(9).random((8, 1)) ** 2, np.full(8, 1 / 8)
    y = np.array([2.0, 1.0, 0.0, -1.0, -2.0])

    def masses(groups):
        counts = np.full(groups, 64 / groups)
        each = np.repeat(gates, groups, axis=1)
        chain = chain_of(each, weights, 1 / 32, orthogonal=orthogonal, counts=counts)
        equations = Equations(chain)
        return equations.above(equations.solve(y.astype(complex)).states, y)

    errors = [float(np.abs(masses(groups) - masses(64)).max()) for groups in (4, 8, 16)]
    assert errors[0] < 5e-3
    assert errors[1] < errors[0] / 3.5
    assert errors[2] < errors[1] / 3.5


@pytest.mark.parametrize(("on_output", "orthogonal"), KINDS)
def test_the_potential_is_an_integral_of_m(on_output, orthogonal):
    gates, weights = np.random.default_rng(10).random((6, 5)), np.full(6, 1 / 6)
    chain = chain_of(gates, weights, 1.3, on_output=on_output, orthogonal=orthogonal)
    step = 1e-3
    y = 0.3 + step * np.arange(2, -3, -1)
    found = solve(chain, y)
    potential = Equations(chain).potential(found.states, y.astype(complex))
    slope = (-potential[0] + 8 * potential[1] - 8 * potential[3] + potential[4]) / (12 * step)
    assert slope == pytest.approx(found.m[2], rel=1e-8)
