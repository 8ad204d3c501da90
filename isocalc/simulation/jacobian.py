"""The singular values of one random network's Jacobian, stabilised as often as its growth asks for."""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from isocalc.errors import NoAnswerError
from isocalc.numerics.graded import Factors, GradedProduct, log_singular_values
from isocalc.numerics.haar import Floats
from isocalc.simulation.budgets import ENOUGH, HEADROOM, RESOLVED, STRIDE, TOO_FAR
from isocalc.simulation.forward import Mark

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Deep(Protocol):
    """What has layers."""

    @property
    def depth(self) -> int:
        """Number of layers."""


class Pass(Protocol):
    """A signal and directions tangent to it on their way through a network (`forward.ForwardPass`)."""

    done: int

    @property
    def network(self) -> Deep:
        """The network."""

    def mark(self) -> Mark:
        """Return where the pass stands."""

    def return_to(self, mark: Mark) -> None:
        """Go back."""

    def advance(self, rows: Floats) -> tuple[Floats, Mask | None]:
        """Send rows, the last one the signal, through the next layer; tell which gates are open."""

    def row_sizes(self) -> Array | None:
        """Return the lengths of the rows of the last layer's Jacobian.

        ``None``: what closed gates leave of it has full rank.
        """


class Stretch(NamedTuple):
    """The layers since the last factorisation.

    Attributes
    ----------
    mark : Mark
        Where the forward pass stands.
    rows : array, shape (k + 1, N_l)
        Qᵀ sent through the layers, over a power of two; the last row is the signal.
    log_factor : float
        Logarithm of that power.
    layers : int
        How many.
    open_gates : array of bool, shape (N_l,), or None
    """

    mark: Mark
    rows: Floats
    log_factor: float
    layers: int
    open_gates: Mask | None

    def copy(self) -> "Stretch":
        """Return a stretch whose rows are its own."""
        return self._replace(rows=self.rows.copy())


def log_spectrum(forward: Pass, signal: Floats, progress: Callable[[], None] | None = None) -> Array:
    """Return the logarithms of the non-zero singular values of the Jacobian of a random network.

    Layers are multiplied as long as the product's condition number allows, which is looked at after 1, 4, 16
    ... layers or sooner, as its growth so far says; a network that stays well conditioned ends in a plain
    singular value decomposition. A product that grew faster than expected is taken back and multiplied again.
    Closed gates take their zeros out by structure: what is left has full rank. Where weights may take more,
    such as those that are pruned, a layer that is ill conditioned is looked at by itself.

    Parameters
    ----------
    forward : Pass
        At its start.
    signal : array, shape (N_0,), float64 or float32
        The input.
    progress : callable, optional
        Called once for each layer.

    Returns
    -------
    array, shape (r,)
        Ascending; r is the rank.

    Raises
    ------
    NoAnswerError
        The signal leaves the range of its numbers, or float32 does not resolve the smallest values.
    """
    return _Run(forward, signal, progress).finish()


class _Run:
    def __init__(self, forward: Pass, signal: Floats, progress: Callable[[], None] | None) -> None:
        self.forward, self.progress, self.told = forward, progress, 0
        self.product = GradedProduct(signal.size)
        self.single = signal.dtype == np.float32
        rows = np.concatenate((np.eye(signal.size, dtype=signal.dtype), signal[None]))
        self.now = Stretch(forward.mark(), rows, 0.0, 0, None)
        self.planned = 1
        self.saved = self.now

    def finish(self) -> Array:
        depth = self.forward.network.depth
        while self.forward.done < depth:
            outputs = self._advance()
            last = self.forward.done == depth
            if outputs == 0:
                self._tell(depth)
                return np.empty(0)
            narrower = outputs < self.product.rank
            if not (last or narrower or self.now.layers >= self.planned):
                continue
            if last and not narrower and not self.product.begun:
                log_s = self._plain()
                if log_s is not None:
                    return log_s
            self._look(narrower=narrower, last=last)
            if self.product.rank == 0:
                self._tell(depth)
                return np.empty(0)
        log_s = log_singular_values(self.product.log_scale, self._right())
        if self.single:
            self._require_resolved(math.exp(min(log_s[-1] - log_s[0], 700.0)))
        return log_s

    def _right(self) -> Array:
        return np.eye(self.product.inputs) if self.product.right is None else self.product.right

    def _advance(self) -> int:
        """Pass through one layer; return how many of its outputs can depend on the input."""
        rows, open_gates = self.forward.advance(self.now.rows)
        self._tell(self.forward.done)
        size = float(np.abs(rows[0]).max() or np.abs(rows[:-1]).max()) if len(rows) > 1 else 1.0
        log_factor = self.now.log_factor
        if not math.isfinite(size):
            raise NoAnswerError("the Jacobian of a simulation overflows: take a smaller sigma_w or skip")
        exponent = math.frexp(size)[1]
        if abs(exponent) > HEADROOM:
            rows[:-1] = np.ldexp(rows[:-1], -exponent)
            log_factor += exponent * math.log(2)
        self.now = Stretch(self.forward.mark(), rows, log_factor, self.now.layers + 1, open_gates)
        return rows.shape[1] if open_gates is None else int(np.count_nonzero(open_gates))

    def _tell(self, done: int) -> None:
        while self.progress is not None and self.told < done:
            self.told += 1
            self.progress()

    def _plain(self) -> Array | None:
        """Return the logarithms of the singular values of all layers' plain product, if it resolves them."""
        s = np.linalg.svd(self.now.rows[:-1], compute_uv=False)[::-1].astype(float)
        if self.single:
            self._require_resolved(s[-1] / s[0] if s[0] else math.inf)
        if not s[0] * ENOUGH > s[-1]:
            return None
        log_s: Array = np.log(s) + self.now.log_factor
        return log_s

    def _require_resolved(self, condition: float) -> None:
        if not condition <= RESOLVED:
            raise NoAnswerError(
                f"float32 does not resolve the smallest singular values of this network (they are more than "
                f"{RESOLVED:.0e} below the largest): take dtype float64"
            )

    def _look(self, *, narrower: bool, last: bool) -> None:
        """Go on multiplying, factorise or go back, as the condition number says."""
        layers = self.now.layers
        by_gram = not (narrower or last)
        found = self._factors(by_gram=by_gram)
        if by_gram and layers == 1 and (found is None or found.condition > TOO_FAR):
            found = self._factors(by_gram=False)
        condition = found.condition if found else math.inf
        if layers == 1 and not condition <= TOO_FAR:
            found = self._of_full_rank() or found
            if found is None:
                self.product.vanish()
                return
            condition = found.condition
        if self.single and not narrower:
            self._require_resolved(condition)
        if found is None or (layers > 1 and not condition <= TOO_FAR and self._must_go_back(condition)):
            self._go_back()
            return
        if not narrower:
            # The condition number of m Gaussian layers goes like N to the power (m + 1)/2.
            possible = (layers + 1) * math.log(ENOUGH) / math.log(condition + 1) - 1
            remaining = self.forward.network.depth - self.forward.done
            if not last and possible >= min(1.5 * layers, layers + remaining):
                self.planned = int(min(STRIDE * layers, possible))
                self.saved = self.now.copy()
                return
            self.planned = max(1, round(possible))
        self._absorb(found)

    def _must_go_back(self, condition: float) -> bool:
        """Whether layers are to be factorised one by one; those that close gates have full rank besides."""
        return not math.isnan(condition) or self.forward.row_sizes() is not None

    def _of_full_rank(self) -> Factors | None:
        """Leave out what one layer sends to 0 and factorise the rest; ``None``: nothing is left, or all."""
        sizes = self.forward.row_sizes()
        if sizes is None:
            return None
        left = self.product.narrow(self.now.rows[:-1].astype(np.float64, copy=False), sizes)
        if left is None or not left.size:
            return None
        rows = np.concatenate((left, self.now.rows[-1:]))
        self.now = self.now._replace(rows=rows, open_gates=np.asarray(sizes > 0))
        return self._factors(by_gram=False)

    def _factors(self, *, by_gram: bool) -> Factors | None:
        tangents = self.now.rows[:-1].astype(np.float64, copy=False)
        return self.product.factors(tangents, self.now.open_gates, by_gram=by_gram)

    def _absorb(self, found: Factors) -> None:
        self.product.absorb(found, self.now.log_factor)
        rows = np.concatenate((found.q_rows(), self.now.rows[-1:]), dtype=self.now.rows.dtype)
        self.now = Stretch(self.now.mark, rows, 0.0, 0, None)
        self.saved = self.now.copy() if self.planned > 1 else self.now

    def _go_back(self) -> None:
        """Return to where the product was last seen well conditioned, and plan shorter stretches."""
        tried = self.now.layers
        self.now = self.saved
        self.forward.return_to(self.now.mark)
        self.planned = max(1, (tried - self.now.layers) // 2)
        found = self._factors(by_gram=True) if self.now.layers else None
        if found:
            self._absorb(found)
        else:
            self.saved = self.now.copy() if self.planned > 1 else self.now
