"""The judgement of simulated spectra: right laws accepted, wrong ones rejected, each statistic by itself.

A right law is rejected in at most 1 % of comparisons, the rate at which `compare` works; seeds are fixed.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

import isocalc
from isocalc.judging.allowances import PLACES
from isocalc.judging.judge import compare, enough_judged, judge, judged_by
from isocalc.judging.outliers import set_aside
from isocalc.judging.statistics import NAMES, findings
from isocalc.judging.width_law import WidthLaw
from isocalc.laws.universal import UniversalLaw
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import spectra


def universal(c, width, **options):
    return WidthLaw(UniversalLaw(c), width, log_mean_lambda=c, **options)


def rejected(log_s, law):
    return [statistic.name for statistic in compare(log_s, law) if statistic.verdict == "disagrees"]


def ideal(law, trials=8, jitter=1e-4):
    """Return spectra that have the law exactly: its quantiles, a little displaced in each trial."""
    log_s = np.tile(law.ppf((np.arange(law.width) + 0.5) / law.width), (trials, 1))
    log_s[:, 0], log_s[:, -1] = law.extremes
    return log_s + jitter * np.linspace(-1, 1, trials)[:, None]


NET = ResNet("tanh", depth=2)
ROWS = np.tile(np.linspace(-1, 1, 10), (3, 1))


@pytest.mark.parametrize(
    ("log_s", "network", "words"),
    [
        (np.zeros((1, 10)), NET, r"of shape (trials, N_0) with at least 2 trials, got (1, 10)"),
        (np.zeros(10), NET, r"with at least 2 trials, got (10,)"),
        (np.zeros((2, 1)), NET, r"with N_0 at least 2, got (2, 1)"),
        ([[1.0, 2.0], [3.0]], NET, "rows of numbers, one for each replicate"),
        (ROWS[:, ::-1], NET, "ascending in each row, got (1.0, 0.7"),
        (np.where(ROWS == 1, np.nan, ROWS), NET, "finite, or -inf where s = 0, got nan"),
        (np.where(ROWS == 1, np.inf, ROWS), NET, "finite, or -inf where s = 0, got inf"),
        (ROWS, FeedForward("tanh", depth=1, layer_widths=(9, 4)), "with N_0 9, got (3, 10)"),
    ],
)
def test_replicates_that_are_none_are_refused(log_s, network, words):
    with pytest.raises(isocalc.InvalidInputError) as error:
        judge(log_s, network)
    assert str(error.value).startswith("log_s must be ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "wrong", [{"gates": "none"}, {"dtype": "float16"}, {"law": 1.0}, {"false_alarm_rate": 1.0}]
)
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(isocalc.InvalidInputError, match=f"{next(iter(wrong))} must be"):
        judge(ROWS, NET, **wrong)
    with pytest.raises(isocalc.InvalidInputError, match="network must be"):
        judge(ROWS, "tanh")


def test_lists_are_judged_as_arrays_are():
    assert judge(ROWS.tolist(), NET).verdicts == judge(ROWS, NET).verdicts


@pytest.mark.parametrize(
    ("network", "seed"),
    [(ResNet("linear", depth=10), 21), (ResNet("tanh", depth=10, sigma_w=1.2, weights="orthogonal"), 22)],
)
def test_negative_control(network, seed):
    # N = 500, 8 trials. False alarm rate 1 % for the right law; σ_w² of the two wrong ones is 5 % off.
    log_s = spectra(network, 500, 8, seed)
    assert judge(log_s, network).disagrees == ()
    for factor in (0.95, 1.05):
        wrong = replace(network, sigma_w=network.sigma_w * math.sqrt(factor))
        assert judge(log_s, wrong).disagrees


@pytest.mark.parametrize(
    "network",
    [
        FeedForward("tanh", depth=5, sigma_w=1.1, sigma_b=0.1, weights="orthogonal"),
        FeedForward("relu", depth=20, input_variance=1.0, weights="orthogonal"),
        FeedForward(
            "hardtanh", depth=3, sigma_w=math.sqrt(1.2), sigma_b=math.sqrt(0.1), weights="orthogonal"
        ),
    ],
)
def test_gaussian_weights_are_not_orthogonal_ones(network):
    log_s = spectra(network, 200, 8, 5)
    assert judge(log_s, network).disagrees == ()
    assert judge(log_s, replace(network, weights="gaussian")).disagrees


def test_correlated_gates_of_pre_activation_blocks_are_found():
    network = ResNet("tanh", depth=20, sigma_w=2.0, input_variance=4.0, block="pre")
    log_s = spectra(network, 300, 8, 1)
    assert "ks_distance" in judge(log_s, network).disagrees
    assert judge(log_s, network, law=isocalc.spectrum(network, law="universal")).disagrees
    assert not judge(spectra(network, 300, 8, 1, gates="independent"), network, gates="independent").disagrees


def test_the_universal_law_is_found_to_be_off_at_few_layers():
    network = ResNet("linear", depth=2)
    log_s = spectra(network, 200, 8, 3)
    assert judge(log_s, network).disagrees == ()
    assert "ks_distance" in judge(log_s, network, law=isocalc.spectrum(network, law="universal")).disagrees


@pytest.mark.parametrize(
    "network",
    [
        FeedForward("linear", depth=2, input_variance=1.0),
        FeedForward("relu", depth=10, sigma_w=math.sqrt(2), input_variance=1.0),
        FeedForward("tanh", depth=2, sigma_w=1.3, sigma_b=0.2, tied=True),
        FeedForward("relu", depth=3, layer_widths=(40, 80, 40, 20), input_variance=1.0),
        ResNet("relu", depth=6, sigma_w=1.2),
        ResNet("gelu", depth=4, block="preln", sigma_w=1.5, sigma_w2=2.0),
    ],
)
def test_false_alarms_are_rare(network):
    # 200 judgements at 1 % or less: by the binomial law more than 7 have probability 1e-3.
    log_s = spectra(network, None if getattr(network, "layer_widths", None) else 40, 1600, 23)
    law = WidthLaw.of(network, log_s.shape[1])
    groups = log_s.reshape(200, 8, -1)
    assert sum(bool(judged_by(group, law).disagrees) for group in groups) <= 7


def test_the_direction_of_the_signal_is_set_aside():
    # 8 trials of a ReLU network: the gain of its signal, about e^(σ √L / √(2π)), leaves the law.
    network = ResNet("relu", depth=60, sigma_w=2.0)
    log_s = spectra(network, 150, 8, 24)
    law = WidthLaw.of(network, 150)
    bulk, outliers = set_aside(log_s, law)
    assert outliers == (("outlier_1", tuple(log_s[:, -1].tolist())),)
    assert log_s[:, -1].min() > law.edges[1] + 1
    assert (np.diff(bulk, axis=1) > 0).all()
    judgement = judge(log_s, network)
    assert judgement.outliers == outliers
    row = judgement.statistics[-1]
    assert (row.name, row.verdict) == ("outlier_1", "agrees")
    assert row.theory == law.above[0]
    assert row.simulation == pytest.approx(log_s[:, -1].mean(), rel=1e-14)
    assert row.standard_error == pytest.approx(log_s[:, -1].std(ddof=1) / math.sqrt(8), rel=1e-12)
    assert not rejected(bulk, law)
    assert {"log_mean_lambda", "log_s_max"} <= set(rejected(log_s, law))


def test_wrong_outliers_are_rejected():
    """ReLU, L = 20, N = 100: log s = 1.614; moved by 0.3, left out, or one that is not there."""
    network = ResNet("relu", depth=20)
    log_s = spectra(network, 100, 8, 25)
    law = WidthLaw.of(network, 100)
    assert judged_by(log_s, law).disagrees == ()
    (theory,) = law.above
    for above, name in [((theory + 0.3,), "outlier_1"), ((), "outlier_1"), ((theory, 1.4), "outlier_2")]:
        assert name in judged_by(log_s, replace(law, above=above)).disagrees
    unknown = replace(law, above=(), excess=None, not_derived="outliers are not derived")
    row = judged_by(log_s, unknown).statistics[-1]
    assert (row.name, row.theory, row.verdict) == ("outlier_1", None, "not judged")
    assert row.obstacle == "outliers are not derived"


def test_one_trial_with_a_value_too_far_out_may_be_chance():
    law = universal(1.0, 100, strays=1)
    log_s = ideal(law)
    log_s[0, -1] += 3.0
    row = judged_by(log_s, law).statistics[-1]
    assert (row.name, row.verdict, row.obstacle) == (
        "outlier_1",
        "not judged",
        f"in 1 of {len(log_s)} trials, which may be chance",
    )
    log_s[:, -1] += 3.0
    row = judged_by(log_s, law).statistics[-1]
    assert (row.name, row.theory, row.verdict, row.unpredicted) == ("outlier_1", None, "disagrees", True)


def test_the_mean_of_lambda_is_that_of_the_width():
    """ReLU, L = 20, sigma_w = 1: N (E lambda - m1) is 20.5(3) at N = 100, of 4000 networks."""
    network = ResNet("relu", depth=20)
    law = WidthLaw.of(network, 100)
    mean = math.exp(law.limit.mean_at_width)
    assert mean == pytest.approx((1 + 1 / 40) ** 20, rel=1e-12)
    assert 100 * (math.exp(law.mean_at_width) - mean) == pytest.approx(20.5, abs=0.9)
    independent = WidthLaw.of(network, 100, gates="independent")
    assert (independent.above, independent.excess, independent.not_derived) == ((), 0.0, None)


def test_setting_aside_takes_at_most_one_at_each_end():
    law = universal(1.0, 100, strays=1)
    log_s = ideal(law)
    np.testing.assert_array_equal(set_aside(log_s, law)[0], log_s)
    log_s[0, -3:] += 3.0
    log_s[1, 0] -= 3.0
    bulk, outliers = set_aside(log_s, law)
    assert outliers == (("outlier_1", (log_s[0, -1],)), ("outlier_below_1", (log_s[1, 0],)))
    assert bulk[0, -1] == log_s[0, -2]
    assert bulk[1, 0] == log_s[1, 1]
    np.testing.assert_array_equal(bulk[2:], log_s[2:])
    # The others are spread over N places evenly: no quantile moves by more than one.
    assert (np.abs(bulk[1] - log_s[1])[1:] <= np.diff(log_s[1])).all()
    assert set_aside(log_s, replace(law, strays=0))[1] == ()


def test_several_outliers_are_numbered_from_their_end():
    law = universal(1.0, 100, strays=2)
    log_s = ideal(law)
    log_s[0, -2:] += [3.0, 4.0]
    log_s[1, -1] += 5.0
    log_s[1, :2] -= [6.0, 5.0]
    names = {outlier.name: outlier.log_s for outlier in set_aside(log_s, law)[1]}
    assert names == {
        "outlier_1": (log_s[0, -1], log_s[1, -1]),
        "outlier_2": (log_s[0, -2],),
        "outlier_below_1": (log_s[1, 0],),
        "outlier_below_2": (log_s[1, 1],),
    }


def test_every_statistic_of_the_law_itself_agrees():
    law = universal(1.0, 400)
    log_s = ideal(law)
    found = {statistic.name: statistic for statistic in compare(log_s, law)}
    assert tuple(found) == NAMES[1:]
    assert {statistic.verdict for statistic in found.values()} == {"agrees"}
    # 400 quantiles of a law are at most half a place from it, a step in 3200 of the pooled sample more.
    assert found["ks_distance"].simulation <= 0.5 / 400 + 2e-3
    assert found["mean_log_lambda"].theory == 0
    assert found["var_log_lambda"].theory == pytest.approx(2 + 1 / 3, rel=1e-5)
    np.testing.assert_allclose(
        [found[name].theory for name in NAMES[4:9]],
        UniversalLaw(1.0, variable="log").ppf([0.05, 0.25, 0.5, 0.75, 0.95]),
        atol=1e-5,
    )


def test_statistics_are_those_of_numpy():
    law = universal(1.0, 50)
    log_s = np.sort(np.random.default_rng(5).normal(0.0, 0.5, (6, 50)))
    found = {finding.name: finding for finding in findings(log_s, law)}
    log_mean = np.log(np.mean(np.exp(2 * log_s), axis=1))
    assert found["log_mean_lambda"].simulation == pytest.approx(log_mean.mean())
    assert found["log_mean_lambda"].standard_error == pytest.approx(log_mean.std(ddof=1) / math.sqrt(6))
    assert found["mean_log_lambda"].simulation == pytest.approx(2 * log_s.mean())
    assert found["var_log_lambda"].simulation == pytest.approx(4 * log_s.var(axis=1).mean())
    assert found["log_s_q50"].simulation == pytest.approx(np.median(log_s, axis=1).mean())
    assert found["log_s_min"].simulation == pytest.approx(log_s.min(axis=1).mean())
    exact = UniversalLaw(1.0, variable="log")
    ks = scipy.stats.kstest(log_s.ravel(), exact.cdf).statistic
    assert found["ks_distance"].simulation == pytest.approx(ks, abs=1e-5)
    sample = exact.ppf((np.arange(30_000) + 0.5) / 30_000)
    assert found["wasserstein_distance"].simulation == pytest.approx(
        scipy.stats.wasserstein_distance(log_s.ravel(), sample), rel=2e-2
    )


def test_tolerance_is_student_and_bonferroni():
    law = universal(1.0, 100)
    log_s = ideal(law, trials=5, jitter=1e-2)
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
    law = universal(1.0, 500)
    assert names <= set(rejected(change(ideal(law)), law))


def test_allowances_shrink_with_width():
    few, many = (
        {finding.name: finding.allowance for finding in findings(ideal(law), law)}
        for law in (universal(1.0, 100), universal(1.0, 800))
    )
    for name in NAMES[1:]:
        power = 2 / 3 if name in {"log_s_min", "log_s_max"} else 1
        assert many[name] / few[name] == pytest.approx(8**-power, rel=0.1)
    assert few["ks_distance"] == pytest.approx(PLACES / 100, rel=0.01)


def test_extremes_are_those_of_wishart_matrices():
    # c → 0: log s of I + X is the GOE. Its largest eigenvalue is 2 − 1.2065 N^(−2/3) at scale √(c/2).
    law = universal(1e-6, 1000)
    unit = 1e-3 / math.sqrt(2)
    assert law.extremes[1] == pytest.approx(unit * (2 - 1.2065335745820 / 100), rel=2e-4)
    assert law.extremes[0] == pytest.approx(-law.extremes[1], rel=1e-5)
    assert law.spacings[1] == pytest.approx(unit * 1.2065335745820 / 100, rel=5e-2)


def test_agreement_that_cannot_fail_is_not_judged():
    """t of one degree of freedom is 1/tan(π α/2k) = 764 for α = 1 %, k = 12: errors of 1 % span the law.

    A law that is far off is found by as few; agreement means something from the number that is told.
    """
    network = ResNet("tanh", depth=5)
    log_s = spectra(network, 64, 8, seed=1)
    few = judge(log_s[:2], network)
    assert set(few.verdicts.values()) == {"not judged"}
    (why,) = {statistic.obstacle for statistic in few.statistics}
    told = re.fullmatch(r"2 trials are too few to find a wrong law; about (\d) would do", why)
    assert told
    assert not enough_judged(few.verdicts)
    enough = judge(log_s[: int(told[1]) + 1], network)
    assert set(enough.verdicts.values()) == {"agrees"}
    assert {s.name: s.tolerance for s in enough.statistics}["ks_distance"] < 0.5
    assert "disagrees" in judge(log_s[:3] + 3.0, network).verdicts.values()
    exact = judge(np.zeros((2, 64)), ResNet("linear", sigma_w=0.0))
    assert exact.verdicts["log_s_q50"] == "agrees"


def test_hard_edges_are_not_judged():
    # The density of one Gaussian layer is not 0 at s = 0.
    network = FeedForward("linear", depth=1, input_variance=1.0)
    found = {s.name: s for s in judge(spectra(network, 60, 4, 1), network).statistics}
    assert (found["log_s_min"].verdict, found["log_s_min"].theory) == ("not judged", None)
    assert "no edge" in found["log_s_min"].obstacle
    assert found["log_s_max"].verdict == "agrees"
    # E log λ = −1 and the median of the quarter circle.
    assert found["mean_log_lambda"].theory == pytest.approx(-1, rel=1e-6)
    median = found["log_s_q50"].theory
    s = math.exp(median)
    mass = (s * math.sqrt(4 - s * s) / 2 + 2 * math.asin(s / 2)) / math.pi
    assert mass == pytest.approx(0.5, abs=1e-5)


def test_the_mass_at_zero_is_that_of_the_width():
    # Ten layers of 300 ReLU: the least of ten binomial counts, 137, not 150.
    network = FeedForward("relu", depth=10, sigma_w=math.sqrt(2), input_variance=1.0)
    log_s = spectra(network, 300, 8, 7)
    found = {s.name: s for s in judge(log_s, network).statistics}
    counts = np.random.default_rng(1).binomial(300, 0.5, (20_000, 10)).min(axis=1)
    assert found["mass_at_zero"].theory == pytest.approx(1 - counts.mean() / 300, abs=5e-4)
    assert found["mass_at_zero"].verdict == "agrees"
    # Five standard deviations of the mean of eight minima.
    assert found["mass_at_zero"].simulation == pytest.approx(
        1 - counts.mean() / 300, abs=5 * counts.std() / 300 / math.sqrt(8)
    )
    log_s[:, :180] = -math.inf
    assert "mass_at_zero" in judge(log_s, network).disagrees


def test_point_masses_are_met_exactly():
    # Hard tanh, L = 3: 0.43 of the singular values are at the top.
    network = FeedForward(
        "hardtanh", depth=3, sigma_w=math.sqrt(1.2), sigma_b=math.sqrt(0.1), weights="orthogonal"
    )
    log_s = spectra(network, 200, 8, 3)
    assert judge(log_s, network).disagrees == ()
    top = np.abs(log_s - 1.5 * math.log(1.2)) < 1e-9
    assert top.mean() == pytest.approx(0.4256, abs=0.03)
    assert judge(np.where(top, log_s - 1e-3, log_s), network).disagrees


@pytest.mark.parametrize(
    "network",
    [
        FeedForward("linear", depth=100, weights="orthogonal", input_variance=1.0),
        FeedForward(
            "hardtanh", depth=3, sigma_w=math.sqrt(1.2), sigma_b=math.sqrt(0.1), weights="orthogonal"
        ),
        ResNet("linear", depth=10),
    ],
)
def test_single_precision_is_judged_as_far_as_it_goes(network):
    log_s = spectra(network, 100, 8, 4, dtype="float32")
    assert judge(log_s, network, dtype="float32").disagrees == ()
    assert judge(log_s + 0.1, network, dtype="float32").disagrees


def test_means_ruled_by_few_values_are_not_judged():
    network = ResNet("linear", depth=100, sigma_w=4.0)
    found = {s.name: s.verdict for s in judge(spectra(network, 40, 4, 1), network).statistics}
    assert found["log_mean_lambda"] == "not judged"
    assert found["mean_log_lambda"] == "agrees"


def test_rare_gates_leave_the_edges_unjudged():
    # φ' of tanhshrink is near 0: its square varies by ten times its mean.
    network = ResNet("tanhshrink", depth=40)
    found = {s.name: s for s in judge(spectra(network, 60, 4, 1), network).statistics}
    assert "a single neuron" in found["log_s_max"].obstacle
    for name in ("log_s_min", "log_s_max", "outlier_below_1"):
        assert found.pop(name).verdict == "not judged"
    assert {s.verdict for s in found.values()} == {"agrees"}


@pytest.mark.parametrize("skip", [1.0, 0.3])
def test_a_point_mass(skip):
    network = ResNet("tanh", depth=40, sigma_w=0.0, skip=skip, sigma_b=1.0)
    log_s = spectra(network, 20, 3, 1)
    found = {s.name: s for s in judge(log_s, network).statistics}
    assert "point mass" in found["ks_distance"].obstacle
    assert {s.verdict for name, s in found.items() if name != "ks_distance"} == {"agrees"}
    assert judge(log_s + 1e-6, network).disagrees


def test_enough_is_a_distance_or_half_of_the_statistics():
    names = NAMES[1:]
    blank = dict.fromkeys(names, "not judged")
    assert enough_judged(dict.fromkeys(names, "agrees"))
    assert not enough_judged(blank)
    assert not enough_judged(blank | dict.fromkeys(names[:5], "agrees"))
    assert enough_judged(blank | dict.fromkeys(names[:6], "disagrees"))
    assert enough_judged(blank | {"ks_distance": "agrees"})


def test_networks_that_transmit_next_to_nothing():
    network = FeedForward("relu", depth=20, input_variance=1.0)
    verdicts = judge(spectra(network, 2, 4, 1), network).verdicts
    assert [name for name, verdict in verdicts.items() if verdict != "not judged"] == ["mass_at_zero"]
    assert not enough_judged(verdicts)


def test_two_trials_and_two_neurons_are_enough():
    network = ResNet("tanh", depth=20)
    assert not judge(spectra(network, 2, 2, 1), network).disagrees
