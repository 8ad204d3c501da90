"""Averages of expressions that grow fast, oscillate for ever or bend without bound, against closed forms."""

import math

import numpy as np
import pytest

from isocalc.activations.averages import averages
from isocalc.activations.catalogue import activation
from isocalc.activations.own import own_activation
from isocalc.errors import NoAnswerError

Q = np.array([1e-8, 0.3, 1.0, 50.0, 1e8])


def moment(power):
    """E |z|^power."""
    return 2 ** (power / 2) * math.gamma((power + 1) / 2) / math.sqrt(math.pi)


@pytest.mark.parametrize("power", [1.01, 4 / 3, 1.5, 2.5, 3.5])
def test_powers(power):
    for text, share in (
        (f"abs(x)**{power}", 1),
        (f"relu(x)**{power}", 2),
        (f"where(x > 0, x**{power}, 0)", 2),
    ):
        got = averages(activation(text), Q)
        assert got.mean == pytest.approx(moment(power) * Q ** (power / 2) / share, rel=1e-12)
        assert got.second == pytest.approx(moment(2 * power) * Q**power / share, rel=1e-12)
        gate = power**2 * moment(2 * power - 2) * Q ** (power - 1) / share
        assert got.gate == pytest.approx(gate, rel=1e-12)
        fourth = power**4 * moment(4 * power - 4) * Q ** (2 * power - 2) / share
        assert got.gate_squared == pytest.approx(fourth, rel=1e-12)
        assert got.curvature == pytest.approx(2 * power * got.second, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "power"),
    [
        ("relu(x)*sqrt(relu(x))", "relu(x)**1.5"),
        ("(x**2)**0.75", "abs(x)**1.5"),
        ("x*sqrt(abs(x))", "sign(x)*abs(x)**1.5"),
        ("sqrt(x**4 + x**2)", "abs(x)*sqrt(1 + x**2)"),
        ("sqrt(x*x)", "abs(x)"),
    ],
)
def test_powers_written_in_other_ways(text, power):
    for got, expected in zip(averages(activation(text), Q), averages(activation(power), Q), strict=True):
        assert got == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("a", [0.25, 1.0, -1.0])
def test_exponentials(a):
    q = np.array([1e-3, 0.5, 3.0, 40.0]) / a**2
    got = averages(activation(f"exp({a}*x)"), q)
    assert got.mean == pytest.approx(np.exp(a * a * q / 2), rel=1e-11)
    assert got.second == pytest.approx(np.exp(2 * a * a * q), rel=1e-11)
    assert got.gate == pytest.approx(a * a * np.exp(2 * a * a * q), rel=1e-11)
    assert got.gate_squared == pytest.approx(a**4 * np.exp(8 * a * a * q), rel=1e-11)
    assert got.curvature == pytest.approx(4 * a * a * q * got.second, rel=1e-10)


def test_hyperbolic_functions():
    q = np.array([1e-3, 0.5, 3.0, 40.0])
    odd, even = averages(activation("sinh(x)"), q), averages(activation("cosh(x)"), q)
    assert odd.second == pytest.approx(np.expm1(2 * q) / 2, rel=1e-11)
    assert odd.gate == pytest.approx(even.second, rel=1e-11)
    assert even.second == pytest.approx((np.exp(2 * q) + 1) / 2, rel=1e-11)
    assert even.gate_squared == pytest.approx((np.exp(8 * q) - 4 * np.exp(2 * q) + 3) / 8, rel=1e-9)


def test_averages_that_are_infinite_are_inf():
    q = np.array([0.1, 0.9, 1.5, 2.5, 1e6])
    got = averages(activation("exp(x**2/8)"), q)
    with np.errstate(invalid="ignore"):
        second, gate = (1 - q / 2) ** -0.5, q / 16 * (1 - q / 2) ** -1.5
    assert got.second[:3] == pytest.approx(second[:3], rel=1e-11)
    assert got.gate[:3] == pytest.approx(gate[:3], rel=1e-11)
    assert np.isinf(got.second[3:]).all()
    assert np.isinf(got.gate_squared[2:]).all()
    assert np.isinf(averages(activation("exp(x)"), np.array([1e3, 1e30])).second).all()


WAVES = np.array([1e-4, 0.3, 3.0, 400.0, 3e3, 1e5, 1e8])


def wave(frequency):
    """E cos(frequency x)."""
    return np.exp(-(frequency**2) * WAVES / 2)


def test_products_of_waves_of_no_common_period():
    got = averages(activation("sin(x)*sin(sqrt(2)*x)"), WAVES)
    a, b = 1.0, math.sqrt(2)
    assert got.mean == pytest.approx((wave(b - a) - wave(a + b)) / 2, abs=1e-13)
    second = (1 - wave(2 * a) - wave(2 * b) + (wave(2 * b - 2 * a) + wave(2 * a + 2 * b)) / 2) / 4
    assert got.second == pytest.approx(second, rel=1e-9, abs=1e-13)
    assert got.gate[-1] == pytest.approx((a * a + b * b) / 4, rel=1e-12)


def test_waves_that_grow():
    """x sin x, by derivatives of E cos(kx) in k."""
    got = averages(activation("x*sin(x)"), WAVES)
    q = WAVES
    assert got.mean / np.sqrt(q) == pytest.approx(np.sqrt(q) * wave(1), abs=1e-13)
    assert got.second[1:] == pytest.approx((q - q * (1 - 4 * q) * wave(2))[1:] / 2, rel=1e-12)
    gate = (1 - wave(2)) / 2 + 2 * q * wave(2) + (q + q * (1 - 4 * q) * wave(2)) / 2
    assert got.gate[1:] == pytest.approx(gate[1:], rel=1e-12)


def test_waves_under_a_kink():
    """The square of relu(x) sin x is half of that of x sin x on average."""
    got = averages(activation("relu(x)*sin(x)"), WAVES)
    assert got.second == pytest.approx(averages(activation("x*sin(x)"), WAVES).second / 2, rel=1e-11)
    assert got.gate == pytest.approx(averages(activation("x*sin(x)"), WAVES).gate / 2, rel=1e-11)


def test_waves_that_do_not_average_out_are_refused():
    act = activation("sin(x**2)")
    assert averages(act, 0.3).second == pytest.approx((1 - (1 / (1 - 1.2j) ** 0.5).real) / 2, rel=1e-11)
    with pytest.raises(NoAnswerError, match="waves too unlike each other"):
        averages(act, 1e6)


def test_a_users_own_waves():
    for got, expected in zip(
        *(averages(act, WAVES) for act in (own_activation("numpy:sin"), activation("sin"))), strict=True
    ):
        assert got == pytest.approx(expected, rel=1e-12, abs=1e-12)
