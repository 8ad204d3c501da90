"""The exact law of residual networks whose gates are correlated from layer to layer.

`gate_paths` draws paths of gates through the layers, `equations` and its `kernels` solve for their law at a
point, `law` finds its bands and tabulates it: theory (44) to (48).
"""
