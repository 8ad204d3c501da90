import numpy as np
import pytest

from isocalc import ResNet, spectrum
from isocalc.laws.free.edges import ends_of_weak_layers
from isocalc.laws.free.network_factors import layers
from isocalc.laws.free.product import FreeProduct


def product_of(network):
    found = layers(network)
    return FreeProduct(found.factors, found.counts)


WEAK = {
    "relu": ResNet("relu", depth=100, sigma_w=2.0),
    "relu of few layers": ResNet("relu", depth=30, sigma_w=1.5),
    "orthogonal": ResNet("tanh", depth=60, sigma_w=1.5, weights="orthogonal"),
    "gates of every size": ResNet("gelu", depth=100, sigma_w=2.2),
    "biases": ResNet("erf", depth=50, sigma_w=0.7, sigma_b=0.5),
    "next to no weights": ResNet("tanh", depth=40, sigma_w=1e-4),
}


@pytest.mark.parametrize("name", WEAK)
def test_edges_of_weak_layers_are_those_walked_to_from_outside(name):
    low, high = ends_of_weak_layers(product_of(WEAK[name]))
    walked = product_of(WEAK[name]).ends
    assert low == pytest.approx(walked[0].y, rel=1e-12)
    assert high == pytest.approx(walked[1].y, rel=1e-12)


def test_edges_without_activation_are_those_of_s_transforms():
    # A layer x + √v G x has S(m) = 1/T(ξ), T = m_a (1 + m_a) and m_a + v T = m.
    L, v = 50, 1.3**2 / 50

    m = np.geomspace(0.05, 5, 200_001)
    m_a = (np.sqrt((1 + v) ** 2 + 4 * v * m) - (1 + v)) / (2 * v)
    log_z = np.log((1 + m) / m) - L * np.log(m_a * (1 + m_a) / (m * (1 + m)))
    _, high = ends_of_weak_layers(product_of(ResNet("linear", depth=L, sigma_w=1.3)))
    assert high == pytest.approx(log_z.min(), abs=1e-9)


@pytest.mark.parametrize(
    "network",
    [
        ResNet("squared_relu", depth=100),  # gates have no largest value: no upper edge
        ResNet("relu", depth=2, sigma_w=2.0),  # strong layers
        ResNet("hardshrink", depth=100, sigma_w=0.8),  # gates are next to never open
    ],
)
def test_other_layers_are_left_to_the_walk(network):
    assert ends_of_weak_layers(product_of(network)) is None


def test_edges_are_those_of_the_support():
    network = ResNet("tanh", depth=10, sigma_w=1.5)
    alone, law = (spectrum(network, "log", law="layered") for _ in range(2))
    (interval,) = law.support()
    assert (alone.log_edge_lower, alone.log_edge_upper) == pytest.approx(interval, rel=1e-12)
