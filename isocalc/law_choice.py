"""Which law of a network is good enough, how far it is off, and why."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.limits import GOOD_ENOUGH
from isocalc.network import FeedForward, ResNet
from isocalc.propagation import propagate

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


def choose(network: ResNet | FeedForward, law: LawName = "auto", *, own_gates: bool = True) -> Choice:
    """Return a law of a network: for "auto" the cheapest that is off by less than 0.002.

    Parameters
    ----------
    network : ResNet or FeedForward
    law : {"auto", "universal", "layered", "exact"}
    own_gates : bool
        Whether gates are those of the network, not independent ones.

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
    return _of_residual(network, law, own_gates=own_gates)


def _of_residual(network: ResNet, law: LawName, *, own_gates: bool) -> Choice:
    from isocalc.universal_error import law_errors  # noqa: PLC0415 - feed-forward networks need none

    signal = propagate(network)
    try:
        errors = law_errors(network, signal, own_gates=own_gates)
    except NoAnswerError as error:
        name: Literal["universal", "layered"] = "layered" if law == "layered" else "universal"
        return Choice(name, None, f"its error is not known: {error}", c=signal.c)
    reason = _reason(errors) or "the finite depth"
    if law in {"universal", "layered"}:
        by_name = {
            "universal": Choice("universal", errors.universal, reason, signal.c),
            "layered": Choice("layered", errors.layered, reason, signal.c),
        }
        return by_name[law]
    if errors.universal is None or errors.layered is None:
        return Choice("exact", None, "gates of layers as strong as these are correlated", signal.c)
    if errors.universal < GOOD_ENOUGH:
        return Choice("universal", errors.universal, "good enough", signal.c)
    why = f"the universal law is off by {errors.universal:.2g}"
    if errors.layered < GOOD_ENOUGH:
        return Choice("layered", errors.layered, why, signal.c)
    why += f", the layered one by {errors.layered:.2g}, through {reason}"
    return Choice("exact", None, why, signal.c)


def _reason(errors: "LawErrors") -> str:
    """Return what keeps the layers of a network from being free, empty where next to nothing does."""
    if errors.correlated is None or errors.correlated > errors.commuting:
        return "gates correlated across layers"
    return "gates of few layers, which commute" if errors.commuting else ""
