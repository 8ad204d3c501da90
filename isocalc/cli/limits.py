"""How much a command may be asked for, so that its table fits in memory."""

MOST_ROWS = 2_000_000
# Values of one option, and combinations of a sweep.
MOST_VALUES = 1_000_000
