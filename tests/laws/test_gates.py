import math
import subprocess
import sys

import numpy as np
import pytest
from mpmath import mp, mpc, mpf
from naive.activations import EXAMPLES
from naive.gates import NaiveGate, real_axis, slopes

from isocalc.activations.averages import averages
from isocalc.activations.catalogue import Activation, activation
from isocalc.errors import NoAnswerError
from isocalc.laws.gates.nodes import gate_rule

EPS = np.finfo(float).eps
CURVED = tuple(spec for spec in EXAMPLES if activation(spec).slopes is None)
LINEAR = tuple(spec for spec in EXAMPLES if activation(spec).slopes is not None)
VARIANCES = (1e-12, 1e-4, 0.03, 0.5, 6.0, 1e3, 1e8)


def sums(rule, t):
    """E 1/(1 - dt), E dt/(1 - dt), E dt/(1 - dt)², E log(1 - dt); real t from below."""
    dt = rule.d * t
    dt = dt.real + 1j * np.where(dt.imag == 0, -0.0, dt.imag)
    inverse = 1 / (1 - dt)
    functions = (inverse, dt * inverse, dt * inverse**2, np.log(1 - dt))
    return np.array([(rule.weights * values).sum() for values in functions])


@pytest.mark.parametrize("spec", CURVED)
def test_slopes_at_complex_points(spec):
    act, rng = activation(spec), np.random.default_rng(3)
    unit = min(act.scale, 4.0)
    x = unit * (np.concatenate([rng.normal(size=40), rng.uniform(-9, 9, 20)]))
    points = x + 1j * rng.uniform(-0.5, 0.5, 60) * unit / (1 + np.abs(x / unit))
    pieces = slopes(spec)
    for point, got in zip(points, act.dphi(points), strict=True):
        slope = pieces[sum(point.real > b for b in act.breakpoints)]
        with mp.workdps(40):
            exact, change = slope(mpc(point)), mp.diff(slope, mpc(point))
            if spec == "gelu":
                change += abs(slope(mpf(point.real)))
            assert abs(got - exact) <= 8 * EPS * (abs(exact) + abs(point * change)) + 1e-300, point


@pytest.mark.parametrize("spec", CURVED)
def test_slopes_of_shaped_and_empty_complex_arrays(spec):
    act = activation(spec)
    x = np.linspace(-3.1, 3.2, 12) + 0.01j
    assert np.array_equal(act.dphi(x.reshape(3, 4)).ravel(), act.dphi(x))
    assert act.dphi(np.empty((0, 2), complex)).shape == (0, 2)
    assert act.dphi(x.real) == pytest.approx(act.dphi(x.real + 0j).real, rel=4 * EPS, abs=EPS)


@pytest.mark.parametrize("q", VARIANCES)
@pytest.mark.parametrize("spec", CURVED)
def test_moments_and_values_off_the_cut(spec, q):
    act = activation(spec)
    rule, expected = gate_rule(act, q), averages(act, q)
    assert rule.weights.sum() == pytest.approx(1, rel=1e-13)
    assert rule.mean == pytest.approx(float(expected.gate), rel=1e-12)
    assert rule.mean_square == pytest.approx(float(expected.gate_squared), rel=1e-12)
    assert np.all(rule.d.imag <= 0)
    assert rule.d.shape == rule.weights.shape
    assert np.abs(rule.weights).sum() < 5
    for t in (-2, 0.5 - 0.5j, 3 - 5j):
        exact = real_axis(act, q, t / rule.mean)
        assert abs(sums(rule, t / rule.mean)[0] / exact - 1) < 1e-12, t


CLOSE = (
    *[
        (spec, 0.5)
        for spec in ("hardswish", "squared_relu", "selu", "elu:-2", "celu:0.3", "softplus:2", "logsigmoid")
    ],
    *[
        (spec, 0.5)
        for spec in ("tanh", "tanhshrink", "softsign", "erf", "arctan", "sigmoid", "silu", "snake:-0.3")
    ],
    ("mish", 0.2),
    ("gelu", 0.1),
    ("gelu_tanh", 0.05),
    ("gaussian", 0.05),
    ("sin", 0.03),
    ("tanh", 5.0),
    ("tanh", 0.02),
    ("elu", 20.0),
    ("softplus", 8.0),
    ("softsign", 6.0),
)


@pytest.mark.parametrize(("spec", "q"), CLOSE)
def test_averages_near_the_cut_and_near_its_ends(spec, q):
    naive, rule = NaiveGate(spec, q), gate_rule(activation(spec), q)
    ends = [end for end in naive.ends if end > 1e-20]
    near = [1 / (end * (1 + side * 10.0**-k)) for end in ends for k in (1, 4, 7, 10) for side in (-1, 1)]
    near += [(1 - 1j * 10.0**-k) / end for end in ends for k in (2, 6, 10)]
    top = max(ends, default=1.0)
    for t in (
        *near,
        -1 / top,
        (2 - 1e-12j) / top,
        (40 - 1e-5j) / top,
        (0.3 - 0.3j) / top,
        1e4 / top,
        1e7 / top,
    ):
        exact = naive.averages(t)
        error = np.abs(sums(rule, t) - exact) / np.abs(exact)
        assert np.all(error <= 1e-12 + 4 * naive.rounding(t)), t


@pytest.mark.parametrize("spec", ["tanh", "gelu", "elu", "hardswish", "softplus", "sin"])
def test_averages_are_real_where_the_pole_is_off_the_law(spec):
    rule = gate_rule(activation(spec), 0.5)
    for t in (-1e6, -3.0, -1e-3, 1e-3, 0.5, 0.999):
        values = sums(rule, t / rule.largest)
        assert np.all(np.abs(values.imag) <= 1e-12 * np.abs(values))


def exact_extremes(spec, low, high):
    """Values of φ'² at the zeros of φ'' nearest to two points."""
    slope = slopes(spec)[0]
    return [float(slope(mp.findroot(lambda x: mp.diff(slope, x), place)) ** 2) for place in (low, high)]


@pytest.mark.parametrize(
    ("spec", "smallest", "largest"),
    [
        ("tanh", 0, 1),
        ("sigmoid", 0, 1 / 16),
        ("softplus:0.25", 0, 1),
        ("erf", 0, 4 / math.pi),
        ("gaussian", 0, 2 / math.e),
        ("sin", 0, 1),
        ("snake:-0.3", 0, 4),
        ("elu:-2", 0, 4),
        ("elu:0.5", 0, 1),
        ("hardswish", 0, 2.25),
        ("squared_relu", 0, math.inf),
        ("gelu", 0, (0.5 * math.erfc(-1) + math.sqrt(1 / math.pi) / math.e) ** 2),
        ("gelu_tanh", 0, exact_extremes("gelu_tanh", -1.4, 1.4)[1]),
        ("silu", 0, exact_extremes("silu", -2.4, 2.4)[1]),
        ("mish", 0, exact_extremes("mish", -2.2, 1.5)[1]),
    ],
)
def test_range(spec, smallest, largest):
    for q in (1e-9, 0.7, 1e6):
        rule = gate_rule(activation(spec), q)
        assert rule.smallest == smallest
        assert rule.largest == pytest.approx(largest, rel=8 * EPS)


@pytest.mark.parametrize("q", [0.0, *VARIANCES])
@pytest.mark.parametrize("spec", LINEAR)
def test_piecewise_linear_gates_are_their_point_masses(spec, q):
    act = activation(spec)
    rule = gate_rule(act, q)
    masses = tuple((value, mass) for value, mass in act.gate_masses(q) if mass > 1e-16)
    assert rule.masses == masses
    assert rule.d.dtype == rule.weights.dtype == np.float64
    assert tuple(zip(rule.d, rule.weights, strict=True)) == masses
    assert rule.zero_mass == dict(masses).get(0.0, 0.0)
    assert rule.mean == pytest.approx(float(averages(act, q).gate), rel=4 * EPS)
    assert rule.mean_square == pytest.approx(float(averages(act, q).gate_squared), rel=4 * EPS)
    assert (rule.smallest, rule.largest) == (masses[0][0], masses[-1][0])


@pytest.mark.parametrize("spec", CURVED)
def test_variance_0_is_the_limit(spec):
    rule, near = gate_rule(activation(spec), 0.0), gate_rule(activation(spec), 1e-24)
    assert np.all(rule.weights > 0)
    assert rule.masses == tuple(zip(rule.d, rule.weights, strict=True))
    assert rule.mean == pytest.approx(near.mean, abs=1e-11)
    assert sums(rule, -2.0)[0] == pytest.approx(sums(near, -2.0)[0], abs=1e-11)


def test_masses_in_closed_form():
    assert gate_rule(activation("elu"), 0.5).masses == ((1.0, 0.5),)
    assert gate_rule(activation("squared_relu"), 7.0).masses == ((0.0, 0.5),)
    assert gate_rule(activation("squared_relu"), 7.0).zero_mass == 0.5
    assert gate_rule(activation("tanh"), 0.5).masses == ()
    beyond = math.erfc(3 / math.sqrt(2 * 4)) / 2
    (closed, below), (opened, above) = gate_rule(activation("hardswish"), 4.0).masses
    assert (closed, opened) == (0.0, 1.0)
    assert (below, above) == pytest.approx((beyond, beyond), rel=4 * EPS)


def test_tails_that_underflow_or_are_flat_to_rounding_count_as_point_masses():
    closed, opened = gate_rule(activation("gelu"), 1e8).masses
    assert closed == (0.0, pytest.approx(math.erfc(26.3 / 1e4 / math.sqrt(2)) / 2, rel=1e-3))
    assert opened == (1.0, pytest.approx(math.erfc(8.7 / 1e4 / math.sqrt(2)) / 2, rel=1e-3))


@pytest.mark.parametrize(("spec", "q", "most"), [("tanh", 0.5, 250), ("gelu", 0.5, 1200), ("sin", 1e8, 350)])
def test_number_of_nodes(spec, q, most):
    assert gate_rule(activation(spec), q).d.size <= most


def test_too_many_pieces_are_refused():
    wave = Activation(name="wave", phi=np.sin, dphi=np.cos, scale=1.0)
    assert gate_rule(wave, 1.0).mean == pytest.approx((1 + math.exp(-2)) / 2, rel=1e-12)
    with pytest.raises(NoAnswerError, match=r"wave has too many monotone pieces .* at variance"):
        gate_rule(wave, 1e4)


def test_overflow_is_refused():
    with pytest.raises(NoAnswerError, match="of squared_relu overflows at q = 1e"):
        gate_rule(activation("squared_relu"), 1e180)


@pytest.mark.process
def test_neither_scipy_nor_numba_is_loaded():
    program = (
        "import sys, isocalc.laws.gates.nodes as g, isocalc.activations.catalogue as a\n"
        "g.gate_rule(a.activation('gelu'), 0.5)\n"
        "print(*{'scipy', 'numba', 'difflib', 'json', 'numpy.polynomial', 'numpy.ma'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
