"""Simulated Jacobians against finite differences, identities and exact means.

Statistical tests have fixed seeds and reject at 4.5 standard errors: a false-alarm rate of 7e-6 each.
"""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from isocalc import simulate
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.network import FeedForward, ResNet
from isocalc.simulate import memory_needed, require_memory, spectra, tangents_and_output, times_haar


def within(values, expected):
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(expected, abs=4.5 * error)


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(("act", "skip"), [("tanh", 0.7), ("gelu", -1.3), ("sin", 1.0)])
def test_jacobian_is_the_derivative_of_the_forward_pass(act, skip, weights, block):
    net = ResNet(act, depth=4, block=block, weights=weights, sigma_w=1.7, sigma_b=0.3, skip=skip)
    start = default_rng(1).standard_normal(6)
    tangents, _ = tangents_and_output(net, start, default_rng(2))
    step = 1e-5
    for i, row in enumerate(tangents):
        shift = step * np.eye(6)[i]
        ahead = tangents_and_output(net, start + shift, default_rng(2))[1]
        behind = tangents_and_output(net, start - shift, default_rng(2))[1]
        np.testing.assert_allclose(row * skip**4, (ahead - behind) / (2 * step), atol=1e-9)


def test_singular_values_multiply_to_the_determinant():
    net = ResNet("tanh", depth=5, sigma_w=1.5, skip=0.5)
    log_s = spectra(net, 30, 1, 3)[0]
    rng = default_rng(np.random.SeedSequence(3).spawn(1)[0])
    start = rng.standard_normal(30)
    tangents, _ = tangents_and_output(net, start / math.sqrt(np.mean(start**2)), rng)
    assert log_s.sum() == pytest.approx(np.linalg.slogdet(tangents)[1] + 30 * 5 * math.log(0.5), rel=1e-13)
    assert (np.diff(log_s) > 0).all()


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_haar_matrices_are_orthogonal(size):
    matrix = times_haar(np.eye(size), default_rng(4))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-14 * size)
    rows = default_rng(5).standard_normal((3, size))
    np.testing.assert_allclose(times_haar(rows, default_rng(4), 2.5), 2.5 * rows @ matrix, atol=1e-13)


def test_haar_matrices_have_the_moments_of_the_orthogonal_group():
    rng = default_rng(6)
    group = np.array([times_haar(np.eye(6), rng) for _ in range(4000)])
    trace = group.trace(axis1=1, axis2=2)
    within(trace, 0.0)
    within(trace**2, 1.0)
    within(trace**4, 3.0)
    within((group @ group).trace(axis1=1, axis2=2), 1.0)
    within((group @ group @ group).trace(axis1=1, axis2=2) ** 2, 3.0)
    within(np.linalg.det(group), 0.0)
    within(group[:, 0, 5] ** 2, 1 / 6)
    within(group[:, 2, 3] ** 4, 3 / (6 * 8))
    within(group[:, 0, 0] * group[:, 1, 1] * group[:, 0, 1] * group[:, 1, 0], -1 / (5 * 6 * 8))


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

    def forward(_network, signal, *_):
        inputs.append(signal.copy())
        return np.eye(signal.size), signal

    monkeypatch.setattr(simulate, "tangents_and_output", forward)
    spectra(ResNet("tanh", input_variance=4.0), 50, 3, 1)
    assert [np.mean(signal**2) for signal in inputs] == pytest.approx([4.0] * 3, rel=1e-15)
    assert abs(inputs[0] @ inputs[1]) < 200


@pytest.mark.parametrize("gates", ["own", "independent"])
def test_a_trial_is_the_same_whatever_the_number_of_trials(gates):
    net = ResNet("relu", depth=3, sigma_b=0.1, weights="orthogonal")
    many = spectra(net, 10, 5, 11, gates=gates)
    np.testing.assert_array_equal(spectra(net, 10, 2, 11, gates=gates), many[:2])
    assert len(np.unique(many[:, 0])) == 5
    assert (spectra(net, 10, 1, 12, gates=gates) != many[0]).all()


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


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("block", ["post", "pre"])
def test_memory_is_not_underestimated(weights, block):
    net = ResNet("tanh", depth=2, block=block, weights=weights)
    spectra(net, 10, 1, 0)
    tracemalloc.start()
    try:
        spectra(net, 400, 1, 0)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used <= memory_needed(400, 1) <= 3 * used


def test_what_does_not_fit_in_memory_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr(simulate.os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    require_memory(300, 8)
    message = r"width 1000 with 8 trials needs 0.0401 GB of memory, and this machine has 0.0041 GB: take a"
    with pytest.raises(NoAnswerError, match=message):
        spectra(ResNet("tanh"), 1000, 8, 0)


def test_memory_that_the_system_does_not_tell_is_not_refused(monkeypatch):
    def unknown(_name):
        raise ValueError

    monkeypatch.setattr(simulate.os, "sysconf", unknown)
    require_memory(10**6, 1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            ResNet("linear", depth=100, sigma_w=10.0),
            r"lost in the rounding of the largest .*: take a smaller sigma_w or a larger skip",
        ),
        (ResNet("linear", depth=100, sigma_w=1e5), "overflows: take a smaller sigma_w"),
        (ResNet("linear", depth=1, sigma_w=1e200), "range of a double in layer 1 .*, skip or sigma_w"),
        (ResNet("tanh", depth=2000, skip=0.5), "leaves the range of a double .*a larger skip or independent"),
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
        ((FeedForward("tanh"), 10, 1, 0), "network"),
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
