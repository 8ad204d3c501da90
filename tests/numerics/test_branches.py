"""All roots on a range, and the solver without derivatives that finds each."""

import math

import numpy as np
import pytest

from isocalc.numerics.roots import all_roots, bracketed_root

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
