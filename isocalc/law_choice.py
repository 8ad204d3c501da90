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
    instead : Choice or None
        What to take where the exact law is not solved, or is measured to be further off.
    errors : LawErrors or None
        The errors of laws that were predicted.
    """

    law: Literal["universal", "layered", "exact"]
    error: float | None
    why: str = ""
    c: float | None = None
    instead: "Choice | None" = None
    errors: "LawErrors | None" = None


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


def _of_residual(
    network: ResNet, law: Literal["auto", "universal", "layered"], signal: Propagation, *, own_gates: bool
) -> Choice:
    # Feed-forward networks need none.
    from isocalc.universal_error import has_free_layers, law_errors  # noqa: PLC0415

    try:
        errors = law_errors(network, signal, own_gates=own_gates)
    except NoAnswerError as error:
        return _of_unknown_error(law, error, signal.c, free=has_free_layers(network, own_gates=own_gates))
    if law == "auto":
        return _cheapest(errors, signal.c)._replace(errors=errors)
    distance = errors.universal if law == "universal" else errors.layered
    return Choice(law, distance, _reason(errors, law), signal.c, errors=errors)


def _of_unknown_error(
    law: Literal["auto", "universal", "layered"], error: NoAnswerError, c: float, *, free: bool
) -> Choice:
    """Return a choice without predictions; for "auto" a law at the network's depth."""
    why = f"its error is not known: {error}"
    if law == "universal":
        return Choice(law, None, why, c)
    why = f"the universal law's error is not known: {error}" if law == "auto" else why
    layered = Choice("layered", 0.0 if free else None, why, c)
    return layered if free or law == "layered" else Choice("exact", None, why, c, layered)


def _cheapest(errors: "LawErrors", c: float) -> Choice:
    """Return the cheapest law of a residual network with an error that is good enough."""
    if errors.layered is None:
        why = "gates of layers as strong as these are correlated"
        return Choice("exact", None, why, c, Choice("layered", None, why, c))
    if errors.universal is None:
        why = f"the universal law is not computed at c = {c:.6g}"
    elif errors.universal < GOOD_ENOUGH:
        return Choice("universal", errors.universal, "good enough", c)
    else:
        why = f"the universal law is off by {errors.universal:.2g}"
    layered = Choice("layered", errors.layered, why, c)
    if errors.layered < GOOD_ENOUGH:
        return layered
    why += f", the layered one by {errors.layered:.2g}, through {_reason(errors, 'layered')}"
    return Choice("exact", None, why, c, layered)


def _reason(errors: "LawErrors", law: str) -> str:
    """Return what makes most of the error of the universal or the layered law."""
    parts = {
        "gates of few layers, which commute": errors.commuting,
        "the finite depth": 0.0 if law == "layered" else math.inf if errors.depth is None else errors.depth,
        "gates correlated across layers": math.inf if errors.correlated is None else errors.correlated,
    }
    return max(parts, key=lambda part: parts[part])
