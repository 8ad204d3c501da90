"""Scales and kinds of the weights and biases found in a module, over its layers and over several modules."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from isocalc.activations.catalogue import Activation
from isocalc.errors import NextStep
from isocalc.networks.descriptions import Weights
from isocalc.numerics.haar import Floats
from isocalc.pytorch.layers import Layer
from isocalc.pytorch.tolerances import (
    ALIKE,
    EXACT,
    FEW,
    INDEPENDENT,
    LARGEST_WEIGHT,
    MISTAKEN,
    NARROW,
    NEGLIGIBLE,
    ORTHOGONAL,
    PEAKED,
    SAMPLE,
    SMALL_KURTOSIS,
    TOO_FAR,
)

Array = npt.NDArray[np.float64]


class NoLawError(Exception):
    """What was recognised has no law here; the message says why, ``next_steps`` what may be done."""

    def __init__(self, message: str, next_steps: tuple[NextStep, ...] = ()) -> None:
        super().__init__(message)
        self.next_steps = next_steps


class Scale(NamedTuple):
    """The scale of one layer's weights and biases.

    Attributes
    ----------
    inputs, outputs : int
    mean_square, fourth : float
        Moments of the weights.
    spread : float
        Relative variance of their squared singular values, over what it is of independent entries.
    bias_mean, bias_mean_square, bias_fourth : float
        Moments of the biases b.
    image_mean_square, overlap : float
        Means over the neurons of (W x)² and b W x, at the layer's argument x.
    kind : {"gaussian", "orthogonal"}
        Independent entries of any one law have the singular values of Gaussian ones.
    """

    inputs: int
    outputs: int
    mean_square: float
    fourth: float
    spread: float
    bias_mean: float
    bias_mean_square: float
    bias_fourth: float
    image_mean_square: float
    overlap: float
    kind: Weights = "gaussian"

    @property
    def sigma_w(self) -> float:
        """σ_w: entries of variance σ_w²/inputs, or σ_w times a semi-orthogonal matrix."""
        fan_in = self.inputs if self.kind == "gaussian" else max(self.inputs, self.outputs)
        return math.sqrt(self.mean_square * fan_in)

    @property
    def doubt(self) -> float:
        """Relative standard error of σ_w where entries are Gaussian."""
        return 1 / math.sqrt(2 * self.inputs * self.outputs)


def scale_of(layer: Layer, argument: Floats) -> Scale:
    """Measure the weights and biases of a layer, at its argument.

    Raises
    ------
    NoLawError
        The mean of the weights is not 0, or fourth powers do not fit a double.
    """
    matrix, bias = layer.matrix, layer.bias
    for numbers in (matrix, bias):
        size = float(np.abs(numbers).max())
        if size and not 1 / LARGEST_WEIGHT < size < LARGEST_WEIGHT:
            raise NoLawError(
                f"its weights or biases, up to {size:.3g}, are too large or small to be measured"
            )
    outputs, inputs = matrix.shape
    image = matrix @ argument
    square = float(np.mean(matrix**2))
    return Scale(
        inputs,
        outputs,
        mean_square=square,
        fourth=float(np.mean(matrix**4)),
        spread=_spread(matrix, square),
        bias_mean=float(np.mean(bias)),
        bias_mean_square=float(np.mean(bias**2)),
        bias_fourth=float(np.mean(bias**4)),
        image_mean_square=float(np.mean(image**2)),
        overlap=float(np.mean(bias * image)),
    )


def _spread(matrix: Array, square: float) -> float:
    if square == 0:
        return 1.0
    mean = float(np.mean(matrix)) / math.sqrt(square) * math.sqrt(matrix.size)
    if abs(mean) > TOO_FAR:
        raise NoLawError(f"the mean of its weights is not 0 ({abs(mean):.2g} standard errors from it)")
    small, large = sorted(matrix.shape)
    second = _second_moment(matrix if matrix.shape[0] == small else matrix.T)
    return float((second / (square * large) ** 2 - 1) * large / small)


def _kind(scale: Scale, *, is_orthogonal: bool) -> Weights:
    small = min(scale.inputs, scale.outputs)
    if is_orthogonal:
        if scale.fourth > PEAKED * scale.mean_square**2:
            raise NoLawError("its weights are orthogonal but not random: a few entries are most of them")
        return "orthogonal"
    if small > NARROW and abs(scale.spread - 1) > INDEPENDENT + FEW / small:
        raise NoLawError(
            "the singular values of its weights are neither those of independent entries nor all the same"
        )
    return "gaussian"


def _orthogonal_below(small: int, draws: int) -> float:
    """Return the spread that independent entries fall below by chance in at most one of a million cases.

    W Wᵀ of k rows has (k − 1)(k + 2)/2 independent numbers that are 0 if the rows are orthogonal, of about
    Gaussian law; the spread is the mean of their squares. One row is orthogonal to nothing.
    """
    if small == 1:
        return -math.inf
    from scipy.special import gammaincinv  # noqa: PLC0415 - loading SciPy takes a quarter of a second

    half = draws * (small - 1) * (small + 2) / 4
    return min(ORTHOGONAL, float(gammaincinv(half, MISTAKEN)) / half)


def _second_moment(wide: Array) -> float:
    """Return the mean squared eigenvalue of W Wᵀ, of a large W over random signs (Hutchinson)."""
    size = len(wide)
    signs = np.eye(size)
    if size > EXACT:
        signs = default_rng(0).choice([-1.0, 1.0], size=(size, SAMPLE))
    images = wide @ (wide.T @ signs)
    return float(np.sum(images**2) / np.sum(signs**2))


def require_independent(matrices: Sequence[Array]) -> None:
    """Raise NoLawError where weights of layers are related to each other, or to their own transposes.

    Their leading blocks are compared, of up to 64 rows and columns.
    """
    blocks = [_block(matrix) for matrix in matrices]
    for i, (a, matrix) in enumerate(zip(blocks, matrices, strict=True)):
        if matrix.shape[0] == matrix.shape[1] and _related(
            off := a - np.diag(np.diag(a)), off.T, off.size / 2
        ):
            raise NoLawError(f"the weights of its layer {i + 1} are not independent of their own transpose")
        for j, (b, other) in enumerate(zip(blocks[:i], matrices, strict=False)):
            for there, shape, how in ((b, other.shape, ""), (b.T, other.shape[::-1], ", transposed")):
                if matrix.shape == shape and _related(a, there, a.size):
                    raise NoLawError(
                        f"the weights of its layers {j + 1} and {i + 1} are not independent{how}"
                    )


def _block(matrix: Array) -> Array:
    side = min(SAMPLE, *matrix.shape)
    return matrix[:side, :side]


def _related(a: Array, b: Array, terms: float) -> bool:
    """Whether the correlation of two matrices is too many standard errors from 0."""
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return scale > 0 and abs(float(np.sum(a * b))) * math.sqrt(terms) > TOO_FAR * scale


def pooled(trials: Sequence[Sequence[Scale]]) -> list[Scale]:
    """Return the scales of layers, each over the modules that were drawn.

    Raises
    ------
    NoLawError
        Modules differ in kind, or their weights are neither of independent entries nor orthogonal.
    """
    found = []
    for layers in zip(*trials, strict=True):
        names = set(Scale._fields) - {"inputs", "outputs", "kind"}
        means = {name: math.fsum(getattr(layer, name) for layer in layers) / len(layers) for name in names}
        mean = layers[0]._replace(**means)
        draws = len({layer.mean_square for layer in layers})
        small = min(mean.inputs, mean.outputs)
        is_orthogonal = mean.spread < _orthogonal_below(small, draws)
        if not is_orthogonal and any(layer.spread < _orthogonal_below(small, 1) for layer in layers):
            raise NoLawError("its weights are orthogonal in some trials only")
        found.append(mean._replace(kind=_kind(mean, is_orthogonal=is_orthogonal)))
    return found


def common_sigma(layers: Sequence[Scale], trials: int, what: str = "") -> float:
    """Return the σ_w of layers that have the same.

    Raises
    ------
    NoLawError
        They do not.
    """
    if len({layer.kind for layer in layers}) > 1:
        raise NoLawError(f"its weights{what} are orthogonal in some blocks only")
    sigmas = np.array([layer.sigma_w for layer in layers])
    common = math.sqrt(float(np.mean(sigmas**2)))
    far = max(ALIKE, TOO_FAR * max(layer.doubt for layer in layers) / math.sqrt(trials))
    if common and np.abs(sigmas / common - 1).max() > far:
        low, high = sigmas.min() / common, sigmas.max() / common
        raise NoLawError(f"the scales of its weights{what} differ, {low:.3g} to {high:.3g} times their mean")
    return common


def require_usual_biases(layers: Sequence[Scale], acts: Sequence[Activation], q: Array, trials: int) -> None:
    """Raise NoLawError where biases that matter are not like independent Gaussian numbers of mean 0."""
    for layer, act, variance in zip(layers, acts, q.tolist(), strict=True):
        square, size = layer.bias_mean_square, layer.outputs * trials
        if act.is_linear or not square:
            continue
        chance = TOO_FAR * math.sqrt(square * layer.image_mean_square / size)
        if abs(layer.overlap) > chance and 2 * abs(layer.overlap) > NEGLIGIBLE * variance:
            raise NoLawError("its biases depend on its weights, as those of batch normalisation can")
        mean = abs(layer.bias_mean)
        if mean > TOO_FAR * math.sqrt(square / size) and mean**2 > NEGLIGIBLE * variance:
            raise NoLawError("the mean of its biases is not 0")
        # What they add to the kurtosis of pre-activations; scale-free gates see their sign alone, smooth ones
        # at small q next to nothing.
        excess = abs(layer.bias_fourth / square**2 - 3)
        seen = 0.0 if act.scale_free else 1.0 if act.breakpoints else min(1.0, variance / act.scale**2)
        matters = seen * excess * (square / variance) ** 2 > SMALL_KURTOSIS
        if matters and excess > TOO_FAR * math.sqrt(24 / size):
            raise NoLawError("its biases are strong, and not Gaussian")


def require_common_biases(layers: Sequence[Scale], q: Array, trials: int) -> None:
    """Raise NoLawError where biases that matter differ in scale from layer to layer."""
    squares = np.array([layer.bias_mean_square for layer in layers])
    far = TOO_FAR * math.sqrt(2 / (layers[0].outputs * trials)) * squares.mean() + ALIKE * q
    if (np.abs(squares - squares.mean()) > far).any():
        raise NoLawError("the scales of its biases differ from block to block")
