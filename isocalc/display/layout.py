"""Sizes, limits and colours of what is shown, each with its unit and its reason."""

import sys

# Columns of a terminal.
NARROWEST_PICTURE = 16  # the two numbers at the ends of an axis and a curve between them
NARROWEST_SENTENCE = 24  # of a table's column of sentences: four or five words a line
NARROW_TERMINAL = 40  # below it what is cut off cannot be read, and is refused
WIDEST_PROSE = 100  # longer lines are hard to read
UNBOUNDED = 100_000  # of a pipe or a file: no table is wider, and Rich takes no infinity

# Rows of a terminal.
LEAST_PANEL = 3  # two numbers and a place between them
LEAST_PREVIEW, MOST_PREVIEW = 7, 17  # beside a table: a curve that has a shape; no more than the table
PANEL = 20  # of a picture alone where nothing says how high the terminal is
TABLE_HEAD = 2  # names and a rule
LEAST_ENDS = 6  # of a table that is cut: three first and three last rows

# What can be told apart in a picture.
MOST_NAMED_ROWS = 60  # of one column, at the height that a name takes
MOST_MARKED = 40  # points of a curve: more touch each other
# Ratios of the largest number to the smallest from which on an axis is logarithmic: of quantities, of
# singular values, whose ratios matter, and of the places of a sweep.
WIDE, WIDE_SINGULAR, WIDE_SWEEP = 30, 4, 15
MOST_DECADES = sys.float_info.max_10_exp  # of a label as a double

# Colours of marks by number. In files Okabe and Ito's, told apart by the colour-blind, ordered so that grey
# levels alternate; in terminals such as are readable on black and on white.
PRINTED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#7F6D00")
ON_SCREEN = ("#0087d7", "#d75f00", "#00a06a", "#c06ea0", "#8a8a8a", "#b8860b", "#3a8fbd", "#8f8000")
MOST_COLOURS = len(PRINTED)
BLACK = PRINTED.index("#000000")

# Files, in inches; the width of a column of text in print.
WIDTH, NAMED_ROW = 6.2, 0.19
DOTS_PER_INCH = 150
