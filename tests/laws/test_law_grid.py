"""The printed table of a law: the mass rises to all there is, and trapezoid sums are good, or it is said."""

import math

import numpy as np
import pytest
from running import call, refusal, table

from isocalc.errors import NoAnswerError
from isocalc.laws.free.law import LayeredLaw
from isocalc.laws.law import Law
from isocalc.laws.universal import UniversalLaw
from isocalc.networks.descriptions import FeedForward


class Solved:
    """A law on [0, 1] whose mass below y is given."""

    intervals = ((0.0, 1.0),)
    atoms = ()

    def __init__(self, below):
        self.below = below

    def grid(self, points, power):  # noqa: ARG002
        return np.linspace(0.0, 1.0, points)

    def density_and_below(self, y):
        return np.zeros_like(y), self.below(y)


class OfMass(Law):
    name = "layered"
    variable = "log"
    _centre = ()
    _centred = None

    def __init__(self, below):
        self._centred = Solved(below)


def test_a_mass_that_falls_is_mended_where_rounding_did_it_and_refused_else():
    for fall in (1e-9, 1e-3):
        law = OfMass(lambda y, fall=fall: y - fall * (abs(y - 0.5) < 1e-3) * (y < 1))
        rising = np.array([0.0, 0.2, 0.249999, 0.25, 0.3, 0.5])
        if fall < 1e-6:
            assert (np.diff(law.cdf(rising)) >= 0).all()
            assert (np.diff(law.table(301)[2]) >= 0).all()
        else:
            with pytest.raises(NoAnswerError, match=r"falls by 0\.0007"):
                law.cdf(np.array([0.24945, 0.2496]))


@pytest.mark.parametrize("below", [lambda y: 0.99 * y, lambda y: 0.01 + 0.99 * y])
def test_a_mass_that_is_not_all_there_is_is_refused(below):
    with pytest.raises(NoAnswerError, match=r"0\.01 of its mass is missing at an end"):
        OfMass(below).table(3)
    OfMass(lambda y: y).table(3)


@pytest.mark.parametrize("variable", ["singular", "lambda", "log"])
def test_the_mass_of_a_law_within_one_double_is_that_of_a_semicircle(variable):
    x, density, cdf = UniversalLaw(1e-160, depth=8, variable=variable).table(200)
    angle = np.linspace(0.0, np.pi, 200)
    assert cdf == pytest.approx((angle - np.sin(angle) * np.cos(angle)) / np.pi, abs=1e-12)
    assert (cdf[0], cdf[-1]) == (0.0, 1.0)
    assert x == pytest.approx(0.0 if variable == "log" else 1.0, abs=1e-79)
    slope = {"singular": 2.0, "lambda": 1.0, "log": 2.0}[variable]
    assert density.max() == pytest.approx(slope / (np.pi * math.sqrt(2e-160)), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        ("--act", "abs(x)-1", "--depth", 2, "--weights", "orthogonal", "--sigma-w", "6.2e-15"),
        ("--act", "max(x,0.1*x)", "--depth", 4, "--skip", "1e10", "--variable", "lambda"),
    ],
)
def test_a_law_too_narrow_for_its_solver_is_refused(options):
    result = call("density", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the layered law was not solved: ")
    assert result.stderr.count("\n") == 1


DIVERGING = [
    FeedForward("erf", depth=20, sigma_w=1.1),
    FeedForward("tanh", depth=10, sigma_w=1.1),
    FeedForward("elu:1e9", depth=1, input_variance=1.0),
    FeedForward("elu:1e9", depth=10, input_variance=1.0),
    FeedForward("tanh", depth=1, sigma_w=1.1, weights="orthogonal"),
    FeedForward("relu", depth=10, input_variance=1.0, weights="orthogonal"),
]


@pytest.mark.parametrize("net", DIVERGING, ids=lambda net: f"{net.activation}-{net.depth}-{net.weights}")
def test_trapezoid_sums_of_diverging_laws_in_log_s(net):
    law = LayeredLaw.of(net, "log")
    x, density, cdf = law.table(200)
    whole = 1 - sum(mass for _, mass in law.atoms)
    assert (np.diff(x) > 0).all()
    assert np.trapezoid(density, x) == pytest.approx(whole, abs=1e-3)
    assert cdf[-1] == pytest.approx(1, abs=1e-4)  # at an infinite density the grid ends beside the edge


@pytest.mark.parametrize("net", DIVERGING, ids=lambda net: f"{net.activation}-{net.depth}-{net.weights}")
def test_trapezoid_sums_of_diverging_laws_in_s_are_good_or_it_is_said(net):
    options = (
        "--arch",
        "feedforward",
        "--act",
        net.activation,
        "--depth",
        net.depth,
        "--sigma-w",
        net.sigma_w,
    )
    start = () if net.input_variance is None else ("--input-variance", net.input_variance)
    result = call("density", *options, *start, "--weights", net.weights)
    rows = [line.split(",") for line in result.stdout.splitlines()[1:]]
    rows = [row for row in rows if row[0]]  # the smallest are no doubles, which is said
    x, density, cdf = np.array(rows, dtype=float).T[:3]
    off = abs(np.trapezoid(density, x) - (cdf[-1] - cdf[0]))
    # On cosine-spaced points up to 0.8; no 200 points do for a law that reaches over 5000 units of log λ.
    assert off < (0.5 if (net.activation, net.depth) == ("elu:1e9", 10) else 0.05)
    assert ("trapezoid sums of the density are off by" in result.stderr) == (off > 1e-3)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("points", [2, 3, 4, 5])
def test_few_points_run_from_edge_to_edge(depth, points):
    """A law of two bands with a point mass between them."""
    network = ("--act", "relu(x)-1", "--depth", depth)
    rows = table("density", *network, "--points", points)
    (row,) = table("density", *network, "--summary")
    assert [float(rows[k]["singular_value"]) for k in (0, -1)] == pytest.approx(
        [float(row["edge_lower"]), float(row["edge_upper"])], rel=1e-12
    )
    assert [float(rows[k]["cdf"]) for k in (0, -1)] == pytest.approx([0.0, 1.0], abs=1e-9)
    assert len(rows) == points


@pytest.mark.parametrize(
    "options", [("--c", 50), ("--c", 1, "--variable", "log"), ("--c", 50, "--points", 2)]
)
def test_only_what_is_off_is_said(options):
    said = "trapezoid" in call("density", *options).stderr
    assert said == (options == ("--c", 50))


def test_sizes_of_parameters():
    for name in ("celu:1e300", "hardtanh:-1e300:1e300", "celu:1e-51"):
        assert "with sizes from 1e-50 to 1e+50, or 0" in refusal("density", "--act", name)
    assert call("param", "--act", "hardtanh:0:1e50").exit_code == 0
