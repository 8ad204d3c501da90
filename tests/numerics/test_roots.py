"""Roots: one from a start by Newton, many at once, one in a bracket without derivatives, all on a range."""

import math

import numpy as np
import pytest

from isocalc import NoAnswerError
from isocalc.numerics.roots import all_roots, bracketed_root, root_in_log, roots_in_log


def counted(function):
    calls = []

    def with_count(x):
        calls.append(x)
        return function(x)

    return with_count, calls


@pytest.mark.parametrize("root", [1e-290, 1e-17, 0.3, 1.0, 7e12, 1e290])
def test_a_straight_line_in_log_x_takes_one_step(root):
    function, calls = counted(lambda x: (math.log(x) - math.log(root), 1.0))
    assert root_in_log(function, root / 1e10, root * 1e9, rising=True) == pytest.approx(root, rel=1e-13)
    assert len(calls) < 8


@pytest.mark.parametrize("rising", [True, False])
def test_newton_that_would_leave_the_bracket(rising):
    """arctan sends Newton away from far out."""
    sign = 1 if rising else -1
    function, calls = counted(
        lambda x: (sign * math.atan(5 * math.log(x)), sign * 5 / (1 + 25 * math.log(x) ** 2))
    )
    assert root_in_log(function, 1e-30, 1e40, rising=rising) == pytest.approx(1, rel=1e-15)
    assert len(calls) < 30


def test_values_without_a_slope_are_bisected():
    """As where the function is infinite or flat."""

    def function(x):
        return (math.log(x) - 3.0, 1.0) if x > 1 else (-math.inf, 0.0)

    assert root_in_log(function, 1e-200, 1e10, rising=True) == pytest.approx(math.exp(3), rel=1e-15)


def test_rounding_ends_the_steps():
    """Noise of a few units does not keep Newton going."""
    function, calls = counted(lambda x: (x - 2.0 + 1e-14 * math.sin(1e9 * x), x))
    assert root_in_log(function, 0.1, 50.0, rising=True) == pytest.approx(2, rel=2e-14)
    assert len(calls) < 25


def test_a_start_of_ones_own():
    function, calls = counted(lambda x: (x * x - 2, 2 * x * x))
    assert root_in_log(function, 1e-100, 1e100, rising=True, start=1.4) == pytest.approx(
        math.sqrt(2), rel=1e-15
    )
    assert calls[0] == 1.4
    assert len(calls) < 10


def test_what_is_not_found_is_not_returned():
    with pytest.raises(NoAnswerError, match="no root was reached"):
        root_in_log(lambda _: (1.0, 0.0), 1.0, 2.0, rising=True)


def test_many_roots_at_once():
    """Straight lines, arctan that Newton leaves, a power that is bisected first; rising and falling."""
    root = np.array([1e-290, 1e-17, 1.0, 7e12, 1e290, 3.0])
    sign = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

    def function(i, x):
        log = np.log(x) - np.log(root[i])
        curved = i % 2 == 0
        value = np.where(curved, np.arctan(5 * log), log)
        return sign[i] * value, sign[i] * np.where(curved, 5 / (1 + 25 * log**2), 1.0)

    found = roots_in_log(function, root / 1e10, root * 1e9, rising=sign > 0, start=root * 1e8)
    assert found == pytest.approx(root, rel=1e-13)


@pytest.mark.parametrize("tilt", [1.0, 1e-3, 1e-6, 1e-9])
def test_a_root_that_is_flat_takes_its_curvature_into_account(tilt):
    """tilt log x + log² x: a step is the last only where its square over the tilt is rounding."""

    def function(_, x):
        log = np.log(x)
        return log * (tilt + log), tilt + 2 * log

    starts = np.exp(tilt * np.array([-0.3, 0.01, 0.5, 3.0]))
    found = roots_in_log(
        function,
        np.full(4, math.exp(-tilt / 2)),
        np.full(4, 10.0),
        rising=np.ones(4, dtype=bool),
        start=starts,
    )
    assert np.log(found) == pytest.approx(0, abs=4e-16)


def test_noise_ends_the_steps_of_many():
    generator = np.random.default_rng(3)

    def function(_, x):
        return x - 2.0 + 1e-13 * generator.standard_normal(x.size), 1e-7 * x

    found = roots_in_log(
        function, np.full(3, 0.1), np.full(3, 50.0), rising=np.ones(3, dtype=bool), start=np.full(3, 5.0)
    )
    assert found == pytest.approx(2, rel=1e-6)


def test_what_is_not_found_is_nan():
    found = roots_in_log(
        lambda i, x: (np.where(i == 0, 1.0, np.log(x)), np.where(i == 0, 0.0, 1.0)),
        np.array([1.0, 0.5]),
        np.array([2.0, 4.0]),
        rising=np.array([True, True]),
        start=np.array([1.5, 1.5]),
    )
    assert math.isnan(found[0])
    assert found[1] == 1


GRID = np.geomspace(1e-3, 1e3, 25).tolist()


def found(function):
    return all_roots(function, GRID, [function(x) for x in GRID])


def with_roots(*roots):
    """Return a polynomial in log x, of order 1 on the grid, with these roots."""
    return lambda x: math.prod((math.log(x) - math.log(root)) / 4 for root in roots)


@pytest.mark.parametrize(
    "roots", [(), (1.0,), (0.02, 0.5, 33.0), (0.7, 0.71), (0.2, 1.1, 1.2), (0.0013, 900.0), (0.3, 0.31, 5.0)]
)
def test_every_root_is_found(roots):
    """Of the pairs 0.7, 0.71 and 0.3, 0.31 both lie between neighbours of the grid: the values turn there."""
    assert found(with_roots(*roots)) == pytest.approx(roots, rel=1e-12)
    assert found(lambda x: -with_roots(*roots)(x)) == pytest.approx(roots, rel=1e-12)


def test_values_that_turn_without_a_root_have_none():
    assert found(lambda x: 1e-6 + math.log(x / 0.7) ** 2) == []


def test_a_root_on_the_grid_counts_once():
    assert found(with_roots(GRID[7])) == pytest.approx([GRID[7]], rel=1e-12)


def test_flat_values_and_infinite_ones_have_no_roots():
    assert found(lambda _: 1.0) == []
    assert found(lambda x: math.inf if x > 1 else 2.0) == []


@pytest.mark.parametrize("power", [1, 3, 9])
@pytest.mark.parametrize("root", [1e-200, 0.3, 7e150])
def test_a_bracketed_root(power, root):
    def function(x):
        return (math.log(x) - math.log(root)) ** power

    assert bracketed_root(function, root / 1e5, root * 1e7) == pytest.approx(root, rel=1e-12, abs=0)
    assert bracketed_root(lambda x: -function(x), root / 1e5, root * 1e7) == pytest.approx(root, rel=1e-12)


def test_a_jump_between_infinities_is_found():
    """As where a signal explodes beyond a scale, or all gates are closed below it."""
    assert bracketed_root(lambda x: math.copysign(math.inf, x - 0.3), 1e-6, 1e6) == pytest.approx(
        0.3, rel=1e-14
    )
    assert bracketed_root(lambda x: math.inf if x > 0.3 else x - 0.2, 1e-6, 1e6) == pytest.approx(
        0.2, rel=1e-14
    )


def test_few_calls_suffice():
    calls = []

    def function(x):
        calls.append(x)
        return math.expm1(3 * math.log(x)) + 0.1

    root = bracketed_root(function, 0.5, 2.0)
    assert root == pytest.approx(0.9 ** (1 / 3), rel=1e-14)
    assert len(calls) < 15
