import itertools
import math
from collections import Counter

import numpy as np
import pytest

from isocalc import FeedForward, NoAnswerError, ResNet, propagate
from isocalc.activations.catalogue import activation
from isocalc.laws.free.law import atoms_of
from isocalc.laws.free.layer_factors import Layer, ResidualLayer
from isocalc.laws.free.network_factors import Layers, few_layers, gauss_of, layers, nodes_for
from isocalc.laws.free.product import FreeProduct
from isocalc.laws.gates.nodes import gate_rule

MANY = [
    FeedForward("tanh", depth=100, sigma_w=1.0, input_variance=1.0),
    FeedForward("gelu", depth=80, weights="orthogonal", sigma_w=1.2, sigma_b=0.1, input_variance=2.0),
    FeedForward("hardtanh", depth=200, weights="orthogonal", sigma_w=1.05, input_variance=5.0),
    ResNet("tanh", depth=400, sigma_w=1.5, sigma_b=0.3),
    ResNet("hardtanh", depth=100, weights="orthogonal", sigma_w=2.0, skip=0.9),
    ResNet("gelu", depth=200, block="preln", sigma_w=2.0, sigma_w2=4.0),
    ResNet("gelu", depth=300, block="preln", sigma_w=2.0, sigma_w2=4.0, skip=1.01, input_variance=1e-3),
    ResNet("tanh", depth=200, block="preln", weights="orthogonal", sigma_w2=3.0, hidden_ratio=0.5),
]
ids = [f"{type(net).__name__} {net.activation} {net.depth}" for net in MANY]


def factors_one_by_one(net):
    found = propagate(net)
    for q, c in zip(found.q.tolist(), found.c_per_layer.tolist(), strict=True):
        gate = gate_rule(activation(net.activation), q)
        orthogonal = net.weights == "orthogonal"
        if getattr(net, "block", "") == "preln":
            hidden = net.hidden_ratio
            if orthogonal and hidden < 1:
                gate, hidden = gate.among(hidden), None
            yield ResidualLayer(gate, orthogonal, c / net.depth / gate.mean, hidden)
        elif isinstance(net, ResNet):
            yield ResidualLayer(gate, orthogonal, (net.sigma_w / net.skip) ** 2 / net.depth)
        else:
            yield Layer(gate, orthogonal)


@pytest.mark.slow
@pytest.mark.parametrize("net", MANY, ids=ids)
def test_a_few_layers_stand_for_many(net):
    found, every = layers(net), list(factors_one_by_one(net))
    assert len(found.factors) < 0.7 * net.depth
    assert found.depth == pytest.approx(net.depth, rel=1e-13)
    product = FreeProduct(found.factors, found.counts)
    assert product.log_mean == pytest.approx(math.fsum(f.log_mean for f in every), rel=1e-12, abs=1e-12)
    variance = math.fsum(f.relative_variance for f in every)
    assert product.relative_variance == pytest.approx(variance, rel=1e-12)
    # The whole law too, not only sums of averages.
    y = product.log_mean + math.sqrt(math.log1p(variance)) * np.array([-1.5, -0.5, 0.2])
    slow = FreeProduct(every, [1.0] * net.depth).density_and_survival(y)
    for fast, expected in zip(product.density_and_survival(y), slow, strict=True):
        assert fast == pytest.approx(expected, rel=1e-11)


def test_sums_over_layers_are_kept_to_rounding():
    q = np.exp(np.random.default_rng(3).uniform(-9, 9, 4000))
    nodes, counts = few_layers(q)
    assert nodes.size < 500
    assert (counts > 0).all()
    assert counts.sum() == pytest.approx(4000, rel=1e-13)
    for function in (np.log, np.sqrt, np.tanh, lambda x: 1 / (1 + x), lambda x: np.log1p(x) ** 3):
        assert (counts * function(nodes)).sum() == pytest.approx(function(q).sum(), rel=1e-13, abs=1e-10)


def test_few_or_equal_layers_stand_for_themselves():
    q = np.array([3.0, 0.0, 1.0, 1.0, 1.0 + 2e-16, 0.0])
    nodes, counts = few_layers(q)
    assert nodes == pytest.approx([0, 1, 3], rel=1e-15)
    assert counts.tolist() == [2, 3, 1]
    kept = few_layers(np.linspace(1, 1.9, 200), to_keep=lambda q: np.argsort(-q)[:3])
    assert {1.9, *np.linspace(1, 1.9, 200)[-3:]} <= set(kept[0])
    assert kept[1].sum() == pytest.approx(200, rel=1e-13)


def test_gates_straight_about_zero_are_summed_in_their_standard_deviation():
    q = np.geomspace(1e-12, 1e-3, 900)
    nodes, counts = few_layers(q, straight=0.1)
    assert nodes.size <= 10
    for power in range(13):
        assert (counts * np.sqrt(nodes) ** power).sum() == pytest.approx(
            (np.sqrt(q) ** power).sum(), rel=1e-12
        )


def test_gauss_quadrature_of_a_measure():
    x, weights = np.linspace(-1, 2, 50), np.random.default_rng(5).uniform(0.1, 3, 50)
    nodes, masses = gauss_of(x, weights, 6)
    for power in range(12):
        assert (masses * nodes**power).sum() == pytest.approx((weights * x**power).sum(), rel=1e-12)
    assert gauss_of(x[:5], weights[:5], 6)[0] == pytest.approx(x[:5])
    assert nodes_for(0.0) == 1
    assert nodes_for(math.log(2)) > nodes_for(0.01) > 1


def test_scale_free_and_steady_networks_have_one_factor():
    for net in (
        FeedForward("relu", depth=10**6, sigma_w=2**0.5),
        FeedForward("tanh", depth=10**6, sigma_w=1.3, sigma_b=0.2),
        ResNet("leaky_relu:0.3", depth=10**6),
    ):
        found = layers(net)
        assert len(found.factors) == 1
        assert found.counts == (10**6,)


def test_networks_that_are_a_number():
    assert layers(FeedForward("tanh", depth=3, sigma_w=0.0)).vanishes
    skip = layers(ResNet("tanh", depth=3, sigma_w=0.0, skip=-2.0))
    assert (skip.factors, skip.centre) == ((), ((2.0, 3),))
    linear = layers(FeedForward("linear", depth=7, weights="orthogonal", sigma_w=1.5))
    assert linear.factors == ()
    assert math.prod(base**power for base, power in linear.centre) == pytest.approx(1.5**7)


def test_signals_that_overflow():
    with pytest.raises(NoAnswerError):
        layers(FeedForward("squared_relu", depth=5, sigma_w=1.5, sigma_b=1.0))
    with pytest.raises(NoAnswerError):
        layers(FeedForward("squared_relu", depth=200, sigma_w=3.0, input_variance=2.0))


def test_rectangular_chains_by_sums_over_layers():
    widths = (100, 150, 70, 80, 80)
    for weights, own in (("gaussian", 1.0), ("orthogonal", 0.0)):
        net = FeedForward("relu", depth=4, sigma_w=1.3, weights=weights, layer_widths=widths)
        found = layers(net)
        product = FreeProduct(found.factors, found.counts)
        log_mean = product.log_mean + 2 * sum(power * math.log(base) for base, power in found.centre)
        # E λ gains σ_w²/2 a layer, times N_l/N_{l−1} where that many entries add to a column.
        steps = list(itertools.pairwise(widths))
        growths = [after / before for before, after in steps]
        if weights == "orthogonal":
            growths = [min(1.0, growth) for growth in growths]
        assert log_mean == pytest.approx(4 * math.log(1.3**2 / 2) + sum(map(math.log, growths)), rel=1e-13)
        variance = sum(100 / after * (1 + (own or max(0.0, 1 - after / before))) for before, after in steps)
        assert product.relative_variance == pytest.approx(variance, rel=1e-13)


def brute_atoms(gates):
    """Every combination of gate values, by theory: max(0, 1 − Σ (1 − w_l)) at the product."""
    found = Counter()
    for combination in itertools.product(*gates):
        mass = 1 - sum(1 - w for _, w in combination)
        if mass > 1e-15:
            found[math.prod(g for g, _ in combination)] = mass
    zero = max(dict(gate).get(0.0, 0.0) for gate in gates)
    return found, zero


@pytest.mark.parametrize(
    ("spec", "depth", "q"),
    [("hardtanh", 3, 0.586), ("leaky_relu:0.5", 1, 1.0), ("hardtanh", 1, 5.0), ("hardtanh", 4, 1.0)],
)
def test_atoms_against_all_combinations_of_gates(spec, depth, q):
    gate = gate_rule(activation(spec), q)
    expected, zero = brute_atoms([gate.masses] * depth)
    atoms = atoms_of(Layers((Layer(gate, orthogonal=True),), (float(depth),), ()))
    assert dict(atoms).get(-math.inf, 0.0) == pytest.approx(zero, abs=1e-15)
    finite = {math.exp(y): mass for y, mass in atoms if y > -math.inf}
    expected.pop(0.0, None)
    assert sorted(finite) == pytest.approx(sorted(expected))
    assert [finite[key] for key in sorted(finite)] == pytest.approx([expected[k] for k in sorted(expected)])


def test_atoms_of_layers_that_differ():
    gates = [gate_rule(activation("hardtanh"), q) for q in (0.2, 0.4, 0.9)]
    steep = gate_rule(activation("hardtanh:-1:3"), 0.1)
    factors = tuple(Layer(gate, orthogonal=True) for gate in (*gates, steep))
    atoms = atoms_of(Layers(factors, (1.0,) * 4, ()))
    expected, zero = brute_atoms([gate.masses for gate in (*gates, steep)])
    assert atoms[0] == (-math.inf, pytest.approx(zero))
    assert atoms[1] == (0.0, pytest.approx(expected[1.0]))


def test_gaussian_weights_leave_atoms_at_zero_alone():
    gate = gate_rule(activation("relu"), 1.0)
    assert atoms_of(Layers((Layer(gate, orthogonal=False),), (3.0,), ())) == ((-math.inf, 0.5),)
