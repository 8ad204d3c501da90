"""How much may be asked for: limits that the command line and the functions share; imports nothing."""

# Networks.
MAX_DEPTH = 10**7  # layers: a few arrays of one double a layer fit in any memory
LARGEST_CONSTANT = 1e50  # in an activation: fourth powers of φ' are doubles, times other numbers too

# A command.
MOST_VALUES = 10**6  # of one option, combinations of a sweep
MOST_ROWS = 2 * MOST_VALUES  # of its table
MOST_REASONS = 20  # rows of a sweep whose failure is told on standard error too: what a reader takes in

# A simulation.
LEAST_WIDTH, MOST_WIDTH = 2, 10**6  # neurons: one has no spectrum; beyond, no machine holds a matrix
MOST_TRIALS = MOST_VALUES
MOST_SEED = 2**63 - 1  # a signed integer of 64 bits
MOST_WORKERS = 4096  # processes: more than any machine has processors

# The inverse problem.
LEAST_C, MOST_C = 1e-12, 1e6  # parameter c: of the universal law too, solved to full accuracy up to there
LEAST_CONDITION, MOST_CONDITION = 1.00001, 1e300  # ratio of the edges: they part, and it is a double
LEAST_SPREAD, MOST_SPREAD = 1e-10, 1e10  # σ²_JJᵀ
LEAST_Q, MOST_Q = 1e-100, 1e20  # variance of pre-activations, whose powers are doubles
# Scales of a critical network, but for σ_b = 0.
LEAST_BIAS, MOST_BIAS = 1e-6, 1e6
LEAST_WEIGHT, MOST_WEIGHT = 1e-10, 1e10

# Laws.
LEAST_PATHS, MOST_PATHS = 64, 2**17  # gate paths of the exact law: for the sake of its error and time
GOOD_ENOUGH = 2e-3  # KS distance of a law from that of a network which does not matter
