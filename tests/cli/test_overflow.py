"""Numbers whose squares are no doubles: an answer or one line; warnings are errors in tests."""

import math

import pytest
from running import call, table

from isocalc.cli.sweep import Sweep, run
from isocalc.design.gains import gains
from isocalc.errors import NoAnswerError
from isocalc.networks.descriptions import ResNet

TINY_RUN = ("--width", 10, "--trials", 2, "--seed", 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("density", "--act", "celu:1e50", "--depth", 2), 0),
        (("density", "--act", "hardtanh:-1e50:1e50", "--depth", 2, "--block", "pre"), 0),
        (("density", "--act", "softplus:1e50", "--depth", 2), 0),
        (("density", "--act", "tanh", "--arch", "feedforward", "--sigma-w", "1e200"), 2),
        (("density", "--act", "snake:1e49", "--arch", "feedforward", "--input-variance", 2, "--depth", 3), 0),
        (("density", "--c", 1, "--at=-1e308,1e308", "--variable", "log"), 0),
        (("init", "--act", "elu", "--schemes", "--depth", 50, "--sigma-w", "1e160"), 1),
        (("init", "--act", "1e50*x", "--block", "pre", "--depth", 10, "--target-smax", 3), 1),
        (
            (
                "param",
                "--act",
                "leaky_relu:1e50",
                "--arch",
                "feedforward",
                "--sigma-b",
                "1e9",
                "--input-variance",
                1,
            ),
            1,
        ),
        (("param", "--act", "leaky_relu:1e50", "--block", "preln", "--skip", "1e300", "--depth", 10), 1),
        (("mc", "--act", "celu:1e50", "--depth", 2, "--width", 20, "--trials", 4, "--seed", 1), 0),
        (("mc", "--act", "abs(x)-1", "--block", "preln", "--input-variance", "1e-200", *TINY_RUN), 1),
    ],
)
def test_an_answer_or_one_line(arguments, code):
    result = call(*arguments)
    assert result.exit_code == code, result.stderr
    assert "Error" in result.stderr or result.stdout
    assert all(line.startswith(("isocalc: ", "Error: ")) for line in result.stderr.splitlines())


def test_linear_activations_in_disguise_have_the_law_of_a_linear_one():
    """Their bends are at 1e50 standard deviations."""
    (linear,) = table("density", "--act", "linear", "--depth", 2, "--summary")
    for name in ("celu:1e50", "hardtanh:-1e50:1e50", "softshrink:1e-50"):
        (row,) = table("density", "--act", name, "--depth", 2, "--summary")
        assert float(row["edge_upper"]) == pytest.approx(float(linear["edge_upper"]), rel=1e-9)
        assert float(row["mean_lambda"]) == pytest.approx(2.25, rel=1e-12)  # (1 + 1/2)²


def test_two_matrices_with_gates_of_which_some_are_far_stronger():
    """E log λ of a preln block of gates 0 and 10¹⁸, for which the bisection began beyond its root."""
    arguments = (
        "--block preln --act leaky_relu:1e9 --skip 35328599.023763865 --sigma-w2 3 --seed 9223372036854775807"
    )
    run_of = "--gates independent --depth 10 --width 20"
    result = call("mc", *arguments.split(), *run_of.split())
    assert (result.exit_code, "disagrees" in result.stdout) == (0, False)


def test_gain_of_a_steep_leaky_relu():
    """√(2/(1 + slope²)), of PyTorch's calculate_gain."""
    for slope in (0.2, 1e30):
        found = gains(f"leaky_relu:{slope}").pytorch
        assert found == pytest.approx(math.sqrt(2) / math.hypot(1, slope), rel=1e-15)


def test_an_overflow_that_nobody_foresaw_is_no_answer():
    def compute(network):
        yield {"x": math.exp(1000 * network.depth)}

    sweep = Sweep(ResNet, {"activation": ["relu"], "depth": [1]})
    with pytest.raises(NoAnswerError, match="does not fit a double"):
        run(sweep, ("x",), compute)
