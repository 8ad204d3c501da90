"""The code that ``isocalc init --emit`` prints, and what its first lines say."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from typing import TYPE_CHECKING, Any

from isocalc.errors import InvalidInputError
from isocalc.limits import GOOD_ENOUGH

if TYPE_CHECKING:
    from isocalc.critical_point import CriticalPoint
    from isocalc.network import FeedForward, ResNet


def code(net: "ResNet | FeedForward", found: Any, framework: Any) -> str:
    """Return the code of a residual network, or of a critical point of a feed-forward one.

    Raises
    ------
    InvalidInputError
        The activation is not one of isocalc's own.
    """
    from isocalc.network import ResNet
    from isocalc.source_code import source

    try:
        if isinstance(net, ResNet):
            return source(found, framework, _about_residual(found))
        return source(found.network(net.depth, net.weights), framework, _about_critical(net, found))
    except InvalidInputError as error:
        error.parameter = "emit"
        raise


def _about_residual(net: "ResNet") -> str:
    from isocalc.laws import UniversalLaw
    from isocalc.propagation import propagate
    from isocalc.universal_error import law_errors

    c, error = propagate(net).c, law_errors(net).universal
    off = "" if error is not None and error < GOOD_ENOUGH else " or so: the universal law is off here"
    law = UniversalLaw(c, depth=net.depth, skip=net.skip)
    shape = {"post": "phi(W x + b)", "pre": "W phi(x) + b", "preln": "W2 phi(W1 LayerNorm(x) + b)"}[net.block]
    return (
        f"{net.depth} residual blocks x + {shape}, phi = {net.act.name}, {net.weights} weights:\n"
        f"c = {c:.6g}, singular values of the Jacobian from {law.s_min:.6g} to {law.s_max:.6g}{off},\n"
        f"for inputs whose entries have mean square {net.input_variance:.6g}."
    )


def _about_critical(net: "FeedForward", point: "CriticalPoint") -> str:
    spread = point.sigma2_jjt(net.depth, net.weights)
    text = (
        f"{net.depth} layers phi(W x + b), phi = {net.act.name}, {net.weights} weights, edge of chaos:\n"
        f"squared singular values of the Jacobian of mean 1 and variance {spread:.6g}"
    )
    if not point.q_star:
        return f"{text}{'' if point.q_star is None else ', for small inputs'}."
    start = (point.q_star - point.sigma_b**2) / point.sigma_w**2
    return f"{text},\nfor inputs whose entries have mean square {start:.6g}."
