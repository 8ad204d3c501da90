"""Whatever the options: an answer or one line that says why not, never a traceback, never a NaN."""

import csv
import io
import json
import math
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from running import call

from isocalc.activations.catalogue import FAMILIES

bounded = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))

ODD = st.sampled_from(
    ["0", "-1", "nan", "inf", "-inf", "", "x", "1:2", "1,,2", "2:1:3", "1:2:1", "1e400", "-0.0", "1e-320"]
)
SPEC = st.sampled_from([name for name in FAMILIES if name != "threshold"]) | st.sampled_from(
    [
        "leaky_relu:0.2",
        "hardtanh:-2:2",
        "threshold:0.1:0.5",
        "celu:1e-3",
        "snake:5",
        "softplus:50",
        "relu:1",
        "rleu",
        "",
    ]
)


def numbers(least, most):
    """Return texts of options: a number, a list, a range, or something odd."""
    one = st.floats(least, most).map(repr) | st.integers(math.ceil(least), math.floor(most)).map(str)
    few = st.lists(one, min_size=2, max_size=3).map(",".join)
    span = st.tuples(one, one, st.integers(2, 4).map(str)).map(":".join)
    return st.one_of(one, one, one, few, span, ODD)


# Small: a layer is a row of param --layers, and a matrix law of density; sweeps multiply them.
DEPTH = st.one_of(
    st.integers(1, 30).map(str), st.sampled_from(["1,10", "1:3:3", "1e2", "1.5", "0", "x", "1e10"])
)
NETWORK = {
    "--act": st.lists(SPEC, min_size=1, max_size=3).map(",".join),
    "--arch": st.sampled_from(["resnet", "feedforward", "cnn"]),
    "--block": st.sampled_from(["post", "pre"]),
    "--depth": DEPTH,
    "--weights": st.sampled_from(["gaussian", "orthogonal", "gaussian,orthogonal"]),
    "--sigma-w": numbers(0, 4) | st.sampled_from(["1e-200", "1e10", "1e200"]),
    "--sigma-b": numbers(0, 2) | st.sampled_from(["1e-200", "1e200"]),
    "--skip": numbers(-2, 2) | st.sampled_from(["1e-300", "1e300"]),
    "--input-variance": numbers(0, 4) | st.sampled_from(["1e-300", "1e300"]),
    "--format": st.sampled_from(["csv", "csv", "json", "table"]),
}
PARAM = NETWORK | {"--layers": st.just(None)}
DENSITY = NETWORK | {
    "--c": numbers(0, 10) | st.sampled_from(["1e-12", "1e-300", "1e4", "1e6", "1e7", "1e300"]),
    "--variable": st.sampled_from(["singular", "lambda", "log"]),
    "--points": st.integers(1, 60).map(str),
    "--at": numbers(-1, 5),
    "--summary": st.just(None),
    "--law": st.sampled_from(["universal", "layered"]),
    "--layer-widths": st.sampled_from(["3,4", "4,3,3", "7,7", "3", "2,x", "5,0"]),
    "--tied": st.just(None),
}


def options(space, most):
    """Return argument lists: a few options of the space, each with a text."""

    def arguments(names):
        chosen = st.tuples(*(space[name] for name in names))
        return chosen.map(
            lambda texts: [
                *(part for pair in zip(names, texts, strict=True) for part in pair if part is not None)
            ]
        )

    return st.lists(st.sampled_from(sorted(space)), unique=True, max_size=most).flatmap(arguments)


def rows_of(arguments):
    """Run a command, hold what comes out against the contract and return the rows of its CSV."""
    result = call(*arguments)
    event = (arguments, result.output)
    assert result.exit_code in (0, 1, 2), event
    assert "Traceback" not in result.output
    assert "nan" not in result.stdout.lower().replace("nan'", "").split(","), event
    if result.exit_code == 2:
        assert result.stdout == ""
    if result.exit_code != 0:
        assert result.stderr.strip(), event
    if "json" in arguments and result.stdout:
        json.loads(result.stdout, parse_constant=lambda _: 1 / 0)
    if not result.stdout or not {"json", "table"}.isdisjoint(arguments):
        return []
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    for row in table:
        assert not any(cell is None or cell.lower() in ("nan", "-nan") for cell in row.values()), event
    # Where outliers are not derived the status says so, and nothing failed.
    right = [row for row in table if row.get("status", "ok") == "ok" or row["status"].startswith("outliers")]
    assert (len(right) < len(table)) == (result.exit_code == 1), event
    return right


@bounded
@given(options(PARAM, 6), SPEC)
def test_param(arguments, act):
    for row in rows_of(["param", *(arguments if "--act" in arguments else [*arguments, "--act", act])]):
        if row.get("edge_upper") and row["edge_lower"]:
            assert 0 <= float(row["edge_lower"]) <= float(row["edge_upper"])
        if row.get("s_max") and row["s_min"]:
            assert float(row["s_min"]) <= float(row["edge_lower"])
            assert float(row["edge_upper"]) <= float(row["s_max"])
        for name in ("c", "q", "q_star", "chi", "mean_lambda", "second_moment", "relative_variance", "xi_q"):
            if row.get(name):
                assert float(row[name]) >= 0


@bounded
@given(options(DENSITY, 5), SPEC, st.floats(0, 20), st.sampled_from(["universal", "layered"]))
def test_density(arguments, act, c, law):
    given_one = {"--act", "--c"} & set(arguments)
    source = [] if given_one else ["--act", act] if c < 10 else ["--c", repr(c)]
    # Sweeps of exact laws take minutes: auto is left to them that have no other.
    of_network = "--c" not in [*arguments, *source] and "feedforward" not in arguments
    chosen = ["--law", law] if of_network and "--law" not in arguments else []
    check_density(["density", *arguments, *source, *chosen])


@settings(bounded, max_examples=20)
@given(
    SPEC,
    st.sampled_from(["post", "pre"]),
    st.sampled_from(["gaussian", "orthogonal"]),
    st.integers(1, 6),
    numbers(0, 4) | st.sampled_from(["1e-200", "1e10", "1e200"]),
)
@example("linear", "post", "gaussian", 1, "1e200")
@example("tanh", "pre", "orthogonal", 2, "1e200")
def test_exact_density(act, block, weights, depth, sigma_w):
    network = [
        "--act",
        act,
        "--block",
        block,
        "--weights",
        weights,
        "--depth",
        str(depth),
        "--sigma-w",
        sigma_w,
    ]
    check_density(["density", *network, "--law", "exact", "--paths", "64", "--points", "20"])


def check_density(arguments):
    for row in rows_of(arguments):
        if row.get("density"):
            assert 0 <= float(row["density"]) < math.inf
            assert 0 <= float(row["cdf"]) <= 1


@bounded
@given(
    st.floats(-12, 4).map(lambda power: 10.0**power),
    st.floats(-200, 200).map(lambda power: 10.0**power) | st.just(1),
    st.integers(1, 1000),
    st.sampled_from(["singular", "lambda", "log"]),
)
def test_densities_are_normalised(c, skip, depth, variable):
    arguments = [
        "density",
        "--c",
        repr(c),
        "--skip",
        repr(skip),
        "--depth",
        str(depth),
        "--variable",
        variable,
    ]
    rows = rows_of(arguments)
    assert len(rows) == 200
    cdf = [float(row["cdf"]) for row in rows]
    assert all(low <= high for low, high in pairwise(cdf))
    assert cdf[0] < 1e-6
    assert cdf[-1] > 1 - 1e-6
    name = next(iter(rows[0]))
    finite = [row for row in rows if row[name] and row["density"]]
    x = np.array([float(row[name]) for row in finite])
    density = np.array([float(row["density"]) for row in finite])
    assert (np.diff(x) >= 0).all()
    spread = 2 * math.sqrt(c)  # in log s, for small c
    if variable == "log" and spread > 1e-6 * abs(depth * math.log(skip)):
        assert abs(np.trapezoid(density, x) - 1) < 1e-3


@bounded
@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.floats(1e-3, 10))
def test_at_gives_a_distribution_function_in_the_order_given(values, c):
    rows = rows_of(["density", "--c", repr(c), "--at", ",".join(map(repr, values))])
    assert [float(row["singular_value"]) for row in rows] == values
    ordered = sorted(rows, key=lambda row: float(row["singular_value"]))
    assert all(float(low["cdf"]) <= float(high["cdf"]) + 1e-12 for low, high in pairwise(ordered))
