"""Limiting laws of the singular values of a Jacobian, N → ∞, and which of them to take for a network.

`spectrum` is the way in and `law` the object that comes out. The universal law (`universal`) needs one
number; `free` solves products of free layers at their depth, `paths` networks whose gates are correlated from
layer to layer, both made of `gates`, the law of φ'². `universal_error` says how far the cheaper laws are off.
`support` and `solved_law` turn a law that is solved point by point into one with edges, quantiles and
moments. The numbers of the room are in `tolerances`; theory (21) to (48).
"""
