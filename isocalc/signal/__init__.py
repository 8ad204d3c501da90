"""Mean field: how a signal's mean square and correlations travel through random networks, N → ∞.

`propagation` follows the mean square layer by layer and gives c of residual networks: theory (5) to (11).
Feed-forward networks: `fixed_points` has q*, χ, the phase and the depth scales, theory (12) to (17), with
what `correlation` knows of two inputs, theory (15) and (16); `criticality` solves for the edge of chaos, χ
= 1, theory (18) and (19); `phase_diagram` has arrays and pictures of all that. The numbers of the room are
in `tolerances`.
"""
