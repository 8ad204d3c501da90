"""How wrong laws are predicted to be: against closed forms, mpmath, sampling and the laws themselves."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from mpmath import mp
from scipy.stats import multivariate_normal

from isocalc.activations.averages import averages
from isocalc.activations.catalogue import activation
from isocalc.errors import NoAnswerError
from isocalc.laws import universal_error
from isocalc.laws.free.law import LayeredLaw
from isocalc.laws.gates.covariances import GatePairs
from isocalc.laws.paths.law import ExactLaw
from isocalc.laws.spectrum import spectrum
from isocalc.laws.universal_error import (
    depth_error,
    error_of_kappa,
    has_correlated_gates,
    kappa_of,
    law_errors,
    pair_rule,
    sum_rule,
)
from isocalc.networks.descriptions import ResNet
from isocalc.signal.propagation import propagate


def covariance(name, q_x, q_y, correlation, *, series=True):
    act = activation(name)
    pairs = GatePairs(act, min(q_x, q_y), max(q_x, q_y), series=series)
    means = [averages(act, np.array([q])).gate for q in (q_x, q_y)]
    return float(pairs.covariances(np.array([q_x]), np.array([q_y]), np.array([correlation]), *means)[0])


# --- Covariances of gates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.0, 0.3, 0.999, 1.0])
def test_relu_gates_are_an_orthant_probability(correlation):
    expected = math.asin(correlation) / (2 * math.pi)
    assert covariance("relu", 0.3, 7.0, correlation) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("q_x", "q_y", "correlation"), [(1.0, 1.0, 0.6), (0.4, 0.7, 0.95), (30.0, 31.0, 0.99)]
)
def test_hard_tanh_gates_are_bivariate_normal_probabilities(q_x, q_y, correlation):
    law = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
    h, k = 1 / math.sqrt(q_x), 1 / math.sqrt(q_y)
    both = law.cdf([h, k], lower_limit=[-h, -k])
    alone = [math.erf(end / math.sqrt(2)) for end in (h, k)]
    expected = both - alone[0] * alone[1]
    assert covariance("hardtanh", q_x, q_y, correlation) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("q_x", "q_y", "correlation"), [(1.0, 1.3, 0.8), (4.0, 4.2, -0.97), (0.01, 0.02, 0.5)]
)
@pytest.mark.parametrize("series", [True, False])
def test_tanh_gates_in_mpmath(q_x, q_y, correlation, series):
    with mp.workdps(20):
        spread = mp.sqrt(1 - mp.mpf(correlation) ** 2)
        gate = {q: lambda x, q=q: mp.sech(mp.sqrt(q) * x) ** 4 for q in (q_x, q_y)}
        # Trapezoid sums: their error falls like exp(-2 pi d/h), d >= 0.7 the distance of the poles.
        z = [mp.mpf(k) / 8 for k in range(-72, 73)]
        weights = [mp.npdf(x) / 8 for x in z]
        both = mp.fsum(
            a
            * gate[q_x](x)
            * mp.fsum(b * gate[q_y](correlation * x + spread * w) for w, b in zip(z, weights, strict=True))
            for x, a in zip(z, weights, strict=True)
        )
        alone = [mp.fsum(a * gate[q](x) for x, a in zip(z, weights, strict=True)) for q in (q_x, q_y)]
        expected = float(both - alone[0] * alone[1])
    assert covariance("tanh", q_x, q_y, correlation, series=series) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", ["sin", "snake:0.7"])
@pytest.mark.parametrize("correlation", [-0.6, 0.98])
def test_gates_that_are_waves(name, correlation):
    """cos² x = (1 + cos 2x)/2 and 1 + sin 2ax: products of cosines have Gaussian averages in closed form."""
    q_x, q_y = 0.8, 1.1
    cross = correlation * math.sqrt(q_x * q_y)

    def waves(kind, s, t):
        """Cov of sin sx, sin ty (kind −1) or of cosines (+1)."""
        size = math.exp(-(s * s * q_x + t * t * q_y) / 2)
        near, far = math.exp(s * t * cross), math.exp(-s * t * cross)
        return size * ((near + far) / 2 - 1 if kind > 0 else (near - far) / 2)

    expected = {
        "sin": waves(1, 2, 2) / 4,
        # (1 + sin 2ax)² = 3/2 + 2 sin 2ax − cos(4ax)/2
        "snake:0.7": 4 * waves(-1, 1.4, 1.4) + waves(1, 2.8, 2.8) / 4,
    }[name]
    assert covariance(name, q_x, q_y, correlation) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["elu", "selu", "hardswish", "softsign", "squared_relu", "gelu", "mish"])
@pytest.mark.parametrize("correlation", [-0.8, 0.3, 0.97])
def test_series_and_quadrature_agree(name, correlation):
    found = [covariance(name, 1.0, 1.6, correlation, series=series) for series in (True, False)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_sampled_gates():
    """SELU, seed 3: 4 standard errors, of 4 million pairs, are a chance of 6e-5."""
    x, w = np.random.default_rng(3).standard_normal((2, 4_000_000))
    act, correlation = activation("selu"), 0.9
    y = correlation * x + math.sqrt(1 - correlation**2) * w
    one, other = act.dphi(x) ** 2, act.dphi(1.2 * y) ** 2
    products = (one - one.mean()) * (other - other.mean())
    error = products.std() / math.sqrt(products.size)
    assert covariance("selu", 1.0, 1.44, correlation) == pytest.approx(products.mean(), abs=4 * error)
    assert error < 2e-3 * products.mean()


def test_polynomial_gates():
    """Squared ReLU: 16 Cov(x² 1, y² 1) over x, y > 0, in closed form (Cho and Saul 2009)."""
    r = 0.7
    assert covariance("squared_relu", 1.0, 1.0, 1.0) == pytest.approx(16 * (3 / 2 - 1 / 4), rel=1e-6)
    angle = math.asin(r)
    # 16 E x² y² over x, y > 0: the orthant's mass times 1 + 2r², and its boundary's part.
    both = (1 + 2 * r * r) * (1 / 4 + angle / (2 * math.pi)) + 3 * r * math.sqrt(1 - r * r) / (2 * math.pi)
    assert covariance("squared_relu", 1.0, 1.0, r) == pytest.approx(16 * (both - 1 / 4), rel=1e-6)


# --- Sums over layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "first"), [(0, 1), (1, 1), (17, 5), (300, 300), (4000, 20), (200_000, 7)])
def test_sums_over_layers(count, first):
    numbers, weights = sum_rule(count, first, 12)
    every = np.arange(1.0, count + 1)
    for function in (np.ones_like, np.sqrt, lambda k: np.exp(-k / max(count, 1)) * k**1.5):
        assert float(weights @ function(numbers.astype(float))) == pytest.approx(
            float(function(every).sum()), rel=1e-7
        )


@pytest.mark.parametrize("stride", [1, 2])
def test_sums_over_pairs(stride):
    count = 90

    def term(k, distance):
        return np.sqrt(distance) * np.exp(-k / 50) * (1.5 + (-1) ** (distance * (stride - 1)))

    expected = sum(term(k, later - k) for k, later in itertools.combinations(range(1, count + 1), 2))
    found = sum(float(weights @ term(k, d)) for d, k, weights in pair_rule(count, count, 12, stride))
    assert found == pytest.approx(expected, rel=1e-6)


# --- κ -----------------------------------------------------------------------------------------------------

NETWORKS = [
    ResNet("relu", depth=60, block="pre", sigma_w=1.0),
    ResNet("relu", depth=60, block="pre", sigma_w=1.5, skip=-1.0),
    ResNet("hardtanh", depth=60, block="pre", sigma_w=2.0, skip=0.9, sigma_b=0.1),
    ResNet("tanh", depth=60, block="pre", sigma_w=2.0, input_variance=4.0),
    ResNet("gelu", depth=60, block="pre", sigma_w=1.5, skip=-1.0),
    ResNet("sin", depth=60, block="pre", sigma_b=1.0, input_variance=1e-4),
]


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.activation)
def test_kappa_is_a_sum_over_pairs_of_layers(net, monkeypatch):
    signal = propagate(net)
    few = kappa_of(net, signal)
    monkeypatch.setattr(universal_error, "ALL_PAIRS", 10**9)
    # Where signs alternate, of what is left of the sums over even and over odd distances.
    alike = abs(kappa_of(replace(net, skip=abs(net.skip)), signal))
    assert few == pytest.approx(kappa_of(net, signal), abs=2e-6 * alike)


def test_kappa_of_relu_in_closed_form():
    """Cov = asin(a^(l−k) √(q_k/q_l)) / 2π, and E d² = 1/2 in every layer."""
    net = ResNet("relu", depth=7, block="pre", sigma_w=1.3, skip=-0.9, sigma_b=0.2, input_variance=2.0)
    v, a, q = 1.3**2 / 7, -0.9, [2.0]
    for _ in range(7):
        q.append(a * a * q[-1] + v * q[-1] / 2 + 0.04)
    kappa = sum(
        2
        * (v / a**2) ** 2
        * math.asin(a ** (j - i) * math.sqrt(q[i] / q[j]))
        / (2 * math.pi)
        * math.exp(-(j - i) * v / 2 / a**2)
        for i, j in itertools.combinations(range(7), 2)
    )
    assert kappa_of(net, propagate(net)) == pytest.approx(kappa, rel=1e-13)


@pytest.mark.parametrize("act", ["relu", "tanh", "elu"])
def test_kappa_converges_with_depth(act):
    shallow, deep, deepest = (
        law_errors(ResNet(act, depth=depth, block="pre")).kappa for depth in (1000, 4000, 10**6)
    )
    assert deep == pytest.approx(deepest, rel=1e-3)
    assert abs(deep - deepest) < 0.3 * abs(shallow - deepest)


@pytest.mark.parametrize(
    "net",
    [
        ResNet("relu"),
        ResNet("linear", block="pre"),
        ResNet("leaky_relu:1", block="pre"),
        ResNet("tanh", depth=1, block="pre"),
        ResNet("relu", block="pre", sigma_w=0.0),
    ],
)
def test_gates_that_are_not_correlated(net):
    errors = law_errors(net)
    assert (errors.kappa, errors.correlated) == (0.0, 0.0)
    assert has_correlated_gates(net) == (net.sigma_w == 0)


def test_the_size_of_the_error_of_correlated_gates():
    """κ = 0.7, c = 1 by the formula; measured distances of simulations at L = 40 are below it."""
    assert error_of_kappa(-0.7, 1.0) == pytest.approx(1.25 * 0.7 / (2 * math.pi) * (0.41 + 0.09 / 11))
    for net, distance in (
        (ResNet("tanh", depth=40, block="pre", sigma_w=2.0, input_variance=4.0), 0.061),
        (ResNet("tanh", depth=40, block="pre"), 0.027),
        (ResNet("relu", depth=40, block="pre", sigma_w=2.0), 0.049),
        (ResNet("gelu", depth=40, block="pre", sigma_w=2.0), 0.054),
    ):
        assert 0.8 * distance < law_errors(net).universal < 1.5 * distance


def test_what_overflows_is_said():
    with pytest.raises(NoAnswerError, match="explodes"):
        law_errors(ResNet("relu", block="pre", skip=100.0, depth=1000))
    errors = law_errors(ResNet("linear", sigma_w=2e3))
    assert (errors.layered, errors.depth, errors.universal) == (0.0, None, None)


# --- The error of finite depth -----------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(
    ("act", "depth", "sigma_w"),
    [("linear", 20, 1.0), ("relu", 100, 1.0), ("tanh", 50, 1.5), ("gelu", 400, 2.0), ("hardtanh", 400, 0.5)],
)
def test_the_error_of_depth_is_that_of_the_layered_law(act, depth, sigma_w, weights):
    net = ResNet(act, depth=depth, sigma_w=sigma_w, weights=weights)
    universal, layered = (spectrum(net, "log", law=law) for law in ("universal", "layered"))
    x = np.linspace(1.02 * universal.log_edge_lower, 1.02 * universal.log_edge_upper, 600)
    distance = np.abs(universal.cdf(x) - layered.cdf(x)).max()
    # The next order of 1/L.
    assert depth_error(net, propagate(net)) == pytest.approx(distance, rel=0.01 + 2 / depth)


def test_the_error_of_depth_does_not_cost_more_with_it():
    deep, deeper = (law_errors(ResNet("tanh", depth=depth)).depth for depth in (10**4, 10**5))
    assert deep == pytest.approx(10 * deeper, rel=1e-3)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(
    ("act", "sigma_w", "depth"), [("relu", 1.0, 2), ("relu", 2.0, 8), ("hardtanh", 2.0, 5)]
)
def test_gates_that_commute_are_told_from_free_ones(act, sigma_w, depth, weights):
    """The exact law of all patterns of gates is the independent value."""
    net = ResNet(act, depth=depth, sigma_w=sigma_w, weights=weights)
    free, exact = LayeredLaw.of(net, "log"), ExactLaw.of(net, "log")
    assert exact.error == 0
    places = free.ppf(np.linspace(0.01, 0.99, 99))
    found = np.abs(exact.cdf(places) - free.cdf(places)).max()
    assert found < law_errors(net).layered < 6 * found
