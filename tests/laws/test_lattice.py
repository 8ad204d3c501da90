"""Lattices fill the cube evenly, and better than independent points do."""

import numpy as np
import pytest

from isocalc.laws.paths.gate_paths import lattice


@pytest.mark.parametrize("points", [64, 1024, 2048])
def test_each_coordinate_is_evenly_spaced(points):
    found = lattice(points, 1.0 / (1 + np.arange(6)) ** 2, 1)
    assert found.shape == (points, 6)
    for column in found.T:
        np.testing.assert_allclose(np.diff(np.sort(column)), 1 / points, atol=1e-12)


def test_more_points_than_one_lattice_has_are_several():
    found = lattice(5000, np.ones(3), 1)
    assert found.shape == (5000, 3)
    assert len(np.unique(found[:, 0])) == 5000
    assert ((found > 0) & (found < 1)).all()


def test_integrals_converge_faster_than_those_of_independent_points():
    # E Π (1 + (x_j − 1/2)/j²) = 1; n independent points have a standard deviation of 0.30/√n.
    weights = 1.0 / (1 + np.arange(5)) ** 2
    errors = [
        abs(np.prod(1 + (lattice(1024, weights, seed) - 0.5) * weights, axis=1).mean() - 1)
        for seed in range(8)
    ]
    assert max(errors) < 0.30 / np.sqrt(1024) / 10
