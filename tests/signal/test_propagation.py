import dataclasses
import math
from itertools import pairwise

import naive
import numpy as np
import pytest
import reference
from mpmath import mp, mpf

from isocalc import FeedForward, InvalidInputError, NoAnswerError, ResNet, propagate
from isocalc.activations.averages import AverageTable
from isocalc.signal import propagation as module
from isocalc.signal.propagation import _sum_of_layers, c_of_scales, can_leave_law

NETWORKS = [
    {"activation": "tanh", "depth": 7},
    {"activation": "gelu", "depth": 12, "sigma_w": 2.0, "sigma_b": 0.4},
    {"activation": "sigmoid", "depth": 9, "skip": -1.0, "sigma_b": 0.1},
    {"activation": "softplus", "depth": 9, "skip": -0.7, "input_variance": 3.0},
    {"activation": "relu", "depth": 15, "skip": 1.2, "sigma_w": 1.7},
    {"activation": "hardtanh:-0.5:2", "depth": 11, "sigma_w": 3.0},
    {"activation": "threshold:1:2", "depth": 11, "sigma_w": 2.0, "skip": 0.9},
    {"activation": "softshrink", "depth": 8, "sigma_w": 0.7, "input_variance": 0.2},
    {"activation": "squared_relu", "depth": 5, "sigma_w": 0.8},
    {"activation": "snake", "depth": 6, "sigma_b": 0.3},
    {"activation": "gaussian", "depth": 1, "input_variance": 1e-6},
    {"activation": "tanh", "depth": 10, "block": "pre", "sigma_w": 2.0, "input_variance": 4.0},
    {"activation": "softplus", "depth": 10, "block": "pre", "skip": -1.1, "sigma_b": 0.2},
    {"activation": "tanh", "depth": 40, "skip": 1e-3, "input_variance": 1e305},
    {"activation": "selu", "depth": 6, "input_variance": 1e-300},
]


@pytest.mark.parametrize("arguments", NETWORKS, ids=lambda arguments: arguments["activation"])
def test_against_the_recursion_with_other_quadrature(arguments):
    net = ResNet(**arguments)
    result = propagate(net)
    q, c, second, mean = naive.follow(net)
    assert result.q == pytest.approx(q, rel=1e-12, abs=0)
    assert result.c_per_layer == pytest.approx(c, rel=1e-12, abs=1e-300)
    assert result.second_moment == pytest.approx(second, rel=1e-12, abs=0)
    assert np.all(np.abs(result.mean - mean) <= 1e-12 * np.sqrt(second))
    assert result.c == pytest.approx(c.mean(), rel=1e-12, abs=1e-300)
    log_mean = 2 * net.depth * math.log(abs(net.skip)) + np.log1p(c / net.depth).sum()
    assert result.log_mean_lambda == pytest.approx(log_mean, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("row", reference.rows("resnet_c"), ids=lambda row: str(row["activation"]))
def test_reference_values(row):
    expected = {name: row.pop(name) for name in ("c", "q_last", "output_second_moment")}
    result = propagate(ResNet(**row | {"depth": int(row["depth"])}))
    for name, value in expected.items():
        assert getattr(result, name) == pytest.approx(value, rel=1e-14), name


@pytest.mark.parametrize("depth", [1, 2, 30, 3000])
@pytest.mark.parametrize("numbers", [(1, 0, 1, 1), (2, 0.01, -1, 0.5), (0.5, 0.3, 0.999, 2)])
@pytest.mark.parametrize("block", ["post", "pre"])
def test_linear_networks_in_closed_form(depth, numbers, block):
    """p grows by a² + σ_w²/L a layer, the bias is added; E λ is (a² + σ_w²/L)^L."""
    sigma_w, sigma_b, skip, start = numbers
    result = propagate(
        ResNet(
            "linear",
            depth=depth,
            sigma_w=sigma_w,
            sigma_b=sigma_b,
            skip=skip,
            input_variance=start,
            block=block,
        )
    )
    with mp.workdps(40):
        growth, bias = mpf(skip) ** 2 + mpf(sigma_w) ** 2 / depth, mpf(sigma_b) ** 2
        layers = [growth**k * start + bias * (growth**k - 1) / (growth - 1) for k in range(depth + 1)]
        log_mean = depth * mp.log(growth)
    rel = 1e-15 * (depth + 10)
    assert result.second_moment == pytest.approx([float(p) for p in layers[1:]], rel=rel)
    inputs = [float(p if block == "pre" else mpf(sigma_w) ** 2 / depth * p + bias) for p in layers[:-1]]
    assert result.q == pytest.approx(inputs, rel=rel)
    assert result.c == pytest.approx(sigma_w**2 / skip**2, rel=1e-15)
    assert result.log_mean_lambda == pytest.approx(float(log_mean), rel=1e-14)
    assert result.mean_lambda == pytest.approx(float(mp.exp(log_mean)), rel=1e-13)
    assert np.all(result.mean == 0)


@pytest.mark.parametrize("skip", [1.0, -1.0, 0.95])
def test_relu_with_the_cross_term_in_closed_form(skip):
    depth, sigma_w, sigma_b = 400, 1.3, 0.1
    result = propagate(ResNet("relu", depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, skip=skip))
    with mp.workdps(30):
        p, m, a = mpf(1), mpf(0), mpf(skip)
        for layer in range(depth):
            q = mpf(sigma_w) ** 2 / depth * p + mpf(sigma_b) ** 2
            mean = mp.sqrt(q / (2 * mp.pi))
            p, m = q / 2 + 2 * a * m * mean + a**2 * p, mean + a * m
            assert result.q[layer] == pytest.approx(float(q), rel=1e-12)
            assert result.second_moment[layer] == pytest.approx(float(p), rel=1e-12)
            assert result.mean[layer] == pytest.approx(float(m), rel=1e-12)
    assert result.c == pytest.approx(sigma_w**2 / 2 / skip**2, rel=1e-15)


def test_the_sign_of_the_skip_does_not_matter_to_an_odd_activation():
    plus, minus = (propagate(ResNet("tanh", skip=skip, sigma_b=0.2)) for skip in (0.9, -0.9))
    assert plus.q == pytest.approx(minus.q, rel=1e-14)
    assert plus.c == pytest.approx(minus.c, rel=1e-14)


def test_c_where_the_signal_overflows():
    """c of ReLU is known whatever the signal does; p is 10^(2 l) and more until it leaves the doubles."""
    result = propagate(ResNet("relu", depth=400, skip=10.0, input_variance=1e-10))
    assert result.c == pytest.approx(0.005, rel=1e-14)
    with mp.workdps(30):
        p, m = mpf(1e-10), mpf(0)
        for layer in range(400):
            mean = mp.sqrt(p / 400 / (2 * mp.pi))
            p, m = p / 800 + 20 * m * mean + 100 * p, mean + 10 * m
            expected = float(p) if p < mpf(1.79e308) else math.inf
            assert result.second_moment[layer] == pytest.approx(expected, rel=1e-12)
    assert result.output_second_moment == math.inf
    assert result.mean_lambda == math.inf
    assert result.log_mean_lambda == pytest.approx(800 * math.log(10) + 400 * math.log1p(0.005 / 400))


def test_c_where_a_sum_of_layers_would_overflow():
    assert propagate(ResNet("linear", depth=1000, sigma_w=1e153)).c == pytest.approx(1e306)


def test_nothing_is_left_of_a_tiny_signal():
    result = propagate(ResNet("tanh", depth=5, input_variance=5e-324, sigma_w=1e-3))
    assert result.q_last == 0
    assert result.c == pytest.approx(1e-6, rel=1e-15)
    without_weights = propagate(ResNet("sigmoid", depth=5, sigma_w=0.0))
    assert without_weights.c == 0
    assert without_weights.mean_lambda == 1


@pytest.mark.parametrize("start", [1e-12, 1e-20, 1e-98, 5e-324])
def test_a_constant_that_the_skip_cancels(start, monkeypatch):
    """x² = φ(h²) − φ(h¹) + x⁰ is next to nothing: rounding must not leave a negative mean square."""
    for numba_from in (module.NUMBA_FROM, 1):
        monkeypatch.setattr(module, "NUMBA_FROM", numba_from)
        for sigma_w in (1e-3, 1e-149, 0.0):
            net = ResNet("sigmoid", depth=9, skip=-1.0, sigma_w=sigma_w, input_variance=start)
            result = propagate(net)
            assert np.all(result.second_moment >= result.mean**2)
            assert result.second_moment[::2] == pytest.approx(np.full(5, 0.25), rel=1e-6)
            assert np.all(result.second_moment[1::2] < 1e-6)
            assert result.c == pytest.approx(sigma_w**2 / 16, rel=1e-6, abs=1e-300)


def test_weights_beyond_the_doubles():
    """σ_w² overflows: a reason where φ' is 0 there, else inf."""
    for spec in ("relu6", "tanh", "gaussian"):
        for net in (
            FeedForward(spec, depth=3, sigma_w=1.7e308, input_variance=1.0),
            ResNet(spec, sigma_w=1e308),
        ):
            with pytest.raises(NoAnswerError):
                propagate(net)
    result = propagate(FeedForward("relu", depth=3, sigma_w=1.7e308, input_variance=1.0))
    assert result.log_mean_lambda == result.c == math.inf


def test_no_weights():
    for net in (
        FeedForward("squared_relu", sigma_w=0.0, sigma_b=1e308, input_variance=1.0),
        ResNet("relu", sigma_w=0.0),
        ResNet("squared_relu", sigma_w=0.0, input_variance=1e308, block="pre"),
    ):
        assert propagate(net).c == 0


@pytest.mark.parametrize("block", ["post", "pre"])
def test_a_signal_that_explodes_has_no_c(block):
    with pytest.raises(NoAnswerError, match=r"^c of squared_relu overflows at layer \d+") as refusal:
        propagate(ResNet("squared_relu", depth=1000, sigma_w=30.0, block=block))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("spec", ["tanh", "relu", "gelu", "sigmoid", "hardshrink"])
@pytest.mark.parametrize("block", ["post", "pre"])
def test_compiled_recursion_is_the_interpreted_one(spec, block, monkeypatch):
    net = ResNet(spec, depth=3000, sigma_w=2.0, skip=0.999, sigma_b=0.01, block=block)
    interpreted = propagate(net)
    monkeypatch.setattr(module, "NUMBA_FROM", 1)
    compiled = propagate(net)
    for name in ("q", "c_per_layer", "second_moment", "mean"):
        expected = getattr(interpreted, name)
        assert getattr(compiled, name) == pytest.approx(expected, rel=1e-13, abs=1e-14), name
    assert compiled.log_mean_lambda == pytest.approx(interpreted.log_mean_lambda, rel=1e-12)


def test_a_million_layers():
    """c tends to its limit like 1/L: extrapolated from a few thousand layers."""
    depths = np.array([4000, 8000, 16_000, 32_000])
    c = [propagate(ResNet("tanh", depth=depth)).c for depth in depths.tolist()]
    extrapolated = np.polynomial.Polynomial.fit(1 / depths, c, 3)(1e-6)
    assert propagate(ResNet("tanh", depth=10**6)).c == pytest.approx(extrapolated, rel=1e-11)
    linear = propagate(ResNet("linear", depth=10**6, sigma_b=0.1))
    growth = math.exp(10**6 * math.log1p(1e-6))
    assert linear.output_second_moment == pytest.approx(growth + 0.01 * (growth - 1) * 1e6, rel=1e-11)


def test_feed_forward_from_an_input():
    net = FeedForward("gelu", depth=20, sigma_w=1.3, sigma_b=0.4, input_variance=2.0)
    result = propagate(net)
    q = 1.69 * 2.0 + 0.16
    for layer in range(20):
        (mean, _), (second, _), (gate, _), _, _ = naive.averages(net.act, q)
        assert result.q[layer] == pytest.approx(q, rel=1e-13)
        assert result.c_per_layer[layer] == pytest.approx(1.69 * gate, rel=1e-13)
        assert result.second_moment[layer] == pytest.approx(second, rel=1e-13)
        assert result.mean[layer] == pytest.approx(mean, rel=1e-13)
        q = 1.69 * second + 0.16
    assert result.log_mean_lambda == pytest.approx(np.log(result.c_per_layer).sum(), rel=1e-14)


def test_feed_forward_at_its_fixed_point():
    (row,) = (row for row in reference.rows("fixed_points") if row["activation"] == "selu")
    net = FeedForward("selu", depth=30, sigma_w=row["sigma_w"], sigma_b=row["sigma_b"])
    result = propagate(net)
    assert result.q == pytest.approx(np.full(30, row["q_star"]), rel=1e-13)
    assert result.c_per_layer == pytest.approx(np.full(30, row["chi"]), rel=1e-13)
    assert result.log_mean_lambda == pytest.approx(30 * math.log(row["chi"]), rel=1e-12)


def test_feed_forward_without_a_single_fixed_point_asks_for_an_input():
    with pytest.raises(NoAnswerError, match="give an input variance"):
        propagate(FeedForward("relu", sigma_w=math.sqrt(2)))
    result = propagate(FeedForward("relu", sigma_w=math.sqrt(2), input_variance=0.75))
    assert result.q == pytest.approx(np.full(100, 1.5), rel=1e-13)
    with pytest.raises(NoAnswerError, match="grows without bound"):
        propagate(FeedForward("gelu", sigma_w=1.5, sigma_b=1.0))


def test_feed_forward_with_all_gates_closed():
    result = propagate(FeedForward("hardshrink", depth=3, sigma_w=0.01, input_variance=1.0))
    assert result.mean_lambda == 0
    assert result.log_mean_lambda == -math.inf


def test_feed_forward_that_explodes():
    result = propagate(FeedForward("squared_relu", depth=50, sigma_w=3.0, input_variance=1.0))
    assert result.q_last == math.inf
    assert result.mean_lambda == math.inf
    assert not any(np.isnan(getattr(result, name)).any() for name in ("q", "c_per_layer", "second_moment"))


def test_errors_of_bad_input_reach_the_caller():
    with pytest.raises(InvalidInputError):
        propagate(ResNet("tanh", depth=0))


def test_semi_orthogonal_weights_that_widen_keep_the_length_of_the_signal():
    widths = (100, 300, 150, 600)
    network = FeedForward(
        "linear",
        depth=3,
        weights="orthogonal",
        sigma_w=1.5,
        sigma_b=0.2,
        input_variance=2.0,
        layer_widths=widths,
    )
    p, expected = 2.0, []
    for before, after in pairwise(widths):
        p = 1.5**2 * p * min(1, before / after) + 0.2**2
        expected.append(p)
    assert propagate(network).q == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("network", "can"),
    [
        (ResNet("relu"), True),
        (ResNet("gelu", depth=3, block="pre"), True),
        (ResNet("sigmoid", sigma_w=1e-3), True),
        (ResNet("tanh"), False),
        (ResNet("x*exp(-x*x)"), False),
        (ResNet("relu", sigma_w=0.0), False),
        (ResNet("gelu", block="preln"), False),
        # E (x² − 1) is q − 1, and q the mean square of the input.
        (ResNet("x**2-1", depth=1, block="pre", input_variance=1.0), False),
        (ResNet("x**2-1", depth=1, block="pre", input_variance=1.001), True),
        # The slope of GELU at 0 is all that is left at q* = 0.
        (FeedForward("gelu", sigma_w=0.9), False),
        (FeedForward("gelu", sigma_w=0.9, sigma_b=0.1), True),
        (FeedForward("relu", sigma_w=math.sqrt(2)), True),
        (FeedForward("erf", sigma_w=1.5), False),
    ],
)
def test_a_mean_of_the_signal_can_send_a_singular_value_out_of_the_law(network, can):
    assert can_leave_law(network) is can
    if network != FeedForward("relu", sigma_w=math.sqrt(2)):  # every q is fixed
        assert can_leave_law(network, propagate(network)) is can


def hard_tanh_square(q):
    """E hardtanh², in closed form."""
    edge = 1 / math.sqrt(2 * q)
    return q * (math.erf(edge) - 2 * edge / math.sqrt(math.pi) * math.exp(-edge * edge)) + math.erfc(edge)


def test_saturated_gates_of_a_deep_network():
    """Started off its fixed point 0, which it nears like 1/√L; P(open) = erf(1/√(2q)) at each q."""
    depth, q, expected = 20_000, 1.0, []
    for _ in range(depth):
        expected.append(q)
        q = hard_tanh_square(q)
    found = propagate(FeedForward("hardtanh", depth=depth, input_variance=1.0))
    np.testing.assert_allclose(found.q, expected, rtol=1e-11)
    opened = [math.erf(1 / math.sqrt(2 * q)) for q in expected]
    np.testing.assert_allclose(found.c_per_layer, opened, rtol=1e-13)
    assert found.log_mean_lambda == pytest.approx(math.fsum(map(math.log, opened)), rel=1e-11)


@pytest.mark.parametrize("block", ["post", "pre"])
def test_a_squared_relu_network_of_100000_layers(block):
    """E φ = q/2, E φ² = 3q²/2, E φ'² = 2q."""
    depth, p, m, a2 = 100_000, 0.5, 0.0, 1.0 / 100_000
    second, gates = [], []
    for _ in range(depth):
        q = p if block == "pre" else a2 * p
        if block == "pre":
            p += a2 * 1.5 * q * q
        else:
            p, m = 1.5 * q * q + m * q + p, q / 2 + m
        second.append(p)
        gates.append(2 * q)
    network = ResNet("squared_relu", depth=depth, block=block, input_variance=0.5)
    found = propagate(network)
    np.testing.assert_allclose(found.second_moment, second, rtol=1e-10)
    assert found.c == pytest.approx(math.fsum(gates) / depth, rel=1e-10)


def test_sums_over_layers_that_are_alike_at_the_end():
    """The sum of all of them, rounded once; a head of other layers is summed one by one."""
    values = np.concatenate((np.linspace(0.5, 2, 7), np.full(1000, 1.1)))
    for some in (values, values[:7], values[7:], values[:1]):
        assert _sum_of_layers(np.log, some) == pytest.approx(math.fsum(np.log(some)), rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("act", ["gelu", "tanh", "softplus"])
def test_c_of_many_scales_at_once(act, block):
    network = ResNet(act, depth=30, block=block, sigma_b=0.2, skip=0.9)
    scales = np.geomspace(1e-3, 20.0, 25)
    each = [propagate(dataclasses.replace(network, sigma_w=scale)).c for scale in scales.tolist()]
    found = c_of_scales(network, scales, AverageTable(network.act))
    np.testing.assert_allclose(found, each, rtol=1e-13)


def test_c_of_many_scales_overflows_to_infinity():
    network = ResNet("squared_relu", depth=30)
    found = c_of_scales(network, np.array([1e-3, 1e6]), AverageTable(network.act))
    assert 0 < found[0] < 1e-6
    assert found[1] == math.inf
