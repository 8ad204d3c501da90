"""Mean field: how a signal's mean square and correlations travel through random networks, N → ∞.

Propagation, fixed points, correlations, the edge of chaos and phase diagrams.
"""
