"""Singular values of the input-output Jacobian of random deep networks.

Public names are loaded on first use, so that ``import isocalc`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isocalc.activations import Activation as Activation
    from isocalc.activations import activation as activation
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
    from isocalc.universal_law import UniversalLaw as UniversalLaw

__version__ = "0.1.0"

_HOME = {
    "Activation": "activations",
    "activation": "activations",
    "InvalidInputError": "errors",
    "IsocalcError": "errors",
    "NoAnswerError": "errors",
    "FeedForward": "network",
    "ResNet": "network",
    "FixedPoint": "feedforward",
    "fixed_points": "feedforward",
    "Propagation": "propagation",
    "propagate": "propagation",
    "UniversalLaw": "universal_law",
    "spectrum": "laws",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names are strings, one step removed


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'isocalc' has no attribute {name!r}")
    return getattr(import_module(f"isocalc.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
