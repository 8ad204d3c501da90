"""Feed-forward networks whose layers each have an activation, scale and width of their own."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.average_table import AverageTable
from isocalc.errors import NoAnswerError
from isocalc.gates import gate_rule
from isocalc.layered import LayeredLaw
from isocalc.layers import Layers, OneGate, feed_forward_layers
from isocalc.network import Weights
from isocalc.rank import Rank, least_rank

Array = npt.NDArray[np.float64]

_LARGEST = 1e300


@dataclass(frozen=True)
class LayerChain:
    """A feed-forward network: layer l is ``φ_l(W_l x + b_l)``, at random initialisation, of widths N → ∞.

    Parameters
    ----------
    widths : tuple of int
        N_0, ..., N_L, of which only the ratios matter.
    acts : tuple of Activation
        φ_l.
    weights : tuple of {"gaussian", "orthogonal"}
    sigma_w : tuple of float
        Entries of W_l have variance ``sigma_w**2 / N_{l-1}``, or W_l is ``sigma_w`` times semi-orthogonal.
    sigma_b : tuple of float
        Standard deviations of the biases.
    input_variance : float
        Mean square of the input's entries, greater than 0.
    """

    widths: tuple[int, ...]
    acts: tuple[Activation, ...]
    weights: tuple[Weights, ...]
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    input_variance: float

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return len(self.acts)

    @cached_property
    def q(self) -> Array:
        """Variance of the pre-activations of each layer, shape (L,).

        Raises
        ------
        NoAnswerError
            The signal overflows.
        """
        found, p = np.empty(self.depth), self.input_variance
        tables: dict[str, AverageTable] = {}
        for layer, act in enumerate(self.acts):
            before, after = self.widths[layer : layer + 2]
            # Semi-orthogonal weights that widen keep the length of the signal.
            kept = min(1.0, before / after) if self.weights[layer] == "orthogonal" else 1.0
            sigma_w, sigma_b = self.sigma_w[layer], self.sigma_b[layer]
            found[layer] = sigma_w * sigma_w * kept * p + sigma_b * sigma_b
            p = tables.setdefault(act.name, AverageTable(act)).at(float(found[layer])).second
            if not p < _LARGEST:
                raise NoAnswerError(f"the signal explodes in layer {layer + 1}")
        return found

    @property
    def factors(self) -> Layers:
        """The factors of its law."""
        if 0.0 in self.sigma_w:
            return Layers((), (), (), vanishes=True)
        scales = tuple((sigma, 1.0) for sigma in self.sigma_w)
        gate = self._one_gate
        if gate is not None:
            return Layers((), (), scales, gate=gate)
        acts = {act.name: act for act in self.acts}
        named = ((act.name, q) for act, q in self._gates)
        alike = Counter(zip(named, self.widths, self.widths[1:], self.weights, strict=False))
        gates = {(name, q): gate_rule(acts[name], q) for (name, q), *_ in alike}
        return feed_forward_layers(
            (
                (gates[gate], float(count), self.widths[0] / after, after / before, kind == "orthogonal")
                for (gate, before, after, kind), count in alike.items()
            ),
            scales,
        )

    @property
    def _one_gate(self) -> OneGate | None:
        """The gate of square orthogonal layers of which one alone is no isometry, where it has a density."""
        square = set(self.weights) == {"orthogonal"} and len(set(self.widths)) == 1
        others = [
            layer for layer, act in enumerate(self.acts) if set(map(abs, act.slopes or (0.0,))) != {1.0}
        ]
        if not square or len(others) != 1 or self.acts[others[0]].slopes is not None:
            return None
        return OneGate(self.acts[others[0]], float(self.q[others[0]]), 1.0)

    @property
    def law(self) -> LayeredLaw:
        """The law of its singular values."""
        return LayeredLaw(self.factors, error=0.0)

    @property
    def rank(self) -> Rank:
        """How many singular values are not 0 at its widths."""
        if 0.0 in self.sigma_w:
            return Rank(0.0, 0.0)
        opening = (1 - gate_rule(act, q).zero_mass for act, q in self._gates)
        return least_rank(self.widths[0], Counter(zip(self.widths[1:], opening, strict=True)))

    @property
    def _gates(self) -> list[tuple[Activation, float]]:
        """The activation of each layer and the variance of its argument, 1 where that does not matter."""
        known = zip(self.acts, self.q.tolist(), strict=True)
        return [(act, 1.0 if act.scale_free else q) for act, q in known]

    def in_words(self) -> str:
        """Return a description in one line."""
        names = list(dict.fromkeys(act.name for act in self.acts))
        last = self.acts[-1]
        hidden = list(dict.fromkeys(act.name for act in self.acts[:-1]))
        has_readout = self.depth > 1 and last.name == "linear" and hidden != ["linear"]
        count, acts = (self.depth - 1, hidden) if has_readout else (self.depth, names)
        what = f"{count} layer{'s' * (count > 1)} f(W x + b), f = {', '.join(acts)}"
        what += ", and a linear one" if has_readout else ""
        return f"{what}, widths {_listed(self.widths)}"


def _listed(widths: tuple[int, ...]) -> str:
    """Return widths, repetitions counted."""
    runs = [(width, len(list(run))) for width, run in groupby(widths)]
    return ", ".join(
        f"{width} ({count} times)" if count > 2 else ", ".join([str(width)] * count) for width, count in runs
    )
