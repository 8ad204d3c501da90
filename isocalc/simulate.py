"""Singular values of the Jacobians of random residual networks, by real forward passes."""

import math
import os
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.random import Generator, SeedSequence, default_rng

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import LEAST_WIDTH, MOST_SEED, MOST_TRIALS, MOST_WIDTH
from isocalc.network import FeedForward, ResNet, require_choice, require_whole
from isocalc.propagation import propagate

Array = npt.NDArray[np.float64]
Gates = Literal["own", "independent"]

GATES: tuple[Gates, ...] = ("own", "independent")
# A singular value this far below the largest keeps three digits in an SVD of the product.
_RESOLVED = 1e-12
_WEAKEST, _STRONGEST = 1e-290, 1e290
# Square matrices held at once, at most (4.2 measured): tangents, weights, gated tangents, image.
_MATRICES = 5


def spectra(
    network: ResNet,
    width: int,
    trials: int,
    seed: int,
    *,
    gates: Gates = "own",
    progress: Callable[[], None] | None = None,
) -> Array:
    """Return the singular values of the Jacobians of independent random networks.

    Parameters
    ----------
    network : ResNet
        What to draw: weights, biases, and a Gaussian input scaled so that the mean square of its entries is
        exactly ``network.input_variance``.
    width : int
        Number of neurons N of every layer, from 2 to 10⁶.
    trials : int
        Number of networks, from 1 to 10⁶.
    seed : int
        From 0 to 2⁶³ − 1. Trial k is the same for any number of trials.
    gates : {"own", "independent"}
        Whether φ' is taken at the network's own pre-activations, or at fresh Gaussian ones of the propagated
        variance, drawn anew for each layer and independent of the weights.
    progress : callable, optional
        Called after each layer of each trial.

    Returns
    -------
    array, shape (trials, width)
        log s of each trial, ascending.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        The matrices do not fit in memory, the signal leaves the range of a double, or the smallest singular
        values are lost in the rounding of the largest.
    """
    if isinstance(network, FeedForward):
        raise InvalidInputError("network", "a ResNet", network, "Only residual networks are simulated.")
    require_whole("width", width, LEAST_WIDTH, MOST_WIDTH)
    require_whole("trials", trials, 1, MOST_TRIALS)
    require_whole("seed", seed, 0, MOST_SEED)
    require_choice("gates", gates, GATES)
    require_memory(width, trials)
    variances = propagate(network).q if gates == "independent" else None
    log_s = np.empty((trials, width))
    for trial, child in zip(log_s, SeedSequence(seed).spawn(trials), strict=True):
        rng = default_rng(child)
        signal = rng.standard_normal(width)
        signal *= math.sqrt(network.input_variance / np.mean(signal**2))
        tangents, _ = tangents_and_output(network, signal, rng, variances, progress)
        trial[:] = _log_singular_values(tangents) + network.depth * math.log(abs(network.skip))
    return log_s


def memory_needed(width: int, trials: int) -> int:
    """Return the bytes that a simulation holds at once, at most."""
    return 8 * width * (_MATRICES * width + trials)


def require_memory(width: int, trials: int) -> None:
    """Raise NoAnswerError where a simulation does not fit in the memory of this machine."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # the system does not tell
        return
    needed = memory_needed(width, trials)
    if needed > memory:
        raise NoAnswerError(
            f"width {width} with {trials} trials needs {needed / 1e9:.3g} GB of memory, and this machine has "
            f"{memory / 1e9:.3g} GB: take a smaller width or fewer trials"
        )


def tangents_and_output(
    network: ResNet,
    signal: Array,
    rng: Generator,
    variances: Array | None = None,
    progress: Callable[[], None] | None = None,
) -> tuple[Array, Array]:
    """Send a signal and all directions tangent to it through one random network.

    Parameters
    ----------
    network : ResNet
        What to draw.
    signal : array, shape (N,)
        The input.
    rng : Generator
        Draws the weights, biases and gates of one layer after the other.
    variances : array, shape (L,), or None
        Of the pre-activations at which independent gates are taken; ``None``: own gates.
    progress : callable, optional
        Called after each layer.

    Returns
    -------
    tangents : array, shape (N, N)
        Row i is the image of input direction i over a^L: the transposed Jacobian over a^L.
    output : array, shape (N,)
        The signal after the last layer; where its scale does not matter, of mean square 1.

    Raises
    ------
    NoAnswerError
        The signal leaves the range of a double.
    """
    layer = _post_activation if network.block == "post" else _pre_activation
    # Where φ(kx) = kφ(x) and there are no biases, a layer's gates do not depend on the signal's scale.
    any_scale = network.act.scale_free and network.sigma_b == 0
    # The last row is the signal, so that one product serves it and the tangents.
    rows = np.concatenate((np.eye(signal.size), signal[None]))
    for depth in range(network.depth):
        variance = None if variances is None else min(float(variances[depth]), _STRONGEST)
        with np.errstate(over="ignore", invalid="ignore"):
            layer(rows, network, rng, variance)
            power = float(np.mean(rows[-1] ** 2))
        if variances is None and not _WEAKEST < power < _STRONGEST:
            raise NoAnswerError(_signal_lost(depth + 1, vanished=power <= _WEAKEST))
        if any_scale and variances is None:
            rows[-1] /= math.sqrt(power)
        if progress is not None:
            progress()
    return rows[:-1], rows[-1]


def _signal_lost(layer: int, *, vanished: bool) -> str:
    change = "depth, a larger skip or independent gates" if vanished else "depth, skip or sigma_w"
    return (
        f"the signal leaves the range of a double in layer {layer} of a simulation: take a smaller {change}"
    )


def _post_activation(rows: Array, network: ResNet, rng: Generator, variance: float | None) -> None:
    """Replace the rows by their images under h = W x + b, x' = φ(h) + a x; tangents are divided by a."""
    image = _times_weights(rows, network, rng)
    pre_activation = image[-1] + _biases(network, rng, rows.shape[1])
    slopes = _slopes(network, pre_activation, rng, variance)
    image[:-1] *= slopes / network.skip
    image[-1] = network.act.phi(pre_activation)
    rows[-1] *= network.skip
    rows += image


def _pre_activation(rows: Array, network: ResNet, rng: Generator, variance: float | None) -> None:
    """Replace the rows by their images under x' = a x + W φ(x) + b; tangents are divided by a."""
    slopes = _slopes(network, rows[-1], rng, variance)
    gated = rows * (slopes / network.skip)
    gated[-1] = network.act.phi(rows[-1])
    image = _times_weights(gated, network, rng)
    image[-1] += _biases(network, rng, rows.shape[1])
    rows[-1] *= network.skip
    rows += image


def _slopes(network: ResNet, own: Array, rng: Generator, variance: float | None) -> Array:
    if variance is None:
        return network.act.dphi(own)
    return network.act.dphi(math.sqrt(variance) * rng.standard_normal(own.size))


def _biases(network: ResNet, rng: Generator, width: int) -> Array | float:
    return network.sigma_b * rng.standard_normal(width) if network.sigma_b else 0.0


def _times_weights(rows: Array, network: ResNet, rng: Generator) -> Array:
    """Return rows Wᵀ for fresh weights W."""
    scale = network.sigma_w / math.sqrt(network.depth)
    width = rows.shape[1]
    if network.weights == "orthogonal":
        return times_haar(rows, rng, scale)
    weights = rng.standard_normal((width, width))
    weights *= scale / math.sqrt(width)
    return rows @ weights


def times_haar(rows: Array, rng: Generator, scale: float = 1.0) -> Array:
    """Return ``scale`` rows Oᵀ for a Haar orthogonal matrix O of size N.

    O is the Q of a Gaussian matrix's QR, columns times the signs of R's diagonal. Its Householder vectors
    are independent Gaussian vectors of lengths N, N − 1, ..., 1 (Stewart 1980): they are drawn and applied,
    without a factorisation.

    Parameters
    ----------
    rows : array, shape (k, N)
    rng : Generator
    scale : float

    Returns
    -------
    array, shape (k, N)
    """
    from scipy.linalg.lapack import dormqr  # noqa: PLC0415 - Gaussian weights do without SciPy

    width = rows.shape[1]
    vectors = np.triu(rng.standard_normal((width, width)))
    head = vectors.diagonal().copy()
    beta = -np.copysign(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), head)
    vectors /= (head - beta)[:, None]
    signed = rows * np.copysign(scale, beta)
    work = 64 * (len(rows) + 65)  # LAPACK's largest block size, and its triangular factor
    image, _, _ = dormqr("L", "N", vectors.T, (beta - head) / beta, signed.T, work, overwrite_c=True)
    product: Array = image.T
    return product


def _log_singular_values(tangents: Array) -> Array:
    if not np.isfinite(tangents).all():
        raise NoAnswerError("the Jacobian of a simulation overflows: take a smaller sigma_w or a larger skip")
    s = np.linalg.svd(tangents, compute_uv=False)[::-1]
    if not s[0] > _RESOLVED * s[-1]:
        raise NoAnswerError(
            f"the smallest singular values of a simulation are lost in the rounding of the largest "
            f"(their ratio is beyond {1 / _RESOLVED:.0g}): take a smaller sigma_w or a larger skip"
        )
    log_s: Array = np.log(s)
    return log_s
