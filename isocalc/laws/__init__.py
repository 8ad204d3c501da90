"""Limiting laws of the singular values of a Jacobian, N → ∞, and which of them to take for a network.

`spectrum` is the way in and `law` the object that comes out. The universal law (Tarnowski et al. 2018) needs
one number; ``free`` solves products of free layers at their depth, ``paths`` networks whose gates are
correlated from layer to layer; ``gates`` has the law of φ'² that both are made of.
"""
