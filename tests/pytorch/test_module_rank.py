"""Singular values of layers whose weights take directions out: ranks and products in exact arithmetic."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest

from isocalc.activations.catalogue import activation
from isocalc.networks.branches import POST
from isocalc.pytorch.layers import Block, Layer, StepsPass
from isocalc.simulation.jacobian import log_spectrum

LINEAR = activation("linear")
SIDE = 8


def whole(rng, rows=SIDE, columns=SIDE):
    return rng.integers(-9, 10, (rows, columns)).astype(float)


def without(matrix, rows=(), columns=()):
    matrix[list(rows)] = 0
    matrix[:, list(columns)] = 0
    return matrix


def sparse(rng):
    """Two entries in each column."""
    matrix = np.zeros((SIDE, SIDE))
    for column in range(SIDE):
        matrix[rng.choice(SIDE, 2, replace=False), column] = rng.integers(1, 9, 2)
    return matrix


def doubled(rng):
    return np.vstack([matrix := whole(rng, SIDE - 1), matrix[:1]])


def grown(exponent):
    return np.diag([2.0**exponent] * 2 + [1.0] * (SIDE - 2))


DEAD = np.eye(SIDE) - np.pad(np.full((2, 2), 0.5), (0, SIDE - 2))
CHAINS = {
    "a zero row": lambda g: [whole(g), without(whole(g), [3]), *(whole(g) for _ in range(10))],
    "zero rows": lambda g: [without(whole(g), [0, 1, 2]) if k in (1, 4) else whole(g) for k in range(8)],
    "zero columns": lambda g: [without(whole(g), [], [0, 1]), *(whole(g) for _ in range(29))],
    "rows, then the columns left": lambda g: [
        without(whole(g), range(4)),
        without(whole(g), [], range(2, 8)),
        whole(g),
    ],
    "rows, then all columns left": lambda g: [
        without(whole(g), range(4)),
        without(whole(g), [], range(4, 8)),
    ],
    "a row twice": lambda g: [whole(g), doubled(g), *(whole(g) for _ in range(8))],
    "rank 3": lambda g: [whole(g), whole(g, SIDE, 3) @ whole(g, 3), *(whole(g) for _ in range(6))],
    "sparse": lambda g: [sparse(g) for _ in range(12)],
    "wide and narrow": lambda g: [without(whole(g, 12), [0, 1, 5]), without(whole(g, 5, 12), [2])],
    "what had grown": lambda g: [grown(60), without(whole(g), [], [0]), *(whole(g) for _ in range(3))],
    "a sum of what had grown": lambda g: [grown(60), DEAD, *(whole(g) for _ in range(3))],
    "nothing": lambda g: [np.zeros((SIDE, SIDE)), whole(g)],
}


def exact(matrices) -> tuple[int, float]:
    """Return the rank of a product, and half the logarithm of the product of the eigenvalues of J Jᵀ not 0.

    That is the last coefficient of the characteristic polynomial that is not 0 (Faddeev, LeVerrier).
    """
    product = None
    for matrix in matrices:
        factor = [[Fraction(x) for x in row] for row in matrix.tolist()]
        product = factor if product is None else times(factor, product)
    gram = times(product, [list(column) for column in zip(*product, strict=True)])
    rank, coefficient, power = 0, Fraction(1), gram
    for k in range(1, len(gram) + 1):
        value = -sum(power[i][i] for i in range(len(gram))) / k
        if value:
            rank, coefficient = k, abs(value)
        shifted = [[x + value * (i == j) for j, x in enumerate(row)] for i, row in enumerate(power)]
        power = times(gram, shifted)
    return rank, (math.log(coefficient.numerator) - math.log(coefficient.denominator)) / 2


def times(a, b):
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a
    ]


def found(steps) -> np.ndarray:
    signal = np.random.default_rng(7).standard_normal(SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return log_spectrum(StepsPass(tuple(steps)), signal)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CHAINS)
def test_linear_layers_have_the_rank_and_the_product_of_exact_arithmetic(name, seed, capfd):
    matrices = CHAINS[name](np.random.default_rng(seed))
    log_s = found([Layer(matrix, np.zeros(len(matrix)), LINEAR) for matrix in matrices])
    rank, log_product = exact(matrices)
    assert log_s.size == rank
    assert log_s.sum() == pytest.approx(log_product, rel=1e-11)
    assert capfd.readouterr().err == ""  # LAPACK's words


def test_saturated_gates_are_small_and_not_closed():
    """A layer whose gates are e^-50 and less, and one with a row of zeros behind it."""
    rng = np.random.default_rng(3)
    tanh = activation("tanh")
    first, second = (rng.standard_normal((SIDE, SIDE)) for _ in range(2))
    steps = [Layer(20 * first, np.zeros(SIDE), tanh), Layer(second, np.zeros(SIDE), LINEAR)]
    slopes = tanh.dphi(20 * first @ np.random.default_rng(7).standard_normal(SIDE))
    assert slopes.min() < math.exp(-50)
    log_s = found(steps)
    assert log_s.size == SIDE
    dets = [np.linalg.slogdet(20 * first)[1], np.linalg.slogdet(second)[1], np.log(slopes).sum()]
    assert log_s.sum() == pytest.approx(sum(dets), rel=1e-9)
    pruned = [steps[0], Layer(without(second, [1]), np.zeros(SIDE), LINEAR)]
    assert found(pruned).size == SIDE - 1


def test_a_residual_block_that_takes_a_direction_out():
    """x + W x with W = -1 in two directions, -1/2 in two and 0 in the others."""
    block = Layer(np.diag([-1.0, -1.0, -0.5, -0.5, 0, 0, 0, 0]), np.zeros(SIDE), LINEAR)
    log_s = found([Block(POST, LINEAR, 1.0, (block,))])
    assert log_s == pytest.approx([math.log(0.5)] * 2 + [0.0] * 4, abs=1e-13)
