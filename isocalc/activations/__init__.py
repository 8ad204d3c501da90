"""φ and φ': the catalogue, expressions of x, functions of the user's own, and their Gaussian averages.

An activation is data (`isocalc.activations.definition`): two functions and what exact averages over them
need to know. To add one, write its formula in `formulas` and its row in `catalogue`; help, completion,
documents and tests follow.
"""
