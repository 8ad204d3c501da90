"""``isocalc mc`` for every network, kind of gates and precision: law, --spectrum and --test freeness."""

import json
import math

import numpy as np
import pytest
from running import call, refusal, table

from isocalc.cli.rows.simulations import FREENESS_COLUMNS
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import spectra

FEEDFORWARD = ("mc", "--arch", "feedforward", "--seed", 1)
PRE = ("mc", "--act", "tanh", "--block", "pre", "--sigma-w", 2, "--input-variance", 4, "--depth", 20)


@pytest.mark.parametrize(
    ("arguments", "network", "options"),
    [
        (("--act", "tanh"), FeedForward("tanh", depth=6), {}),
        (
            ("--act", "tanh", "--tied", "--sigma-b", 0.1),
            FeedForward("tanh", depth=6, tied=True, sigma_b=0.1),
            {},
        ),
        (("--act", "elu", "--gates", "independent"), FeedForward("elu", depth=6), {"gates": "independent"}),
        (("--act", "erf", "--weights", "orthogonal"), FeedForward("erf", depth=6, weights="orthogonal"), {}),
        (
            ("--act", "gelu", "--sigma-w", 1.5, "--input-variance", 2),
            FeedForward("gelu", depth=6, sigma_w=1.5, input_variance=2.0),
            {},
        ),
    ],
    ids=str,
)
def test_feed_forward_networks(arguments, network, options):
    rows = table(*FEEDFORWARD, *arguments, "--depth", 6, "--width", 20, "--trials", 2, "--spectrum")
    log_s = [float(row["log_singular_value"]) for row in rows]
    np.testing.assert_array_equal(np.reshape(log_s, (2, 20)), spectra(network, 20, 2, 1, **options))


@pytest.mark.parametrize("block", ["post", "pre"])
def test_single_precision(block):
    network = ("mc", "--act", "tanh", "--depth", 6, "--width", 20, "--seed", 1, "--block", block)
    rows = table(*network, "--trials", 2, "--spectrum", "--dtype", "float32")
    expected = spectra(ResNet("tanh", depth=6, block=block), 20, 2, 1, dtype="float32")
    np.testing.assert_array_equal([float(row["log_singular_value"]) for row in rows], expected.ravel())


def test_what_single_precision_does_not_resolve_is_an_answer():
    result = call(*FEEDFORWARD, "--act", "linear", "--width", 50, "--spectrum", "--dtype", "float32")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: float32 does not resolve the smallest singular values")


def test_a_chain_has_its_own_widths_and_zeros():
    chain = (*FEEDFORWARD, "--act", "linear", "--layer-widths", "6,10,4", "--trials", 2, "--spectrum")
    rows = table(*chain)
    assert [row["trial"] for row in rows] == ["1"] * 6 + ["2"] * 6
    # Rank 4 of 6.
    assert [(row["singular_value"], row["log_singular_value"]) for row in rows[:2]] == [("0.0", "-inf")] * 2
    expected = spectra(FeedForward("linear", depth=2, layer_widths=(6, 10, 4)), None, 2, 1)
    np.testing.assert_array_equal([float(row["log_singular_value"]) for row in rows], expected.ravel())
    assert call(*chain).stderr == ""
    shown = json.loads(call(*chain, "--format", "json").stdout)
    assert (shown[0]["singular_value"], shown[0]["log_singular_value"]) == (0.0, "-inf")


def test_depth_and_width_beyond_a_double():
    # det² of a layer with entries N(0, 1/2) is a product of chi² / 2 of 1 and 2 degrees of freedom.
    result = call(*FEEDFORWARD, "--act", "linear", "--depth", 4000, "--width", 2, "--trials", 1, "--spectrum")
    assert result.exit_code == 0
    assert result.stderr == (
        "isocalc: singular_value: some values do not fit a double and are left empty; for singular_value see "
        "log_singular_value\n"
    )
    rows = [line.split(",") for line in result.stdout.splitlines()[1:]]
    assert {row[1] for row in rows} == {""}
    # log|det| has mean (ψ(1) + ψ(1/2))/2 and variance (ψ'(1) + ψ'(1/2))/4.
    euler = 0.5772156649015329
    mean = (-euler + (-euler - 2 * math.log(2))) / 2
    deviation = math.sqrt((math.pi**2 / 6 + math.pi**2 / 2) / 4)
    total = sum(float(row[2]) for row in rows)
    assert abs(total - 4000 * mean) < 4.5 * deviation * math.sqrt(4000)  # a false-alarm rate of 7e-6


def test_a_network_without_a_fixed_point_is_told_what_to_do():
    result = call(*FEEDFORWARD, "--act", "gelu", "--sigma-w", 1.5, "--sigma-b", 1, "--spectrum")
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        "q grows without bound, by a factor that tends to 1.125 a layer; give --input-variance"
        in result.stderr
    )


def test_one_of_several_fixed_points_is_named_once():
    network = ("--act", "snake:0.3", "--sigma-w", 0.95, "--depth", 2, "--width", "4,5", "--trials", 1)
    message = call(*FEEDFORWARD, *network, "--spectrum").stderr
    assert message.count("2 stable fixed points; isocalc takes the smallest, q = 0") == 1


def test_the_memory_of_a_chain_is_counted():
    result = call(*FEEDFORWARD, "--act", "relu", "--layer-widths", "10,900000,10", "--spectrum")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: width 900000 with 8 trials needs 7.13e+04 GB of memory, and this")


@pytest.mark.parametrize(
    ("arguments", "statistics"),
    [
        (("--act", "tanh", "--sigma-w", 1.3, "--depth", 5, "--width", 60), 12),
        (("--act", "relu", "--sigma-w", 1.4, "--depth", 5, "--width", 60), 13),
        (("--act", "erf", "--weights", "orthogonal", "--tied", "--sigma-b", 0.3, "--width", 60), 12),
        (("--act", "relu", "--layer-widths", "60,120,30", "--gates", "independent"), 13),
        (("--act", "linear", "--weights", "orthogonal", "--width", 60, "--dtype", "float32"), 12),
    ],
    ids=str,
)
def test_feed_forward_networks_agree_with_their_law(arguments, statistics):
    # A false-alarm rate of 1 %.
    rows = table(*FEEDFORWARD, *arguments)
    assert {row["verdict"] for row in rows} <= {"agrees", "not judged"}
    assert sum("outlier" not in row["statistic"] for row in rows) == statistics
    assert "agrees" in {row["verdict"] for row in rows if row["statistic"].endswith("_distance")}


def test_free_gates():
    # A false-alarm rate of 1 %.
    rows = table("mc", "--act", "tanh", "--depth", 10, "--width", 50, "--seed", 1, "--test", "freeness")
    assert tuple(rows[0]) == FREENESS_COLUMNS
    assert {row["verdict"] for row in rows} == {"agrees", "not judged"}
    found = {row["statistic"]: row for row in rows}
    assert [name for name in found if found[name]["verdict"] == "not judged"] == ["log_s_min", "log_s_max"]
    for gates in ("own", "independent"):
        log_s = spectra(ResNet("tanh", depth=10), 50, 8, 1, gates=gates)
        assert float(found["log_s_max"][f"{gates}_gates"]) == pytest.approx(log_s[:, -1].mean(), rel=1e-12)


def test_correlated_gates():
    # N = 200, 8 trials of either kind: found in all of 10 groups of the calibration.
    result = call(*PRE, "--width", 200, "--seed", 1, "--test", "freeness")
    assert result.exit_code == 1
    (message,) = result.stderr.splitlines()
    assert message.startswith("isocalc: own gates and independent ones disagree: log_s_q25, log_s_q75")
    assert "their gates are correlated across layers, and disagree at any depth" in message
    assert "log_s_q25" in result.stdout
    assert "not judged" in result.stdout


def test_a_sweep_of_freeness():
    rows = table(
        *FEEDFORWARD,
        "--act",
        "tanh,relu",
        "--depth",
        3,
        "--width",
        "20,30",
        "--trials",
        3,
        "--test",
        "freeness",
    )
    assert list(rows[0]) == ["activation", "width", *FREENESS_COLUMNS, "status"]
    assert len(rows) == 44
    assert {row["status"] for row in rows} == {"ok"}
    closed = [row for row in rows if row["activation"] == "relu" and row["statistic"] == "var_log_lambda"]
    assert [(row["own_gates"], row["verdict"]) for row in closed] == [("", "not judged")] * 2
    result = call(*FEEDFORWARD, "--act", "relu", "--depth", 3, "--width", 30, "--test", "freeness")
    assert result.stderr.startswith("isocalc: not judged: mean_log_lambda, var_log_lambda, log_s_q05, ")


def test_both_kinds_of_gates_are_kept_in_one_checkpoint(tmp_path):
    path = tmp_path / "run.ckpt"
    chain = (*FEEDFORWARD, "--act", "relu", "--layer-widths", "9,12,8", "--trials", 3, "--test", "freeness")
    first = call(*chain, "--checkpoint", path)
    kept = path.read_bytes()
    again = call(*chain, "--checkpoint", path)
    assert (again.stdout, again.exit_code) == (first.stdout, first.exit_code)
    assert path.read_bytes() == kept
    assert call(*chain).stdout == first.stdout
    message = refusal(*chain[:-2], "--spectrum", "--checkpoint", path)
    assert "In it, gates is own,independent; here, own. Take another file." in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--layer-widths", "5,6", "--width", "7", "--spectrum"),
            "--width cannot be given with --layer-widths",
        ),
        (("--test", "freeness", "--spectrum"), "--spectrum cannot be given with --test freeness"),
        (("--test", "freeness", "--gates", "own"), "--gates cannot be given with --test freeness"),
        (("--test", "freeness", "--width", "2"), "--width must be a whole number from 3 to 1000000, got 2"),
        (("--test", "freeness", "--layer-widths", "2,9"), "--layer-widths must be at least 3 inputs, got 2"),
        (("--test", "freeness", "--trials", "1"), "--trials must be at least 2, for a standard error, got 1"),
        (("--test", "ks"), "--test must be one of law, freeness, got 'ks'"),
        (("--dtype", "float16", "--spectrum"), "--dtype must be one of float64, float32, got 'float16'"),
        (
            ("--trials", "2", "--layer-widths", "2000000,2", "--spectrum"),
            "--trials must be so few that the table",
        ),
    ],
)
def test_refusals(arguments, words):
    assert refusal(*FEEDFORWARD, "--act", "tanh", *arguments).startswith(f"Error: {words}")
