"""The exact law of residual networks whose gates are correlated from layer to layer.

`gate_paths` draws paths of gates through the layers, `equations` solve for their law at many places together,
`bands` finds where it has its mass, `table` keeps it, `law` reads it: theory (44) to (48).
"""
