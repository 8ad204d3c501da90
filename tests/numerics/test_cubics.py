import numpy as np
import pytest

from isocalc.numerics.cubics import MANY, with_cubics_between


def test_many_values_of_an_inverse_are_those_of_each():
    """x = y³ and beyond a gap y − 1: an infinite slope, a jump, places that are the same, in any order."""
    asked = []

    def solve(x):
        asked.append(x.size)
        return np.where(x < 0.5, np.cbrt(x), 1 + x)

    def slopes(y):
        with np.errstate(divide="ignore"):
            return np.where(y < 1, 1 / (3 * y * y), 1.0)

    rng = np.random.default_rng(1)
    x = np.concatenate((rng.uniform(0, 1, 10 * MANY), np.full(MANY, 0.25), [0.0, 0.5, 1.0]))
    assert with_cubics_between(solve, slopes, x) == pytest.approx(
        np.where(x < 0.5, np.cbrt(x), 1 + x), abs=1e-12
    )
    assert sum(asked) < 0.1 * x.size


def test_few_values_are_each_solved_for():
    x = np.array([0.3, 0.1])
    assert with_cubics_between(np.square, np.square, x).tolist() == (x * x).tolist()
