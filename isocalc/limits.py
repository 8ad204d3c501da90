"""How much may be asked for: limits that the command line and the functions share; imports nothing."""

# A network's description.
MAX_DEPTH = 10**7

# A simulation.
LEAST_WIDTH, MOST_WIDTH = 2, 10**6
MOST_TRIALS = 10**6
MOST_SEED = 2**63 - 1
MOST_WORKERS = 4096

# A command: rows of its table, values of one option, combinations of a sweep.
MOST_ROWS = 2_000_000
MOST_VALUES = 1_000_000
# The exact law: gate paths.
LEAST_PATHS, MOST_PATHS = 64, 2**17
# Kolmogorov-Smirnov distance of a law from that of a network which does not matter.
GOOD_ENOUGH = 2e-3
