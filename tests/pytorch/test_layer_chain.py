"""Laws of chains of different layers: log S adds up, and equal layers are a network that is known."""

import numpy as np
import pytest
from scipy.stats import norm

from isocalc import FeedForward, activation, propagate, spectrum
from isocalc.errors import NoAnswerError
from isocalc.judging.width_law import expected_rank
from isocalc.pytorch.recognition import LayerChain


def chain(widths, acts, sigma_w, weights="gaussian", *, sigma_b=0.0, input_variance=1.0):
    depth = len(acts)
    kinds = weights if isinstance(weights, tuple) else (weights,) * depth
    return LayerChain(
        widths, tuple(map(activation, acts)), kinds, sigma_w, (sigma_b,) * depth, input_variance
    )


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("widths", [(5, 5, 5, 5), (5, 8, 8, 3)])
@pytest.mark.parametrize("act", ["tanh", "relu", "hardtanh"])
def test_equal_layers_are_a_feed_forward_network(act, widths, weights):
    found = chain(widths, (act,) * 3, (1.3,) * 3, weights, sigma_b=0.2, input_variance=0.7)
    same = FeedForward(
        act, sigma_w=1.3, sigma_b=0.2, input_variance=0.7, layer_widths=widths, weights=weights
    )
    assert found.q == pytest.approx(propagate(same).q, rel=1e-12)
    s = np.linspace(0.01, 2.5, 30)
    assert found.law.cdf(s) == pytest.approx(spectrum(same).cdf(s), abs=1e-10)
    assert found.rank == pytest.approx(expected_rank(same, None))


def test_relative_variances_of_layers_add():
    """Gaussian weights add 1, a ReLU gate 1, a linear layer nothing; means multiply."""
    law = chain((4, 4, 4, 4), ("relu", "linear", "relu"), (1.5, 0.7, 2.0)).law.using("lambda")
    assert law.mean() == pytest.approx((1.5 * 0.7 * 2.0) ** 2 / 4, rel=1e-10)
    assert law.var() / law.mean() ** 2 == pytest.approx(3 + 2, rel=1e-8)


def test_kinds_of_weights_mix():
    """Orthogonal weights add nothing."""
    law = chain((4, 4, 4), ("relu", "linear"), (1.5, 0.7), ("orthogonal", "gaussian")).law.using("lambda")
    assert law.mean() == pytest.approx((1.5 * 0.7) ** 2 / 2, rel=1e-10)
    assert law.var() / law.mean() ** 2 == pytest.approx(1 + 1, rel=1e-8)


def test_one_gate_between_orthogonal_layers_is_the_law():
    """φ'(√q z)² itself, scaled: the mass below s is that of |φ'| below s over the scales."""
    found = chain((4, 4, 4), ("tanh", "linear"), (1.2, 0.8), "orthogonal")
    # tanh' < t where |√q z| > arcosh(t^-1/2).
    t = np.array([0.2, 0.5, 0.9])
    below = 2 * norm.sf(np.arccosh(t**-0.5) / np.sqrt(found.q[0]))
    assert found.law.cdf(1.2 * 0.8 * t) == pytest.approx(below, abs=1e-9)


def test_a_layer_without_weights_lets_nothing_pass():
    found = chain((4, 4, 4), ("tanh", "linear"), (1.0, 0.0))
    assert found.law.atoms == ((0.0, 1.0),)
    assert found.rank.mean == 0


def test_a_signal_that_explodes_is_refused():
    with pytest.raises(NoAnswerError, match="explodes in layer 2"):
        chain((4, 4, 4), ("squared_relu",) * 2, (1e70, 1e70)).q  # noqa: B018


@pytest.mark.parametrize(
    ("acts", "widths", "words"),
    [
        (
            ("tanh", "tanh", "linear"),
            (784, 100, 100, 10),
            "2 layers f(W x + b), f = tanh, and a linear one, ",
        ),
        (("relu",), (5, 4), "1 layer f(W x + b), f = relu, widths 5, 4"),
        (("linear",) * 4, (5,) * 5, "4 layers f(W x + b), f = linear, widths 5 (5 times)"),
    ],
)
def test_words(acts, widths, words):
    assert chain(widths, acts, (1.0,) * len(acts)).in_words().startswith(words)
