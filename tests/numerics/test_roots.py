import math

import pytest

from isocalc import NoAnswerError
from isocalc.numerics.roots import root_in_log


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
