"""What branches say of themselves, beside what signal propagation and the simulation do."""

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from isocalc import FeedForward, InvalidInputError, ResNet, propagate
from isocalc.networks.branches import BRANCHES, HIDDEN_OPTIONS, Block, owners
from isocalc.simulation.forward import ForwardPass

EACH_BRANCH = pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
WIDTH = 40


def block_of(branch, activation="tanh", **others):
    return ResNet(activation, block=branch.block, **others)


def simulated(net, rows, seed=0):
    """Return the images of a signal, the last row, and of tangents, the others, after the first layer."""
    width = rows.shape[1]
    images, _ = ForwardPass(net, (width,) * (net.depth + 1), np.random.default_rng(seed)).advance(rows.copy())
    return images


def branch_jacobian(net):
    rows = np.vstack((np.eye(WIDTH), np.random.default_rng(5).standard_normal(WIDTH)))
    return simulated(net, rows)[:-1].T - net.skip * np.eye(WIDTH)


def step_by_step(net, x, rng):
    """Send a signal through the steps of a branch; return its image and the arguments of φ."""
    before, scales, argument = x.size, iter(net.branch.scales), None
    widths = [before] * (len(net.branch.scales) + 1)
    if net.branch.has_hidden_layer:
        widths[1] = net.hidden_width(before)
    matrices = iter(pairwise(widths))
    biased = True
    for step in net.branch.steps:
        if step == "layer_norm":
            x = (x - x.mean()) / x.std()
        elif step == "act":
            argument, x = x, net.act.phi(x)
        else:
            (before, after), name = next(matrices), next(scales)
            last = isinstance(net, ResNet) and name == net.branch.scale
            scale = getattr(net, name) / (math.sqrt(net.depth) if last else 1)
            x = x @ rng.standard_normal((before, after)) * (scale / math.sqrt(before))
            x += net.sigma_b * rng.standard_normal(after) * biased
            biased = False
    return x, argument


def test_there_is_a_branch_for_each_name_of_a_block():
    assert tuple(BRANCHES) == get_args(Block)
    assert all(branch.block == name for name, branch in BRANCHES.items())


@pytest.mark.parametrize(
    "net",
    [
        FeedForward("tanh", depth=3, sigma_w=1.3, sigma_b=0.4),
        ResNet("tanh", depth=3, sigma_w=1.3, sigma_b=0.4, skip=0.8),
        ResNet("tanh", depth=3, sigma_w=1.3, sigma_b=0.4, skip=-0.8, block="pre"),
        ResNet("tanh", depth=3, sigma_w=1.3, sigma_b=0.4, block="preln", hidden_ratio=1.5, sigma_w2=0.7),
    ],
    ids=lambda net: f"{type(net).__name__}-{net.branch.block}",
)
def test_the_steps_are_those_that_a_simulation_takes(net):
    x = np.random.default_rng(5).standard_normal(WIDTH)
    image, _ = step_by_step(net, x, np.random.default_rng(0))
    skip = net.skip if isinstance(net, ResNet) else 0.0
    assert simulated(net, x[None])[-1] == pytest.approx(skip * x + image, abs=1e-13)


@EACH_BRANCH
def test_where_the_gates_stand(branch):
    """Gates that are closed take away entries of the branch's input, of its output, or neither."""
    jacobian = branch_jacobian(block_of(branch, "relu", depth=1))
    unread, unwritten = (~jacobian.any(axis=axis) for axis in (0, 1))
    assert unread.any() == branch.acts_on_stream
    assert unwritten.any() == branch.acts_last
    assert (unread.any() or unwritten.any()) != branch.hides_gates


@EACH_BRANCH
def test_gates_of_two_layers_are_correlated_where_the_stream_is_acted_on(branch):
    width, rng = 1000, np.random.default_rng(3)
    net = block_of(branch, **({"hidden_ratio": 1.0} if branch.has_hidden_layer else {}))
    first = rng.standard_normal(width)
    image, first_argument = step_by_step(net, first, rng)
    _, second_argument = step_by_step(net, first + image, rng)
    correlation = np.corrcoef(net.act.dphi(first_argument), net.act.dphi(second_argument))[0, 1]
    # Of independent gates it is within 5 standard deviations, 5/√1000; the stream has changed by 1 %.
    assert correlation > 0.9 if branch.acts_on_stream else abs(correlation) < 0.16


@EACH_BRANCH
def test_whose_variance_q_is(branch):
    """That of the stream; of W x + b, 1.69 p + 0.16; or of W LayerNorm(x) + b, whatever p is."""
    others = {"depth": 1, "sigma_w": 1.3, "sigma_b": 0.4}
    found = [propagate(block_of(branch, input_variance=p, **others)).q[0] for p in (1.0, 4.0)]
    of_weighted = [1.85, 1.85 if branch.normalises else 6.92]
    assert found == pytest.approx([1.0, 4.0] if branch.acts_on_stream else of_weighted)


@EACH_BRANCH
def test_the_scale_multiplies_the_branch(branch):
    """Its Jacobian, at a φ whose gates do not depend on the scale of weights before it."""
    net = block_of(branch, "relu" if branch.acts_last else "tanh", depth=5)
    tripled = net.with_branch_scale(3 * net.branch_scale)
    one, three = (branch_jacobian(net) for net in (net, tripled))
    assert tripled.branch_scale == 3
    assert three == pytest.approx(3 * one, abs=1e-13)


@EACH_BRANCH
def test_no_weights_where_any_scale_is_0(branch):
    assert block_of(branch).has_weights
    assert len(branch.scales) == branch.steps.count("linear")
    for scale in branch.scales:
        assert not block_of(branch, **{scale: 0.0}).has_weights


@EACH_BRANCH
def test_a_block_has_the_options_of_its_branch_and_no_others(branch):
    for option in HIDDEN_OPTIONS:
        if option in branch.options:
            assert branch.block in owners(option)
            assert getattr(block_of(branch, **{option: 2.5}), option) == 2.5
        else:
            with pytest.raises(
                InvalidInputError, match=f"{option} must be left out of blocks {branch.block}"
            ):
                block_of(branch, **{option: 2.5})


def test_how_branches_are_written():
    assert [branch.formula() for branch in BRANCHES.values()] == [
        "phi(W x + b)",
        "W phi(x) + b",
        "W2 phi(W1 LayerNorm(x) + b)",
    ]
    assert BRANCHES["preln"].formula("f", "LN") == "W2 f(W1 LN(x) + b)"
