"""The scale of weights that gives a residual network its spectrum."""

import math
from dataclasses import replace

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isocalc
from isocalc import InvalidInputError, NoAnswerError, ResNet, UniversalLaw, activation, propagate
from isocalc.activations.averages import AverageTable, averages
from isocalc.activations.catalogue import Activation, names
from isocalc.design import initialize
from isocalc.design.initialize import c_of_condition, c_of_s_max, for_c, like
from isocalc.signal.propagation import propagate_residual

ACTIVATIONS = ["threshold:0.1:0.5" if name == "threshold" else name for name in names()]


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("depth", [1, 10, 200])
@pytest.mark.parametrize(
    ("act", "gate"), [("linear", 1), ("relu", 1 / 2), ("leaky_relu:0.2", 1.04 / 2), ("abs", 1)]
)
def test_closed_forms_of_scale_free_activations(act, gate, depth, block):
    """c = σ_w² E φ'² / a², whatever the depth."""
    for c, skip in [(0.5, 1.0), (1e-9, 1.0), (30.0, -0.99), (7.0, 1.01)]:
        (net,) = for_c(ResNet(act, depth=depth, block=block, skip=skip, sigma_b=0.3), c)
        assert net.sigma_w == pytest.approx(math.sqrt(c / gate) * abs(skip), rel=1e-12)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_the_parameter_is_that_of_a_slow_recursion(act):
    """c of the network found, by panels of Gauss-Legendre quadrature many times as fine, layer by layer."""
    for net in for_c(ResNet(act, depth=8), 0.5):
        assert np.mean(naive.follow(net)[1]) == pytest.approx(0.5, rel=1e-8)


def test_a_linear_block_with_layer_norm_in_closed_form():
    """p_l = 1 + g l/L and c = (g/L) Σ 1/p_{l-1}, g = σ_w² σ_w2²; σ_w2 is found at the σ_w given."""
    depth, sigma_w = 7, 1.3
    (net,) = for_c(ResNet("linear", depth=depth, block="preln", sigma_w=sigma_w), 0.8)
    g = (net.sigma_w * net.sigma_w2) ** 2
    assert net.sigma_w == sigma_w
    assert g / depth * sum(1 / (1 + g * layer / depth) for layer in range(depth)) == pytest.approx(
        0.8, rel=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(
    act=st.sampled_from([*ACTIVATIONS, "elu:30", "hardtanh:-0.1:3", "snake:5", "softplus:4"]),
    depth=st.integers(1, 60),
    log_c=st.floats(-6, 2),
    others=st.fixed_dictionaries(
        {
            "sigma_b": st.sampled_from([0.0, 0.1, 2.0]),
            "block": st.sampled_from(["post", "pre", "preln"]),
            "skip": st.sampled_from([1.0, 0.9, -1.1]),
        }
    ),
)
def test_every_solution_has_the_parameter(act, depth, log_c, others):
    target = 10.0**log_c
    try:
        found = for_c(ResNet(act, depth=depth, **others), target)
    except NoAnswerError:
        return
    assert found
    for net in found:
        assert propagate(net).c == pytest.approx(target, rel=1e-8)


def clipped_with_jumps():
    """φ(x) = x between -1 and 1, ±100 beyond: as it grows the signal shuts the gates behind it."""
    return Activation(
        name="jumping",
        phi=lambda x: np.where(np.abs(x) < 1, x, 100 * np.sign(x)),
        dphi=lambda x: (np.abs(x) < 1) + 0.0 * x,
        breakpoints=(-1.0, 1.0),
        jumps=(-1.0, 1.0),
        slopes=(0.0, 1.0, 0.0),
        odd=True,
    )


def test_all_branches_where_c_is_not_monotone():
    """Counted on a grid 15 times as fine as the one that is searched."""
    start = ResNet(clipped_with_jumps(), depth=20)
    scales = np.geomspace(1e-2, 1e2, 600)
    c = np.array([propagate(replace(start, sigma_w=scale)).c for scale in scales])
    turns = np.flatnonzero(np.diff(np.sign(np.diff(c))))
    assert turns.size >= 2
    for target in (c[turns[0] + 1] * 0.98, c[turns[0] + 1] * 0.5, c[turns[1] + 1] * 1.02):
        crossings = np.flatnonzero(np.diff(c > target))
        assert crossings.size > 1
        solutions = [net.sigma_w for net in for_c(start, float(target))]
        assert len(solutions) == crossings.size
        assert all(scales[i] <= root <= scales[i + 1] for i, root in zip(crossings, solutions, strict=True))


def test_a_deep_network_follows_the_branch_of_a_less_deep_one():
    """c → σ_w² E φ'(0)² as L → ∞, where pre-activations vanish: off by O(1/L)."""
    (net,) = for_c(ResNet("tanh", depth=60_000), 0.5)
    assert propagate(net).c == pytest.approx(0.5, rel=1e-8)
    assert net.sigma_w == pytest.approx(math.sqrt(0.5), rel=3e-5)


def test_a_deep_network_is_followed_through_all_layers_few_times(monkeypatch):
    """Three propagations at most; ten by bisection."""
    depths = []

    def counted(network, *others):
        depths.append(network.depth)
        return propagate_residual(network, *others)

    monkeypatch.setattr(initialize, "propagate_residual", counted)
    for act in ("gelu", "tanh"):
        (net,) = for_c(ResNet(act, depth=100_000), 0.5)
        assert depths.count(100_000) <= 3
        assert propagate(net).c == pytest.approx(0.5, rel=1e-9)
        depths.clear()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_secants_find_roots_of_rising_and_of_falling_functions(sign):
    x, slope = initialize._secants(lambda x: sign * math.expm1(x), 0.7, sign, 1e-12, 1.0)  # noqa: SLF001
    assert (x, slope) == (pytest.approx(0, abs=1e-12), pytest.approx(sign, rel=1e-3))


@pytest.mark.parametrize("function", [lambda _: -1.0, lambda x: math.copysign(1.0, x)])
def test_secants_end_where_there_is_no_root(function):
    assert initialize._secants(function, 0.7, 1.0, 1e-12, 1.0) is None  # noqa: SLF001


def test_like_gives_the_parameter_of_the_other():
    other = ResNet("relu", depth=17, sigma_w=1.7)
    for net in like(ResNet("gelu", depth=17, sigma_b=0.1), other):
        assert propagate(net).c == pytest.approx(1.7**2 / 2, rel=1e-8)


def test_a_network_without_isometry_to_imitate():
    with pytest.raises(NoAnswerError, match="relu has c = 0 here; scales are found for c from 1e-12 to"):
        like(ResNet("tanh"), ResNet("relu", sigma_w=0.0))


def test_no_solution_is_said_with_what_can_be_reached():
    """c of sigmoid grows like σ_w/√(q/σ_w²): at σ_w = 10⁶ it is below 10⁵."""
    with pytest.raises(
        NoAnswerError, match=r"no sigma_w from 1e-06 to 1e\+06 gives sigmoid c = 1e\+06 at depth 3"
    ):
        for_c(ResNet("sigmoid", depth=3), 1e6)
    with pytest.raises(NoAnswerError, match=r"sigma_w2 .* c goes from 0 at sigma_w2 = 1e-06"):
        for_c(ResNet("relu", block="preln", sigma_w=0.0), 0.5)


@pytest.mark.parametrize("c", [1e-10, 1e-3, 0.5, 1.0, 20.0, 600.0])
def test_the_edges_are_inverted(c):
    """Tarnowski et al.: y± = ±[log((1+m)/m) + c (1+2m)], m = (√(1+2/c) − 1)/2."""
    m = (math.sqrt(1 + 2 / c) - 1) / 2
    edge = math.log1p(1 / m) + c * (1 + 2 * m)
    assert c_of_condition(math.exp(edge)) == pytest.approx(c, rel=1e-9 if c > 1e-6 else 1e-6)
    if c < 100:
        s_max = 1.01**30 * math.exp(edge / 2)
        assert c_of_s_max(s_max, depth=30, skip=-1.01) == pytest.approx(c, rel=1e-9 if c > 1e-6 else 1e-5)


@settings(deadline=None)
@given(st.floats(1.00001, 1e300))
def test_the_condition_number_comes_back(condition):
    law = UniversalLaw(c_of_condition(condition))
    assert law.bulk_condition_number == pytest.approx(condition, rel=1e-8)


def test_an_s_max_that_cannot_be():
    with pytest.raises(
        NoAnswerError, match=r"edge_upper = 0.9, of logarithm -0.10536.* cannot be reached: weights of any"
    ):
        c_of_s_max(0.9)
    with pytest.raises(NoAnswerError, match="cannot be reached"):
        c_of_s_max(1.0)
    assert c_of_s_max(0.9, depth=2, skip=0.9) == pytest.approx(c_of_condition((0.9 / 0.81) ** 2), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: for_c(ResNet("relu"), 0.0), "c must be a number from 1e-12 to 1e[+]06, got 0.0"),
        (lambda: for_c(ResNet("relu"), math.nan), "c must be"),
        (lambda: for_c(isocalc.FeedForward("relu"), 1.0), "network must be ResNet"),
        (lambda: like(ResNet("relu"), "tanh"), "network must be ResNet"),
        (lambda: c_of_condition(1.0), "condition must be a number from 1.00001 to 1e[+]300, got 1.0"),
        (lambda: c_of_s_max(-1.0), "s_max must be a finite number greater than 0"),
        (lambda: c_of_s_max(2.0, skip=0.0), "skip must be"),
        (lambda: c_of_s_max(2.0, depth=0), "depth must be"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(InvalidInputError, match=words):
        call()


@pytest.mark.parametrize(
    "spec", ["tanh", "gelu", "softshrink", "hardtanh:-2:5", "squared_relu", "tanh(10*x)", "relu"]
)
def test_gates_are_within_the_range_that_narrows_the_search(spec):
    act = activation(spec)
    least, most = AverageTable(act).gate_range
    gate = averages(act, np.geomspace(1e-20, 1e20, 200)).gate
    assert (gate >= least).all()
    assert (gate <= most).all()


@pytest.mark.parametrize(("spec", "block"), [("gelu", "post"), ("tanh", "pre"), ("gaussian", "post")])
def test_a_narrowed_search_finds_what_all_scales_show(spec, block):
    """Sign changes of c between all scales from 1e-6 to 1e6."""
    network = ResNet(spec, block=block, depth=5, sigma_b=0.2)
    scales = np.geomspace(1e-6, 1e6, 97)
    c = np.array([propagate(network.with_branch_scale(scale)).c for scale in scales.tolist()])
    for target in (1e-3, 0.5, 20.0):
        changes = np.count_nonzero(np.diff(c > target))
        found = for_c(network, target)
        assert len(found) >= changes > 0
        assert [propagate(net).c for net in found] == pytest.approx([target] * len(found), rel=1e-10)
