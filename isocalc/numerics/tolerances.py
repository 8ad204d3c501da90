"""The numbers of this room: what a double holds, how near is equal, how large is a block."""

import math
import sys

EPS, LARGEST_DOUBLE, LEAST = sys.float_info.epsilon, sys.float_info.max, math.ulp(0.0)
# exp(−746) is 0, and so is the normal density beyond 38.7.
EXP_IS_0 = float(math.ceil(-math.log(LEAST)))
NORMAL_IS_0 = math.sqrt(2 * EXP_IS_0)

# Panels of one length on either side of 0: an average over them takes a tenth of a second.
MOST_PANELS_OF_ONE_LENGTH = 10_000

# Roots. Nothing is between points of a bracket that is so narrow.
CLOSED = 2 * EPS
# Chandrupatla's method closes any bracket of doubles in three times the 63 halvings of the logarithm's range.
MOST_STEPS = 200
# Stands for infinity where values, of order 1, are interpolated.
HUGE = 1e3
# Share of x below which Newton's steps shrink from one to the next, unless rounding decides them.
NEAR = 1e-3

# Entries of erf and erfc from which importing scipy.special, 150 ms, pays.
WORTH_SCIPY = 20_000
# Terms of a Taylor series at most, and the size of one that is rounding.
MOST_TERMS, NO_TERM = 100, 1e-17

# Points of one lattice: more are several lattices, each shifted on its own.
LATTICE = 2048

# LAPACK's largest block size.
LAPACK_BLOCK = 64
# Graded products. Columns whose sizes differ by more are sorted, so that small ones keep their accuracy.
UNEVEN = 1e3
# Rounding of a product of matrices, in units of their size.
ROUNDINGS = 10 * EPS
# In units of d: singular values so far apart do not see one another, and e^±(KEPT/2 + MARGIN) is a double.
KEPT, MARGIN = 400.0, 60.0
