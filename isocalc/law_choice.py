"""Which law of a network is good enough, how far it is off, and why."""

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import GOOD_ENOUGH
from isocalc.network import FeedForward, ResNet
from isocalc.propagation import Propagation, propagate

if TYPE_CHECKING:
    from isocalc.universal_error import LawErrors

LawName = Literal["auto", "universal", "layered", "exact"]


class Choice(NamedTuple):
    """A law of a network.

    Attributes
    ----------
    law : {"universal", "layered", "exact"}
    error : float or None
        Its Kolmogorov-Smirnov distance from the network's law, N → ∞, as predicted; ``None`` where it is not
        known: of the exact law, which measures it, and of what cannot be predicted.
    why : str
        In words: why it was chosen or, where it was asked for, through what it is off most.
    c : float or None
        The network's parameter, where it was computed.
    """

    law: Literal["universal", "layered", "exact"]
    error: float | None
    why: str = ""
    c: float | None = None


def choose(
    network: ResNet | FeedForward,
    law: LawName = "auto",
    *,
    own_gates: bool = True,
    signal: Propagation | None = None,
) -> Choice:
    """Return a law of a network: for "auto" the cheapest that is off by less than 0.002.

    Parameters
    ----------
    network : ResNet or FeedForward
    law : {"auto", "universal", "layered", "exact"}
    own_gates : bool
        Whether gates are those of the network, not independent ones.
    signal : Propagation, optional
        Of a residual network, where it is known.

    Raises
    ------
    InvalidInputError
        A feed-forward network has the layered law alone.
    NoAnswerError
        The parameter c overflows.
    """
    if isinstance(network, FeedForward):
        if law in {"universal", "exact"}:
            raise InvalidInputError("law", "layered for a feed-forward network", law)
        return Choice("layered", 0.0, "exact for feed-forward networks" if law == "auto" else "")
    if law == "exact":
        return Choice("exact", None)
    return _of_residual(network, law, propagate(network) if signal is None else signal, own_gates=own_gates)


def _of_residual(network: ResNet, law: LawName, signal: Propagation, *, own_gates: bool) -> Choice:
    from isocalc.universal_error import law_errors  # noqa: PLC0415 - feed-forward networks need none

    try:
        errors = law_errors(network, signal, own_gates=own_gates)
    except NoAnswerError as error:
        name: Literal["universal", "layered"] = "layered" if law == "layered" else "universal"
        return Choice(name, None, f"its error is not known: {error}", c=signal.c)
    if law == "universal":
        return Choice(law, errors.universal, _reason(errors, law), signal.c)
    if law == "layered":
        return Choice(law, errors.layered, _reason(errors, law), signal.c)
    return cheapest(errors, signal.c)


def cheapest(errors: "LawErrors", c: float) -> Choice:
    """Return the cheapest law of a residual network with an error that is good enough."""
    if errors.universal is None or errors.layered is None:
        return Choice("exact", None, "gates of layers as strong as these are correlated", c)
    if errors.universal < GOOD_ENOUGH:
        return Choice("universal", errors.universal, "good enough", c)
    why = f"the universal law is off by {errors.universal:.2g}"
    if errors.layered < GOOD_ENOUGH:
        return Choice("layered", errors.layered, why, c)
    why += f", the layered one by {errors.layered:.2g}, through {_reason(errors, 'layered')}"
    return Choice("exact", None, why, c)


def _reason(errors: "LawErrors", law: str) -> str:
    """Return what makes most of the error of the universal or the layered law."""
    parts = {
        "gates of few layers, which commute": errors.commuting,
        "the finite depth": errors.depth if law == "universal" else 0.0,
        "gates correlated across layers": math.inf if errors.correlated is None else errors.correlated,
    }
    return max(parts, key=lambda part: parts[part])
