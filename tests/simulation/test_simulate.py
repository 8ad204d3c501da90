"""Simulated Jacobians against finite differences, identities and exact means.

Statistical tests have fixed seeds and reject at 4.5 standard errors: a false-alarm rate of 7e-6 each.
"""

import math
import os
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.laws.free.law import LayeredLaw
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.signal.fixed_points import fixed_points
from isocalc.simulation import simulate
from isocalc.simulation.simulate import memory_needed, replicate, require_memory, spectra


def within(values, expected):
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(expected, abs=4.5 * error)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_mean_of_lambda_of_linear_networks_is_exact_at_any_width(weights):
    net = ResNet("linear", depth=3, weights=weights, sigma_w=1.2, skip=0.9)
    mean = np.exp(2 * spectra(net, 12, 800, 7)).mean(axis=1)
    within(mean, (0.81 + 1.44 / 3) ** 3)


@pytest.mark.parametrize("block", ["post", "pre"])
def test_mean_of_lambda_with_independent_gates_is_exact_at_any_width(block):
    net = ResNet("relu", depth=3, block=block, sigma_w=1.5)
    mean = np.exp(2 * spectra(net, 12, 800, 8, gates="independent")).mean(axis=1)
    within(mean, (1 + 2.25 / 6) ** 3)


def test_one_orthogonal_layer_is_a_normal_matrix():
    s = np.exp(spectra(ResNet("linear", depth=1, weights="orthogonal", sigma_w=0.4), 40, 5, 9))
    assert s.min() >= 0.6 - 1e-14
    assert s.max() <= 1.4 + 1e-14
    # Complex eigenvalues come in pairs, and so do the singular values |1 + 0.4 exp(iθ)|.
    lone = (np.diff(np.sort(s, axis=1))[:, ::2] > 1e-12).sum(axis=1)
    assert (lone <= 20).all()
    assert np.isclose(np.diff(s, axis=1), 0, atol=1e-13).sum() >= 5 * 19 - 5


def test_weights_of_scale_zero_leave_the_skip_connection():
    log_s = spectra(ResNet("tanh", depth=2000, sigma_w=0.0, sigma_b=1.0, skip=0.5), 4, 2, 0)
    np.testing.assert_allclose(log_s, 2000 * math.log(0.5), rtol=1e-14)


def test_the_input_has_exactly_the_stated_variance(monkeypatch):
    inputs = []

    def spectrum(_forward, signal, *_):
        inputs.append(signal.copy())
        return np.zeros(signal.size)

    monkeypatch.setattr(simulate, "log_spectrum", spectrum)
    spectra(ResNet("tanh", input_variance=4.0), 50, 3, 1)
    assert [np.mean(signal**2) for signal in inputs] == pytest.approx([4.0] * 3, rel=1e-15)
    assert abs(inputs[0] @ inputs[1]) < 200
    # Pre-activations of variance q*: the variance map gives it back.
    net = FeedForward("tanh", sigma_w=1.5, sigma_b=0.3)
    replicate(net, 50, 1, 0)
    assert 2.25 * np.mean(inputs[-1] ** 2) + 0.09 == pytest.approx(fixed_points(net)[0].q_star, rel=1e-12)


@pytest.mark.parametrize("gates", ["own", "independent"])
def test_a_trial_is_the_same_whatever_the_number_of_trials(gates):
    net = ResNet("relu", depth=3, sigma_b=0.1, weights="orthogonal")
    many = spectra(net, 10, 5, 11, gates=gates)
    np.testing.assert_array_equal(spectra(net, 10, 2, 11, gates=gates), many[:2])
    assert len(np.unique(many[:, 0])) == 5
    assert (spectra(net, 10, 1, 12, gates=gates) != many[0]).all()


def test_a_replicate_is_a_trial_made_alone():
    net = FeedForward("tanh", depth=20, sigma_w=2.0, sigma_b=0.1)
    many = spectra(net, 15, 4, 7)
    elsewhere = pickle.loads(pickle.dumps(replicate))  # noqa: S301 - our own bytes
    for trial in (3, 0, 2, 1):
        np.testing.assert_array_equal(elsewhere(net, 15, 7, trial), many[trial])


def test_trials_draw_from_spawned_seeds(monkeypatch):
    inputs = []
    monkeypatch.setattr(simulate, "log_spectrum", lambda _, x, *__: inputs.append(x) or np.zeros(x.size))
    replicate(ResNet("tanh"), 20, 5, 2)
    draws = default_rng(np.random.SeedSequence(5).spawn(3)[2]).standard_normal(20)
    np.testing.assert_allclose(inputs[0], draws / math.sqrt(np.mean(draws**2)), rtol=1e-15)


def test_a_chain_has_as_many_singular_values_as_inputs():
    net = FeedForward("linear", depth=2, layer_widths=(30, 50, 12))
    log_s = spectra(net, None, 2, 0)
    assert log_s.shape == (2, 30)
    assert (np.isneginf(log_s).sum(axis=1) == 18).all()
    assert dict(LayeredLaw.of(net).atoms)[0.0] == pytest.approx(18 / 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "independent"),
    [
        (FeedForward("relu", depth=4, sigma_w=1.5), True),
        (FeedForward("tanh", depth=3, sigma_w=1.3, sigma_b=0.3, weights="orthogonal"), True),
        (FeedForward("linear", depth=3, layer_widths=(12, 20, 8, 16), sigma_w=1.2), False),
        (FeedForward("linear", depth=3, layer_widths=(12, 20, 8, 16), weights="orthogonal"), False),
        (FeedForward("relu", depth=2, layer_widths=(12, 20, 16), weights="orthogonal"), True),
    ],
    ids=repr,
)
def test_mean_of_lambda_of_feed_forward_networks_is_that_of_the_law(network, independent):
    # Exact at any width: each layer multiplies it by the mean of its gates and by its weights' mean square.
    width = None if network.layer_widths else 12
    gates = "independent" if independent else "own"
    log_s = spectra(network, width, 2000, 3, gates=gates)
    mean = np.exp(2 * log_s).mean(axis=1)
    expected = LayeredLaw.of(network, "lambda").mean()
    within(mean, expected)
    assert abs(np.mean(mean) / (1.25 * expected) - 1) > 4.5 * np.std(mean) / np.mean(mean) / math.sqrt(2000)


def test_tied_networks_share_their_weights_and_not_their_singular_values():
    # Independent layers of variance 1/N: E λ = 1. The same W twice, by Wick: E tr W² (W²)ᵀ / N = 1 + 2/N².
    width = 4
    mean = np.exp(2 * spectra(FeedForward("linear", depth=2, tied=True), width, 4000, 3)).mean(axis=1)
    within(mean, 1 + 2 / width**2)
    assert np.mean(mean) - 1 > 4.5 * np.std(mean) / math.sqrt(4000)


def test_networks_without_answers_are_all_zeros():
    for net in (FeedForward("tanh", sigma_w=0.0), FeedForward("squared_relu", sigma_w=0.5)):
        calls = []
        log_s = replicate(net, 5, 0, 0, progress=lambda calls=calls: calls.append(None))
        assert np.isneginf(log_s).all()
        assert len(calls) == net.depth


def test_independent_gates_have_the_propagated_variance():
    net = ResNet("hardtanh", depth=2, block="pre", input_variance=1e4)
    seen = []
    dphi = net.act.dphi
    spy = replace(net.act, dphi=lambda x: seen.append(x) or dphi(x))
    spectra(replace(net, activation=spy), 400, 1, 1, gates="independent")
    simulated = [x for x in seen if x.shape == (400,)]
    assert len(simulated) == 2
    # The relative standard error of a variance of 400 numbers is √(2/400).
    assert [np.mean(x**2) for x in simulated] == pytest.approx([1e4] * 2, rel=4.5 * math.sqrt(2 / 400))


def test_progress_is_called_after_each_layer():
    calls = []
    spectra(ResNet("tanh", depth=7), 4, 3, 0, progress=lambda: calls.append(None))
    assert len(calls) == 21


@pytest.mark.parametrize(
    "net",
    [
        ResNet("tanh", depth=2),
        ResNet("tanh", depth=2, block="pre", weights="orthogonal"),
        ResNet("silu", depth=6, sigma_w=100.0, block="pre", weights="orthogonal"),
        ResNet("tanh", depth=6, block="preln"),
        ResNet("tanh", depth=6, block="preln", weights="orthogonal", hidden_ratio=8.0),
        ResNet("silu", depth=6, block="preln", sigma_w=10.0, sigma_w2=10.0, hidden_ratio=0.5),
        FeedForward("linear", depth=6),
        FeedForward("tanh", depth=6, sigma_w=5.0, tied=True),
        FeedForward("tanh", depth=6, sigma_w=5.0, weights="orthogonal"),
        FeedForward("relu", depth=6, weights="orthogonal"),
    ],
    ids=repr,
)
def test_memory_is_not_underestimated(net):
    replicate(net, 10, 0, 0)
    tracemalloc.start()
    try:
        replicate(net, 400, 0, 0)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used <= memory_needed(net, 400) <= 3 * used


def test_memory_of_a_chain_is_that_of_its_widest_layer():
    net = FeedForward("tanh", depth=2, layer_widths=(20, 400, 10))
    assert memory_needed(net, None) == memory_needed(FeedForward("tanh"), 400)


def test_what_does_not_fit_in_memory_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    require_memory(ResNet("tanh"), 200, 8)
    message = r"width 1000 with 8 trials needs 0.0881 GB of memory, and this machine has 0.0041 GB: take a"
    with pytest.raises(NoAnswerError, match=message):
        spectra(ResNet("tanh"), 1000, 8, 0)


def test_memory_that_the_system_does_not_tell_is_not_refused(monkeypatch):
    def unknown(_name):
        raise ValueError

    monkeypatch.setattr(os, "sysconf", unknown)
    require_memory(ResNet("tanh"), 10**6, 1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (ResNet("linear", depth=1, sigma_w=1e200), "range of a double in layer 1 .*, skip or sigma_w"),
        (
            FeedForward("squared_relu", depth=20, input_variance=1e-30),
            "leaves the range of a double .*a larger sigma_w or independent",
        ),
        (ResNet("tanh", depth=1000, skip=3.0), "leaves the range of a double .*: take a smaller depth, skip"),
    ],
)
def test_what_a_double_cannot_hold_is_said(network, message):
    with pytest.raises(NoAnswerError, match=message):
        spectra(network, 20, 1, 0)


def test_independent_gates_do_without_the_signal():
    net = ResNet("tanh", depth=2000, skip=0.5, sigma_w=0.2)
    log_s = spectra(net, 20, 1, 0, gates="independent")
    np.testing.assert_allclose(log_s, 2000 * math.log(0.5), atol=1)


@pytest.mark.parametrize("skip", [0.4, -3.0])
def test_gates_of_homogeneous_networks_do_not_depend_on_scale(skip):
    net = ResNet("relu", depth=1000, sigma_w=0.5, skip=skip)
    log_s = spectra(net, 20, 1, 0) - 1000 * math.log(abs(skip))
    small = ResNet("relu", depth=1000, sigma_w=0.5, skip=skip, input_variance=1e-280)
    np.testing.assert_allclose(spectra(small, 20, 1, 0) - 1000 * math.log(abs(skip)), log_s, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        (("tanh", 10, 1, 0), "network"),
        ((FeedForward("tanh", depth=1, layer_widths=(3, 4)), 10, 1, 0), "width must be None"),
        ((FeedForward("tanh"), None, 1, 0), "width"),
        ((ResNet("tanh"), 1, 1, 0), "width"),
        ((ResNet("tanh"), 10, 0, 0), "trials"),
        ((ResNet("tanh"), 10, 1, -1), "seed"),
    ],
)
def test_bad_arguments(arguments, parameter):
    with pytest.raises(InvalidInputError, match=parameter):
        spectra(*arguments)
    with pytest.raises(InvalidInputError, match="gates"):
        spectra(ResNet("tanh"), 10, 1, 0, gates="shared")
    with pytest.raises(InvalidInputError, match="dtype"):
        spectra(ResNet("tanh"), 10, 1, 0, dtype="float16")
    with pytest.raises(InvalidInputError, match="trial"):
        replicate(ResNet("tanh"), 10, 0, -1)
