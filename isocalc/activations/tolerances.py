"""The numbers of this room: how near is equal, and how large an expression may be."""

# Averages. Variances whose nodes, some hundreds each, fit a processor's cache: more take twice the time each.
IN_CACHE = 256
# Standard deviations of x: beyond the first is a mass of 1e-25; the density is a normal double up to the
# second. Logarithm of a share that is none, and share of the terms next to the end of an average that is cut.
CENTRAL_REACH, FARTHEST_REACH, NO_TERM, LAST_SHARE = 10.5, 36.0, 60.0, 1e-13
# Waves: standard deviations of a window beyond which nothing counts, those of x up to which panels follow
# each wave, in units of the longest panels.
WINDOWS, MOST_PANELS = 9.0, 500.0
# Nodes of a table's octave, and what its last coefficients may be, relatively.
OCTAVE_NODES, OCTAVE_ACCURACY = 16, 1e-14
# A table costs as much as a few averages taken directly.
WORTH_A_TABLE = 4
# The same of many variances of one octave that are interpolated, where there are so many times the nodes.
MANY_NODES, INTERPOLATED, WORTH_INTERPOLATION = 24, 1e-15, 2
# Share of the largest in an octave below which a value that is interpolated has lost digits.
VANISHES = 1e-2
# Averages that underflow somewhere in an octave and are below this are 0 in all of it.
NEXT_TO_NOTHING = 1e-250
# Share of √E φ² from which E φ is more than what quadrature is off by.
NO_MEAN = 1e-10
# Variances that are tabulated.
SMALLEST_Q = 2.0**-900

# Lengths of φ from which φ' is at its limit, to rounding, where it nears it like 1/x; a factor to beyond.
FAR, FURTHER = 1e17, 1e3

# Numbers nearer, relatively, are one, such as 0.9/3 and 0.3; harmonics below are rounding; frequencies after
# some operations.
EQUAL, EQUAL_FREQUENCY = 1e-15, 1e-13
# An expression, as it is written: what is read, cut and averaged within a second.
MOST_LETTERS, MOST_NODES, MOST_DEPTH, MOST_CHOICES, MOST_POWER = 400, 200, 40, 20, 50
# Its smooth pieces; the degree of one that is known as a polynomial, and that up to which φ'⁴ and φ² z² are
# integrated exactly by 16 nodes.
MOST_CUTS, MOST_DEGREE, EXACT_DEGREE = 40, 12, 8
# Share of the values beside it at which a value is 0; of φ's size, at which φ jumps.
TOUCHES, JUMP = 1e-13, 1e-11
# Distance from a place of infinite bend at which a limit there is taken, where that is 0; factor by which
# changes from one distance to the next fall, each a quarter of the last, where there is a limit.
LEAST_STEP, SETTLES = 1e-100, 0.9995
# An overflow from below this is none of φ but of its parts; beyond x = 10^40 φ goes on as a line then.
TRULY_LARGE, FAR_ENOUGH = 1e200, 1e40
# Waves: samples of a period, harmonics that they resolve, the longest, and the share of the largest below
# which a wave's length does not count.
SAMPLES, MOST_HARMONICS, LONGEST_WAVE, FAINT = 512, 64, 1e30, 1e-3
# Panels from 2^-30 to 2^60, that double from 2^40 at most: those whose averages agree with their halves' are
# resolved, and so many more edges may be needed.
SHORTEST_PANEL, LONGEST_PANEL, FARTHEST_PANEL, RESOLVED, MOST_EXTRA = -30, 40, 60, 2e-13, 8
# Lengths over which a function varies, as shares of the distance from 0: panels that double from 0 may miss
# what is shorter than 1/SHARPEST; from 1/NARROW on they may be too long. Centres of such lengths at most.
SHARPEST, NARROW, TOO_SHARP, MOST_CENTRES = 32.0, 2.0, 1e9, 24
# Panels of one length: how far they are looked at, in lengths; from where rounding of x counts, and what is
# resolved there; halvings to find the length, and lengths that are looked at closely.
WAVES_SEEN, WAVES_RESOLVED, FAR_RESOLVED = 2.0**20, 2.0**8, 1e-8
MOST_HALVINGS, MOST_TRIED = 12, 3
# Rates of growth, of x, at most, of which rounding is allowed for.
STEEPEST = 1e3
# Share of a panel by which those looked at are moved.
ASIDE = 0.37
# Share of a function's size below which waves have averaged out.
AVERAGED_OUT = 1e-11
# |x| to any power of the language, 50, is a double up to here.
LARGEST_POWER = 1e6
# Share of a function's size where |x| is at most 64 that is nothing.
NOTHING, NOT_FAR = 1e-40, 64.0
