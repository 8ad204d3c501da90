"""How simulations of several widths approach the law. Seeds are fixed; false-alarm rate 1 %."""

import math
from dataclasses import replace

import numpy as np
import pytest

from isocalc.judging.statistics import Finding
from isocalc.judging.width_law import Rank, WidthLaw
from isocalc.judging.width_trend import judge_widths, width_trend
from isocalc.laws.universal import UniversalLaw
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import spectra

WIDTHS = (50, 100, 200)
# E log λ = 2 L log a.
LAW = WidthLaw(UniversalLaw(1.0, depth=1, skip=math.exp(1.5)), WIDTHS[-1])


def series(difference, error=1e-4, allowance=0.5):
    """Return one statistic whose theory is 3, by width."""
    return {
        width: [
            Finding("mean_log_lambda", 3.0, 3.0 + difference(width), error * 50 / width, allowance / width)
        ]
        for width in WIDTHS
    }


def trend(difference, law=LAW, **options):
    return width_trend(series(difference, **options), dict.fromkeys(WIDTHS, 8), law)[0]


def test_finite_width_goes_away():
    found = trend(lambda width: 2.0 / width)
    assert found.extrapolated == pytest.approx(3.0, abs=1e-12)
    assert found.rate == pytest.approx(1.0)
    assert found.verdict == "agrees"


def test_ranks_that_fluctuate_go_away_more_slowly():
    found = trend(lambda width: 2.0 / math.sqrt(width), replace(LAW, rank=Rank(0.5, 0.01)))
    assert found.extrapolated == pytest.approx(3.0, abs=1e-12)
    assert found.rate == pytest.approx(0.5)


def test_a_wrong_law_stays_wrong():
    found = trend(lambda width: 0.01 + 0.5 / width)
    assert found.extrapolated == pytest.approx(3.01, abs=1e-12)
    assert found.verdict == "disagrees"
    assert trend(lambda _: 0.01).rate == pytest.approx(0.0, abs=1e-12)


def test_the_standard_error_is_that_of_weighted_least_squares():
    # Errors that go like 1/N, weights N²: numpy's straight line in 1/N.
    found = trend(lambda width: math.sin(width) / width, error=1e-2)
    x, errors = 1 / np.array(WIDTHS), 1e-2 * 50 / np.array(WIDTHS)
    y = np.sin(WIDTHS) * x
    line, covariance = np.polyfit(x, y, 1, w=1 / errors, cov="unscaled")
    assert found.extrapolated == pytest.approx(3 + line[1])
    assert found.standard_error == pytest.approx(math.sqrt(covariance[1, 1]))


def test_noise_has_no_rate():
    assert trend(lambda _: 1e-6, error=1e-2).rate is None


@pytest.mark.parametrize(
    "network",
    [
        ResNet("linear", depth=10),
        FeedForward("relu", depth=10, sigma_w=math.sqrt(2), input_variance=1.0),
        FeedForward("tanh", depth=10, sigma_w=1.05, sigma_b=0.02, weights="orthogonal"),
    ],
)
def test_right_laws_agree(network):
    log_s = {width: spectra(network, width, 32, width) for width in WIDTHS}
    judgements, trends = judge_widths(log_s, network)
    assert set(judgements) == set(WIDTHS)
    assert [found.name for found in trends if found.verdict == "disagrees"] == []
    assert any(found.verdict == "agrees" for found in trends)


def test_wrong_laws_are_found():
    network = ResNet("linear", depth=10)
    log_s = {width: spectra(network, width, 32, width) for width in WIDTHS}
    for factor in (0.95, 1.05):
        trends = judge_widths(log_s, replace(network, sigma_w=math.sqrt(factor)))[1]
        assert "disagrees" in {found.verdict for found in trends}


def test_mass_at_zero_is_extrapolated_to_the_law():
    network = FeedForward("relu", depth=5, sigma_w=math.sqrt(2), input_variance=1.0)
    log_s = {width: spectra(network, width, 16, width) for width in WIDTHS}
    found = {row.name: row for row in judge_widths(log_s, network)[1]}
    assert found["mass_at_zero"].theory == pytest.approx(0.5, abs=1e-12)
    assert found["mass_at_zero"].verdict == "agrees"
    assert found["log_s_min"].verdict == "not judged"
