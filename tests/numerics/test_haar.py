"""Haar matrices: orthogonality, the moments of the orthogonal group, and what fails them.

Statistical tests have fixed seeds and reject at 4.5 standard errors: a false-alarm rate of 7e-6 each.
"""

import math

import numpy as np
import pytest
from numpy.random import default_rng

from isocalc.numerics.haar import times_haar


def deviation(values, expected):
    """In standard errors."""
    return abs(np.mean(values) - expected) / (np.std(values, ddof=1) / math.sqrt(len(values)))


def trace_deviations(group):
    """Diaconis, Shahshahani 1994: E tr O = 0, E (tr O)² = 1, E (tr O)⁴ = 3, E tr O² = 1, E (tr O³)² = 3."""
    trace, square = group.trace(axis1=1, axis2=2), group @ group
    return [
        deviation(trace, 0.0),
        deviation(trace**2, 1.0),
        deviation(trace**4, 3.0),
        deviation(square.trace(axis1=1, axis2=2), 1.0),
        deviation((square @ group).trace(axis1=1, axis2=2) ** 2, 3.0),
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_haar_matrices_are_orthogonal(size):
    matrix = times_haar(np.eye(size), default_rng(4))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-14 * size)
    rows = default_rng(5).standard_normal((3, size))
    np.testing.assert_allclose(times_haar(rows, default_rng(4), 2.5), 2.5 * rows @ matrix, atol=1e-13)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 8), (8, 3), (1, 5), (5, 1), (60, 100), (100, 60)])
def test_semi_orthogonal_matrices_keep_lengths_on_their_narrow_side(inputs, outputs):
    matrix = times_haar(np.eye(inputs), default_rng(4), 2.0, outputs).T
    assert matrix.shape == (outputs, inputs)
    gram = matrix @ matrix.T if outputs < inputs else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4 * np.eye(min(inputs, outputs)), atol=1e-13)
    rows = default_rng(5).standard_normal((3, inputs))
    np.testing.assert_allclose(times_haar(rows, default_rng(4), 2.0, outputs), rows @ matrix.T, atol=1e-13)


def test_haar_matrices_have_the_moments_of_the_orthogonal_group():
    rng = default_rng(6)
    group = np.array([times_haar(np.eye(6), rng) for _ in range(4000)])
    assert max(trace_deviations(group)) < 4.5
    entries = {
        0.0: np.linalg.det(group),
        1 / 6: group[:, 0, 5] ** 2,
        3 / (6 * 8): group[:, 2, 3] ** 4,
        -1 / (5 * 6 * 8): group[:, 0, 0] * group[:, 1, 1] * group[:, 0, 1] * group[:, 1, 0],
    }
    for expected, values in entries.items():
        assert deviation(values, expected) < 4.5


def test_q_of_a_plain_qr_is_not_haar():
    group, _ = np.linalg.qr(default_rng(6).standard_normal((4000, 6, 6)))
    assert max(trace_deviations(group)) > 20


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 6), (6, 3)])
def test_semi_orthogonal_matrices_have_the_moments_of_part_of_an_orthogonal_one(inputs, outputs):
    rng = default_rng(8)
    part = np.array([times_haar(np.eye(inputs), rng, 1.0, outputs) for _ in range(4000)])
    assert deviation(part.sum(axis=(1, 2)), 0.0) < 4.5
    assert deviation(part[:, 0, 0], 0.0) < 4.5
    assert deviation(part[:, -1, -1], 0.0) < 4.5
    assert deviation(part[:, -1, -1] ** 4, 3 / (6 * 8)) < 4.5
    squares = part[:, 0, 0] * part[:, 1, 1] * part[:, 0, 1] * part[:, 1, 0]
    assert deviation(squares, -1 / (5 * 6 * 8)) < 4.5


def test_single_precision_rows_stay_single():
    image = times_haar(np.eye(20, dtype=np.float32), default_rng(1))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image @ image.T, np.eye(20), atol=1e-5)
