"""The language of activations given as text, such as ``x*tanh(x)``: parsed against an allow-list, never run.

Text becomes a tree (`language`, `tree`), the tree a function of arrays with its derivative (`evaluation`),
and what quadrature must know of it is found (`shape`); `build` makes the activation.
"""
