"""The judgement of simulated spectra: right laws accepted, wrong ones rejected, each statistic by itself.

A right law is rejected in at most 1 % of comparisons, the rate at which `compare` works; seeds are fixed.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from isocalc.findings import PLACES, edge_places, findings
from isocalc.finite_depth import depth_law
from isocalc.judge import compare, enough_judged, set_aside
from isocalc.network import ResNet
from isocalc.simulate import spectra

NAMES = [
    "log_mean_lambda",
    "mean_log_lambda",
    "var_log_lambda",
    "log_s_q05",
    "log_s_q25",
    "log_s_q50",
    "log_s_q75",
    "log_s_q95",
    "log_s_min",
    "log_s_max",
    "ks_distance",
    "wasserstein_distance",
]


def verdicts(log_s, law, **options):
    return {statistic.name: statistic.verdict for statistic in compare(log_s, law, **options)}


def rejected(log_s, law):
    return [name for name, verdict in verdicts(log_s, law).items() if verdict == "disagrees"]


def ideal(law, width, trials=8, jitter=1e-4):
    """Return spectra that have the law exactly: its quantiles, a little displaced in each trial."""
    log_s = np.tile(law.ppf((np.arange(width) + 0.5) / width), (trials, 1))
    log_s[:, 0], log_s[:, -1] = edge_places(law, width)[:2]
    return log_s + jitter * np.linspace(-1, 1, trials)[:, None]


@pytest.mark.parametrize(
    ("network", "seed"),
    [(ResNet("linear", depth=10), 21), (ResNet("tanh", depth=10, sigma_w=1.2, weights="orthogonal"), 22)],
)
def test_negative_control(network, seed):
    # N = 500, 8 trials. False alarm rate 1 % for the right law; the two wrong ones have c off by 5 %.
    law = depth_law(network)
    log_s = spectra(network, 500, 8, seed)
    assert set_aside(log_s, law)[1] == []
    assert set(verdicts(log_s, law).values()) == {"agrees"}
    assert rejected(log_s, replace(law, c=1.05 * law.c))
    assert rejected(log_s, replace(law, c=0.95 * law.c))
    assert not rejected(log_s, replace(law, c=1.0001 * law.c))


def test_false_alarms_are_rare():
    # 100 comparisons at 1 % or less: more than 5 have probability 5e-4.
    network = ResNet("relu", depth=6, sigma_w=1.2)
    law = depth_law(network)
    groups = spectra(network, 40, 800, 23, gates="independent").reshape(100, 8, 40)
    assert sum(bool(rejected(group, law)) for group in groups) <= 5


def test_the_direction_of_the_signal_is_set_aside():
    # 8 trials of a ReLU network: the gain of its signal, about e^(σ √L / √(2π)), leaves the law.
    network = ResNet("relu", depth=60, sigma_w=2.0)
    law = depth_law(network)
    log_s = spectra(network, 150, 8, 24)
    bulk, outliers = set_aside(log_s, law)
    assert outliers == log_s[:, -1].tolist()
    assert min(outliers) > law.ppf([1.0])[0] + 1
    assert (np.diff(bulk, axis=1) > 0).all()
    np.testing.assert_array_less(bulk, outliers[0])
    assert not rejected(bulk, law)
    assert {"log_mean_lambda", "log_s_max"} <= set(rejected(log_s, law))


def test_setting_aside_takes_at_most_one_at_each_end():
    law = depth_law(ResNet("linear", depth=50))
    log_s = ideal(law, 100)
    np.testing.assert_array_equal(set_aside(log_s, law)[0], log_s)
    log_s[0, -3:] += 3.0
    log_s[1, 0] -= 3.0
    bulk, outliers = set_aside(log_s, law)
    assert outliers == [log_s[0, -1], log_s[1, 0]]
    assert bulk[0, -1] == log_s[0, -2]
    assert bulk[1, 0] == log_s[1, 1]
    np.testing.assert_array_equal(bulk[2:], log_s[2:])
    # The others are spread over N places evenly: no quantile moves by more than one.
    assert (np.abs(bulk[1] - log_s[1])[1:] <= np.diff(log_s[1])).all()


def test_every_statistic_of_the_law_itself_agrees():
    law = depth_law(ResNet("tanh", depth=30, sigma_w=1.5, skip=1.1))
    log_s = ideal(law, 400)
    found = {statistic.name: statistic for statistic in compare(log_s, law)}
    assert list(found) == NAMES
    assert {statistic.verdict for statistic in found.values()} == {"agrees"}
    # 400 quantiles of a law are at most half a place from it, a step in 3200 of the pooled sample more.
    assert found["ks_distance"].simulation <= 0.5 / 400 + 2e-3
    assert found["wasserstein_distance"].simulation <= law.half_width / 400
    for name in NAMES[:-2]:
        assert found[name].simulation == pytest.approx(found[name].theory, abs=5e-3)


def test_statistics_are_those_of_numpy():
    law = depth_law(ResNet("linear", depth=50))
    log_s = np.sort(np.random.default_rng(5).normal(0.0, 0.5, (6, 50)))
    found = {finding.name: finding for finding in findings(log_s, law)}
    log_mean = np.log(np.mean(np.exp(2 * log_s), axis=1))
    assert found["log_mean_lambda"].simulation == pytest.approx(log_mean.mean())
    assert found["log_mean_lambda"].standard_error == pytest.approx(log_mean.std(ddof=1) / math.sqrt(6))
    assert found["log_mean_lambda"].theory == pytest.approx(50 * math.log1p(1 / 50))
    assert found["mean_log_lambda"].simulation == pytest.approx(2 * log_s.mean())
    assert found["mean_log_lambda"].theory == 0
    assert found["var_log_lambda"].simulation == pytest.approx(4 * log_s.var(axis=1).mean())
    assert found["log_s_q50"].simulation == pytest.approx(np.median(log_s, axis=1).mean())
    assert found["log_s_min"].simulation == pytest.approx(log_s.min(axis=1).mean())
    assert found["ks_distance"].simulation == pytest.approx(
        scipy.stats.kstest(log_s.ravel(), law.cdf).statistic
    )
    law_sample = law.ppf((np.arange(30_000) + 0.5) / 30_000)
    assert found["wasserstein_distance"].simulation == pytest.approx(
        scipy.stats.wasserstein_distance(log_s.ravel(), law_sample), rel=2e-2
    )


def test_tolerance_is_student_and_bonferroni():
    law = depth_law(ResNet("linear", depth=50))
    log_s = ideal(law, 100, trials=5, jitter=1e-2)
    allowances = [finding.allowance for finding in findings(log_s, law)]
    t = scipy.stats.t.ppf(1 - 0.05 / 2 / 12, 4)
    for statistic, allowance in zip(compare(log_s, law, false_alarm_rate=0.05), allowances, strict=True):
        assert statistic.tolerance == pytest.approx(t * statistic.standard_error + allowance)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda x: x + 0.1, {"mean_log_lambda", "log_mean_lambda", "log_s_q50", "ks_distance", "log_s_max"}),
        (lambda x: 1.1 * x, {"var_log_lambda", "log_s_q05", "log_s_q95", "log_s_min", "ks_distance"}),
        (lambda x: np.where(x > 0, 1.1 * x, x), {"mean_log_lambda", "log_s_q75", "wasserstein_distance"}),
        (lambda x: x + 0.05 * np.exp(-((x / 0.1) ** 2)), {"log_s_q50", "ks_distance"}),
    ],
)
def test_each_statistic_finds_what_it_is_for(change, names):
    law = depth_law(ResNet("linear", depth=50))
    assert names <= set(rejected(change(ideal(law, 500)), law))


def test_allowances_shrink_with_width():
    law = depth_law(ResNet("linear", depth=500))
    few = {finding.name: finding.allowance for finding in findings(ideal(law, 100), law)}
    many = {finding.name: finding.allowance for finding in findings(ideal(law, 800), law)}
    for name in NAMES:
        power = 2 / 3 if name in ("log_s_min", "log_s_max") else 1
        assert many[name] / few[name] == pytest.approx(8**-power, rel=0.1)
    assert few["ks_distance"] == pytest.approx(PLACES / 100, rel=0.01)


def test_extremes_are_those_of_wishart_matrices():
    # c → 0: log s of I + X is the GOE. Its largest eigenvalue is 2 − 1.2065 N^(−2/3) at scale √(c/2).
    law = depth_law(ResNet("linear", depth=1000, sigma_w=1e-3))
    low, high, spacing = edge_places(law, 1000)
    unit = 1e-3 / math.sqrt(2)
    assert high == pytest.approx(unit * (2 - 1.2065335745820 / 100), rel=2e-4)
    assert low == pytest.approx(-high, rel=1e-5)
    assert spacing == pytest.approx(unit * 1.2065335745820 / 100, rel=2e-2)


def test_a_shape_that_is_not_known_is_not_judged():
    network = ResNet("linear", depth=1)
    found = {s.name: s for s in compare(spectra(network, 30, 4, 1), depth_law(network))}
    assert found["log_mean_lambda"].verdict == "agrees"
    for name in NAMES[1:]:
        assert found[name].verdict == "not judged"
        assert found[name].theory is None


def test_means_ruled_by_few_values_are_not_judged():
    network = ResNet("linear", depth=100, sigma_w=4.0)
    found = verdicts(spectra(network, 40, 4, 1), depth_law(network))
    assert found["log_mean_lambda"] == "not judged"
    assert found["mean_log_lambda"] == "agrees"


def test_rare_gates_leave_the_edges_unjudged():
    # φ' of tanhshrink is near 0: its square varies by ten times its mean.
    network = ResNet("tanhshrink", depth=40)
    found = verdicts(set_aside(spectra(network, 60, 4, 1), depth_law(network))[0], depth_law(network))
    assert found.pop("log_s_min") == found.pop("log_s_max") == "not judged"
    assert set(found.values()) == {"agrees"}


@pytest.mark.parametrize("skip", [1.0, 0.3])
def test_a_point_mass(skip):
    network = ResNet("tanh", depth=40, sigma_w=0.0, skip=skip, sigma_b=1.0)
    found = verdicts(spectra(network, 20, 3, 1), depth_law(network))
    assert found.pop("ks_distance") == "not judged"
    assert set(found.values()) == {"agrees"}
    assert "disagrees" in verdicts(spectra(network, 20, 3, 1) + 1e-6, depth_law(network)).values()


def test_distances_where_the_expansion_is_not_accurate_are_from_the_universal_law():
    law = depth_law(ResNet("hardshrink:2", depth=20))
    found = {s.name: s for s in compare(np.zeros((8, 60)), law)}
    # From a point mass: E|log s| of a semicircle of variance c/2, and half of the mass.
    mean = 8 / (3 * math.pi) * math.sqrt(law.c / 2)
    assert found["wasserstein_distance"].simulation == pytest.approx(mean, rel=1e-3)
    assert found["ks_distance"].simulation == pytest.approx(0.5, abs=1e-6)
    assert found["ks_distance"].verdict == found["wasserstein_distance"].verdict == "not judged"


def test_rounding_is_not_set_aside():
    # The law is 1e-10 wide and log s about 1151: a double there has a step of 2e-13.
    network = ResNet("relu", depth=50, skip=1e10)
    law = depth_law(network)
    log_s = spectra(network, 20, 8, 1)
    assert log_s.max() - log_s.min() < 1e-9
    assert set_aside(log_s, law)[1] == []
    log_s[0, -1] += 1e-6
    assert set_aside(log_s, law)[1] == [log_s[0, -1]]


def test_obstacles_say_what_they_are():
    def obstacle(network, name, width=30):
        found = {
            finding.name: finding for finding in findings(spectra(network, width, 3, 1), depth_law(network))
        }
        return found[name].obstacle

    assert "point mass" in obstacle(ResNet("relu", sigma_w=0.0), "ks_distance")
    assert "narrower than the rounding" in obstacle(ResNet("tanh", sigma_w=1e-13), "ks_distance")
    assert "a few singular values" in obstacle(ResNet("linear", sigma_w=4.0), "log_mean_lambda")
    assert "a single neuron" in obstacle(ResNet("tanhshrink", depth=40), "log_s_max")
    assert obstacle(ResNet("tanh", depth=20), "log_s_max") == ""


def test_enough_is_a_distance_or_half_of_the_statistics():
    found = compare(spectra(ResNet("tanh", depth=20), 20, 3, 1), depth_law(ResNet("tanh", depth=20)))
    blank = [replace(statistic, verdict="not judged") for statistic in found]
    assert enough_judged(found)
    assert not enough_judged(blank)
    assert not enough_judged([*found[:5], *blank[5:]])
    assert enough_judged([*found[:6], *blank[6:]])
    assert enough_judged([*blank[:11], found[11]])


def test_two_trials_and_two_neurons_are_enough():
    network = ResNet("tanh", depth=20)
    law = depth_law(network)
    assert not rejected(set_aside(spectra(network, 2, 2, 1), law)[0], law)
