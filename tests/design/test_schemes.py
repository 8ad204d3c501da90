"""Initialisations in use and scales of residual branches."""

import math

import naive
import numpy as np
import pytest

from isocalc import InvalidInputError, NoAnswerError, ResNet, propagate
from isocalc.activations.catalogue import activation
from isocalc.design.schemes import BRANCH_SCALES, INITIALISATIONS, initialised, propagate_scaled

SCALES = {scheme.name: scheme.factors for scheme in BRANCH_SCALES}
COMMON = {scheme.name: scheme for scheme in INITIALISATIONS}


@pytest.mark.parametrize(
    ("name", "c"),
    [
        ("none", 50),
        ("inverse_sqrt_depth", 1 / 2),
        ("gpt2", 1 / 4),
        ("inverse_sqrt_layer", sum(1 / (4 * layer) for layer in range(1, 101))),
        ("fixup", 0),
        ("rezero", 0),
    ],
)
def test_relu_in_closed_form(name, c):
    """Every block adds f²/2 to c, and multiplies the mean of λ by 1 + f²/2."""
    factors = SCALES[name](100)
    signal = propagate_scaled(ResNet("relu", depth=100), factors)
    assert signal.c == pytest.approx(c, rel=1e-13)
    assert signal.log_mean_lambda == pytest.approx(np.log1p(factors**2 / 2).sum(), rel=1e-12)


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("act", ["tanh", "gelu", "sigmoid"])
def test_a_slow_recursion_layer_by_layer(act, block):
    """q = σ_w² f² p + σ_b², p' = E φ² + 2 a m E φ + a² p; blocks pre: p' = a² p + σ_w² f² E φ² + σ_b²."""
    net = ResNet(act, depth=9, block=block, sigma_w=1.4, sigma_b=0.3, skip=0.9, input_variance=2.0)
    factors = SCALES["inverse_sqrt_layer"](9)
    p, m, rows = 2.0, 0.0, []
    for factor in factors:
        weight = 1.4**2 * factor**2
        q = p if block == "pre" else weight * p + 0.09
        (mean, _), (second, _), (gate, _), *_ = naive.averages(activation(act), q)
        if block == "pre":
            p, m = 0.81 * p + weight * second + 0.09, 0.0
        else:
            p, m = second + 1.8 * m * mean + 0.81 * p, mean + 0.9 * m
        rows.append((q, 9 * weight * gate / 0.81, p, m))
    signal = propagate_scaled(net, factors)
    found = np.transpose((signal.q, signal.c_per_layer, signal.second_moment, signal.mean))
    assert found == pytest.approx(np.array(rows), rel=1e-9, abs=1e-12)


def test_blocks_with_layer_norm():
    """Linear, ρ = 4: p' = p + f² g with g = σ_w² σ_w2², and c = Σ f² g / p."""
    net = ResNet("linear", depth=6, block="preln", sigma_w=0.8, sigma_w2=1.5)
    factors, g, p, c = SCALES["inverse_sqrt_layer"](6), (0.8 * 1.5) ** 2, 1.0, 0.0
    for square in factors**2:
        c, p = c + square * g / p, p + square * g
    signal = propagate_scaled(net, factors)
    assert signal.c == pytest.approx(c, rel=1e-13)
    assert signal.output_second_moment == pytest.approx(p, rel=1e-13)


@pytest.mark.parametrize("block", ["post", "pre", "preln"])
def test_equal_factors_are_a_network_and_nearly_equal_ones_are_near_it(block):
    net = ResNet("gelu", depth=5, block=block, sigma_w=1.2, sigma_b=0.1)
    by_layer = propagate_scaled(net, 5**-0.5 * (1 + 1e-14 * np.arange(5)))
    assert propagate_scaled(net, np.full(5, 5**-0.5)).c == pytest.approx(propagate(net).c, rel=1e-14)
    for name in ("q", "c_per_layer", "second_moment", "mean"):
        assert getattr(by_layer, name) == pytest.approx(getattr(propagate(net), name), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "c"),
    [
        ("he", 30),  # 2/N: 2 L times 1/2
        ("glorot", 15),  # 2/(N + N)
        ("lecun", 15),
        ("pytorch_linear", 5),  # uniform within ±1/√N: 1/(3 N)
        ("fixup_like", 1),
        ("rezero", 0),
        ("skipinit", 0),
    ],
)
def test_common_initialisations_of_relu(name, c):
    """c = σ_w²/2 with σ_w²/(N L) the variance of an entry."""
    net = initialised(ResNet("relu", depth=30, sigma_b=0.4), COMMON[name])
    assert net.sigma_b == 0
    assert propagate(net).c == pytest.approx(c, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("he", 2, 2 / 4),
        ("glorot", 2 / 5, 2 / 5),  # N + 4N
        ("lecun", 1, 1 / 4),
        ("pytorch_linear", 1 / 3, 1 / 12),
        ("fixup_like", 2 / 30, 2 / 4),
        ("rezero", 2, 0),
    ],
)
def test_variances_of_two_matrices(name, first, second):
    """N times the variance of entries: σ_w² and σ_w2²/(L ρ), ρ = 4."""
    net = initialised(ResNet("gelu", depth=30, block="preln"), COMMON[name])
    assert net.sigma_w**2 == pytest.approx(first, rel=1e-14)
    assert net.sigma_w2**2 / (30 * 4) == pytest.approx(second, rel=1e-14)


@pytest.mark.parametrize("factors", [[1.0], [1.0, math.nan], [[1.0, 2.0]]])
def test_bad_factors(factors):
    with pytest.raises(InvalidInputError, match="factors must be 2 finite numbers"):
        propagate_scaled(ResNet("relu", depth=2), factors)


def test_a_signal_that_explodes():
    factors = SCALES["inverse_sqrt_layer"](40)
    with pytest.raises(NoAnswerError, match="c of squared_relu overflows at layer"):
        propagate_scaled(ResNet("squared_relu", depth=40, sigma_w=5), factors)
