"""Networks whose own law, at their depth, has the edge that was wanted."""

import math

import pytest
from scipy.optimize import minimize_scalar

from isocalc import InvalidInputError, NoAnswerError, ResNet, spectrum
from isocalc.design.initialize import for_condition, for_s_max
from isocalc.laws.outliers import Outliers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "law"),
    [
        (ResNet("relu", depth=100), "universal"),
        (ResNet("relu", depth=10), "layered"),
        (ResNet("tanh", depth=10, skip=0.9, sigma_b=0.2), "layered"),
        (ResNet("gelu", depth=12, block="preln", weights="orthogonal"), "layered"),
        (ResNet("relu", depth=6, block="pre"), "exact"),
        (ResNet("linear", depth=3, weights="orthogonal"), "layered"),
        (ResNet("relu", depth=2), "exact"),
    ],
)
def test_edges_are_those_of_the_law_that_spectrum_takes(network, law):
    (found,) = for_condition(network, 9.0, bulk=True)
    assert found.law.name == law
    assert spectrum(found.network).bulk_condition_number == pytest.approx(9, rel=1e-8)
    (found,) = for_s_max(network, 2.0, bulk=True)
    assert spectrum(found.network).edge_upper == pytest.approx(2, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "law"),
    [
        (ResNet("relu", depth=100), "universal"),
        (ResNet("softplus", depth=12, sigma_b=0.2), "layered"),
        (ResNet("gelu", depth=12, block="preln"), "layered"),
    ],
)
def test_extremes_are_those_of_the_network(network, law):
    (found,) = for_condition(network, 30.0)
    assert found.law.name == law
    assert spectrum(found.network).condition_number == pytest.approx(30, rel=1e-8)
    (found,) = for_s_max(network, 6.0)
    assert spectrum(found.network).s_max == pytest.approx(6, rel=1e-8)


def test_extremes_that_are_not_derived_are_refused(monkeypatch):
    monkeypatch.setattr(
        "isocalc.laws.outliers.outliers", lambda *_, **__: Outliers(missing="outliers are open")
    )
    with pytest.raises(NoAnswerError, match="s_max is not known: outliers are open"):
        for_s_max(ResNet("tanh"), 3.0)
    for_s_max(ResNet("tanh"), 3.0, bulk=True)


@pytest.mark.parametrize("s_max", [1.2, 2.5, 40.0])
def test_one_linear_layer_in_closed_form(s_max):
    """1 + σ X, X square of Gaussian entries of variance 1/N: Dozier and Silverstein, arXiv math/0603104.

    λ = 1/u² + σ²/(u (1 − u)), 0 < u < 1, beyond the largest one: that is its minimum.
    """
    (found,) = for_s_max(ResNet("linear", depth=1), s_max)
    variance = found.network.sigma_w**2
    best = minimize_scalar(
        lambda u: 1 / u**2 + variance / (u * (1 - u)), bounds=(1e-6, 1 - 1e-9), options={"xatol": 1e-12}
    )
    assert found.law.name == "layered"
    assert math.sqrt(best.fun) == pytest.approx(s_max, rel=1e-8)


def test_a_strong_network_is_refused_before_minutes_of_work():
    with pytest.raises(NoAnswerError, match=r"its law is the exact one, which at c = .* may take minutes"):
        for_s_max(ResNet("relu", depth=100, block="pre"), 1e12)


def test_bad_arguments():
    with pytest.raises(InvalidInputError, match="condition must be"):
        for_condition(ResNet("relu"), 1.0)
    with pytest.raises(InvalidInputError, match="s_max must be"):
        for_s_max(ResNet("relu"), math.nan)
