import math

import numpy as np
import pytest

from isocalc.numerics.roots import roots_in_log


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
