"""Singular values of Jacobians against determinants of their layers and products in many digits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from layers_apart import exact_log_singular_values, in_order, recorded
from scipy.special import digamma, polygamma

from isocalc.errors import NoAnswerError
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics import graded
from isocalc.numerics.graded import log_singular_values
from isocalc.simulation import jacobian
from isocalc.simulation.forward import ForwardPass
from isocalc.simulation.simulate import replicate

GAUSSIAN = FeedForward("linear", depth=200)
SATURATED = FeedForward("tanh", depth=20, sigma_w=30.0)


@pytest.mark.parametrize("depth", [10, 100, 2000])
@pytest.mark.parametrize(
    "network",
    [
        FeedForward("linear"),
        FeedForward("tanh", sigma_w=2.5, sigma_b=0.3, tied=True),
        FeedForward("tanh", sigma_w=2.5, sigma_b=0.3, weights="orthogonal"),
        FeedForward("leaky_relu:0.1", sigma_w=10.0),
        ResNet("tanh", sigma_w=4.0, block="pre"),
        ResNet("silu", sigma_w=30.0, skip=0.5),
        ResNet("gelu", sigma_w=3.0, sigma_w2=8.0, block="preln", hidden_ratio=1.5, skip=0.9),
    ],
    ids=repr,
)
@pytest.mark.parametrize("width", [2, 12, 40])
def test_singular_values_multiply_to_the_determinants_of_the_layers(network, depth, width):
    network = replace(network, depth=depth)
    with recorded() as layers:
        log_s = replicate(network, width, 5, 0)
    determinants = math.fsum(np.linalg.slogdet(layer)[1] for layer in in_order(layers))
    assert abs(log_s.sum() - determinants) <= 1e-10 * np.abs(log_s).sum()
    assert (np.diff(log_s) >= 0).all()


@pytest.mark.parametrize(
    ("network", "digits"),
    [
        (GAUSSIAN, 400),
        (SATURATED, 3000),
        (FeedForward("tanh", depth=60, sigma_w=2.5, weights="orthogonal"), 300),
        (ResNet("tanh", depth=100, sigma_w=8.0), 100),
        (FeedForward("linear", depth=30, layer_widths=(12, *[15, 20] * 14, 13, 12)), 200),
    ],
    ids=repr,
)
def test_every_singular_value_is_that_of_the_exact_product(network, digits):
    with recorded() as layers:
        log_s = replicate(network, None if getattr(network, "layer_widths", None) else 12, 3, 0)
    exact = exact_log_singular_values(in_order(layers), digits)
    np.testing.assert_allclose(log_s, exact, rtol=0, atol=1e-7)
    assert log_s[-1] - log_s[0] > 10


def test_a_plain_product_loses_what_this_one_keeps():
    with recorded() as layers:
        log_s = replicate(GAUSSIAN, 12, 3, 0)
    plain = np.linalg.svd(np.linalg.multi_dot(in_order(layers)[::-1]), compute_uv=False)
    assert abs(math.log(plain[-1]) - log_s[0]) > 100


@pytest.mark.parametrize(
    "network",
    [
        FeedForward("relu", depth=12, sigma_w=1.5),
        FeedForward("hardtanh", depth=12, sigma_w=1.5, sigma_b=0.5, weights="orthogonal"),
        FeedForward("relu", depth=12, sigma_w=1.5, tied=True),
        FeedForward("relu", depth=3, layer_widths=(20, 31, 25, 40)),
        FeedForward("linear", depth=3, layer_widths=(20, 8, 25, 40)),
        FeedForward("linear", depth=3, layer_widths=(20, 30, 25, 6), weights="orthogonal"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("gates", ["own", "independent"])
def test_zeros_are_exact_and_as_many_as_the_exact_product_has(network, gates):
    width = None if network.layer_widths else 20
    for seed in range(3):
        with recorded() as layers:
            log_s = replicate(network, width, seed, 0, gates=gates)
        assert log_s.size == 20
        matrices = in_order(layers)
        rank = min(20, *(np.count_nonzero(matrix.any(axis=1)) for matrix in matrices))
        assert np.isneginf(log_s).sum() == 20 - rank
        found = exact_log_singular_values(matrices, 60)[-rank:]
        np.testing.assert_allclose(log_s[20 - rank :], found, rtol=0, atol=1e-7)


def test_a_layer_of_closed_gates_leaves_nothing():
    calls = []
    network = FeedForward("hardshrink", depth=5, sigma_w=0.1, input_variance=1.0)
    log_s = replicate(network, 10, 0, 0, progress=lambda: calls.append(None))
    assert np.isneginf(log_s).all()
    assert len(calls) == 5


def test_well_conditioned_networks_are_not_factorised(monkeypatch):
    monkeypatch.setattr(jacobian.GradedProduct, "absorb", lambda *_: pytest.fail("factorised"))
    replicate(ResNet("tanh", depth=50), 40, 0, 0)
    replicate(FeedForward("linear", depth=50, weights="orthogonal"), 40, 0, 0)


def test_what_grows_later_than_expected_is_taken_back(monkeypatch):
    # As long as the signal is small the layers are orthogonal; when it has grown, gates close.
    calls, went_back, return_to = [], [], ForwardPass.return_to
    network = FeedForward("tanh", depth=150, sigma_w=1.5, weights="orthogonal", input_variance=1e-12)
    log_s = replicate(network, 12, 1, 0)
    monkeypatch.setattr(
        ForwardPass, "return_to", lambda run, mark: (went_back.append(1), return_to(run, mark))
    )
    np.testing.assert_array_equal(replicate(network, 12, 1, 0, progress=lambda: calls.append(None)), log_s)
    monkeypatch.undo()
    with recorded() as layers:
        replicate(network, 12, 1, 0)
    assert len(calls) == 150
    assert went_back
    exact = exact_log_singular_values(in_order(layers), 300)
    np.testing.assert_allclose(log_s, exact, rtol=0, atol=1e-7)


def test_windows_agree_with_the_whole(monkeypatch):
    rng = np.random.default_rng(7)
    scale = -np.sort(rng.uniform(0, 480, 120))
    right = rng.standard_normal((120, 150))
    whole = log_singular_values(scale, right)
    monkeypatch.setattr(graded, "KEPT", 40.0)
    np.testing.assert_allclose(log_singular_values(scale, right), whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_singular_values(scale - 5e4, right), whole - 5e4, rtol=0, atol=1e-9)


def test_deep_gaussian_products_have_the_lyapunov_exponents():
    # Newman 1986: log s_i / L tends to (ψ((N - i + 1)/2) + log(2/N)) / 2, i = 1 ... N.
    width, depth = 30, 2000
    log_s = replicate(FeedForward("linear", depth=depth), width, 1, 0)
    halves = np.arange(1, width + 1) / 2
    exponents = depth * (digamma(halves) + math.log(2 / width)) / 2
    # Successive lengths are independent, of variance ψ'/4 each; the sum of all of them is exact in law.
    error = np.sqrt(depth * polygamma(1, halves) / 4)
    assert abs(log_s.sum() - exponents.sum()) < 4.5 * math.sqrt(np.sum(error**2))
    assert (np.abs(log_s - exponents) < 6 * error + 6).all()
    assert log_s[0] < -4000


def test_float32_has_the_law_of_float64_and_refuses_what_it_does_not_resolve():
    network = ResNet("tanh", depth=10)
    single = np.array([replicate(network, 60, 1, k, dtype="float32") for k in range(20)])
    double = np.array([replicate(network, 60, 2, k) for k in range(20)])
    means = single.mean(axis=1), double.mean(axis=1)
    error = math.hypot(*(np.std(mean, ddof=1) / math.sqrt(20) for mean in means))
    assert abs(means[0].mean() - means[1].mean()) < 5 * error
    for refused in (GAUSSIAN, SATURATED, ResNet("linear", depth=100, sigma_w=10.0)):
        with pytest.raises(NoAnswerError, match="float32 does not resolve"):
            replicate(refused, 30, 1, 0, dtype="float32")


def test_float32_resolves_what_it_answers():
    network = FeedForward("relu", depth=6, sigma_w=1.5, weights="orthogonal")
    with recorded() as layers:
        log_s = replicate(network, 40, 1, 0, dtype="float32")
    exact = exact_log_singular_values(in_order(layers), 40)
    found = np.isfinite(log_s)
    assert 5 < found.sum() < 20
    np.testing.assert_allclose(log_s[found], exact[-found.sum() :], rtol=0, atol=1e-2)
