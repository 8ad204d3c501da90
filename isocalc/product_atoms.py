"""Point masses of a free product of layers.

A product of free positive laws has a point mass at Π a_l where Σ (1 − w_l) < 1, w_l the mass of factor l at
a_l, and none elsewhere but at 0; its mass is 1 − Σ (1 − w_l) (Bercovici and Voiculescu 1998; Belinschi
2003). At most one factor can then be at a place that has not its largest mass, since two would miss 1/2 each.
"""

import math

from isocalc.layers import Layers

Pairs = tuple[tuple[float, float], ...]

# Less is rounding.
_LEAST = 1e-15


def atoms_of(layers: Layers) -> Pairs:
    """Return the point masses of y = log λ − centre as (y, mass), ascending; y is −inf where λ is 0."""
    at_zero = max((factor.mass_at_zero for factor in layers.factors), default=0.0)
    found = {-math.inf: at_zero}
    tops, missing, place = [], 0.0, 0.0
    for factor, count in zip(layers.factors, layers.counts, strict=True):
        top = max(factor.point_masses, key=lambda pair: pair[1], default=(0.0, 0.0))
        tops.append(top)
        missing += count * (1 - top[1])
        place += count * top[0]
    found[place] = 1 - missing
    for factor, top in zip(layers.factors, tops, strict=True):
        for y, mass in factor.point_masses:
            if y != top[0]:
                found[place - top[0] + y] = 1 - missing - top[1] + mass
    return tuple(sorted((y, mass) for y, mass in found.items() if mass > _LEAST))
