"""Singular values of the input-output Jacobian of random deep networks.

Public names are loaded on first use, so that ``import isocalc`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isocalc import criticality as criticality
    from isocalc import edge_targets as edge_targets
    from isocalc import gains as gains
    from isocalc import initialize as initialize
    from isocalc import judge as judge
    from isocalc import measure as measure
    from isocalc import replicates as replicates
    from isocalc import schemes as schemes
    from isocalc import simulate as simulate
    from isocalc import source_code as source_code
    from isocalc.activations import Activation as Activation
    from isocalc.activations import activation as activation
    from isocalc.diagram import PhaseDiagram as PhaseDiagram
    from isocalc.diagram import phase_diagram as phase_diagram
    from isocalc.errors import InvalidInputError as InvalidInputError
    from isocalc.errors import IsocalcError as IsocalcError
    from isocalc.errors import NoAnswerError as NoAnswerError
    from isocalc.feedforward import FixedPoint as FixedPoint
    from isocalc.feedforward import fixed_points as fixed_points
    from isocalc.laws import spectrum as spectrum
    from isocalc.network import FeedForward as FeedForward
    from isocalc.network import ResNet as ResNet
    from isocalc.propagation import Propagation as Propagation
    from isocalc.propagation import propagate as propagate
    from isocalc.replicates import Replicate as Replicate
    from isocalc.replicates import run as run
    from isocalc.simulate import spectra as spectra
    from isocalc.universal_law import UniversalLaw as UniversalLaw

__version__ = "0.1.0"

_HOME = {
    "Activation": "activations",
    "activation": "activations",
    "PhaseDiagram": "diagram",
    "phase_diagram": "diagram",
    "InvalidInputError": "errors",
    "IsocalcError": "errors",
    "NoAnswerError": "errors",
    "FeedForward": "network",
    "ResNet": "network",
    "FixedPoint": "feedforward",
    "fixed_points": "feedforward",
    "Propagation": "propagation",
    "propagate": "propagation",
    "Replicate": "replicates",
    "run": "replicates",
    "spectra": "simulate",
    "UniversalLaw": "universal_law",
    "spectrum": "laws",
}
# Modules of the public API that are reached as attributes.
_MODULES = (
    "criticality",
    "edge_targets",
    "gains",
    "initialize",
    "judge",
    "measure",
    "replicates",
    "schemes",
    "simulate",
    "source_code",
)

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names are strings, one step removed


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"isocalc.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'isocalc' has no attribute {name!r}")
    return getattr(import_module(f"isocalc.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*__all__, *_MODULES))
