"""Outliers: the singular values that leave the law, O(1) of them, as N → ∞.

Given the forward pass, each weight matrix is a free one but in one direction, where what it makes of the
signal is known: a perturbation of rank one, correlated with the gates. The outliers are the zeros of a
determinant, 1 − K of these perturbations, at real z outside of the bulk. `depth_limit` has it for deep
post-activation networks, `sampled` at the network's depth on paths of gates, `feed_forward` by averages over
one layer at a time; `scan` finds where it changes its sign. Theory (49a) to (49c).
"""
# ruff: noqa: PLC0415 - where there is none for sure nothing is loaded

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from isocalc.errors import NoAnswerError
from isocalc.laws.law import Law
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.signal.propagation import Propagation, propagate

if TYPE_CHECKING:
    from isocalc.laws.outliers.scan import Found

# Layers from which the limit of depth is taken, or groups of layers, and those it wants for each unit of c:
# the limit is off by 0.3/L to 0.8/L in log λ at c from 1/2 to 1, by 1.5/L at c = 5.
DEEP, PER_C = 40, 5
# Layers of a negative skip, whose direction alternates.
MOST_ALTERNATING = 2000
# |log a^L| of the skip connections up to which layers are taken in groups.
FORGETS = 1.0


class Outliers(NamedTuple):
    """The singular values of a network that leave its law, N → ∞.

    Attributes
    ----------
    above : tuple of float
        log λ, λ = s², of each above the bulk, descending.
    below : tuple of float
        log λ of each below the non-zero part of the bulk, ascending.
    missing : str or None
        In words: why they are not known for this network, or only on one side; ``None`` where they are.
    excess : float or None
        Limit of N (E λ − m₁) as N → ∞, m₁ the mean of the law: what outliers add, less what the bulk gives
        up. ``None`` where it is not a double, or not derived: where gates depend on the variance of
        pre-activations, which fluctuates at width N.
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
        Of the network, where it is known: its edges are where outliers are looked for.

    Returns
    -------
    Outliers
        Their log λ, and what they add to E λ.

    Raises
    ------
    NoAnswerError
        As `propagate`.

    Notes
    -----
    In networks of at most 40 layers log λ is good to 0.003 where gates are smooth or piecewise linear, to
    0.01 where φ has far kinks; deeper post-activation ones have it to O(1/L), 0.004 at L = 100, σ_w = 1, for
    ReLU; feed-forward ones to 1e-9, but where layers are of more than 40 kinds: those whose q differ by less
    than 2 % are then taken as one. At width N it fluctuates by some N^(−1/2).

    There is none for sure, and nothing is computed: for linear φ, and in the limit of depth for odd φ, where
    κ = 0. Under LayerNorm, of Gaussian weights, the determinant has no zero in any network tried, nor was an
    outlier seen.
    """
    act = network.act
    if act.is_linear or not network.has_weights:
        return Outliers(excess=0.0)
    if isinstance(network, FeedForward):
        return _of_feed_forward(network, signal)
    if network.branch.normalises:
        two = network.weights == "orthogonal"
        return Outliers(missing="outliers are not derived for two orthogonal matrices" if two else None)
    signal = propagate(network) if signal is None else signal
    if not signal.c:
        return Outliers(excess=0.0)
    return _of_residual(network, signal, law)


def _of_feed_forward(network: FeedForward, signal: Propagation | None) -> Outliers:
    if network.tied:
        return Outliers(missing="outliers are not derived for tied weights")
    if len(set(network.layer_widths or ())) > 1 and network.weights == "orthogonal":
        return Outliers(missing="outliers are not derived for semi-orthogonal weights")
    any_scale = network.act.scale_free and not network.sigma_b
    if any_scale and network.input_variance is None:
        network, signal = replace(network, input_variance=1.0), None
    from isocalc.laws.outliers.feed_forward import outliers_of

    signal = propagate(network) if signal is None else signal
    try:
        found = outliers_of(network, signal)
    except NoAnswerError as error:
        return Outliers(missing=str(error))
    return Outliers(found.above, found.below, None, _known(found.excess, any_scale or network.depth == 1))


def _of_residual(network: ResNet, signal: Propagation, law: Law | None) -> Outliers:
    deep, pre = network.depth >= DEEP, network.branch.acts_on_stream
    if deep and (why := _not_derived(network, signal)):
        return Outliers(missing=why)
    exact = network.act.scale_free and not network.sigma_b and not pre
    if deep and not pre:
        if network.act.odd:
            return Outliers()
        from isocalc.laws.outliers.depth_limit import outliers_of as in_limit

        found = _beyond(in_limit(network, signal), law)
        return Outliers(found.above, found.below, None, _known(found.excess, exact))
    from isocalc.laws.outliers.sampled import outliers_of

    try:
        found = outliers_of(network, signal, _law(network) if law is None else law)
    except NoAnswerError as error:
        return Outliers(missing=str(error))
    exact |= network.depth == 1 and not pre
    return Outliers(found.above, found.below, found.missing, _known(found.excess, exact))


def _beyond(found: "Found", law: Law | None) -> "Found":
    """Return the outliers beyond the edges of a law, which knows them better than the limit does."""
    if law is None:
        return found
    low, high = 2 * law.log_edge_lower, 2 * law.log_edge_upper
    above = tuple(place for place in found.above if place > high)
    return found._replace(above=above, below=tuple(place for place in found.below if place < low))


def _not_derived(network: ResNet, signal: Propagation) -> str:
    """Return why a deep network has no limit that is taken here, "" where it has."""
    if signal.c > network.depth / PER_C:
        return f"outliers are not derived for {network.depth} layers as strong as these"
    if network.branch.acts_on_stream:
        forgets = network.depth * abs(math.log(abs(network.skip))) > FORGETS
        return "outliers are not derived for many gates that forget the input" if forgets else ""
    many = network.skip < 0 and network.depth > MOST_ALTERNATING
    return "outliers are not derived for thousands of layers of a negative skip" if many else ""


def _known(excess: float, exact: bool) -> float | None:  # noqa: FBT001 - private, and always given
    return excess if exact and math.isfinite(excess) else None


def _law(network: ResNet) -> Law:
    if network.branch.acts_on_stream and network.depth > 1:
        from isocalc.laws.paths.law import ExactLaw

        return ExactLaw.of(network)
    from isocalc.laws.free.law import LayeredLaw

    return LayeredLaw.of(network)
