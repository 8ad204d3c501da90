from itertools import pairwise

import numpy as np
import pytest
from mpmath import mp, mpf
from naive.activations import EXAMPLES, exact
from numpy.polynomial import Chebyshev
from numpy.polynomial.legendre import leggauss

from isocalc.activations.catalogue import activation

EPS = np.finfo(float).eps
PIECEWISE_LINEAR = tuple(spec for spec in EXAMPLES if activation(spec).slopes is not None)
GRID = np.linspace(-12.07, 12.03, 1001)


def interpolation_error(function, low, high):
    """Of the polynomial of degree 24: rounding where the function is analytic around, large at a kink."""
    inside = np.linspace(low, high, 202)[1:-1]
    polynomial = Chebyshev.interpolate(function, 24, [low, high])
    return np.max(np.abs(polynomial(inside) - function(inside))) / np.max(np.abs(function(inside)) + 1e-3)


def pieces(act):
    """Intervals of length at most 1/2, or 1/4 of the activation's scale, between breakpoints."""
    step = min(0.5, act.scale / 4)
    for low, high in pairwise((-12.0, *act.breakpoints, 12.0)):
        edges = np.linspace(low, high, 2 + int((high - low) / step))
        yield from pairwise(edges)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_smooth_between_breakpoints(spec):
    act = activation(spec)
    assert list(act.breakpoints) == sorted(set(act.breakpoints))
    for low, high in pieces(act):
        width = 1e-9 * (high - low)
        assert interpolation_error(act.phi, low + width, high - width) < 1e-12


@pytest.mark.parametrize("spec", EXAMPLES)
def test_not_smooth_at_breakpoints(spec):
    act = activation(spec)
    for b in act.breakpoints:
        assert interpolation_error(act.phi, b - 0.2, b + 0.23) > 1e-5


@pytest.mark.parametrize("spec", EXAMPLES)
def test_jumps_are_the_discontinuities(spec):
    act = activation(spec)
    if act.breakpoints:
        b = np.array(act.breakpoints)
        rises = np.abs(act.phi(np.nextafter(b, np.inf)) - act.phi(np.nextafter(b, -np.inf)))
        assert tuple(b[rises > 1e-6]) == act.jumps
    assert set(act.jumps) <= set(act.breakpoints)


@pytest.mark.parametrize(
    ("spec", "slopes"),
    [
        ("relu", (0.0, 1.0)),
        ("leaky_relu:0.2", (0.2, 1.0)),
        ("hardtanh", (0.0, 0.0)),
        ("softplus", (0.0, 1.0)),
        ("softplus:1e-20", (0.0, 1.0)),  # φ bends over 1e20
        ("gelu", (0.0, 1.0)),
        ("elu:1e9", (0.0, 1.0)),
        ("logsigmoid", (1.0, 0.0)),
        ("tanhshrink", (1.0, 1.0)),
        ("sqrt(1+x**2)", (-1.0, 1.0)),
        ("(x+sqrt(x**2+1e6))/2", (0.0, 1.0)),
        ("x*atan(x)", (-np.pi / 2, np.pi / 2)),
        ("log(1+x**2)+x", (1.0, 1.0)),
        ("x*sigmoid(1e-30*x)", None),  # φ is x/2 as far as is looked
        ("x*log(1+abs(x))", None),
        ("squared_relu", None),
        ("sqrt(1+x**4)", None),
        ("x+sin(x)", None),
    ],
)
def test_slopes_far_out(spec, slopes):
    assert activation(spec).far_slopes == slopes


@pytest.mark.parametrize("spec", EXAMPLES)
def test_odd_means_odd(spec):
    act = activation(spec)
    assert act.odd == np.array_equal(act.phi(-GRID), -act.phi(GRID))
    assert not act.odd or np.array_equal(act.dphi(-GRID), act.dphi(GRID))


@pytest.mark.parametrize("spec", EXAMPLES)
def test_scale_free_means_homogeneous(spec):
    act = activation(spec)
    homogeneous = all(np.allclose(act.phi(k * GRID), k * act.phi(GRID), rtol=1e-12) for k in (0.03, 8.0))
    assert act.scale_free == homogeneous


@pytest.mark.parametrize("spec", EXAMPLES)
def test_slopes_where_and_only_where_piecewise_linear(spec):
    act = activation(spec)
    inside = [(low + high) / 2 for low, high in pairwise((-15.0, *act.breakpoints, 15.0))]
    if act.slopes is None:
        curved = [abs(interpolated_bend(act, low, high)) for low, high in pieces(act)]
        assert max(curved) > 1e-6
        with pytest.raises(ValueError, match="not piecewise linear"):
            act.gate_masses(1.0)
    else:
        assert act.slopes == tuple(act.dphi(np.array(inside)))
        assert act.scale == np.inf


def interpolated_bend(act, low, high):
    left, middle, right = act.phi(low + (high - low) * np.array([0.25, 0.5, 0.75]))
    return left - 2 * middle + right


def normal_mass(low, high):
    """By 20 Gauss nodes on each quarter; no terms of different signs, so the tails are right too."""
    low, high = max(low, -39.0), min(high, 39.0)
    if low >= high:
        return 0.0
    nodes, weights = leggauss(20)
    edges = np.linspace(low, high, 2 + int(4 * (high - low)))
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1] + edges[1:])[:, None] / 2 + half * nodes
    return float(np.sum(half * weights * np.exp(-(z**2) / 2)) / np.sqrt(2 * np.pi))


def brute_force_masses(spec, q):
    """φ'² from the exact formula inside each interval, masses by integrating the density."""
    phi = exact(spec)
    masses = {}
    for low, high in pairwise((-np.inf, *activation(spec).breakpoints, np.inf)):
        middle = mpf((max(low, -1e3) + min(high, 1e3)) / 2)
        square = float((phi(middle + mpf("1e-9")) - phi(middle)) / mpf("1e-9")) ** 2
        same = next((value for value in masses if abs(value - square) < 1e-6), square)
        masses[same] = masses.get(same, 0.0) + normal_mass(low / np.sqrt(q), high / np.sqrt(q))
    return sorted(masses.items())


@pytest.mark.parametrize("q", [1e-3, 0.3, 20.0, 1e8])
@pytest.mark.parametrize("spec", PIECEWISE_LINEAR)
def test_gate_masses_against_integration(spec, q):
    act = activation(spec)
    got = act.gate_masses(q)
    assert sum(mass for _, mass in got) == pytest.approx(1, rel=2 * EPS)
    with mp.workdps(40):
        expected = brute_force_masses(spec, q)
    assert len(got) == len(expected)
    for (value, mass), (square, exact_mass) in zip(got, expected, strict=True):
        steepness = 1 + max((b * b / q for b in act.breakpoints), default=0)
        assert value == pytest.approx(square, rel=1e-14)
        assert mass == pytest.approx(exact_mass, rel=4 * EPS * steepness, abs=1e-300)


@pytest.mark.parametrize("spec", PIECEWISE_LINEAR)
def test_gate_masses_at_variance_0_are_the_limit(spec):
    act = activation(spec)
    assert act.gate_masses(0.0) == act.gate_masses(1e-300)
    assert all(type(number) is float for pair in act.gate_masses(0.0) for number in pair)


def test_gate_masses_in_closed_form():
    assert activation("relu").gate_masses(3.0) == ((0.0, 0.5), (1.0, 0.5))
    assert activation("abs").gate_masses(3.0) == ((1.0, 1.0),)
    assert activation("linear").gate_masses(0.0) == ((1.0, 1.0),)
    assert activation("hardtanh").gate_masses(0.0) == ((0.0, 0.0), (1.0, 1.0))
