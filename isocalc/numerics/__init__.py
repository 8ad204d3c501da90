"""Mathematics that knows no network: roots, quadrature, special functions, Haar matrices, graded products.

Nothing here has heard of an activation or a layer. Compiled code lives in modules named ``kernels``; how
it is compiled is decided once, in `isocalc.numerics.jit`.
"""
