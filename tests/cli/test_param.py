import csv
import itertools
import json
import math

import pytest
from reference import DATA
from running import call, refusal, table

RESNET = (
    "activation,depth,c,q_first,q_last,output_second_moment,mean_lambda,edge_lower,edge_upper,bulk_condition_number,"
    "kappa,universal_error,law,outliers,s_min,s_max,condition_number,status"
)
FEEDFORWARD = "activation,q_star,chi,phase,xi_q,xi_c,mean_lambda,relative_variance"


def reference(name):
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_relu():
    # Hidden in plain sight: for ReLU c = sigma_w^2/2 at every depth, and the edges follow from c alone.
    (row,) = table("param", "--act", "relu")
    assert ",".join(row) == RESNET
    assert row["activation"] == "relu"
    assert row["depth"] == "100"
    c, m = 0.5, (math.sqrt(1 + 2 / 0.5) - 1) / 2
    edge = math.log((1 + m) / m) + c * (1 + 2 * m)
    assert float(row["c"]) == pytest.approx(c, rel=1e-14)
    assert float(row["edge_upper"]) == pytest.approx(math.exp(edge / 2), rel=1e-13)
    assert float(row["edge_lower"]) == pytest.approx(math.exp(-edge / 2), rel=1e-13)
    assert float(row["bulk_condition_number"]) == pytest.approx(math.exp(edge), rel=1e-13)
    assert float(row["mean_lambda"]) == pytest.approx((1 + c / 100) ** 100, rel=1e-13)
    assert float(row["q_first"]) == pytest.approx(1 / 100, rel=1e-14)


@pytest.mark.parametrize("known", reference("resnet_c.csv")[::6], ids=lambda row: row["activation"])
def test_residual_networks_of_the_reference(known):
    options = ("depth", "sigma_w", "sigma_b", "skip", "input_variance")
    arguments = itertools.chain.from_iterable(
        (f"--{name.replace('_', '-')}", known[name]) for name in options
    )
    (row,) = table("param", "--act", known["activation"], *arguments)
    for name in ("c", "q_last", "output_second_moment"):
        assert float(row[name]) == pytest.approx(float(known[name]), rel=1e-11)


@pytest.mark.parametrize("known", reference("fixed_points.csv")[::4], ids=lambda row: row["activation"])
def test_fixed_points_of_the_reference(known):
    arguments = ("--act", known["activation"], "--sigma-w", known["sigma_w"], "--sigma-b", known["sigma_b"])
    rows = table("param", "--arch", "feedforward", *arguments)
    assert ",".join(rows[0]) == FEEDFORWARD
    assert float(rows[0]["q_star"]) == pytest.approx(float(known["q_star"]), rel=1e-11)
    assert float(rows[0]["chi"]) == pytest.approx(float(known["chi"]), rel=1e-11)


def test_criticality_is_infinite_and_written_so():
    (row,) = table("param", "--arch", "feedforward", "--act", "tanh")
    assert row["phase"] == "critical"
    assert row["q_star"] == "0.0"
    assert row["xi_q"] == row["xi_c"] == "inf"
    output = call("param", "--arch", "feedforward", "--act", "tanh", "--format", "json").stdout
    assert json.loads(output)[0]["xi_c"] == "inf"


def test_every_q_is_a_fixed_point_of_the_linear_network():
    result = call("param", "--arch", "feedforward", "--act", "linear")
    assert "every q is a fixed point" in result.stderr
    assert result.stdout.splitlines()[1].startswith("linear,,1.0,critical,")


def test_no_fixed_point_is_an_answer_in_words():
    result = call("param", "--arch", "feedforward", "--act", "relu", "--sigma-w", 2)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "Error: relu has no fixed point here: q grows without bound, by a factor of 2 a layer; "
        "to follow it layer by layer, give --layers and --input-variance\n"
    )
    rows = table(
        "param",
        "--arch",
        "feedforward",
        "--act",
        "relu",
        "--sigma-w",
        2,
        "--depth",
        3,
        "--layers",
        "--input-variance",
        1,
    )
    assert [row["q"] for row in rows] == ["4.0", "8.0", "16.0"]


def test_sweep_columns_come_first_in_the_order_of_the_options():
    rows = table(
        "param", "--sigma-b", "0.1,0.2", "--sigma-w", "0.5:2:4", "--act", "relu,tanh", "--depth", "10,100"
    )
    assert list(rows[0])[:4] == ["activation", "depth", "sigma_w", "sigma_b"]
    assert list(rows[0])[4:] == RESNET.split(",")[2:]
    keys = [(row["activation"], row["depth"], row["sigma_w"], row["sigma_b"]) for row in rows]
    assert keys == list(
        itertools.product(("relu", "tanh"), ("10", "100"), ("0.5", "1.0", "1.5", "2.0"), ("0.1", "0.2"))
    )
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows[:16]:
        assert float(row["c"]) == pytest.approx(float(row["sigma_w"]) ** 2 / 2, rel=1e-13)


def test_a_sweep_without_the_activation_keeps_its_place():
    rows = table("param", "--act", "relu", "--skip", "1,0.5")
    assert list(rows[0])[:3] == ["skip", "activation", "depth"]
    # c counts sigma_w^2 E phi'^2 in units of a^2.
    assert [float(row["c"]) for row in rows] == pytest.approx([0.5, 2.0], rel=1e-13)


def test_a_sweep_goes_on_after_a_row_that_fails():
    result = call("param", "--arch", "feedforward", "--act", "relu,tanh", "--sigma-w", "1,2")
    assert result.exit_code == 1
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["status"] == "ok" for row in rows] == [True, False, True, True]
    bad = rows[1]
    assert bad["activation"] == "relu"
    assert bad["sigma_w"] == "2.0"
    assert all(bad[name] == "" for name in FEEDFORWARD.split(",")[1:])
    assert bad["status"] in result.stderr
    assert "activation relu, sigma_w 2.0: " in result.stderr


def test_a_sweep_of_failures_does_not_flood_the_terminal():
    result = call("param", "--arch", "feedforward", "--act", "relu", "--sigma-w", "1.5:3:50")
    said = result.stderr.splitlines()
    assert len(said) == 21
    assert said[0].startswith("isocalc: sigma_w 1.5: ")
    assert said[-1] == "isocalc: 30 more rows could not be computed; the column status says why"
    assert "ok" not in {row["status"] for row in csv.DictReader(result.stdout.splitlines())}


def test_all_activations_that_need_no_parameters():
    listed = [row for row in table("acts") if row["name"] != "threshold"]
    rows = table("param", "--act", "all", "--depth", 100)
    assert [row["activation"] for row in rows] == [row["name"] for row in listed]
    assert len(table("param", "--act", "all,threshold:0.1:0.5", "--depth", 100)) == len(rows) + 1


def test_names_are_canonical():
    (row,) = table("param", "--act", "leaky_relu:0.010")
    assert row["activation"] == "leaky_relu"


def test_layers_of_a_linear_network():
    # p' = p (1 + sigma_w^2/L) exactly.
    rows = table("param", "--act", "linear", "--layers", "--depth", 5)
    assert ",".join(rows[0]) == "activation,layer,q,c,mean,second_moment"
    assert [row["layer"] for row in rows] == ["1", "2", "3", "4", "5"]
    for row in rows:
        layer = int(row["layer"])
        assert float(row["second_moment"]) == pytest.approx(1.2**layer, rel=1e-14)
        assert float(row["q"]) == pytest.approx(1.2 ** (layer - 1) / 5, rel=1e-14)
        assert float(row["c"]) == pytest.approx(1, rel=1e-14)


def test_layers_of_a_feed_forward_network():
    rows = table(
        "param", "--arch", "feedforward", "--act", "relu", "--layers", "--depth", 4, "--input-variance", 8
    )
    assert ",".join(rows[0]) == "activation,layer,q,chi,second_moment"
    assert [float(row["q"]) for row in rows] == pytest.approx([8, 4, 2, 1], rel=1e-14)
    assert [float(row["chi"]) for row in rows] == pytest.approx([0.5] * 4, rel=1e-14)


@pytest.mark.parametrize(("sigma_w", "start"), [(1.5, 3), (1.5, 0.01), (0.5, 3)])
def test_a_start_that_reaches_the_one_fixed_point(sigma_w, start):
    arguments = ("param", "--arch", "feedforward", "--act", "tanh", "--sigma-w", sigma_w)
    assert table(*arguments, "--input-variance", start) == table(*arguments)


def test_a_start_from_which_the_variance_grows():
    # E relu(x)^4 = 3 q^2/2, so q -> sigma_w^2 3 q^2/2 leaves 0 for good above 2/3.
    arguments = ("param", "--arch", "feedforward", "--act", "squared_relu")
    (row,) = table(*arguments, "--input-variance", 0.66)
    assert row["q_star"] == "0.0"
    assert call(*arguments, "--input-variance", 0.66).stderr == ""
    result = call(*arguments, "--input-variance", 0.67)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "started at input variance 0.67 the variance grows without bound (above q = 0.666" in result.stderr
    rows = table(*arguments, "--input-variance", "0.66,0.67", code=1)
    assert [row["status"] == "ok" for row in rows] == [True, False]


@pytest.mark.parametrize("start", [0.5, 3, 10, 30, 1000])
def test_a_start_between_several_fixed_points(start):
    network = ("--arch", "feedforward", "--act", "snake:0.3", "--sigma-w", 0.95)
    stable = table("param", *network)
    assert len(stable) > 1
    (row,) = table("param", *network, "--input-variance", start)
    assert row["q_star"] in {point["q_star"] for point in stable}
    last = table("param", *network, "--input-variance", start, "--layers", "--depth", 500)[-1]
    assert float(last["q"]) == pytest.approx(float(row["q_star"]), rel=1e-9, abs=1e-12)


def test_a_start_where_every_variance_stays():
    result = call("param", "--arch", "feedforward", "--act", "linear", "--input-variance", 3)
    assert result.stderr == ""
    assert result.stdout.splitlines()[1].startswith("linear,3.0,1.0,critical,")


def test_edges_that_take_minutes_are_empty_and_the_row_says_why():
    # phi' = 1 + sin(2 a x) with a uniform phase: c = sigma_w^2 (1 + 1/2).
    result = call("param", "--act", "snake:100", "--sigma-w", 1e3)
    assert result.exit_code == 1
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert float(row["c"]) == pytest.approx(1.5e6, rel=1e-9)
    edges = ("edge_lower", "edge_upper", "bulk_condition_number", "outliers", "s_min", "s_max")
    assert [row[name] for name in edges] == [""] * 6
    assert row["status"].startswith(", ".join(edges))
    assert row["status"] in result.stderr


def test_layers_of_a_sweep_have_the_depth_as_a_column():
    rows = table("param", "--act", "relu", "--layers", "--depth", "1,2")
    assert list(rows[0])[:3] == ["depth", "activation", "layer"]
    assert [(row["depth"], row["layer"]) for row in rows] == [("1", "1"), ("2", "1"), ("2", "2")]


def test_numbers_beyond_a_double_are_empty_and_said():
    result = call("param", "--act", "linear", "--skip", 100, "--depth", 1000)
    assert result.exit_code == 0
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert row["edge_lower"] == row["edge_upper"] == row["mean_lambda"] == ""
    assert float(row["bulk_condition_number"]) > 1
    assert result.stderr.count("\n") == 1
    assert "density --variable log" in result.stderr


@pytest.mark.parametrize(("act", "correlated"), [("relu", True), ("linear", False), ("leaky_relu:1", False)])
def test_pre_activation_blocks_have_a_kappa(act, correlated):
    (row,) = table("param", "--act", act, "--block", "pre", "--depth", 400)
    assert (float(row["kappa"]) > 0.1) == (float(row["universal_error"]) > 0.02) == correlated
    assert correlated or float(row["kappa"]) == 0.0


def test_blocks_of_two_matrices():
    network = ("--act", "linear", "--block", "preln", "--depth", 2, "--sigma-w", 2, "--sigma-b", 1)
    result = call("param", *network)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = table("param", *network, "--hidden-ratio", "1,4", "--sigma-w2", "0,3")
    assert list(rows[0])[:2] == ["hidden_ratio", "sigma_w2"]
    for row in rows:
        gain = float(row["sigma_w2"]) ** 2 / 2
        p = 1 + 5 * gain
        assert float(row["q_first"]) == float(row["q_last"]) == 5
        assert float(row["c"]) == pytest.approx(4 * gain * (1 + 1 / p), rel=1e-14)
        assert float(row["output_second_moment"]) == pytest.approx(p + 5 * gain, rel=1e-14)
        assert float(row["mean_lambda"]) == pytest.approx((1 + 4 * gain) * (1 + 4 * gain / p), rel=1e-14)


def test_too_many_rows_are_refused():
    assert "--depth must be so small" in refusal("param", "--act", "relu", "--layers", "--depth", "1e7")
    assert "combinations" in refusal(
        "param", "--act", "relu", "--sigma-w", "1:2:1001", "--sigma-b", "1:2:1001"
    )


def of_depth(*arguments):
    (row,) = table("param", "--arch", "feedforward", *arguments)
    assert ",".join(row) == FEEDFORWARD + ",depth,lambda_max,sigma2_jjt"
    return float(row["lambda_max"]), float(row["sigma2_jjt"])


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_linear_layers(depth):
    largest = math.exp((depth + 1) * math.log(depth + 1) - depth * math.log(depth))
    assert of_depth("--act", "linear", "--depth", depth) == pytest.approx((largest, depth), rel=1e-11)
    assert of_depth("--act", "linear", "--depth", depth, "--weights", "orthogonal") == (1, 0)


@pytest.mark.parametrize(("weights", "each"), [("gaussian", 2), ("orthogonal", 1)])
def test_relu_layers(weights, each):
    """Pennington et al., arXiv 1802.09979, table 1: variance L (1 - s_1), s_1 = -1 or 0."""
    options = ("--sigma-w", repr(math.sqrt(2)), "--depth", 20, "--weights", weights)
    assert of_depth("--act", "relu", *options)[1] == pytest.approx(20 * each, rel=1e-11)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("act", ["hardtanh", "erf"])
def test_saturating_layers(act, weights):
    """Pennington et al., table 1, away from criticality: E D^2 and E D^4 in terms of q*."""
    network = (
        "--arch",
        "feedforward",
        "--act",
        act,
        "--sigma-w",
        1.1,
        "--sigma-b",
        0.2,
        "--weights",
        weights,
    )
    (point,) = table("param", *network)
    (row,) = table("param", *network, "--depth", 4)
    q = float(row["q_star"])
    assert {name: row[name] for name in point} == point
    if act == "hardtanh":
        square = fourth = math.erf(1 / math.sqrt(2 * q))
    else:  # erf(x), where the paper has erf(sqrt(pi) x/2)
        square, fourth = 4 / math.pi / math.sqrt(1 + 4 * q), 16 / math.pi**2 / math.sqrt(1 + 8 * q)
    relative = fourth / square**2 - (weights == "orthogonal")
    assert float(row["mean_lambda"]) == pytest.approx(1.21 * square, rel=1e-12)
    assert float(row["relative_variance"]) == pytest.approx(relative, rel=1e-11)
    assert float(row["sigma2_jjt"]) == pytest.approx(4 * relative * (1.21 * square) ** 8, rel=1e-10)


def test_the_largest_singular_value_is_that_of_the_law():
    network = ("--act", "tanh", "--arch", "feedforward", "--sigma-w", 1.2, "--sigma-b", 0.1, "--depth", 3)
    (row,) = table("param", *network)
    (law,) = table("density", *network, "--summary")
    assert float(row["lambda_max"]) == pytest.approx(float(law["edge_upper"]) ** 2, rel=1e-14)
    assert row["sigma2_jjt"] == law["sigma2_jjt"]


def test_layers_at_the_fixed_point_that_a_start_reaches():
    network = (
        "param",
        "--act",
        "tanh",
        "--arch",
        "feedforward",
        "--sigma-w",
        1.2,
        "--sigma-b",
        0.1,
        "--depth",
        3,
    )
    assert table(*network, "--input-variance", 7) == table(*network)


def test_unbounded_gates_have_no_largest_singular_value():
    """Squared ReLU: D = 2 max(h, 0), so E D^2 = 2 q and E D^4 = 24 q^2."""
    largest, variance = of_depth("--act", "squared_relu", "--sigma-w", 0.5, "--sigma-b", 0.5, "--depth", 1)
    q = (1 - math.sqrt(1 - 6 * 0.25 * 0.25)) / (3 * 0.25)  # q = 3 q^2 sigma_w^2/2 + sigma_b^2
    assert largest == math.inf
    assert variance == pytest.approx(0.25**2 * (24 * q**2 + 4 * q**2) - (0.25 * 2 * q) ** 2, rel=1e-10)


def test_a_largest_singular_value_beyond_a_double():
    result = call(
        "param", "--arch", "feedforward", "--act", "linear", "--sigma-w", "0.01,0.99", "--depth", 500
    )
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["lambda_max"] != "" for row in rows] == [False, True]
    assert "lambda_max, sigma2_jjt: some values do not fit a double" in result.stderr


def test_a_sweep_over_depth_and_weights():
    rows = table(
        "param",
        "--arch",
        "feedforward",
        "--act",
        "linear",
        "--depth",
        "1,2",
        "--weights",
        "gaussian,orthogonal",
    )
    assert list(rows[0])[:2] == ["depth", "weights"]
    assert [float(row["sigma2_jjt"]) for row in rows] == pytest.approx([1, 0, 2, 0])
    assert (
        "lambda_max"
        not in table("param", "--arch", "feedforward", "--act", "tanh", "--weights", "gaussian")[0]
    )


@pytest.mark.parametrize(
    ("act", "sigma_w", "sigma_b"),
    [
        ("tanh", "0,0.9,1,1.5,1e11", "0,0.3"),
        ("threshold:-1:10,linear", "0.1,0.9,1", "0,0.1"),
        ("gelu,hardshrink", "0.8,1.3,1.45", "0,0.05,1"),
    ],
)
def test_a_sweep_says_what_its_points_say_alone(act, sigma_w, sigma_b):
    """Several fixed points, none, every q one, refused scales: rows, reasons and messages are the same."""
    command = ("param", "--arch", "feedforward", "--sigma-w", sigma_w, "--sigma-b", sigma_b)
    whole = call(*command, "--act", act)
    rows, messages = list(csv.DictReader(whole.stdout.splitlines())), []
    numbers = ("q_star", "chi", "xi_q", "xi_c", "mean_lambda", "relative_variance")
    for name, *scales in itertools.product(act.split(","), sigma_w.split(","), sigma_b.split(",")):
        # A point given with another is a sweep too.
        pair = ("--weights", "gaussian,orthogonal", "--sigma-w", scales[0], "--sigma-b", scales[1])
        alone = call("param", "--arch", "feedforward", "--act", name, *pair)
        messages += [line for line in alone.stderr.splitlines() if "weights orthogonal" not in line]
        for known in csv.DictReader(alone.stdout.splitlines()):
            if known["weights"] == "gaussian":
                row = rows.pop(0)
                assert (row["activation"], row["phase"], row["status"]) == (
                    name,
                    known["phase"],
                    known["status"],
                )
                for column in numbers:
                    values = [float(one[column]) if one[column] else None for one in (row, known)]
                    assert values[0] == (values[1] and pytest.approx(values[1], rel=1e-10))
    assert not rows
    reasons = [line.rpartition(": ")[2] for line in whole.stderr.splitlines()]
    assert list(dict.fromkeys(reasons)) == list(dict.fromkeys(line.rpartition(": ")[2] for line in messages))


def test_a_sweep_of_more_points_than_are_solved_at_once(monkeypatch):
    """Blocks do not show."""
    command = (
        "param",
        "--arch",
        "feedforward",
        "--act",
        "tanh,gelu",
        "--sigma-w",
        "0.7:1.4:4",
        "--sigma-b",
        "0:1:4",
    )
    whole = call(*command)
    monkeypatch.setattr("isocalc.cli.rows.param.AT_ONCE", 5)
    parts = call(*command)
    assert parts.stderr == whole.stderr
    rows = [list(csv.DictReader(result.stdout.splitlines())) for result in (parts, whole)]
    for part, row in zip(*rows, strict=True):
        assert (part["sigma_w"], part["sigma_b"], part["status"]) == (
            row["sigma_w"],
            row["sigma_b"],
            row["status"],
        )
        if row["q_star"]:
            assert float(part["q_star"]) == pytest.approx(float(row["q_star"]), rel=1e-13)


@pytest.mark.parametrize("table_of", [("param",), ("density", "--summary")])
def test_outliers_and_the_extremes_of_the_network(table_of):
    """ReLU, L = 100: simulated s from 39.3 to 41.8 at N = 400 (16 networks); tanh is odd and has none."""
    relu, tanh = table(*table_of, "--act", "relu,tanh", "--depth", 100)
    assert relu["outliers"] == relu["s_max"]
    assert 39.3 < float(relu["s_max"]) < 41.8
    assert tanh["outliers"] == ""
    for row in (relu, tanh):
        assert row["status"] == "ok"
        assert row["s_min"] == row["edge_lower"]
        ratio = float(row["s_max"]) / float(row["s_min"])
        assert float(row["condition_number"]) == pytest.approx(ratio, rel=1e-14)
    assert tanh["s_max"] == tanh["edge_upper"]
    assert tanh["condition_number"] == tanh["bulk_condition_number"]


def test_several_outliers_are_joined():
    """ReLU, L = 100, sigma_w = 0.35: log s of 6 networks of N = 300 1.093(7) and -0.415(8), edges +-0.345."""
    (row,) = table("param", "--act", "relu", "--sigma-w", 0.34782234685021846)
    above, below = map(float, row["outliers"].split(";"))
    assert math.log(above) == pytest.approx(1.093, abs=0.03)
    assert math.log(below) == pytest.approx(-0.415, abs=0.03)
    assert (row["s_max"], row["s_min"]) == tuple(row["outliers"].split(";"))
    assert below < float(row["edge_lower"]) < float(row["edge_upper"]) < above


def test_where_outliers_are_not_derived_the_row_says_so():
    (law,) = table("density", "--c", 0.5, "--summary")
    assert [law[name] for name in ("outliers", "s_min", "s_max", "condition_number")] == [""] * 4
    assert law["status"] == "outliers are of a network, which c alone is not"
    assert call("density", "--c", 0.5, "--summary").stderr == (
        f"isocalc: {law['status']}; outliers, s_min, s_max, condition_number are left empty\n"
    )


def test_edges_are_those_of_the_law_at_this_depth():
    """tanh, sigma_w = 2, L = 10: real networks end at 7.8, the universal law at 9.60."""
    network = ("--act", "tanh", "--sigma-w", 2, "--depth", 10)
    (row,) = table("param", *network)
    (law,) = table("density", *network, "--summary")
    for name in ("law", "edge_lower", "edge_upper", "bulk_condition_number", "s_min", "s_max", "outliers"):
        assert row[name] == law[name]
    assert row["law"] == "layered"
    assert float(row["edge_upper"]) == pytest.approx(7.957, abs=1e-3)
    assert "edges of the law named" in call("param", *network, "--format", "table").stdout
