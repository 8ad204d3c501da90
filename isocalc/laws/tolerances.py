"""Numbers of this room: what counts as the same, as nothing, as solved, and where searches stop.

Each has its unit and its reason. y is log λ less that of the skip connections, x a pre-activation, d = φ'(x)²
a gate, t the argument of its averages. `free` and compiled code keep theirs beside the equations: Numba's
cache notices edits of a kernel's own file only.
"""

import math

from isocalc.numerics.tolerances import EPS as EPS  # noqa: PLC0414 - for the room's files

# --- Doubles
# Relative differences that rounding makes: of a place or value found in one way and in another (450 EPS),
# and of one that is found by iterating (45 EPS).
SAME, FINEST = 1e-13, 1e-14
# Smaller numbers count as 0: their inverse is still a double. Larger ones than LARGEST are cut there.
NOTHING = 1e-300
LARGEST = 1 / NOTHING
# A share that changes nothing, however many there are: of what gates let through, of a path's length.
NEGLIGIBLE = 1e-18
# Logarithms: of numbers that may be used as such, with room for factors; of those whose squares may be.
SAFE_LOG, FAR = 300.0, 340.0
# Rounds of an iteration: bisection down to neighbouring doubles takes 60.
MOST_ROUNDS = 80

# --- Any law
# Points of a grid that may be asked for.
MOST_POINTS = 10**9
# Mass that rounding, and tables of solutions, may leave a distribution function off.
MISSED_MASS = 1e-6
# Mass beyond a place, in units of its density times the distance of the end, however steep that is.
MOST_BEYOND = 10.0

# --- Which law to take (`spectrum`)
# Seconds that the exact law takes with 1024 gate paths, as measured: of each layer or group of layers, and of
# that times c; the most that a law may take which nobody asked for; c/L of a layer from which on the law
# reaches down next to λ = 0 or below, and layers times c up to which it is solved all the same.
SECONDS_A_LAYER, SECONDS_A_LAYER_AND_C, MOST_SECONDS = 0.008, 0.0012, 10.0
VERY_STRONG, MOST_OF_VERY_STRONG = 0.6, 600.0

# --- The universal law
# c below which the law is a semicircle to all digits.
SEMICIRCLE_BELOW = 1e-100
# Points of the curve that Newton starts from; terms of a moment's series.
KNOTS, MOST_TERMS = 257, 10**7
# Nearer to the edge, in units of it, rounding can leave Newton without a root.
BESIDE_EDGE = 256 * EPS
# Points that pay for loading Numba, when it is not loaded and when it is, and for a thread.
NUMBA_FROM, NUMBA_FROM_LOADED, WORTH_A_THREAD = 500_000, 4_000, 20_000

# --- How far the universal and the layered law are off (`universal_error`)
# Layers that are summed one by one before the Euler-Maclaurin formula takes over, to 1e-8.
SUMMED_ALONE = 1000
# The distance found over the one predicted from κ is 1.0 to 1.24 in networks of 40 layers.
KAPPA_SAFETY = 1.25
# Distance by commuting gates, of kurtosis 2 at c = 0 and L = 1, and the largest kurtosis less 1 that counts.
COMMUTING, MOST_EXCESS = 0.02, 3.0
# c of a layer alone up to which κ says how far correlated gates take the law.
STRONG = 0.3
# Layers, and distances between layers, of a sum over pairs: where pairs are cheap, and where not; layers of
# networks so shallow that all of them are summed.
PAIR_NODES, SLOW_PAIR_NODES, ALL_PAIRS = 14, 8, 20
# Variances at which averages are taken; factor within which variances are that of the first layer.
SAMPLES_OF_Q, SETTLED = 17, 8.0

# --- A law that is solved point by point (`support`, `solved_law`)
# Neighbours of a scan have no more mass between them, and no more that trapezoids miss.
STEP_MASS, STEP_MISSED = 1 / 24, 4e-4
# Mass between two dead points: more is a band too narrow to have been hit.
HIDDEN = 1e-11
# A point with less than this share of its neighbours' density may be beside a gap.
FLAT = 0.9
# Mass in a tail without an end, where a grid ends.
TAIL_MASS = 1e-9
# Least number of points of a band.
FEWEST_OF_A_BAND = 7
# Mass by which trapezoid sums on cosine-spaced points may be off, and the same times their number squared.
GRID_GOOD, GRID_GOOD_OF_FEW = 3e-4, 10.0
# Points that are chosen step by step: the share to start with, and of the largest error what is halved.
GRID_FIRST, GRID_HALVED = 4, 0.2
# Width in y of gaps around point masses, at least.
ATOM_GAP = 1e-9
# Distance in y from an edge that is rounding, in units of it where it is large.
AT_EDGE = 8 * EPS
# Distance in y from an open end where to look whether a density has died out.
NEAR_END = 0.25

# --- Averages over gates (`gates`)
# |log |dt|| from where on one term of a series in dt is enough, e^-37 being below rounding.
REACH_FAR = 37.0
# The same where so many terms are summed, by parts of all nodes; numbers from which on that pays.
FAR_REACH, FAR_TERMS, FAR_BLOCKS, WORTH_SERIES = 4.0, 10, 16, 2000
# Gates whose numbers of nodes differ by a smaller factor are padded to the same number.
ALIKE_NODES = 1.3
# Im u of states on Im t = 0 is this close to −π.
ON_AXIS = 1e-4
# Numbers of a table that stays in the processor's cache.
CACHED_NUMBERS, POINTS_AT_ONCE = 8192, 4
# Least log |1 − dt|, at a point mass itself.
LEAST_LOG = -1e3
# Monotone pieces of d that are averaged over; paths per octave of the standard deviation of x.
MOST_PIECES, PATHS_AN_OCTAVE = 200, 2
# Weights of nodes that are dropped; what the weights of all may miss of 1.
DROPPED, GATE_ACCURACY = 1e-23, 1e-12
# Relative difference between E φ'² found in two ways, from which pieces have been missed.
SURE = 1e-8
# Harmonics of the normal density wrapped around a period: the next is below e^-100 on every path.
HARMONICS = 5
# Means of d beyond it, or beyond its inverse, are the unit of d, whose squares are no doubles otherwise.
SMALL_MEAN = 1e-60
# Standard deviations of x: beyond the first is a mass of 1e-25; ends up to the second are left in place.
REACH, ENDS_REACH = 10.5, 14.0

# --- Where d rises and falls, and paths of integration (`gates.contours`), in lengths over which φ varies
# Spacing of samples, |x| up to which turning points may lie, last sample.
TURN_STEP, LAST_TURN, LAST_SAMPLE = 0.05, 50.0, 1e4
# Imaginary step of a derivative: its square is below rounding of any φ'.
COMPLEX_STEP = 1e-30
# d is 0 at a turning point where it is such a share of what it is beside it.
ZERO_GATE = 1e-24
# Step of the trapezoidal rule: e^(−π²/h) = 5e-16.
PATH_STEP = 0.28
# exp(−z²/2) grows off the real axis: |Im z| stays below half of this.
WIDEST = 3.0
# |x| that is far out, and so is its square: where d at the latter is more than twice that at the former, it
# grows without bound.
FAR_OUT = 1e150
# Beside a branch of φ: share of the step at other ends, where one power of the distance is left, share of d
# that is no rounding there, and least power, for distances that are doubles.
BRANCH_STEP, BRANCH_SEEN, LEAST_ORDER = 1e-3, 1e-9, 0.05
# Kinks: a smaller order would let the path leave at right angles, where Re x does not tell the pieces apart.
SMALLEST_ORDER = 1.25
# Poles are resolved where |1/t − d| > 1e-10 d at critical values d, and near d = 0 while P(d < 1/t) > 1e-10.
RESOLVED_POLE = 1e-10
# What of Re F is spent beyond that.
PATH_MARGIN = 2.5
# Places of a piece between which F is made.
PATH_SAMPLES = 200

# --- Covariances of gates (`gates.covariances`)
# Terms of a Hermite series, and variances at which its coefficients are computed.
HERMITE_TERMS, HERMITE_NODES = 1000, 100
# Share of the variance beyond the last term: enough, and still bearable after all terms. Sums over pairs of
# layers have another factor of 1/n in their terms, so that 5 % beyond 1000 terms are 5e-5 of a sum.
SERIES_ENOUGH, SERIES_MOST_MISSED = 1e-7, 0.05
# Averages over gates are analytic in log q up to 2 away from the real axis; digits of their interpolation.
STRIP, DIGITS = 2.0, math.log(1e9)
# Gauss nodes of an angle, and of a panel, for covariances to 1e-8.
COVARIANCE_ANGLES, COVARIANCE_ORDER = 40, 10
# Samples of a period of φ'², and the share of its largest harmonic that is none.
PERIOD_SAMPLES, NO_HARMONIC = 256, 1e-15
# Standard deviations: beyond is a mass of 1e-15.
COVARIANCE_REACH = 8.0

# --- Correlated gates (`paths`)
# Gate paths of a law, by default; sets of other paths to compare with.
DEFAULT_PATHS, OTHER_SETS = 1024, 2
# Layers that each keep their own gates; of deeper networks groups of layers do, more where gates forget fast.
MOST_GROUPS, MOST_GROUPS_OF_SHORT_MEMORY = 128, 1024
# Share that gates may forget from one layer of a group to the last, |a|^(layers of the group); groups of a
# path set to compare with, over those of the first.
FORGOTTEN, COARSER = 0.05, 0.8
# A mean over the paths that is further off is one of gates that few paths meet.
MOST_SCALED = 2.0
# Change of the unknowns at which they are solved; at the nodes of tables; beside an edge, or next to λ = 0,
# where rounding can keep the iteration from agreeing as well.
SOLVED, SOLVED_IN_TABLES, SOLVED_BESIDE_EDGE = 1e-11, 1e-10, 1e-7
# Numbers that are computed on together, which stay in the processor's cache.
AT_ONCE = 4096
# Newton's matrix: paths it is made from, at least, and over 1/groups²; groups from which on they are merged,
# to so many, or to so many times c.
NEWTON_PATHS, NEWTON_WORK, FULL_GROUPS, MERGED_GROUPS, GROUPS_OF_C = 256, 100_000, 32, 20, 2
# Equations whose bands are found first: groups, at least, and paths; by how much less there must be of both.
START_GROUPS, START_PATHS, START_PAYS = 16, 256, 4
# Im ζ that counts as 0: beside edges the equations are solved no nearer.
DEAD = 1e-7
# Steps of a walk to the end of a band; part of the way to where it is expected that a step goes.
WALK_STEPS, EDGE_PART = 80, 0.75
# Change of an edge, relative to it or to 1, at which it is found, and the rounds that may take.
EDGE_FOUND, EDGE_ROUNDS = 1e-11, 8
# Distance, relative to ζ or 1, of the places beside an edge of coarse equations that one is looked for from.
EDGE_BESIDE = 0.02
# Coarse solutions next to an edge that may lead to one.
LAST_COARSE = 8
# Tables: nodes of a series at first and at most; mass that the last coefficients stand for where a series
# ends, and up to which that is no loss; panels at most, and the length of the shortest over the band's.
SERIES_FIRST, SERIES_MOST = 7, 31
SERIES_ENOUGH_AT, SERIES_COARSEST = 1e-9, 1e-8
# A panel is halved where its series would not have died after as many nodes again: by this factor.
SERIES_HOPELESS = 100.0
MOST_PANELS, SHORTEST_PANEL = 200, 1e-9
# Mass that counts; below the table of a density that reaches down to λ = 0.
LEAST_MASS = 1e-8
# Mass that may be lost between two intervals of the exact law.
MOST_LOST = 1e-5
# Distance of an atom, over the width of the law, at which a density that has not ended reaches up to it.
TOUCHES = 1e-6
# Where a density is looked for: places on either side of λ = Π a², and the factor of y from one to the next.
SEEDS, SHORTER = 24, 0.8
# Share of paths closed for good from which on a law is a table on either side of λ = Π a².
SPIKE = 0.2
# A further interval is looked for in steps of this part of the law's width, so many at a time, so often.
FINE_STEP, FINE_STEPS, FINE_ROUNDS = 1 / 128, 64, 6
# Where there is no lower end: part of the way down, where the law is not solved, on which it may be, and how
# often to go back so.
SURELY, RETREATS = 0.9, 8

# --- Pictures
# Points of a law's curve over a histogram.
CURVE_POINTS = 400
# Mass that may lie beyond each border, where the law has no end there, and where the density is above.
BEYOND_PICTURE, ABOVE_PICTURE = 5e-3, 0.02
# A law is readable in a variable where its peak is not higher than so many times that of an even spread.
STEEPEST = 12
# Bands whose edges are drawn.
MOST_BANDS = 3

# --- Tails
# Mass next to λ = 0 that is integrated from there, and nodes for that; part of a law's width over which
# slopes of densities are taken; relative steps to quantiles there that rounding may leave.
TAIL, TAIL_NODES, SLOPE_OVER, ROUNDED = 5e-10, 24, 1e-4, 1e-6
