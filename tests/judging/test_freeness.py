"""Own gates against independent ones: definitions, Welch's test by SciPy's, real networks.

Each call of `contrasts` rejects free gates by any statistic with a probability of at most 1 %; seeds are
fixed.
"""

import math

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from isocalc.judging.allowances import QUANTILES
from isocalc.judging.freeness import EXTREMES, contrasts
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import spectra


def verdicts(found):
    return {contrast.name: contrast.verdict for contrast in found}


def simulated(network, width, trials, seed):
    return [spectra(network, width, trials, seed, gates=gates) for gates in ("own", "independent")]


def test_statistics_are_those_of_all_but_the_extremes():
    rng = default_rng(1)
    samples = [np.sort(rng.standard_normal((5, 42)), axis=1) for _ in range(2)]
    found = {contrast.name: contrast for contrast in contrasts(*samples)}
    for log_s, means in zip(samples, ("own", "independent"), strict=True):
        inner = log_s[:, 1:-1]
        expected = {
            "mass_at_zero": 0.0,
            "log_mean_lambda": np.log((np.exp(inner) ** 2).mean(axis=1)).mean(),
            "mean_log_lambda": 2 * inner.mean(),
            "var_log_lambda": (2 * inner).var(axis=1).mean(),
            "log_s_min": log_s.min(axis=1).mean(),
            "log_s_max": log_s.max(axis=1).mean(),
        } | {
            f"log_s_q{round(100 * mass):02d}": np.quantile(inner, mass, axis=1, method="hazen").mean()
            for mass in QUANTILES
        }
        assert {name: getattr(one, means) for name, one in found.items()} == pytest.approx(
            expected, abs=1e-14
        )


def test_the_standard_error_and_t_are_those_of_welch():
    rng = default_rng(2)
    samples = [
        np.sort(scale * rng.standard_normal((trials, 50)), axis=1) for scale, trials in ((1, 6), (3, 9))
    ]
    medians = [np.median(log_s[:, 1:-1], axis=1) for log_s in samples]
    expected = stats.ttest_ind(*medians, equal_var=False)
    narrow, wide = (
        {one.name: one for one in contrasts(*samples, false_alarm_rate=rate)}["log_s_q50"]
        for rate in (0.02, 0.002)
    )
    difference = narrow.own - narrow.independent
    assert difference / narrow.standard_error == pytest.approx(expected.statistic, rel=1e-12)
    # Nine statistics are judged; the allowance cancels in the difference of two tolerances.
    t = [-stats.t.ppf(rate / 18, expected.df) for rate in (0.02, 0.002)]
    assert wide.tolerance - narrow.tolerance == pytest.approx((t[1] - t[0]) * narrow.standard_error, rel=1e-9)


def test_what_zeros_decide_is_not_judged():
    rng = default_rng(3)
    samples = [np.sort(rng.standard_normal((8, 40)), axis=1) for _ in range(2)]
    for log_s in samples:
        log_s[:, :12] = -math.inf
    found = contrasts(*samples)
    undecided = {"mean_log_lambda", "var_log_lambda", "log_s_q05", "log_s_q25", *EXTREMES}
    assert {name for name, verdict in verdicts(found).items() if verdict == "not judged"} == undecided
    assert found[0].own == found[0].independent == 0.3
    assert set(verdicts(found).values()) == {"agrees", "not judged"}
    # A rank that differs by a tenth is found, and so are the quantiles above.
    samples[0][:, :16] = -math.inf
    assert verdicts(contrasts(*samples))["mass_at_zero"] == "disagrees"


def test_nothing_but_zeros():
    nothing = np.full((3, 10), -math.inf)
    found = verdicts(contrasts(nothing, nothing))
    assert found.pop("mass_at_zero") == "agrees"
    assert set(found.values()) == {"not judged"}


def test_the_same_spectrum_agrees_but_for_rounding():
    log_s = np.tile(np.linspace(-5.0, 3.0, 30), (4, 1))
    found = verdicts(contrasts(log_s, log_s * (1 + 1e-14)))
    assert "disagrees" not in found.values()


@pytest.mark.parametrize(
    ("network", "width"),
    [
        (ResNet("tanh", depth=20), 60),
        (ResNet("relu", depth=20, weights="orthogonal", sigma_w=1.4), 60),
        (ResNet("linear", depth=10, block="pre"), 60),
        (FeedForward("tanh", depth=10, sigma_w=1.3, sigma_b=0.1), 60),
        (FeedForward("tanh", depth=10, sigma_w=1.3, sigma_b=0.1, tied=True), 60),
        (FeedForward("hardtanh", depth=6, sigma_w=1.3, sigma_b=0.2, weights="orthogonal"), 60),
        (FeedForward("relu", depth=3, layer_widths=(60, 90, 70, 40)), None),
    ],
    ids=repr,
)
def test_gates_are_free(network, width):
    found = verdicts(contrasts(*simulated(network, width, 8, 4)))
    assert "disagrees" not in found.values()
    assert "agrees" in found.values()


def test_gates_of_pre_activation_blocks_are_not():
    network = ResNet("tanh", depth=20, block="pre", sigma_w=2.0, input_variance=4.0)
    found = verdicts(contrasts(*simulated(network, 200, 8, 5)))
    assert found["log_s_q25"] == found["log_s_q75"] == "disagrees"


def test_another_law_is_found():
    own, _ = simulated(ResNet("tanh", depth=10), 100, 8, 6)
    _, other = simulated(ResNet("tanh", depth=10, sigma_w=1.2), 100, 8, 6)
    assert "disagrees" in verdicts(contrasts(own, other)).values()


def test_networks_of_either_kind_are_independent():
    # The same seed and trial: correlated samples would not have the standard error of independent ones.
    own, independent = simulated(FeedForward("linear", depth=1), 30, 200, 7)
    correlation = np.corrcoef(own[:, -1], independent[:, -1])[0, 1]
    assert abs(correlation) < 4.5 / math.sqrt(200)  # a false-alarm rate of 7e-6
