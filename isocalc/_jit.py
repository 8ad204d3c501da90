"""How isocalc compiles: what all modules of kernels use."""

import numba

# error_model="numpy": no zero-division branches in inner loops. No fastmath: residuals are held to rounding.
kernel = numba.njit(cache=True, error_model="numpy", nogil=True)
# Sums over the nodes of a gate may be taken in any order: that lets them use vector instructions.
summing = numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"reassoc", "contract"})
