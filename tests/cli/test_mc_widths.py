"""``isocalc mc --width 100,200``: what widths say of the law. Seeds are fixed; false-alarm rate 1 %."""

import json
import os

import numpy as np
import pytest
from running import call, refusal, table

from isocalc.cli.options.law import LawsUsed
from isocalc.cli.rows.simulations import COLUMNS_BY_WIDTH, Verdicts
from isocalc.judging.width_law import WidthLaw
from isocalc.judging.width_trend import judge_widths
from isocalc.networks.descriptions import ResNet
from isocalc.simulation.simulate import spectra

WIDTHS = ("mc", "--act", "linear", "--depth", 6, "--width", "20,40,80", "--seed", 1)


def test_rows_of_infinite_width():
    rows = table(*WIDTHS)
    assert tuple(rows[0]) == ("width", *COLUMNS_BY_WIDTH, "status")
    assert [row["width"] for row in rows[::12]] == ["20", "40", "80", "inf"]
    assert {row["rate"] for row in rows[:36]} == {""}
    network = ResNet("linear", depth=6)
    trends = judge_widths({width: spectra(network, width, 8, 1) for width in (20, 40, 80)}, network)[1]
    assert [(row["statistic"], row["verdict"]) for row in rows[36:]] == [
        (trend.name, trend.verdict) for trend in trends
    ]
    for row, trend in zip(rows[36:], trends, strict=True):
        expected = {
            "theory": trend.theory,
            "simulation": trend.extrapolated,
            "standard_error": trend.standard_error,
            "rate": trend.rate,
        }
        # Laws that are compiled round differently.
        for name, value in expected.items():
            assert (row[name] == "") == (value is None)
            assert value is None or float(row[name]) == pytest.approx(value, rel=1e-6, abs=1e-9)
    found = {row["statistic"]: row for row in rows[36:]}
    assert {row["verdict"] for row in found.values()} == {"agrees"}
    assert float(found["ks_distance"]["simulation"]) == pytest.approx(0.0, abs=0.02)
    assert (found["log_s_max"]["width"], found["mean_log_lambda"]["theory"]) == ("inf", "0.0")


def test_a_wrong_law_is_wrong_as_widths_grow():
    network = ("--act", "tanh", "--block", "pre", "--sigma-w", 2, "--input-variance", 4, "--depth", 40)
    result = call("mc", *network, "--width", "100,200,300", "--seed", 1, "--law", "layered")
    assert result.exit_code == 1
    messages = result.stderr.splitlines()
    assert len(messages) == 2
    assert messages[0].startswith("isocalc: the simulation disagrees with the law (gates correlated")
    assert messages[0].endswith(" as N grows")
    assert "ks_distance" in messages[0]


def test_a_width_that_fails_is_left_out(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 10**4, "SC_PAGE_SIZE": 10**4}.__getitem__)
    rows = table(*WIDTHS[:5], "--width", "20,40,5000", "--seed", 1, code=1)
    assert [row["width"] for row in rows] == ["20"] * 12 + ["40"] * 12 + ["5000"] + ["inf"] * 12
    assert [row["status"][:10] for row in rows[23:26]] == ["ok", "width 5000", "ok"]
    rows = table(*WIDTHS[:5], "--width", "20,5000", "--seed", 1, code=1)
    assert len(rows) == 13


def test_a_sweep_has_rows_of_infinite_width_for_each_network():
    options = ("--act", "linear", "--depth", "3,6", "--width", "20,40", "--trials", 3, "--seed", 1)
    rows = json.loads(call("mc", *options, "--format", "json").stdout)
    assert [(row["depth"], row["width"]) for row in rows[::12]] == [
        (depth, width) for depth in (3, 6) for width in (20, 40, "inf")
    ]
    spectrum = json.loads(call("mc", *options, "--spectrum", "--format", "json").stdout)
    assert {row["width"] for row in spectrum} == {20, 40}


@pytest.mark.parametrize(
    ("difference", "failed", "message"),
    [
        # Three times the allowance of quantiles at every width, and half of the distance between the edges.
        (
            lambda width: 6 / width,
            False,
            "the disagreement goes away as N grows, so it is one of finite width: ",
        ),
        (lambda _: 0.2, True, "the simulation disagrees with the law: "),
    ],
)
def test_finite_width_is_told_from_a_wrong_law(difference, failed, message):
    network = ResNet("linear", depth=10)
    failures, said = [], []
    verdicts = Verdicts("own", "float64", LawsUsed("layered", None), several=True, failures=failures)
    for width in (100, 200, 400):
        law = WidthLaw.of(network, width)
        log_s = np.tile(law.ppf((np.arange(width) + 0.5) / width), (8, 1)) + difference(width)
        list(verdicts.rows(network, log_s + 1e-4 * np.linspace(-1, 1, 8)[:, None], said.append))
    rows = list(verdicts.conclude(network, said.append))
    assert bool(failures) == failed
    assert said[-1].startswith(message)
    assert "log_s_q50" in said[-1]
    assert {row["verdict"] for row in rows if row["statistic"] == "log_s_q50"} == {
        "disagrees" if failed else "agrees"
    }


@pytest.mark.parametrize("more", [(), ("--spectrum",), ("--test", "freeness")])
def test_a_width_given_twice_is_refused(more):
    network = ("mc", "--act", "linear", "--depth", 2, "--width", "40,20,40", *more)
    assert refusal(*network) == "Error: --width must be a list without repetitions, got 40\n"
