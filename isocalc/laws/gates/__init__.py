"""The law of a gate d = φ'(x)², x normal, and the averages over it that S-transforms are made of."""
