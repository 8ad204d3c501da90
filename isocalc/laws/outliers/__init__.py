"""Outliers: the singular values that leave the law, O(1) of them, as N → ∞.

Given the forward pass, each weight matrix is a free one but in one direction, where what it makes of the
signal is known: a perturbation of rank one, correlated with the gates. The outliers are the zeros of a
determinant, 1 − K of these perturbations, at real z outside of the bulk. `depth_limit` has it for deep
post-activation networks, `sampled` at the network's depth on paths of gates, `feed_forward` by averages over
one layer at a time; `scan` finds where it changes its sign.
"""
# ruff: noqa: PLC0415 - where there is none for sure nothing is loaded

import math
from dataclasses import replace
from typing import NamedTuple

from isocalc.errors import NoAnswerError
from isocalc.laws.law import Law
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.signal.propagation import Propagation, propagate


class Outliers(NamedTuple):
    """The singular values of a network that leave its law, N → ∞.

    Attributes
    ----------
    above : tuple of float
        log λ, λ = s², of each above the bulk, descending.
    below : tuple of float
        log λ of each below the non-zero part of the bulk, ascending.
    missing : str or None
        In words: why they are not known for this network; ``None`` where they are.
    excess : float or None
        Limit of N (E λ − m₁) as N → ∞, m₁ the mean of the law: what outliers add, less what the bulk gives
        up; ``None`` where it is not known or not a double.
    """

    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()
    missing: str | None = None
    excess: float | None = None


def outliers(
    network: ResNet | FeedForward, *, signal: Propagation | None = None, law: Law | None = None
) -> Outliers:
    """Return the singular values of a network that leave its law.

    Parameters
    ----------
    network : ResNet or FeedForward
    signal : Propagation, optional
        Of the network, where it is known.
    law : Law, optional
        Of the network, where it is known.

    Raises
    ------
    NoAnswerError
        As `propagate`.
    """
    act = network.act
    if act.is_linear or not network.has_weights:
        return Outliers(excess=0.0)
    if isinstance(network, FeedForward):
        return _of_feed_forward(network, signal)
    if network.branch.normalises:
        return Outliers()
    signal = propagate(network) if signal is None else signal
    if not signal.c:
        return Outliers(excess=0.0)
    if not network.branch.acts_on_stream and network.depth >= min(MOST_LAYERS, max(DEEP, PER_C * signal.c)):
        return _deep(network, signal)
    return _at_depth(network, signal, law)


# Layers from which the limit of depth is taken, and for each unit of c: it is off by 0.3/L to 0.8/L in log λ
# at c from 1/2 to 1, by 1.5/L at c = 5.
DEEP, PER_C = 40, 20


def _of_feed_forward(network: FeedForward, signal: Propagation | None) -> Outliers:
    if network.tied:
        return Outliers(missing="outliers are not derived for tied weights")
    if len(set(network.layer_widths or ())) > 1 and network.weights == "orthogonal":
        return Outliers(missing="outliers are not derived for semi-orthogonal weights")
    if network.act.scale_free and network.input_variance is None and not network.sigma_b:
        network, signal = replace(network, input_variance=1.0), None
    from isocalc.laws.outliers.feed_forward import outliers_of

    signal = propagate(network) if signal is None else signal
    try:
        found = outliers_of(network, signal)
    except NoAnswerError as error:
        return Outliers(missing=str(error))
    exact = network.depth == 1 or (network.act.scale_free and not network.sigma_b)
    return Outliers(found.above, found.below, None, _finite(found.excess) if exact else None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _deep(network: ResNet, signal: Propagation) -> Outliers:
    if network.act.odd:
        return Outliers()
    from isocalc.laws.outliers.depth_limit import outliers_of

    found = outliers_of(network, signal)
    exact = network.act.scale_free and not network.sigma_b
    return Outliers(found.above, found.below, None, _finite(found.excess) if exact else None)


def _at_depth(network: ResNet, signal: Propagation, law: Law | None) -> Outliers:
    from isocalc.laws.outliers.sampled import outliers_of

    if network.depth > MOST_LAYERS:
        return Outliers(missing=f"outliers are not derived for {network.depth} layers of this kind")
    try:
        found = outliers_of(network, signal, _law(network) if law is None else law)
    except NoAnswerError as error:
        return Outliers(missing=f"the law is not solved: {error}")
    exact = network.act.scale_free and not network.sigma_b
    post = not network.branch.acts_on_stream and (network.depth == 1 or exact)
    return Outliers(found.above, found.below, None, _finite(found.excess) if post else None)


def _law(network: ResNet) -> Law:
    if network.branch.acts_on_stream and network.depth > 1:
        from isocalc.laws.paths.law import ExactLaw

        return ExactLaw.of(network)
    from isocalc.laws.free.law import LayeredLaw

    return LayeredLaw.of(network)


# Layers up to which paths are followed through every one.
MOST_LAYERS = 64
