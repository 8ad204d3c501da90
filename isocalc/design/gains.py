"""Gains: what makes up for how an activation changes the mean square of a signal and of a gradient."""

import math
from dataclasses import dataclass

from isocalc.activations.averages import averages
from isocalc.activations.catalogue import Activation, activation
from isocalc.errors import InvalidInputError, NoAnswerError, require_number
from isocalc.limits import LEAST_Q, MOST_Q
from isocalc.signal.criticality import at_q_star


@dataclass(frozen=True)
class Gains:
    """Scales σ_w of the weights, entries of variance σ_w²/N, for pre-activations of one variance.

    Attributes
    ----------
    activation : Activation
    forward : float or None
        1/√(E φ²), which keeps the mean square of the signal where there are no biases; ``None`` where φ = 0.
    backward : float or None
        1/√(E φ'²), which keeps that of the gradient, χ = 1; ``None`` where no gate opens.
    critical, critical_sigma_b : float or None
        The same, and the standard deviation of the biases with which the variance stays: the network is at
        the edge of chaos. ``None`` where there is no such network or its fixed point is not stable.
    why_not_critical : str
        Why there is no critical gain, empty where there is.
    pytorch : float or None
        The constant of ``torch.nn.init.calculate_gain``, ``None`` where it has none.
    """

    activation: Activation
    forward: float | None
    backward: float | None
    critical: float | None
    critical_sigma_b: float | None
    pytorch: float | None
    why_not_critical: str = ""


# torch.nn.init.calculate_gain; that of leaky ReLU depends on its slope.
_PYTORCH = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}

NO_GATE = "no gate opens: gradients are 0, so that there is no backward and no critical gain"


def gains(act: str | Activation, q: float = 1.0) -> Gains:
    """Return the gains of an activation, E f = E f(√q z) with z standard normal.

    Parameters
    ----------
    act : str or Activation
        Expressions made of steps too, such as ``"sign(x)"``, which have a forward gain alone.
    q : float
        Variance of the pre-activations, from 1e-100 to 1e20.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.

    Notes
    -----
    He et al., arXiv 1502.01852, eq. (10) and (14), for any activation; the critical gain is that of
    Schoenholz et al., arXiv 1611.01232: theory (19) and (20).

    Examples
    --------
    >>> found = gains("relu")
    >>> round(found.forward, 12), round(found.backward, 12), found.critical_sigma_b
    (1.414213562373, 1.414213562373, 0.0)
    """
    rule = f"a number from {LEAST_Q:g} to {MOST_Q:g}"
    q = require_number("q", q, rule, lambda value: LEAST_Q <= value <= MOST_Q)
    phi = function_of(act)
    found = averages(phi, q)
    backward = _inverse_root(float(found.gate))
    point, why_not = None, NO_GATE if backward is None else ""
    try:
        if backward is not None:
            point = at_q_star(phi, q)
            if point.stability == "half-stable":
                why_not = f"q* is half-stable, kept from {point.side} only ({point.shown})"
    except NoAnswerError as error:
        why_not = str(error).split(": ")[1]
    return Gains(
        activation=phi,
        forward=_inverse_root(float(found.second)),
        backward=backward,
        critical=backward if point and not why_not else None,
        critical_sigma_b=point.sigma_b if point and not why_not else None,
        pytorch=_of_pytorch(phi),
        why_not_critical=why_not,
    )


def function_of(act: str | Activation) -> Activation:
    """Return an activation or, of an expression made of steps, what it means.

    Raises
    ------
    InvalidInputError
        It is neither.
    """
    try:
        return activation(act)
    except InvalidInputError:
        from isocalc.activations.expressions.build import step_function_of  # noqa: PLC0415 - names do without

        steps = step_function_of(act) if isinstance(act, str) else None
        if steps is None:
            raise
        return steps


def _inverse_root(average: float) -> float | None:
    return 1 / math.sqrt(average) if 0 < average < math.inf else None


def _of_pytorch(act: Activation) -> float | None:
    family = act.name.partition(":")[0]
    if family == "leaky_relu" and act.slopes:
        return math.sqrt(2) / math.hypot(1.0, act.slopes[0])
    return _PYTORCH.get(family)
