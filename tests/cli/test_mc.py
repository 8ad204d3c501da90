"""``isocalc mc``: verdicts and exit codes, singular values, seeds, sweeps, refusals. Seeds are fixed."""

import json
import math
import os
import pty
import statistics
import subprocess

import numpy as np
import pytest
import scipy.stats
from running import PROGRAM, call, refusal, table, with_options

from isocalc.cli.options import run as run_options
from isocalc.cli.rows.simulations import VERDICT_COLUMNS
from isocalc.networks.descriptions import ResNet
from isocalc.signal.propagation import propagate
from isocalc.simulation.simulate import spectra

SMALL = ("mc", "--act", "tanh", "--depth", 10, "--width", 40, "--seed", 1)


def verdicts(rows):
    return {row["statistic"]: row["verdict"] for row in rows}


def test_agreement():
    result = call(*SMALL)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith(",".join(VERDICT_COLUMNS) + "\nlog_mean_lambda,")
    rows = table(*SMALL)
    assert set(verdicts(rows).values()) == {"agrees"}
    assert len(rows) == 12
    expected = propagate(ResNet("tanh", depth=10)).log_mean_lambda
    assert float(rows[0]["theory"]) == pytest.approx(expected, rel=1e-12)


def test_numbers_are_those_of_the_simulation():
    rows = {
        row["statistic"]: row for row in table(*SMALL, "--trials", 3, "--skip", 1.1, "--gates", "independent")
    }
    log_s = spectra(ResNet("tanh", depth=10, skip=1.1), 40, 3, 1, gates="independent")
    assert float(rows["mean_log_lambda"]["simulation"]) == pytest.approx(2 * log_s.mean(), rel=1e-12)
    assert float(rows["log_s_max"]["simulation"]) == pytest.approx(log_s[:, -1].mean(), rel=1e-12)
    error = log_s[:, -1].std(ddof=1) / math.sqrt(3)
    assert float(rows["log_s_max"]["standard_error"]) == pytest.approx(error, rel=1e-9)


def test_pre_activation_blocks_disagree_with_the_universal_law():
    # N = 500, 8 trials; false-alarm rate 1 %. Correlated gates: KS 0.06.
    network = ("--act", "tanh", "--block", "pre", "--sigma-w", 2, "--input-variance", 4, "--depth", 40)
    result = call("mc", *network, "--seed", 1, "--law", "layered")
    assert result.exit_code == 1
    rows = {line.split(",")[0]: line.split(",") for line in result.stdout.splitlines()}
    assert float(rows["ks_distance"][2]) == pytest.approx(0.06, abs=0.01)
    assert rows["ks_distance"][-1] == "disagrees"
    messages = result.stderr.splitlines()
    assert len(messages) == 2
    assert messages[1].startswith("isocalc: the layered law of tanh is off by about 0.06")
    assert messages[0].startswith(
        "isocalc: the simulation disagrees with the law (gates correlated across layers, which it leaves "
        "out; --gates independent has none): "
    )
    assert "ks_distance" in messages[0]


def test_independent_gates_make_pre_activation_blocks_agree():
    network = ("--act", "tanh", "--block", "pre", "--sigma-w", 2, "--input-variance", 4, "--depth", 40)
    result = call("mc", *network, "--width", 150, "--seed", 1, "--gates", "independent")
    assert (result.exit_code, result.stderr) == (0, "")


OUTLIER = ("--act", "relu", "--depth", 20, "--seed", 1)


def test_outliers_are_judged():
    """The outlier of ReLU, L = 20, sigma_w = 1: log lambda 3.228, and 0.05 over networks at N = 400."""
    network = (*OUTLIER, "--width", 200)
    row = table("mc", *network)[-1]
    top = [float(one["log_singular_value"]) for one in table("mc", *network, "--spectrum")][199::200]
    assert row["statistic"] == "outlier_1"
    assert float(row["simulation"]) == pytest.approx(statistics.mean(top), rel=1e-12)
    assert float(row["standard_error"]) == pytest.approx(statistics.stdev(top) / math.sqrt(8), rel=1e-9)
    assert float(row["theory"]) == pytest.approx(3.228 / 2, abs=0.01)
    assert row["verdict"] == "agrees"
    (law,) = table("density", *OUTLIER[:4], "--summary")
    assert float(row["theory"]) == pytest.approx(math.log(float(law["outliers"])), abs=1e-9)


def test_outliers_have_rows_at_every_width_and_in_every_format():
    rows = table("mc", *OUTLIER, "--width", "40,80")
    rows = {row["width"]: row for row in rows if row["statistic"] == "outlier_1"}
    assert {width: row["verdict"] for width, row in rows.items()} == {
        "40": "agrees",
        "80": "agrees",
        "inf": "agrees",
    }
    assert rows["inf"]["theory"] == rows["40"]["theory"]
    row = json.loads(call("mc", *OUTLIER, "--width", 40, "--format", "json").stdout)[-1]
    assert (row["statistic"], row["verdict"]) == ("outlier_1", "agrees")
    assert "outlier_1" in call("mc", *OUTLIER, "--width", 40, "--format", "table").stdout


def test_independent_gates_have_no_outlier():
    names = [row["statistic"] for row in table("mc", *OUTLIER, "--width", 100, "--gates", "independent")]
    assert "outlier_1" not in names


def test_the_tolerance_is_what_agreement_means():
    """t standard errors, t of 7 degrees of freedom at 1 % over 12 statistics, and what width adds."""
    rows = table("mc", "--act", "tanh", "--depth", 20, "--sigma-w", 1.2, "--width", 60, "--seed", 1)
    assert list(rows[0]) == ["statistic", "theory", "simulation", "standard_error", "tolerance", "verdict"]
    t = scipy.stats.t.ppf(1 - 0.01 / 24, 7)
    for row in rows:
        difference = abs(float(row["simulation"]) - float(row["theory"]))
        assert float(row["tolerance"]) > t * float(row["standard_error"])
        assert (difference <= float(row["tolerance"])) == (row["verdict"] == "agrees")
    shown = call("mc", "--act", "tanh", "--depth", 5, "--width", 20, "--trials", 2, "--format", "table")
    assert "theory and tolerance at this width" in shown.stdout


def test_what_is_not_judged_is_said():
    result = call("mc", "--act", "tanhshrink", "--depth", 40, "--width", 30, "--seed", 1)
    assert result.exit_code == 0
    assert (
        "isocalc: not judged: log_s_min, log_s_max, outlier_1 (at this depth a single neuron "
        in result.stderr
    )
    result = call("mc", "--act", "relu", "--sigma-w", 0, "--width", 20, "--seed", 1)
    assert result.exit_code == 0
    assert result.stderr == "isocalc: not judged: ks_distance (the law is a point mass)\n"


def test_one_layer_is_judged_by_its_own_law():
    result = call("mc", "--act", "linear", "--depth", 1, "--width", 30, "--seed", 1)
    assert result.exit_code == 0
    assert result.stderr == "isocalc: not judged: log_s_min (the law has no edge there)\n"


def test_gates_that_hardly_ever_open():
    result = call("mc", "--act", "hardshrink:2", "--depth", 20, "--width", 60, "--seed", 1)
    assert result.exit_code == 0
    assert "ks_distance (the law is a point mass)" in result.stderr
    assert float(result.stdout.splitlines()[-1].split(",")[2]) < 1e-9


def test_memory_is_checked_before_a_seed_is_drawn(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 10**4, "SC_PAGE_SIZE": 10**4}.__getitem__)
    result = call("mc", "--act", "tanh", "--width", 5000)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: width 5000 ")


def test_a_seed_is_drawn_reported_and_repeats_the_run():
    first = call(*SMALL[:-2], "--trials", 5)
    word, seed = first.stderr.removeprefix("isocalc: ").split()
    assert word == "--seed"
    again = call(*SMALL[:-2], "--trials", 5, "--seed", seed)
    assert again.stdout == first.stdout
    assert again.stderr == ""
    assert call(*SMALL[:-2], "--trials", 5).stdout != first.stdout


def test_spectrum():
    rows = table(*SMALL, "--spectrum", "--trials", 3)
    assert list(rows[0]) == ["trial", "singular_value", "log_singular_value"]
    assert [int(row["trial"]) for row in rows] == [1] * 40 + [2] * 40 + [3] * 40
    log_s = np.array([float(row["log_singular_value"]) for row in rows]).reshape(3, 40)
    np.testing.assert_array_equal(log_s, spectra(ResNet("tanh", depth=10), 40, 3, 1))
    s = np.array([float(row["singular_value"]) for row in rows])
    np.testing.assert_allclose(np.log(s), log_s.ravel(), atol=1e-15)
    assert rows[:40] == table(*SMALL, "--spectrum", "--trials", 1)


def test_singular_values_beyond_a_double_are_empty():
    network = ("--act", "linear", "--depth", 1000, "--skip", 3, "--sigma-w", 0)
    result = call("mc", *network, "--width", 2, "--trials", 1, "--seed", 0, "--spectrum")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith("1,,1098.6122886681")
    assert "singular_value: some values do not fit a double" in result.stderr


def test_sweeps():
    rows = table("mc", "--act", "tanh,linear", "--depth", "8,9", "--width", 30, "--trials", 3, "--seed", 1)
    assert list(rows[0]) == ["activation", "depth", *VERDICT_COLUMNS, "status"]
    assert len(rows) == 48
    assert [row["depth"] for row in rows[::12]] == ["8", "9"] * 2
    assert {row["status"] for row in rows} == {"ok"}
    alone = table("mc", "--act", "linear", "--depth", 9, "--width", 30, "--trials", 3, "--seed", 1)
    assert [{name: row[name] for name in VERDICT_COLUMNS} for row in rows[36:]] == alone


def test_messages_of_a_sweep_say_which_network():
    result = call("mc", "--act", "linear", "--depth", "1,20", "--width", 20, "--trials", 5, "--seed", 1)
    assert result.exit_code == 0
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["depth 1"]


def test_a_width_that_does_not_fit_in_memory(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 10**4, "SC_PAGE_SIZE": 10**4}.__getitem__)
    result = call(*with_options(SMALL, "--width", 5000))
    assert (result.exit_code, result.stdout) == (1, "")
    message = (
        "width 5000 with 8 trials needs 2.2 GB of memory, and this machine has 0.1 GB: "
        "take a smaller width or fewer trials"
    )
    assert result.stderr == f"Error: {message}\n"
    rows = table(*with_options(SMALL, "--width", "20,5000"), code=1)
    assert [row["status"] for row in rows] == ["ok"] * 12 + [message]
    assert rows[-1]["statistic"] == rows[-1]["verdict"] == ""


def test_a_lost_signal_is_an_answer():
    result = call("mc", "--act", "tanh", "--depth", 1000, "--skip", 3, "--width", 10, "--seed", 1)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the signal leaves the range of a double in layer ")


def test_json_file(tmp_path):
    path = tmp_path / "verdicts.json"
    result = call(*SMALL, "--trials", 5, "-o", path)
    assert (result.exit_code, result.stdout) == (0, "")
    rows = json.loads(path.read_text())
    assert [tuple(row) for row in rows] == [VERDICT_COLUMNS] * 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--width", "1"), "--width must be a whole number from 2 to 1000000, got 1"),
        (("--width", "10,1.5"), "--width must be a whole number"),
        (("--trials", "0"), "--trials must be a whole number from 1 to 1000000, got '0'"),
        (("--trials", "1"), "--trials must be at least 2, for a standard error, got 1. With --spectrum"),
        (("--trials", "9999", "--spectrum", "--width", "1000"), "--trials must be so few that the table"),
        (("--seed", "-1"), "--seed must be a whole number from 0 to"),
        (("--seed", "x"), "--seed must be a whole number from 0 to"),
        (("--gates", "shared"), "--gates must be one of own, independent, got 'shared'"),
    ],
)
def test_refusals(arguments, words):
    assert refusal("mc", "--act", "tanh", *arguments).startswith(f"Error: {words}")


def test_help_states_the_false_alarm_rate():
    text = " ".join(call("mc", "--help").stdout.split())
    assert "a right law is rejected in at most 1 % of runs" in text
    assert "c off by 5 % was found in " in text
    assert "theory is the law that isocalc density prints for the network" in text


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
@pytest.mark.parametrize(("term", "shown"), [("xterm", True), ("dumb", False)])
def test_progress_is_shown_on_a_terminal_only(term, shown):
    leader, follower = pty.openpty()
    command = [PROGRAM, *map(str, SMALL), "--trials", "5"]
    env = {**os.environ, "TERM": term, "COLUMNS": "80"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, text=True, env=env, check=True)
    os.close(follower)
    os.set_blocking(leader, False)
    try:
        written = os.read(leader, 10**6).decode(errors="replace")
    except OSError:  # nothing was written
        written = ""
    os.close(leader)
    assert ("Replicates 0/5" in written) == shown
    assert ("left" in written) == shown
    assert done.stdout.startswith(",".join(VERDICT_COLUMNS))


@pytest.mark.parametrize(
    ("replicates", "seconds", "shown"),
    [(20, 10, "2.0/s"), (20, 60, "20.0/min"), (1, 3600, "1.0/h"), (0, 5, ""), (1, 0, "")],
)
def test_rates(replicates, seconds, shown):
    assert run_options._rate(replicates, seconds) == shown  # noqa: SLF001 - it is seen on a terminal only
