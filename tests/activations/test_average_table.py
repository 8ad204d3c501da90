import math

import numpy as np
import pytest

from isocalc.activations.averages import AverageTable, averages
from isocalc.activations.catalogue import FAMILIES, activation
from isocalc.activations.tolerances import SMALLEST_Q

SPECS = [name for name in FAMILIES if name != "threshold"] + [
    "threshold:1:2",
    "softplus:20",
    "hardtanh:-1:50",
]
UNDERFLOW = 1e-290


def visited(act, q):
    """What a table says of q once it has tabulated the octave."""
    table = AverageTable(act)
    for _ in range(8):
        result = table.at(q)
    return result


def direct(act, q):
    mean, second, gate, _, _ = averages(act, q)
    return float(mean), float(second), float(gate)


@pytest.mark.parametrize("spec", SPECS)
def test_against_quadrature_at_random_variances(spec):
    act = activation(spec)
    for q in 10 ** np.random.default_rng(1).uniform(-13, 10, 12):
        mean, second, gate = direct(act, q)
        got = visited(act, float(q))
        assert abs(got.mean - mean) <= 2e-14 * math.sqrt(second) + UNDERFLOW, q
        # A relative change of q by one rounding unit changes a steep average by so many.
        near = direct(act, q * 1.001)
        for value, exact, moved in ((got.second, second, near[1]), (got.gate, gate, near[2])):
            steepness = 1e3 * abs(math.log(moved / exact)) if min(moved, exact) > 0 else 0.0
            assert value == pytest.approx(exact, rel=5e-14 + 1e-15 * steepness, abs=UNDERFLOW), q


@pytest.mark.parametrize("spec", ["tanh", "relu", "gelu"])
def test_octaves_join(spec):
    act = activation(spec)
    below, above = visited(act, math.nextafter(2.0, 0)), visited(act, 2.0)
    assert below == pytest.approx(above, rel=2e-14)
    assert above == pytest.approx(direct(act, 2.0), rel=2e-14)


def test_a_series_where_the_average_falls_steeply():
    """E φ² of hard shrink falls by 10^18 within this octave, like exp(-1/8q)."""
    act = activation("hardshrink")
    assert AverageTable(act).octave(-9) is not None
    assert visited(act, 1.5e-3) == pytest.approx(direct(act, 1.5e-3), rel=1e-13)
    assert visited(act, 2.0**-20) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("spec", ["hardshrink", "softshrink", "threshold:0.5:0"])
def test_steep_averages_are_not_interpolated_beyond_their_series(spec):
    act = activation(spec)
    for q in np.geomspace(2.3e-4, 4e-2, 60):
        _, second, gate = direct(act, q)
        got = visited(act, float(q))
        assert got.second == pytest.approx(second, rel=1e-12), q
        assert got.gate == pytest.approx(gate, rel=1e-12), q


def test_a_few_visits_do_not_pay_a_table():
    act = activation("tanh")
    table = AverageTable(act)
    assert [table.at(1.3) for _ in range(3)] == [direct(act, 1.3)] * 3
    assert table.at(1.3) == pytest.approx(direct(act, 1.3), rel=1e-14)


@pytest.mark.parametrize("q", [0.0, 5e-324, 1e-300, SMALLEST_Q / 2])
def test_tiny_variances(q):
    for spec in ("tanh", "sigmoid", "relu"):
        assert visited(activation(spec), q) == direct(activation(spec), q)


@pytest.mark.parametrize(
    ("spec", "mean", "second", "gate"),
    [
        ("relu", lambda q: math.sqrt(q / (2 * math.pi)), lambda q: q / 2, lambda _: 0.5),
        ("linear", lambda _: 0.0, lambda q: q, lambda _: 1.0),
        ("hardtanh:-1:3", lambda _: 1.0, lambda _: 5.0, lambda q: 4 / math.sqrt(2 * math.pi * q)),
        ("sigmoid", lambda _: 0.5, lambda _: 0.5, lambda q: 1 / (6 * math.sqrt(2 * math.pi * q))),
        ("gaussian", lambda _: 0.0, lambda q: 0.5 / math.sqrt(q), lambda q: 0.5 / math.sqrt(q)),
        ("squared_relu", lambda _: math.inf, lambda _: math.inf, lambda _: math.inf),
    ],
)
@pytest.mark.parametrize("q", [2.0**1000 / 3, 2.0**1000 * 3, 1.7e308, math.inf])
def test_the_far_end_of_the_doubles(spec, mean, second, gate, q):
    """Powers of q: a saturated or linear φ."""
    got = visited(activation(spec), q)
    if spec != "squared_relu":
        assert got.mean == pytest.approx(mean(q), rel=1e-13, abs=1e-13 * math.sqrt(min(second(q), 1e300)))
        assert got.gate == pytest.approx(gate(q), rel=1e-13)
    assert got.second == pytest.approx(second(q), rel=1e-13)


@pytest.mark.parametrize("spec", ["tanh", "gelu", "hardshrink", "softplus"])
def test_many_variances_at_once(spec):
    table, one = AverageTable(activation(spec)), AverageTable(activation(spec))
    q = np.array([0.0, SMALLEST_Q / 2, 1e-3, *np.geomspace(0.3, 0.9, 30), 7.0, 1e5, 1e200, math.inf])
    for _ in range(2):  # before and after octaves are tabulated
        found = table.of_many(q)
        for k, value in enumerate(q.tolist()):
            at = one.at(value)
            scales = [math.sqrt(at.second), at.second, at.gate]
            for got, exact, scale in zip(found[:, k], at, scales, strict=True):
                assert got == exact or abs(got - exact) <= 2e-14 * scale + UNDERFLOW, (value, got, exact)
