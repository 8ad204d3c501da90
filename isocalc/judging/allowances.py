"""Numbers of this room: how far a right law and a simulation may be apart, and what is too little to see.

The calibrated ones are of tests/bench/calibrate_mc.py (64 networks, N = 50 to 500): see `statistics`. A place
is one of the N of a spectrum, a spacing the scale on which the extreme one fluctuates.
"""

import math

# Probability that a right law, or free gates, are rejected by any of a run's statistics.
FALSE_ALARM_RATE = 0.01
# Quantiles of log s that are compared.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# --- Allowances for finite width
# Displacements in places: of quantiles and distances, of means, of the variance, in places at both ends.
PLACES, MEAN_PLACES, VARIANCE_PLACES = 0.9, 1.2, 0.5
# The rank's standard deviation displaces by as many places: quantiles at the low end, mean and variance.
RANK_PLACES, RANK_MEAN_PLACES, RANK_VARIANCE_PLACES = 0.8, 1.5, 2.5
# Spacings: of the extremes; from where on a singular value of the signal's direction is set aside.
EDGE_SPACINGS, FURTHEST = 1.3, 4.0
# What the mean log s of an outlier may be off by: of its standard deviation, and over √N; √N times what the
# log of the mean λ may be, where outliers make all of it.
OUTLIER_DEVIATIONS, OUTLIER_SCALE, OUTLIER_IN_MEAN = 0.5, 0.25, 1.0
# The mass of a point mass fluctuates like a binomial count, at most so many times as much.
ATOM_DEVIATIONS = 1.5
# The direction of the signal adds at most as much to the variance as so many values at an end of the law.
LONE_SQUARES = 2.0
# What the form fitted to several widths leaves out, log N / N and N^(−2), as a share of the allowance at the
# largest width; standard errors from which on a difference is seen.
REMAINDER, SEEN = 0.5, 2.0
# Relative variance of gates over the depth from which on one neuron can send a value beyond the edges.
LONE_NEURON = 1 / 8

# --- The fluctuations of an extreme singular value
# N times the mass beyond −1.2065, the mean of the Tracy-Widom law of real matrices (Bornemann 2010).
EDGE_MASS = 2 / (3 * math.pi) * 1.2065335745820**1.5
# Part of it that tells the spacing: next to an edge, quantiles go like the mass to the power 2/3.
EDGE_PART = 1 / 8

# --- Rounding
# Of log s in float64, relative to 1 + |log s|; of a float32 product of L layers, or a module, over √L, in
# units of the largest singular value (6e-7 at most seen).
ROUNDING, SINGLE_NOISE = 1e-12, 2e-6
# Simulated log s this close to a point mass are at it.
AT_ATOM = 1e-7
# Relative differences of averages over gates, and of variances, that do not count.
SAME_GATE, SAME_VARIANCE = 1e-9, 1e-6
# Mass of a law within rounding of a place: more is a law that cannot be told from a point mass.
MOST_MASS_ROUNDED = 0.5

# --- A law as a table
# Points at which it is solved, and that are interpolated for each; mass between two points over which the
# table may go without the points between.
POINTS, FINER, BRIDGED = 401, 8, 1e-3
# Layers whose gates stand for all of a network's.
LAYERS = 129
# Bars of a histogram, at least and at most; the room above the highest one.
LEAST_BARS, MOST_BARS, ROOM = 12, 60, 1.12
