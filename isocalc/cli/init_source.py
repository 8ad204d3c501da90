"""The code that ``isocalc init --emit`` prints, and what its first lines say."""
# ruff: noqa: PLC0415 - numerics load when a command computes

from typing import TYPE_CHECKING, Any

from isocalc.errors import InvalidInputError, NoAnswerError

if TYPE_CHECKING:
    from isocalc.critical_point import CriticalPoint
    from isocalc.law import Law
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
            network, law = found if isinstance(found, tuple) else (found, None)
            return source(network, framework, _about_residual(network, law))
        return source(found.network(net.depth, net.weights), framework, _about_critical(net, found))
    except InvalidInputError as error:
        error.parameter = "emit"
        raise


def _about_residual(net: "ResNet", law: "Law | None") -> str:
    from isocalc.law_choice import choose
    from isocalc.laws import require_quick, taken
    from isocalc.propagation import propagate

    signal = propagate(net)
    try:
        if law is None:
            choice = choose(net, signal=signal)
            if choice.law == "exact":
                require_quick(net, signal)
            law, _ = taken(net, choice)
        ends = f"from {law.edge_lower:.6g} to {law.edge_upper:.6g} ({law.name} law)"
        edges = f", singular values of the Jacobian {ends}"
    except NoAnswerError as error:
        edges = f"; the singular values of the Jacobian are not known: {error}"
    shape = {"post": "phi(W x + b)", "pre": "W phi(x) + b", "preln": "W2 phi(W1 LayerNorm(x) + b)"}[net.block]
    return (
        f"{net.depth} residual blocks x + {shape}, phi = {net.act.name}, {net.weights} weights:\n"
        f"c = {signal.c:.6g}{edges},\n"
        f"for inputs whose entries have mean square {net.input_variance:.6g}{_beyond(net)}."
    )


def _beyond(net: "ResNet | FeedForward") -> str:
    """Say what the law leaves out where φ has a mean, which the signals of all neurons then share."""
    from isocalc.propagation import can_leave_law

    if not can_leave_law(net):
        return ""
    return ";\nbut one, in the signal's direction, can lie far outside (isocalc mc --spectrum shows it)"


def _about_critical(net: "FeedForward", point: "CriticalPoint") -> str:
    from dataclasses import replace

    spread = point.sigma2_jjt(net.depth, net.weights)
    place = "chi = 1" if net.act.jumps else "edge of chaos"
    text = (
        f"{net.depth} layers phi(W x + b), phi = {net.act.name}, {net.weights} weights, {place}:\n"
        f"squared singular values of the Jacobian of mean 1 and variance {spread:.6g}"
    )
    network, inputs = point.network(net.depth, net.weights), ""
    if point.q_star:
        start = (point.q_star - point.sigma_b**2) / point.sigma_w**2
        network = replace(network, input_variance=start)
        inputs = f",\nfor inputs whose entries have mean square {start:.6g}"
        if point.side:
            from_where = "least" if point.side == "above" else "most"
            inputs = f",\nfor inputs whose entries have a mean square of at {from_where} {start:.10g}"
    elif point.q_star is not None:
        inputs = ", for small inputs"
    return f"{text}{inputs}{_beyond(network)}."
