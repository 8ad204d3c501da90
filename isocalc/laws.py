"""The limiting law of the singular values of a network's input-output Jacobian."""
# ruff: noqa: PLC0415 - universal densities need not load the solvers

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.law import Law
from isocalc.law_choice import Choice, LawName, choose
from isocalc.limits import LEAST_PATHS, MOST_PATHS
from isocalc.network import FeedForward, ResNet, require_choice, require_network, require_whole
from isocalc.propagation import Propagation, propagate
from isocalc.universal_law import UniversalLaw
from isocalc.variables import Variable

__all__ = ["UniversalLaw", "law_of", "spectrum"]

# Layers times c of networks whose exact law takes seconds with 1024 gate paths, as measured, and of those
# with layers so strong, c/L alone, that it reaches down next to λ = 0.
_QUICK, _QUICK_WHERE_STRONG, _STRONG, _MOST_LAYERS = 2000.0, 600.0, 0.6, 128

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
        The signal or c overflows; a feed-forward network has no fixed point and no input variance.

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
) -> tuple[Law, Choice]:
    """Return the law of a network and the choice that it is of.

    Where another law may do instead of the exact one, that is solved at once, and taken if its error, as
    measured, is the smaller one.
    """
    if choice.instead is None:
        return law_of(network, choice, variable, paths=paths), choice
    try:
        law, others = law_of(network, choice, variable, paths=paths), choice.instead.error
        law.support()  # solved here, or not at all
        measured = law.error
        if measured is None or others is None or measured < others:
            return law, choice
        why = f"the exact law is off by {measured:.2g}, more than this one"
    except NoAnswerError as error:
        why = f"the exact law was not solved ({error})"
    choice = choice.instead._replace(why=f"{choice.instead.why}, {why}")
    return law_of(network, choice, variable, paths=paths), choice


def law_of(
    network: ResNet | FeedForward,
    choice: Choice,
    variable: Variable = "singular",
    *,
    paths: int | None = None,
) -> Law:
    """Return the law of a network that was chosen, `law_choice.choose`."""
    if isinstance(network, FeedForward) or choice.law == "layered":
        from isocalc.layered import LayeredLaw

        return LayeredLaw.of(network, variable, error=choice.error)
    if choice.law == "universal":
        c = propagate(network).c if choice.c is None else choice.c
        return UniversalLaw(c, depth=network.depth, skip=network.skip, variable=variable, error=choice.error)
    from isocalc.exact_law import ExactLaw

    law: Law = ExactLaw.of(network, variable, paths=paths)
    return law


def require_quick(network: ResNet, signal: Propagation | None = None) -> None:
    """Refuse a network whose exact law is likely to take minutes, or not to be solved.

    Raises
    ------
    NoAnswerError
        It is one.
    """
    signal = propagate(network) if signal is None else signal
    strongest = float(signal.c_per_layer.max()) / network.depth
    most = _QUICK if strongest <= _STRONG else _QUICK_WHERE_STRONG
    if min(network.depth, _MOST_LAYERS) * signal.c > most:
        raise NoAnswerError(
            f"its law is the exact one, which at c = {signal.c:.4g}, depth {network.depth} may take minutes: "
            "see isocalc density --law exact --summary, or isocalc mc"
        )
