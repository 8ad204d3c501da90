import math

import numpy as np
import pytest
from naive import products
from scipy import integrate

from isocalc import FeedForward, ResNet, spectrum
from isocalc.laws.free.factors import ClosedForm, Place
from isocalc.laws.free.network_factors import layers
from isocalc.laws.free.product import FreeProduct

HE, CHAIN = math.sqrt(2), (100, 150, 70, 80)
NETWORKS = {
    "one gaussian": FeedForward("linear", depth=1),
    "gaussian relu": FeedForward("relu", depth=10, sigma_w=HE),
    "gaussian tanh": FeedForward("tanh", depth=5, sigma_w=1.3, sigma_b=0.2),
    "orthogonal tanh": FeedForward("tanh", depth=100, weights="orthogonal", sigma_w=1.1, sigma_b=0.1),
    "orthogonal hardtanh": FeedForward(
        "hardtanh", depth=6, weights="orthogonal", sigma_w=1.05, sigma_b=0.05, input_variance=2.0
    ),
    "gaussian chain": FeedForward("relu", depth=3, sigma_w=HE, layer_widths=CHAIN),
    "semi-orthogonal chain": FeedForward(
        "relu", depth=3, sigma_w=HE, weights="orthogonal", layer_widths=CHAIN
    ),
    "residual linear": ResNet("linear", depth=4),
    "residual gaussian": ResNet("tanh", depth=5, sigma_w=3),
    "residual orthogonal": ResNet("hardtanh", depth=30, weights="orthogonal"),
    "preln gaussian": ResNet("tanh", depth=5, block="preln", sigma_w=1.5, sigma_w2=2.0, hidden_ratio=0.6),
    "preln orthogonal": ResNet(
        "hardtanh", depth=5, block="preln", weights="orthogonal", sigma_w=1.5, sigma_w2=2.0, hidden_ratio=1.5
    ),
    "residual rotation": ResNet("linear", depth=3, weights="orthogonal"),
}
CLOSED = ("universal", "smooth", "bernoulli")


def product_of(name):
    if name in CLOSED:
        return FreeProduct([ClosedForm(name, 0.7)], [1.0])
    found = layers(NETWORKS[name])
    return FreeProduct(found.factors, found.counts)


each_product = pytest.mark.parametrize("name", [*NETWORKS, *CLOSED])


def places(product):
    width = math.sqrt(math.log1p(product.relative_variance))
    return np.linspace(product.log_mean - 5 * width, product.log_mean + 1.5 * width, 40)


@each_product
def test_solutions_solve(name):
    product = product_of(name)
    y = places(product)
    state = product.solve(y)
    total, _ = Place.of(state[0], product.mass_at_zero).seen_with(0.0)
    sizes = np.abs(total) + np.abs(y)
    for counts, tangent in product.tangents(state):
        total = total - (counts * tangent.log_s).sum(axis=0)
        sizes += (counts * np.abs(tangent.log_s)).sum(axis=0)
    assert (np.abs(total - y) < 1e-12 * sizes).all()


@each_product
def test_solutions_have_the_half_planes_of_theory(name):
    product = product_of(name)
    state = product.solve(places(product))
    assert (state[0].imag > -1e-12).all()
    assert (state[0].imag < math.pi + 1e-12).all()
    assert (product.density_of(state[0]) >= 0).all()


@each_product
def test_survival_is_the_integral_of_the_density(name):
    product = product_of(name)
    ends = places(product)[[8, 25]]
    # A quadrature of many panels: densities have edges with infinite slopes.
    nodes, weights = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(*ends, 41)
    half = np.diff(edges) / 2
    y = ((edges[:-1] + half)[:, None] + half[:, None] * nodes).ravel()
    density = product.density_of(product.solve(y)[0]).reshape(40, 10)
    panels = half * (density @ weights)
    above = product.survival(product.solve(edges))
    smooth = density.min(axis=1) > 0.3 * density.max()
    assert smooth.any()
    assert panels[smooth] == pytest.approx((above[:-1] - above[1:])[smooth], rel=1e-9)


@pytest.mark.parametrize("name", ["gaussian relu", "residual gaussian", "semi-orthogonal chain", "smooth"])
def test_survival_by_adaptive_quadrature(name):
    product = product_of(name)

    def density(y):
        return float(product.density_of(product.solve(np.array([y]))[0])[0])

    width = math.sqrt(math.log1p(product.relative_variance))
    low, high = product.log_mean - width, product.log_mean - 0.2 * width
    mass, _ = integrate.quad(density, low, high, epsabs=1e-12, epsrel=1e-12, limit=200)
    above = product.survival(product.solve(np.array([low, high])))
    assert mass == pytest.approx(above[0] - above[1], abs=1e-11)


@each_product
def test_answers_do_not_depend_on_what_was_asked_before(name):
    product, fresh = product_of(name), product_of(name)
    y = places(product)
    for value in np.random.default_rng(1).permutation(y):
        product.solve(np.array([value]))
    ours = product.density_and_survival(y[::-1].copy())
    for found, expected in zip(ours, fresh.density_and_survival(y), strict=True):
        assert found[::-1] == pytest.approx(expected, rel=1e-10, abs=1e-13)


# The limit of gates that close has mass so far down that y carries the rounding of 1e12: it is refused there.
@pytest.mark.parametrize("name", [*NETWORKS, *(name for name in CLOSED if name != "bernoulli")])
def test_no_mass_beyond_both_ends(name):
    product = product_of(name)
    inside = np.array([product.left, np.nextafter(product.right, -np.inf)])
    density, survival = product.density_and_survival(inside)
    assert survival == pytest.approx([1 - product.mass_at_zero, 0], abs=1e-9)
    assert (density < 1e-10).all()


def test_a_factor_twice_is_a_count_of_two():
    (factor,) = layers(NETWORKS["gaussian relu"]).factors
    once, twice = FreeProduct([factor], [2.0]), FreeProduct([factor, factor], [1.0, 1.0])
    y = places(once)
    for found, expected in zip(twice.density_and_survival(y), once.density_and_survival(y), strict=True):
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_the_order_of_factors_does_not_matter():
    factors = [layers(NETWORKS[name]).factors[0] for name in ("gaussian relu", "residual gaussian")]
    forth, back = FreeProduct(factors, [2.0, 1.0]), FreeProduct(factors[::-1], [1.0, 2.0])
    y = places(forth)
    for found, expected in zip(back.density_and_survival(y), forth.density_and_survival(y), strict=True):
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-13)


# --- The slow twin -----------------------------------------------------------------------------------------

# What NETWORKS has no like of: kinks, smooth gates of many kinds, bends on both sides, blocks, skips.
MORE = {
    "gaussian silu": FeedForward("silu", depth=3, sigma_w=1.5, input_variance=1.0),
    "gaussian softplus": FeedForward("softplus:5", depth=4, sigma_w=0.8, sigma_b=0.3),
    "orthogonal leaky_relu": FeedForward("leaky_relu:0.2", depth=3, weights="orthogonal"),
    "orthogonal erf": FeedForward("erf", depth=3, weights="orthogonal", sigma_w=1.4, sigma_b=0.3),
    "orthogonal sin": FeedForward("sin", depth=2, weights="orthogonal", sigma_w=1.2, sigma_b=0.5),
    "gaussian tanh chain": FeedForward("tanh", depth=3, sigma_w=HE, input_variance=1.0, layer_widths=CHAIN),
    "semi-orthogonal elu chain": FeedForward(
        "elu",
        depth=4,
        sigma_w=1.2,
        weights="orthogonal",
        input_variance=1.0,
        layer_widths=(100, 40, 70, 80, 300),
    ),
    "orthogonal elu, a point mass about to be born": FeedForward(
        "elu", depth=2, weights="orthogonal", sigma_w=1.1, input_variance=1.0
    ),
    "one residual orthogonal relu": ResNet("relu", depth=1, weights="orthogonal", sigma_w=2),
    "residual relu": ResNet("relu", depth=10),
    "residual selu": ResNet("selu", depth=2, sigma_w=2, skip=0.8, block="pre"),
    "residual orthogonal tanh": ResNet("tanh", depth=2, sigma_w=2.5, weights="orthogonal", skip=-1.2),
    "preln relu": ResNet("relu", depth=5, block="preln", sigma_w=1.5, sigma_w2=2.0),
    "preln narrow orthogonal": ResNet(
        "softplus",
        depth=3,
        block="preln",
        weights="orthogonal",
        sigma_w=1.5,
        sigma_w2=2.0,
        hidden_ratio=0.5,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, *MORE])
def test_the_slow_twin_finds_the_same_densities(name):
    network = (NETWORKS | MORE)[name]
    law = spectrum(network, "log", law="layered")
    zeros = sum(mass for place, mass in law.atoms if place == -math.inf)
    log_s = law.ppf(zeros + (1 - zeros) * np.array([0.3, 0.8]))
    log_s = log_s[[all(abs(x - place) > 1e-6 for place, _ in law.atoms) for x in log_s]]
    assert log_s.size
    expected = 2 * np.array(products.densities(network, 2 * log_s))
    assert law.pdf(log_s) == pytest.approx(expected, rel=1e-9)


def test_the_slow_twin_by_a_closed_form():
    # One Gaussian layer: the quarter circle.
    s = np.array([0.1, 1.0, 1.9])
    twin = 2 * np.array(products.densities(NETWORKS["one gaussian"], 2 * np.log(s)))
    assert twin == pytest.approx(s * np.sqrt(4 - s * s) / math.pi, rel=1e-12)
