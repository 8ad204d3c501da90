"""Singular values that leave the law: not derived yet."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from isocalc.laws.law import Law
    from isocalc.networks.descriptions import FeedForward, ResNet
    from isocalc.signal.propagation import Propagation


class Outliers(NamedTuple):
    """The outliers of a network.

    Attributes
    ----------
    above, below : tuple of float
        log λ of each singular value above the bulk, descending, and below it, ascending.
    missing : str or None
        Why they are not derived, in words; ``None`` where they are.
    excess : float or None
        The limit of N (E λ − m₁).
    """

    above: tuple[float, ...]
    below: tuple[float, ...]
    missing: str | None
    excess: float | None


def outliers(
    network: "ResNet | FeedForward",  # noqa: ARG001
    *,
    signal: "Propagation | None" = None,  # noqa: ARG001
    law: "Law | None" = None,  # noqa: ARG001
) -> Outliers:
    """Return the outliers of a network."""
    return Outliers((), (), "outliers are not derived yet", None)
