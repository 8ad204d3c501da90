"""Numbers of this room: the scales that are searched, what counts as found, and where searches stop."""

# Scales of weights that are searched.
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 1e6
# The relative accuracy that is promised: of c, and of the log of edges by the exact law; a tenth by others.
ACCURACY = 1e-8
# From so many blocks with skip 1 branches are looked for at fewer and then followed: c tends to a limit.
DEEP, LESS_DEEP = 50_000, 5_000
# Half the distance in log scale over which a slope is taken.
CHORD = 1e-3
# Steps in log scale: longest of them where a branch is followed and where one is looked for, and how many.
# Brackets so narrow are closed.
LONGEST_FOLLOWED, LONGEST_STEP, MOST_STEPS, CLOSED = 0.1, 1.0, 60, 1e-14
# Scales after which an edge that is infinite at all of them is taken for infinite at every one.
MOST_INFINITE = 6
# Gate paths with which the exact law is solved first, and how nearly its edge.
FEW_PATHS, ROUGHLY = 128, 1e-5
# Layers from which propagations of so many networks pay for loading Numba.
NUMBA_FROM = 2_000
# Networks that are followed layer by layer together.
FEWEST_TOGETHER = 8
# Layers of a law each of whose layers is another.
MOST_LAYERS = 256
