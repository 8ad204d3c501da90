"""The law of a residual network whose gates are correlated from layer to layer, at the depth asked for."""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from isocalc.chain_source import ChainSource, distance
from isocalc.errors import InvalidInputError
from isocalc.gate_paths import gate_paths
from isocalc.gates import gate_rule
from isocalc.law import Centred, Law, Pairs
from isocalc.layered import LayeredLaw
from isocalc.network import ResNet, require_choice, require_whole
from isocalc.point_masses import PointMasses
from isocalc.propagation import propagate
from isocalc.solved_law import SolvedLaw
from isocalc.variables import VARIABLES, Variable

DEFAULT_PATHS = 1024
LEAST_PATHS, MOST_PATHS = 64, 2**17
# Where distribution functions are compared.
_QUANTILES = np.linspace(0.02, 0.98, 33)


@dataclass(frozen=True, eq=False)
class ExactLaw(Law):
    """The law of a residual network at its own depth, N → ∞, whatever its gates know of each other.

    Parameters
    ----------
    network : ResNet
        Post- or pre-activation.
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
    Freeness with amalgamation over the diagonal matrices; `isocalc.path_chain` has the equations. They are
    solved to 1e-10 and tabulated to 1e-8 of the mass; what is left is the finite number of paths, which
    `error` measures, and in networks deeper than 128 layers the groups of layers that have the same gates.
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
        if self.network.depth == 1:  # one layer, and nothing to be correlated with
            return LayeredLaw.of(self.network)._centred  # noqa: SLF001 - the same law
        source = self._source
        return PointMasses(((0.0, 1.0),)) if source is None else SolvedLaw(source)

    @cached_property
    def _source(self) -> ChainSource | None:
        return self._source_of(coarser=False)

    def _source_of(self, *, coarser: bool) -> ChainSource | None:
        """Return the law of paths of gates, ``None`` where it is the point mass of the skip connections."""
        if self.network.sigma_w == 0:
            return None
        paths = gate_paths(self.network, self.paths, coarser=coarser)
        largest = gate_rule(self.network.act, float(propagate(self.network).q.max())).largest
        return None if paths.persistent == 1 else ChainSource(paths, unbounded=largest == math.inf)

    @cached_property
    def error(self) -> float:
        """Kolmogorov distance to the law of as many other paths, 0 where the paths are all there are."""
        if self.network.depth == 1 or self._source is None or self._source.paths.exact:
            return 0.0
        other = self._source_of(coarser=True)
        if other is None:
            return 1.0
        return distance(self._source, other, self._centred.quantile(_QUANTILES))
