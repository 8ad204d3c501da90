"""Singular values of the Jacobians of random networks, by real forward passes."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.random import SeedSequence, default_rng

from isocalc.errors import InvalidInputError, require_choice, require_network, require_whole
from isocalc.limits import LEAST_WIDTH, MOST_SEED, MOST_TRIALS, MOST_WIDTH
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics.machine import machine_memory, one_blas_thread, require_fits
from isocalc.signal.propagation import propagate
from isocalc.simulation.budgets import BESIDE_HIDDEN, HIDDEN, MATRICES
from isocalc.simulation.forward import ForwardPass, faint_power, powers_kept
from isocalc.simulation.jacobian import log_spectrum

Array = npt.NDArray[np.float64]
Gates = Literal["own", "independent"]
Dtype = Literal["float64", "float32"]

# Raised with every change of what a seed draws, so that a checkpoint is not gone on from with other networks.
STREAMS = 1
GATES: tuple[Gates, ...] = ("own", "independent")
DTYPES: tuple[Dtype, ...] = ("float64", "float32")


@one_blas_thread()
def replicate(
    network: ResNet | FeedForward,
    width: int | None,
    seed: int,
    trial: int,
    *,
    gates: Gates = "own",
    dtype: Dtype = "float64",
    progress: Callable[[], None] | None = None,
) -> Array:
    """Return the singular values of the Jacobian of one random network, computed with one BLAS thread.

    Parameters
    ----------
    network : ResNet or FeedForward
        What to draw: weights, biases, and a Gaussian input scaled so that the mean square of its entries is
        exactly ``descriptions.input_variance``, or for a feed-forward network without it exactly E φ² at its
        smallest stable fixed point q*.
    width : int or None
        Number of neurons N of every layer, from 2 to 10⁶; ``None`` where the network has ``layer_widths``.
    seed : int
        From 0 to 2⁶³ − 1.
    trial : int
        From 0 to 10⁶ − 1. The result depends on the seed and on this number, not on other trials.
    gates : {"own", "independent"}
        Whether φ' is taken at the network's own pre-activations, or at fresh Gaussian ones of the propagated
        variance, drawn anew for each layer and independent of the weights.
    dtype : {"float64", "float32"}
        Of weights and products; the two draw different networks. With float32 singular values have three
        digits or more.
    progress : callable, optional
        Called after each layer.

    Returns
    -------
    array, shape (N_0,)
        log s, ascending: half the logarithms of the eigenvalues of JᵀJ, a matrix of the size of the input,
        as the law counts them. −inf stands for s = 0 exactly, and for nothing else: gates whose φ' is 0 in
        double precision are closed, and as many s are 0 as the narrowest layer, counted in open gates, falls
        short of N_0. Of the other s, those of float64 have a relative error of 1e-7 at most, and mostly of
        less than 1e-10.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        The signal leaves the range of its numbers, there is no fixed point to start from, or singular values
        are smaller than float32 resolves.
    """
    require_network(network, ResNet, FeedForward)
    widths = given_widths(network, width)
    require_whole("seed", seed, 0, MOST_SEED)
    require_whole("trial", trial, 0, MOST_TRIALS - 1)
    require_choice("gates", gates, GATES)
    require_choice("dtype", dtype, DTYPES)
    log_s = np.full(widths[0], -math.inf)
    if isinstance(network, FeedForward) and _vanishes(network):
        if progress is not None:
            for _ in range(network.depth):
                progress()
        return log_s
    # Networks with gates of either kind are independent, to be compared.
    key = (trial,) if gates == "own" else (trial, 1)
    rng = default_rng(SeedSequence(seed, spawn_key=key))
    signal = rng.standard_normal(widths[0])
    signal *= math.sqrt(_input_power(network) / np.mean(signal**2))
    variances = _gate_variances(network) if gates == "independent" else None
    every = widths if len(widths) > 1 else widths * (network.depth + 1)
    forward = ForwardPass(network, every, rng, variances, dtype)
    found = log_spectrum(forward, signal.astype(dtype), progress)
    log_s[widths[0] - found.size :] = found
    return log_s


def spectra(
    network: ResNet | FeedForward,
    width: int | None,
    trials: int,
    seed: int,
    *,
    gates: Gates = "own",
    dtype: Dtype = "float64",
    progress: Callable[[], None] | None = None,
) -> Array:
    """Return the singular values of the Jacobians of independent random networks.

    Parameters
    ----------
    trials : int
        Number of networks, from 1 to 10⁶.
    network, width, seed, gates, dtype, progress
        As in `replicate`.

    Returns
    -------
    array, shape (trials, N_0)
        log s of each trial, ascending.

    Raises
    ------
    InvalidInputError, NoAnswerError
        As in `replicate`; NoAnswerError too where the matrices do not fit in memory.
    """
    require_network(network, ResNet, FeedForward)
    widths = given_widths(network, width)
    require_whole("trials", trials, 1, MOST_TRIALS)
    require_memory(network, width, trials)
    log_s = np.empty((trials, widths[0]))
    for trial, row in enumerate(log_s):
        row[:] = replicate(network, width, seed, trial, gates=gates, dtype=dtype, progress=progress)
    return log_s


def memory_needed(network: ResNet | FeedForward, width: int | None) -> int:
    """Return the bytes that one replicate holds at once, at most."""
    n, matrices = max(given_widths(network, width)), MATRICES
    if isinstance(network, ResNet) and network.branch.has_hidden_layer:
        matrices = max(matrices, BESIDE_HIDDEN + math.ceil(HIDDEN * network.hidden_width(n) / n))
    return 8 * matrices * n**2


def require_memory(network: ResNet | FeedForward, width: int | None, trials: int) -> None:
    """Raise NoAnswerError where replicates, one after the other, do not fit in the memory of this machine."""
    widths = given_widths(network, width)
    needed = memory_needed(network, width) + 8 * widths[0] * trials
    what = f"width {max(widths)} with {trials} trials"
    require_fits(needed, machine_memory(), what, "take a smaller width or fewer trials")


def given_widths(network: ResNet | FeedForward, width: int | None) -> tuple[int, ...]:
    """Return N alone where all widths are the same, else N_0, ..., N_L.

    Raises
    ------
    InvalidInputError
        ``width`` is not a width, or the network has widths of its own.
    """
    chain = network.layer_widths if isinstance(network, FeedForward) else None
    if chain is None:
        return (require_whole("width", width, LEAST_WIDTH, MOST_WIDTH),)
    if width is not None:
        raise InvalidInputError("width", "None where the network has layer_widths", width)
    return tuple(chain)


def _vanishes(network: FeedForward) -> bool:
    """Whether J = 0: no weights, or gates that close as q → 0+ at a fixed point q* = 0."""
    if network.sigma_w == 0:
        return True
    if network.act.scale_free or network.input_variance is not None:
        return False
    return propagate(network).log_mean_lambda == -math.inf


def _input_power(network: ResNet | FeedForward) -> float:
    if network.input_variance is not None:
        return network.input_variance
    if network.act.scale_free and network.sigma_b == 0:
        return 1.0
    second_moment = propagate(network).output_second_moment
    # At q* = 0 the signal is next to nothing.
    return second_moment or faint_power(network.act)


def _gate_variances(network: ResNet | FeedForward) -> Array:
    if network.act.scale_free:
        return np.ones(network.depth)
    return np.clip(propagate(network).q, *powers_kept("float64"))
