"""The signal and the law of pre-LayerNorm blocks: closed forms, a slow twin, and simulation.

Simulations have fixed seeds. The KS distance of eight networks of N = 300 to a right law is that of rigid
eigenvalues and of 1/N: 0.0058 on the mean, with a standard deviation of 0.0017, in 120 runs of networks like
those here, and 0.0111 at most: 0.014, 4.8 deviations away, rejects a right law in fewer than 1 of 1000 runs.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from naive.layernorm import NaiveLayerNorm
from scipy import integrate

from isocalc import NoAnswerError, ResNet, propagate, spectrum
from isocalc.judging.judge import judge
from isocalc.judging.outliers import set_aside
from isocalc.judging.width_law import WidthLaw
from isocalc.laws.free.network_factors import layers
from isocalc.simulation.simulate import spectra

GELU = ResNet("gelu", depth=5, block="preln", sigma_w=1.5, sigma_w2=2.0)
NETWORKS = [
    GELU,
    replace(GELU, hidden_ratio=1.0),
    ResNet(
        "tanh", depth=3, block="preln", sigma_w=1.5, sigma_w2=3.0, sigma_b=0.4, skip=-0.8, hidden_ratio=0.7
    ),
    ResNet("relu", depth=2, block="preln", sigma_w=1.5, sigma_w2=2.0, hidden_ratio=0.9, input_variance=2.0),
]
names = [f"{net.activation} {net.hidden_ratio}" for net in NETWORKS]
each_network = pytest.mark.parametrize("net", NETWORKS, ids=names)


def normal_mean(function, sigma):
    def integrand(z):
        return function(np.array([sigma * z]))[0] * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return sum(integrate.quad(integrand, *ends, epsabs=1e-14)[0] for ends in ((-12, 0), (0, 12)))


@pytest.mark.parametrize("skip", [1.0, -1.0, 0.9, 1.2])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_the_signal_layer_by_layer(activation, skip):
    net = ResNet(
        activation,
        depth=7,
        block="preln",
        sigma_w=1.3,
        sigma_b=0.6,
        sigma_w2=1.7,
        skip=skip,
        input_variance=0.4,
    )
    found, sigma = propagate(net), math.sqrt(1.3**2 + 0.6**2)
    image = normal_mean(lambda x: net.act.phi(x) ** 2, sigma)
    gate = normal_mean(lambda x: net.act.dphi(x) ** 2, sigma)
    p, growth = 0.4, 1.0
    for layer in range(7):
        c = 1.7**2 * 1.3**2 * gate / p / skip**2
        assert found.c_per_layer[layer] == pytest.approx(c, rel=1e-12)
        growth *= skip**2 * (1 + c / 7)
        p = skip**2 * p + 1.7**2 / 7 * image
        assert found.second_moment[layer] == pytest.approx(p, rel=1e-12)
    assert found.q == pytest.approx([sigma**2] * 7, rel=1e-15)
    assert found.c == pytest.approx(found.c_per_layer.mean(), rel=1e-14)
    assert found.mean_lambda == pytest.approx(growth, rel=1e-12)
    assert not found.mean.any()


def test_linear_blocks_in_closed_form():
    """p grows by σ₁²σ₂²/L a layer, and E λ by what the next p has over it: their product telescopes."""
    found = propagate(ResNet("linear", depth=10**5, block="preln", sigma_w=1.5, sigma_w2=2.0))
    assert found.output_second_moment == pytest.approx(1 + 9, rel=1e-13)
    assert found.mean_lambda == pytest.approx(1 + 9, rel=1e-11)
    assert found.c == pytest.approx(math.log(10), rel=1e-4)


@pytest.mark.parametrize(("ratio", "first", "second"), [(4.0, 0.25, 1.0), (1.0, 1.0, 1.0), (0.25, 1.0, 0.25)])
def test_semi_orthogonal_matrices_gain_less_where_they_widen(ratio, first, second):
    net = ResNet("relu", depth=2, block="preln", weights="orthogonal", sigma_w=3.0, hidden_ratio=ratio)
    found = propagate(net)
    assert found.q_first == pytest.approx(9 * first, rel=1e-15)
    assert found.c_per_layer[0] == pytest.approx(9 * first * second / 2, rel=1e-13)
    assert found.second_moment[0] == pytest.approx(1 + second / 2 * 9 * first / 2, rel=1e-13)


def test_blocks_without_weights():
    for scales in ({"sigma_w": 0.0}, {"sigma_w2": 0.0}):
        net = ResNet("softplus", depth=3, block="preln", skip=-0.5, **scales)
        assert propagate(net).c == 0
        assert spectrum(net, "log", law="layered").atoms == ((pytest.approx(3 * math.log(0.5)), 1.0),)
        assert spectra(net, 12, 1, 1)[0] == pytest.approx([3 * math.log(0.5)] * 12, rel=1e-14)


def test_a_signal_that_vanishes():
    with pytest.raises(NoAnswerError, match="the signal vanishes"):
        propagate(ResNet("hardshrink:9", depth=2000, block="preln", skip=0.5, sigma_w=0.1))


@each_network
def test_the_density_is_that_of_the_equations_of_one_path(net):
    slow, law = NaiveLayerNorm(net), spectrum(net, "log", law="layered")
    for y in (-0.9, -0.2, 0.5):
        assert law.pdf(y / 2) / 2 == pytest.approx(slow.density(y), rel=1e-9)


@each_network
def test_moments_are_integrals_and_those_of_the_equations(net):
    law = spectrum(net, "lambda", law="layered")
    assert law.mean() == pytest.approx(propagate(net).mean_lambda, rel=1e-12)
    # m(z) = m₁/z + m₂/z² + ...: the mean over a circle far out leaves one of them.
    z = 4 * law.support()[-1][1] * np.exp(2j * np.pi * (np.arange(16) + 0.5) / 16)
    m = np.array([NaiveLayerNorm(net).m(point) for point in z[:8]])
    first, second = (float((m * z[:8] ** k).real.mean()) for k in (1, 2))
    assert law.mean() == pytest.approx(first, rel=1e-8)
    assert law.var() + law.mean() ** 2 == pytest.approx(second, rel=1e-7)
    assert law.moment(2) == pytest.approx(second, rel=1e-7)


@pytest.mark.parametrize("sigma_w", [0.9, 1.1, 4.0])
def test_mean_log_of_one_linear_layer_in_closed_form(sigma_w):
    """Eigenvalues of W₂ W₁, ρ = 1: |x|² = v U², U uniform; E log λ = 2 E log max(1, |x|)."""
    net = ResNet("linear", depth=1, block="preln", sigma_w=sigma_w, hidden_ratio=1.0)
    expected = 2 * math.log(sigma_w) - 2 + 2 / sigma_w if sigma_w > 1 else 0.0
    assert 2 * spectrum(net, law="layered").mean_log_s == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(("weights", "ratio"), [("gaussian", 0.6), ("gaussian", 3.0), ("orthogonal", 3.0)])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_mean_of_log_s_is_an_integral(activation, weights, ratio):
    net = ResNet(
        activation, depth=2, block="preln", sigma_w=3.0, sigma_w2=3.0, weights=weights, hidden_ratio=ratio
    )
    law = spectrum(net, "log", law="layered")
    assert law.mean_log_s > 0.1
    assert law.mean_log_s == pytest.approx(law._centred.mean_of(lambda y: y) / 2, abs=1e-8)  # noqa: SLF001


@pytest.mark.parametrize("ratio", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_relative_variance_of_one_layer_in_closed_form(activation, ratio):
    """E λ² = 1 + 4c + c²(2 + r/ρ), r = E φ'⁴/(E φ'²)²: by the words of 1 + X with X R-diagonal."""
    net = ResNet(activation, depth=1, block="preln", sigma_w=1.5, hidden_ratio=ratio)
    c, r = (2.25, 1) if activation == "linear" else (1.125, 2)
    law = spectrum(net, "lambda", law="layered")
    assert law.mean() == pytest.approx(1 + c, rel=1e-13)
    assert law.moment(2) == pytest.approx(1 + 4 * c + c * c * (2 + r / ratio), rel=1e-12)


@pytest.mark.parametrize(("activation", "ratio"), [("linear", 2.5), ("relu", 1.6)])
def test_relative_variance_of_one_orthogonal_layer_in_closed_form(activation, ratio):
    """E (XᵀX)² = c²(2 + (r − 2)/ρ) for O₂ D O₁: D² between free projections of trace 1/ρ."""
    net = ResNet(activation, depth=1, block="preln", sigma_w=2.0, weights="orthogonal", hidden_ratio=ratio)
    c, r = (4 / ratio, 1) if activation == "linear" else (2 / ratio, 2)
    law = spectrum(net, "lambda", law="layered")
    assert law.moment(2) == pytest.approx(1 + 4 * c + c * c * (2 + (r - 2) / ratio), rel=1e-12)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_many_hidden_neurons_are_one_gaussian_matrix(weights):
    """As ρ → ∞ W₂ D W₁ becomes Gaussian itself: the linear residual layer."""
    net = ResNet(
        "gelu", depth=1, block="preln", sigma_w=1.5, hidden_ratio=1e6, weights=weights, sigma_w2=900.0
    )
    if weights == "gaussian":
        net = replace(net, sigma_w2=0.9)
    c = propagate(net).c
    one = spectrum(ResNet("linear", depth=1, sigma_w=math.sqrt(c)), law="layered")
    x = np.linspace(0.05, 2.0, 9)
    assert spectrum(net, law="layered").cdf(x) == pytest.approx(one.cdf(x), abs=1e-5)


def test_orthogonal_blocks_of_ratio_1_are_orthogonal_blocks():
    """O₂ D O₁ has the law of O D."""
    net = ResNet("relu", depth=1, block="preln", sigma_w=1.5, hidden_ratio=1.0, weights="orthogonal")
    one = spectrum(ResNet("relu", depth=1, sigma_w=1.5, weights="orthogonal"), law="layered")
    x = np.linspace(0.1, 2.4, 9)
    assert spectrum(net, law="layered").cdf(x) == pytest.approx(one.cdf(x), abs=1e-13)
    for near in (1 - 1e-6, 1 + 1e-6):  # from either side, by other formulas
        law = spectrum(replace(net, hidden_ratio=near), law="layered")
        assert law.cdf(x) == pytest.approx(one.cdf(x), abs=1e-5)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(
    ("activation", "ratio", "depth", "mass"), [("relu", 0.3, 2, 0.4), ("linear", 0.2, 1, 0.6)]
)
def test_closed_and_missing_hidden_neurons_leave_a_point_mass(weights, activation, ratio, depth, mass):
    net = ResNet(activation, depth=depth, block="preln", hidden_ratio=ratio, weights=weights, skip=0.9)
    law = spectrum(net, law="layered")
    assert law.atoms == ((pytest.approx(0.9**depth), pytest.approx(mass)),)
    beside = (law.atoms[0][0] * (1 - 1e-9), law.atoms[0][0] * (1 + 1e-9))
    assert np.ptp(law.cdf(np.array(beside))) == pytest.approx(mass, abs=1e-3)
    # Of 100 singular values the same, give or take one for each direction that LayerNorm takes.
    log_s = spectra(net, 100, 1, 4)[0] if activation == "linear" else spectra(net, 100, 4, 4)
    same = np.mean(np.abs(log_s - depth * math.log(0.9)) < 1e-9)
    assert same == pytest.approx(mass, abs=0.02 if activation == "linear" else 4.5 * 2 * 0.3 * depth / 20 / 2)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("activation", ["softplus", "tanh"])
def test_gates_next_to_closed_leave_no_gap_beside_the_point_mass(activation, weights):
    """Their thin tail reaches it from both sides: one interval, and all of the mass."""
    net = ResNet(activation, depth=3, block="preln", weights=weights, sigma_w=0.5, hidden_ratio=0.1, skip=0.9)
    law = spectrum(net, "log", law="layered")
    ((low, high),), ((place, mass),) = law.support(), law.atoms
    assert place == pytest.approx(3 * math.log(0.9))
    assert low < place < high
    assert mass == pytest.approx(0.4)
    y = law._centred.grid(4000)  # noqa: SLF001 - dense where the density changes
    assert np.trapezoid(law._centred.density_and_below(y)[0], y) + mass == pytest.approx(1, abs=1e-4)  # noqa: SLF001


def test_deep_networks_tend_to_the_universal_law_at_rate_one_over_depth():
    distance = []
    for depth in (20, 40):
        net = replace(GELU, depth=depth)
        x = np.linspace(0.2, 6, 60)
        laws = [spectrum(net, law=law).cdf(x) for law in ("layered", "universal")]
        distance.append(np.abs(laws[0] - laws[1]).max())
    assert distance[0] / distance[1] == pytest.approx(2, rel=0.1)
    assert distance[1] > 1e-3


def test_depth_does_not_cost_factors():
    assert len(layers(replace(GELU, depth=10**6)).factors) < 40
    assert len(layers(replace(GELU, depth=10**4, skip=1.001)).factors) < 120


def distance(log_s, law):
    values = np.sort(log_s.ravel())
    cdf, steps = law.cdf(values), np.arange(values.size + 1) / values.size
    return max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max())


@pytest.mark.slow
@pytest.mark.parametrize("gates", ["own", "independent"])
@pytest.mark.parametrize(
    "net",
    [
        replace(GELU, hidden_ratio=1.0),
        replace(GELU, hidden_ratio=0.5, weights="orthogonal", sigma_w2=4.0),
        replace(GELU, hidden_ratio=2.0, weights="orthogonal", sigma_w2=4.0, sigma_b=0.5),
    ],
    ids=lambda net: f"{net.weights} {net.hidden_ratio}",
)
def test_simulated_networks_follow_the_law_and_no_other(net, gates):
    log_s = spectra(net, 300, 8, 1, gates=gates)
    assert distance(log_s, spectrum(net, "log", law="layered")) < 0.014
    assert distance(log_s, spectrum(net, "log", law="universal")) > 0.03
    wrong = spectrum(replace(net, hidden_ratio=3 * net.hidden_ratio), "log", law="layered")
    assert distance(log_s, wrong) > 0.02
    assert not judge(log_s, net, gates=gates).disagrees
    assert "ks_distance" in judge(log_s, net, gates=gates, law=wrong).disagrees


def test_directions_that_layer_norm_blocks_are_set_aside():
    """Mean and signal pass by the skip connection alone: s = 1, below the edge of 1 + 3 O at 2."""
    net = ResNet("linear", depth=1, block="preln", weights="orthogonal", sigma_w=3.0, hidden_ratio=1.0)
    for gates in ("own", "independent"):
        log_s = spectra(net, 60, 2, 1, gates=gates)
        assert (log_s[:, 1] < math.log(2) - 0.2).all()
        assert (log_s[:, 2] > math.log(2) - 1e-6).all()
        bulk, _ = set_aside(log_s, WidthLaw.of(net, 60, gates=gates))
        assert (bulk > math.log(2) - 1e-6).all()


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("numbers", [{"hidden_ratio": 1e300}, {"skip": 1e-100}, {"input_variance": 1e-300}])
def test_numbers_far_out_are_answered_or_refused_in_words(weights, numbers):
    net = ResNet("relu", depth=3, block="preln", weights=weights, **numbers)
    try:
        law = spectrum(net, "log", law="layered")
        low, high = law.support()[-1]
    except NoAnswerError:
        return
    assert low <= law.mean_log_s <= high


@pytest.mark.parametrize("depth", [1, 3])
def test_inputs_that_are_next_to_nothing_scale_the_first_block(depth):
    """A norm before all else makes λ 1/p times what does not depend on p, next to which a skip is nothing."""
    laws = [
        spectrum(ResNet("gelu", depth=depth, block="preln", input_variance=p), variable="log")
        for p in (1e-10, 1e-40)
    ]
    shift = 15 * math.log(10)
    near, far = (np.append(law.ppf([0.1, 0.5, 0.9]), [law.mean(), law.log_edge_upper]) for law in laws)
    # λ of the skip alone are 1e-10 of what p = 1e-10 makes of the rest.
    np.testing.assert_allclose(far - near, shift, atol=1e-8)
