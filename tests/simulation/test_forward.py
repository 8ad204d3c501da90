"""A forward pass against finite differences, and what it draws.

Statistical tests have fixed seeds and reject at 4.5 standard errors: a false-alarm rate of 7e-6 each.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from isocalc.errors import NoAnswerError
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.forward import ForwardPass, normalised

CHAIN = (6, 9, 4, 7)
NETWORKS = [
    ResNet("tanh", depth=4, sigma_w=1.7, sigma_b=0.3, skip=0.7),
    ResNet("gelu", depth=4, sigma_w=1.7, sigma_b=0.3, skip=-1.3, weights="orthogonal"),
    ResNet("sin", depth=4, sigma_w=1.7, sigma_b=0.3, block="pre"),
    ResNet("tanh", depth=4, sigma_w=1.7, sigma_b=0.3, block="pre", weights="orthogonal", skip=0.7),
    ResNet("gelu", depth=4, sigma_w=1.7, sigma_b=0.3, block="preln", sigma_w2=2.0, skip=0.7),
    ResNet("tanh", depth=4, sigma_w=1.7, block="preln", sigma_w2=2.0, weights="orthogonal"),
    ResNet("sin", depth=4, block="preln", sigma_w2=2.0, weights="orthogonal", hidden_ratio=0.5),
    FeedForward("tanh", depth=4, sigma_w=1.7, sigma_b=0.3),
    FeedForward("silu", depth=4, sigma_w=1.7, sigma_b=0.3, weights="orthogonal"),
    FeedForward("tanh", depth=4, sigma_w=1.7, sigma_b=0.3, tied=True),
    FeedForward("gelu", depth=4, sigma_w=1.7, sigma_b=0.3, tied=True, weights="orthogonal"),
    FeedForward("tanh", depth=3, sigma_w=1.7, sigma_b=0.3, layer_widths=CHAIN),
    FeedForward("tanh", depth=3, sigma_w=1.7, sigma_b=0.3, layer_widths=CHAIN, weights="orthogonal"),
]


def passed(network, start, seed=2, **options):
    """Return the transposed Jacobian, the output and the gates that are open at the end."""
    widths = getattr(network, "layer_widths", None) or (start.size,) * (network.depth + 1)
    forward = ForwardPass(network, widths, default_rng(seed), **options)
    rows = np.concatenate((np.eye(start.size), start[None]))
    for _ in range(network.depth):
        rows, open_gates = forward.advance(rows)
    return rows[:-1], rows[-1], open_gates


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_jacobian_is_the_derivative_of_the_forward_pass(network):
    start = default_rng(1).standard_normal(6)
    jacobian = passed(network, start)[0]
    step = 1e-5
    for shift, row in zip(step * np.eye(6), jacobian, strict=True):
        ahead, behind = passed(network, start + shift)[1], passed(network, start - shift)[1]
        np.testing.assert_allclose(row, (ahead - behind) / (2 * step), atol=1e-9)


def test_layer_norm_and_its_jacobian_in_closed_form():
    x = default_rng(5).standard_normal(7) + 3.0
    rows = normalised(np.concatenate((np.eye(7), x[None])))
    unit = (x - x.mean()) / x.std()
    projection = np.eye(7) - 1 / 7 - np.outer(unit, unit) / 7
    np.testing.assert_allclose(rows[-1], unit, rtol=1e-14)
    np.testing.assert_allclose(rows[:-1], projection / x.std(), atol=1e-15)


def test_blocks_of_two_matrices_act_on_the_normalised_signal():
    """h = W₁ LN(x) + b has the variance σ₁² + σ_b², and W₂ φ(h) the mean square σ₂²/L E φ²."""
    network = ResNet("linear", depth=2, block="preln", sigma_w=1.5, sigma_b=0.4, sigma_w2=3.0, skip=0.1)
    start = 1e3 * default_rng(1).standard_normal(400)
    _, output, _ = passed(replace(network, depth=1), start)
    branch = output - 0.1 * start
    # Sums of 400 squares, each of a normal variable whose own variance is a mean over 1600 hidden ones.
    expected = 9.0 * (1.5**2 + 0.16)
    assert np.mean(branch**2) == pytest.approx(expected, rel=4.5 * math.sqrt(2 / 400 + 2 / 1600))


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "gain"), [(2.5, 1.0), (0.4, 0.4)])
def test_semi_orthogonal_matrices_keep_lengths_where_they_widen(ratio, gain):
    network = ResNet("linear", depth=1, block="preln", weights="orthogonal", hidden_ratio=ratio, sigma_w2=2.0)
    start = default_rng(1).standard_normal(1000)
    branch = passed(network, start)[1] - start
    # W₂ W₁ projects twice, on 1000 min(ρ, 1/ρ) dimensions at random: relative deviation below √(2/400).
    power = 4 * gain if ratio < 1 else 4 / ratio
    assert np.mean(branch**2) == pytest.approx(power, rel=4.5 * math.sqrt(2 / 400))


def test_other_gates_do_not_excuse_a_normalised_signal_that_is_lost():
    network = ResNet("tanh", depth=4000, block="preln", skip=1e-3, sigma_w2=1e-300)
    with pytest.raises(NoAnswerError, match=r"take a smaller depth or a larger skip$"):
        passed(network, default_rng(1).standard_normal(5), variances=np.ones(4000))


def weights_of(network, widths):
    """Return Wᵀ and b of each layer of a linear network: rows of W and the image of 0."""
    forward = ForwardPass(network, widths, default_rng(3))
    found = []
    for size in widths[:-1]:
        rows, _ = forward.advance(np.concatenate((np.eye(size), np.zeros((1, size)))))
        found.append((rows[:-1], rows[-1]))
    return found


def test_tied_layers_share_weights_and_biases_and_others_do_not():
    for tied in (True, False):
        network = FeedForward("linear", depth=3, sigma_b=0.5, tied=tied)
        (first, bias), *others = weights_of(network, (5,) * 4)
        for weights, other in others:
            assert np.array_equal(weights, first) == tied
            assert np.array_equal(other, bias) == tied


@pytest.mark.parametrize(
    ("network", "variance"),
    [
        (FeedForward("linear", depth=2, sigma_w=1.5, sigma_b=0.4), 1.5**2 / 200),
        (FeedForward("linear", depth=2, sigma_w=1.5, sigma_b=0.4, tied=True), 1.5**2 / 200),
        (ResNet("linear", depth=2, sigma_w=1.5, sigma_b=0.4, skip=3.0), 1.5**2 / 400),
    ],
)
def test_weights_and_biases_have_the_stated_variances(network, variance):
    skip = 3.0 * np.eye(200) if isinstance(network, ResNet) else 0.0
    weights, bias = weights_of(network, (200,) * 3)[0]
    # The relative standard error of a variance of n numbers is √(2/n).
    assert np.mean((weights - skip) ** 2) == pytest.approx(variance, rel=4.5 * math.sqrt(2 / 200**2))
    assert np.mean(bias**2) == pytest.approx(0.16, rel=4.5 * math.sqrt(2 / 200))


def test_weights_of_a_chain_have_the_variance_of_their_fan_in():
    widths = (100, 300, 50)
    network = FeedForward("linear", depth=2, sigma_w=2.0, sigma_b=0.1, layer_widths=widths)
    for (weights, _), before in zip(weights_of(network, widths), widths, strict=False):
        assert np.mean(weights**2) == pytest.approx(4 / before, rel=4.5 * math.sqrt(2 / weights.size))


def test_closed_gates_are_told():
    jacobian, output, open_gates = passed(FeedForward("relu", depth=2), default_rng(1).standard_normal(40))
    np.testing.assert_array_equal(open_gates, output > 0)
    assert not jacobian[:, ~open_gates].any()
    assert 5 < open_gates.sum() < 35


def test_a_pass_that_goes_back_draws_the_same_again():
    network = FeedForward("tanh", depth=3, sigma_b=0.1)
    forward = ForwardPass(network, (5,) * 4, default_rng(1), np.ones(3))
    start = np.concatenate((np.eye(5), np.ones((1, 5))))
    mark = forward.mark()
    first = forward.advance(start.copy())[0].copy()
    forward.return_to(mark)
    assert forward.done == 0
    np.testing.assert_array_equal(forward.advance(start.copy())[0], first)


@pytest.mark.parametrize("act", ["relu6", "tanh", "silu", "leaky_relu:0.2"])
def test_gates_of_a_fading_signal_are_those_next_to_0(act):
    network = FeedForward(act, depth=300, sigma_w=0.01, input_variance=1.0)
    forward = ForwardPass(network, (30,) * 301, default_rng(1))
    rows = np.concatenate((np.eye(30), default_rng(2).standard_normal((1, 30))))
    for _ in range(300):
        tangents = np.concatenate((np.eye(30), rows[-1:]))
        rows, open_gates = forward.advance(tangents)
    assert rows[-1].any()
    # A gate is one sign of a symmetric variable: fewer than 3 of 30 open have probability 4e-7.
    assert open_gates.sum() >= 3
