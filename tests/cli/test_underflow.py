"""What underflows is left empty like what overflows, and said; numbers are taken as they are written."""

import csv
import io

import pytest
from click.testing import CliRunner

from isocalc.cli.group import isocalc


def run(*args):
    return CliRunner().invoke(isocalc, [str(arg) for arg in args])


def last_row(result):
    return list(csv.DictReader(io.StringIO(result.stdout)))[-1]


@pytest.mark.parametrize(
    ("options", "empty"),
    [
        (["--sigma-w", "1e-170"], ["c", "q_first", "q_last"]),
        (["--skip", 0.5, "--depth", 2000], ["q_last", "output_second_moment"]),
        (["--skip", 0.5, "--depth", 2000, "--layers"], ["q", "second_moment"]),
        (["--skip", "1e300"], ["c"]),
    ],
)
def test_no_false_zero(options, empty):
    result = run("param", "--act", "relu", *options)
    assert result.exit_code == 0
    row = last_row(result)
    assert [row[name] for name in empty] == [""] * len(empty)
    assert all(name in result.stderr for name in empty)


def test_true_zeros_are_printed():
    row = last_row(run("param", "--act", "tanh", "--sigma-w", 0))
    assert (row["c"], row["q_first"], row["q_last"]) == ("0.0", "0.0", "0.0")


@pytest.mark.parametrize(
    "args",
    [
        ["density", "--c", "1", "--at", "1_0"],
        ["density", "--c", "1_0"],
        ["density", "--c", "1e-400"],
        ["density", "--c", "\u0661"],
        ["param", "--act", "relu", "--depth", "1_0"],
        ["mc", "--act", "relu", "--trials", "1_0"],
    ],
)
def test_numbers_are_as_they_are_written(args):
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("act", "limit"), [("squared_relu", 6), ("tanhshrink", 35 / 3)])
def test_relative_variance_at_a_fixed_point_0_is_the_limit(act, limit):
    """For phi' ~ x at x > 0 2 E z^4 / (E z^2)^2, for phi' ~ x^2 E z^8 / (E z^4)^2; less 1 and plus 1."""
    row = last_row(run("param", "--arch", "feedforward", "--act", act))
    assert float(row["relative_variance"]) == pytest.approx(limit, rel=1e-12)


def test_no_gate_at_a_fixed_point_0():
    row = last_row(run("param", "--arch", "feedforward", "--act", "softshrink"))
    assert (row["chi"], row["relative_variance"]) == ("0.0", "inf")
