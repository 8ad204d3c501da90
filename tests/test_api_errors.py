"""Whatever the Python API is given, its errors are isocalc's own."""

import numpy as np
import pytest

import isocalc
from isocalc.laws import universal

LAW = isocalc.UniversalLaw(1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: isocalc.fixed_points(isocalc.ResNet("tanh")),
        lambda: isocalc.propagate("tanh"),
        lambda: isocalc.spectrum(isocalc.FeedForward("tanh"), law="universal"),
        lambda: isocalc.spectrum(None),
        lambda: isocalc.ResNet("tanh", sigma_w=np.array([1.0, 2.0])),
        lambda: LAW.pdf("a"),
        lambda: LAW.pdf([[1, 2], [3]]),
        lambda: LAW.pdf(1j),
        lambda: LAW.pdf(10**400),
        lambda: LAW.cdf(np.nan),
        lambda: LAW.ppf("x"),
        lambda: LAW.ppf(1.5),
        lambda: LAW.moment("two"),
        lambda: LAW.using("s"),
    ],
)
def test_bad_arguments_are_refused_in_words(call):
    with pytest.raises(isocalc.InvalidInputError, match="must be"):
        call()


def test_what_cannot_be_computed_is_refused_in_words():
    with pytest.raises(isocalc.NoAnswerError, match="up to 1e\\+06"):
        isocalc.UniversalLaw(1e7).pdf(1.0)


def test_odd_activations_have_no_mean():
    signal = isocalc.propagate(isocalc.ResNet("tanh", depth=50))
    assert not signal.mean.any()


def test_a_law_is_solved_once_for_density_and_distribution(monkeypatch):
    law, calls = isocalc.UniversalLaw(0.7), []
    original = universal.density_and_survival
    monkeypatch.setattr(universal, "density_and_survival", lambda *args: calls.append(1) or original(*args))
    x = law.grid(50)
    law.pdf(x), law.cdf(x)
    assert len(calls) == 1
