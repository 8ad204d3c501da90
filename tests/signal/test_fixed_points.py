import dataclasses
import math
import re

import naive
import numpy as np
import pytest
import reference
from mpmath import mp, mpf

from isocalc import FeedForward, InvalidInputError, NoAnswerError, activation, fixed_points
from isocalc.activations.averages import second_moment_and_slope
from isocalc.activations.catalogue import Activation
from isocalc.signal.fixed_points import depth_scale, fixed_points_of


def only(spec, sigma_w, sigma_b=0.0, weights="gaussian"):
    """The only stable fixed point of a network."""
    (point,) = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b, weights=weights))
    return point


def variance_map(spec, sigma_w, sigma_b, q):
    """The map and its slope, with other quadrature."""
    _, (second, _), _, _, (curvature, _) = naive.averages(activation(spec), q)
    return sigma_w**2 * second + sigma_b**2, sigma_w**2 * curvature / (2 * q)


@pytest.mark.parametrize("row", reference.rows("fixed_points"), ids=lambda row: str(row["activation"]))
def test_reference_values(row):
    point = only(row["activation"], row["sigma_w"], row["sigma_b"])
    slope = math.exp(-1 / point.xi_q)
    assert point.q_star == pytest.approx(row["q_star"], rel=1e-15 / (1 - slope))
    assert point.chi == pytest.approx(row["chi"], rel=1e-15 / (1 - slope))
    assert point.mean_lambda == point.chi


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b"),
    [
        ("tanh", 1.001, 0.0),
        ("tanh", 20.0, 0.5),
        ("gelu", 1.45, 0.1),
        ("gaussian", 1.0, 0.0),
        ("gaussian", 30.0, 0.1),
        ("sigmoid", 0.1, 0.0),
        ("sigmoid", 1e4, 2.0),
        ("softsign", 4.0, 1e-8),
        ("hardtanh:-0.2:1", 3.0, 0.1),
        ("tanhshrink", 0.9, 1.0),
        ("mish", 1.3, 0.5),
    ],
)
def test_the_map_keeps_the_fixed_point(spec, sigma_w, sigma_b):
    point = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))[0]
    value, slope = variance_map(spec, sigma_w, sigma_b, point.q_star)
    assert value == pytest.approx(point.q_star, rel=4e-15)
    _, _, (gate, _), (fourth, _), _ = naive.averages(activation(spec), point.q_star)
    assert point.chi == pytest.approx(sigma_w**2 * gate, rel=1e-12)
    assert point.relative_variance == pytest.approx(fourth / gate**2, rel=1e-12)
    assert point.xi_q == pytest.approx(-1 / math.log(abs(slope)), rel=1e-12 / min(1, abs(1 - slope)))
    phase = "ordered" if point.chi < 1 else "chaotic"
    assert point.phase == phase


@pytest.mark.parametrize("spec", ["tanh", "sin", "arctan", "softsign", "elu", "celu:0.01", "hardtanh"])
def test_criticality_at_zero(spec):
    """σ_w = 1 pulls q to 0 slower than exponentially: plain iteration stops anywhere."""
    point = only(spec, 1.0)
    assert (point.q_star, point.chi, point.phase) == (0.0, 1.0, "critical")
    assert point.xi_q == point.xi_c == math.inf
    assert point.c_star == 1.0
    assert point.relative_variance == 1.0


@pytest.mark.parametrize(("spec", "sigma_w"), [("erf", math.sqrt(math.pi) / 2), ("relu6", math.sqrt(2))])
def test_criticality_that_rounds(spec, sigma_w):
    point = only(spec, sigma_w)
    assert (point.q_star, point.phase, point.xi_q) == (0.0, "critical", math.inf)
    assert point.chi == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("excess", [1e-3, 1e-4, 1e-6, 1e-9])
def test_tanh_just_above_criticality(excess):
    """E tanh² = q − 2q² + 17/3 q³ − 62/3 q⁴ + 1382/15 q⁵ ..., so q* = (σ_w² − 1)/2 + ..."""
    sigma_w = 1 + excess
    with mp.workdps(30):
        weight = mpf(sigma_w) ** 2
        series = [1, -2, mpf(17) / 3, -mpf(62) / 3, mpf(1382) / 15]

        def excess_of(q):
            return weight * sum(term * q**k for k, term in enumerate(series)) - 1

        q = mp.findroot(excess_of, (weight - 1) / 2)
    point = only("tanh", sigma_w)
    assert point.q_star == pytest.approx(float(q), rel=4e-15 / excess + 700 * excess**5 / excess)
    assert point.c_star == 0.0 or point.phase == "critical"


def test_tanh_just_below_criticality():
    point = only("tanh", 1 - 1e-9)
    assert (point.q_star, point.phase, point.c_star) == (0.0, "ordered", 1.0)
    assert point.xi_q == point.xi_c == pytest.approx(0.5e9, rel=1e-6)


def test_hard_tanh_just_above_criticality():
    """Where only tails are cut off: σ_w² (erf(k/√2) − 2kφ(k) + 2k² Q(k)) = 1 at k = 1/√q*."""
    sigma_w = 1 + 1e-10

    def excess(k):
        second = mp.erf(k / mp.sqrt(2)) - 2 * k * mp.npdf(k) + k**2 * mp.erfc(k / mp.sqrt(2))
        return mpf(sigma_w) ** 2 * second - 1

    with mp.workdps(30):
        q = 1 / mp.findroot(excess, 6) ** 2
    # Conditioned like 1/(1 − slope) with slope = 1 − 4e-9.
    assert only("hardtanh", sigma_w).q_star == pytest.approx(float(q), rel=1e-7)


@pytest.mark.parametrize("sigma_w", [1e5, 1e7, 1e10])
def test_saturated_far_out(sigma_w):
    """E tanh² = 1 − √(2/π) ∫ sech² ... = 1 − √(2/(π q)) for large q."""
    point = only("tanh", sigma_w)
    q = point.q_star
    assert q == pytest.approx(sigma_w**2 * (1 - math.sqrt(2 / (math.pi * q))), rel=1e-14 + 1 / q)
    # ∫ sech⁴ = 4/3
    chi = sigma_w**2 * 4 / 3 / math.sqrt(2 * math.pi * q)
    assert point.chi == pytest.approx(chi, rel=1e-14 + 1 / q)
    assert point.phase == "chaotic"


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b"),
    [
        ("gelu", 1.5, 1.0),
        ("relu", 1.5, 0.1),
        ("linear", 1.0, 0.1),
        ("linear", 1.0 + 1e-10, 0.0),
        ("squared_relu", 1.0, 1.0),
        ("snake", 1.0, 0.0),
        ("elu", 1.5, 0.0),
        ("threshold:1:2", 1e10, 0.0),
        ("squared_relu", 0.5, 1e10),
        # Slope 1 at 0: between tiny and small q the map is the diagonal, to rounding.
        ("gelu", 2.0, 1e-59),
    ],
)
def test_none(spec, sigma_w, sigma_b):
    with pytest.raises(NoAnswerError, match=f"^{spec} has no fixed point here: q grows without bound"):
        fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b", "how"),
    [
        ("relu", math.sqrt(2), 0.05, r"by sigma_b\^2 = 0.0025 a layer"),
        ("relu", 2.0, 0.0, "by a factor of 2 a layer"),
        ("abs", 2.0, 1.0, "by a factor that tends to 4 a layer"),
        ("gelu", 1.5, 1.0, "by a factor that tends to 1.125 a layer"),  # σ_w²/2
        ("softshrink", 1.5, 2.0, "by a factor that tends to 2.25 a layer"),
        ("squared_relu", 1.0, 1.0, "by a factor that rises from layer to layer"),
        ("x*log(1+abs(x))", 2.0, 1.0, "by a factor that rises from layer to layer"),
        ("threshold:-1:1e40", 3.0, 1.0, "by a factor that falls from layer to layer"),
    ],
)
def test_how_the_variance_grows(spec, sigma_w, sigma_b, how):
    """The steps of the map itself, far out, grow in the way that is said."""
    with pytest.raises(NoAnswerError, match=f"q grows without bound, {how}$"):
        fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))
    number = re.search(r"[\d.]+(?= a layer)", how)
    far = variance_map(spec, sigma_w, sigma_b, 1e6)[0]
    if number and "factor" in how:
        assert far / 1e6 == pytest.approx(float(number[0]), rel=0.01)
    elif number:
        assert far - 1e6 == pytest.approx(float(number[0]), rel=1e-4)
    else:
        further = variance_map(spec, sigma_w, sigma_b, 1e8)[0]
        assert (further / 1e8 > 1.1 * far / 1e6) == ("rises" in how)


def test_activations_that_jump_are_chaotic_at_every_chi():
    """Beside c = 1 the correlation falls as √(1 − c): c* = 0.794674 of hard shrink, at χ = 0.268."""
    point = only("hardshrink", 0.9, 0.3)
    assert (point.phase, point.c_star) == ("chaotic", pytest.approx(0.794674, abs=5e-7))
    assert point.chi < 1
    points = fixed_points_of(
        [FeedForward("hardshrink", sigma_w=w, sigma_b=0.3) for w in (0.0, 0.5, 0.9, 0.95)]
    )
    assert [fixed[0].phase for fixed in points] == ["ordered", "chaotic", "chaotic", "chaotic"]
    for fixed in (points[0][0], only("hardshrink", 0.0, 0.3)):  # without weights all inputs are alike
        assert (fixed.phase, fixed.c_star, fixed.xi_c) == ("ordered", 1.0, 0.0)


@pytest.mark.parametrize("spec", ["min(max(x-1,0),1)", "min(max(x-2,0),0.5)"])
def test_fixed_points_where_the_map_dips_steeply(spec):
    """Gates that open in a tail: the map falls to the diagonal and leaves it within a factor of 2 of q."""
    q = np.geomspace(0.02, 1e6, 40_000)
    second = second_moment_and_slope(activation(spec), q)[0]
    networks = [
        FeedForward(spec, sigma_w=w, sigma_b=b) for b in (0.2, 0.3, 0.5) for w in (5.0, 16.0, 30.0, 31.2)
    ]
    for network, together in zip(networks, fixed_points_of(networks), strict=True):
        above = network.sigma_w**2 * second + network.sigma_b**2 > q
        falls = np.flatnonzero(above[:-1] & ~above[1:])
        for found in (together, fixed_points(network)):
            places = [point.q_star for point in found]
            assert len(places) == falls.size
            assert all(q[i] <= place <= q[i + 1] for i, place in zip(falls, places, strict=True))


@pytest.mark.parametrize(
    ("spec", "sigma_w"), [("gelu", 1.5), ("silu", 1.6), ("squared_relu", 0.7), ("mish", 1.5)]
)
def test_a_variance_that_escapes(spec, sigma_w):
    """From below the escape q falls to q*, from above it grows without bound."""
    point = only(spec, sigma_w, 0.05)
    assert point.escape > point.q_star > 0
    for start, growing in ((0.999, False), (1.001, True)):
        q = point.escape * start
        for _ in range(40):
            q, previous = variance_map(spec, sigma_w, 0.05, q)[0], q
            assert (q > previous) == growing
            if q > 1e9:
                break
    value, slope = variance_map(spec, sigma_w, 0.05, point.escape)
    assert value == pytest.approx(point.escape, rel=1e-14 * max(1, 1 / (slope - 1)))
    assert slope > 1


def test_escape_of_squared_relu_in_closed_form():
    """q = 3/2 σ_w² q² + σ_b²"""
    for sigma_w, sigma_b in ((0.5, 0.1), (1.2, 0.01), (0.5, 1e-100)):
        weight, bias = 1.5 * sigma_w**2, sigma_b**2
        root = math.sqrt(1 - 4 * weight * bias)
        point = only("squared_relu", sigma_w, sigma_b)
        assert point.q_star == pytest.approx(2 * bias / (1 + root), rel=1e-14)
        assert point.escape == pytest.approx((1 + root) / (2 * weight), rel=1e-14)


@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-7, 1e-10])
def test_escape_right_beside_the_fixed_point(apart):
    """The two roots of the quadratic are (1 ± √apart)/(3 σ_w²): closer than any grid."""
    sigma_w = 0.9
    sigma_b = math.sqrt((1 - apart) / (6 * sigma_w**2))
    with mp.workdps(30):
        weight, bias = mpf(1.5) * mpf(sigma_w) ** 2, mpf(sigma_b) ** 2
        root = mp.sqrt(1 - 4 * weight * bias)
        low, high = float((1 - root) / (2 * weight)), float((1 + root) / (2 * weight))
    point = only("squared_relu", sigma_w, sigma_b)
    assert point.q_star == pytest.approx(low, rel=4e-16 / math.sqrt(apart))
    assert point.escape == pytest.approx(high, rel=4e-16 / math.sqrt(apart))
    with pytest.raises(NoAnswerError):
        only("squared_relu", sigma_w, sigma_b * (1 + 2 * apart))


def test_two_stable_fixed_points():
    """The threshold's value pulls q up once it is reached often enough."""
    low, high = fixed_points(FeedForward("threshold:-1:10", sigma_w=0.9))
    assert low.q_star == 0.0
    assert low.chi == 0.81
    value, slope = variance_map("threshold:-1:10", 0.9, 0.0, high.q_star)
    assert value == pytest.approx(high.q_star, rel=1e-13)
    assert high.xi_q == pytest.approx(-1 / math.log(slope), rel=1e-12)
    q = np.array([1e-3, 0.02, 0.5, 3.0, 20.0, 1e3])
    for _ in range(60):
        q = np.array([variance_map("threshold:-1:10", 0.9, 0.0, value)[0] for value in q])
    assert np.all((q < 1e-4) | (abs(q / high.q_star - 1) < 1e-12))
    assert (q < 1e-4).any()
    assert (q > 1).any()


def test_brute_force_finds_no_others():
    """Sign changes of the map on a dense grid, for activations of all shapes and random networks."""
    generator = np.random.default_rng(12)
    grid = np.geomspace(1.1e-6, 0.9e6, 120)
    for spec in ("tanh", "gelu", "softshrink", "threshold:-1:10", "hardtanh:0.5:3"):
        second = np.array([naive.averages(activation(spec), q)[1][0] for q in grid])
        for _ in range(12):
            sigma_w, sigma_b = generator.uniform(0.2, 2.5), generator.choice([0.0, generator.uniform(0, 1.5)])
            above = sigma_w**2 * second + sigma_b**2 > grid
            crossings = grid[:-1][above[:-1] & ~above[1:]]
            try:
                points = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))
            except NoAnswerError:
                points = ()
            found = [point.q_star for point in points if 1.1e-6 < point.q_star < 0.9e6]
            assert len(found) == crossings.size
            assert np.all(np.array(found) >= crossings)
            assert np.all(np.array(found) <= crossings * (grid[1] / grid[0]) * 1.0001)


@pytest.mark.parametrize("spec", ["linear", "relu", "leaky_relu:0.2", "abs"])
def test_scale_free(spec):
    act = activation(spec)
    half = (act.slopes[0] ** 2 + act.slopes[-1] ** 2) / 2
    critical = fixed_points(FeedForward(spec, sigma_w=math.sqrt(1 / half)))[0]
    assert (critical.q_star, critical.phase) == (None, "critical")
    assert critical.xi_q == critical.xi_c == math.inf
    assert critical.chi == pytest.approx(1, rel=4e-16)
    assert critical.relative_variance == pytest.approx(
        (act.slopes[0] ** 4 + act.slopes[-1] ** 4) / 2 / half**2, rel=1e-15
    )
    point = only(spec, 0.5, 0.3)
    assert point.q_star == pytest.approx(0.09 / (1 - 0.25 * half), rel=1e-15)
    assert point.xi_q == pytest.approx(-1 / math.log(0.25 * half), rel=1e-14)


@pytest.mark.parametrize(
    ("spec", "sigma_w", "sigma_b"),
    [
        ("tanh", 1.3, 0.2),
        ("gelu", 1.2, 0.4),
        ("sigmoid", 2.0, 0.1),
        ("hardtanh", 1.4, 0.3),
        ("gaussian", 2.0, 0.1),
    ],
)
def test_xi_q_is_the_rate_of_the_actual_iteration(spec, sigma_w, sigma_b):
    point = only(spec, sigma_w, sigma_b)
    apart = []
    for factor in (1 - 1e-4, 1 + 1e-4):
        q = point.q_star * factor
        layers = [q]
        for _ in range(2):
            layers.append(variance_map(spec, sigma_w, sigma_b, layers[-1])[0])
        apart.append(np.array(layers))
    # The even part of the map cancels between the two sides.
    deviation = apart[1] - apart[0]
    rate = deviation[1] / deviation[0]
    assert point.xi_q == pytest.approx(-1 / math.log(abs(rate)), rel=1e-6)


def test_the_slope_of_a_bump_is_negative():
    """exp(−x²): q = σ_w² / √(1 + 4q) + σ_b² has slope −2 (q − σ_b²)/(1 + 4q)."""
    point = only("gaussian", 5.0, 0.3)
    slope = -2 * (point.q_star - 0.09) / (1 + 4 * point.q_star)
    assert point.xi_q == pytest.approx(-1 / math.log(-slope), rel=1e-13)


def box(length):
    """1 within a length of 0, falling to 0 at twice that: the steepest fall of E φ² that q* can meet."""
    return Activation(
        name="box",
        phi=lambda x: np.clip(2 - abs(x) / length, 0.0, 1.0),
        dphi=lambda x: -np.sign(x) * ((abs(x) > length) & (abs(x) < 2 * length)) / length,
        breakpoints=(-2 * length, -length, length, 2 * length),
    )


def test_no_slope_is_below_minus_one_half():
    """E φ² (z² − 1) >= −E φ² and σ_w² E φ² <= q*: a variance does not oscillate, whatever φ."""
    point = fixed_points(FeedForward(box(0.3), sigma_w=0.8))[0]
    assert point.xi_q <= 1 / math.log(2) + 1e-12


def test_closed_gates():
    """Below its threshold soft shrink is 0: nothing passes."""
    point = only("softshrink", 0.8)
    assert (point.q_star, point.chi, point.xi_q, point.xi_c) == (0.0, 0.0, 0.0, 0.0)
    assert point.relative_variance == math.inf
    jumping = only("hardshrink", 0.8)
    assert (jumping.q_star, jumping.chi) == (0.0, 0.0)
    assert jumping.c_star is None
    assert jumping.xi_c is None


def test_gates_that_are_hardly_ever_open():
    """E φ'⁴ / (E φ'²)² is one over the probability: beyond the doubles."""
    point = only("hardtanh:0.07574304506958243:5.644467396021472", 0.026372628828592395)
    assert 0 < point.chi < 1e-300
    assert point.relative_variance == math.inf


def test_no_weights():
    point = only("tanh", 0.0, 1.0)
    assert (point.q_star, point.chi, point.xi_q, point.xi_c) == (1.0, 0.0, 0.0, 0.0)
    assert only("relu", 0.0).q_star == 0.0


def test_orthogonal_weights_add_no_variance():
    gaussian, orthogonal = (only("tanh", 1.5, 0.3, weights) for weights in ("gaussian", "orthogonal"))
    assert dataclasses.replace(gaussian, relative_variance=0.0) == dataclasses.replace(
        orthogonal, relative_variance=0.0
    )
    assert gaussian.relative_variance - orthogonal.relative_variance == pytest.approx(1, rel=1e-15)
    assert only("relu", 0.5, 0.3, "orthogonal").relative_variance == pytest.approx(1, rel=1e-15)
    assert only("linear", 0.5, 0.3, "orthogonal").relative_variance == 0


@pytest.mark.parametrize("sigma", [1e-101, 1e11, 1e308, 5e-324])
def test_what_leaves_the_doubles_is_refused(sigma):
    for arguments in ({"sigma_w": sigma}, {"sigma_w": 0.5, "sigma_b": sigma}):
        (name,) = (key for key, value in arguments.items() if value == sigma)
        with pytest.raises(
            InvalidInputError, match=f"^{name} must be 0 or from 1e-100 to 1e\\+10 at a fixed point"
        ):
            fixed_points(FeedForward("tanh", **arguments))


@pytest.mark.parametrize("spec", ["tanh", "gelu", "hardtanh", "hardshrink", "threshold:20:1"])
def test_no_number_is_ever_missing(spec):
    """Over the whole range of sigmas: an answer without NaN, or a reason why not."""
    for sigma_w in (0.0, 1e-100, 1e-10, 0.7, 1.0, 1.7):
        for sigma_b in (0.0, 1e-100, 1.0, 1e10):
            try:
                points = fixed_points(FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b))
            except NoAnswerError:
                continue
            for point in points:
                numbers = [value for value in dataclasses.astuple(point) if isinstance(value, float)]
                assert not any(map(math.isnan, numbers))
                assert point.xi_q >= 0
                assert point.xi_c is None or point.xi_c >= 0
                assert point.c_star is None or 0 <= point.c_star <= 1


@pytest.mark.parametrize(("slope", "scale"), [(0.5, 1 / math.log(2)), (-0.5, 1 / math.log(2)), (0.0, 0.0)])
def test_depth_scale(slope, scale):
    assert depth_scale(slope) == pytest.approx(scale, rel=1e-15)
    assert depth_scale(1.0) == depth_scale(1 + 2**-52) == math.inf
