"""Gains of activations."""

import math

import naive
import pytest

from isocalc import InvalidInputError, activation
from isocalc.activations.catalogue import names
from isocalc.design.gains import gains

ACTIVATIONS = ["threshold:0.1:0.5" if name == "threshold" else name for name in names()]


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("q", [0.3, 1.0])
def test_gains_undo_slow_averages(act, q):
    found = gains(act, q)
    _, (second, _), (gate, _), *_ = naive.averages(activation(act), q)
    assert found.forward**2 * second == pytest.approx(1, rel=1e-10)
    assert found.backward**2 * gate == pytest.approx(1, rel=1e-10)
    if found.critical is not None:
        assert found.critical == found.backward
        assert found.critical**2 * second + found.critical_sigma_b**2 == pytest.approx(q, rel=1e-10)


def test_closed_forms():
    """ReLU: E φ² = E φ'² = 1/2 of q = 1; SELU is normalised: E φ² = 1; sin: E φ² = (1 − e⁻²)/2."""
    assert gains("relu").forward == pytest.approx(math.sqrt(2), rel=1e-14)
    assert gains("relu").backward == pytest.approx(math.sqrt(2), rel=1e-14)
    assert gains("selu").forward == pytest.approx(1, rel=1e-9)
    assert gains("sin").forward == pytest.approx(math.sqrt(2 / -math.expm1(-2)), rel=1e-13)


@pytest.mark.parametrize(
    ("act", "gain"),
    [
        ("linear", 1),
        ("sigmoid", 1),
        ("tanh", 5 / 3),
        ("relu", math.sqrt(2)),
        ("leaky_relu", math.sqrt(2 / (1 + 0.01**2))),
        ("leaky_relu:-0.3", math.sqrt(2 / 1.09)),
        ("selu", 0.75),
        ("gelu", None),
    ],
)
def test_constants_of_pytorch(act, gain):
    """Its documentation of calculate_gain."""
    assert gains(act).pytorch == (None if gain is None else pytest.approx(gain, rel=1e-15))


def test_constants_agree_with_the_pytorch_installed():
    init = pytest.importorskip("torch").nn.init
    for act in ("linear", "sigmoid", "tanh", "relu", "selu"):
        assert gains(act).pytorch == pytest.approx(init.calculate_gain(act), rel=1e-15)
    assert gains("leaky_relu:0.3").pytorch == pytest.approx(init.calculate_gain("leaky_relu", 0.3), rel=1e-15)


def test_gates_that_do_not_open_have_no_gain():
    found = gains("hardshrink", 1e-9)
    assert found.forward is found.backward is found.critical is None


def test_a_bad_variance_is_refused():
    with pytest.raises(InvalidInputError, match=r"q must be a number from 1e-100 to 1e\+20, got 0"):
        gains("relu", 0)


@pytest.mark.parametrize(("text", "second"), [("sign(x)", 1.0), ("where(x > 0, 2, 0)", 2.0)])
def test_steps_have_a_forward_gain_alone(text, second):
    """E φ² of steps is that of their values."""
    found = gains(text)
    assert found.forward == pytest.approx(1 / math.sqrt(second), rel=1e-12)
    assert found.backward is found.critical is found.critical_sigma_b is None
    assert found.why_not_critical.startswith("no gate opens")
    with pytest.raises(InvalidInputError, match="It is constant, or made of steps"):
        activation(text)
