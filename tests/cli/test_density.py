import csv
import itertools
import json
import math

import numpy as np
import pytest
from reference import DATA
from running import call, refusal, table

SUMMARY = (
    "law,law_error,c,support,atoms,mass_at_zero,mean_s,mean_lambda,second_moment_lambda,sigma2_jjt,mean_log_s,"
    "edge_lower,edge_upper,bulk_condition_number,outliers,s_min,s_max,condition_number,status"
)


def columns(rows):
    return tuple(np.array([float(row[name]) for row in rows]) for name in rows[0])


def edge(c):
    """Upper edge of log lambda for skip 1, theory of the universal law."""
    m = (math.sqrt(1 + 2 / c) - 1) / 2
    return math.log((1 + m) / m) + c * (1 + 2 * m)


def test_reference_densities():
    with (DATA / "universal.csv").open(newline="") as file:
        groups = itertools.groupby(
            csv.DictReader(file), key=lambda row: (row["c"], row["skip"], row["depth"])
        )
        for (c, skip, depth), group in groups:
            known = list(group)
            at = ",".join(row["singular_value"] for row in known)
            rows = table("density", "--c", c, "--skip", skip, "--depth", depth, "--at", at)
            assert [row["singular_value"] for row in rows] == [
                repr(float(r["singular_value"])) for r in known
            ]
            for row, expected in zip(rows, known, strict=True):
                limit = 1e-10 if float(c) < 1e-5 else 1e-11
                assert float(row["density"]) == pytest.approx(float(expected["density"]), rel=limit)


def test_columns_and_grid():
    rows = table("density", "--act", "tanh", "--depth", 100)
    assert list(rows[0]) == ["singular_value", "density", "cdf"]
    assert len(rows) == 200
    x, density, cdf = columns(rows)
    assert (np.diff(x) > 0).all()
    assert (np.diff(cdf) >= 0).all()
    assert density.min() >= 0
    assert (cdf[0], cdf[-1]) == pytest.approx((0, 1), abs=1e-12)
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("c", "variable", "factor"),
    [*itertools.product([1e-9, 1e-3, 1, 5, 50], ["singular"], [1]), (1, "lambda", 2)]
    + [(c, "log", None) for c in (1e-9, 1, 1e4)],
)
def test_the_grid_runs_from_edge_to_edge(c, variable, factor):
    x, density, _ = columns(table("density", "--c", c, "--variable", variable, "--points", 200))
    logs = x if factor is None else np.log(x) / factor
    assert logs[[0, -1]] == pytest.approx([-edge(c) / 2, edge(c) / 2], rel=1e-6, abs=1e-15)
    if variable == "log" or (variable == "singular" and c <= 5):
        assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)


def test_variables_are_the_same_law():
    at = np.array([0.3, 1.0, 2.5])
    _, in_s, cdf_s = columns(table("density", "--c", 1, "--at", ",".join(map(repr, at.tolist()))))
    squares = ",".join(map(repr, (at**2).tolist()))
    rows = table("density", "--c", 1, "--variable", "lambda", "--at", squares)
    assert next(iter(rows[0])) == "squared_singular_value"
    _, in_lambda, cdf_lambda = columns(rows)
    logs = ",".join(map(repr, np.log(at).tolist()))
    rows = table("density", "--c", 1, "--variable", "log", "--at", logs)
    assert next(iter(rows[0])) == "log_singular_value"
    _, in_log, cdf_log = columns(rows)
    assert in_s == pytest.approx(in_lambda * 2 * at, rel=1e-12)
    assert in_s == pytest.approx(in_log / at, rel=1e-12)
    assert cdf_s == pytest.approx(cdf_lambda, rel=1e-11)
    assert cdf_s == pytest.approx(cdf_log, rel=1e-11)


def test_at_keeps_the_order_given():
    rows = table("density", "--act", "relu", "--at", "2, 0.5,1,0.5,0")
    assert [row["singular_value"] for row in rows] == ["2.0", "0.5", "1.0", "0.5", "0.0"]
    assert rows[-1] == {"singular_value": "0.0", "density": "0.0", "cdf": "0.0"}


@pytest.mark.parametrize("text", ["1 2\n3\n", "1,2,3", "1\n\n2 , 3\n", "\t1\r\n2\r\n3"])
def test_at_reads_standard_input(text):
    rows = table("density", "--c", 1, "--at", "-", stdin=text)
    assert [row["singular_value"] for row in rows] == ["1.0", "2.0", "3.0"]


@pytest.mark.parametrize("text", ["", " \n,\n"])
def test_empty_standard_input_is_refused(text):
    assert "holds no numbers" in refusal("density", "--c", 1, "--at", "-", stdin=text)


def test_standard_input_that_is_no_number_is_refused_with_its_line():
    message = refusal("density", "--c", 1, "--at", "-", stdin="1\n2 x\n")
    assert "got 'x'" in message
    assert "line 2" in message
    assert "line 1" in refusal("density", "--c", 1, "--at", "-", stdin="singular_value\n1\n")
    assert "utf-8" in refusal("density", "--c", 1, "--at", "-", stdin=b"1\n\xff\xfe\n")


def test_negative_values_are_values_of_log_s_alone():
    assert "--at must be finite numbers of at least 0, got '-1'" in refusal("density", "--c", 1, "--at=-1")
    assert "--at" in refusal("density", "--c", 1, "--variable", "lambda", "--at", "1,-0.5")
    assert len(table("density", "--c", 1, "--variable", "log", "--at=-1,0,1")) == 3
    assert "got 'inf'" in refusal("density", "--c", 1, "--variable", "log", "--at", "inf")


def test_c_is_the_parameter_of_the_network():
    (param,) = table("param", "--act", "tanh", "--depth", 500, "--sigma-w", 1.5)
    direct = call("density", "--act", "tanh", "--depth", 500, "--sigma-w", 1.5, "--points", 7).stdout
    assert call("density", "--c", param["c"], "--depth", 500, "--points", 7).stdout == direct


def test_sweep_over_c():
    rows = table("density", "--c", "0.5,1", "--skip", "1,0.9", "--depth", "1,2", "--points", 3)
    assert list(rows[0]) == ["c", "depth", "skip", "singular_value", "density", "cdf", "status"]
    assert len(rows) == 2 * 2 * 2 * 3
    assert {row["status"] for row in rows} == {"ok"}


def test_summary_of_a_network():
    (row,) = table("density", "--act", "relu", "--sigma-w", 1.2, "--summary")
    assert ",".join(row) == "activation,depth," + SUMMARY
    c = 0.72
    assert row["law"] == "universal"
    assert row["atoms"] == ""
    assert row["mass_at_zero"] == "0.0"
    assert row["support"] == f"{row['edge_lower']}:{row['edge_upper']}"
    expected = {
        "c": c,
        "mean_lambda": math.exp(c),
        "second_moment_lambda": math.exp(2 * c) * (1 + 2 * c),
        "sigma2_jjt": 2 * c * math.exp(2 * c),
        "edge_lower": math.exp(-edge(c) / 2),
        "edge_upper": math.exp(edge(c) / 2),
        "bulk_condition_number": math.exp(edge(c)),
    }
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-12)
    x, density, _ = columns(table("density", "--act", "relu", "--sigma-w", 1.2, "--points", 2000))
    assert float(row["mean_s"]) == pytest.approx(np.trapezoid(density * x, x), rel=1e-5)


def test_summary_of_a_given_c():
    (row,) = table("density", "--c", 1, "--skip", 2, "--depth", 3, "--summary")
    assert ",".join(row) == "c,depth,skip," + SUMMARY.replace(",c,", ",")
    assert float(row["mean_log_s"]) == pytest.approx(3 * math.log(2), rel=1e-15)
    assert float(row["mean_lambda"]) == pytest.approx(64 * math.e, rel=1e-14)


def test_summaries_of_a_sweep():
    rows = table("density", "--act", "relu,tanh", "--sigma-w", "0.5,1", "--summary")
    assert ",".join(rows[0]) == "activation,sigma_w,depth," + SUMMARY
    assert len(rows) == 4


def test_a_point_mass_is_named():
    result = call("density", "--act", "tanh", "--sigma-w", 0, "--skip", 0.5, "--depth", 3)
    assert result.stdout == "singular_value,density,cdf\n0.125,0.0,1.0\n"
    assert "point mass 1 at s = 0.125," in result.stderr
    (row,) = table("density", "--c", 0, "--skip", 0.5, "--depth", 3, "--summary")
    assert row["support"] == ""
    assert row["atoms"] == "0.125:1.0"
    assert row["sigma2_jjt"] == "0.0"
    assert (
        "point mass 1 at s = 0.125"
        in call("density", "--c", 0, "--skip", 0.5, "--depth", 3, "--format", "table").stdout
    )


def test_a_point_mass_beyond_a_double():
    result = call("density", "--c", 0, "--skip", 10, "--depth", 1000)
    assert result.stdout == "singular_value,density,cdf\n,,1.0\n"
    assert "point mass 1 at log s = 2302.59," in result.stderr
    result = call("density", "--c", 0, "--skip", 10, "--depth", 1000, "--variable", "log")
    assert result.stdout.splitlines()[1].endswith(",0.0,1.0")


def test_the_caption_says_which_law():
    out = call("density", "--c", 1, "--points", 2, "--format", "table").stdout
    assert out.startswith("Universal law (L -> infinity), c = 1; no point mass\n")
    assert (
        call("density", "--c", 1, "--law", "universal").stdout
        == call("density", "--c", 1, "--law", "auto").stdout
    )


@pytest.mark.parametrize("skip", [0.1, 10])
@pytest.mark.parametrize("variable", ["singular", "lambda"])
def test_values_beyond_a_double_are_empty_and_said(skip, variable):
    arguments = ("density", "--c", 1, "--skip", skip, "--depth", 1000, "--variable", variable, "--points", 5)
    result = call(*arguments)
    assert result.exit_code == 0
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert {(row[next(iter(row))], row["density"]) for row in rows} == {("", "")}
    assert [float(row["cdf"]) for row in rows][::2] == pytest.approx([0, 0.5, 1], abs=1e-12)
    assert result.stderr.count("\n") == 1
    assert "--variable log" in result.stderr
    assert all(row["density"] is None for row in json.loads(call(*arguments, "--format", "json").stdout))
    log_s, _, _ = columns(table(*arguments[:-4], "--variable", "log", "--points", 5))
    assert log_s[2] == pytest.approx(1000 * math.log(skip), rel=1e-14)


def test_a_density_that_overflows_is_empty_and_one_outside_is_zero():
    result = call(
        "density", "--c", 1, "--skip", 1e-155, "--depth", 1, "--variable", "lambda", "--at", "1e-310,1"
    )
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["density"] for row in rows] == ["", "0.0"]
    assert float(rows[0]["cdf"]) == pytest.approx(0.5, abs=1e-10)
    assert result.stderr.startswith("isocalc: density: some values do not fit a double")


def test_a_law_that_doubles_do_not_resolve_is_said():
    result = call("density", "--c", "1e-40")
    assert {row["singular_value"] for row in csv.DictReader(result.stdout.splitlines())} == {"1.0"}
    assert "values repeat" in result.stderr
    assert call("density", "--c", "1e-40", "--variable", "log").stderr == ""


def test_summary_beyond_a_double():
    (row,) = table("density", "--c", 1, "--skip", 10, "--depth", 1000, "--summary")
    assert row["support"] == row["mean_s"] == row["sigma2_jjt"] == row["edge_upper"] == ""
    assert float(row["mean_log_s"]) == pytest.approx(1000 * math.log(10), rel=1e-15)


def test_a_c_beyond_the_law_is_said_in_words():
    result = call("density", "--c", "1,1e9", "--points", 2)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("1000000000.0,,,,")


@pytest.mark.parametrize(("act", "warned"), [("tanh", True), ("linear", False)])
def test_pre_activation_blocks_are_warned_about_once(act, warned):
    result = call(
        "density", "--act", act, "--block", "pre", "--sigma-w", "1,2", "--points", 2, "--law", "universal"
    )
    assert result.exit_code == 0
    assert result.stderr.count("correlated across layers") == warned
