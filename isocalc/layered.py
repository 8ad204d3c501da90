"""The law of the singular values of a network at the depth asked for: a free product of its layers."""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar, Self

from isocalc.free_product import FreeProduct
from isocalc.gate_law import GateLaw
from isocalc.law import Centred, Law, Pairs
from isocalc.layers import Layers, layers
from isocalc.network import FeedForward, ResNet, require_choice
from isocalc.point_masses import PointMasses
from isocalc.product_atoms import atoms_of
from isocalc.product_law import ProductSource
from isocalc.solved_law import SolvedLaw
from isocalc.variables import VARIABLES, Variable

_ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class LayeredLaw(Law):
    """The law of a free product of layers: any network at its own depth, N → ∞.

    Parameters
    ----------
    layers : Layers
        The factors, of `isocalc.layers.layers`.
    variable : {"singular", "lambda", "log"}
        What x is: a singular value s, its square λ, or log s.
    error : float, optional
        Distance from the law of a network, as predicted.

    Notes
    -----
    Theory (21) to (32).
    """

    name: ClassVar[str] = "layered"
    layers: Layers
    _: KW_ONLY
    variable: Variable = "singular"
    error: float | None = None

    def __post_init__(self) -> None:
        require_choice("variable", self.variable, VARIABLES)

    @classmethod
    def of(
        cls, network: ResNet | FeedForward, variable: Variable = "singular", *, error: float | None = None
    ) -> Self:
        """Return the law of a network."""
        return cls(layers(network), variable=variable, error=error)

    @property
    def _centre(self) -> Pairs:
        return self.layers.centre

    @cached_property
    def _centred(self) -> Centred:
        if self.layers.vanishes:
            return PointMasses(((-math.inf, 1.0),))
        if self.layers.gate:
            return SolvedLaw(GateLaw(*self.layers.gate))
        if not self.layers.factors:
            return PointMasses(((0.0, 1.0),))
        product, atoms = FreeProduct(self.layers.factors, self.layers.counts), atoms_of(self.layers)
        if sum(mass for _, mass in atoms) > 1 - _ROUNDING:
            return PointMasses(atoms)
        return SolvedLaw(ProductSource(product, atoms))
