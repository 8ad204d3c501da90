import math

import naive
import numpy as np
import pytest
from mpmath import mp, mpf

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
        ("erf", 1.5, 0.3),
        ("tanh", 3.0, 0.5),
        ("tanh", 1.4, 0.05),
        ("arctan", 1.6, 0.1),
        ("hardtanh", 1.4, 0.3),
        ("hardtanh:0:1", 2.0, 0.1),
        ("relu6", 1.42, 0.0),
        ("relu6", 3.0, 1.0),
        ("gaussian", 30.0, 0.1),
        ("hardshrink", 0.9, 0.8),
        ("threshold:1:2", 0.6, 0.4),
        ("sin", 3.0, 0.7),
    ],
)
def test_the_map_keeps_the_stable_correlation(spec, sigma_w, sigma_b):
    point = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))[-1]
    product, gates = pair_of(spec, point.q_star, point.c_star)
    assert (sigma_w**2 * product + sigma_b**2) / point.q_star == pytest.approx(point.c_star, abs=2e-14)
    slope = sigma_w**2 * float(gates)
    assert 0 < slope < 1
    assert point.xi_c == pytest.approx(-1 / math.log(slope), rel=1e-11)
    assert 0 < point.c_star < 1


def test_xi_c_is_the_rate_of_the_actual_iteration():
    point = fixed_points(FeedForward("erf", sigma_w=1.5, sigma_b=0.3))[0]
    q, c, deviations = mpf(point.q_star), mpf("0.9"), []
    for _ in range(120):
        c = (mpf(1.5) ** 2 * erf_pair(q, c)[0] + mpf(0.3) ** 2) / q
        deviations.append(c - point.c_star)
    rate = deviations[-10] / deviations[-11]
    assert point.xi_c == pytest.approx(float(-1 / mp.log(rate)), rel=1e-4)
    assert abs(deviations[-1]) < 2e-6


@pytest.mark.parametrize("sigma_w", [1.01, 2.0, 6.0])
def test_odd_activations_without_bias_forget(sigma_w):
    """c* = 0, where the map's slope is (σ_w E φ')²: σ_w² e^−q for the sine."""
    sine = fixed_points(FeedForward("sin", sigma_w=sigma_w))[0]
    assert sine.c_star == 0
    assert sine.xi_c == pytest.approx(1 / (sine.q_star - 2 * math.log(sigma_w)), rel=1e-10)
    tanh = fixed_points(FeedForward("tanh", sigma_w=sigma_w))[0]
    gates = naive.smooth_pair(activation("tanh"), tanh.q_star, 0.0)[1]
    assert tanh.c_star == 0
    assert tanh.xi_c == pytest.approx(-1 / math.log(sigma_w**2 * gates), rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b"), [("tanh", 0.9, 0.1), ("relu", 1.2, 0.5), ("gelu", 1.2, 0.4)]
)
def test_ordered_networks_align(spec, sigma_w, sigma_b):
    point = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))[0]
    assert point.c_star == 1
    assert point.xi_c == pytest.approx(-1 / math.log(point.chi), rel=1e-14)


@pytest.mark.parametrize("excess", [1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13])
def test_kinks_just_above_criticality(excess):
    """1 − c* is of order (χ − 1)² there: 1e-13 and less, and the map still has to keep it."""
    sigma_w = math.sqrt(2) * (1 + excess)
    point = fixed_points(FeedForward("relu6", sigma_w=sigma_w))[0]
    above = point.chi - 1
    assert 0 < above < 3 * excess
    # Near 1 the map is that of ReLU: 1 − C = χ (1 − c) − k (1 − c)^1.5, of slope 1 − (χ − 1)/2 at its root.
    # Given χ, only this slope is rounded, by 2⁻⁵⁴.
    assert point.xi_c == pytest.approx(2 / above, rel=4 * above + 2**-53 / above)
    # The kink at 6 counts too.
    gap = (3 * math.pi / (2 * math.sqrt(2)) * above / (1 + math.exp(-18 / point.q_star))) ** 2
    assert 1 - point.c_star == pytest.approx(gap, rel=2 * math.sqrt(gap), abs=2e-16)


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b"),
    [("threshold:20:1", 2.0, 1.5), ("hardshrink", 0.5, 1e7), ("hardshrink", 1.2, 0.01)],
)
def test_rare_jumps_leave_half_of_the_way_to_go(spec, sigma_w, sigma_b):
    """1 − C is χ (1 − c) + k √(1 − c), of slope (1 + χ)/2 at its root but for higher powers of √(1 − c)."""
    point = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))[0]
    assert point.c_star == 1
    assert point.xi_c == pytest.approx(-1 / math.log((1 + point.chi) / 2), rel=math.sqrt(2**-53) * 10)


def test_jumps_from_rare_to_frequent_join():
    """ξ_c of hard shrink does not jump where the analytic limit takes over."""
    found = [
        fixed_points(FeedForward("hardshrink", sigma_w=0.5, sigma_b=b))[0] for b in np.geomspace(1e5, 1e9, 9)
    ]
    slopes = np.array([math.exp(-1 / point.xi_c) for point in found])
    assert slopes == pytest.approx(np.full(9, 0.625), abs=2e-5)
