"""From a network to its law: which law is good enough, how far it is off and why, and the law itself.

`choose` decides, `law_of` solves, `spectrum` does both.
"""
# ruff: noqa: PLC0415 - universal densities need not load the solvers

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from isocalc.errors import InvalidInputError, NoAnswerError, require_choice, require_network, require_whole
from isocalc.laws.law import Law, Variable
from isocalc.laws.tolerances import (
    DEFAULT_PATHS,
    MOST_GROUPS,
    MOST_OF_VERY_STRONG,
    MOST_SECONDS,
    SECONDS_A_LAYER,
    SECONDS_A_LAYER_AND_C,
    VERY_STRONG,
)
from isocalc.laws.universal import UniversalLaw
from isocalc.limits import GOOD_ENOUGH, LEAST_PATHS, MOST_PATHS
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.signal.propagation import Propagation, propagate

if TYPE_CHECKING:
    from isocalc.laws.outliers import Outliers
    from isocalc.laws.universal_error import LawErrors


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
    from isocalc.laws.universal_error import has_free_layers, law_errors

    errors: LawErrors | None = None
    try:
        errors = law_errors(network, signal, own_gates=own_gates)
    except NoAnswerError as error:
        choice = _of_unknown_error(law, error, signal.c, free=has_free_layers(network))
    else:
        choice = _cheapest(errors, signal.c) if law == "auto" else _asked_for(law, errors, signal.c)
    if network.branch.acts_on_stream and not own_gates and choice.instead is not None:
        choice = choice.instead  # the exact law is that of own gates
    return choice._replace(errors=errors)


def _asked_for(law: Literal["universal", "layered"], errors: "LawErrors", c: float) -> Choice:
    """Return a law that was asked for, with its error."""
    distance = errors.universal if law == "universal" else errors.layered
    return Choice(law, _known(distance), _reason(errors, law), c)


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
        why = f"the universal law is off by {_told(errors.universal)}"
    layered = Choice("layered", _known(errors.layered), why, c)
    if errors.layered < GOOD_ENOUGH:
        return layered
    why += f", the layered one by {_told(errors.layered)}, through {_reason(errors, 'layered')}"
    return Choice("exact", None, why, c, layered)


def _known(distance: float | None) -> float | None:
    """Return a predicted distance; ``None`` where the prediction, which is from above, says nothing."""
    return distance if distance is not None and distance < 1 else None


def _told(distance: float) -> str:
    return "an unknown distance" if _known(distance) is None else f"{distance:.2g}"


def _reason(errors: "LawErrors", law: str) -> str:
    """Return what makes most of the error of the universal or the layered law."""
    parts = {
        "gates of few layers, which commute": errors.commuting,
        "the finite depth": 0.0 if law == "layered" else math.inf if errors.depth is None else errors.depth,
        "gates correlated across layers": math.inf if errors.correlated is None else errors.correlated,
    }
    return max(parts, key=lambda part: parts[part])


__all__ = ["UniversalLaw", "law_of", "spectrum"]


LAWS = ("auto", "universal", "layered", "exact")


def spectrum(
    network: ResNet | FeedForward,
    variable: Variable = "singular",
    law: LawName = "auto",
    paths: int | None = None,
) -> Law:
    """Return the limiting law of the singular values of a network's input-output Jacobian, N → ∞.

    Parameters
    ----------
    network : ResNet or FeedForward
        The network; signal propagation through it, by `propagate`, fixes the law.
    variable : {"singular", "lambda", "log"}
        The law's variable: a singular value s, its square λ, or log s.
    law : {"auto", "universal", "layered", "exact"}
        Auto: the first of these that is off by less than 0.002 in Kolmogorov-Smirnov distance, or the
        layered one where the exact one is not solved or measured to be further off.
        Universal: the limit L → ∞ of residual networks, off by O(1/L), 0.0014 at c = 1, L = 100.
        Layered: at the network's depth, as a free product of its layers; exact for feed-forward networks
        (rectangular and tied ones too), linear residual ones and pre-LayerNorm blocks, close for
        post-activation blocks of more than a few layers.
        Exact: of residual networks, gates correlated across layers included, as those of pre-activation
        blocks with a non-linear activation are: there the other two are off by a fixed amount at any depth.
    paths : int, optional
        Gate paths of the exact law: the more, the smaller its error.

    Returns
    -------
    UniversalLaw, LayeredLaw or ExactLaw
        Its attribute ``error`` is its predicted, of the exact law measured, distance from the network's law,
        ``None`` where that is not known.

    Raises
    ------
    InvalidInputError
        A feed-forward network has no universal or exact law of this kind; ``paths`` is not a whole number, or
        given for another law.
    NoAnswerError
        The signal or c overflows; a feed-forward network has no fixed point and no input variance, and φ'²
        no limit.

    Warns
    -----
    LimitWarning
        The variance of a feed-forward network without input variance grows without bound: the law is that of
        q → ∞.

    Notes
    -----
    The universal law is theory (33), the layered one theory (22), the exact one theory (44) to (48); auto
    chooses by the estimates of theory (39) to (43).
    """
    require_network(network, ResNet, FeedForward)
    require_choice("law", law, LAWS)
    if paths is not None:
        require_whole("paths", paths, LEAST_PATHS, MOST_PATHS)
        if law not in {"auto", "exact"}:
            raise InvalidInputError("paths", "left out with a law other than exact", paths)
    return taken(network, choose(network, law), variable, paths=paths)[0]


def taken(
    network: ResNet | FeedForward,
    choice: Choice,
    variable: Variable = "singular",
    *,
    paths: int | None = None,
    signal: Propagation | None = None,
) -> tuple[Law, Choice]:
    """Return the law of a network and the choice that it is of.

    Where another law may do instead of the exact one, that is solved at once, and taken if its error, as
    measured, is the smaller one.
    """
    if choice.instead is None:
        return law_of(network, choice, variable, paths=paths, signal=signal), choice
    others = choice.instead.error
    try:
        law = law_of(network, choice, variable, paths=paths, signal=signal)
        law.support()  # solved here, or not at all
        measured = law.error
        if measured is None or others is None or measured < others:
            return law, choice
        why = f"the exact law is off by {measured:.2g}, more than this one"
    except NoAnswerError as error:
        why = f"the exact law was not solved ({error})"
        if others is None:
            why += "; how far this one is off is not known"
    choice = choice.instead._replace(why=f"{choice.instead.why}, {why}")
    return law_of(network, choice, variable, paths=paths, signal=signal), choice


def law_of(
    network: ResNet | FeedForward,
    choice: Choice,
    variable: Variable = "singular",
    *,
    paths: int | None = None,
    signal: Propagation | None = None,
) -> Law:
    """Return the law of a network that was chosen, `spectrum.choose`; its signal, where it is known."""
    law = _solver(network, choice, variable, paths)
    law.leave(_Leaving(network, law, signal))
    return law


@dataclass(eq=False)
class _Leaving:
    """What leaves the law of a network, found once for all variables of it."""

    network: ResNet | FeedForward
    law: Law
    signal: Propagation | None
    own_gates: bool = True

    @cached_property
    def found(self) -> "Outliers":
        from isocalc.laws.outliers import Outliers, outliers

        if not self.own_gates:  # which alone know what the weights do to the signal
            return Outliers(excess=0.0)
        return outliers(self.network, signal=self.signal, law=self.law)


def of_independent_gates(law: Law, network: ResNet | FeedForward) -> Law:
    """Return a law of a network, its outliers those of gates that are independent of the weights: none."""
    law.leave(_Leaving(network, law, None, own_gates=False))
    return law


def _solver(network: ResNet | FeedForward, choice: Choice, variable: Variable, paths: int | None) -> Law:
    if isinstance(network, FeedForward) or choice.law == "layered":
        from isocalc.laws.free.law import LayeredLaw

        return LayeredLaw.of(network, variable, error=choice.error)
    if choice.law == "universal":
        c = propagate(network).c if choice.c is None else choice.c
        return UniversalLaw(c, depth=network.depth, skip=network.skip, variable=variable, error=choice.error)
    from isocalc.laws.paths.law import ExactLaw

    law: Law = ExactLaw.of(network, variable, paths=paths)
    return law


def expected_seconds(network: ResNet, signal: Propagation | None = None, paths: int | None = None) -> float:
    """Return about how long the exact law of a network takes, on one core of a machine of 2025."""
    signal = propagate(network) if signal is None else signal
    groups = min(network.depth, MOST_GROUPS)
    share = (DEFAULT_PATHS if paths is None else paths) / DEFAULT_PATHS
    return groups * (SECONDS_A_LAYER + SECONDS_A_LAYER_AND_C * signal.c) * share


def require_quick(network: ResNet, signal: Propagation | None = None) -> None:
    """Refuse a network whose exact law is likely to take long, or not to be solved.

    Raises
    ------
    NoAnswerError
        It is one.
    """
    signal = propagate(network) if signal is None else signal
    strong = float(signal.c_per_layer.max()) / network.depth > VERY_STRONG
    many = min(network.depth, MOST_GROUPS) * signal.c > MOST_OF_VERY_STRONG
    if (strong and many) or expected_seconds(network, signal) > MOST_SECONDS:
        raise NoAnswerError(
            f"its law is the exact one, which at c = {signal.c:.4g}, depth {network.depth} may take minutes",
            ("take the exact law", "simulate"),
        )
