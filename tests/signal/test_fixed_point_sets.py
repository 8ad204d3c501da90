"""Fixed points of many networks at once are those of each alone."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocalc import FeedForward, InvalidInputError, NoAnswerError, activation, fixed_points
from isocalc.activations.catalogue import FAMILIES
from isocalc.signal.fixed_points import fixed_points_of

SPECS = [name for name in FAMILIES if name != "threshold"] + [
    "threshold:-1:10",
    "threshold:1:2",
    "hardtanh:0:1",
    "hardtanh:-2:5",
    "softplus:20",
    "celu:0.01",
]


def alone(network):
    try:
        return fixed_points(network)
    except (NoAnswerError, InvalidInputError) as error:
        return error


def assert_same(together, single):
    """Both are right to rounding times the conditioning: 1/(1 − slope) of q* and c*, 1/|χ − 1| of ξ_c."""
    if isinstance(single, Exception):
        assert type(together) is type(single)
        assert str(together) == str(single)
        return
    assert len(together) == len(single)
    for point, known in zip(together, single, strict=True):
        assert point.phase == known.phase
        assert (point.q_star is None) == (known.q_star is None)
        of_q = 1 / max(1 - math.exp(-1 / known.xi_q) if known.xi_q else 1.0, 1e-15)
        if known.q_star is not None:
            assert point.q_star == pytest.approx(known.q_star, rel=max(1e-14, 4e-15 * of_q), abs=0)
        close = {"rel": max(1e-13, 1e-13 * of_q), "abs": 0}
        assert point.chi == pytest.approx(known.chi, **close)
        assert point.relative_variance == pytest.approx(known.relative_variance, **close)
        assert point.xi_q == pytest.approx(known.xi_q, rel=1e-13 * of_q)
        assert point.escape == (None if known.escape is None else pytest.approx(known.escape, rel=1e-11))
        of_c = of_q + 1 / max(abs(known.chi - 1), 1e-15)
        if known.c_star is None:
            assert point.c_star is point.xi_c is None
        else:
            of_map = 1 / max(-math.expm1(-1 / known.xi_c), 1e-15) if known.xi_c else 1.0
            assert point.c_star == pytest.approx(known.c_star, rel=1e-13 * of_c, abs=1e-13 * of_map)
            assert point.xi_c == pytest.approx(known.xi_c, rel=3e-13 * of_c)


@pytest.mark.parametrize("spec", SPECS)
def test_against_networks_one_by_one(spec):
    """Ordered, critical and chaotic, without bias, with tiny ones, and σ's that are refused."""
    generator = np.random.default_rng(7)
    critical = 1 / max(float(abs(activation(spec).dphi(np.array([1e-9]))[0])), 0.1)
    scales = [(1.0, 0.0), (critical, 0.0), (0.0, 0.3), (1e-100, 1e-100), (1e11, 0.1), (1.3, 1e-8)]
    scales += [(sigma_w, 0.0) for sigma_w in generator.uniform(0.5, 3, 2)]
    scales += generator.uniform((0.5, 0.0), (3.0, 1.0), (8, 2)).tolist()
    networks = [FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b) for sigma_w, sigma_b in scales]
    for network, together in zip(networks, fixed_points_of(networks), strict=True):
        assert_same(together, alone(network))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    spec=st.sampled_from(
        ["tanh", "erf", "gelu", "hardtanh", "softshrink", "threshold:-1:10", "squared_relu"]
    ),
    scales=st.lists(
        st.tuples(
            st.floats(0.01, 100) | st.just(1.0),
            st.floats(1e-12, 30) | st.sampled_from([0.0, 1e-50, 1e-100, 1e3]),
        ),
        min_size=8,
        max_size=10,
    ),
)
def test_against_networks_one_by_one_anywhere(spec, scales):
    networks = [FeedForward(spec, sigma_w=sigma_w, sigma_b=sigma_b) for sigma_w, sigma_b in scales]
    for network, together in zip(networks, fixed_points_of(networks), strict=True):
        assert_same(together, alone(network))


@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-7, 1e-10])
def test_roots_closer_than_any_grid(apart):
    """Those of 3/2 σ_w² q² + σ_b² − q are (1 ± √apart)/(3 σ_w²); beyond apart = 0 there are none."""
    scales = [(0.9 + 0.01 * k, sign * apart) for k in range(6) for sign in (1, -2)]
    networks = [
        FeedForward("squared_relu", sigma_w=sigma_w, sigma_b=math.sqrt((1 - rest) / 6) / sigma_w)
        for sigma_w, rest in scales
    ]
    for network, (sigma_w, rest), answer in zip(networks, scales, fixed_points_of(networks), strict=True):
        if rest < 0:
            assert isinstance(answer, NoAnswerError)
            continue
        (point,) = answer
        exact = (1 - 6 * sigma_w**2 * network.sigma_b**2) if apart > 1e-6 else apart
        low, high = ((1 + sign * math.sqrt(exact)) / (3 * sigma_w**2) for sign in (-1, 1))
        assert point.q_star == pytest.approx(low, rel=1e-15 / math.sqrt(apart))
        assert point.escape == pytest.approx(high, rel=1e-15 / math.sqrt(apart))


def test_several_activations_and_weights_in_any_order():
    networks = [
        FeedForward(spec, sigma_w=1 + 0.1 * k, sigma_b=0.1, weights=weights)
        for k in range(9)
        for spec in ("tanh", "relu", "gelu")
        for weights in ("gaussian", "orthogonal")
    ]
    for network, together in zip(networks, fixed_points_of(networks), strict=True):
        assert_same(together, alone(network))
        if isinstance(together, tuple):
            assert together[0].network is network


def test_activations_of_ones_own_are_told_apart():
    """Two of the same name are equal, and yet not the same."""
    sine, half = activation("sin"), activation("tanh")
    pair = [type(half)(phi=act.phi, dphi=act.dphi, scale=1.0, odd=True) for act in (sine, half)]
    networks = [FeedForward(act, sigma_w=1.5 + 0.1 * k, sigma_b=0.2) for k in range(8) for act in pair]
    for network, together in zip(networks, fixed_points_of(networks), strict=True):
        assert_same(together, alone(network))
