"""``isocalc density`` at finite depth: laws known in closed form, and what is refused."""

import csv
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from reference import DATA
from running import call, refusal, table, with_options

FEEDFORWARD = ("density", "--arch", "feedforward")


def summary(*arguments):
    (row,) = table(*FEEDFORWARD, "--summary", *arguments)
    return row


def quarter_circle(s):
    """Density and distribution function of the singular values of one square Gaussian matrix."""
    root = np.sqrt(4 - s**2)
    return root / math.pi, (s * root / 2 + 2 * np.arcsin(s / 2)) / math.pi


def test_one_gaussian_layer_is_the_quarter_circle():
    s = np.array([0.01, 0.5, 1.0, 1.9])
    rows = table(*FEEDFORWARD, "--act", "linear", "--depth", 1, "--at", ",".join(map(repr, s.tolist())))
    density, cdf = quarter_circle(s)
    assert [float(row["density"]) for row in rows] == pytest.approx(density, rel=1e-9)
    assert [float(row["cdf"]) for row in rows] == pytest.approx(cdf, rel=1e-9)


@pytest.mark.parametrize("depth", [1, 2, 10])
def test_summary_of_linear_gaussian_layers(depth):
    """Fuss-Catalan: lambda up to (L+1)^(L+1)/L^L, variance L, mean of log lambda -L."""
    row = summary("--act", "linear", "--depth", depth)
    assert row["law"] == "layered"
    assert row["c"] == row["atoms"] == ""
    assert row["edge_lower"] == row["mass_at_zero"] == "0.0"
    assert row["bulk_condition_number"] == "inf"
    assert row["support"] == f"0.0:{row['edge_upper']}"
    assert float(row["edge_upper"]) == pytest.approx(
        math.sqrt((depth + 1) ** (depth + 1) / depth**depth), rel=1e-12
    )
    assert float(row["mean_lambda"]) == pytest.approx(1, rel=1e-14)
    assert float(row["sigma2_jjt"]) == pytest.approx(depth, rel=1e-12)
    assert float(row["mean_log_s"]) == pytest.approx(-depth / 2, rel=1e-12)


def test_a_point_mass_at_zero_is_named_and_the_rest_shown():
    result = call(*FEEDFORWARD, "--act", "relu", "--depth", 3, "--points", 9)
    assert result.stderr == "isocalc: the law has a point mass 0.5 at s = 0, which density leaves out\n"
    cdf = [float(row["cdf"]) for row in csv.DictReader(result.stdout.splitlines())]
    assert len(cdf) == 9
    assert 0.5 <= cdf[0] < cdf[-1] <= 1
    caption = call(*FEEDFORWARD, "--act", "relu", "--points", 2, "--format", "table").stdout.splitlines()[0]
    assert caption == "Law at this depth (layers asymptotically free); point mass 0.5 at s = 0"
    assert summary("--act", "relu", "--depth", 3)["atoms"] == "0.0:0.5"


def test_networks_that_are_orthogonal_matrices():
    row = summary("--act", "linear", "--weights", "orthogonal", "--sigma-w", 1.5, "--depth", 3)
    assert float(row["edge_lower"]) == float(row["edge_upper"]) == pytest.approx(1.5**3, rel=1e-14)
    assert row["sigma2_jjt"] == "0.0"
    assert row["support"] == ""


@pytest.mark.parametrize("variable", ["singular", "log"])
def test_networks_without_weights_vanish(variable):
    result = call(*FEEDFORWARD, "--act", "relu", "--sigma-w", 0, "--depth", 3, "--variable", variable)
    assert result.stdout.splitlines()[1] == ("0.0" if variable == "singular" else "-inf") + ",0.0,1.0"
    assert result.stderr == "isocalc: the law has a point mass 1 at s = 0, which density leaves out\n"


def first_of_each_network(name):
    with (DATA / name).open(newline="") as file:
        known = {tuple(row.values())[:7]: row for row in csv.DictReader(file)}
    return [*known.values()]


@pytest.mark.parametrize("known", first_of_each_network("feedforward.csv"), ids=lambda row: row["activation"])
def test_reference_of_feed_forward_networks(known):
    options = [
        part
        for name in ("depth", "sigma_w", "sigma_b")
        for part in (f"--{name.replace('_', '-')}", known[name])
    ]
    options += ["--weights", {"gauss": "gaussian", "haar": "orthogonal"}[known["weights"]]]
    if float(known["input_variance"]):
        options += ["--input-variance", known["input_variance"]]
    (row,) = table(*FEEDFORWARD, "--act", known["activation"], *options, "--at", known["singular_value"])
    assert float(row["density"]) == pytest.approx(float(known["density"]), rel=1e-9)


def test_residual_networks_at_their_depth():
    """The mean is the product of 1 + c/L; the law tends to the universal one."""
    rows = table(
        "density",
        "--act",
        "linear",
        "--law",
        "layered",
        "--depth",
        "1,10,1000",
        "--sigma-w",
        0.8,
        "--summary",
    )
    assert {row["law"] for row in rows} == {"layered"}
    for row in rows:
        depth = int(row["depth"])
        assert float(row["mean_lambda"]) == pytest.approx((1 + 0.64 / depth) ** depth, rel=1e-13)
    (limit,) = table("density", "--c", 0.64, "--summary")
    off = [float(row["edge_upper"]) - float(limit["edge_upper"]) for row in rows]
    assert abs(off[2]) < abs(off[1]) / 50
    caption = call(
        "density", "--act", "relu", "--depth", 3, "--law", "layered", "--points", 2, "--format", "table"
    )
    # 0.02 (1 + c)/L², gates that commute
    assert caption.stdout.startswith(
        "Law at this depth (layers asymptotically free); KS error 0.0033; no point mass\n"
    )


def test_sweep_over_weights_and_numbers():
    rows = table(
        *(*FEEDFORWARD, "--act", "linear", "--summary"),
        *("--weights", "gaussian,orthogonal", "--depth", "1,2", "--sigma-w", "1,2"),
    )
    assert list(rows[0])[:4] == ["depth", "weights", "sigma_w", "activation"]
    for row in rows:
        scale = float(row["sigma_w"]) ** (2 * int(row["depth"]))
        assert float(row["mean_lambda"]) == pytest.approx(scale, rel=1e-13)
        relative = int(row["depth"]) if row["weights"] == "gaussian" else 0
        assert float(row["sigma2_jjt"]) == pytest.approx(relative * scale**2, rel=1e-12)


def test_shared_weights_have_the_same_law():
    network = (*FEEDFORWARD, "--act", "relu", "--depth", 3, "--at", 0.5)
    densities = [
        float(row["density"])
        for options in ((), ("--tied",), ("--tied", "--layer-widths", "7,7,7,7"))
        for row in table(*network, *options)
    ]
    assert densities == pytest.approx([densities[0]] * 3, rel=1e-12)


@pytest.mark.parametrize(
    ("widths", "edges", "at_zero"), [("100,400", (1, 3), 0), ("400,100", (0.5, 1.5), 0.75)]
)
def test_widths_of_a_rectangular_gaussian_layer(widths, edges, at_zero):
    """Marchenko and Pastur: entries of variance 1/N_0, so s from |1 - sqrt(N_1/N_0)| to 1 + sqrt(N_1/N_0)."""
    row = summary("--act", "linear", "--layer-widths", widths)
    assert row["depth"] == "1"
    assert float(row["mass_at_zero"]) == pytest.approx(at_zero, rel=1e-14)
    assert (float(row["edge_lower"]), float(row["edge_upper"])) == pytest.approx(edges, rel=1e-11)


@pytest.mark.process
def test_only_laws_at_finite_depth_load_the_solver():
    script = "import sys; from isocalc.cli.group import isocalc; isocalc.main(standalone_mode=False); {}"
    check = "print('isocalc.laws.free.product' in sys.modules)"
    for options, loaded in (("--depth", "1000"), "False"), (("--depth", "1000", "--law", "layered"), "True"):
        arguments = ("density", "--act", "relu", "--at", "1", *options)
        program = [sys.executable, "-c", script.format(check), *arguments]
        assert (
            subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()[-1] == loaded
        )


def test_mean_of_a_rectangular_chain():
    row = summary("--act", "relu", "--layer-widths", "784,1000,1000,10", "--sigma-w", 1.2)
    assert row["depth"] == "3"
    assert float(row["mean_lambda"]) == pytest.approx(10 / 784 * 0.72**3, rel=1e-12)
    assert float(row["mass_at_zero"]) == pytest.approx(1 - 5 / 784, rel=1e-12)


def test_widths_and_depth():
    network = (*FEEDFORWARD, "--act", "linear", "--points", 3)
    assert call(*network, "--layer-widths", "3, 3,3").stdout == call(*network, "--depth", 2).stdout
    assert call(*network, "--layer-widths", "1e1,3,3", "--depth", 2).exit_code == 0
    for depth in ("3", "2,3"):
        message = refusal(*network, "--layer-widths", "3,3,3", "--depth", depth)
        assert "--layer-widths must be 4 widths, of the input and of the layers, at depth 3, got 3" in message


@pytest.mark.parametrize(
    "widths", ["784", "", "10,", "10,x", "10,0", "10,-3", "10,1.5", "1_0,10", "10:20:3", "nan,3"]
)
def test_widths_that_are_none(widths):
    message = refusal(*FEEDFORWARD, "--act", "relu", "--layer-widths", widths)
    assert "--layer-widths must be whole numbers of at least 1" in message
    assert f"got {widths!r}" in message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--law", "universal"), "--law must be layered with --arch feedforward, got 'universal'"),
        (("--law", "universal", "--sigma-w", "1,2"), "--law must be layered with --arch feedforward"),
        (("--layer-widths", "3,1e10"), "--layer-widths must be a whole number from 1 to"),
        (("--layer-widths", "3,4", "--tied"), "--layer-widths must be all the same where layers share"),
        (("--weights", "gaussian,haar"), "--weights must be one of gaussian, orthogonal, got 'haar'"),
        (("--weights", "gaussian,"), "--weights must be one of gaussian, orthogonal, got ''"),
        (("--skip", "1"), "--skip cannot be given with --arch feedforward"),
        (("--block", "pre"), "--block cannot be given with --arch feedforward"),
        (("--hidden-ratio", "2"), "--hidden-ratio cannot be given with --arch feedforward"),
    ],
)
def test_refusals(arguments, part):
    assert part in refusal(*FEEDFORWARD, "--act", "tanh", *arguments)


@pytest.mark.parametrize("command", ["density", "param", "mc"])
@pytest.mark.parametrize("option", [("--layer-widths", "10,20"), ("--layer-widths", "10,10"), ("--tied",)])
def test_residual_networks_are_square_and_independent(command, option):
    assert f"{option[0]} cannot be given with --arch resnet" in refusal(command, "--act", "relu", *option)


@pytest.mark.parametrize("command", ["density", "param", "mc"])
@pytest.mark.parametrize("block", [(), ("--block", "pre")])
@pytest.mark.parametrize("option", ["--hidden-ratio", "--sigma-w2"])
def test_only_blocks_of_two_matrices_have_a_hidden_layer(command, block, option):
    said = refusal(command, "--act", "relu", *block, option, "1")
    assert f"{option} cannot be given without --block preln" in said


def test_numbers_of_a_hidden_layer_are_checked():
    network = ("param", "--act", "relu", "--block", "preln")
    assert "--hidden-ratio must be a finite number greater than 0, got 0" in refusal(
        *network, "--hidden-ratio", "0"
    )
    assert "--sigma-w2 must be a finite number of at least 0, got -1" in refusal(*network, "--sigma-w2", "-1")


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_laws_of_two_matrices_too_narrow_for_their_digits_are_refused(weights):
    network = ("--act", "tanh", "--block", "preln", "--weights", weights, "--law", "layered", "--points", 50)
    cdf = [float(row["cdf"]) for row in table("density", *network, "--sigma-w2", 1e-7)]
    assert all(before <= after + 1e-12 for before, after in itertools.pairwise(cdf))
    result = call("density", *network, "--sigma-w2", 1e-8)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "preln blocks is computed for c from 1e-15; here c is " in result.stderr


@pytest.mark.parametrize("option", [("--layer-widths", "10,10"), ("--tied",)])
def test_commands_that_cannot_use_an_option(option):
    network = ("--act", "relu", "--arch", "feedforward", *option)
    assert f"{option[0]} cannot be given in param" in refusal("param", *network)
    assert f"{option[0]} cannot be given with --c" in refusal("density", "--c", 1, *option)


def test_the_layered_law_of_c_is_refused():
    assert "--law must be universal with --c, got 'layered'" in refusal(
        "density", "--c", 1, "--law", "layered"
    )


def test_no_fixed_point_is_said_with_what_to_give():
    network = (*FEEDFORWARD, "--act", "squared_relu", "--sigma-w", 0.5, "--sigma-b", 1, "--depth", 2)
    result = call(*network)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: squared_relu has no fixed point here")
    assert "give --input-variance" in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(table(*network, "--input-variance", 1, "--at", "0.5,1")) == 2
    rows = table(*with_options(network, "--sigma-b", "0,1"), "--at", 1, code=1)
    assert [row["status"] == "ok" for row in rows] == [True, False]


def test_one_of_several_fixed_points_is_named():
    network = (*FEEDFORWARD, "--act", "snake:0.3", "--sigma-w", 0.95, "--depth", 1, "--at", "1")
    message = call(*network).stderr
    assert "2 stable fixed points; isocalc takes the smallest, q = 0; --input-variance" in message
    assert call(*network, "--input-variance", 1).stderr == ""


def test_an_answer_that_is_not_reached_is_one_line(monkeypatch):
    from isocalc.errors import NoAnswerError  # noqa: PLC0415 - of this test alone
    from isocalc.laws.free.law import LayeredLaw  # noqa: PLC0415 - of this test alone

    def fail(*_):
        raise NoAnswerError("not reached")

    for method, option in (("table", ("--points", 2)), ("pdf", ("--at", 1)), ("moment", ("--summary",))):
        monkeypatch.setattr(LayeredLaw, method, fail)
        result = call(*FEEDFORWARD, "--act", "relu", *option)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines()[-1] == "Error: not reached"
        monkeypatch.undo()


@pytest.mark.parametrize("act", ["relu", "linear"])
def test_the_default_grid_of_a_deep_network_leaves_lost_numbers_empty(act):
    result = call("density", "--arch", "feedforward", "--act", act)
    assert result.exit_code == 0
    assert "--variable log" in result.stderr
    first = next(csv.DictReader(result.stdout.splitlines()))
    assert first["singular_value"] == first["density"] == ""
    assert 0 < float(first["cdf"]) < 1
