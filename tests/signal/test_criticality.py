"""Feed-forward networks at the edge of chaos."""

import math
import re

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfinv

import isocalc
from isocalc import FeedForward, InvalidInputError, NoAnswerError, activation, fixed_points
from isocalc.activations.catalogue import names
from isocalc.signal.criticality import CriticalLine, at_q_star, at_sigma2_jjt, at_sigma_b, at_sigma_w

SCALE_FREE = ["linear", "relu", "leaky_relu", "abs"]
CURVED = ["threshold:0.1:0.5" if name == "threshold" else name for name in names() if name not in SCALE_FREE]


def erf_at(q):
    """σ_w, σ_b and E φ'⁴/(E φ'²)² − 1: E φ'² = (4/π)/√(1+4q), E φ² = (2/π) asin(2q/(1+2q))."""
    weight = math.pi / 4 * math.sqrt(1 + 4 * q)
    bias = q - weight * (2 / math.pi) * math.asin(2 * q / (1 + 2 * q))
    return math.sqrt(weight), math.sqrt(bias), (1 + 4 * q) / math.sqrt(1 + 8 * q) - 1


def sin_at(q):
    """E φ'² = (1 + e^(−2q))/2, E φ² = (1 − e^(−2q))/2, E φ'⁴ = (3 + 4 e^(−2q) + e^(−8q))/8."""
    gate, second = (1 + math.exp(-2 * q)) / 2, -math.expm1(-2 * q) / 2
    fourth = (3 + 4 * math.exp(-2 * q) + math.exp(-8 * q)) / 8
    return 1 / math.sqrt(gate), math.sqrt(q - second / gate), fourth / gate**2 - 1


def hardtanh_at(q):
    """p = erf(1/√(2q)) gates are open; E φ² = q (p − 2 φ(1/√q)/√q) + 1 − p."""
    p, density = math.erf(1 / math.sqrt(2 * q)), math.exp(-0.5 / q) / math.sqrt(2 * math.pi * q)
    second = q * (p - 2 * density) + 1 - p
    return 1 / math.sqrt(p), math.sqrt(q - second / p), 1 / p - 1


CLOSED = {"erf": erf_at, "sin": sin_at, "hardtanh": hardtanh_at}


@pytest.mark.parametrize("act", CLOSED)
@pytest.mark.parametrize("q", [0.1, 0.25, 1.0, 3.0])
def test_closed_forms_with_the_fixed_point_given(act, q):
    point, (sigma_w, sigma_b, gates) = at_q_star(act, q), CLOSED[act](q)
    assert point.q_star == q
    assert point.sigma_w == pytest.approx(sigma_w, rel=1e-13)
    assert point.sigma_b == pytest.approx(sigma_b, rel=1e-11)
    assert point.relative_variance("orthogonal") == pytest.approx(gates, rel=1e-10)
    assert point.sigma2_jjt(7) == pytest.approx(7 * (1 + gates), rel=1e-12)


def test_values_of_pennington_et_al():
    """Hard tanh at q* = 1, erf at q* = 1/4 as the README has them."""
    hardtanh, erf = at_q_star("hardtanh", 1.0), at_q_star("erf", 0.25)
    assert (hardtanh.sigma_w, hardtanh.sigma_b) == pytest.approx((1.2102870624325224, 0.49404466572938793))
    assert (erf.sigma_w, erf.sigma_b) == pytest.approx((1.0539073652554058, 0.09848358658939885), rel=1e-12)


@pytest.mark.parametrize("act", CLOSED)
@pytest.mark.parametrize("q", [0.1, 0.5, 1.0])
def test_biases_weights_and_spread_lead_back_to_the_fixed_point(act, q):
    sigma_w, sigma_b, gates = CLOSED[act](q)
    by_bias, by_weight = at_sigma_b(act, sigma_b), at_sigma_w(act, sigma_w)
    by_spread = at_sigma2_jjt(act, 30 * gates, depth=30)
    assert by_bias[0].sigma_b == sigma_b
    assert by_weight[0].sigma_w == sigma_w
    for points in (by_bias, by_weight, by_spread):
        assert [p.q_star for p in points] == pytest.approx([q], rel=1e-10)
        assert (points[0].sigma_w, points[0].sigma_b) == pytest.approx((sigma_w, sigma_b), rel=1e-10)


@pytest.mark.parametrize("act", ["hardtanh", "erf"])
@pytest.mark.parametrize("depth", [10, 1000, 10**6])
def test_isometry_at_any_depth(act, depth):
    """σ²_JJᵀ = 1/4: p = L/(L + 1/4) open gates of hard tanh, 1 + 4q = (1 + v) √(1 + 8q) of erf, v = 1/4L."""
    (point,) = at_sigma2_jjt(act, 0.25, depth=depth)
    v = 0.25 / depth
    if act == "hardtanh":
        q = 1 / (2 * erfinv(depth / (depth + 0.25)) ** 2)
    else:
        u = (1 + v) ** 2  # (1 + 4q)² = u (1 + 8q)
        q = (u - 1 + math.sqrt(v * (2 + v) * u)) / 4
    assert point.q_star == pytest.approx(q, rel=1e-6 if depth > 1000 else 1e-10)
    assert point.sigma2_jjt(depth, "orthogonal") == pytest.approx(0.25, rel=1e-8)
    law = isocalc.spectrum(point.network(10, "orthogonal")).using("lambda")
    assert law.mean() == pytest.approx(1, rel=1e-9)
    assert law.var() == pytest.approx(10 * v, rel=1e-6)


@pytest.mark.parametrize("act", CURVED)
@pytest.mark.parametrize("sigma_b", [0.0, 0.3, 2.0])
def test_every_point_is_critical_and_stable(act, sigma_b):
    """By the fixed points of the network, and by a slow quadrature."""
    try:
        points = at_sigma_b(act, sigma_b)
    except NoAnswerError as error:
        assert "no critical network" in str(error)  # noqa: PT017 - either answer is right
        return
    assert len(points) > 0
    for point in points:
        if point.stability == "stable":
            stable = fixed_points(FeedForward(act, sigma_w=point.sigma_w, sigma_b=sigma_b))
            near = min(stable, key=lambda fixed: abs(fixed.q_star - point.q_star))
            assert near.q_star == pytest.approx(point.q_star, rel=1e-8)
            assert near.chi == pytest.approx(1, abs=1e-8)
        if point.q_star:
            _, (second, _), (gate, _), _, (curvature, _) = naive.averages(activation(act), point.q_star)
            assert point.sigma_w**2 * gate == pytest.approx(1, rel=1e-9)
            assert point.sigma_w**2 * second + sigma_b**2 == pytest.approx(point.q_star, rel=1e-9)
            slope = point.sigma_w**2 * curvature / (2 * point.q_star)
            assert (slope == pytest.approx(1, rel=1e-9)) == (point.stability == "half-stable")


@settings(max_examples=40, deadline=None)
@given(act=st.sampled_from([*CURVED, "elu:3", "hardtanh:-0.1:3", "snake:5"]), log_v=st.floats(-3, 2))
def test_the_spread_asked_for_is_that_of_the_law(act, log_v):
    target = 10.0**log_v
    try:
        points = at_sigma2_jjt(act, target, depth=20)
    except NoAnswerError:
        return
    for point in points:
        assert point.sigma2_jjt(20, "orthogonal") == pytest.approx(target, rel=1e-8)
        assert point.fixed_point.chi == pytest.approx(1, abs=1e-8)
        own = point.fixed_point.relative_variance - 1  # by another route, of Gaussian weights
        assert 20 * own == pytest.approx(target, rel=1e-6, abs=1e-10)


# Where χ and the slope of the variance map are both 1. GELU: q = (3 + √17)/2; σ_w² and σ_b² of GELU and SiLU
# as Roberts, Yaida and Hanin print them (The Principles of Deep Learning Theory, section 5.3.4).
HALF_STABLE = {"gelu": (1.98305826, 0.17292239), "silu": (1.98800468, 0.55514317)}
TURNING = ["gelu", "silu", "gelu_tanh", "mish", "hardswish", "x*sigmoid(2*x)"]


@pytest.mark.parametrize("act", HALF_STABLE)
def test_half_stable_networks_of_the_literature(act):
    weight, bias = HALF_STABLE[act]
    (turn,) = CriticalLine(activation(act)).turns
    point = at_q_star(act, float(turn.q[0]))
    assert point.stability == "half-stable"
    assert (point.sigma_w**2, point.sigma_b**2) == pytest.approx((weight, bias), abs=5e-9)


def test_the_half_stable_network_of_gelu():
    """By slow averages the map is below the diagonal by a square on both sides of q* = (3 + √17)/2."""
    q_star = (3 + math.sqrt(17)) / 2
    point = at_q_star("gelu", q_star)
    assert (point.q_star, point.stability, point.side) == (q_star, "half-stable", "above")
    assert point.fixed_point.chi == pytest.approx(1, abs=1e-14)
    assert point.fixed_point.xi_q == math.inf
    (other,) = point.others
    assert 0.8 * q_star < other.q_star < 0.9 * q_star

    def rise(share):
        second = naive.averages(activation("gelu"), share * q_star)[1][0]
        return point.sigma_w**2 * second + point.sigma_b**2 - share * q_star

    assert rise(1.01) < 0
    for side in (1, -1):
        assert rise(1 + 0.002 * side) / rise(1 + 0.001 * side) == pytest.approx(4, rel=0.02)
    assert rise(1 - 1e-3) < 0 < rise(0.99 * other.q_star / q_star)


@pytest.mark.parametrize("act", TURNING)
def test_the_end_of_a_critical_line_is_found_itself(act):
    """What is said to be the least can be had, what is less cannot; by slow averages χ_∥ = 1 there."""
    with pytest.raises(
        NoAnswerError, match=r"the least is [\d.]+ \(.*half-stable\); ask for at least"
    ) as told:
        at_sigma_b(act, 0.01)
    least = float(re.search(r"the least is ([\d.]+)", str(told.value))[1])
    point = at_sigma_b(act, least)[0]
    _, (second, _), (gate, _), _, (curvature, _) = naive.averages(activation(act), point.q_star)
    assert curvature / (2 * point.q_star * gate) == pytest.approx(1, abs=1e-9)
    assert point.q_star - second / gate == pytest.approx(least**2, rel=1e-10)
    with pytest.raises(NoAnswerError):
        at_sigma_b(act, least * (1 - 1e-10))


def test_the_least_bias_of_gelu():
    """0.17292239 = 0.415839380959², of (3 + √17)/2."""
    with pytest.raises(NoAnswerError, match=r"sigma_b = 0.41583938: the least is 0.415839380959 \("):
        at_sigma_b("gelu", 0.41583938)
    with pytest.raises(NoAnswerError, match=r"ends at q\* = 3.56155281280\d+$"):
        at_q_star("gelu", 3.0)


def test_a_least_between_two_points_of_the_grid():
    """σ_w of critical GELU networks is least at q = 10.2: by slow averages on a fine grid."""
    with pytest.raises(NoAnswerError) as told:
        at_sigma_w("gelu", 0.5)
    least = float(re.search(r"the least is ([\d.]+)", str(told.value))[1])
    slow = [naive.averages(activation("gelu"), q)[2][0] for q in np.linspace(10, 10.5, 51)]
    assert least == pytest.approx(1 / math.sqrt(max(slow)), rel=1e-7)
    assert least <= 1 / math.sqrt(max(slow)) + 1e-11


def test_soft_shrink_is_half_stable_all_along_its_line():
    """φ'' is 0 but where φ is, so that the slope of the variance map E φ'² + E φφ'' is that of χ."""
    for q in (0.1, 1.0, 30.0):
        point = at_q_star("softshrink", q)
        assert (point.stability, point.side) == ("half-stable", "below")
        assert point.fixed_point.escape == pytest.approx(q)
        assert at_sigma_b("softshrink", point.sigma_b)[0].q_star == pytest.approx(q, rel=1e-9)


def test_other_fixed_points_of_a_critical_network_stand_apart():
    """Those of slow averages: the map of q has two stable ones, one of them critical."""
    act = activation("min(max(x-1,0),1)")
    (point,) = at_sigma_b(act, 0.3)
    assert point.q_star == pytest.approx(0.10526131106834342, rel=1e-12)
    assert point.stability == "stable"
    assert point.fixed_point.chi == pytest.approx(1, abs=1e-14)
    (other,) = point.others
    assert other.q_star == pytest.approx(456.5594617820, rel=1e-9)
    for q in (point.q_star, other.q_star):
        _, (second, _), (gate, _), *_ = naive.averages(act, q)
        assert point.sigma_w**2 * second + 0.09 == pytest.approx(q, rel=1e-9)
    assert point.sigma_w**2 * gate == pytest.approx(other.chi, rel=1e-9)
    assert other.chi == pytest.approx(18.13, abs=0.005)


def test_several_critical_networks_of_one_scale():
    """1/E φ'² of GELU falls to 1.3985² and rises to 2 where q is stable: slow averages count both."""
    q, act, weight = np.geomspace(1.0, 1e5, 120), activation("gelu"), 1.402**2
    slow = [naive.averages(act, float(x)) for x in q]
    gate, curvature = (np.array([a[i][0] for a in slow]) for i in (2, 4))
    stable = curvature / (2 * q * gate) < 1
    crossings = np.flatnonzero(np.diff(gate * weight > 1) & stable[1:])
    points = at_sigma_w("gelu", 1.402)
    assert len(points) == crossings.size == 2
    for i, point in zip(crossings, points, strict=True):
        assert q[i] <= point.q_star <= q[i + 1]
        assert point.fixed_point.q_star == pytest.approx(point.q_star, rel=1e-9)


@pytest.mark.parametrize(
    ("act", "gate"), [("linear", 1), ("relu", 1 / 2), ("leaky_relu:0.2", 0.52), ("abs", 1)]
)
def test_scale_free_activations_are_critical_without_biases_at_every_q(act, gate):
    sigma_w = 1 / math.sqrt(gate)
    for point in (*at_sigma_b(act), *at_sigma_w(act, sigma_w), at_q_star(act, 3.0)):
        assert point.sigma_w == pytest.approx(sigma_w, rel=1e-15)
        assert point.sigma_b == 0
    assert at_sigma_b(act)[0].q_star is None
    assert at_q_star(act, 3.0).q_star == 3.0
    for ask in (lambda: at_sigma_b(act, 0.1), lambda: at_sigma_w(act, 1.1 * sigma_w)):
        with pytest.raises(NoAnswerError, match=f"{act} is critical only at sigma_w = .* with sigma_b = 0"):
            ask()


def test_relu_cannot_be_isometric():
    with pytest.raises(
        NoAnswerError, match="critical networks of 100 layers with orthogonal weights have 100, all"
    ):
        at_sigma2_jjt("relu", 0.25, depth=100)
    (point,) = at_sigma2_jjt("relu", 100.0, depth=100)
    assert point.sigma_w == pytest.approx(math.sqrt(2))
    assert at_sigma2_jjt("relu", 200.0, depth=100, weights="gaussian") == (point,)


def test_gaussian_weights_cannot_be_isometric():
    """They add 1 a layer."""
    with pytest.raises(
        NoAnswerError, match=r"sigma2_jjt = 0.25 at depth 10 with gaussian weights: the least is 10 "
    ):
        at_sigma2_jjt("tanh", 0.25, depth=10, weights="gaussian")


def test_odd_smooth_activations_are_critical_at_the_origin():
    """σ_w = 1/φ'(0) without biases: q* = 0 and, with orthogonal weights, no spread."""
    for act, slope in (("tanh", 1.0), ("erf", 2 / math.sqrt(math.pi)), ("arctan", 1.0)):
        (point,) = at_sigma_b(act)
        assert (point.sigma_w, point.q_star) == (pytest.approx(1 / slope, rel=1e-14), 0.0)
        assert point.sigma2_jjt(1000, "orthogonal") == pytest.approx(0, abs=1e-20)
        assert at_sigma_w(act, point.sigma_w)[0] == point


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: at_q_star("sigmoid", 1.0), r"sigmoid cannot be critical at q\* = 1.0: .* sigma_b\^2 = -5.5"),
        (
            lambda: at_q_star("gelu", 1.0),
            "is not stable at sigma_w = 1.48111, sigma_b = 0.259214, where chi = 1: small deviations",
        ),
        (lambda: at_q_star("hardshrink", 1e-9), "all gates are closed there"),
        (lambda: at_sigma_b("squared_relu"), "has no critical network: where chi = 1"),
        (lambda: at_sigma_w("tanh", 0.5), r"sigma_w = 0.5: the least is 1 .* ask for at least that"),
        (
            lambda: at_sigma_w("tanh", 1e9),
            r"the most is 4335.86\d* \(.* = 1e\+14, where the search ends\)",
        ),
        (lambda: at_q_star("hardtanh", 0.01), "the map of q is the identity to rounding"),
    ],
)
def test_no_answer_is_said_with_the_reason(ask, words):
    with pytest.raises(NoAnswerError, match=words):
        ask()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: at_q_star("tanh", 0.0), r"q_star must be a number from 1e-100 to 1e\+20, got 0.0"),
        (lambda: at_sigma_b("tanh", -1.0), r"sigma_b must be 0, or a number from 1e-06 to 1e\+06, got -1.0"),
        (lambda: at_sigma_b("tanh", 1e-9), "sigma_b must be 0, or"),
        (lambda: at_sigma_w("tanh", 0.0), "sigma_w must be a number from"),
        (lambda: at_sigma2_jjt("tanh", 0.0, depth=3), "sigma2_jjt must be a number from"),
        (lambda: at_sigma2_jjt("tanh", 1.0, depth=0), "depth must be"),
        (lambda: at_sigma2_jjt("tanh", 1.0, depth=3, weights="haar"), "weights must be one of"),
        (lambda: at_q_star("thanh", 1.0), "activation must be a known activation"),
    ],
)
def test_bad_arguments(ask, words):
    with pytest.raises(InvalidInputError, match=words):
        ask()
