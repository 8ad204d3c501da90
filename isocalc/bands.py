"""The intervals that carry the density of a free product."""

import math
from typing import NamedTuple

from isocalc.edges import Edge, edge_between, open_end
from isocalc.errors import NoAnswerError
from isocalc.free_product import FreeProduct
from isocalc.layer_transform import Layer
from isocalc.scan import Scan

_SAME = 1e-14


class Band(NamedTuple):
    """An interval of y that carries a density, which may be infinite at its ends; ends may be infinite."""

    low: float
    high: float
    low_diverges: bool = False
    high_diverges: bool = False


def bands_of(product: FreeProduct, scan: Scan) -> tuple[Band, ...]:
    """Return the bands of a free product, ascending, from a scan with dead points beyond all finite ends."""
    runs, found = scan.runs(), []
    for place, (first, last) in enumerate(runs):
        low, high = Edge(-math.inf, diverges=False), Edge(math.inf, diverges=False)
        # A density at the first point has no edge before it, whatever rounding makes of the ranks.
        if place > 0 or (first > 0 and not reaches_zero(product)):
            last_below = scan.between(runs[place - 1][1], first) if place > 0 else -math.inf
            low = edge_between(product, float(scan.y[first]), float(scan.y[first - 1]), last_below)
        is_top = place == len(runs) - 1
        end = open_end(product) if is_top else None
        if end is not None and scan.y[last] <= end <= scan.y[min(last + 1, scan.y.size - 1)]:
            high = Edge(end)
        elif not is_top or (last + 1 < scan.y.size and not is_unbounded(product)):
            last_above = math.inf if is_top else scan.between(last, runs[place + 1][0])
            high = edge_between(product, float(scan.y[last]), float(scan.y[last + 1]), last_above)
        if not low.y <= scan.y[first] <= scan.y[last] <= high.y:
            raise NoAnswerError(
                f"the ends of the support were not found beside log z = {float(scan.y[first])!r}; "
                "the distribution function is known there"
            )
        found.append(Band(low.y, high.y, low.diverges, high.diverges))
    return tuple(found)


def is_unbounded(product: FreeProduct) -> bool:
    """Tell whether λ has no upper bound."""
    return any(factor.is_unbounded for factor in product.factors)


def reaches_zero(product: FreeProduct) -> bool:
    """Tell whether the density reaches down to λ = 0.

    The rank of the product is that of its narrowest place: the input or the open gates of a layer. The
    smallest singular values are next to 0 if two places are as narrow, or if open gates of the one are next
    to closed.
    """
    rank = 1 - product.mass_at_zero
    narrowest = float(math.isclose(rank, 1, rel_tol=_SAME))
    for factor, count in zip(product.factors, product.counts, strict=True):
        if not isinstance(factor, Layer):
            if factor.reaches_zero:
                return True
        elif math.isclose(factor.rank, rank, rel_tol=_SAME):
            if factor.reaches_zero:
                return True
            narrowest += 0 if factor.keeps_rank else count
    return narrowest > 1
