"""Singular values of the input-output Jacobian of random deep networks.

Public names are loaded on first use, so that ``import isocalc`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isocalc.activations.catalogue import Activation as Activation
    from isocalc.activations.catalogue import activation as activation
    from isocalc.design import gains as gains
    from isocalc.design import initialize as edge_targets  # noqa: F401 - a second, older name of it
    from isocalc.design import initialize as initialize
    from isocalc.design import schemes as schemes
    from isocalc.design import source_code as source_code
    from isocalc.errors import InvalidInputError as InvalidInputError
    from isocalc.errors import IsocalcError as IsocalcError
    from isocalc.errors import LimitWarning as LimitWarning
    from isocalc.errors import NoAnswerError as NoAnswerError
    from isocalc.judging import judge as judge
    from isocalc.laws.spectrum import spectrum as spectrum
    from isocalc.laws.universal import UniversalLaw as UniversalLaw
    from isocalc.networks.descriptions import FeedForward as FeedForward
    from isocalc.networks.descriptions import ResNet as ResNet
    from isocalc.pytorch import measure as measure
    from isocalc.signal import criticality as criticality
    from isocalc.signal.fixed_points import FixedPoint as FixedPoint
    from isocalc.signal.fixed_points import fixed_points as fixed_points
    from isocalc.signal.phase_diagram import PhaseDiagram as PhaseDiagram
    from isocalc.signal.phase_diagram import phase_diagram as phase_diagram
    from isocalc.signal.propagation import Propagation as Propagation
    from isocalc.signal.propagation import propagate as propagate
    from isocalc.simulation import replicates as replicates
    from isocalc.simulation import simulate as simulate
    from isocalc.simulation.replicates import Replicate as Replicate
    from isocalc.simulation.replicates import run as run
    from isocalc.simulation.simulate import spectra as spectra

__version__ = "0.1.0"

_HOME = {
    "Activation": "activations.catalogue",
    "activation": "activations.catalogue",
    "PhaseDiagram": "signal.phase_diagram",
    "phase_diagram": "signal.phase_diagram",
    "InvalidInputError": "errors",
    "IsocalcError": "errors",
    "LimitWarning": "errors",
    "NoAnswerError": "errors",
    "FeedForward": "networks.descriptions",
    "ResNet": "networks.descriptions",
    "FixedPoint": "signal.fixed_points",
    "fixed_points": "signal.fixed_points",
    "Propagation": "signal.propagation",
    "propagate": "signal.propagation",
    "Replicate": "simulation.replicates",
    "run": "simulation.replicates",
    "spectra": "simulation.simulate",
    "UniversalLaw": "laws.universal",
    "spectrum": "laws.spectrum",
}
# Modules of the public API that are reached as attributes.
_MODULES = {
    "criticality": "signal.criticality",
    "edge_targets": "design.initialize",
    "gains": "design.gains",
    "initialize": "design.initialize",
    "judge": "judging.judge",
    "measure": "pytorch.measure",
    "replicates": "simulation.replicates",
    "schemes": "design.schemes",
    "simulate": "simulation.simulate",
    "source_code": "design.source_code",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names are strings, one step removed


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"isocalc.{_MODULES[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'isocalc' has no attribute {name!r}")
    return getattr(import_module(f"isocalc.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*__all__, *_MODULES))
