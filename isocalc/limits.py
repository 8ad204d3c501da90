"""How much may be asked for: limits that the command line and the functions share; imports nothing."""

# A network's description.
MAX_DEPTH = 10**7
# Numbers in an activation, parameters or constants: fourth powers of φ' are doubles, times other numbers too.
LARGEST_CONSTANT = 1e50

# A simulation.
LEAST_WIDTH, MOST_WIDTH = 2, 10**6
MOST_TRIALS = 10**6
MOST_SEED = 2**63 - 1
MOST_WORKERS = 4096

# A command: rows of its table, values of one option, combinations of a sweep.
MOST_ROWS = 2_000_000
MOST_VALUES = 1_000_000
# Rows of a sweep whose failure is told on standard error too.
MOST_REASONS = 20
# The inverse problem: parameter c, condition number, σ²_JJᵀ, variance of pre-activations, and the scales of a
# critical network other than σ_b = 0.
LEAST_C, MOST_C = 1e-12, 1e6
LEAST_CONDITION, MOST_CONDITION = 1.00001, 1e300
LEAST_SPREAD, MOST_SPREAD = 1e-10, 1e10
LEAST_Q, MOST_Q = 1e-100, 1e20
LEAST_BIAS, MOST_BIAS = 1e-6, 1e6
LEAST_WEIGHT, MOST_WEIGHT = 1e-10, 1e10
# The exact law: gate paths.
LEAST_PATHS, MOST_PATHS = 64, 2**17
# Kolmogorov-Smirnov distance of a law from that of a network which does not matter.
GOOD_ENOUGH = 2e-3
