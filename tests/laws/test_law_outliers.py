"""Outliers of laws, in every variable, and the extremes of networks."""

import math

import numpy as np
import pytest

import isocalc
from isocalc import NoAnswerError, ResNet, UniversalLaw, spectrum
from isocalc.laws.figure import law_figure
from isocalc.laws.outliers import Outliers


def law_with(monkeypatch, variable="singular", **found):
    """Return the universal law of a network, with outliers of its own; how often they were computed."""
    calls = []

    def outliers(network, **_):
        calls.append(network)
        return Outliers(**found)

    monkeypatch.setattr("isocalc.laws.outliers.outliers", outliers)
    return spectrum(ResNet("tanh"), variable), calls


def test_outliers_in_every_variable(monkeypatch):
    law, calls = law_with(monkeypatch, above=(4.0, 3.5), below=(-5.0, -4.0))
    assert not calls
    log_s = [2.0, 1.75, -2.0, -2.5]
    assert law.using("log").outliers.tolist() == log_s
    np.testing.assert_allclose(law.outliers, np.exp(log_s), rtol=1e-15)
    np.testing.assert_allclose(law.using("lambda").outliers, np.exp(2 * np.array(log_s)), rtol=1e-15)
    assert len(calls) == 1
    assert (law.s_max, law.s_min) == pytest.approx((math.exp(2), math.exp(-2.5)), rel=1e-15)
    assert law.condition_number == pytest.approx(math.exp(4.5), rel=1e-15)
    assert law.bulk_condition_number == pytest.approx(law.edge_upper / law.edge_lower, rel=1e-12)


def test_without_outliers_the_extremes_are_the_edges(monkeypatch):
    law, _ = law_with(monkeypatch)
    assert law.outliers.shape == (0,)
    assert (law.s_max, law.s_min, law.condition_number) == (
        law.edge_upper,
        law.edge_lower,
        law.bulk_condition_number,
    )
    assert (law.not_derived, law.excess) == (None, None)


def test_an_outlier_beyond_a_double(monkeypatch):
    law, _ = law_with(monkeypatch, above=(2000.0,))
    assert (law.s_max, law.condition_number, law.log_s_max) == (math.inf, math.inf, 1000.0)


def test_where_they_are_not_derived(monkeypatch):
    law, _ = law_with(monkeypatch, missing="outliers are open here")
    for question in ("outliers", "s_max", "s_min", "condition_number"):
        with pytest.raises(NoAnswerError, match="outliers are open here"):
            getattr(law, question)
    assert law.not_derived == "outliers are open here"
    alone = UniversalLaw(0.5)
    assert "c alone" in alone.not_derived
    with pytest.raises(NoAnswerError, match="c alone"):
        alone.outliers  # noqa: B018


def test_a_picture_has_a_line_at_each(monkeypatch):
    law, _ = law_with(monkeypatch, above=(4.0,), below=(-5.0,))
    labels = [mark.label for mark in law_figure([("", law)], "log", "").panels[0].marks if mark.label]
    assert labels == ["outlier log s = 2", "outlier log s = -2.5"]
    figure = law_figure([("tanh", law), ("other", UniversalLaw(0.5))], "singular", "", asked_for=True)
    labels = [mark.label for mark in figure.panels[0].marks if "outlier" in mark.label]
    assert labels == ["tanh: outlier s = 7.389", "tanh: outlier s = 0.08208"]


def test_relu():
    """Simulated, L = 100, sigma_w = 1, N = 400, 16 networks: s from 39.3 to 41.8, one in each."""
    law = isocalc.spectrum(ResNet("relu"))
    (outlier,) = law.outliers
    assert 39.3 < outlier == law.s_max < 41.8
