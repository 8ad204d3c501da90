"""isocalc init: the inverse problem on the command line."""

import csv
import math

import numpy as np
import pytest
from running import call, refusal, table

import isocalc
from isocalc.activations.catalogue import names
from isocalc.design.schemes import law_scaled, propagate_scaled
from isocalc.laws.spectrum import choose

TANH = ("init", "--act", "tanh")


def test_columns_of_residual_networks():
    (row,) = table("init", "--act", "relu", "--target-c", "0.5")
    expected = "activation,depth,sigma_w,sigma_b,c,edge_lower,edge_upper,bulk_condition_number"
    expected += ",q_first,q_last,mean_lambda,universal_error,law,outliers,s_min,s_max,condition_number,status"
    assert ",".join(row) == expected
    law = isocalc.UniversalLaw(0.5)
    assert float(row["sigma_w"]) == pytest.approx(1, rel=1e-12)
    assert float(row["c"]) == pytest.approx(0.5, rel=1e-8)
    assert float(row["edge_lower"]) == pytest.approx(law.edge_lower, rel=1e-8)
    assert float(row["bulk_condition_number"]) == pytest.approx(law.bulk_condition_number, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("block", ["post", "pre", "preln"])
@pytest.mark.parametrize(
    ("option", "column", "target"),
    [
        ("--target-c", "c", 0.3),
        ("--target-condition", "condition_number", 12.0),
        ("--target-smax", "s_max", 3.0),
    ],
)
def test_each_target_is_met_at_each_depth(option, column, target, block):
    """By the law that density takes: the universal one is off by 5 % in the condition number at depth 5."""
    depths = "5" if block == "pre" else "5,20"  # the exact law takes its time
    for row in table(*TANH, "--depth", depths, option, target, "--block", block, "--sigma-b", "0.1"):
        assert float(row[column]) == pytest.approx(target, rel=1e-8)
        scales = ("--sigma-w", row["sigma_w"], "--sigma-b", "0.1", "--block", block)
        second = ("--sigma-w2", row["sigma_w2"]) if block == "preln" else ()
        network = ("--act", "tanh", "--depth", row["depth"], *scales, *second)
        (checked,) = table(*(("param",) if column == "c" else ("density", "--summary")), *network)
        assert float(checked[column]) == pytest.approx(target, rel=1e-8)
        if column != "c":
            assert checked["law"] == row["law"] == ("exact" if block == "pre" else "layered")
            assert float(checked["edge_lower"]) == pytest.approx(float(row["edge_lower"]), rel=1e-8)


def test_targets_and_activations_sweep():
    rows = table("init", "--act", "relu,linear", "--target-c", "0.5,2", "--depth", "3")
    assert [(r["activation"], r["target_c"]) for r in rows] == [
        ("relu", "0.5"), ("relu", "2.0"), ("linear", "0.5"), ("linear", "2.0")
    ]  # fmt: skip
    scales = [1, 2, math.sqrt(0.5), math.sqrt(2)]
    assert [float(r["sigma_w"]) for r in rows] == pytest.approx(scales, rel=1e-10)
    assert {r["status"] for r in rows} == {"ok"}


@pytest.mark.slow
def test_all_activations_at_once():
    rows = table("init", "--act", "all", "--target-c", "0.5", "--depth", "10")
    assert [row["activation"] for row in rows] == [name for name in names() if name != "threshold"]
    for row in rows:
        assert float(row["c"]) == pytest.approx(0.5, rel=1e-8)


def test_the_isometry_of_another_network():
    """ReLU at σ_w = 1.2 has c = 0.72."""
    (row,) = table("init", "--act", "linear", "--like", "relu", "--sigma-w", "1.2")
    assert float(row["sigma_w"]) == pytest.approx(math.sqrt(0.72), rel=1e-10)
    (row,) = table("init", "--act", "tanh", "--like", "relu", "--block", "preln", "--sigma-w", "0.8")
    (other,) = table("param", "--act", "relu", "--block", "preln", "--sigma-w", "0.8")
    assert float(row["c"]) == pytest.approx(float(other["c"]), rel=1e-8)


def test_common_initialisations_stand_beside():
    """Of ReLU at depth 40: He c = L, Glorot L/2, PyTorch's L/6; σ_w² is L times N times the variance."""
    rows = table("init", "--act", "relu", "--depth", "40", "--target-c", "0.5", "--compare")
    found = {row["scheme"]: (float(row["sigma_w"]) ** 2, float(row["c"])) for row in rows}
    assert found == {
        "solution": pytest.approx((1, 0.5)),
        "he": pytest.approx((80, 40)),
        "glorot": pytest.approx((40, 20)),
        "lecun": pytest.approx((40, 20)),
        "pytorch_linear": pytest.approx((40 / 3, 20 / 3)),
        "fixup_like": pytest.approx((2, 1)),
        "rezero": pytest.approx((80, 0)),
        "skipinit": pytest.approx((80, 0)),
    }


def test_a_factor_of_0_is_shown_beside_the_scale_of_the_weights():
    """ReZero's weights are He's: N L times the variance of an entry is 2 L."""
    for block, scale in (("post", "sigma_w"), ("preln", "sigma_w2")):
        rows = table(
            "init", "--act", "relu", "--depth", "8", "--block", block, "--target-c", "0.5", "--compare"
        )
        found = {row["scheme"]: row for row in rows}
        for name in ("rezero", "skipinit"):
            assert float(found[name][scale]) == pytest.approx(4)
            assert (found[name]["branch_factor"], found[name]["c"], found[name]["edge_upper"]) == (
                "0.0",
                "0.0",
                "1.0",
            )
        assert found["he"]["branch_factor"] == found["solution"]["branch_factor"] == "1.0"


def test_an_initialisation_that_explodes_is_said():
    result = call("init", "--act", "squared_relu", "--target-c", "0.5", "--compare")
    assert result.exit_code == 1
    assert "isocalc: scheme he: c of squared_relu overflows at layer" in result.stderr
    assert "squared_relu,100,14.142135623730951,0.0,,,,,,,,,,he,1.0,,,,,c of squared_relu ov" in result.stdout


@pytest.mark.parametrize(("act", "block"), [("relu", "post"), ("tanh", "post"), ("gelu", "preln")])
def test_schemes(act, block):
    """The edges are those of `density` for the network with the scale that a factor f makes: σ_w f √L."""
    rows = {
        row["scheme"]: row
        for row in table("init", "--act", act, "--depth", "16", "--block", block, "--schemes")
    }
    assert rows["gpt2"]["branch_scale"] == "1/sqrt(2 L)"
    scale = "--sigma-w2" if block == "preln" else "--sigma-w"
    for name, sigma in (("none", 4), ("inverse_sqrt_depth", 1), ("gpt2", math.sqrt(0.5)), ("rezero", 0)):
        network = ("--act", act, "--depth", "16", "--block", block, scale, sigma)
        (law,) = table("density", "--summary", *network)
        for column in ("edge_lower", "edge_upper", "bulk_condition_number"):
            assert float(rows[name][column]) == pytest.approx(float(law[column]), rel=1e-9)
        assert rows[name]["law"] == law["law"]


def test_scales_by_layer_index_of_scale_free_gates():
    """Layers of ReLU with their own variances: the product of the residual layers' laws, in any order.

    E λ = Π (1 + c_l); with the same factor in all layers it is the law of the network itself.
    """
    net = isocalc.ResNet("relu", depth=16)
    squares = 1 / (2 * np.arange(1.0, 17))
    signal = propagate_scaled(net, np.sqrt(squares))
    law = law_scaled(net, np.sqrt(squares), signal, choose(net, "layered", signal=signal)).using("lambda")
    c = squares / 2
    assert law.mean() == pytest.approx(np.prod(1 + c), rel=1e-9)
    (row,) = [
        row
        for row in table("init", "--act", "relu", "--depth", "16", "--schemes")
        if row["scheme"] == "inverse_sqrt_layer"
    ]
    assert (float(row["c"]), row["law"]) == (pytest.approx(c.sum()), "layered")
    assert float(row["edge_upper"]) == pytest.approx(law.edge_upper, rel=1e-12)
    uniform = np.full(16, 0.25)
    same = law_scaled(net, uniform, signal, choose(net, "layered", signal=signal))
    own = isocalc.spectrum(isocalc.ResNet("relu", depth=16, sigma_w=1.0), law="layered")
    assert same.edge_upper == pytest.approx(own.edge_upper, rel=1e-9)


@pytest.mark.slow
def test_edges_that_take_minutes_are_left_empty_with_a_reason():
    """Pre-activation ReLU of 100 blocks beyond He's scale: the exact law is not solved."""
    arguments = ("--act", "relu", "--block", "pre", "--depth", "100", "--target-c", "200,0.01")
    strong, weak = table("init", *arguments, code=1)
    assert strong["edge_lower"] == strong["law"] == ""
    assert float(strong["c"]) == pytest.approx(200, rel=1e-8)
    assert "its law is the exact one, which at c = 200, depth 100 may take minutes" in strong["status"]
    assert (weak["law"], weak["edge_upper"] != "") == ("exact", True)


def test_a_target_that_only_the_universal_law_meets_is_refused():
    """Gates of squared ReLU have no largest value."""
    result = call("init", "--act", "squared_relu", "--depth", "20", "--target-smax", "3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no sigma_w gives squared_relu edge_upper = 3: at depth 20 it is by the" in result.stderr
    assert "law infinite at all scales that were tried" in result.stderr


def test_code_says_which_law_its_edges_are_of():
    emitted = call("init", "--act", "relu", "--depth", "10", "--target-condition", "10", "--emit", "numpy")
    assert "(layered law)" in emitted.stdout
    assert "# outlier at s = " in emitted.stdout
    assert "outlier" not in call("init", "--act", "tanh", "--target-c", "0.5", "--emit", "jax").stdout


def test_targets_are_the_networks_own():
    """Log s of the outlier of ReLU, L = 100, grows as sigma_w sqrt(L/(2 pi)): less is enough for s_max 10."""
    (own,) = table("init", "--act", "relu", "--target-smax", 10)
    (bulk,) = table("init", "--act", "relu", "--target-smax", 10, "--bulk")
    assert float(own["s_max"]) == pytest.approx(10, rel=1e-8)
    assert float(bulk["edge_upper"]) == pytest.approx(10, rel=1e-8)
    assert float(own["sigma_w"]) < 0.4 * float(bulk["sigma_w"])
    assert float(bulk["s_max"]) > 1000
    (row,) = table("density", "--act", "relu", "--sigma-w", own["sigma_w"], "--summary")
    assert float(row["s_max"]) == pytest.approx(10, rel=1e-8)
    (own,) = table("init", "--act", "gelu", "--depth", 10, "--target-condition", 20)
    (row,) = table("density", "--act", "gelu", "--depth", 10, "--sigma-w", own["sigma_w"], "--summary")
    assert float(row["condition_number"]) == pytest.approx(20, rel=1e-8)
    assert float(row["bulk_condition_number"]) < 19


def test_the_edge_of_chaos():
    """Closed forms: hard tanh at q* = 1 and the origin of tanh; χ = 1 by `param`."""
    (row,) = table("init", "--act", "hardtanh", "--critical", "--q-star", "1", "--depth", "10")
    assert ",".join(row) == (
        "activation,sigma_w,sigma_b,q_star,chi,xi_q,weights,depth,relative_variance,sigma2_jjt,"
        "stability,other_q_star"
    )
    assert float(row["sigma_w"]) == pytest.approx(1.2102870624325224, rel=1e-12)
    assert float(row["sigma2_jjt"]) == pytest.approx(10 / math.erf(math.sqrt(0.5)), rel=1e-12)
    (row,) = table(*TANH, "--critical")
    assert (row["sigma_w"], row["sigma_b"], row["q_star"]) == ("1.0", "0.0", "0.0")
    for option, value in (("--sigma-b", "0.3"), ("--sigma-w", "1.5")):
        (row,) = table(*TANH, "--critical", option, value, "--weights", "orthogonal")
        assert row[option[2:].replace("-", "_")] == value
        scales = ("--sigma-w", row["sigma_w"], "--sigma-b", row["sigma_b"])
        (checked,) = table(
            "param", "--act", "tanh", "--arch", "feedforward", *scales, "--weights", "orthogonal"
        )
        assert float(checked["chi"]) == pytest.approx(1, abs=1e-10)
        assert float(row["relative_variance"]) == pytest.approx(float(checked["relative_variance"]), rel=1e-8)


def test_a_critical_network_with_another_fixed_point():
    """Both are in its row, the one that is not critical beside; `param` has both in rows of their own."""
    act = ("--act", "min(max(x-1,0),1)")
    result = call("init", *act, "--critical", "--sigma-b", "0.3")
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert (float(row["q_star"]), float(row["chi"])) == pytest.approx((0.10526131106834342, 1), rel=1e-12)
    assert (row["stability"], float(row["other_q_star"])) == (
        "stable",
        pytest.approx(456.5594617820, rel=1e-9),
    )
    assert result.stderr == ""
    scales = ("--sigma-w", row["sigma_w"], "--sigma-b", "0.3")
    low, high = table("param", "--arch", "feedforward", *act, *scales)
    assert float(low["q_star"]) == pytest.approx(0.105261311068, rel=1e-9)
    assert (float(low["chi"]), float(high["chi"])) == pytest.approx((1, 18.1288), abs=1e-4)


def test_a_half_stable_network_is_called_so():
    result = call("init", "--act", "gelu", "--critical", "--q-star", "3.5615528128088303")
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert (row["stability"], row["xi_q"]) == ("half-stable", "inf")
    assert float(row["sigma_w"]) ** 2 == pytest.approx(1.98305826, abs=5e-9)
    assert float(row["sigma_b"]) ** 2 == pytest.approx(0.17292239, abs=5e-9)
    assert (
        "tends to it from above and leaves it below; inputs of at least --input-variance 1.70879"
        in result.stderr
    )
    code = call("init", "--act", "gelu", "--critical", "--q-star", "3.5615528128088303", "--emit", "numpy")
    assert "for inputs whose entries have a mean square of at least 1.70879" in code.stdout
    assert [row["stability"] for row in table("init", "--act", "relu", "--critical")] == ["neutral"]


def test_activations_that_jump_have_no_edge_of_chaos():
    result = call("init", "--act", "where(x>0,tanh(x)+0.5,tanh(x))", "--critical", "--sigma-b", "0.3")
    assert result.exit_code == 0
    assert "phi jumps, so that two inputs part at every chi" in result.stderr


def test_the_critical_line():
    rows = table("init", "--act", "erf", "--critical", "--sigma-b", "0:1:5")
    assert [row["sigma_b"] for row in rows] == ["0.0", "0.25", "0.5", "0.75", "1.0"]
    for row in rows:
        q = float(row["q_star"])
        assert float(row["sigma_w"]) ** 2 == pytest.approx(math.pi / 4 * math.sqrt(1 + 4 * q), rel=1e-10)


def test_orthogonal_weights_are_recommended_by_the_numbers():
    rows = table(*TANH, "--target-variance", "0.25", "--depth", "10,100")
    assert [row["weights"] for row in rows] == ["gaussian", "orthogonal"] * 2
    spreads = [float(row["sigma2_jjt"]) for row in rows]
    assert spreads == pytest.approx([10.25, 0.25, 100.25, 0.25], rel=1e-8)


def test_relu_is_not_isometric():
    result = call("init", "--act", "relu", "--target-variance", "0.25", "--depth", "30")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "with orthogonal weights have 30, all of them" in result.stderr


def test_gains():
    rows = {row["activation"]: row for row in table("init", "--gain")}
    assert list(rows) == [name for name in names() if name != "threshold"]
    assert float(rows["relu"]["forward_gain"]) == pytest.approx(math.sqrt(2))
    assert float(rows["tanh"]["pytorch_gain"]) == 5 / 3
    assert rows["gelu"]["critical_gain"] == rows["gelu"]["pytorch_gain"] == ""
    assert rows["gelu"]["status"].startswith("q* is not stable at sigma_w = 1.48111")
    one, three = table("init", "--gain", "--act", "sin", "--q-star", "1,3")
    assert float(three["backward_gain"]) == pytest.approx(math.sqrt(2 / (1 + math.exp(-6))))
    assert one["q_star"] == "1.0"


@pytest.mark.parametrize("framework", ["torch", "jax", "numpy"])
def test_code_is_printed_alone(framework):
    result = call(*TANH, "--target-c", "0.5", "--emit", framework)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "c = 0.5, singular values of the Jacobian from 0.353374 to 2.82986" in result.stdout
    assert "\nSIGMA_W = 0.7116786021376" in result.stdout
    assert result.stdout == call(*TANH, "--target-c", "0.5", "--emit", framework).stdout
    compile(result.stdout, "pasted", "exec")


def test_code_of_an_isometric_network_is_orthogonal():
    code = call(*TANH, "--target-variance", "0.25", "--depth", "5", "--emit", "torch").stdout
    assert "nn.init.orthogonal_" in code
    assert "mean 1 and variance 0.25" in code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (*TANH, "--target-smax", "0.5"),
            "edge_upper = 0.5, of logarithm -0.693147, cannot be reached: weights of any",
        ),
        (("init", "--act", "sigmoid", "--target-c", "1e6"), "c goes from "),
        (
            ("init", "--act", "gelu", "--critical"),
            "no critical network with sigma_b = 0.0: the least is 0.415839380959 (",
        ),
        (
            ("init", "--act", "relu", "--critical", "--sigma-b", "1"),
            "critical only at sigma_w = 1.41421356237309",
        ),
        ((*TANH, "--target-variance", "1", "--weights", "gaussian"), "the least is 100 ("),
    ],
)
def test_no_is_said_with_what_can_be_reached(arguments, words):
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_a_network_that_is_not_found_leaves_its_scales_empty():
    found, missing = table("init", "--act", "tanh,relu", "--target-variance", "0.25", "--depth", "3", code=1)[
        1:
    ]
    assert found["status"] == "ok"
    assert missing["sigma_w"] == missing["sigma_b"] == ""
    assert "critical networks of 3 layers" in missing["status"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (TANH, "One of --target-c, --target-condition, --target-smax, --like, --schemes, --critical"),
        (("init", "--target-c", "1"), "--act must be given"),
        ((*TANH, "--target-c", "1", "--target-smax", "2"), "--target-smax cannot be given with --target-c"),
        ((*TANH, "--target-c", "1", "--critical"), "--critical cannot be given with --target-c"),
        ((*TANH, "--gain", "--schemes"), "--gain cannot be given with --schemes"),
        ((*TANH, "--target-c", "0"), "--target-c must be a number from 1e-12 to 1e+06, got 0\n"),
        ((*TANH, "--target-c", "nan"), "--target-c must be a number from 1e-12 to 1e+06, got nan"),
        ((*TANH, "--target-c", "x"), "--target-c must be a number, a list"),
        ((*TANH, "--target-condition", "1"), "--target-condition must be a number from 1.00001 to"),
        (
            (*TANH, "--target-c", "1", "--bulk"),
            "--bulk cannot be given with --target-c, but with --target-cond",
        ),
        ((*TANH, "--target-smax", "-2"), "--target-smax must be greater than 0, got -2"),
        ((*TANH, "--target-variance", "0"), "--target-variance must be a number from 1e-10"),
        (
            (*TANH, "--target-c", "1", "--sigma-w", "1"),
            "--sigma-w cannot be given with --target-c, which finds",
        ),
        ((*TANH, "--target-c", "1", "--block", "preln", "--sigma-w2", "1"), "--sigma-w2 cannot be given"),
        ((*TANH, "--target-c", "1", "--sigma-w2", "1"), "--sigma-w2 cannot be given without --block preln"),
        ((*TANH, "--target-c", "1", "--arch", "feedforward"), "--arch must be resnet with --target-c"),
        ((*TANH, "--critical", "--arch", "resnet"), "--arch must be feedforward with --critical"),
        ((*TANH, "--critical", "--skip", "2"), "--skip cannot be given with --arch feedforward"),
        ((*TANH, "--critical", "--input-variance", "2"), "--input-variance cannot be given with --critical"),
        (
            (*TANH, "--critical", "--sigma-w", "1", "--sigma-b", "1"),
            "--sigma-b cannot be given with --sigma-w",
        ),
        ((*TANH, "--critical", "--q-star", "0"), "--q-star must be a number from 1e-100 to 1e+20, got 0"),
        ((*TANH, "--critical", "--sigma-b", "-1"), "--sigma-b must be a finite number of at least 0, got -1"),
        (
            (*TANH, "--target-variance", "1", "--sigma-b", "1"),
            "--sigma-b cannot be given with --target-variance",
        ),
        ((*TANH, "--target-c", "1", "--q-star", "1"), "--q-star cannot be given with --target-c"),
        ((*TANH, "--schemes", "--compare"), "--compare cannot be given with --schemes"),
        ((*TANH, "--schemes", "--emit", "jax"), "--emit cannot be given with --schemes"),
        ((*TANH, "--gain", "--depth", "3"), "--depth cannot be given with --gain"),
        (
            (*TANH, "--target-c", "1", "--emit", "mxnet"),
            "--emit must be one of torch, jax, numpy, got 'mxnet'",
        ),
        ((*TANH, "--target-c", "1,2", "--emit", "jax"), "--emit must be of one network, got 'jax'"),
        (("init", "--critical", "--sigma-b", "0:1:51"), "--act must be given: an activation such as relu"),
        ((*TANH, "--target-c", "1", "--emit", "jax", "-o", "x"), "--output cannot be given with --emit"),
        (
            (*TANH, "--target-c", "1", "--emit", "jax", "--format", "csv"),
            "--format cannot be given with --emit",
        ),
        ((*TANH, "--like", "relu,gelu"), "--like must be one activation, got 'relu,gelu'"),
        ((*TANH, "--like", "rleu"), "Did you mean relu?"),
        (
            (*TANH, "--like", "relu", "--sigma-w", "1,2"),
            "--sigma-w must be one number with --like, got '1,2'",
        ),
    ],
)
def test_bad_usage_is_one_line(arguments, words):
    assert words in refusal(*arguments)


def test_critical_scales_out_of_range_are_refused():
    assert "--sigma-b must be 0, or a number from 1e-06 to 1e+06, got 1e-09" in refusal(
        *TANH, "--critical", "--sigma-b", "1e-9"
    )
