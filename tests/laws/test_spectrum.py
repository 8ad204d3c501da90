"""Which law a network gets, why, and how it is told."""

import math

import numpy as np
import pytest
from running import call, refusal, table

from isocalc import Replicate, propagate, run
from isocalc.errors import NoAnswerError
from isocalc.laws.paths.law import ExactLaw
from isocalc.laws.spectrum import choose, spectrum, taken
from isocalc.networks.descriptions import FeedForward, ResNet

PRE = ("--act", "tanh", "--block", "pre", "--sigma-w", 2, "--input-variance", 4, "--depth", 40)


@pytest.mark.parametrize(
    ("network", "law", "error"),
    [
        (ResNet("tanh", depth=100), "universal", 0.0014),
        (ResNet("linear", depth=100), "universal", 0.0014),
        (ResNet("linear", depth=4), "layered", 0.0),
        (ResNet("linear", depth=4, block="pre"), "layered", 0.0),
        (ResNet("tanh", depth=1, block="pre"), "layered", 0.0),
        (ResNet("relu", depth=10), "layered", 3e-4),  # 0.02 (1 + c)/L²
        (ResNet("relu", depth=2), "exact", None),
        (ResNet("tanh", depth=200, block="pre", input_variance=1e-3), "universal", 0.0007),
        (ResNet("relu", depth=1000, block="pre"), "exact", None),
        (ResNet("relu", sigma_w=0.0), "universal", 0.0),
        # c beyond 10⁶, up to which the universal law is computed.
        (ResNet("linear", depth=3, sigma_w=2e3), "layered", 0.0),
        (ResNet("linear", depth=3, sigma_w=2e3, block="pre"), "layered", 0.0),
        (ResNet("relu", depth=3, block="preln", input_variance=1e-8), "layered", 0.0),
        (ResNet("tanh", depth=1, sigma_w=1e4, block="pre"), "layered", 0.0),
        (FeedForward("tanh"), "layered", 0.0),
    ],
)
def test_the_cheapest_law_that_is_good_enough(network, law, error):
    choice = choose(network)
    assert choice.law == law
    assert choice.error == (error if error is None else pytest.approx(error, rel=0.5))
    assert choice.why
    if law != "exact":
        assert spectrum(network).name == law
        assert spectrum(network, "lambda").using("log").error == choice.error


def test_a_law_at_depth_where_no_error_is_predicted():
    """Edges of products of Ginibre matrices: σ³ √((L+1)^(L+1)/L^L), and 1 next to nothing."""
    law = spectrum(ResNet("linear", depth=3, sigma_w=2000.0))
    assert law.edge_upper == pytest.approx((2000 / math.sqrt(3)) ** 3 * math.sqrt(4**4 / 3**3), rel=2e-6)
    result = call(
        "density", "--act", "linear", "--depth", 3, "--sigma-w", 2000, "--law", "layered", "--at", 1
    )
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("network", "instead"),
    [
        (ResNet("relu", depth=2), 0.0075),
        (ResNet("x**3", depth=3, block="pre"), None),
        (ResNet("relu", depth=4, block="pre", skip=1e60, sigma_w=1e60), None),
    ],
)
def test_another_law_may_do_instead_of_the_exact_one(network, instead):
    choice = choose(network)
    assert (choice.law, choice.instead.law) == ("exact", "layered")
    assert choice.instead.error == (instead and pytest.approx(instead, rel=0.5))


@pytest.mark.parametrize(
    ("measured", "name"), [(0.001, "exact"), (0.02, "layered"), (NoAnswerError("not solved"), "layered")]
)
def test_the_exact_law_is_taken_only_where_it_is_measured_to_be_better(monkeypatch, measured, name):
    """The layered law of ReLU at depth 2 is predicted to be off by 0.0075."""

    def error(_):
        if isinstance(measured, NoAnswerError):
            raise measured
        return measured

    monkeypatch.setattr(ExactLaw, "error", property(error))
    network = ResNet("relu", depth=2)
    law, choice = taken(network, choose(network))
    assert law.name == choice.law == spectrum(network).name == name
    if name == "layered":
        assert law.error == pytest.approx(0.0075, rel=0.5)
        assert choice.why.endswith(("(not solved)", "off by 0.02, more than this one"))
        result = call("density", "--act", "relu", "--depth", 2, "--points", 2)
        assert result.stderr.startswith("isocalc: layered law, as the universal law is off by")


def test_independent_gates_are_not_correlated():
    network = ResNet("relu", depth=1000, block="pre")
    assert choose(network, own_gates=False).law == "universal"
    assert choose(network, "layered").error > 0.02
    assert choose(network, "layered", own_gates=False).error == pytest.approx(0.02 * 1.5 / 1000**2)


def test_independent_gates_commute_before_the_weights_as_behind_them():
    """Transposed, (a + W₂ D₂)(a + W₁ D₁) is (a + D₁ W₁')(a + D₂ W₂'): the blocks in the opposite order."""
    pre, post = (
        choose(ResNet("relu", depth=2, sigma_w=2.0, block=block), own_gates=False)
        for block in ("pre", "post")
    )
    assert (post.law, pre.law) == ("exact", "layered")  # the exact law of blocks "pre" is that of own gates
    assert pre.error == post.instead.error == pytest.approx(0.02 * 3 / 4)
    unknown = choose(ResNet("tanh", depth=2, sigma_w=1e30, block="pre"), own_gates=False)
    assert unknown.law == "layered"


@pytest.mark.slow
def test_simulated_independent_gates_commute_too():
    """Neurons whose gates are closed in all layers leave s = 1 to twice their share less 1."""
    network = ResNet("hardtanh", depth=2, sigma_w=2.0, block="pre", input_variance=16.0)
    tasks = [Replicate(network, width=200, seed=5, trial=k, gates="independent") for k in range(20)]
    share = (np.abs(np.stack(run(tasks))) < 1e-9).mean(axis=1)
    closed = math.prod(math.erfc(1 / math.sqrt(2 * q)) for q in propagate(network).q)
    assert share.mean() == pytest.approx(2 * closed - 1, abs=5 * share.std() / math.sqrt(20) + 1 / 200)
    choice = choose(network, "layered", own_gates=False)
    ((place, mass),) = spectrum(network, law="layered").atoms
    assert place == pytest.approx(1.0)
    assert 0.05 < 2 * closed - 1 - mass < choice.error  # off by that much at least, as predicted


def test_a_good_universal_law_is_not_talked_of():
    result = call("density", "--act", "tanh", "--points", 2)
    assert (result.exit_code, result.stderr) == (0, "")
    caption = call("density", "--act", "tanh", "--points", 2, "--format", "table").stdout.splitlines()[0]
    expected = "Universal law (L -> infinity), c = 0.968394, good enough; KS error 0.0014; no point mass"
    assert caption == expected


def test_another_law_is_said_with_its_reason():
    result = call("density", "--act", "linear", "--depth", 4, "--points", 2)
    assert result.stderr == "isocalc: layered law, as the universal law is off by 0.035\n"
    assert call("density", "--act", "linear", "--depth", 4, "--law", "layered", "--points", 2).stderr == ""
    result = call("density", "--act", "linear", "--depth", "4,400", "--points", 2)
    assert result.stderr == (
        "isocalc: law of 2 networks: layered for 1, universal for 1; KS error up to 0.00035\n"
    )


def test_the_summary_has_the_error():
    rows = table("density", "--act", "linear", "--depth", "4,400", "--summary")
    assert [row["law"] for row in rows] == ["layered", "universal"]
    assert [float(row["law_error"]) for row in rows] == pytest.approx([0.0, 0.00035], abs=1e-5)


@pytest.mark.parametrize(("law", "size"), [("universal", "0.07"), ("layered", "0.06")])
def test_a_wrong_law_is_shown_with_a_warning_of_its_size(law, size):
    result = call("density", *PRE, "--law", law, "--at", 1)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"isocalc: the {law} law of tanh is off by about {size}")
    assert "gates correlated across layers" in result.stderr


def test_a_law_of_few_layers_is_shown_with_a_warning_too():
    result = call("density", "--act", "gelu,linear", "--depth", 4, "--law", "universal", "--at", 1)
    assert result.exit_code == 0
    assert "the universal law of gelu, linear is off by up to 0.0" in result.stderr
    assert "through the finite depth" in result.stderr
    assert call("density", "--act", "linear", "--law", "universal", "--at", 1).stderr == ""


def test_laws_that_a_network_has_not():
    assert "got 'exact'" in refusal("density", "--arch", "feedforward", "--act", "relu", "--law", "exact")
    assert "got 'exact'" in refusal("mc", "--arch", "feedforward", "--act", "relu", "--law", "exact")
    assert "--paths" in refusal("density", "--act", "relu", "--law", "universal", "--paths", 100)
    assert "--law cannot be given" in refusal("mc", "--act", "relu", "--spectrum", "--law", "layered")
    assert "--gates independent" in refusal(
        "mc", "--act", "relu", "--block", "pre", "--gates", "independent", "--law", "exact"
    )


def test_the_universal_law_is_good_enough_for_a_simulation():
    """N = 200, 8 trials, seed 1, false-alarm rate 1 %: at L = 100 it is good, at L = 4 it is not."""
    run = ("mc", "--act", "linear", "--seed", 1)
    assert call(*run, "--width", 200).exit_code == 0
    assert call(*run, "--width", "50,100,200").exit_code == 0
    assert call(*run, "--width", 200, "--depth", 4).exit_code == 0
    assert call(*run, "--width", 200, "--depth", 4, "--law", "universal").exit_code == 1


@pytest.mark.slow
def test_the_exact_law_is_chosen_and_agrees():
    """N = 300, 8 trials, seed 1, false-alarm rate 1 %; the law of free layers is found wrong."""
    result = call("mc", *PRE, "--width", 300, "--seed", 1)
    assert result.exit_code == 0, result.stderr
    assert "exact law, as the universal law is off by 0.07" in result.stderr
    (row,) = table("density", *PRE, "--summary")
    assert row["law"] == "exact"
    assert float(row["law_error"]) < 0.002
    assert call("mc", *PRE, "--width", 300, "--seed", 1, "--law", "layered").exit_code == 1
