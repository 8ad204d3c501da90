"""How large a simulation may be: the limits of its arguments, for the command line and the function alike."""

LEAST_WIDTH, MOST_WIDTH = 2, 10**6
MOST_TRIALS = 10**6
MOST_SEED = 2**63 - 1
