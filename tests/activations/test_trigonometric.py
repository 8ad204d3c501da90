"""sin and snake: closed forms against the trapezoid rule, which converges geometrically for them."""

import numpy as np
import pytest
from mpmath import mp, mpf
from naive.activations import exact

from isocalc.activations.catalogue import activation

EPS = np.finfo(float).eps
SPECS = ("sin", "snake", "snake:2", "snake:-0.3")
NAMES = ("mean", "second", "gate", "gate squared", "slope")


def moments(spec, q):
    """E f and E |f| of the five averages, mpmath's numbers; φ' as the derivative of PyTorch's formula."""
    phi, root = exact(spec), mp.sqrt(q)
    reach, step = 15, mpf(1) / (3 + int(3 * root))
    totals, sizes = [mpf(0)] * 5, [mpf(0)] * 5
    for k in range(-int(reach / step), int(reach / step) + 1):
        z = k * step
        weight = step * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
        value, h = phi(root * z), mpf(10) ** -25 * root
        slope = (phi(root * z + h) - phi(root * z - h)) / (2 * h)
        terms = (value, value**2, slope**2, slope**4, value**2 * (z * z - 1))
        totals = [total + weight * term for total, term in zip(totals, terms, strict=True)]
        sizes = [size + weight * abs(term) for size, term in zip(sizes, terms, strict=True)]
    return totals, sizes


@pytest.mark.parametrize("q", [1e-12, 1e-6, 1e-2, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("spec", SPECS)
def test_averages_against_quadrature(spec, q):
    averages = activation(spec).closed_averages(np.array([q]))
    with mp.workdps(55):
        totals, sizes = moments(spec, mpf(q))
        for name, got, total, size in zip(NAMES, averages, totals, sizes, strict=True):
            assert abs(mpf(float(got[0])) - total) <= 4 * EPS * size, name


@pytest.mark.parametrize("q", [1e4, 1e8, 1e300])
def test_averages_at_large_variance_are_those_of_independent_phases(q):
    assert [x[0] for x in activation("sin").closed_averages(np.array([q]))] == [0.0, 0.5, 0.5, 0.375, 0.0]
    snake = [x[0] for x in activation("snake:2").closed_averages(np.array([q]))]
    assert snake == pytest.approx([0.25, q + 3 / 32, 1.5, 35 / 8, 2 * q], rel=2 * EPS)


@pytest.mark.parametrize("spec", SPECS)
def test_averages_keep_the_shape_and_have_their_limit_at_zero(spec):
    q = np.array([[0.0, 1.0, 2.0], [1e-300, 1e300, 1e8]])
    averages = activation(spec).closed_averages(q)
    assert [average.shape for average in averages] == [(2, 3)] * 5
    assert [average[0, 0] for average in averages] == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert all(np.all(np.isfinite(average)) for average in averages)


@pytest.mark.parametrize("q", [1e-12, 1e-3, 0.4, 3.0, 12.0])
@pytest.mark.parametrize("spec", SPECS)
def test_correlations_against_quadrature(spec, q):
    act = activation(spec)
    correlations = np.array([-1.0, -0.9, -0.2, 0.0, 1e-9, 0.5, 0.99, 1 - 1e-9, 1.0])
    step = 0.04
    z = step * np.arange(-275, 276)
    weights = np.exp(-(z**2) / 2) * step / np.sqrt(2 * np.pi)
    products = act.closed_correlation(q, correlations)
    for i, rho in enumerate(correlations):
        x = np.sqrt(q) * z[:, None]
        y = np.sqrt(q) * (rho * z[:, None] + np.sqrt((1 - rho) * (1 + rho)) * z)
        for f, product in zip((act.phi, act.dphi), products, strict=True):
            terms = weights[:, None] * weights * f(x) * f(y)
            assert abs(product[i] - terms.sum()) <= 4e-15 * np.abs(terms).sum()


@pytest.mark.parametrize("q", [0.0, 1e-300, 1e-12, 1e-3, 0.4, 3.0, 12.0, 1e3, 1e8, 1e300])
@pytest.mark.parametrize("spec", SPECS)
def test_full_correlation_is_the_variance(spec, q):
    act = activation(spec)
    _, second, gate, _, _ = act.closed_averages(np.array([q]))
    product, slopes = act.closed_correlation(q, np.array([1.0, -1.0, 0.0]))
    assert product[0] == pytest.approx(second[0], rel=4 * EPS, abs=0)
    assert slopes[0] == pytest.approx(gate[0], rel=4 * EPS, abs=0)
    assert np.all(np.isfinite(product))
    assert np.all(np.isfinite(slopes))


def test_correlation_of_snake_at_small_variance_keeps_the_mean():
    """At correlation 0 the product is (E φ)², and E φ = a q for small q."""
    product, _ = activation("snake").closed_correlation(1e-12, np.array([0.0]))
    assert product[0] == pytest.approx(1e-24, rel=1e-11)
