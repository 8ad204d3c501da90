"""One random network, layer by layer: its signal and the directions tangent to it."""

import math
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from isocalc.activations.catalogue import Activation
from isocalc.errors import NoAnswerError
from isocalc.networks.branches import POST, PRE, PRE_LAYER_NORM
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.numerics.haar import Floats, times_haar
from isocalc.simulation.budgets import FAINT

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Mark(NamedTuple):
    """Where a forward pass stands: layers done, and the state of its random numbers."""

    done: int
    state: Any


class ForwardPass:
    """A random network that is drawn as it is passed through.

    Parameters
    ----------
    network : ResNet or FeedForward
    widths : sequence of int, length L + 1
        Of the input and of each layer.
    rng : Generator
        Draws the weights, biases and gates of one layer after the other.
    variances : array, shape (L,), or None
        Of the pre-activations at which independent gates are taken; ``None``: own gates.
    dtype : {"float64", "float32"}
        Of the weights and of the rows.
    """

    def __init__(
        self,
        network: ResNet | FeedForward,
        widths: tuple[int, ...],
        rng: Generator,
        variances: Array | None = None,
        dtype: str = "float64",
    ) -> None:
        self.network, self.widths = network, widths
        self.done = 0
        self._rng, self._variances = rng, variances
        self._dtype = np.dtype(dtype)
        self._weakest, self._strongest = powers_kept(dtype)
        residual = isinstance(network, ResNet)
        self._skip = network.skip if isinstance(network, ResNet) else 0.0
        self._normalises = network.branch.normalises
        self._sigma = network.sigma_w / math.sqrt(network.depth if residual else 1)
        # Where φ(kx) = kφ(x) and there are no biases, a layer's gates do not depend on the signal's scale.
        # LayerNorm's Jacobian does, if weights follow it.
        if self._normalises:
            self._any_scale, self._faint = not network.has_weights, 0.0
        else:
            self._any_scale = network.act.scale_free and network.sigma_b == 0
            self._faint = faint_power(network.act, dtype) if network.sigma_b == 0 else 0.0
        self._shared = self._draw_shared() if isinstance(network, FeedForward) and network.tied else None

    def mark(self) -> Mark:
        """Return where the pass stands, for `return_to`."""
        return Mark(self.done, self._rng.bit_generator.state)

    def return_to(self, mark: Mark) -> None:
        """Go back, so that the same layers follow again."""
        self.done = mark.done
        self._rng.bit_generator.state = mark.state

    def row_sizes(self) -> None:
        """Say that what closed gates leave of a layer of random weights has full rank."""

    def advance(self, rows: Floats) -> tuple[Floats, Mask | None]:
        """Send a signal, the last row, and directions tangent to it, the others, through the next layer.

        Parameters
        ----------
        rows : array, shape (k + 1, N_{l-1})
            Overwritten.

        Returns
        -------
        images : array, shape (k + 1, N_l)
            Row i is J e for the direction e in row i; the last is the signal, to any positive factor where
            gates do not depend on it.
        open_gates : array of bool, shape (N_l,), or None
            Where images of tangents can differ from 0; ``None``: everywhere.

        Raises
        ------
        NoAnswerError
            The signal leaves the range of its floating-point numbers.
        """
        variance = None if self._variances is None else float(self._variances[self.done])
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            images, open_gates = self._passes[self.network.branch](self, rows, variance)
        self.done += 1
        if (variance is None or self._normalises) and (open_gates is None or open_gates.any()):
            self._keep_in_range(images[-1])
        return images, open_gates

    def _keep_in_range(self, signal: Floats) -> None:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            power = float(np.mean(signal.astype(float) ** 2))
        if self._any_scale and self._weakest < power < self._strongest:
            signal /= math.sqrt(power)
        elif 0 < power < self._faint:
            signal *= math.sqrt(self._faint / power)
        elif not self._weakest < power < self._strongest:
            raise NoAnswerError(self._signal_lost(vanished=power <= self._weakest))

    def _signal_lost(self, *, vanished: bool) -> str:
        number = "double" if self._dtype == np.float64 else "float32"
        skip = ", skip" if self._skip else ""
        larger = ", a larger skip" if self._skip else ", a larger sigma_w"
        if vanished:
            change = "depth or a larger skip" if self._normalises else f"depth{larger} or independent gates"
        else:
            change = f"depth{skip} or sigma_w"
        return (
            f"the signal leaves the range of a {number} in layer {self.done} of a simulation: "
            f"take a smaller {change}"
        )

    def _post_activation(self, rows: Floats, variance: float | None) -> tuple[Floats, Mask | None]:
        """Images under h = W x + b, x' = φ(h) + a x."""
        images = self._times_weights(rows)
        open_gates = self._activate(images, self._biases(self.widths[self.done + 1]), variance)
        return self._beside(rows, images) if self._skip else (images, open_gates)

    def _pre_activation(self, rows: Floats, variance: float | None) -> tuple[Floats, Mask | None]:
        """Images under x' = a x + W φ(x) + b."""
        own = rows[-1].astype(float)
        gated = rows * self._slopes(own, variance).astype(self._dtype)
        gated[-1] = self.network.act.phi(own)
        images = self._times_weights(gated)
        images[-1] += self._biases(self.widths[self.done + 1])
        return self._beside(rows, images)

    def _pre_layer_norm(self, rows: Floats, variance: float | None) -> tuple[Floats, Mask | None]:
        """Images under x' = a x + W₂ φ(W₁ LN(x) + b)."""
        network, width = cast("ResNet", self.network), rows.shape[1]
        hidden = network.hidden_width(width)
        images = self._times_fresh_weights(normalised(rows), network.sigma_w, hidden)
        self._activate(images, self._biases(hidden), variance)
        second = network.sigma_w2 / math.sqrt(network.depth)
        return self._beside(rows, self._times_fresh_weights(images, second, width))

    _passes: ClassVar = {POST: _post_activation, PRE: _pre_activation, PRE_LAYER_NORM: _pre_layer_norm}

    def _activate(self, images: Floats, biases: Array | float, variance: float | None) -> Mask:
        """Send pre-activations, but for their biases, through φ; tell which gates are open."""
        pre_activation = images[-1].astype(float) + biases
        slopes = self._slopes(pre_activation, variance).astype(self._dtype)
        images[:-1] *= slopes
        images[-1] = self.network.act.phi(pre_activation)
        return np.asarray(slopes != 0)

    def _beside(self, rows: Floats, images: Floats) -> tuple[Floats, None]:
        """Return images beside the skip connection."""
        rows *= self._dtype.type(self._skip)
        rows += images
        return rows, None

    def _slopes(self, own: Array, variance: float | None) -> Array:
        if variance is None:
            return self.network.act.dphi(own)
        return self.network.act.dphi(math.sqrt(variance) * self._rng.standard_normal(own.size))

    def _biases(self, count: int) -> Array | float:
        if self._shared:
            return self._shared[1]
        sigma_b = self.network.sigma_b
        return sigma_b * self._rng.standard_normal(count) if sigma_b else 0.0

    def _times_weights(self, rows: Floats) -> Floats:
        """Return rows Wᵀ."""
        if self._shared:
            return rows @ self._shared[0]
        return self._times_fresh_weights(rows, self._sigma, self.widths[self.done + 1])

    def _times_fresh_weights(self, rows: Floats, scale: float, after: int) -> Floats:
        if self.network.weights == "orthogonal":
            return times_haar(rows, self._rng, scale, after)
        before = rows.shape[1]
        weights = self._rng.standard_normal((before, after), dtype=self._dtype)
        weights *= scale / math.sqrt(before)
        return rows @ weights

    def _draw_shared(self) -> tuple[Floats, Array]:
        width = self.widths[0]
        weights = self._times_fresh_weights(np.eye(width, dtype=self._dtype), self._sigma, width)
        return weights, self.network.sigma_b * self._rng.standard_normal(width)


def normalised(rows: Floats, eps: float = 0.0) -> Floats:
    """Return the LayerNorm of a signal, the last row, and its directional derivatives along the others.

    LN(x) = (x − mean)/std, with the Jacobian (I − 11ᵀ/N − LN(x) LN(x)ᵀ/N)/std; std² is the variance and eps.
    """
    signal = rows[-1].astype(float)
    signal -= signal.mean()
    std = math.sqrt(np.mean(signal**2) + eps)
    unit = (signal / std).astype(rows.dtype)
    images: Floats = rows - rows.mean(axis=1, keepdims=True)
    along = images @ unit
    along /= unit.size
    images -= np.multiply.outer(along, unit)
    images /= rows.dtype.type(std)
    images[-1] = unit
    return images


def powers_kept(dtype: str = "float64") -> tuple[float, float]:
    """Return the mean squares of a signal between which its numbers lose nothing.

    What is smaller or larger than the mean square by the rounding of the type is a normal number, too.
    """
    kind = np.finfo(dtype)
    return float(kind.tiny / kind.eps), float(kind.max * kind.eps)


def faint_power(act: Activation, dtype: str = "float64") -> float:
    """Return a power of a signal below which layers without biases only scale it; 0 if there is none."""
    share = FAINT[dtype] * min(act.lengths)
    small = np.array([-share, share])
    image = act.phi(small)
    straight = image.any() and np.allclose(act.phi(2 * small), 2 * image, rtol=1e-9, atol=0)
    return min(share * share, 1.0) if straight and act.phi(np.zeros(1))[0] == 0 else 0.0
