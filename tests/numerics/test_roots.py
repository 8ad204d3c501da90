"""Roots in brackets, of one function and of many, with slopes and without; all that a grid shows."""

import math

import numpy as np
import pytest

from isocalc import NoAnswerError
from isocalc.numerics.roots import all_roots, find_roots, root, turning_points

GRID = np.geomspace(1e-3, 1e3, 25)


def solved(function, low, high, *, rising=True, start=None):
    """Return the root by Newton's steps and the points asked for."""
    calls, sign = [], np.array([math.inf if rising else -math.inf])

    def of_arrays(_, x):
        calls.append(float(x[0]))
        value, slope = function(float(x[0]))
        return np.array([value]), np.array([slope])

    start = None if start is None else np.array([start])
    found = find_roots(of_arrays, np.array([low]), np.array([high]), (-sign, sign), start=start)
    assert found.reached[0]
    return found.x[0], calls


@pytest.mark.parametrize("place", [1e-290, 1e-17, 0.3, 1.0, 7e12, 1e290])
def test_a_straight_line_in_log_x_takes_one_step(place):
    found, calls = solved(lambda x: (math.log(x) - math.log(place), 1.0), place / 1e10, place * 1e9)
    assert found == pytest.approx(place, rel=1e-13, abs=0)
    assert len(calls) < 8


@pytest.mark.parametrize("rising", [True, False])
def test_newton_that_would_leave_the_bracket(rising):
    """arctan sends Newton away from far out."""
    sign = 1 if rising else -1

    def function(x):
        return sign * math.atan(5 * math.log(x)), sign * 5 / (1 + 25 * math.log(x) ** 2)

    found, calls = solved(function, 1e-30, 1e40, rising=rising)
    assert found == pytest.approx(1, rel=1e-15)
    assert len(calls) < 30


def test_values_without_a_slope_are_bisected():
    """As where the function is infinite or flat."""

    def function(x):
        return (math.log(x) - 3.0, 1.0) if x > 1 else (-math.inf, 0.0)

    assert solved(function, 1e-200, 1e10)[0] == pytest.approx(math.exp(3), rel=1e-15)


def test_rounding_ends_the_steps():
    """Noise of a few units does not keep Newton going."""
    found, calls = solved(lambda x: (x - 2.0 + 1e-14 * math.sin(1e9 * x), x), 0.1, 50.0)
    assert found == pytest.approx(2, rel=2e-14)
    assert len(calls) < 25


def test_a_start_of_ones_own():
    found, calls = solved(lambda x: (x * x - 2, 2 * x * x), 1e-100, 1e100, start=1.4)
    assert found == pytest.approx(math.sqrt(2), rel=1e-15)
    assert calls[0] == 1.4
    assert len(calls) < 10


def many(i, x, places, sign):
    log = np.log(x) - np.log(places[i])
    curved = i % 2 == 0
    value = np.where(curved, np.arctan(5 * log), log)
    return sign[i] * value, sign[i] * np.where(curved, 5 / (1 + 25 * log**2), 1.0)


@pytest.mark.parametrize("slopes", [True, False])
def test_many_roots_at_once_are_those_of_a_loop(slopes):
    """Straight lines, arctan that Newton leaves; rising and falling."""
    places = np.array([1e-290, 1e-17, 1.0, 7e12, 1e290, 3.0])
    sign = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

    def solve(chosen):
        def function(i, x):
            value, slope = many(chosen[i], x, places, sign)
            return value, slope if slopes else None

        low, high = places[chosen] / 1e10, places[chosen] * 1e9
        values = many(chosen, low, places, sign)[0], many(chosen, high, places, sign)[0]
        return find_roots(function, low, high, values, start=places[chosen] * 1e8 if slopes else None)

    together = solve(np.arange(6))
    assert together.reached.all()
    assert together.x == pytest.approx(places, rel=2e-13, abs=0)
    assert together.x.tolist() == [float(solve(np.array([k])).x[0]) for k in range(6)]


@pytest.mark.parametrize("tilt", [1.0, 1e-3, 1e-6, 1e-9])
def test_a_root_that_is_flat_takes_its_curvature_into_account(tilt):
    """tilt log x + log² x: a step is the last only where its square over the tilt is rounding."""

    def function(_, x):
        log = np.log(x)
        return log * (tilt + log), tilt + 2 * log

    starts = np.exp(tilt * np.array([-0.3, 0.01, 0.5, 3.0]))
    ends, ones = (np.full(4, math.exp(-tilt / 2)), np.full(4, 10.0)), np.ones(4)
    found = find_roots(function, *ends, (-math.inf * ones, math.inf * ones), start=starts)
    assert np.log(found.x) == pytest.approx(0, abs=4e-16)


def test_noise_ends_the_steps_of_many():
    generator = np.random.default_rng(3)

    def function(_, x):
        return x - 2.0 + 1e-13 * generator.standard_normal(x.size), 1e-7 * x

    ones = np.ones(3)
    found = find_roots(
        function, 0.1 * ones, 50.0 * ones, (-math.inf * ones, math.inf * ones), start=5.0 * ones
    )
    assert found.x == pytest.approx(2, rel=1e-6)


def test_what_is_not_found_is_not_returned():
    """No root but an end whose value is not known, values without a sign; those beside them are found."""
    slope = np.array([0.0, 1.0, 1.0])
    found = find_roots(
        lambda i, x: (np.where(i == 0, 1.0, np.where(i == 1, np.nan, np.log(x))), slope[i]),
        np.array([1.0, 1.0, 0.5]),
        np.array([2.0, 2.0, 4.0]),
        (np.full(3, -math.inf), np.full(3, math.inf)),
    )
    assert found.reached.tolist() == [False, False, True]
    assert np.isnan(found.x[:2]).all()
    assert found.x[2] == pytest.approx(1, rel=1e-15)
    with pytest.raises(NoAnswerError, match="no root was reached"):
        root(lambda _: math.nan, 1.0, 2.0)


@pytest.mark.parametrize("place", [-3e5, -0.7, 0.0, 1e-30, 0.1, 2.5])
def test_roots_of_either_sign(place):
    """Not in log x: to the last digits of the root, or to 0."""
    found = find_roots(
        lambda _, x: ((x - place) * (1 + x * x), None),
        np.array([place - 1.0]),
        np.array([place + 3.0]),
        (np.array([-1.0]), np.array([1.0])),
        in_log=False,
    )
    assert found.x[0] == pytest.approx(place, rel=5e-16, abs=1e-300)


@pytest.mark.parametrize("power", [1, 3, 9])
@pytest.mark.parametrize("place", [1e-200, 0.3, 7e150])
def test_a_bracketed_root(power, place):
    def function(x):
        return (math.log(x) - math.log(place)) ** power

    assert root(function, place / 1e5, place * 1e7) == pytest.approx(place, rel=1e-12, abs=0)
    assert root(lambda x: -function(x), place / 1e5, place * 1e7) == pytest.approx(place, rel=1e-12, abs=0)


def test_a_jump_between_infinities_is_found():
    """As where a signal explodes beyond a scale, or all gates are closed below it."""
    assert root(lambda x: math.copysign(math.inf, x - 0.3), 1e-6, 1e6) == pytest.approx(0.3, rel=1e-14)
    assert root(lambda x: math.inf if x > 0.3 else x - 0.2, 1e-6, 1e6) == pytest.approx(0.2, rel=1e-14)


def test_few_calls_suffice():
    calls = []

    def function(x):
        calls.append(x)
        return math.expm1(3 * math.log(x)) + 0.1

    assert root(function, 0.5, 2.0) == pytest.approx(0.9 ** (1 / 3), rel=1e-14)
    assert len(calls) < 15


def shown(function):
    return all_roots(function, GRID, function(GRID))


def with_roots(*roots):
    """Return a polynomial in log x, of order 1 on the grid, with these roots."""
    return lambda x: np.prod([(np.log(x) - math.log(place)) / 4 for place in roots], axis=0) * np.ones_like(x)


@pytest.mark.parametrize(
    "roots", [(), (1.0,), (0.02, 0.5, 33.0), (0.7, 0.71), (0.2, 1.1, 1.2), (0.0013, 900.0), (0.3, 0.31, 5.0)]
)
def test_every_root_is_found(roots):
    """Of the pairs 0.7, 0.71 and 0.3, 0.31 both lie between neighbours of the grid: the values turn there."""
    assert shown(with_roots(*roots)) == pytest.approx(roots, rel=1e-12)
    assert shown(lambda x: -with_roots(*roots)(x)) == pytest.approx(roots, rel=1e-12)


def test_values_that_turn_without_a_root_have_none():
    assert shown(lambda x: 1e-6 + np.log(x / 0.7) ** 2) == []


def test_a_root_on_the_grid_counts_once():
    assert shown(with_roots(GRID[7])) == pytest.approx([GRID[7]], rel=1e-12)


def test_flat_values_and_infinite_ones_have_no_roots():
    assert shown(np.ones_like) == []
    assert shown(lambda x: np.where(x > 1, math.inf, 2.0)) == []


def test_turning_points_of_either_sign():
    """(log x − log 0.7)² and its negative: a minimum is known to half of the digits."""

    def function(x):
        return np.where(x < 100, 1 + np.log(x / 0.7) ** 2, 3 - np.log(x / 700) ** 2)

    place, value = turning_points(
        function, np.array([0.1, 200.0]), np.array([9.0, 2e3]), np.array([1.0, -1.0])
    )
    assert place == pytest.approx([0.7, 700], rel=1e-7)
    assert value == pytest.approx([1, 3], rel=1e-14)
