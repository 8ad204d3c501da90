"""The law of a gate d = φ'(x)², x normal, and the averages over it that S-transforms are made of.

`contours` finds where d rises and falls and paths to average it along, `nodes` makes a rule of nodes and
weights of them, and the averages: theory (26). `covariances` are those of a neuron's gates in two layers,
which κ is made of: theory (41).
"""
