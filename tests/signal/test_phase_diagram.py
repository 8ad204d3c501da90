"""Phase diagrams: closed forms, branches, what is refused."""

import math

import numpy as np
import pytest

from isocalc import FeedForward, InvalidInputError, NoAnswerError, fixed_points, phase_diagram


def test_a_diagram_of_erf_in_closed_form():
    """E erf² = (2/π) asin(2q/(1 + 2q)), E erf'² = 4/(π √(1 + 4q))."""
    sigma_w, sigma_b = np.linspace(0.5, 3, 26)[:, None], np.linspace(0, 1, 11)
    diagram = phase_diagram("erf", sigma_w, sigma_b)
    q, chi = diagram.q_star[0], diagram.chi[0]
    assert diagram.q_star.shape == diagram.phase.shape == (1, 26, 11)
    second = 2 / math.pi * np.arcsin(2 * q / (1 + 2 * q))
    assert sigma_w**2 * second + sigma_b**2 == pytest.approx(q, rel=4e-15)
    assert chi == pytest.approx(sigma_w**2 * 4 / math.pi / np.sqrt(1 + 4 * q), rel=1e-14)
    assert np.array_equal(diagram.phase[0] == "chaotic", chi > 1)
    c = diagram.c_star[0]
    product = 2 / math.pi * np.arcsin(2 * q * c / (1 + 2 * q))
    assert sigma_w**2 * product + sigma_b**2 == pytest.approx(c * q, abs=1e-13)
    slope = sigma_w**2 * 4 / math.pi / np.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)
    assert np.exp(-1 / diagram.xi_c[0]) == pytest.approx(slope, rel=1e-12)


def test_branches_of_a_diagram():
    """Several fixed points, none, and every q one."""
    diagram = phase_diagram("threshold:-1:10", [0.9, 0.1, 3.0])
    assert diagram.q_star.shape == (2, 3)
    assert diagram.q_star[0, 0] == 0 < diagram.q_star[1, 0]
    assert np.isnan(diagram.q_star[1, 1])
    assert diagram.phase[1, 1] == ""
    none = phase_diagram("gelu", 1.5, 1.0)
    assert none.q_star.shape == (1,)
    assert none.phase[0] == ""
    assert np.isnan([none.q_star[0], none.chi[0], none.xi_c[0]]).all()
    every = phase_diagram("linear", 1.0)
    assert (every.phase[0], every.chi[0]) == ("critical", 1.0)
    assert np.isnan(every.q_star[0])
    assert phase_diagram("tanh", []).q_star.shape == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1e11,), "sigma_w must be 0 or from"),
        ((1.0, -1.0), "sigma_b must be a finite number of at least 0"),
        ((math.nan,), "sigma_w must be a finite"),
        ((["wide"],), "sigma_w must be a real number or an array"),
        (([1.0, 2.0], [0.1, 0.2, 0.3]), "sigma_b must be of a shape that broadcasts"),
    ],
)
def test_what_a_diagram_refuses(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        phase_diagram("tanh", *arguments)


@pytest.mark.parametrize("spec", ["tanh", "silu", "hardtanh", "threshold:-1:10"])
def test_a_large_diagram_is_that_of_networks_one_by_one(spec):
    """With hundreds of networks averages are interpolated; errors are times the conditioning of q*."""
    sigma_w, sigma_b = np.linspace(0.6, 2.5, 40)[:, None], np.linspace(0, 1, 30)
    diagram = phase_diagram(spec, sigma_w, sigma_b)
    for i, j in [(3, 0), (7, 11), (20, 29), (25, 3), (31, 17), (39, 8)]:
        network = FeedForward(spec, sigma_w=float(sigma_w[i, 0]), sigma_b=float(sigma_b[j]))
        try:
            points = fixed_points(network)
        except NoAnswerError:
            points = ()
        found = diagram.q_star[:, i, j]
        assert np.count_nonzero(diagram.phase[:, i, j] != "") == len(points)
        for branch, point in enumerate(points):
            slope = math.exp(-1 / point.xi_q) if point.xi_q else 0.0
            close = {"rel": 1e-14 / (1 - slope), "abs": 0}
            assert diagram.phase[branch, i, j] == point.phase
            assert found[branch] == pytest.approx(point.q_star, **close)
            assert diagram.chi[branch, i, j] == pytest.approx(point.chi, **close)
            assert diagram.xi_q[branch, i, j] == pytest.approx(point.xi_q, **close)
            assert diagram.relative_variance[branch, i, j] == pytest.approx(point.relative_variance, **close)
            assert diagram.escape[branch, i, j] == pytest.approx(
                point.escape or math.nan, rel=1e-11, nan_ok=True
            )
