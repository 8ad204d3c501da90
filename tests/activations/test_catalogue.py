import pickle
import subprocess
import sys

import numpy as np
import pytest
from mpmath import mp, mpf
from naive.activations import (
    EXAMPLES,
    GRADIENTS_AT_BREAKPOINTS,
    NEED_PARAMETERS,
    PHI,
    exact,
    parameters,
)

from isocalc.activations.catalogue import ALIASES, FAMILIES, Activation, activation, names
from isocalc.errors import InvalidInputError

EPS = np.finfo(float).eps
TINY = np.finfo(float).tiny
LARGEST = mpf(float(np.finfo(float).max))
SIZES = (
    1e-300,
    1e-160,
    1e-20,
    1e-8,
    1e-5,
    1e-3,
    0.03,
    0.2,
    0.7,
    0.999,
    1.001,
    1.4,
    2.3,
    2.95,
    3.2,
    4.7,
    6.1,
    9.0,
)
TAILS = (13.0, 18.2, 26.5, 37.1, 39.0, 91.0, 350.0, 703.0, 1e3, 1e8, 1e154, 1e155, 1e300, 1.7e308)
POINTS = np.array([sign * size for sign in (-1, 1) for size in SIZES + TAILS])


def away_from_breakpoints(act):
    return POINTS[[all(abs(x - b) > 1e-3 * (abs(b) > 0) for b in act.breakpoints) for x in POINTS]]


def taylor(phi, x):
    """φ, φ' and φ'' by central differences."""
    h = mpf(10) ** -20 * min(abs(x), 1)
    low, middle, high = phi(x - h), phi(x), phi(x + h)
    return middle, (high - low) / (2 * h), (high - 2 * middle + low) / h**2


def digits(x):
    """Enough for 1 - φ = 1e-308 in the tails and for differences of x³ near 0."""
    return 60 if 1e-3 <= abs(x) <= 2 else 400 if abs(x) > 1e-20 else 1000


def agrees(got, value, slope, x, units=4):
    """Whether ``got`` is as good as rounding ``x`` and the value allows, times ``units``."""
    if abs(value) > LARGEST:
        return np.isinf(got) and np.sign(got) == mp.sign(value)
    return abs(mpf(float(got)) - value) <= units * EPS * (abs(value) + abs(x * slope)) + TINY


def test_every_family_has_an_exact_formula_and_examples():
    assert PHI.keys() == FAMILIES.keys()
    assert {spec.split(":")[0] for spec in EXAMPLES} == set(names())
    assert {spec.split(":")[0] for spec in EXAMPLES if parameters(spec)} <= {
        spec.split(":")[0] for spec in EXAMPLES if ":" in spec
    }


@pytest.mark.parametrize("spec", EXAMPLES)
def test_values_and_derivatives_over_the_whole_range_of_doubles(spec):
    act, phi = activation(spec), exact(spec)
    points = away_from_breakpoints(act)
    for x, value, derivative in zip(points, act.phi(points), act.dphi(points), strict=True):
        with mp.workdps(digits(x)):
            exact_value, first, second = taylor(phi, mpf(x))
            assert agrees(value, exact_value, first, mpf(x)), ("phi", x)
            assert agrees(derivative, first, second, mpf(x)), ("dphi", x)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_values_at_breakpoints_and_beside_them(spec):
    act, phi = activation(spec), exact(spec)
    for b in act.breakpoints:
        beside = np.array([np.nextafter(b, -np.inf), b, np.nextafter(b, np.inf)])
        for x, value in zip(beside, act.phi(beside), strict=True):
            assert float(phi(mpf(x))) == pytest.approx(value, rel=4 * EPS, abs=4 * EPS * abs(b) + TINY)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_derivatives_beside_breakpoints_are_one_sided_limits(spec):
    act, phi = activation(spec), exact(spec)
    for b in act.breakpoints:
        for side, towards in ((-1, -np.inf), (1, np.inf)):
            with mp.workdps(60):
                h = side * mpf(10) ** -25
                limit = (phi(b + 2 * h) - phi(b + h)) / h
            derivative = act.dphi(np.array([np.nextafter(b, towards)]))[0]
            assert derivative == pytest.approx(float(limit), rel=4 * EPS, abs=4 * EPS)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_derivatives_at_breakpoints_are_those_of_pytorch(spec):
    act = activation(spec)
    if act.breakpoints:
        expected = GRADIENTS_AT_BREAKPOINTS[spec.split(":")[0]](*parameters(spec))
        assert act.dphi(np.array(act.breakpoints)) == pytest.approx(np.array(expected, dtype=float), rel=EPS)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_value_and_derivative_at_zero(spec):
    act, phi = activation(spec), exact(spec)
    assert act.phi(np.zeros(1))[0] == pytest.approx(float(phi(mpf(0))), rel=EPS, abs=0)
    if 0 not in act.breakpoints:
        with mp.workdps(60):
            h = mpf(10) ** -25
            assert act.dphi(np.zeros(1))[0] == pytest.approx(
                float((phi(h) - phi(-h)) / (2 * h)), rel=EPS, abs=1e-24
            )


@pytest.mark.parametrize("spec", EXAMPLES)
def test_large_arrays_agree_with_small_ones_and_shapes_are_kept(spec):
    act = activation(spec)
    x = np.linspace(-45.0, 45.0, 21_000)
    for function in (act.phi, act.dphi):
        whole = function(x)
        assert whole.dtype == np.float64
        some = function(x[::700].reshape(2, 15))
        assert np.all(
            np.abs(whole[::700] - some.ravel()) <= 4 * EPS * (1 + x[::700] ** 2) * np.abs(some.ravel())
        )
        assert function(np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_arguments_are_left_alone(spec):
    act, x = activation(spec), POINTS.copy()
    for function in (act.phi, act.dphi):
        assert function(x) is not x
        assert np.array_equal(x, POINTS)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("tanh", "tanh"),
        (" relu ", "relu"),
        ("leaky_relu:0.010", "leaky_relu"),
        ("leaky_relu:2e-1", "leaky_relu:0.2"),
        ("leaky_relu:-0", "leaky_relu:0"),
        ("hardtanh:-2", "hardtanh:-2:1"),
        ("hardtanh:-1:1", "hardtanh"),
        ("threshold:.1:5", "threshold:0.1:5"),
        ("identity", "linear"),
        ("swish", "silu"),
        ("atan", "arctan"),
    ],
)
def test_canonical_names(spec, name):
    assert activation(spec).name == name


def test_aliases_lead_to_families():
    assert set(ALIASES.values()) <= set(FAMILIES)
    assert not set(ALIASES) & set(FAMILIES)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_activations_pickle_and_compare_by_name(spec):
    act = activation(spec)
    again = pickle.loads(pickle.dumps(act))  # noqa: S301 - our own bytes
    assert again == act == activation(act.name)
    assert hash(again) == hash(act)
    assert np.array_equal(again.phi(POINTS), act.phi(POINTS))
    assert activation(act) is act
    assert act != activation("hardtanh:-7:7")


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_are_given_and_rules_hold_for_them(name):
    family = FAMILIES[name]
    defaults = tuple(parameter.default for parameter in family.parameters)
    assert family.name == name
    assert family.formula
    assert family.reference
    assert (None in defaults) == (name in {spec.split(":")[0] for spec in NEED_PARAMETERS})
    if None not in defaults:
        assert family.holds(*defaults)
        assert isinstance(activation(name), Activation)


NUMBER = "a finite number"
LAMBD = "with lambd a finite number of at least 0"
HARDTANH = (
    "hardtanh:min_val:max_val with min_val a finite number and max_val a finite number greater than min_val"
)
THRESHOLD = "threshold:threshold:value with threshold a finite number and value a finite number"


@pytest.mark.parametrize(
    ("spec", "rule", "advice"),
    [
        ("rleu", "a known activation", " Did you mean relu?"),
        ("ReLU", "a known activation", " Did you mean relu?"),
        ("LeakyReLU:0.2", "a known activation", " Did you mean leaky_relu?"),
        ("xyzzy", "a known activation", ""),
        ("", "a known activation", ""),
        (None, "a name or an Activation", ""),
        (["relu"], "a name or an Activation", ""),
        ("tanh:1", "tanh without parameters", ""),
        ("tanh:", "tanh without parameters", ""),
        ("leaky_relu:", f"leaky_relu:negative_slope with negative_slope {NUMBER}", ""),
        ("leaky_relu:steep", f"leaky_relu:negative_slope with negative_slope {NUMBER}", ""),
        ("leaky_relu:nan", f"leaky_relu:negative_slope with negative_slope {NUMBER}", ""),
        ("leaky_relu:0.1:0.2", f"leaky_relu:negative_slope with negative_slope {NUMBER}", ""),
        ("elu:inf", f"elu:alpha with alpha {NUMBER}", ""),
        ("celu:0", f"celu:alpha with alpha {NUMBER} greater than 0", ""),
        ("hardtanh:1", HARDTANH, ""),
        ("hardtanh:2:-2", HARDTANH, ""),
        ("hardtanh:0:1:2", HARDTANH, ""),
        ("hardshrink:-1", f"hardshrink:lambd {LAMBD}", ""),
        ("softshrink:-1e-9", f"softshrink:lambd {LAMBD}", ""),
        ("threshold", THRESHOLD, ""),
        ("threshold:1", THRESHOLD, ""),
        ("softplus:0", f"softplus:beta with beta {NUMBER} greater than 0", ""),
        ("snake:0", f"snake:a with a {NUMBER} other than 0", ""),
    ],
)
def test_what_is_refused_and_how(spec, rule, advice):
    with pytest.raises(InvalidInputError) as refusal:
        activation(spec)
    assert str(refusal.value) == f"activation must be {rule}, got {spec!r}" + ("." + advice if advice else "")


@pytest.mark.process
def test_a_known_name_loads_neither_scipy_nor_difflib():
    program = (
        "import sys, numpy, isocalc.activations.catalogue as a\n"
        "a.activation('gelu').phi(numpy.ones(400))\n"
        "print(*sorted({'scipy', 'numba', 'difflib', 'json', 'numpy.polynomial'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
