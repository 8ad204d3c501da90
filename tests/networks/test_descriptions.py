import dataclasses
import doctest
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import isocalc
from isocalc import FeedForward, InvalidInputError, ResNet, activation
from isocalc.limits import MAX_DEPTH

SIGMA = "a finite number of at least 0"
POSITIVE = "a finite number greater than 0"
NOT_ZERO = "a finite number other than 0"
WHOLE = f"a whole number from 1 to {MAX_DEPTH}"

BAD = [
    ("depth", 0, WHOLE),
    ("depth", -3, WHOLE),
    ("depth", 1.5, WHOLE),
    ("depth", 100.0, WHOLE),
    ("depth", "100", WHOLE),
    ("depth", True, WHOLE),
    ("depth", None, WHOLE),
    ("depth", math.nan, WHOLE),
    ("depth", 10**7 + 1, WHOLE),
    ("sigma_w", -1.0, SIGMA),
    ("sigma_w", math.nan, SIGMA),
    ("sigma_w", math.inf, SIGMA),
    ("sigma_w", "1", SIGMA),
    ("sigma_w", None, SIGMA),
    ("sigma_w", True, SIGMA),
    ("sigma_w", 1j, SIGMA),
    ("sigma_w", [1.0], SIGMA),
    ("sigma_b", -1e-300, SIGMA),
    ("sigma_b", -math.inf, SIGMA),
    ("weights", "haar", "one of gaussian, orthogonal"),
    ("weights", None, "one of gaussian, orthogonal"),
    ("input_variance", 0.0, POSITIVE),
    ("input_variance", -1.0, POSITIVE),
    ("input_variance", math.nan, POSITIVE),
    ("input_variance", math.inf, POSITIVE),
]
BAD_RESIDUAL = [
    ("skip", 0.0, NOT_ZERO),
    ("skip", -0.0, NOT_ZERO),
    ("skip", math.inf, NOT_ZERO),
    ("skip", math.nan, NOT_ZERO),
    ("block", "middle", "one of post, pre, preln"),
    ("block", 1, "one of post, pre, preln"),
    ("hidden_ratio", 4.0, "left out of blocks post: only preln has a hidden layer"),
    ("sigma_w2", 1, "left out of blocks post: only preln has a hidden layer"),
    ("input_variance", None, POSITIVE),
]


@pytest.mark.parametrize(
    ("kind", "parameter", "value", "rule"),
    [(kind, *case) for kind in (ResNet, FeedForward) for case in BAD]
    + [(ResNet, *case) for case in BAD_RESIDUAL],
)
def test_what_is_refused_and_how(kind, parameter, value, rule):
    with pytest.raises(InvalidInputError) as refusal:
        kind("tanh", **{parameter: value})
    assert str(refusal.value) == f"{parameter} must be {rule}, got {value!r}"
    assert refusal.value.parameter == parameter
    assert refusal.value.message("--shown") == f"--shown must be {rule}, got {value!r}"


def test_unknown_activations_are_refused_when_the_network_is_made():
    with pytest.raises(InvalidInputError, match=r"Did you mean relu\?"):
        ResNet("rleu")


def test_errors_are_one_small_family():
    assert issubclass(InvalidInputError, isocalc.IsocalcError)
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(isocalc.NoAnswerError, isocalc.IsocalcError)
    assert issubclass(isocalc.NoAnswerError, ArithmeticError)


def test_numbers_of_any_kind_become_floats():
    net = ResNet(
        "relu", depth=np.int64(7), sigma_w=2, sigma_b=np.float32(0.5), skip=-1, input_variance=np.int8(3)
    )
    numbers = (net.depth, net.sigma_w, net.sigma_b, net.skip, net.input_variance)
    assert numbers == (7, 2.0, 0.5, -1.0, 3.0)
    assert [type(number) for number in numbers[1:]] == [float] * 4
    assert net == ResNet("relu", depth=7, sigma_w=2.0, sigma_b=0.5, skip=-1.0, input_variance=3.0)


def test_defaults():
    net = ResNet("tanh")
    assert (net.depth, net.weights, net.sigma_w, net.sigma_b) == (100, "gaussian", 1.0, 0.0)
    assert (net.block, net.skip, net.input_variance) == ("post", 1.0, 1.0)
    assert FeedForward("tanh").input_variance is None


@pytest.mark.parametrize(
    ("widths", "rule", "value"),
    [
        ((3, 4), "3 widths, of the input and of the layers, at depth 2", 2),
        ((), "3 widths, of the input and of the layers, at depth 2", 0),
        ((3, 0, 4), "a whole number from 1 to 1000000000", 0),
        ((3, 1.5, 4), "a whole number from 1 to 1000000000", 1.5),
        ("123", "a whole number from 1 to 1000000000", "1"),
        (5, "a sequence of whole numbers", 5),
    ],
)
def test_widths_that_are_refused(widths, rule, value):
    with pytest.raises(InvalidInputError) as refusal:
        FeedForward("tanh", depth=2, layer_widths=widths)
    assert str(refusal.value) == f"layer_widths must be {rule}, got {value!r}"


def test_widths_are_whole_numbers_and_the_same_where_weights_are_shared():
    net = FeedForward("tanh", depth=2, layer_widths=np.array([3, 4, 5]))
    assert net.layer_widths == (3, 4, 5)
    assert {type(width) for width in net.layer_widths} == {int}
    assert hash(net) == hash(FeedForward("tanh", depth=2, layer_widths=[3, 4, 5]))
    assert FeedForward("tanh", depth=2, layer_widths=[3, 3, 3], tied=True).tied
    with pytest.raises(InvalidInputError, match="layer_widths must be all the same where layers share"):
        FeedForward("tanh", depth=2, layer_widths=[3, 4, 3], tied=True)


def test_the_depth_is_that_of_the_widths():
    net = FeedForward("tanh", layer_widths=(6, 9, 4))
    assert net == FeedForward("tanh", depth=2, layer_widths=(6, 9, 4))
    assert {type(net.depth), type(FeedForward("tanh").depth)} == {int}
    assert dataclasses.replace(net, sigma_w=2.0).depth == 2
    with pytest.raises(InvalidInputError, match=r"layer_widths must be 101 widths, .* at depth 100, got 3"):
        FeedForward("tanh", depth=100, layer_widths=(6, 9, 4))
    for few in ((), (6,)):
        with pytest.raises(InvalidInputError, match="layer_widths must be at least 2 widths, of the input"):
            FeedForward("tanh", layer_widths=few)


@pytest.mark.parametrize(
    ("parameter", "value", "rule"),
    [
        ("hidden_ratio", 0.0, POSITIVE),
        ("hidden_ratio", -1.0, POSITIVE),
        ("hidden_ratio", math.inf, POSITIVE),
        ("hidden_ratio", None, POSITIVE),
        ("sigma_w2", -1.0, SIGMA),
        ("sigma_w2", math.nan, SIGMA),
    ],
)
def test_what_is_refused_of_a_hidden_layer(parameter, value, rule):
    with pytest.raises(InvalidInputError) as refusal:
        ResNet("tanh", block="preln", **{parameter: value})
    assert str(refusal.value) == f"{parameter} must be {rule}, got {value!r}"


def test_a_hidden_layer():
    net = ResNet("tanh", block="preln")
    assert (net.hidden_ratio, net.sigma_w2) == (4, 1)
    assert net == ResNet("tanh", block="preln", hidden_ratio=4, sigma_w2=1)
    assert pickle.loads(pickle.dumps(net)) == net  # noqa: S301 - our own bytes
    thin = dataclasses.replace(net, hidden_ratio=0.31)
    assert [thin.hidden_width(width) for width in (1, 2, 5, 100)] == [1, 1, 2, 31]
    assert net.has_weights
    assert not dataclasses.replace(net, sigma_w2=0.0).has_weights
    assert not dataclasses.replace(net, sigma_w=0.0).has_weights


@pytest.mark.parametrize("kind", [ResNet, FeedForward])
def test_networks_are_values(kind):
    net = kind("leaky_relu:0.2", sigma_w=1.5)
    assert net.act is activation(net.act)
    assert net.act.name == "leaky_relu:0.2"
    assert pickle.loads(pickle.dumps(net)) == net  # noqa: S301 - our own bytes
    assert hash(net) == hash(kind("leaky_relu:0.2", sigma_w=1.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.sigma_w = 2.0
    with pytest.raises(TypeError):
        kind("tanh", 100)
    changed = dataclasses.replace(net, sigma_w=2.0)
    assert changed.sigma_w == 2.0
    with pytest.raises(InvalidInputError):
        dataclasses.replace(net, sigma_w=-2.0)


def test_an_activation_object_will_do():
    assert ResNet(activation("tanh")).act == ResNet("tanh").act


@pytest.mark.process
def test_public_names_load_on_first_use():
    program = (
        "import sys, isocalc\n"
        "heavy = {'numpy', 'scipy', 'numba', 'rich', 'click'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(set(isocalc.__all__) <= set(dir(isocalc)))\n"
        "print(all(getattr(isocalc, name) is not None for name in isocalc.__all__))\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:4] == ["[]", "True", "True", "['numpy']"]


def test_docstring_examples():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    names = {name: getattr(isocalc, name) for name in isocalc.__all__}
    for name, value in names.items():
        if not isinstance(value, str):
            assert value.__doc__, name
            for test in finder.find(value, name, globs=dict(names)):
                runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 0


def test_unknown_public_names():
    with pytest.raises(AttributeError, match="has no attribute 'ResNat'"):
        isocalc.ResNat  # noqa: B018 - asking is the test
