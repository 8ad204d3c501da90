"""The law of a residual network whose gates are correlated from layer to layer, at the depth asked for."""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from isocalc.chain_source import ChainSource, distance
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.gate_paths import gate_paths
from isocalc.gates import gate_rule
from isocalc.law import Centred, Law, Pairs
from isocalc.layered import LayeredLaw
from isocalc.limits import LEAST_PATHS, MOST_PATHS
from isocalc.network import ResNet, require_choice, require_whole
from isocalc.point_masses import PointMasses
from isocalc.propagation import Propagation, propagate
from isocalc.solved_law import SolvedLaw
from isocalc.variables import VARIABLES, Variable

DEFAULT_PATHS = 1024
# Where distribution functions are compared.
_QUANTILES = np.linspace(0.02, 0.98, 33)
# Below it doubles do not resolve the law.
_LEAST_C = 1e-12
# Sets of other paths to compare with.
_OTHERS = 2


@dataclass(frozen=True, eq=False)
class ExactLaw(Law):
    """The law of a residual network at its own depth, N → ∞, whatever its gates know of each other.

    Parameters
    ----------
    network : ResNet
        Of any block.
    paths : int
        Number of paths of gates, from 64 to 2¹⁷, that stand for their joint law.
    variable : {"singular", "lambda", "log"}
        What x is: a singular value s, its square λ, or log s.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    NoAnswerError
        By every question: the signal overflows, or the equations were not solved.

    Notes
    -----
    Freeness with amalgamation over the diagonal matrices: theory (44) to (48). The equations are
    solved to 1e-11, next to λ = 0 and beside edges to 1e-7, and tabulated to 1e-8 of the mass; what is left
    is the finite number of paths, which `error` measures, and in networks deeper than 128 layers the groups
    of layers that have the same gates.
    """

    name: ClassVar[str] = "exact"
    network: ResNet
    _: KW_ONLY
    paths: int = DEFAULT_PATHS
    variable: Variable = "singular"

    def __post_init__(self) -> None:
        if not isinstance(self.network, ResNet):
            raise InvalidInputError("network", "a ResNet, for the exact law", self.network)
        require_whole("paths", self.paths, LEAST_PATHS, MOST_PATHS)
        require_choice("variable", self.variable, VARIABLES)

    @classmethod
    def of(cls, network: ResNet, variable: Variable = "singular", *, paths: int | None = None) -> Self:
        """Return the law of a network, with the default number of paths for ``None``."""
        return cls(network, paths=DEFAULT_PATHS if paths is None else paths, variable=variable)

    @property
    def _centre(self) -> Pairs:
        return ((abs(self.network.skip), self.network.depth),)

    @cached_property
    def _centred(self) -> Centred:
        if not self._has_chain:
            return LayeredLaw.of(self.network)._centred  # noqa: SLF001 - the same law
        source = self._source
        return PointMasses(((0.0, 1.0),)) if source is None else SolvedLaw(source)

    @property
    def _has_chain(self) -> bool:
        """Whether gates can be correlated; one layer, or fresh hidden gates in each, has the layered law."""
        return self.network.depth > 1 and self.network.block != "preln"

    @cached_property
    def _signal(self) -> Propagation:
        return propagate(self.network)

    @property
    def c(self) -> float:
        """The parameter c of the network."""
        return self._signal.c

    @cached_property
    def _source(self) -> ChainSource | None:
        return self._source_of(0)

    def _source_of(self, other: int) -> ChainSource | None:
        """Return the law of paths of gates, ``None`` where it is the point mass of the skip connections."""
        if not self.c:
            return None
        if self.c < _LEAST_C:
            raise NoAnswerError(
                f"the exact law is computed for c from {_LEAST_C:g}; here c is {self.c:.3g}: log s shrinks "
                "like sigma_w, so take the law of a larger one"
            )
        paths = gate_paths(self.network, self._signal, self.paths, other=other)
        if paths.persistent == 1:
            return None
        largest = gate_rule(self.network.act, float(self._signal.q.max())).largest
        skips = 2 * self.network.depth * math.log(abs(self.network.skip))
        log_mean = self._signal.log_mean_lambda - skips
        return ChainSource(paths, log_mean, unbounded=largest == math.inf)

    @cached_property
    def error(self) -> float:
        """Kolmogorov distance to laws of as many other paths, 0 where the paths are all there are."""
        if not self._has_chain or self._source is None or self._source.paths.exact:
            return 0.0
        places = self._centred.quantile(_QUANTILES)
        others = (self._source_of(other) for other in range(1, 1 + _OTHERS))
        return max(1.0 if other is None else distance(self._source, other, places) for other in others)
