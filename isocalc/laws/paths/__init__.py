"""Residual networks with correlated gates: freeness with amalgamation over the neurons."""
