"""The numbers of this room: how near is equal, and what is searched; q is a variance of pre-activations."""

from isocalc.numerics.tolerances import EPS

# Scales of weights and biases that have fixed points, but for 0: their squares are doubles, with room for
# factors, and an average over a pair of inputs takes seconds at most.
SMALLEST_SIGMA, LARGEST_SIGMA = 1e-100, 1e10
# A variance at which the phase of any wave is uniform, in whatever scale of weights.
FARTHEST_Q = 1e300
# χ or a slope this close to 1 is 1: σ_w = √2 for ReLU gives 1 + 2⁻⁵². Nearer to the diagonal than so many
# roundings the side on which a variance map is is not known.
CRITICAL = 16 * EPS
# Relative rounding of E φ² / E φ'² on the critical line: below, the sign of a deviation is not known.
LINE_NOISE = 1e-13
# Fixed points so near, relatively, are one; and factors of growth at large q, one limit: they are only told.
SAME = 1e-6
# A share at which a difference of averages has lost two or three of the 16 digits it may lose.
CANCELS = 1e-2
# Of the square of φ's shortest length: ratios of averages are at their limit q → 0.
NEXT_TO_ZERO = 1e-30
# Where the critical line ends: at q so many times the squares of φ's shortest and longest lengths, where φ is
# a power to 14 digits, with so many points a decade.
SEARCHED, STEPS_PER_DECADE = 1e14, 8
# Distances 1 − c that are resolved: where φ jumps E (φ(u1) − φ(u2))² falls like its root, else like itself.
LEAST_GAP_OF_JUMPS, LEAST_GAP = 1e-17, 1e-32
# 1 − c below which the difference of φ at two inputs loses digits, in units of φ's length.
NEAR_ONE = 1e-4
# Terms of a series: what is left out matters less than rounding by 2 or 3 digits; exp(−40) does not matter.
LAST_TERM, LEFT_OUT, ENOUGH = 1e-19, 1e-16, 40.0
# Factor from a fixed point to where the slope of the map tells on which side it is stable.
BESIDE = 1 + 1e-3
# Networks that are solved together: arrays of some ten megabytes, of doubles of each.
AT_ONCE = 8192
# Layers from which loading Numba (half a second) pays.
NUMBA_FROM = 60_000
