"""The first order in 1/L against the theory at depth L, solved here without an expansion."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isocalc.errors import NoAnswerError
from isocalc.finite_depth import DepthLaw, depth_law
from isocalc.laws import UniversalLaw
from isocalc.network import ResNet
from isocalc.propagation import propagate

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(30)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
GATES = {
    "linear": (np.ones(1), np.ones(1)),
    "relu": (np.array([0.0, 1.0]), np.array([0.5, 0.5])),
    "tanh": (np.cosh(NODES) ** -4.0, WEIGHTS),
}


def log_s_of_layer(m, variance, gates, weights, t):
    """Solve one residual layer, a = 1: log S(m) and t = ψ⁻¹(m_X) of the gates, Newton from a guess of t.

    m = m_a + m_X and m_a (1 + m_a) = m_X (1 + m_X) S_X(m_X), with S_X = t (1 + m_X)/m_X over variance, and
    over 1 + m_X for Gaussian weights.
    """
    d, p = (array[:, None] for array in gates)
    power = 2 if weights == "orthogonal" else 1
    for _ in range(40):
        r = 1 / (1 - d * t)
        m_x, slope = (p * d * t * r).sum(0), (p * d * r * r).sum(0)
        m_a = m - m_x
        left, right = m_a * (1 + m_a), t * (1 + m_x) ** power / variance
        right_slope = ((1 + m_x) ** power + power * t * (1 + m_x) ** (power - 1) * slope) / variance
        step = (left - right) / (-(1 + 2 * m_a) * slope - right_slope)
        t = t - step
        if (np.abs(step) <= 1e-13 * np.abs(t)).all():
            break
    m_a = m - (p * d * t / (1 - d * t)).sum(0)
    return np.log(m_a * (1 + m_a) / (m * (1 + m))), t


def exact_law(c, depth, name, weights, y):
    """Return the distribution function at the ascending y, by Newton along a path from far right.

    The path: arg z = π/2 from far right to each y, then arg z to 0 (theory, section 5).
    """
    gates = GATES[name]
    variance = c / depth / (gates[0] * gates[1]).sum()
    far = y[-1] + 8 + 2 * c
    m = (1 + c / depth) ** depth * np.exp(-far - 0.5j * np.pi) * np.ones(y.size)
    t = variance * m
    path = [(far + (y - far) * part, np.pi / 2) for part in np.linspace(0, 1, 25)]
    path += [(y, np.pi / 2 * (1 - part) ** 2) for part in np.linspace(0, 1, 20)[1:]]
    for place, angle in path:
        for _ in range(20):
            log_s, t = log_s_of_layer(m, variance, gates, weights, t)
            ahead, _ = log_s_of_layer(m * (1 + 1e-7), variance, gates, weights, t)
            slope = -1 / (m * (1 + m)) - depth * (ahead - log_s) / (1e-7 * m)
            step = (np.log(1 + m) - np.log(m) - depth * log_s - place - 1j * angle) / slope
            m = m - step * np.minimum(1, 0.5 * np.abs(m) / np.maximum(np.abs(step), 1e-300))
            if (np.abs(step) <= 1e-10 * np.abs(m)).all():
                break
    density = -m.imag / np.pi
    mass = np.concatenate(([0.0], np.cumsum(np.diff(y) * (density[1:] + density[:-1]) / 2)))
    assert mass[-1] == pytest.approx(1, abs=2e-3)
    return mass / mass[-1]


def expansion(c, depth, name, weights):
    d, p = GATES[name]
    spread = (p * d * d).sum() / (p * d).sum() ** 2 - 1
    orthogonal = float(weights == "orthogonal")
    squares = c * c / depth
    skews, terms = squares * (orthogonal - spread), squares * max(spread, orthogonal)
    return DepthLaw(c, squares, skews, terms, c / depth, 0.0, depth * math.log1p(c / depth), depth)


def grid(c):
    edge = 2 * UniversalLaw(c, variable="log").log_s_max
    return -1.1 * edge * np.cos(np.linspace(0, np.pi, 300))


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("name", GATES)
def test_first_order_predicts_the_error_of_the_universal_law(name, weights):
    y = grid(1.0)
    left = {}
    for depth in (10, 50):
        law = expansion(1.0, depth, name, weights)
        exact = exact_law(1.0, depth, name, weights, y)
        universal = np.abs(exact - UniversalLaw(1.0, variable="log").cdf(y / 2)).max()
        assert law.ks == pytest.approx(universal, rel=0.2)
        left[depth] = np.abs(exact - law.cdf(y / 2)).max()
        assert left[depth] <= max(law.error * law.largest_density, 2e-4)
        assert left[depth] < universal / 8
    # Of second order: 25 times less at five times the depth.
    assert left[50] < left[10] / 8


def test_measured_distances_of_the_theory():
    # Linear, Gaussian, c = 1: measured against simulation.
    assert expansion(1.0, 4, "linear", "gaussian").ks == pytest.approx(0.036, abs=0.001)
    assert expansion(1.0, 100, "linear", "gaussian").ks == pytest.approx(0.0014, abs=0.00005)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(("name", "c"), [("linear", 4.0), ("relu", 0.1)])
def test_quantiles_are_off_by_the_error_stated(name, c, weights):
    law = expansion(c, 20, name, weights)
    y = grid(c)
    exact = exact_law(c, 20, name, weights, y)
    mass = np.array([0.05, 0.2, 0.5, 0.8, 0.95])
    np.testing.assert_allclose(law.ppf(mass), np.interp(mass, exact, y / 2), atol=1.5 * law.error)
    moments = [np.sum(np.diff(exact) * (y[1:] ** k + y[:-1] ** k) / 2) for k in (1, 2)]
    assert law.var_log_lambda == pytest.approx(
        moments[1] - moments[0] ** 2, abs=2 * math.sqrt(law.var_log_lambda) * law.error + 1e-3 * c
    )


@pytest.mark.parametrize("c", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("depth", [30, 300])
def test_edges_of_linear_gaussian_networks(c, depth):
    # m_X solves a quadratic; the upper edge is the least y(m) for m > 0, the lower the largest for m < −1.
    law = expansion(c, depth, "linear", "gaussian")

    def y(m):
        b = 1 + 2 * m + depth / c
        m_x = 2 * m * (1 + m) / (b + np.sqrt(b * b - 4 * m * (1 + m)))
        return np.log((1 + m) / m) - depth * np.log(m_x * depth / c / (m * (1 + m)))

    middle = (math.sqrt(1 + 2 / c) - 1) / 2
    m = middle * np.linspace(0.5, 2.0, 100_001)
    assert 2 * law.ppf([1.0])[0] == pytest.approx(y(m).min(), abs=5 * law.error + 1e-5)
    assert 2 * law.ppf([0.0])[0] == pytest.approx(y(-1 - m).max(), abs=5 * law.error + 1e-5)


def reference():
    path = Path(__file__).parent / "data" / "resnet_finite_depth.csv"
    with path.open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["depth"]) >= 10]


def test_reference_densities_at_finite_depth():
    universal, corrected = [], []
    for row in reference():
        net = ResNet(
            row["activation"],
            depth=int(row["depth"]),
            sigma_w=float(row["sigma_w"]),
            sigma_b=float(row["sigma_b"]),
            input_variance=float(row["input_variance"]),
            weights={"gauss": "gaussian", "haar": "orthogonal"}[row["weights"]],
        )
        law = depth_law(net)
        s, density = float(row["singular_value"]), float(row["density"])
        if abs(math.log(s)) > 0.9 * law.half_width:
            continue  # at an edge the density is all displacement
        step = 0.01 * np.array([-1.0, 1.0])
        found = np.diff(law.cdf(math.log(s) + step))[0] / 0.02 / s
        universal.append(abs(UniversalLaw(law.c).pdf(s) / density - 1))
        corrected.append(abs(found / density - 1))
        assert corrected[-1] < max(5 * law.error / law.half_width, 2e-3)
    assert len(universal) >= 8
    assert np.mean(corrected) < np.mean(universal) / 5


@pytest.mark.parametrize("c", [1e-12, 1e-3, 1.0, 30.0])
def test_without_correction_it_is_the_universal_law(c):
    law = DepthLaw(c, 0.0, 0.0, 0.0, c, 2.0, c, 1)
    universal = UniversalLaw(c, variable="log")
    mass = np.array([1e-3, 0.1, 0.5, 0.7, 0.99])
    np.testing.assert_allclose(law.ppf(mass) - 2, universal.ppf(mass), atol=1e-6 * law.half_width)
    x = universal.ppf(mass)
    np.testing.assert_allclose(law.cdf(2 + x), mass, atol=1e-6)
    assert law.half_width == pytest.approx(universal.log_s_max, rel=1e-6)
    assert law.var_log_lambda == pytest.approx(2 * c + c * c / 3, rel=1e-5)
    assert law.largest_density == pytest.approx(float(universal.pdf(0.0)), rel=1e-6)
    assert law.ks == law.error == 0
    assert law.is_accurate


def test_sums_over_layers():
    net = ResNet("tanh", depth=300, sigma_w=1.5, sigma_b=0.3, skip=0.9, weights="orthogonal")
    found = propagate(net)
    layers = found.c_per_layer / 300
    x = np.sqrt(found.q)[:, None] * np.polynomial.hermite_e.hermegauss(60)[0]
    w = np.polynomial.hermite_e.hermegauss(60)[1] / math.sqrt(2 * math.pi)
    gates = np.cosh(x) ** -4.0
    spread = (gates**2 @ w) / (gates @ w) ** 2 - 1
    law = depth_law(net)
    assert law.c == pytest.approx(layers.sum())
    assert law.squares == pytest.approx((layers**2).sum())
    assert law.skews == pytest.approx((layers**2 * (1 - spread)).sum(), rel=1e-4)
    assert law.terms == pytest.approx((layers**2).sum())
    assert law.strongest == pytest.approx(layers.max())
    assert law.mean_log_s == pytest.approx(300 * math.log(0.9))
    assert law.log_mean_lambda == pytest.approx(np.log(0.81 * (1 + layers)).sum())


def test_relu_and_linear_networks():
    # v = 1 for gates that are open half of the time.
    assert depth_law(ResNet("relu", depth=10, sigma_w=2.0)).skews == pytest.approx(-0.4)
    assert depth_law(ResNet("relu", depth=10, weights="orthogonal")).skews == pytest.approx(0, abs=1e-15)
    assert depth_law(ResNet("linear", depth=10)).skews == 0
    assert depth_law(ResNet("linear", depth=10, weights="orthogonal")).skews == pytest.approx(0.1)


def test_a_point_mass():
    law = depth_law(ResNet("tanh", depth=7, sigma_w=0.0, skip=2.0))
    np.testing.assert_allclose(law.ppf([0.0, 0.3, 1.0]), 7 * math.log(2), rtol=1e-14)
    assert law.error == 0
    assert law.is_accurate
    closed = depth_law(ResNet("hardshrink", depth=5, sigma_w=1e-3))
    assert closed.c == closed.terms == 0


def test_too_small_a_depth_is_noticed():
    assert not expansion(1.0, 1, "linear", "gaussian").is_accurate
    assert not expansion(4.0, 4, "linear", "gaussian").is_accurate
    assert expansion(1.0, 4, "linear", "gaussian").is_accurate
    # Gates that are almost never open.
    assert not depth_law(ResNet("hardshrink", depth=20)).is_accurate
    # Even then quantiles ascend.
    assert (np.diff(expansion(9.0, 2, "relu", "orthogonal").ppf(np.linspace(0, 1, 50))) >= 0).all()


def test_gates_that_hardly_ever_open_leave_the_universal_law():
    # The relative variance of φ'² in {0, 1} is 1/P − 1, P = erfc(√2) for hardshrink:2 at q = 1.
    law = depth_law(ResNet("hardshrink:2", depth=20, sigma_w=2.0))
    chances = propagate(ResNet("hardshrink:2", depth=20, sigma_w=2.0)).c_per_layer / 4
    weights = chances**2 / np.sum(chances**2)
    assert law.gate_variance == pytest.approx(np.sum(weights * (1 / chances - 1)), rel=1e-2)
    for network in (ResNet("hardshrink:2", depth=20), ResNet("hardshrink:5", depth=5)):
        law = depth_law(network)
        assert law.limited_by_gates
        assert not law.is_accurate
        edges = law.ppf([0.0, 1.0])
        np.testing.assert_allclose(edges, [-law.half_width, law.half_width], rtol=1e-5)
        assert law.var_log_lambda == pytest.approx(2 * law.c, rel=1e-5)
    assert not expansion(1.0, 1, "linear", "gaussian").limited_by_gates
    assert not expansion(1.0, 100, "relu", "gaussian").limited_by_gates


def test_overflow_is_said():
    with pytest.raises(NoAnswerError, match="overflow"):
        depth_law(ResNet("squared_relu", depth=40, sigma_w=3.0))


def test_laws_are_values():
    law = expansion(1.0, 10, "relu", "gaussian")
    assert replace(law, c=1.05).var_log_lambda > law.var_log_lambda
    assert law == expansion(1.0, 10, "relu", "gaussian")
