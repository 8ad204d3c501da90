import math

import naive
import pytest
from mpmath import mp, mpf
from scipy.optimize import brentq

from isocalc import FeedForward, activation, fixed_points
from isocalc.signal.correlation import moments_of_pair

GAPS = [1.0, 0.93, 0.5, 0.1, 1e-2, 1.1e-4, 0.9e-4, 1e-6, 1e-9, 1e-13, 1e-20]


def erf_pair(q, c):
    product = 2 / mp.pi * mp.asin(2 * q * c / (1 + 2 * q))
    return product, 4 / mp.pi / mp.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)


def relu_pair(q, c):
    angle = mp.acos(c)
    return (
        q * (mp.sin(angle) + (mp.pi - angle) * c) / (2 * mp.pi),
        (mp.pi - angle) / (2 * mp.pi),
    )


def gaussian_pair(q, c):
    root = mp.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)
    return 1 / root, 4 * q * c / root**3


def sin_pair(q, c):
    return mp.exp(-q) * mp.sinh(q * c), mp.exp(-q) * mp.cosh(q * c)


CLOSED = {
    "linear": lambda q, c: (q * c, mpf(1)),
    "relu": relu_pair,
    "abs": lambda q, c: (4 * relu_pair(q, c)[0] - q * c, 4 * relu_pair(q, c)[1] - 1),
    "erf": erf_pair,
    "gaussian": gaussian_pair,
    "sin": sin_pair,
}


@pytest.mark.parametrize(
    ("spec", "q"),
    # Rounding 1 - c is all that matters to a sine of many turns, φ = 1 to exp(-x²) of tiny x.
    [
        (spec, q)
        for spec in CLOSED
        for q in (1e-10, 0.3, 20.0, 3e5)
        if (spec, q) not in {("sin", 3e5), ("gaussian", 1e-10)}
    ],
)
def test_against_closed_forms(spec, q):
    act = activation(spec)
    for gap in GAPS:
        half_square, slope = moments_of_pair(act, q, gap)
        with mp.workdps(50):
            c = 1 - mpf(gap)
            at_one, (product, gates) = CLOSED[spec](mpf(q), mpf(1))[0], CLOSED[spec](mpf(q), c)
            # sin at large q is e^-q and less.
            size = CLOSED[spec](mpf(q), mpf(1))[1]
            assert abs(mpf(half_square) / (at_one - product) - 1) < 1e-12, gap
            assert abs(mpf(slope) - gates) <= 1e-14 * size, gap


@pytest.mark.parametrize("spec", ["tanh", "gelu", "softplus"])
@pytest.mark.parametrize("q", [0.02, 1.6, 9.0])
def test_smooth_activations_against_a_product_rule(spec, q):
    act = activation(spec)
    (second, _) = naive.averages(act, q)[1]
    for gap in (0.98, 0.2, 3e-3):
        product, gates = naive.smooth_pair(act, q, 1 - gap)
        half_square, slope = moments_of_pair(act, q, gap)
        assert abs(half_square - (second - product)) <= 1e-14 * second
        assert slope == pytest.approx(gates, rel=1e-13)


@pytest.mark.parametrize(
    "spec", ["hardtanh", "relu6", "softshrink", "hardsigmoid", "hardshrink", "threshold:-1:10"]
)
@pytest.mark.parametrize(("q", "gap"), [(0.1, 0.3), (1.3, 0.85), (1.3, 1e-3), (30.0, 0.02)])
def test_piecewise_linear_activations_in_one_dimension(spec, q, gap):
    act = activation(spec)
    product, gates = naive.piecewise_linear_pair(act, q, 1 - gap)
    (second, _) = naive.averages(act, q)[1]
    half_square, slope = moments_of_pair(act, q, gap)
    assert abs(half_square - float(second - product)) <= 2e-14 * second
    assert slope == pytest.approx(float(gates), rel=1e-11 if act.jumps else 1e-13)


def pair_of(spec, q, c):
    act = activation(spec)
    if act.slopes is not None:
        return naive.piecewise_linear_pair(act, q, c)
    return CLOSED[spec](mpf(q), mpf(c)) if spec in CLOSED else naive.smooth_pair(act, q, c)


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b"),
    [
        ("tanh", 1.7, 0.3),
        ("hardtanh", 2.0, 0.2),
        ("elu", 1.3, 0.2),
        ("sin", 1.5, 0.5),
        ("hardswish", 1.38, 1.0),
    ],
)
def test_stable_correlations_by_another_root_finder(spec, sigma_w, sigma_b):
    """Series, integrals over kinks and closed forms against SciPy's root of the plane's integrals."""
    act, point = activation(spec), fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))[0]
    assert point.phase == "chaotic"

    def excess(gap):
        return sigma_w**2 * moments_of_pair(act, point.q_star, gap)[0] / (point.q_star * gap) - 1

    gap = brentq(excess, 1e-3, 1.0, xtol=1e-12)
    assert point.c_star == pytest.approx(1 - gap, abs=1e-11)
    slope = sigma_w**2 * moments_of_pair(act, point.q_star, gap)[1]
    assert math.exp(-1 / point.xi_c) == pytest.approx(slope, rel=1e-10)
